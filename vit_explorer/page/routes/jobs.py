"""Whatever takes time: asked by POST, told line by line, and stopped when the asker hangs up."""

from __future__ import annotations

import time
from concurrent.futures import wait
from functools import partial
from typing import Annotated, Any, Literal

import numpy as np
from fastapi import APIRouter, Request
from fastapi.responses import StreamingResponse
from pydantic import BaseModel, Field, TypeAdapter

from vit_explorer.analysis.faithfulness import Faithfulness, Protocol
from vit_explorer.models.checkpoints.transfer import hearing
from vit_explorer.page.payloads.maps import describe_map, layered
from vit_explorer.page.payloads.result import describe_result
from vit_explorer.page.routes.held import Bench, Held
from vit_explorer.page.routes.request_bodies import read_order
from vit_explorer.page.state.extra_maps import Analyses, Progress
from vit_explorer.page.state.results import Result
from vit_explorer.page.state.session import Workbench
from vit_explorer.page.state.streamed_job import Tell, Telling, Work, paced
from vit_explorer.page.state.turns import Turns
from vit_explorer.page.visitors import visitor_of
from vit_explorer.sentences import keyed

LARGEST_ORDER = 10_000
LINES = "application/x-ndjson"
NEWS_EVERY = 0.5
# nginx keeps an answer back until it has some kilobytes of it, or all.
UNHELD = {"X-Accel-Buffering": "no"}

Names = Annotated[list[str], Field(min_length=1, max_length=100)]


class ExplanationAsked(BaseModel):
    """A picture by its key or an example's name, a model by its name, and what to explain."""

    picture: str = ""
    model: str = ""
    target: int | str | None = None


class ModelAsked(BaseModel):
    """A model to put together of files that were sent, by their keys, or to be asked in words."""

    architecture: str = Field("", max_length=200)
    weights: str | None = Field(None, max_length=100)
    labels: str | None = Field(None, max_length=100)
    outputs: str | None = Field(None, max_length=100)
    words: list[Annotated[str, Field(max_length=300)]] = Field([], max_length=30)


class MapAsked(BaseModel):
    """Of a map, by the page's name for it."""

    ask: Literal["map"]
    name: str


class TrustAsked(BaseModel):
    """Of maps by their names; where it may take longer than `within` seconds, how long is told."""

    ask: Literal["trust"]
    names: Names
    protocol: Protocol = "pixels"
    within: float | None = None


class LayersAsked(BaseModel):
    ask: Literal["layers"]


AnalysisAsked = MapAsked | TrustAsked | LayersAsked
EXPLANATION = TypeAdapter(ExplanationAsked)
MODEL = TypeAdapter(ModelAsked)
ANALYSIS: TypeAdapter[AnalysisAsked] = TypeAdapter(
    Annotated[AnalysisAsked, Field(discriminator="ask")]
)

router = APIRouter(prefix="/explorer")


def telling(request: Request, work: Work, turns: Turns | None) -> StreamingResponse:
    """The lines of work that begins with the answer, and ends when its asker hangs up."""
    ask = None if turns is None else partial(turns.ask, visitor_of(request))
    lines = Telling(work, ask).lines(request)
    return StreamingResponse(lines, media_type=LINES, headers=UNHELD)


@router.post("/explanations")
async def explain(workbench: Bench, request: Request) -> StreamingResponse:
    asked = await read_order(request, EXPLANATION, LARGEST_ORDER)

    def work(tell: Tell) -> None:
        tell_explanation(workbench, asked, tell)

    return telling(request, work, workbench.answering)


@router.post("/models")
async def load_model(workbench: Bench, request: Request) -> StreamingResponse:
    asked = await read_order(request, MODEL, LARGEST_ORDER)

    def work(tell: Tell) -> None:
        def tell_download(name: str, here: int, total: int) -> None:
            tell({"loading": name, "here": here, "total": total})

        files = (asked.weights, asked.labels)
        with hearing(tell_download):
            model = workbench.add_model(
                asked.architecture, *files, asked.outputs, words=tuple(asked.words)
            )
        tell({"model": model})

    return telling(request, work, workbench.answering)


@router.post("/results/{key}/analyses")
async def analyse(result: Held, workbench: Bench, request: Request) -> StreamingResponse:
    asked = await read_order(request, ANALYSIS, LARGEST_ORDER)

    def work(tell: Tell) -> None:
        tell_analysis(workbench, result, asked, tell)

    return telling(request, work, workbench.analysing)


def tell_explanation(workbench: Workbench, asked: ExplanationAsked, tell: Tell) -> None:
    """Tell how long the model has been loading, then the result.

    Raises:
        ExplorerError: a picture, model or target that can't be used.
    """
    if not workbench.is_loaded(asked.model):
        _wait_for_model(workbench, asked.model, tell)
    result = workbench.analyse(asked.picture, asked.model, asked.target)
    tell({"result": describe_result(result)})


def _wait_for_model(workbench: Workbench, model: str, tell: Tell) -> None:
    """Tell each moment how long it takes, and of a download how many bytes are here of how many.

    A loading ends where `tell` finds that the last who waits for it has left.
    """
    start = time.monotonic()
    with workbench.loads.waiting(model) as loading:
        while not loading.done():
            line = {"loading": model, "seconds": int(time.monotonic() - start)}
            download = workbench.loads.download(model)
            if download is not None:
                line["here"], line["total"] = download
            tell(line)
            wait([loading], NEWS_EVERY)
        loading.result()


def tell_analysis(workbench: Workbench, result: Result, asked: AnalysisAsked, tell: Tell) -> None:
    """Work out what was asked, telling lines: `done` and `total`, then the answer's parts.

    The maps of all layers are not told but that they are there, by their methods' names: they are
    numbers to fetch.
    """
    analyses = workbench.analyses
    progress = paced(tell)
    if isinstance(asked, MapAsked):
        heatmap = analyses.heatmap(result, asked.name, progress)
        tell({"map": describe_map(asked.name, heatmap)})
    elif isinstance(asked, TrustAsked):
        tell_trust(analyses, result, asked, progress, tell)
    else:
        names = layered()
        for done, name in enumerate(names, 1):
            analyses.layers(result, name)
            tell({"layers": name})
            progress(done, len(names))


def tell_trust(
    analyses: Analyses, result: Result, asked: TrustAsked, progress: Progress, tell: Tell
) -> None:
    """Tell a comparison with chance, and where its protocol differs from the other one; or, of one
    that nobody waits for, how long it would take."""
    if asked.within is not None:
        maps = {name: analyses.heatmap(result, name) for name in asked.names}
        seconds = analyses.verdicts.seconds(result, maps, asked.protocol)
        if seconds > asked.within:
            tell({"trust_seconds": {asked.protocol: seconds}})
            return
    trust = analyses.trust(result, asked.names, asked.protocol, progress)
    differing = analyses.verdicts.differing(result)
    tell({"trust": describe_trust(trust), "differ": {k: keyed(v) for k, v in differing.items()}})


def describe_trust(trust: Faithfulness) -> dict[str, Any]:
    """Scores and curves of each map, of the Gaussian in the middle, and of the random maps."""
    random = trust.random
    return {
        "protocol": trust.protocol,
        "of": len(random),
        "maps": {
            name: {
                "insertion": score.insertion,
                "deletion": score.deletion,
                "insertion_curve": score.insertion_curve.tolist(),
                "deletion_curve": score.deletion_curve.tolist(),
                "beats": trust.beaten(name),
                "verdict": trust.kind(name),
                "near": name in trust.unsettled,
            }
            for name, score in trust.scores.items()
        },
        "middle": {
            "insertion": trust.gaussian.insertion,
            "deletion": trust.gaussian.deletion,
        },
        "random": {
            "insertion": float(np.mean([score.insertion for score in random])),
            "deletion": float(np.mean([score.deletion for score in random])),
            "insertion_curves": [score.insertion_curve.tolist() for score in random],
            "deletion_curves": [score.deletion_curve.tolist() for score in random],
        },
    }
