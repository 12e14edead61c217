"""How pictures are prepared for a model, as timm's data config says it: read and checked."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from PIL import Image

from vit_explorer.errors import OptionError

_COUNTS = {1: "one", 3: "three"}


def a_channel(values: Any, channels: int) -> tuple[float, ...]:
    """One number a channel; of one number for all, or of three for grey, which is their mean."""
    numbers = tuple(float(value) for value in values)
    if channels == 1 and len(numbers) == 3:
        return (sum(numbers) / 3,)
    numbers = numbers * channels if len(numbers) == 1 else numbers
    if len(numbers) != channels:
        raise ValueError(f"{len(numbers)} numbers for {channels} channels")
    return numbers


def input_size(config: Mapping[str, Any]) -> tuple[int, int, int]:
    """Channels, height and width that a data config names, all it needs being there.

    Raises:
        OptionError: input_size, mean or std is missing, or the size is none.
    """
    missing = [key for key in ("input_size", "mean", "std") if config.get(key) is None]
    if missing:
        raise OptionError(
            "error.config.lacks",
            "The preprocessing lacks {missing}; add it to the config.",
            missing=", ".join(missing),
        )
    try:
        channels, height, width = (int(side) for side in config["input_size"])
    except (TypeError, ValueError):
        channels = height = width = 0
    if not (channels > 0 and 0 < height <= 8192 and 0 < width <= 8192):
        raise OptionError(
            "error.config.size",
            "The preprocessing needs input_size (C, H, W), got {given!r}; give three whole "
            "numbers.",
            given=config["input_size"],
        )
    return channels, height, width


def checked_config(config: Mapping[str, Any]) -> dict[str, Any]:
    channels, height, width = input_size(config)
    try:
        mean, std = (a_channel(config[key], channels) for key in ("mean", "std"))
        crop_pct = float(config.get("crop_pct") or 0.875)
    except (TypeError, ValueError) as error:
        raise OptionError(
            "error.config.numbers",
            "The preprocessing needs {count} numbers for mean and for std, and a number for "
            "crop_pct; got {given!r}.",
            count=_COUNTS.get(channels, channels),
            given=dict(config),
        ) from error
    interpolation = str(config.get("interpolation") or "bicubic")
    crop_mode = str(config.get("crop_mode") or "center")
    if not all(map(math.isfinite, mean)) or not all(0 < value < math.inf for value in std):
        raise OptionError(
            "error.config.std",
            "mean is {mean} and std {std}; expected finite numbers, std above 0.",
            mean=mean,
            std=std,
        )
    if not 0.1 <= crop_pct <= 2:
        raise OptionError(
            "error.config.crop",
            "crop_pct is {crop_pct}; expected a share of the picture, 0.1 to 2.",
            crop_pct=crop_pct,
        )
    if crop_mode not in ("center", "squash", "border"):
        raise OptionError(
            "error.config.mode",
            "crop_mode is {crop_mode!r}; expected center, squash or border.",
            crop_mode=crop_mode,
        )
    if interpolation.upper() not in Image.Resampling.__members__:
        raise OptionError(
            "error.config.interpolation",
            "interpolation is {interpolation!r}; expected nearest, bilinear, bicubic, box, "
            "hamming or lanczos.",
            interpolation=interpolation,
        )
    return {
        "input_size": (channels, height, width),
        "mean": mean,
        "std": std,
        "interpolation": interpolation,
        "crop_pct": crop_pct,
        "crop_mode": crop_mode,
    }
