"""What the Data view asks: to open a data set, its table and pictures, what a model looks at."""

from __future__ import annotations

from functools import partial
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Depends, Request, Response
from fastapi.responses import StreamingResponse
from pydantic import BaseModel, Field, TypeAdapter
from starlette.concurrency import run_in_threadpool

from vit_explorer.analysis.query_key_space import Layout
from vit_explorer.page.payloads.labelled_sets import describe_set, picture_file, table_bytes
from vit_explorer.page.payloads.many_pictures import (
    MOST_MAPS,
    judge_maps,
    looks_at,
    points_of,
    query_keys_of,
)
from vit_explorer.page.payloads.result import picture_bytes
from vit_explorer.page.routes.held import Bench
from vit_explorer.page.routes.jobs import telling
from vit_explorer.page.routes.numbers import Packed
from vit_explorer.page.routes.request_bodies import read_order
from vit_explorer.page.state.labelled_sets import LabelledSet, LabelledSets
from vit_explorer.page.state.session import Workbench
from vit_explorer.page.state.streamed_job import Tell, paced

LARGEST_ORDER = 20_000
# No window shows more at once.
MOST_SHOWN = 100
THUMBNAIL_SIDE = 128
# A set's pictures stay what they are as long as it is held.
KEPT = {"Cache-Control": "private, max-age=3600"}

Text = Annotated[str, Field(max_length=1000)]


class FolderAsked(BaseModel):
    """Measure a model on a data folder."""

    kind: Literal["folder"]
    data: Text
    model: Text


class RunAsked(BaseModel):
    kind: Literal["run"]
    run: Text


class FilesAsked(BaseModel):
    """Open an evaluation's files, and its pictures in `data`."""

    kind: Literal["files"]
    place: Text
    data: Text = ""


Places = Annotated[list[Annotated[int, Field(ge=0)]], Field(min_length=1, max_length=MOST_MAPS)]


class LooksAsked(BaseModel):
    """What the model looks at in some pictures."""

    ask: Literal["looks"]
    model: Text
    places: Places


class MapsAsked(BaseModel):
    """Each picture's map, and whether it beats chance."""

    ask: Literal["maps"]
    model: Text
    places: Annotated[list[Annotated[int, Field(ge=0)]], Field(min_length=1, max_length=MOST_SHOWN)]
    colormap: Text = "inferno"


class PointsAsked(BaseModel):
    """All pictures' embeddings."""

    ask: Literal["points"]
    model: Text


class QueryKeysAsked(BaseModel):
    """Queries and keys of a head over some pictures."""

    ask: Literal["query_keys"]
    model: Text
    places: Places
    layer: int = -1
    head: int = 0
    layout: Layout = "pca"


OpeningAsked = FolderAsked | RunAsked | FilesAsked
ViewAsked = LooksAsked | MapsAsked | PointsAsked | QueryKeysAsked
OPENING: TypeAdapter[OpeningAsked] = TypeAdapter(
    Annotated[OpeningAsked, Field(discriminator="kind")]
)
VIEW: TypeAdapter[ViewAsked] = TypeAdapter(Annotated[ViewAsked, Field(discriminator="ask")])


def sets_of(workbench: Bench) -> LabelledSets:
    """Where data sets are held; a page that may not train lacks these addresses."""
    assert workbench.sets is not None  # noqa: S101
    return workbench.sets


Sets = Annotated[LabelledSets, Depends(sets_of)]


def opened_set(key: str, sets: Sets) -> LabelledSet:
    """The data set of an address; raises OptionError where it is no longer held."""
    return sets.get(key)


Opened = Annotated[LabelledSet, Depends(opened_set)]

router = APIRouter(prefix="/explorer/data")


@router.post("")
async def open_set(workbench: Bench, sets: Sets, request: Request) -> StreamingResponse:
    asked = await read_order(request, OPENING, LARGEST_ORDER)
    work = partial(_open, workbench, sets, asked)
    return telling(request, work, workbench.measuring)


def _open(workbench: Workbench, sets: LabelledSets, asked: OpeningAsked, tell: Tell) -> None:
    if isinstance(asked, FolderAsked):
        model = workbench.model(asked.model)
        opened = sets.evaluate(model, asked.model, asked.data, paced(tell))
    elif isinstance(asked, RunAsked):
        opened = sets.open_run(asked.run)
    else:
        opened = sets.open_files(asked.place, asked.data)
    tell({"set": describe_set(opened)})


@router.get("/{key}")
def described(opened: Opened) -> dict[str, Any]:
    return describe_set(opened)


@router.get("/{key}/table")
def table(opened: Opened) -> Packed:
    return Packed(table_bytes(opened))


@router.get("/{key}/pictures/{place:int}")
def thumbnail(opened: Opened, place: int) -> Response:
    small = picture_bytes(opened.picture(place), longest=THUMBNAIL_SIDE)
    return Response(small, media_type="image/jpeg", headers=KEPT)


@router.post("/{key}/pictures/{place:int}")
async def take_picture(opened: Opened, workbench: Bench, place: int) -> dict[str, str]:
    """Hold a picture of the set as one that was sent."""

    def take() -> dict[str, str]:
        return {"picture": workbench.add_picture(*picture_file(opened, place))}

    return await run_in_threadpool(take)


@router.post("/{key}/views")
async def view(opened: Opened, workbench: Bench, request: Request) -> StreamingResponse:
    asked = await read_order(request, VIEW, LARGEST_ORDER)

    def work(tell: Tell) -> None:
        tell({"view": _view(workbench, opened, asked, tell)})

    return telling(request, work, workbench.measuring)


def _view(
    workbench: Workbench, opened: LabelledSet, asked: ViewAsked, tell: Tell
) -> dict[str, Any]:
    model = workbench.model(asked.model)
    if isinstance(asked, LooksAsked):
        return looks_at(model, opened, asked.places, paced(tell))
    if isinstance(asked, MapsAsked):
        judge_maps(model, opened, asked.places, asked.colormap, tell, paced(tell))
        return {}
    if isinstance(asked, QueryKeysAsked):
        where = asked.layer, asked.head, asked.layout
        return query_keys_of(model, opened, asked.places, *where, paced(tell))
    return points_of(model, opened, paced(tell))
