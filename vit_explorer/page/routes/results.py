"""What the page fetches by address: its own files, pictures, and the large parts of results."""

from __future__ import annotations

import io
import logging
import mimetypes
import re
import tempfile
import zipfile
from collections.abc import Callable
from functools import cache, partial
from pathlib import Path
from typing import Any

from fastapi import APIRouter, HTTPException, Request
from fastapi.responses import JSONResponse, Response
from huggingface_hub import constants
from pydantic import BaseModel, Field, TypeAdapter
from starlette.concurrency import run_in_threadpool

from vit_explorer.drawing import overlays as render
from vit_explorer.errors import ExplorerError
from vit_explorer.explaining.explanation import folder_name
from vit_explorer.methods import METHODS
from vit_explorer.models.shipped import ALL, SHIPPED, asset
from vit_explorer.models.zoo import available_models
from vit_explorer.page.payloads import result as payload
from vit_explorer.page.payloads.downloads import Table, npz_bytes, table_bytes
from vit_explorer.page.payloads.film import film_bytes
from vit_explorer.page.payloads.maps import describe_methods
from vit_explorer.page.routes.interventions import add_change_routes
from vit_explorer.page.routes.numbers import add_view_routes
from vit_explorer.page.routes.request_bodies import RefusedOrder, read_order
from vit_explorer.page.state.examples import EXAMPLES
from vit_explorer.page.state.results import Result
from vit_explorer.page.state.session import MAX_UPLOAD_BYTES, Workbench
from vit_explorer.page.state.uploads import ENDINGS, MAX_BYTES
from vit_explorer.pictures.decode import open_picture
from vit_explorer.training.recipe import describe_recipes

logger = logging.getLogger(__name__)

UNWRITABLE = (
    "The explanation's files can't be written on the server; make room in its temporary folder and "
    "download again."
)
THUMBNAIL_SIDE = 192
BYTES = "application/octet-stream"
LARGEST_ORDER = 10**4
LARGEST_TABLE = 16 * 2**20


def create_router(workbench: Workbench) -> APIRouter:
    """All addresses under `/explorer/`, except the static files."""
    router = APIRouter(prefix="/explorer")
    router.add_api_route("/setup", lambda: describe_setup(workbench), methods=["GET"])
    router.add_api_route("/models/names", available_models, methods=["GET"])
    router.add_api_route("/examples/{name}", _example, methods=["GET"])
    router.add_api_route("/thumbnails/{name}", _thumbnail, methods=["GET"])
    router.add_api_route("/judged/{model_name}", workbench.judged_examples, methods=["GET"])
    router.add_api_route("/pictures", _receiver(workbench), methods=["POST"])
    router.add_api_route("/pictures/values", _chooser(workbench), methods=["POST"])

    def add(path: str, media: str, make: Callable[..., bytes]) -> None:
        router.add_api_route(path, _sender(workbench, media, make), methods=["GET"])

    add("/results/{key}/picture", "image/jpeg", _picture)
    add("/results/{key}/seen", "image/png", _seen)
    add("/results/{key}/positions", BYTES, lambda result, _: payload.position_bytes(result))
    add("/results/{key}/layers/{index}", BYTES, _layer)
    add("/results/{key}/queries/{index}", BYTES, _query)
    for path in ("/results/{key}/data/{name}.npz", "/results/{key}/data/{name}/{item}.npz"):
        router.add_api_route(path, _numbers(workbench), methods=["GET"])
    add_view_routes(router, partial(_held, workbench))
    add_change_routes(router, partial(_held, workbench))
    router.add_api_route("/table.npz", _table, methods=["POST"])
    router.add_api_route("/results/{key}/labels", _labels(workbench), methods=["GET"])
    router.add_api_route("/results/{key}/film", _film(workbench), methods=["GET"])
    router.add_api_route("/results/{key}/explanation.zip", _download(workbench), methods=["GET"])
    return router


def describe_setup(workbench: Workbench) -> dict[str, Any]:
    """What the page needs before its first result."""
    names = [*render.COLORMAPS, render.DIVERGING]
    start = workbench.start_name
    downloaded = downloaded_models()
    return {
        "model": start,
        "words": words(),
        "methods": describe_methods(),
        "models": list(dict.fromkeys((start, *SHIPPED, *downloaded))),
        "downloaded": downloaded,
        "shipped": {name: one.stem for name, one in SHIPPED.items()},
        "examples": [{"name": name, "url": f"explorer/thumbnails/{name}"} for name in EXAMPLES],
        "colormaps": {name: render.lookup(name).ravel().tolist() for name in names},
        "diverging": render.DIVERGING,
        "floor": render.FLOOR,
        "endings": ENDINGS,
        "max_bytes": MAX_UPLOAD_BYTES,
        "max_upload": MAX_BYTES,
        "training": workbench.trainings is not None,
    }


def downloaded_models() -> list[str]:
    """Names of timm models whose weights are in the hub's cache on this machine."""
    prefix = "models--timm--"
    folders = sorted(Path(constants.HF_HUB_CACHE).glob(f"{prefix}*"))
    names = [
        folder.name.removeprefix(prefix) for folder in folders if any(folder.glob("snapshots/*/*"))
    ]
    return [name for name in names if re.fullmatch(r"[\w.]+", name)]


def words() -> dict[str, str]:
    """The page's texts that Python knows, in English, by the page's keys."""
    methods = {
        f"method.{method.name}.{part}": getattr(method, part)
        for method in METHODS.values()
        for part in ("title", "summary", "caveat")
    }
    recipes = {f"recipe.{name}": said for name, said in describe_recipes().items()}
    shipped = {f"shipped.{one.stem}": one.knows for one in ALL}
    return methods | recipes | shipped


def _example(name: str) -> Response:
    if name not in EXAMPLES:
        raise HTTPException(404)
    return Response(asset(name).read_bytes(), media_type=mimetypes.guess_type(name)[0])


def _thumbnail(name: str) -> Response:
    if name not in EXAMPLES:
        raise HTTPException(404)
    return Response(_shrunk(name), media_type="image/jpeg")


@cache
def _shrunk(name: str) -> bytes:
    return payload.picture_bytes(open_picture(asset(name)).image, longest=THUMBNAIL_SIDE)


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


class Values(BaseModel):
    """Which bands of a picture to show, and which of its values become black and white."""

    picture: str = Field(max_length=100)
    bands: list[int] | None = Field(None, max_length=3)
    stretch: str | tuple[float, float] = "auto"


def _chooser(workbench: Workbench) -> Callable[..., Any]:
    async def choose(request: Request) -> Response:
        try:
            asked = await read_order(request, TypeAdapter(Values), LARGEST_ORDER)
            key = await run_in_threadpool(
                workbench.choose_values, asked.picture, asked.bands, asked.stretch
            )
        except RefusedOrder as refused:
            return refused.answer
        except ExplorerError as error:
            return JSONResponse({"error": str(error)}, 422)
        return JSONResponse({"picture": key})

    return choose


def _held(workbench: Workbench, key: str) -> Result:
    result = workbench.result(key)
    if result is None:
        raise HTTPException(404, "The page no longer holds this result; explain the picture again.")
    return result


def _sender(workbench: Workbench, media: str, make: Callable[..., bytes]) -> Callable[..., Any]:
    def send(key: str, index: int = 0) -> Response:
        try:
            content = make(_held(workbench, key), index)
        except ExplorerError as error:
            raise HTTPException(404, str(error)) from None
        return Response(content, media_type=media)

    return send


def _picture(result: Result, _: int) -> bytes:
    return payload.picture_bytes(result.explanation.prepared.whole)


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


def _numbers(workbench: Workbench) -> Callable[..., Any]:
    def send(key: str, name: str, item: str = "") -> Response:
        result = _held(workbench, key)
        try:
            content = npz_bytes(result, name, item)
        except ExplorerError as error:
            raise HTTPException(404, str(error)) from None
        stem = "-".join(filter(None, (folder_name(result.picture.name), name, item)))
        return Response(content, media_type=BYTES, headers=_as_file(f"{stem}.npz"))

    return send


async def _table(request: Request) -> Response:
    try:
        table = await read_order(request, TypeAdapter(Table), LARGEST_TABLE)
        return Response(await run_in_threadpool(table_bytes, table), media_type=BYTES)
    except RefusedOrder as refused:
        return refused.answer
    except ExplorerError as error:
        return JSONResponse({"error": str(error)}, 422)


def _as_file(name: str) -> dict[str, str]:
    # A header is one line of ASCII, and in it a name ends at a quotation mark.
    plain = re.sub(r"[^ !#-\[\]-~]", "_", name)
    return {"Content-Disposition": f'attachment; filename="{plain}"'}


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
        try:
            with tempfile.TemporaryDirectory() as folder:
                written = explanation.save(folder)
                with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
                    for file in sorted(written.iterdir()):
                        archive.write(file, f"{written.name}/{file.name}")
        except (ExplorerError, OSError):
            logger.exception("the explanation of %r can't be written", explanation.picture.name)
            raise HTTPException(422, UNWRITABLE) from None
        headers = _as_file(f"{written.name}-explanation.zip")
        return Response(buffer.getvalue(), media_type="application/zip", headers=headers)

    return download
