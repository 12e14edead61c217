"""A folder as timm writes it for the hub (config.json and weights) → a built module."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from vit_explorer.errors import ModelError
from vit_explorer.models.card import Pair
from vit_explorer.models.checkpoints.checkpoint import PREPARED, is_timm_name, read_checkpoint
from vit_explorer.models.checkpoints.timm_names import from_checkpoint, label_names
from vit_explorer.models.loaded import Built
from vit_explorer.models.provenance import Provenance

LOCAL = "local-dir:"
# Arguments that change what is built of plain values; none names a file or an address.
ARGUMENTS = frozenset({
    "img_size", "patch_size", "in_chans", "global_pool", "class_token", "pos_embed", "reg_tokens",
    "no_embed_class", "fc_norm", "final_norm", "pre_norm", "init_values", "qkv_bias", "qk_norm",
    "embed_dim", "depth", "num_heads", "mlp_ratio", "act_layer", "norm_layer", "mlp_layer",
    "attn_layer", "block_fn", "dynamic_img_size", "strict_img_size", "dynamic_img_pad",
})  # fmt: skip


def is_timm_folder(config: Mapping[str, Any]) -> bool:
    """Whether a config.json is timm's own, or that of transformers' wrapper of a timm model."""
    return isinstance(config.get("architecture"), str)


def from_timm_folder(
    path: Path, config: Mapping[str, Any], size: Pair | None, trained_at: Pair | None
) -> Built:
    """Load what timm's `save_for_hf` or transformers' TimmWrapper wrote, from this machine alone.

    Raises:
        ModelError: the architecture is none of timm's, or the weights are missing or don't fit.
    """
    name = str(config["architecture"])
    if not is_timm_name(name):
        raise ModelError(
            "error.timm.unknown",
            "The config.json of {file} names the architecture {name!r}, which the installed "
            "timm doesn't know; update timm, or build the module in Python and pass it to "
            "load_model(module).",
            file=path.name,
            name=name,
        )
    prepared = config.get("pretrained_cfg")
    prepared = dict(prepared) if isinstance(prepared, Mapping) else dict(config)
    for key in ("label_names", "label_descriptions"):
        if key in config:
            prepared[key] = config[key]
    checkpoint = dataclasses.replace(
        read_checkpoint(path), metadata={}, image_size=_size(prepared.get("input_size"))
    )
    checkpoint = dataclasses.replace(checkpoint, data={})
    built = from_checkpoint(
        name, checkpoint, size, trained_at, _arguments(config.get("model_args"), path.name)
    )
    data = dict(built.data)
    for key in PREPARED:
        value = prepared.get(key)
        if value is not None:
            data[key] = tuple(value) if isinstance(value, list) else value
    labels = label_names(prepared)
    return dataclasses.replace(
        built,
        name=path.name,
        source=Provenance("timm_folder", file=path.name, name=name),
        data=data,
        labels=labels or built.labels,
        labels_source=Provenance("config") if labels else built.labels_source,
    )


def _size(value: Any) -> Pair | None:
    """Height and width of timm's (channels, height, width)."""
    if not isinstance(value, (list, tuple)) or len(value) != 3:
        return None
    return (value[1], value[2]) if all(isinstance(side, int) for side in value) else None


def _arguments(given: Any, file: str) -> dict[str, Any]:
    if not isinstance(given, Mapping):
        return {}
    for key, value in given.items():
        plain = isinstance(value, (str, int, float, bool, list, type(None)))
        if key not in ARGUMENTS | {"num_classes"} or not plain:
            raise ModelError(
                "error.timm.setting",
                "The config.json of {file} builds its model with {setting!r}, which is no plain "
                "setting of a ViT; build the module in Python and pass it to load_model(module).",
                file=file,
                setting=str(key)[:40],
            )
    return {
        key: tuple(value) if isinstance(value, list) else value
        for key, value in given.items()
        if key != "num_classes"
    }
