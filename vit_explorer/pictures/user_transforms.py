"""A user's own transform: what its steps are, and where what it makes lies in the picture."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import torch
from PIL import Image
from timm.data.transforms import (
    CenterCropOrPad,
    MaybePILToTensor,
    MaybeToTensor,
    ResizeKeepRatio,
)
from torchvision import transforms as v1
from torchvision.transforms import v2

from vit_explorer.pictures.config_transform import Box, centered
from vit_explorer.pictures.data_config import a_channel

_RESIZES = (v1.Resize, v2.Resize, ResizeKeepRatio)
_CENTER_CROPS = (v1.CenterCrop, v2.CenterCrop, CenterCropOrPad)
_SEQUENCES = (v1.Compose, v2.Compose, torch.nn.Sequential)
_NORMALIZES = (v1.Normalize, v2.Normalize)
_KEEPS_PLACES = (
    *_NORMALIZES, MaybeToTensor, MaybePILToTensor, torch.nn.Identity,
    v1.ToTensor, v1.PILToTensor, v1.ConvertImageDtype, v1.Grayscale,
    v2.ToTensor, v2.PILToTensor, v2.ToImage, v2.ToDtype, v2.ToPureTensor, v2.ConvertImageDtype,
    v2.Grayscale, v2.RGB, v2.Identity,
)  # fmt: skip
# After a Normalize these leave its numbers as they are.
_KEEPS_VALUES = (*_KEEPS_PLACES, *_RESIZES, *_CENTER_CROPS)

Numbers = tuple[float, ...]


def normalisation(transform: Any, size: tuple[int, int, int]) -> tuple[Numbers, Numbers]:
    """Mean and standard deviation a channel: those of its last Normalize, else as measured.

    What a Normalize says holds where no other step changes values after it; else the transform is
    measured, and believed only where that tells nothing. `size`: channels, height and width that
    it makes.
    """
    channels = size[0]
    told: tuple[Numbers, Numbers] | None = None
    holds = False
    for step in _steps(transform):
        # One of another length comes before channels are added or taken away.
        if isinstance(step, _NORMALIZES) and len(step.mean) in (1, channels):
            told, holds = (a_channel(step.mean, channels), a_channel(step.std, channels)), True
        else:
            holds = holds and isinstance(step, _KEEPS_VALUES)
    found = None if holds else _measured(transform, size)
    return found or told or ((0.0,) * channels, (1.0,) * channels)


def _measured(transform: Any, size: tuple[int, int, int]) -> tuple[Numbers, Numbers] | None:
    """Mean and deviation a channel, by what a transform makes of plain colours; None where it
    makes no plain ones of them, or does more to values than to shift and scale them."""
    channels, height, width = size
    if channels not in (1, 3):
        return None
    levels = {"black": (0, 0, 0), "white": (255, 255, 255), "grey": (102, 102, 102)}
    if channels == 3:
        levels["colour"] = (51, 204, 153)
    try:
        made = {}
        for name, colour in levels.items():
            found = transform(Image.new("RGB", (width, height), colour)).reshape(size).double()
            made[name] = found.flatten(1).mean(1)
            if not torch.allclose(found, made[name][:, None, None], atol=1e-4):
                return None
    except Exception:  # a user's transform may raise anything, and is told so at a picture
        return None
    spread = made["white"] - made["black"]
    for name, colour in levels.items():
        shares = torch.tensor(colour[:channels], dtype=torch.float64) / 255
        if not torch.allclose(made["black"] + shares * spread, made[name], atol=1e-3):
            return None
    if not bool((spread > 1e-6).all()):
        return None
    std = 1 / spread
    mean, deviation = (
        tuple(round(float(one), 6) + 0.0 for one in of) for of in (-made["black"] * std, std)
    )
    return mean, deviation


def follow(transform: Any, value: Any, size: tuple[int, int]) -> tuple[Any, Box | None]:
    """What a transform makes of a picture of some (width, height), and where that lies in it.

    None for the box where a step moves pixels in a way that can't be followed.
    """
    box: Box | None = (0.0, 0.0, float(size[0]), float(size[1]))
    for step in _steps(transform):
        before, value = value, step(value)
        box = box and _follow(box, step, before, value)
    return value, box


def _steps(transform: Any) -> Iterator[Callable[[Any], Any]]:
    if isinstance(transform, _SEQUENCES):
        for step in getattr(transform, "transforms", transform):
            yield from _steps(step)
    else:
        yield transform


def _size(value: Any) -> tuple[int, int]:
    if isinstance(value, Image.Image):
        return value.size
    height, width = value.shape[:2] if isinstance(value, np.ndarray) else value.shape[-2:]
    return int(width), int(height)


def _follow(box: Box, step: Any, given: Any, made: Any) -> Box | None:
    """Where the frame after a step lies in the original, from where the frame before it lay."""
    if isinstance(step, _RESIZES):
        return box
    before, after = _size(given), _size(made)
    if isinstance(step, _CENTER_CROPS):
        left, right = centered(box[0], box[2], before[0], after[0])
        top, bottom = centered(box[1], box[3], before[1], after[1])
        return left, top, right, bottom
    # Another step may crop as much as it enlarges, so that an equal size says nothing.
    keeps = isinstance(step, _KEEPS_PLACES) or _look_alike(given, made)
    return box if before == after and keeps else None


def _look_alike(given: Any, made: Any) -> bool:
    """Whether a step only changed how the same colours are stored, as `convert("RGB")` does."""
    if not (isinstance(given, Image.Image) and isinstance(made, Image.Image)):
        return False
    return given.convert("RGB").tobytes() == made.convert("RGB").tobytes()
