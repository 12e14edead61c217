"""A model measured on the test pictures of a data set."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from tqdm.auto import tqdm

from vit_explorer.cluster.engine import Engine, RayEngine, find_engine
from vit_explorer.datasets.evaluation import Evaluation, evaluation_of
from vit_explorer.datasets.sources import Source, find_pictures
from vit_explorer.datasets.tiny_imagenet import named
from vit_explorer.errors import DataError, ModelError, OptionError, TargetError
from vit_explorer.models.devices import choose_precision
from vit_explorer.models.loaded import LoadedModel
from vit_explorer.models.outputs import answer, no_classes
from vit_explorer.models.zoo import load_model
from vit_explorer.sentences import Sentence

# Shown on the terminal, or called with the pictures done and all of them.
Progress = bool | Callable[[int, int], None]


def evaluate(
    model: LoadedModel | str | Path,
    data: str | Path,
    *,
    batch_size: int = 250,
    device: str = "auto",
    precision: str = "no",
    progress: Progress = False,
    engine: Engine = "local",
    parts: str | Path | None = None,
    resume: bool = False,
    **options: Any,
) -> Evaluation:
    """Measure a model on the test split of a data set, as `find_pictures` finds it.

    Args:
        model: a loaded model, or a name or checkpoint for `load_model`, which gets `options`.
        data: "cifar10", a folder with CIFAR-10's files, or a folder of class folders.
        precision: "no" (float32) or "bf16".
        progress: True for a bar; or called with how many pictures are done, and of how many; what
            it raises stops the evaluation.
        engine: "ray" spreads the pictures over a Ray cluster or all cores and GPUs of this machine
            (extra `ray`; a `RayEngine` says how many). Each worker loads the model by itself, so it
            must have a name or file; an unreadable picture doesn't end the evaluation, but is in
            its `unreadable`.
        parts: with Ray a folder that gets the answers as they come, in Parquet files.
        resume: keep the answers in `parts` that the same model gave about files that have not
            changed since.

    Only the data's classes count as answers, also of a model that knows more.

    Raises:
        DataError: no such data, unreadable pictures, or classes that aren't the model's.
        OptionError: another precision or engine, Ray is missing or doesn't start, or a model that
            its workers can't load.
        TargetError: a model whose outputs are no classes, of which one holds.
    """
    if precision == "fp16":
        raise OptionError("error.evaluate.fp16", "The precision was 'fp16', expected no or bf16.")
    spread = find_engine(RayEngine(device=device) if engine == "ray" else engine)
    if (spread is None and parts is not None) or (resume and parts is None):
        raise OptionError(
            "error.evaluate.parts",
            "Answers are kept as they come, and gone on with, by engine='ray' and in a folder "
            "(parts, or --out) alone; give both, or leave parts and resume out.",
        )
    source = find_pictures(data, "test")
    here = device if spread is None else "cpu"
    loaded = model if isinstance(model, LoadedModel) else load_model(model, device=here, **options)
    _check_classes(loaded)
    if spread is not None:
        from vit_explorer.datasets.spread_evaluation import SpreadEvaluation

        return SpreadEvaluation(loaded, source, precision, batch_size, progress).run(
            spread, None if parts is None else Path(parts), resume=resume
        )
    half = choose_precision(precision, loaded.device) == "bf16"
    logits = predict(loaded, source, batch_size=batch_size, half=half, progress=progress)
    return evaluation_of(logits, source, loaded.card.name)


def predict(
    model: LoadedModel,
    source: Source,
    *,
    batch_size: int = 250,
    half: bool = False,
    progress: Progress = False,
) -> Tensor:
    """A model's logits (n, classes) about pictures, a column for each of the pictures' classes.

    Raises:
        DataError: unreadable pictures, or classes that aren't the model's.
        ModelError: answers that are no numbers.
    """
    order = class_columns(model, source.classes)
    answers = []
    batches = _batches((model.preprocess.transform(p) for p in source.pictures()), batch_size)
    with counting(progress, len(source)) as count:
        for batch in batches:
            answers.append(logits_of(model, batch, order, half=half))
            count(len(batch))
    return numbers(torch.cat(answers), model)


@contextmanager
def counting(progress: Progress, total: int) -> Iterator[Callable[[int], None]]:
    """What is called with how many more pictures are done, to tell `progress`."""
    done = 0

    def count(more: int) -> None:
        nonlocal done
        done += more
        bar.update(more)
        if callable(progress):
            progress(done, total)

    with tqdm(total=total, desc="evaluating", disable=progress is not True, leave=False) as bar:
        yield count


@torch.inference_mode()
def logits_of(model: LoadedModel, batch: Tensor, order: list[int], *, half: bool) -> Tensor:
    """Logits (B, C) of the model's outputs in `order`, about prepared pictures (B, 3, H, W)."""
    # Between batches the model is free for others: a page explains with it meanwhile.
    with model.lock, torch.autocast(model.device.type, torch.bfloat16, enabled=half):
        raw = answer(model, batch.to(model.device)).raw.float().cpu()[:, order]
    # Their softmax over all or some classes shares what the model gave them.
    return raw.double().clamp(min=1e-38).log() if model.card.outputs == "probabilities" else raw


def numbers(raw: Tensor, model: LoadedModel) -> Tensor:
    """Logits (n, C) that are numbers. Raises ModelError where some are none."""
    broken = int((raw.isnan() | raw.isposinf()).any(dim=1).sum())
    if broken:
        raise ModelError(
            "error.evaluate.nan",
            "{model} answers {count:,} of {total:,} pictures with what is no number; its weights "
            "overflow, or were damaged in training: load it in float32, or train it anew.",
            model=model.card.name,
            count=broken,
            total=len(raw),
        )
    return raw


def _check_classes(model: LoadedModel) -> None:
    """Raises TargetError where no class of a picture is the one that holds."""
    card = model.card
    if card.outputs == "embedding":
        raise no_classes(
            card, Sentence("part.noclass.right", "so no answer of it is right or wrong")
        )
    if not card.sums_to_one:
        raise TargetError(
            "error.evaluate.outputs",
            "{model} can't be evaluated on folders of one class a picture: its outputs are "
            "{outputs}, of which none or several may hold; load it with outputs='classes' if "
            "that is wrong.",
            model=card.name,
            outputs=card.outputs,
        )


def class_columns(model: LoadedModel, classes: tuple[str, ...]) -> list[int]:
    """The model's output for each of the data's classes, by name where the model has names."""
    labels = [label.casefold() for label in named(model.labels)]
    missing = [name for name in classes if name.casefold() not in labels]
    if not missing:
        return [labels.index(name.casefold()) for name in classes]
    numbered = model.card.labels_source.kind == "numbered"
    if numbered and len(labels) == len(classes):
        return list(range(len(classes)))
    raise DataError(
        "error.evaluate.classes",
        "The data has classes that the model {model} does not: {missing}; the model has {count} "
        "such as {such!r}.",
        model=model.card.name,
        missing=", ".join(missing[:5]),
        count=len(labels),
        such=model.labels[0],
    )


def _batches(pixels: Iterator[Tensor], size: int) -> Iterator[Tensor]:
    batch: list[Tensor] = []
    for one in pixels:
        batch.append(one)
        if len(batch) == size:
            yield torch.stack(batch)
            batch = []
    if batch:
        yield torch.stack(batch)
