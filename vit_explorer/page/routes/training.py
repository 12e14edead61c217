"""What the page asks of trainings: the list, the one under way, and to start, stop or resume."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from fastapi import APIRouter, Depends, Query, Request
from fastapi.responses import StreamingResponse
from pydantic import BaseModel, Field, TypeAdapter
from starlette.concurrency import run_in_threadpool

from vit_explorer.page.routes.held import Bench
from vit_explorer.page.routes.jobs import NEWS_EVERY, telling
from vit_explorer.page.routes.request_bodies import read_order
from vit_explorer.page.state.recipe_changes import Changes
from vit_explorer.page.state.streamed_job import Tell
from vit_explorer.page.state.trainings import Trainings

LARGEST_ORDER = 10_000


class Start(BaseModel):
    order: Literal["start"]
    recipe: str
    data: str
    epochs: int | None = None
    position: str | None = None
    lr: float | None = None
    batch_size: int | None = None
    weights: str | None = None
    class_weights: Literal["balanced", "none"] | None = None

    @property
    def changes(self) -> Changes:
        return Changes(**self.model_dump(exclude={"order", "recipe", "data"}))


class Resume(BaseModel):
    order: Literal["resume"]
    run: str


class Stop(BaseModel):
    order: Literal["stop"]


ORDER = TypeAdapter(Annotated[Start | Resume | Stop, Field(discriminator="order")])


def trainings_of(workbench: Bench) -> Trainings:
    """Where runs are trained; a page that may not train lacks these addresses."""
    assert workbench.trainings is not None  # noqa: S101
    return workbench.trainings


Runs = Annotated[Trainings, Depends(trainings_of)]

router = APIRouter(prefix="/explorer/training")


@router.get("")
def describe(trainings: Runs) -> dict[str, Any]:
    return trainings.describe()


@router.get("/now")
def now(trainings: Runs) -> dict[str, Any] | None:
    return trainings.now()


@router.get("/compared")
def compare(trainings: Runs, run: Annotated[list[str], Query()]) -> dict[str, Any]:
    """Several runs side by side: `?run=one&run=another`."""
    from vit_explorer.page.payloads.compared_runs import told_runs

    return told_runs(trainings.compare(run))


@router.get("/news")
async def news(trainings: Runs, request: Request) -> StreamingResponse:
    """The training under way at each change, until it ends; hanging up does not stop it."""

    def work(tell: Tell) -> None:
        for change in trainings.news(NEWS_EVERY):
            tell({} if change is None else {"training": change})

    # Pages that watch for hours take no place of those who ask for answers.
    return telling(request, work, None)


@router.post("/orders")
async def follow(trainings: Runs, request: Request) -> dict[str, Any] | None:
    order = await read_order(request, ORDER, LARGEST_ORDER)
    await run_in_threadpool(_follow, trainings, order)
    return trainings.now()


def _follow(trainings: Trainings, order: Start | Resume | Stop) -> None:
    if isinstance(order, Start):
        trainings.start(order.recipe, order.data, order.changes)
    elif isinstance(order, Resume):
        trainings.resume(order.run)
    else:
        trainings.stop()
