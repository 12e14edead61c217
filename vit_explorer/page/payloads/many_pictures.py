"""What a model makes of many pictures of a set, as the page draws it."""

from __future__ import annotations

import base64
from collections.abc import Callable, Iterator, Sequence
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import torch

from vit_explorer.analysis.border_relevance import CORNERS, border_relevance
from vit_explorer.analysis.components import principal_components
from vit_explorer.analysis.faithfulness import faithfulness
from vit_explorer.analysis.map_clusters import FEWEST, cluster_maps
from vit_explorer.analysis.query_key_space import Layout, query_key_space
from vit_explorer.datasets.evaluate import class_columns
from vit_explorer.errors import OptionError
from vit_explorer.explaining.explain import explain, explain_many
from vit_explorer.explaining.relevance_maps import cheap_method, relevance_maps, token_embeddings
from vit_explorer.models.loaded import LoadedModel
from vit_explorer.page.payloads.result import picture_bytes
from vit_explorer.page.state.labelled_sets import LabelledSet
from vit_explorer.pictures.preprocess import Prepared
from vit_explorer.stopping import look
from vit_explorer.tracing.trace import Trace

# Maps of more pictures take minutes on a small machine, and their mean is no other.
MOST_MAPS = 500
MOST_POINTS = 10_000
OVERLAY_SIDE = 176  # twice what the page gives it, for fine screens
# Queries and keys together; neighbours of more take a minute on a small machine.
MOST_TOKENS: dict[Layout, int] = {"pca": 10_000, "tsne": 2_000}
Told = Callable[[int, int], None]
On = Literal["whole", "crop"]


def looks_at(
    model: LoadedModel, opened: LabelledSet, places: Sequence[int], told: Told
) -> dict[str, Any]:
    """What a model looks at in some pictures of a set when it says what was predicted: the mean
    map, where it lies, and its kinds.

    Raises:
        ExplorerError: classes that aren't the model's, or pictures that can't be had.
    """
    predictions = opened.predictions
    _check_places(opened, places)
    columns = class_columns(model, predictions.classes)
    targets = [columns[predictions.predicted[place]] for place in places]
    found = relevance_maps(
        model,
        map(opened.picture, places),
        targets,
        progress=lambda done: told(done, len(places)),
    )
    answer: dict[str, Any] = {
        "method": found.method,
        "grid": list(found.values.shape[1:]),
        "mean": found.values.mean(axis=0).ravel().tolist(),
        "places": list(places),
        "border": None,
        "clusters": None,
    }
    if min(found.values.shape[1:]) >= 3:
        place = border_relevance(found.values)
        answer["border"] = {
            "border": float(place.border.mean()),
            "even_border": place.even_border,
            "ratio": place.border_ratio,
            "corners": dict(zip(CORNERS, place.corner_ratios, strict=True)),
        }
    if len(places) >= FEWEST:
        kinds = cluster_maps(found.values)
        answer["clusters"] = {
            "labels": kinds.labels.tolist(),
            "means": kinds.means.reshape(len(kinds.means), -1).tolist(),
            "silhouette": kinds.silhouette,
        }
    return answer


def judge_maps(
    model: LoadedModel,
    opened: LabelledSet,
    places: Sequence[int],
    colormap: str,
    tell: Callable[[dict[str, Any]], None],
    told: Told,
) -> None:
    """Tell each picture's map of what speaks for its prediction, over the picture, and how many
    random maps it beats, one after the other.

    Raises:
        ExplorerError: as `looks_at` and `faithfulness`.
    """
    _check_places(opened, places)
    columns = class_columns(model, opened.predictions.classes)
    method = cheap_method(model)
    for done, place in enumerate(places, 1):
        target = columns[opened.predictions.predicted[place]]
        found = explain(model, opened.picture(place), method, target, top=1)
        look()
        judged = faithfulness(
            model, found.prepared, found.heatmaps, target=target, progress=lambda *_: look()
        )
        where: On = "whole" if found.prepared.box_known else "crop"
        laid = found.overlay(method, colormap=colormap, on=where)
        image = base64.b64encode(picture_bytes(laid, longest=OVERLAY_SIDE)).decode()
        one = {
            "place": place,
            "method": method,
            "image": f"data:image/jpeg;base64,{image}",
            "beats": judged.beaten(method),
            "of": len(judged.random),
            "verdict": judged.kind(method),
        }
        tell({"one": one})
        told(done, len(places))


def points_of(model: LoadedModel, opened: LabelledSet, told: Told) -> dict[str, Any]:
    """Embeddings of a set's pictures on their two strongest principal components.

    Of more than `MOST_POINTS` pictures, so many evenly spaced ones.

    Raises:
        ExplorerError: pictures that can't be had, or a model without tokens.
    """
    places = spread(len(opened.predictions), MOST_POINTS)
    rows = token_embeddings(
        model, map(opened.picture, places), progress=lambda done: told(done, len(places))
    )
    if not rows.shape[1]:
        raise OptionError(
            "error.data.tokens",
            "{model} keeps no tokens that could be drawn as points; choose a Vision Transformer.",
            model=model.card.name,
        )
    look()
    scores, shares = principal_components(torch.from_numpy(rows), 2)
    return {
        "places": places,
        "x": scores[:, 0].tolist(),
        "y": scores[:, 1].tolist(),
        "explained": shares.tolist(),
    }


def query_keys_of(
    model: LoadedModel,
    opened: LabelledSet,
    places: Sequence[int],
    layer: int,
    head: int,
    layout: Layout,
    told: Told,
) -> dict[str, Any]:
    """Queries and keys of a head over some pictures, in one plane.

    Of more pictures than `MOST_TOKENS` allows, so many evenly spaced ones. `x` and `y` hold all
    pictures' queries, token by token, then all keys; `cells` says where the patches lie in each
    picture, as shares of its width and height (left, top, right, bottom), None where that isn't
    known.

    Raises:
        ExplorerError: as `query_key_space`, or pictures that can't be had.
    """
    _check_places(opened, places)
    card = model.card
    most = max(1, MOST_TOKENS[layout] // (2 * max(1, card.tokens)))
    chosen = [places[at] for at in spread(len(places), most)]
    cells: list[list[float] | None] = []

    def passed() -> Iterator[Trace]:
        for one in explain_many(model, map(opened.picture, chosen), (), top=1):
            cells.append(_covered(one.trace.prepared))
            yield one.trace

    found = query_key_space(
        passed(),
        layer=layer,
        head=head,
        layout=layout,
        progress=lambda done: told(done, len(chosen)),
    )
    points = np.concatenate([found.query_points, found.key_points]).reshape(-1, 2)
    return {
        "places": chosen,
        "cells": cells,
        "grid": list(card.grid),
        "prefix": list(card.prefix_names),
        "layer": found.layer,
        "layers": card.depth,
        "head": found.head,
        "heads": card.heads,
        "layout": layout,
        "x": points[:, 0].tolist(),
        "y": points[:, 1].tolist(),
        "explained": found.explained,
        "agreement": found.agreement,
        "drawn_agreement": found.drawn_agreement,
        "biased": found.biased,
    }


def _covered(prepared: Prepared) -> list[float] | None:
    """Where the patches lie in a picture, as shares of its size."""
    if not prepared.box_known:
        return None
    width, height = prepared.picture.image.size
    left, top, right, bottom = prepared.box
    return [left / width, top / height, right / width, bottom / height]


def _check_places(opened: LabelledSet, places: Sequence[int]) -> None:
    count = len(opened.predictions)
    if max(places) >= count:
        raise OptionError(
            "error.data.place",
            "Picture {place} was asked for, expected one of {count}; filter the pictures anew.",
            place=max(places),
            count=count,
        )


def spread(count: int, most: int) -> list[int]:
    """At most so many places of `count`, evenly spaced."""
    chosen: npt.NDArray[np.int64] = np.unique(np.linspace(0, count - 1, min(count, most)).round())
    return chosen.astype(int).tolist()
