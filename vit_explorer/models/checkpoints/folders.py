"""A folder written by transformers' `save_pretrained` → a built module."""

from __future__ import annotations

import inspect
import json
from pathlib import Path
from typing import Any

import torch
from torch import nn

from vit_explorer.errors import ModelError, UnsupportedModelError
from vit_explorer.models.card import Pair
from vit_explorer.models.checkpoints.image_processors import first_line, read_processor
from vit_explorer.models.checkpoints.timm_folders import from_timm_folder, is_timm_folder
from vit_explorer.models.checkpoints.transformers_modules import as_pair, class_names
from vit_explorer.models.loaded import Built

WEIGHTS = ("model.safetensors", "model.safetensors.index.json")


def from_folder(
    path: Path, size: Pair | None, trained_at: Pair | None = None, *, prepare: bool
) -> Built:
    """Load an image model of transformers or timm, from local files alone and never with its code.

    `prepare`: read how pictures are prepared too, for want of a transform.

    Raises:
        ModelError: transformers is not installed, or a file is missing, damaged or does not fit.
        UnsupportedModelError: the folder holds no image model.
    """
    path = path.resolve()
    config = _read_config(path)
    if is_timm_folder(config):
        return from_timm_folder(path, config, size, trained_at)
    _check_files(path)
    kind = _find_class(config, path)
    module = _load(kind, path)
    # A convolution has no size of its own.
    native = as_pair(getattr(module.config, "image_size", None))
    if not prepare and size is None and native is None:
        raise ModelError(f"The image size of {path.name} is not known; pass image_size.")
    data = read_processor(path, size) if prepare else {"input_size": (3, *(size or native or ()))}
    takes = inspect.signature(module.forward).parameters
    if tuple(data["input_size"][1:]) != native and "interpolate_pos_encoding" in takes:
        module.register_forward_pre_hook(_interpolate, with_kwargs=True)
    return Built(
        module=module,
        name=path.name,
        source=f"transformers {kind.__name__}, folder {path.name}",
        data=data,
        labels=class_names(module.config),
        labels_source="config.json",
    )


def _read_config(path: Path) -> dict[str, Any]:
    if not (path / "config.json").is_file():
        raise ModelError(
            f"The folder {path.name} holds no config.json; give a folder that transformers' "
            "save_pretrained wrote, or a checkpoint file."
        )
    try:
        config = json.loads((path / "config.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        config = None
    if not isinstance(config, dict):
        raise ModelError(
            f"The config.json of {path.name} is damaged, expected a JSON object; save the model "
            "again."
        )
    return config


def _check_files(path: Path) -> None:
    if not any((path / name).is_file() for name in WEIGHTS):
        raise ModelError(
            f"The folder {path.name} holds no model.safetensors; save the model again with "
            "save_pretrained (other formats can run code when opened, so they are not read)."
        )
    if (path / "adapter_config.json").exists():
        # transformers would go and load the adapter's base model, wherever it says that is.
        raise ModelError(
            f"The folder {path.name} holds an adapter; merge it into its model and save that."
        )


def _find_class(config: dict[str, Any], path: Path) -> Any:
    """The class of the architecture that the config names; of a CLIP, that of its eye."""
    try:
        import transformers
    except ImportError:
        raise ModelError(
            f"The folder {path.name} needs transformers, which is not installed; "
            "pip install 'vit-explorer[transformers]'."
        ) from None
    named = config.get("architectures")
    name = str(named[0]) if isinstance(named, list) and named else ""
    vision = f"{name.removesuffix('Model')}VisionModel"
    if name.endswith("Model") and "vision_config" in config and hasattr(transformers, vision):
        name = vision
    kind = getattr(transformers, name, None) if name.isidentifier() else None
    if (
        not isinstance(kind, type)
        or not issubclass(kind, transformers.PreTrainedModel)
        or kind.main_input_name != "pixel_values"
    ):
        raise UnsupportedModelError(
            f"The folder {path.name} holds {name or 'no named architecture'!r}, which is no image "
            "model of the installed transformers; give a ViT such as ViTForImageClassification."
        )
    return kind


def _load(kind: Any, path: Path, attention: str | None = "sdpa") -> Any:
    """The model with this way of attending, or with its own where it has not this one."""
    try:
        module, report = kind.from_pretrained(
            path,
            local_files_only=True,
            trust_remote_code=False,
            use_safetensors=True,
            attn_implementation=attention,
            dtype=torch.float32,
            output_loading_info=True,
        )
    except Exception as error:  # transformers and what it calls raise anything on a bad file
        reason = first_line(error, path)
        if "scaled_dot_product_attention" in reason and attention is not None:
            return _load(kind, path, None)
        raise ModelError(
            f"The folder {path.name} can't be loaded as {kind.__name__} ({reason}); save the "
            "model again with save_pretrained."
        ) from None
    missing = sorted(report["missing_keys"])
    if missing:
        raise ModelError(
            f"The weights in {path.name} don't fit its {kind.__name__}: {len(missing)} tensors are "
            f"missing, such as {missing[0]!r}; save the whole model again."
        )
    return module


def _interpolate(_: nn.Module, args: Any, kwargs: dict[str, Any]) -> tuple[Any, dict[str, Any]]:
    return args, {**kwargs, "interpolate_pos_encoding": True}
