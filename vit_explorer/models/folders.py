"""A folder written by transformers' `save_pretrained` → a built module."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import torch
from PIL import Image
from torch import nn

from vit_explorer.errors import ModelError, UnsupportedModelError
from vit_explorer.models.card import Pair
from vit_explorer.models.loaded import Built

WEIGHTS = ("model.safetensors", "model.safetensors.index.json")
PROCESSORS = ("preprocessor_config.json", "processor_config.json")


def from_folder(path: Path, size: Pair | None, *, prepare: bool) -> Built:
    """Load an image model of transformers, from local safetensors alone and never with its code.

    `prepare`: read how pictures are prepared too, for want of a transform.

    Raises:
        ModelError: transformers is not installed, or a file is missing, damaged or does not fit.
        UnsupportedModelError: the folder holds no image model with fused attention.
    """
    path = path.resolve()
    config = _read_config(path)
    kind = _find_class(config, path)
    module = _load(kind, path)
    native = _pair(module.config.image_size)
    data = _read_processor(path, size) if prepare else {"input_size": (3, *(size or native))}
    height, width = data["input_size"][1:]
    if (height, width) != native:
        module.register_forward_pre_hook(_interpolate, with_kwargs=True)
    names = module.config.id2label
    labels = tuple(str(names[index]) for index in range(len(names)))
    if labels == tuple(f"LABEL_{index}" for index in range(len(labels))):
        labels = ()
    return Built(
        module=module,
        name=path.name,
        source=f"transformers {kind.__name__}, folder {path.name}",
        data=data,
        labels=labels,
        labels_source="config.json",
    )


def _read_config(path: Path) -> dict[str, Any]:
    if not (path / "config.json").is_file():
        raise ModelError(
            f"The folder {path.name} holds no config.json; give a folder that transformers' "
            "save_pretrained wrote, or a checkpoint file."
        )
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


def _find_class(config: dict[str, Any], path: Path) -> Any:
    """The class of the architecture that the config names; of a CLIP, that of its eye."""
    try:
        import transformers  # noqa: PLC0415 - an optional extra, slow to import
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


def _load(kind: Any, path: Path) -> Any:
    try:
        module, report = kind.from_pretrained(
            path,
            local_files_only=True,
            trust_remote_code=False,
            use_safetensors=True,
            attn_implementation="sdpa",
            dtype=torch.float32,
            output_loading_info=True,
        )
    except Exception as error:  # transformers and what it calls raise anything on a bad file
        reason = _reason(error, path)
        if "scaled_dot_product_attention" in reason:
            raise UnsupportedModelError(
                f"{path.name} can't be explored: {kind.__name__} has no scaled-dot-product "
                "attention in the installed transformers; choose a plain ViT."
            ) from None
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


def _reason(error: Exception, path: Path) -> str:
    """An error's first line, without the folder's place on this machine."""
    return str(error).strip().partition("\n")[0].replace(f"{path}/", "").rstrip(".")


def _interpolate(_: nn.Module, args: Any, kwargs: dict[str, Any]) -> tuple[Any, dict[str, Any]]:
    return args, {**kwargs, "interpolate_pos_encoding": True}


def _pair(size: Any) -> Pair:
    height, width = (size, size) if isinstance(size, int) else size
    return int(height), int(width)


def _read_processor(path: Path, size: Pair | None) -> dict[str, Any]:
    """timm's data config of the image processor; another `size` keeps the share that is cropped.

    Where half of a margin that is cropped is no whole pixel, transformers' crop may lie one pixel
    further up or left.
    """
    if not any((path / name).is_file() for name in PROCESSORS):
        raise ModelError(
            f"The folder {path.name} holds no preprocessor_config.json, which says how a picture "
            "is prepared; save the model's image processor there too, or pass transform=."
        )
    from transformers import AutoImageProcessor  # noqa: PLC0415 - an optional extra

    try:
        processor = AutoImageProcessor.from_pretrained(
            path, local_files_only=True, trust_remote_code=False
        )
        return _data_config(processor, size)
    except Exception as error:  # transformers and what it calls raise anything on a bad file
        reason = _reason(error, path)
        raise ModelError(
            f"The preprocessing of {path.name} can't be followed ({reason}); pass transform= (PIL "
            "picture to a normalised (3, H, W) tensor)."
        ) from None


def _data_config(processor: Any, size: Pair | None) -> dict[str, Any]:
    asked = dict(processor.size or {})
    if not processor.do_resize or not (
        {"height", "width"} <= set(asked) or "shortest_edge" in asked
    ):
        raise ValueError(f"it does not resize to a fixed size, but to {asked or 'none'}")
    edge = asked.get("shortest_edge")
    resized = (edge, edge) if edge else (asked["height"], asked["width"])
    if getattr(processor, "do_center_crop", None):
        crop = processor.crop_size
        crop = (crop["height"], crop["width"])
    elif edge:
        raise ValueError("it keeps the picture's shape, without a centre crop")
    else:
        crop = resized
    shares = {kept / whole for kept, whole in zip(crop, resized, strict=True)}
    if len(shares) != 1:
        raise ValueError(f"it crops {crop} from {resized}, another share of height than of width")
    share = shares.pop()
    # timm rounds crop / share down; a share a hair too large would lose a pixel.
    if math.floor(crop[0] / share) != resized[0]:
        share = math.nextafter(share, 0)
    scale = 255 * processor.rescale_factor if processor.do_rescale else 255
    plain = ((0.0,) * 3, (1.0,) * 3)
    mean, std = (processor.image_mean, processor.image_std) if processor.do_normalize else plain
    return {
        "input_size": (3, *(size or crop)),
        "mean": tuple(value / scale for value in mean),
        "std": tuple(value / scale for value in std),
        "interpolation": Image.Resampling(processor.resample).name.lower(),
        "crop_pct": share,
        "crop_mode": "center" if edge else "squash",
    }
