"""What makes the page an application that can be installed, and that opens without its server."""

from __future__ import annotations

import json

from fastapi import APIRouter
from fastapi.responses import JSONResponse, Response

from vit_explorer.page.static_files import static_folder
from vit_explorer.version import __version__

ICONS = "explorer/static/icons"
MANIFEST = {
    "name": "ViT Explorer",
    "short_name": "ViT Explorer",
    "description": "See how a Vision Transformer reads a picture.",
    "start_url": "./",
    "scope": "./",
    "display": "standalone",
    "background_color": "#fafaf9",
    "theme_color": "#1c1917",
    "icons": [
        {"src": "explorer/static/favicon.svg", "sizes": "any", "type": "image/svg+xml"},
        *(
            {"src": f"{ICONS}/{size}.png", "sizes": f"{size}x{size}", "type": "image/png"}
            for size in (192, 512)
        ),
        {
            "src": f"{ICONS}/maskable.png",
            "sizes": "512x512",
            "type": "image/png",
            "purpose": "maskable",
        },
    ],
}


router = APIRouter()


@router.get("/manifest.json")
def manifest() -> Response:
    """What Gradio's frame links to."""
    return JSONResponse(MANIFEST, media_type="application/manifest+json")


@router.get("/worker.js")
def worker() -> Response:
    """The service worker with what it keeps: every static file, under this version's name."""
    folder = static_folder()
    # Types are for the checker of the scripts: no page loads them.
    files = sorted(file for file in folder.rglob("*") if file.is_file() and file.suffix != ".ts")
    names = [f"explorer/static/{file.relative_to(folder).as_posix()}" for file in files]
    code = (folder / "app/worker.js").read_text(encoding="utf-8")
    stamp = max(file.stat().st_mtime_ns for file in files)
    code = code.replace("{{name}}", f"vit-explorer {__version__} {stamp}")
    code = code.replace('["{{files}}"]', json.dumps(names))
    headers = {"Cache-Control": "no-cache"}
    return Response(code, media_type="text/javascript", headers=headers)
