"""Analyses by address: asked by POST, told line by line, and stopped when the asker hangs up."""

from __future__ import annotations

import base64
import threading
from typing import Annotated, Any, Literal

import numpy as np
from fastapi import APIRouter, HTTPException, Request
from fastapi.responses import Response, StreamingResponse
from pydantic import BaseModel, Field, TypeAdapter

from vit_explorer.analysis.faithfulness import Faithfulness
from vit_explorer.methods import METHODS, Heatmap
from vit_explorer.page.payloads.maps import (
    describe_map,
    describe_method_map,
    describe_scale,
    layered,
)
from vit_explorer.page.routes.request_bodies import RefusedOrder, read_order
from vit_explorer.page.state.extra_maps import Analyses
from vit_explorer.page.state.results import Result
from vit_explorer.page.state.session import Workbench
from vit_explorer.page.state.streamed_job import Tell, Telling, paced

LARGEST_ORDER = 10_000
LINES = "application/x-ndjson"

Names = Annotated[list[str], Field(min_length=1, max_length=100)]


class MapAsked(BaseModel):
    """Of a map, by the page's name for it."""

    ask: Literal["map"]
    name: str


class TrustAsked(BaseModel):
    ask: Literal["trust"]
    names: Names


class LayersAsked(BaseModel):
    ask: Literal["layers"]


Asked = TypeAdapter(Annotated[MapAsked | TrustAsked | LayersAsked, Field(discriminator="ask")])


def create_analysis_router(workbench: Workbench) -> APIRouter:
    """The address under `/explorer/results/{key}` that further maps and scores are asked of."""
    analyses = Analyses()
    turn = threading.Lock()
    router = APIRouter(prefix="/explorer")

    async def receive(key: str, request: Request) -> Response:
        try:
            asked = await read_order(request, Asked, LARGEST_ORDER)
        except RefusedOrder as refused:
            return refused.answer
        result = workbench.result(key)
        if result is None:
            raise HTTPException(404, "The page no longer holds this result; explain it again.")

        def work(tell: Tell) -> None:
            answer(analyses, result, asked, tell)

        return StreamingResponse(Telling(work, turn).lines(request), media_type=LINES)

    router.add_api_route("/results/{key}/analyses", receive, methods=["POST"])
    return router


def answer(
    analyses: Analyses,
    result: Result,
    asked: MapAsked | TrustAsked | LayersAsked,
    tell: Tell,
) -> None:
    """Work out what was asked, telling lines: `done` and `total`, then the answer's parts."""
    progress = paced(tell)
    if isinstance(asked, MapAsked):
        heatmap = analyses.heatmap(result, asked.name, progress)
        tell({"map": describe_map(asked.name, heatmap)})
    elif isinstance(asked, TrustAsked):
        tell({"trust": describe_trust(analyses.trust(result, asked.names, progress))})
    else:
        names = layered()
        for done, name in enumerate(names, 1):
            tell({"layers": describe_layers(name, analyses.layers(result, name))})
            progress(done, len(names))


def describe_layers(name: str, heatmaps: list[Heatmap | None]) -> dict[str, Any]:
    """A method's maps of all layers: what they share, and each one's values as float32 bytes."""
    return {
        **describe_method_map(METHODS[name]),
        "layers": [
            None
            if heatmap is None
            else {
                **describe_scale(heatmap),
                "grid": list(heatmap.values.shape),
                "bytes": base64.b64encode(heatmap.values.astype("<f4").tobytes()).decode(),
            }
            for heatmap in heatmaps
        ],
    }


def describe_trust(trust: Faithfulness) -> dict[str, Any]:
    """Scores and curves of each map, of the Gaussian in the middle, and of the random maps."""
    random = trust.random
    return {
        "of": len(random),
        "maps": {
            name: {
                "insertion": score.insertion,
                "deletion": score.deletion,
                "insertion_curve": score.insertion_curve.tolist(),
                "deletion_curve": score.deletion_curve.tolist(),
                "beats": trust.beaten(name),
                "verdict": _verdict(trust, name),
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


def _verdict(trust: Faithfulness, name: str) -> str:
    """The page's word for what `Faithfulness.verdict` says."""
    if not trust.beats_chance(name):
        return "worse" if trust.loses_to_chance(name) else "chance"
    return "good" if trust.beats_middle(name) else "middle"
