"""How transformers' image processors prepare pictures, as timm's data config says it."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

from PIL import Image

from vit_explorer.errors import ModelError
from vit_explorer.models.card import Pair
from vit_explorer.sentences import Sentence

PROCESSORS = ("preprocessor_config.json", "processor_config.json")


def read_processor(path: Path, size: Pair | None) -> dict[str, Any]:
    """timm's data config of the image processor; another `size` keeps the share that is cropped.

    Where half of a margin that is cropped is no whole pixel, transformers' crop may lie one pixel
    further up or left.
    """
    if not any((path / name).is_file() for name in PROCESSORS):
        raise ModelError(
            "error.processor.none",
            "The folder {file} holds no preprocessor_config.json, which says how a picture is "
            "prepared; save the model's image processor there too, or pass transform=.",
            file=path.name,
        )
    from transformers import AutoImageProcessor

    try:
        processor = AutoImageProcessor.from_pretrained(
            path, local_files_only=True, trust_remote_code=False
        )
        return data_config(processor, size)
    except Exception as error:  # transformers and what it calls raise anything on a bad file
        reason = first_line(error, path)
        raise ModelError(
            "error.processor.reason",
            "The preprocessing of {file} can't be followed ({reason}); pass transform= (PIL "
            "picture to a normalised (3, H, W) tensor).",
            file=path.name,
            reason=reason,
        ) from None


def data_config(processor: Any, size: Pair | None) -> dict[str, Any]:
    asked = dict(processor.size or {})
    if not processor.do_resize or not (
        {"height", "width"} <= set(asked) or "shortest_edge" in asked
    ):
        raise ValueError(
            Sentence(
                "part.resize",
                "it does not resize to a fixed size, but to {asked}",
                asked=asked or "none",
            )
        )
    edge = asked.get("shortest_edge")
    resized = (edge, edge) if edge else (asked["height"], asked["width"])
    if getattr(processor, "do_center_crop", None):
        crop = processor.crop_size
        crop = (crop["height"], crop["width"])
    elif edge:
        raise ValueError(
            Sentence("part.shape", "it keeps the picture's shape, without a centre crop")
        )
    else:
        crop = resized
    shares = {kept / whole for kept, whole in zip(crop, resized, strict=True)}
    if len(shares) != 1:
        raise ValueError(
            Sentence(
                "part.crop",
                "it crops {crop} from {resized}, another share of height than of width",
                crop=crop,
                resized=resized,
            )
        )
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


def first_line(error: Exception, path: Path) -> str:
    """An error's first line, without the folder's place on this machine."""
    if error.args and isinstance(error.args[0], Sentence):
        return error.args[0]
    return str(error).strip().partition("\n")[0].replace(f"{path}/", "").rstrip(".")
