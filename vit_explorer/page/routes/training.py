"""What the page asks of trainings: the list, the one under way, and to start, stop or resume."""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Request
from fastapi.responses import JSONResponse, Response
from pydantic import BaseModel, Field, TypeAdapter
from starlette.concurrency import run_in_threadpool

from vit_explorer.errors import ExplorerError
from vit_explorer.page.routes.request_bodies import RefusedOrder, read_order
from vit_explorer.page.state.trainings import Trainings

_LARGEST_ORDER = 10_000


class Start(BaseModel):
    order: Literal["start"]
    recipe: str
    data: str
    epochs: int | None = None


class Resume(BaseModel):
    order: Literal["resume"]
    run: str


class Stop(BaseModel):
    order: Literal["stop"]


Order = TypeAdapter(Annotated[Start | Resume | Stop, Field(discriminator="order")])


def create_training_router(trainings: Trainings) -> APIRouter:
    """The addresses under `/explorer/training`, which a page that may not train lacks."""
    router = APIRouter(prefix="/explorer/training")
    router.add_api_route("", trainings.describe, methods=["GET"])
    router.add_api_route("/now", trainings.now, methods=["GET"])
    router.add_api_route("/orders", _receiver(trainings), methods=["POST"])
    return router


def _receiver(trainings: Trainings) -> Callable[..., Any]:
    async def receive(request: Request) -> Response:
        try:
            order = await read_order(request, Order, _LARGEST_ORDER)
            await run_in_threadpool(_follow, trainings, order)
        except RefusedOrder as refused:
            return refused.answer
        except ExplorerError as error:
            return JSONResponse({"error": str(error)}, 422)
        return JSONResponse(trainings.now())

    return receive


def _follow(trainings: Trainings, order: Start | Resume | Stop) -> None:
    if isinstance(order, Start):
        trainings.start(order.recipe, order.data, order.epochs)
    elif isinstance(order, Resume):
        trainings.resume(order.run)
    else:
        trainings.stop()
