"""A timm name, with the hub's weights, a file's or none → a built module."""

from __future__ import annotations

import math
from contextlib import nullcontext
from typing import Any

import timm
from timm.data import ImageNetInfo, infer_imagenet_subset, resolve_model_data_config
from torch import nn

from vit_explorer.errors import ModelError
from vit_explorer.models.card import Pair
from vit_explorer.models.checkpoints import (
    Checkpoint,
    count_classes,
    load_state,
    unwrapped,
)
from vit_explorer.models.hub import offline_if_unreachable
from vit_explorer.models.loaded import Built
from vit_explorer.models.structure import check_architecture


def from_timm(
    name: str, checkpoint: Checkpoint | None, size: Pair | None, pretrained: bool
) -> Built:
    options: dict[str, Any] = {}
    if checkpoint is not None:
        classes = count_classes(checkpoint.state)
        options["num_classes"] = 0 if classes is None else classes
    if size is not None:
        options["img_size"] = size
    if pretrained and ":" not in name:
        check_architecture(lambda: _create(name, False, options), size, name)
    module = _create(name, pretrained, options)
    if checkpoint is not None:
        size = size or _size_of_positions(module, checkpoint)
    if size is not None and "img_size" not in options:
        module = _create(name, pretrained, {**options, "img_size": size})
    if checkpoint is not None:
        load_state(module, checkpoint, name)
    data = resolve_model_data_config(module)
    if size is not None:
        data["input_size"] = (3, *size)
    labels, labels_source = timm_labels(module, checkpoint)
    if checkpoint is not None and checkpoint.metadata:
        data = {**checkpoint.metadata["preprocess"], "input_size": data["input_size"]}
    return Built(
        module=module,
        name=name,
        source=_source(checkpoint, pretrained),
        data=data,
        labels=labels,
        labels_source=labels_source,
        sha256=checkpoint.sha256 if checkpoint else "",
        metadata=checkpoint.metadata if checkpoint else {},
    )


def _source(checkpoint: Checkpoint | None, pretrained: bool) -> str:
    if checkpoint is None:
        return "timm, pretrained" if pretrained else "timm, random weights"
    key = f", key {checkpoint.key}" if checkpoint.key else ""
    return f"timm, weights from {checkpoint.path.name}{key}"


def _create(name: str, pretrained: bool, options: dict[str, Any]) -> nn.Module:
    try:
        with offline_if_unreachable() if pretrained or ":" in name else nullcontext():
            return timm.create_model(name, pretrained=pretrained, **options)
    except TypeError:
        raise ModelError(
            f"The model {name!r} has a fixed image size; leave image_size out."
        ) from None
    except (OSError, RuntimeError, ValueError, AssertionError) as error:
        if not pretrained:
            raise ModelError(
                f"timm can't build {name!r} with {options or 'its defaults'} ({error})."
            ) from None
        # OSError covers every way the hub can be out of reach: offline mode, no route, a refusal.
        reason = "no network or no such weights" if isinstance(error, OSError) else str(error)
        raise ModelError(
            f"The weights of {name!r} can't be downloaded ({reason}); connect to the internet, "
            "give a checkpoint file with weights, or use the model 'bundled'."
        ) from None


def _size_of_positions(module: nn.Module, checkpoint: Checkpoint) -> Pair | None:
    """The square image size a checkpoint's position embeddings were made for, if not the native."""
    positions = unwrapped(checkpoint.state, module).get("pos_embed")
    native = getattr(module, "pos_embed", None)
    grid = getattr(getattr(module, "patch_embed", None), "grid_size", None)
    if positions is None or native is None or grid is None or native.shape == positions.shape:
        return None
    if positions.ndim != 3 or native.shape[-1] != positions.shape[-1]:
        return None
    patches = positions.shape[1] - (native.shape[1] - grid[0] * grid[1])
    side = math.isqrt(max(patches, 0))
    if side * side != patches:
        return None
    _, height, width = resolve_model_data_config(module)["input_size"]
    return side * height // grid[0], side * width // grid[1]


def timm_labels(module: nn.Module, checkpoint: Checkpoint | None) -> tuple[tuple[str, ...], str]:
    if checkpoint is not None and checkpoint.metadata:
        return tuple(checkpoint.metadata["labels"]), "the checkpoint"
    subset = infer_imagenet_subset(module)
    if subset is None:
        return (), ""
    info = ImageNetInfo(subset)
    names = tuple(info.index_to_description(index) for index in range(info.num_classes()))
    return names, f"ImageNet, by the number of classes ({len(names):,})"
