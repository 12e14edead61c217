"""Joins the path: a picture and a model to predictions and heatmaps. Every surface calls this."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence, Sized
from functools import partial
from itertools import islice
from typing import Any, overload

from vit_explorer.errors import ExplorerError, TargetError
from vit_explorer.explaining.explanation import Explanation, versions
from vit_explorer.explaining.plan import Request
from vit_explorer.methods import METHODS, Heatmap
from vit_explorer.models.compared import reading
from vit_explorer.models.loaded import LoadedModel
from vit_explorer.models.predictions import best, predicted
from vit_explorer.models.targets import Aim, Target, find_target
from vit_explorer.sentences import Sentence
from vit_explorer.tracing.trace import Trace, trace_batch

Progress = Callable[[str, int, int], None]


@overload
def explain(
    model: LoadedModel,
    picture: list[Any] | tuple[Any, ...],
    methods: Sequence[str] | str | None = ...,
    target: Target | Sequence[Target] = ...,
    *,
    options: Mapping[str, Mapping[str, Any]] | None = ...,
    top: int = ...,
    progress: Progress | None = ...,
) -> list[Explanation]: ...


@overload
def explain(
    model: LoadedModel,
    picture: Any,
    methods: Sequence[str] | str | None,
    target: list[Target] | tuple[Target, ...],
    *,
    options: Mapping[str, Mapping[str, Any]] | None = ...,
    top: int = ...,
    progress: Progress | None = ...,
) -> list[Explanation]: ...


@overload
def explain(
    model: LoadedModel,
    picture: Any,
    methods: Sequence[str] | str | None = ...,
    target: Target = ...,
    *,
    options: Mapping[str, Mapping[str, Any]] | None = ...,
    top: int = ...,
    progress: Progress | None = ...,
) -> Explanation: ...


def explain(
    model: LoadedModel,
    picture: Any,
    methods: Sequence[str] | str | None = None,
    target: Target | Sequence[Target] = None,
    *,
    options: Mapping[str, Mapping[str, Any]] | None = None,
    top: int = 5,
    progress: Progress | None = None,
) -> Explanation | list[Explanation]:
    """Predict, and explain the prediction by each method, from one pass.

    Args:
        model: from `load_model`.
        picture: path, bytes, PIL picture, array, `Picture` or `Prepared`; or a list of them, which
            share passes and give a list. `explain_many` takes more than memory holds.
        methods: a name or names from `METHODS`; None for rollout and Grad-CAM, where the model
            allows them; () for predictions alone; "all" for every one
            that the model allows, the others named in `skipped` with the reason; "fast" for those
            of "all" that need no more than the one pass.
        target: class index or label, "not" and one of these for what speaks against it, or "A - B"
            for what speaks for A rather than B; None is the top prediction. For a list of pictures
            also a list, one a picture; for one picture a list of targets gives a list of
            explanations, which share passes.
        options: a method's options by its name, such as {"rollout": {"fusion": "max"}}.
        top: how many predictions to return.
        progress: called with (method, passes done, passes in all) by methods that run the model
            again; what it raises stops the explanation.

    Raises:
        ExplorerError: a picture, method, option or target that can't be used.
    """
    if isinstance(picture, (list, tuple)):
        return list(
            explain_many(
                model, picture, methods, target, options=options, top=top, progress=progress
            )
        )
    if isinstance(target, (list, tuple)):
        prepared = model.prepare(picture) if isinstance(model, LoadedModel) else picture
        many = explain_many(
            model, [prepared] * len(target), methods, target,
            options=options, top=top, progress=progress,
        )  # fmt: skip
        return list(many)
    own: Any = [target]
    return next(
        explain_many(model, [picture], methods, own, options=options, top=top, progress=progress)
    )


def explain_many(
    model: LoadedModel,
    pictures: Iterable[Any],
    methods: Sequence[str] | str | None = None,
    target: Target | Sequence[Target] = None,
    *,
    options: Mapping[str, Mapping[str, Any]] | None = None,
    top: int = 5,
    progress: Progress | None = None,
    batch_size: int | None = None,
) -> Iterator[Explanation]:
    """Explain pictures one after another, in their order, several sharing each pass.

    Pictures are opened as they are needed and nothing is kept of those yielded, so that there may
    be any number. Arguments are those of `explain`, and:

    Args:
        target: one for all, or a list with one a picture.
        batch_size: pictures a pass; None takes up to 16 (64 on a GPU), fewer of large ones.

    Raises:
        ExplorerError: as `explain`, when the picture it is about is reached.
    """
    request = Request.check(model, methods, options)
    model = reading(model, target if isinstance(target, (list, tuple)) else (target,))
    size = request.batch_size(model, batch_size)
    asked = _with_targets(model, pictures, target)
    return _in_batches(model, asked, request, top, progress, size)


def _with_targets(
    model: LoadedModel, pictures: Iterable[Any], target: Target | Sequence[Target]
) -> Iterator[tuple[Any, Aim | None]]:
    if not isinstance(target, (list, tuple)):
        aim = find_target(model, target)  # type: ignore[arg-type]  # says what else it is
        return ((picture, aim) for picture in pictures)
    if isinstance(pictures, Sized) and len(pictures) != len(target):
        raise _uneven(len(target), len(pictures))
    return _paired(pictures, [find_target(model, own) for own in target])


def _paired(
    pictures: Iterable[Any], aims: Sequence[Aim | None]
) -> Iterator[tuple[Any, Aim | None]]:
    """Each picture with its target; pictures that are no list are counted as they are reached."""
    reached = 0
    for reached, picture in enumerate(pictures, 1):
        if reached > len(aims):
            raise _uneven(
                len(aims), Sentence("part.more_than", "more than {count}", count=len(aims))
            )
        yield picture, aims[reached - 1]
    if reached < len(aims):
        raise _uneven(len(aims), reached)


def _uneven(count: int, pictures: int | str) -> TargetError:
    return TargetError(
        "error.targets.count",
        "{count} targets were given for {pictures} pictures; give one for all, or one for each.",
        count=count,
        pictures=pictures,
    )


def _in_batches(
    model: LoadedModel,
    asked: Iterator[tuple[Any, Aim | None]],
    request: Request,
    top: int,
    progress: Progress | None,
    batch_size: int,
) -> Iterator[Explanation]:
    while batch := list(islice(asked, batch_size)):
        prepared, seconds = [], []
        for picture, _ in batch:
            start = time.perf_counter()
            prepared.append(model.prepare(picture))
            seconds.append({"prepare": time.perf_counter() - start})
        start = time.perf_counter()
        targets = [target for _, target in batch]
        traces = trace_batch(model, prepared, targets=targets, gradients=request.gradients)
        share = (time.perf_counter() - start) / len(batch)
        del batch, prepared
        waiting = deque(zip(traces, seconds, strict=True))
        del traces
        while waiting:
            passed, own = waiting.popleft()
            yield _explained(passed, request, top, progress, {**own, "trace": share})


def _explained(
    passed: Trace,
    request: Request,
    top: int,
    progress: Progress | None,
    seconds: dict[str, float],
) -> Explanation:
    labels, outputs = passed.model.labels, passed.card.outputs
    aim = None
    if passed.aim is not None:
        aim = predicted(passed.raw, labels, passed.aim, outputs)
    heatmaps: dict[str, Heatmap] = {}
    skipped = dict(request.skipped)
    for name, options in request.options.items():
        start = time.perf_counter()
        try:
            told = partial(progress, name) if progress else None
            label = aim.label if aim else None
            heatmaps[name] = METHODS[name](passed, label=label, progress=told, **options)
        except ExplorerError as error:
            if not request.forgiving:
                raise
            skipped[name] = error.sentence
        seconds[name] = time.perf_counter() - start
    return Explanation(
        picture=passed.prepared.picture,
        prepared=passed.prepared,
        model=passed.model,
        predictions=best(passed.raw, labels, top, outputs),
        target=aim,
        heatmaps=heatmaps,
        skipped=skipped,
        seconds=seconds,
        versions=versions(),
        trace=passed,
    )
