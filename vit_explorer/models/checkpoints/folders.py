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
from vit_explorer.models.checkpoints.folder_claims import check_claims
from vit_explorer.models.checkpoints.image_processors import first_line, read_processor
from vit_explorer.models.checkpoints.timm_folders import from_timm_folder, is_timm_folder
from vit_explorer.models.checkpoints.transformers_modules import as_pair, class_names
from vit_explorer.models.loaded import Built
from vit_explorer.models.provenance import Provenance
from vit_explorer.sentences import Sentence

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
    config = read_config(path)
    if is_timm_folder(config):
        return from_timm_folder(path, config, size, trained_at)
    check_files(path)
    kind = _find_class(config, path)
    module = load_pretrained(kind, path)
    # A convolution has no size of its own.
    native = as_pair(getattr(module.config, "image_size", None))
    if not prepare and size is None and native is None:
        raise ModelError(
            "error.size.folder",
            "The image size of {file} is not known; pass image_size.",
            file=path.name,
        )
    data = read_processor(path, size) if prepare else {"input_size": (3, *(size or native or ()))}
    takes = inspect.signature(module.forward).parameters
    if tuple(data["input_size"][1:]) != native and "interpolate_pos_encoding" in takes:
        module.register_forward_pre_hook(_interpolate, with_kwargs=True)
    return Built(
        module=module,
        name=path.name,
        source=Provenance("transformers_folder", file=path.name, name=kind.__name__),
        data=data,
        labels=class_names(module.config),
        labels_source=Provenance("config"),
    )


def read_config(path: Path) -> dict[str, Any]:
    if not (path / "config.json").is_file():
        raise ModelError(
            "error.folder.config",
            "The folder {file} holds no config.json; give a folder that transformers' "
            "save_pretrained wrote, or a checkpoint file.",
            file=path.name,
        )
    try:
        config = json.loads((path / "config.json").read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        config = None
    if not isinstance(config, dict):
        raise ModelError(
            "error.folder.damaged",
            "The config.json of {file} is damaged, expected a JSON object; save the model again.",
            file=path.name,
        )
    return config


def check_files(path: Path) -> None:
    if not any((path / name).is_file() for name in WEIGHTS):
        raise ModelError(
            "error.folder.weights",
            "The folder {file} holds no model.safetensors; save the model again with "
            "save_pretrained (other formats can run code when opened, so they are not read).",
            file=path.name,
        )
    if (path / "adapter_config.json").exists():
        # transformers would go and load the adapter's base model, wherever it says that is.
        raise ModelError(
            "error.folder.adapter",
            "The folder {file} holds an adapter; merge it into its model and save that.",
            file=path.name,
        )


def _find_class(config: dict[str, Any], path: Path) -> Any:
    """The class of the architecture that the config names; of a CLIP, that of its eye."""
    try:
        import transformers
    except ImportError:
        raise ModelError(
            "error.folder.transformers",
            "The folder {file} needs transformers, which is not installed; pip install "
            "'vit-explorer[transformers]'.",
            file=path.name,
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
            "error.folder.architecture",
            "The folder {file} holds {architecture!r}, which is no image model of the installed "
            "transformers; give a ViT such as ViTForImageClassification.",
            file=path.name,
            architecture=name or Sentence("part.unnamed", "no named architecture"),
        )
    return kind


def load_pretrained(kind: Any, path: Path, attention: str | None = "sdpa") -> Any:
    """The model with this way of attending, or with its own where it has not this one.

    Raises:
        ModelError: weights that are missing, or don't fit what the config describes.
    """
    check_claims(kind, read_config(path), path)
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
            return load_pretrained(kind, path, None)
        raise ModelError(
            "error.folder.load",
            "The folder {file} can't be loaded as {kind} ({reason}); save the model again with "
            "save_pretrained.",
            file=path.name,
            kind=kind.__name__,
            reason=reason,
        ) from None
    missing = sorted(report["missing_keys"])
    if missing:
        raise ModelError(
            "error.folder.missing",
            "The weights in {file} don't fit its {kind}: {count} tensors are missing, such as "
            "{such!r}; save the whole model again.",
            file=path.name,
            kind=kind.__name__,
            count=len(missing),
            such=missing[0],
        )
    return module


def _interpolate(_: nn.Module, args: Any, kwargs: dict[str, Any]) -> tuple[Any, dict[str, Any]]:
    return args, {**kwargs, "interpolate_pos_encoding": True}
