"""What the page fetches by address: its own files, pictures, and the large parts of results."""

from __future__ import annotations

import io
import mimetypes
import tempfile
import zipfile
from collections.abc import Callable
from importlib import resources
from pathlib import Path
from typing import Any

from fastapi import APIRouter, HTTPException, Request
from fastapi.responses import JSONResponse, Response
from starlette.concurrency import run_in_threadpool

from vit_explorer import render
from vit_explorer.errors import ExplorerError
from vit_explorer.explain import available_models
from vit_explorer.models.zoo import asset
from vit_explorer.ui import payload
from vit_explorer.ui.film import film_bytes
from vit_explorer.ui.workbench import EXAMPLES, MAX_UPLOAD_BYTES, Result, Workbench

# Some systems map .js to text/plain, which browsers refuse as a module.
mimetypes.add_type("text/javascript", ".js")

BYTES = "application/octet-stream"


def static_folder() -> Path:
    return Path(str(resources.files("vit_explorer.ui"))) / "static"


def create_router(workbench: Workbench) -> APIRouter:
    """All addresses under `/explorer/`, except the static files."""
    router = APIRouter(prefix="/explorer")
    router.add_api_route("/setup", lambda: describe_setup(workbench), methods=["GET"])
    router.add_api_route("/examples/{name}", _example, methods=["GET"])
    router.add_api_route("/pictures", _receiver(workbench), methods=["POST"])

    def add(path: str, media: str, make: Callable[..., bytes]) -> None:
        router.add_api_route(path, _sender(workbench, media, make), methods=["GET"])

    add("/results/{key}/picture", "image/jpeg", _picture)
    add("/results/{key}/seen", "image/png", _seen)
    add("/results/{key}/positions", BYTES, lambda result, _: payload.position_bytes(result))
    add("/results/{key}/layers/{index}", BYTES, _layer)
    add("/results/{key}/queries/{index}", BYTES, _query)
    router.add_api_route("/results/{key}/labels", _labels(workbench), methods=["GET"])
    router.add_api_route("/results/{key}/film", _film(workbench), methods=["GET"])
    router.add_api_route("/results/{key}/explanation.zip", _download(workbench), methods=["GET"])
    return router


def describe_setup(workbench: Workbench) -> dict[str, Any]:
    """What the page needs before its first result."""
    names = [*render.COLORMAPS, render.DIVERGING]
    start = workbench.start_name
    return {
        "model": start,
        "models": list(dict.fromkeys((start, *available_models()))),
        "examples": [{"name": name, "url": f"explorer/examples/{name}"} for name in EXAMPLES],
        "colormaps": {name: render.lookup(name).ravel().tolist() for name in names},
        "diverging": render.DIVERGING,
        "floor": render.FLOOR,
        "max_bytes": MAX_UPLOAD_BYTES,
        "training": workbench.trainings is not None,
    }


def _example(name: str) -> Response:
    if name not in EXAMPLES:
        raise HTTPException(404)
    return Response(asset(name).read_bytes(), media_type=mimetypes.guess_type(name)[0])


def _receiver(workbench: Workbench) -> Callable[..., Any]:
    async def receive(request: Request, name: str = "") -> Response:
        # A form of another site can't send this type without asking first, and is then refused.
        if request.headers.get("content-type") != BYTES:
            return JSONResponse({"error": f"Send the picture's bytes as {BYTES}."}, 415)
        data = bytearray()
        async for chunk in request.stream():
            data += chunk
            if len(data) > MAX_UPLOAD_BYTES:
                limit = MAX_UPLOAD_BYTES // 10**6
                error = f"The picture has more than {limit} MB; make it smaller and send it again."
                return JSONResponse({"error": error}, 413)
        try:
            key = await run_in_threadpool(workbench.add_picture, bytes(data), name)
        except ExplorerError as error:
            return JSONResponse({"error": str(error)}, 422)
        return JSONResponse({"picture": key})

    return receive


def _held(workbench: Workbench, key: str) -> Result:
    result = workbench.result(key)
    if result is None:
        raise HTTPException(404, "The page no longer holds this result; explain the picture again.")
    return result


def _sender(workbench: Workbench, media: str, make: Callable[..., bytes]) -> Callable[..., Any]:
    def send(key: str, index: int = 0) -> Response:
        content = make(_held(workbench, key), index)
        return Response(content, media_type=media)

    return send


def _picture(result: Result, _: int) -> bytes:
    return payload.picture_bytes(result.explanation.picture.image)


def _seen(result: Result, _: int) -> bytes:
    return payload.seen_bytes(result.explanation.prepared.shown)


def _layer(result: Result, index: int) -> bytes:
    if not 0 <= index < result.model.card.depth:
        raise HTTPException(404)
    return payload.layer_bytes(result, index)


def _query(result: Result, index: int) -> bytes:
    if not 0 <= index < result.model.card.tokens:
        raise HTTPException(404)
    return payload.query_bytes(result, index)


def _labels(workbench: Workbench) -> Callable[..., Any]:
    def send(key: str) -> list[str]:
        return list(_held(workbench, key).model.labels)

    return send


def _film(workbench: Workbench) -> Callable[..., Any]:
    def send(key: str) -> Response:
        result = _held(workbench, key)
        if result.film is None:
            raise HTTPException(404)
        try:
            return Response(film_bytes(result.film, result.model), media_type=BYTES)
        except ExplorerError as error:
            return JSONResponse({"error": str(error)}, 422)

    return send


def _download(workbench: Workbench) -> Callable[..., Any]:
    def download(key: str) -> Response:
        explanation = _held(workbench, key).explanation
        buffer = io.BytesIO()
        with tempfile.TemporaryDirectory() as folder:
            written = explanation.save(folder)
            with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
                for file in sorted(written.iterdir()):
                    archive.write(file, f"{written.name}/{file.name}")
        name = written.name.encode("ascii", "replace").decode().replace("?", "_")
        headers = {"Content-Disposition": f'attachment; filename="{name}-explanation.zip"'}
        return Response(buffer.getvalue(), media_type="application/zip", headers=headers)

    return download
