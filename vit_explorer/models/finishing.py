"""A module that was built → a loaded model, measured, with its card."""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from vit_explorer.errors import OptionError, UnsupportedModelError
from vit_explorer.models.calibration import read_calibration
from vit_explorer.models.card import ModelCard, Pair
from vit_explorer.models.checkpoints.labels import check_labels, names_in, read_labels
from vit_explorer.models.checkpoints.quantised import plain_tensor
from vit_explorer.models.loaded import Built, LoadedModel
from vit_explorer.models.outputs import Outputs
from vit_explorer.models.provenance import NUMBERED, Provenance
from vit_explorer.models.structure.anatomy import Anatomy
from vit_explorer.models.structure.attention_calls import Watch
from vit_explorer.models.structure.channels import input_channels
from vit_explorer.models.structure.foreign_calls import answering
from vit_explorer.models.structure.meaning import before_head, find_meaning
from vit_explorer.models.structure.measure import measure
from vit_explorer.models.structure.stages import detect_stages
from vit_explorer.pictures.data_config import input_size
from vit_explorer.pictures.preprocess import Preprocess
from vit_explorer.sentences import Sentence
from vit_explorer.stopping import look


def finish(
    built: Built,
    labels: str | Path | Sequence[str] | None,
    transform: Callable[..., Any] | None,
    preprocess_given: tuple[str, ...],
    trained_at: Pair | None,
    outputs: Outputs | None,
) -> LoadedModel:
    """Measure a module that was built, and load it with the card of what was found.

    Args:
        built: the module, and what is known of its pictures and labels.
        labels: class names that go before its own.
        transform: prepares a picture in place of what is known.
        preprocess_given: which keys of the preprocessing the caller gave.
        trained_at: pixels that the weights were trained at, where the caller said so.
        outputs: what the numbers are; None finds it.

    Raises:
        UnsupportedModelError: neither attention nor stages can be read.
        OptionError: preprocessing of another number of channels, or outputs it can't have.
        ModelError: labels that don't fit.
    """
    data = built.data if transform is None else {**built.data, "mean": 0, "std": 1}
    size: Pair = input_size(data)[1:]
    channels = input_channels(built.module, size)
    if transform is not None:
        preprocess = Preprocess.from_transform(transform, size, channels)
    else:
        preprocess = Preprocess.from_config(_for_channels(built, channels))
    tier: dict[str, Any] = {}
    anatomy = Anatomy()
    try:
        anatomy, structure = measure(built.module, size, built.name, channels)
    except UnsupportedModelError as refusal:
        structure, tier = detect_stages(built.module, size, built.name, refusal, channels)
    if labels is None:
        named = built.labels
    else:
        named = names_in(labels)[0] if isinstance(labels, (str, Path)) else tuple(labels)
    before, width = before_head(built.module, anatomy, tier.get("stages", ()), structure.dim)
    with answering(Watch(), anatomy.foreign):
        meaning = find_meaning(
            built.module,
            before,
            size,
            width=width,
            given=outputs,
            labels=named,
            channels=channels,
        )
    structure = dataclasses.replace(structure, classes=meaning.count)
    names, labels_source = _choose_labels(built, labels, structure.classes, meaning.outputs)
    calibration = read_calibration(built.metadata)
    card = ModelCard(
        name=built.name,
        source=built.source,
        parameters=sum(parameter.numel() for parameter in built.module.parameters()),
        image_size=size,
        **vars(structure),
        **tier,
        mean=preprocess.mean,
        std=preprocess.std,
        interpolation=preprocess.interpolation or "",
        crop_pct=1.0 if preprocess.crop_pct is None else preprocess.crop_pct,
        labels_source=labels_source,
        weights_notes=built.notes,
        weights_image_size=trained_at,
        **meaning.on_card(),
        preprocess_given=preprocess_given,
        preprocess_note=_preprocess_note(built, channels) if transform is None else "",
        channels=channels,
        precision=str(next(built.module.parameters()).dtype).removeprefix("torch."),
        calibration="" if calibration is None else str(calibration),
        unsure_below=None if calibration is None else calibration.unsure_below,
    )
    return LoadedModel(
        module=built.module,
        card=card,
        preprocess=preprocess,
        labels=names,
        anatomy=anatomy,
        sha256=built.sha256 or _hash_weights(built.module),
        metadata=built.metadata,
    )


def _for_channels(built: Built, channels: int) -> dict[str, Any]:
    """How pictures of so many channels are prepared.

    Raises:
        OptionError: mean and std are of another number of channels.
    """
    for name in ("mean", "std"):
        given = np.size(built.data[name])
        if given not in (1, channels) and (channels, given) != (1, 3):
            raise OptionError(
                "error.channels.mean",
                "{model} takes {channels} channels and its {name} has {given} numbers, so how "
                "they are normalised is not known; pass preprocess= with mean and std of "
                "{channels} numbers each, for values from 0 to 1.",
                model=built.name,
                channels=channels,
                name=name,
                given=given,
            )
    return {**built.data, "input_size": (channels, *built.data["input_size"][1:])}


def _preprocess_note(built: Built, channels: int) -> str:
    mean = built.data["mean"]
    if channels != 1 or np.size(mean) == 1:
        return ""
    return Sentence(
        "note.mean",
        "Mean and deviation of the one channel are the means of the three that are known: "
        "{numbers}.",
        numbers=", ".join(f"{value:.4g}" for value in (*mean, *built.data["std"])),
    )


def with_outputs(model: LoadedModel, outputs: Outputs) -> LoadedModel:
    """The same model, its numbers taken for something else.

    Raises:
        OptionError: outputs that it can't have.
    """
    card = model.card
    before, width = before_head(model.module, model.anatomy, card.stages, card.dim)
    with model.lock, answering(Watch(), model.anatomy.foreign):
        meaning = find_meaning(
            model.module,
            before,
            card.image_size,
            width=width,
            given=outputs,
            channels=card.channels,
        )
    names, source = model.labels, card.labels_source
    if len(names) != meaning.count or source == NUMBERED:
        names, source = _numbered(meaning.count, meaning.outputs), NUMBERED
    card = dataclasses.replace(
        card, classes=meaning.count, labels_source=source, **meaning.on_card()
    )
    return dataclasses.replace(model, card=card, labels=names)


def _choose_labels(
    built: Built, given: str | Path | Sequence[str] | None, classes: int, outputs: str
) -> tuple[tuple[str, ...], Provenance]:
    if given is not None:
        if isinstance(given, (str, Path)):
            return read_labels(given, classes, built.name), Provenance(
                "file", file=Path(given).name
            )
        return check_labels(given, classes, built.name), Provenance("given")
    if built.labels and len(built.labels) == classes:
        return check_labels(built.labels, classes, built.name), built.labels_source
    return _numbered(classes, outputs), NUMBERED


def _numbered(classes: int, outputs: str) -> tuple[str, ...]:
    kind = "value" if outputs == "value" else "class"
    return tuple(f"{kind} {index}" for index in range(classes))


def _hash_weights(module: nn.Module) -> str:
    digest = hashlib.sha256()
    for name, tensor in module.state_dict().items():
        look()
        digest.update(name.encode())
        if isinstance(tensor, torch.Tensor):
            digest.update(plain_tensor(tensor).flatten().view(torch.uint8).numpy().data)
    return digest.hexdigest()
