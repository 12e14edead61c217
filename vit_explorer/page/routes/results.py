"""What the page fetches by address: its setup, pictures, and a result's files to keep."""

from __future__ import annotations

import io
import logging
import mimetypes
import re
import tempfile
import zipfile
from functools import cache
from typing import Any

from fastapi import APIRouter, HTTPException, Request, Response
from pydantic import BaseModel, Field, TypeAdapter
from starlette.concurrency import run_in_threadpool

from vit_explorer.drawing.coloring import tables
from vit_explorer.errors import ExplorerError
from vit_explorer.explaining.report import save_report
from vit_explorer.methods import METHODS
from vit_explorer.models.checkpoints.hub import downloaded_models
from vit_explorer.models.gallery import GALLERY
from vit_explorer.models.shipped import SHIPPED, asset
from vit_explorer.models.zoo import available_models
from vit_explorer.page.payloads import result as payload
from vit_explorer.page.payloads.code.figures import AnyFigure
from vit_explorer.page.payloads.code.script import describe_code
from vit_explorer.page.payloads.downloads import Saved, npz_bytes
from vit_explorer.page.payloads.maps import describe_methods
from vit_explorer.page.routes.held import BYTES, Bench, Held
from vit_explorer.page.routes.request_bodies import check_type, read_body, read_order
from vit_explorer.page.state.examples import EXAMPLES
from vit_explorer.page.state.session import MAX_UPLOAD_BYTES, Workbench
from vit_explorer.page.state.uploads import ENDINGS, MAX_BYTES
from vit_explorer.page.static_files import languages
from vit_explorer.pictures.decode import open_picture
from vit_explorer.sentences import Sentence, keyed
from vit_explorer.training.recipe import describe_recipes

logger = logging.getLogger(__name__)

UNWRITABLE = Sentence(
    "error.download",
    "The explanation's files can't be written on the server; make room in its temporary folder and "
    "download again.",
)
THUMBNAIL_SIDE = 192
LARGEST_ORDER = 10**4
LARGEST_TABLE = 16 * 2**20
# A change may name every patch of the largest grids, and every head.
LARGEST_FIGURE = 100_000
SAVED = TypeAdapter(Saved)
FIGURE: TypeAdapter[AnyFigure] = TypeAdapter(AnyFigure)
JPEG, PNG, ZIP = "image/jpeg", "image/png", "application/zip"

router = APIRouter(prefix="/explorer")


@router.get("/setup")
def setup(workbench: Bench) -> dict[str, Any]:
    return describe_setup(workbench)


def describe_setup(workbench: Workbench) -> dict[str, Any]:
    """What the page needs before its first result."""
    start = workbench.start_name
    downloaded = downloaded_models()
    return {
        "model": start,
        "words": words(),
        "languages": [language.describe() for language in languages()],
        "methods": describe_methods(),
        "models": list(dict.fromkeys((start, *SHIPPED, *downloaded))),
        "downloaded": downloaded,
        "shipped": {name: one.stem for name, one in SHIPPED.items()},
        "examples": [{"name": name, "url": f"explorer/thumbnails/{name}"} for name in EXAMPLES],
        **tables(),
        "endings": ENDINGS,
        "max_bytes": MAX_UPLOAD_BYTES,
        "max_upload": MAX_BYTES,
        "training": workbench.trainings is not None,
    }


def words() -> dict[str, str]:
    """The page's texts that Python knows, in English, by the page's keys."""
    methods = {
        f"method.{method.name}.{part}": getattr(method, part)
        for method in METHODS.values()
        for part in ("title", "summary", "caveat")
    }
    recipes = {f"recipe.{name}": said for name, said in describe_recipes().items()}
    shipped = {f"shipped.{one.stem}": one.knows for one in SHIPPED.values()}
    gallery = {f"gallery.teaches.{one.name}": one.teaches for one in GALLERY}
    return methods | recipes | shipped | gallery


@router.get("/models/names")
def model_names() -> list[str]:
    return list(available_models())


@router.get("/examples/{name}")
def example(name: str) -> Response:
    if name not in EXAMPLES:
        raise HTTPException(404)
    return Response(asset(name).read_bytes(), media_type=mimetypes.guess_type(name)[0])


@router.get("/thumbnails/{name}")
def thumbnail(name: str) -> Response:
    if name not in EXAMPLES:
        raise HTTPException(404)
    return Response(_shrunk(name), media_type=JPEG)


@cache
def _shrunk(name: str) -> bytes:
    return payload.picture_bytes(open_picture(asset(name)).image, longest=THUMBNAIL_SIDE)


@router.get("/judged/{model_name}")
def judged(workbench: Bench, model_name: str) -> dict[str, dict[str, Any]]:
    return workbench.judged_examples(model_name)


@router.post("/pictures")
async def receive_picture(workbench: Bench, request: Request, name: str = "") -> dict[str, str]:
    check_type(request, BYTES)
    limit = MAX_UPLOAD_BYTES // 10**6
    too_long = Sentence(
        "error.picture.limit",
        "The picture has more than {limit} MB; make it smaller and send it again.",
        limit=limit,
    )
    data = await read_body(request, MAX_UPLOAD_BYTES, too_long)
    return {"picture": await run_in_threadpool(workbench.add_picture, data, name)}


class Values(BaseModel):
    """Which bands of a picture to show, and which of its values become black and white."""

    picture: str = Field(max_length=100)
    bands: list[int] | None = Field(None, max_length=3)
    stretch: str | tuple[float, float] = "auto"


VALUES = TypeAdapter(Values)


@router.post("/pictures/values")
async def choose_values(workbench: Bench, request: Request) -> dict[str, str]:
    asked = await read_order(request, VALUES, LARGEST_ORDER)
    chosen = (asked.picture, asked.bands, asked.stretch)
    return {"picture": await run_in_threadpool(workbench.choose_values, *chosen)}


@router.get("/results/{key}/picture")
def picture(result: Held) -> Response:
    return Response(payload.picture_bytes(result.explanation.prepared.whole), media_type=JPEG)


@router.get("/results/{key}/seen")
def seen(result: Held) -> Response:
    return Response(payload.seen_bytes(result.explanation.prepared.shown), media_type=PNG)


@router.get("/results/{key}/labels")
def labels(result: Held) -> list[str]:
    return list(result.model.labels)


@router.post("/results/{key}/figure.npz")
async def figure_numbers(result: Held, request: Request) -> Response:
    given = await read_order(request, SAVED, LARGEST_TABLE)
    return Response(await run_in_threadpool(npz_bytes, result, given), media_type=BYTES)


@router.post("/results/{key}/code")
async def code(result: Held, workbench: Bench, request: Request) -> dict[str, str | None]:
    figure = await read_order(request, FIGURE, LARGEST_FIGURE)
    return describe_code(result, figure, workbench.result)


@router.get("/results/{key}/explanation.zip")
def download(result: Held, workbench: Bench) -> Response:
    explanation = workbench.analyses.with_first_shown(result)
    buffer = io.BytesIO()
    try:
        with tempfile.TemporaryDirectory() as folder:
            written = explanation.save(folder)
            save_report(explanation, written / "report.html")
            with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
                for file in sorted(written.iterdir()):
                    archive.write(file, f"{written.name}/{file.name}")
    except (ExplorerError, OSError):
        logger.exception("the explanation of %r can't be written", explanation.picture.name)
        raise HTTPException(422, keyed(UNWRITABLE)) from None
    headers = _as_file(f"{written.name}-explanation.zip")
    return Response(buffer.getvalue(), media_type=ZIP, headers=headers)


def _as_file(name: str) -> dict[str, str]:
    # A header is one line of ASCII, and in it a name ends at a quotation mark.
    plain = re.sub(r"[^ !#-\[\]-~]", "_", name)
    return {"Content-Disposition": f'attachment; filename="{plain}"'}
