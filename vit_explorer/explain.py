"""Joins the path: a picture and a model to predictions and heatmaps. Every surface calls this."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from typing import Any

from vit_explorer.errors import ExplorerError, OptionError, nearest
from vit_explorer.explanation import Explanation, Prediction, versions
from vit_explorer.methods import METHODS, Heatmap
from vit_explorer.methods.tokens import PatchEmbeddingCheck, check_patch_embedding, patch_grid
from vit_explorer.methods.weights import position_similarity
from vit_explorer.models.card import ModelCard
from vit_explorer.models.zoo import LoadedModel, available_models, load_model
from vit_explorer.pictures import open_picture
from vit_explorer.trace import Gradients, Target, Trace, find_target, trace

__all__ = [
    "METHODS",
    "Explanation",
    "LoadedModel",
    "ModelCard",
    "PatchEmbeddingCheck",
    "Prediction",
    "available_models",
    "check_patch_embedding",
    "explain",
    "load_model",
    "open_picture",
    "patch_grid",
    "position_similarity",
    "trace",
]


def explain(
    model: LoadedModel,
    picture: Any,
    methods: Sequence[str] | str = ("rollout", "grad_cam"),
    target: Target = None,
    *,
    options: Mapping[str, Mapping[str, Any]] | None = None,
    top: int = 5,
    progress: Callable[[str, int, int], None] | None = None,
) -> Explanation:
    """Predict, and explain the prediction by each method, from one pass.

    Args:
        model: from `load_model`.
        picture: path, bytes, PIL picture, array, `Picture` or `Prepared`.
        methods: a name or names from `METHODS`; () for predictions alone; "all" for every one
            that the model allows, the others named in `skipped` with the reason; "fast" for those
            of "all" that need no more than the one pass.
        target: class index or label; None is the top prediction.
        options: a method's options by its name, such as {"rollout": {"fusion": "max"}}.
        top: how many predictions to return.
        progress: called with (method, passes done, passes in all) by methods that run the model
            again; what it raises stops the explanation.

    Raises:
        ExplorerError: a picture, method, option or target that can't be used.
    """
    seconds: dict[str, float] = {}
    if not isinstance(model, LoadedModel):
        raise OptionError(
            f"explain received {type(model).__name__} as its model; load it first with load_model."
        )
    asked = (methods,) if isinstance(methods, str) else tuple(methods)
    every = "all" in asked or "fast" in asked
    names = _known(asked) if every else asked
    chosen = _choose_options(names, options or {})
    index = find_target(model, target)
    if isinstance(top, bool) or not isinstance(top, int) or top < 1:
        raise OptionError(f"The number of predictions was {top!r}, expected 1 or more.")
    skipped: dict[str, str] = {}
    if every and not model.card.classes:
        reason = f"{model.card.name} has no classifier"
        skipped = {name: reason for name in names if METHODS[name].class_specific}
        names = tuple(name for name in names if name not in skipped)
    with _timed(seconds, "prepare"):
        prepared = model.prepare(picture)
    with _timed(seconds, "trace"):
        depth = model.card.depth
        needs = [METHODS[name].needs(chosen[name], depth) for name in names]
        passed = trace(model, prepared, target=index, gradients=_furthest(needs))
    predictions = _predict(model, passed, top)
    aim = None if passed.target is None else _prediction(model, passed, passed.target)
    heatmaps: dict[str, Heatmap] = {}
    for name in names:
        with _timed(seconds, name):
            try:
                label = aim.label if aim else None
                told = partial(progress, name) if progress else None
                heatmaps[name] = METHODS[name](passed, label=label, progress=told, **chosen[name])
            except ExplorerError as error:
                if not every:
                    raise
                skipped[name] = str(error)
    return Explanation(
        picture=prepared.picture,
        prepared=prepared,
        model=model,
        predictions=predictions,
        target=aim,
        heatmaps=heatmaps,
        skipped=skipped,
        seconds=seconds,
        versions=versions(),
        trace=passed,
    )


def _choose_options(
    names: Iterable[str], given: Mapping[str, Mapping[str, Any]]
) -> dict[str, dict[str, Any]]:
    names = tuple(names)
    for name in (*names, *given):
        if name not in METHODS:
            raise OptionError(
                f"There is no method {name!r}{nearest(name, METHODS)}; the methods: "
                f"{', '.join(METHODS)}."
            )
    unused = [name for name in given if name not in names]
    if unused:
        raise OptionError(
            f"Options were given for {unused[0]!r}, which is not among the methods asked for; add "
            "it to methods or leave its options out."
        )
    return {name: METHODS[name].options(given.get(name, {})) for name in names}


def _known(asked: Sequence[str]) -> tuple[str, ...]:
    """The methods that "all" or "fast", with others named beside it, stand for."""
    return tuple(
        name
        for name, method in METHODS.items()
        if "all" in asked or not method.runs_model or name in asked
    )


def _furthest(needs: Iterable[Gradients]) -> Gradients:
    order: tuple[Gradients, ...] = ("none", "last", "all")
    return max(needs, key=order.index, default="none")


def _predict(model: LoadedModel, passed: Trace, top: int) -> tuple[Prediction, ...]:
    count = min(top, len(passed.logits))
    best = passed.logits.topk(count).indices.tolist() if count else []
    return tuple(_prediction(model, passed, index) for index in best)


def _prediction(model: LoadedModel, passed: Trace, index: int) -> Prediction:
    return Prediction(index, model.labels[index], float(passed.probabilities[index]))


@contextmanager
def _timed(seconds: dict[str, float], name: str) -> Iterator[None]:
    start = time.perf_counter()
    yield
    seconds[name] = time.perf_counter() - start
