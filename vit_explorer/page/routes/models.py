"""What the page asks of models: send a file, load it, stop waiting, and how much memory is used."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import psutil
from fastapi import APIRouter, Request
from fastapi.responses import JSONResponse, Response
from pydantic import BaseModel, Field
from starlette.concurrency import run_in_threadpool

from vit_explorer.errors import ExplorerError
from vit_explorer.page.state.session import Workbench
from vit_explorer.page.state.uploads import Uploads

BYTES = "application/octet-stream"
JSON = "application/json"


class Order(BaseModel):
    """A model to put together of files that were sent, by their keys."""

    architecture: str = Field("", max_length=200)
    weights: str | None = Field(None, max_length=100)
    labels: str | None = Field(None, max_length=100)
    outputs: str | None = Field(None, max_length=100)


class Waiting(BaseModel):
    """A request of a page that no longer waits for it."""

    page: str = Field(max_length=100)
    request: int


def create_model_router(workbench: Workbench) -> APIRouter:
    """`/explorer/uploads/KIND`, `/explorer/models`, `/explorer/stop` and `/explorer/memory`."""
    router = APIRouter(prefix="/explorer")
    router.add_api_route("/uploads/{kind}", _receiver(workbench.uploads), methods=["POST"])
    router.add_api_route("/models", _loader(workbench), methods=["POST"])
    router.add_api_route("/stop", _stopper(workbench), methods=["POST"])
    router.add_api_route("/memory", lambda: memory(workbench), methods=["GET"])
    return router


def memory(workbench: Workbench) -> dict[str, int]:
    """Bytes: of the whole process, and of the pictures and results it keeps to be quick."""
    return {
        "process": psutil.Process().memory_info().rss,
        "kept": workbench.kept_bytes,
    }


# A form of another site can't send these types without asking first, and is then refused.
def _refused(request: Request, kind: str) -> Response | None:
    if request.headers.get("content-type") == kind:
        return None
    return JSONResponse({"error": f"Send this as {kind}."}, 415)


def _receiver(uploads: Uploads) -> Callable[..., Any]:
    async def receive(request: Request, kind: str, name: str = "") -> Response:
        refusal = _refused(request, BYTES)
        if refusal:
            return refusal
        try:
            return JSONResponse({"upload": await uploads.receive(kind, name, request.stream())})
        except ExplorerError as error:
            return JSONResponse({"error": str(error)}, 422)

    return receive


def _loader(workbench: Workbench) -> Callable[..., Any]:
    async def load(request: Request, order: Order) -> Response:
        refusal = _refused(request, JSON)
        if refusal:
            return refusal
        try:
            name = await run_in_threadpool(
                workbench.add_model,
                order.architecture,
                order.weights,
                order.labels,
                order.outputs,
            )
        except ExplorerError as error:
            return JSONResponse({"error": str(error)}, 422)
        return JSONResponse({"model": name})

    return load


def _stopper(workbench: Workbench) -> Callable[..., Any]:
    def stop(request: Request, waiting: Waiting) -> Response:
        refusal = _refused(request, JSON)
        if refusal:
            return refusal
        workbench.stops.stop((waiting.page, waiting.request))
        return JSONResponse({})

    return stop
