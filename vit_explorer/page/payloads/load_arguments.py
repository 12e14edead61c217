"""How a model on the page is loaded elsewhere: `load_model`'s arguments."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from vit_explorer.models.card import ModelCard
from vit_explorer.models.checkpoints.text_towers import HUB, OPEN_CLIP
from vit_explorer.models.loaded import LoadedModel
from vit_explorer.models.outputs import GIVEN
from vit_explorer.models.shipped import SHIPPED


def load_arguments(model: LoadedModel, run: Path | None = None) -> dict[str, Any]:
    """`model` and, where needed, `weights`, `labels`, picture sizes, `pretrained`, `preprocess`,
    `outputs` and `words`; of a module that was passed in, which only its own program can load,
    `module` alone.

    `run` is the weights file of a run of this page; others are named without their folder.
    """
    card = model.card
    if card.source.kind == "module":
        return {"model": card.name, "module": card.source.name}
    given = _source(card, run)
    if card.labels_source.kind == "file":
        given["labels"] = card.labels_source.file
    if card.labels_source.kind == "words":
        given["words"] = list(model.labels)
    if card.image_size != _native_size(model):
        given["image_size"] = list(card.image_size)
    if card.weights_image_size is not None:
        given["weights_image_size"] = list(card.weights_image_size)
    if card.preprocess_given:
        described = model.preprocess.to_dict()
        given["preprocess"] = {name: described[name] for name in card.preprocess_given}
    if card.outputs_found == GIVEN:
        given["outputs"] = card.outputs
    return given


def _source(card: ModelCard, run: Path | None) -> dict[str, Any]:
    source = card.source
    if run is not None:
        return {"model": run.as_posix()}
    if source.kind == "file" and card.name not in SHIPPED:
        return {"model": source.file}
    if source.kind == "timm_file":
        return {"model": card.name, "weights": source.file}
    if source.kind == "open_clip" and not card.name.startswith(HUB):
        return {"model": f"{OPEN_CLIP}{source.name}"}
    if source.kind == "timm_random":
        return {"model": card.name, "pretrained": False}
    return {"model": card.name}


def _native_size(model: LoadedModel) -> tuple[int, ...]:
    """The image size that the weights were made for, as far as they say it."""
    described = model.metadata.get("preprocess", {}).get("input_size")
    if described is None:
        import timm

        default = timm.get_pretrained_cfg(model.card.name, allow_unregistered=True)
        described = default.input_size if default else (3, *model.card.image_size)
    return tuple(described[1:])
