"""Scale and colour a map: numpy and Pillow only."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from PIL import Image

from vit_explorer.errors import OptionError, nearest

COLORMAPS = ("inferno", "viridis", "cividis", "turbo")
DIVERGING = "RdBu_r"
FLOOR = 0.5

Limits = tuple[float, float]
Box = tuple[float, float, float, float]


def limits(*values: ArrayLike, signed: bool = False) -> Limits:
    """Return the (low, high) scale that one or more maps share.

    Unsigned maps start at 0, or lower where they have negative values; signed maps get a range
    centred on 0. Always low < high: a map of zeros gets (0, 1), or (-1, 1) when signed.

    >>> limits([[0.25, 0.5]]), limits([[-1.0, 3.0]], signed=True)
    ((0.0, 0.5), (-3.0, 3.0))
    """
    if not values:
        raise OptionError(
            "error.limits.none", "No map was given to take limits of; give at least one array."
        )
    maps = [checked_grid(value) for value in values]
    low, high = min(float(m.min()) for m in maps), max(float(m.max()) for m in maps)
    if signed:
        reach = max(-low, high) or 1.0
        return -reach, reach
    low = min(low, 0.0)
    return (low, high) if high > low else (low, 0.0 if low < 0 else 1.0)


def lookup(colormap: str = "inferno", *, signed: bool = False) -> NDArray[np.uint8]:
    """Return a colormap as (256, 3) uint8 RGB; signed maps always use `DIVERGING`.

    Raises OptionError for a name outside `COLORMAPS`.
    """
    import matplotlib

    if colormap not in (*COLORMAPS, DIVERGING):
        hint = nearest(colormap, COLORMAPS)
        raise OptionError(
            "error.colormap",
            "There is no colormap {colormap!r}{hint}: {colormaps}.",
            colormap=colormap,
            hint=hint,
            colormaps=", ".join(COLORMAPS),
        )
    name = DIVERGING if signed else colormap
    colours = matplotlib.colormaps[name](np.arange(256), bytes=True)
    return np.ascontiguousarray(np.asarray(colours)[:, :3])


def tables() -> dict[str, Any]:
    """What scripts colour maps by: each colormap's 256 RGB colours as a row of numbers, the name of
    that of signed maps, and `FLOOR`."""
    names = {name: lookup(name).ravel().tolist() for name in COLORMAPS}
    signed = lookup(signed=True).ravel().tolist()
    return {"colormaps": {**names, DIVERGING: signed}, "diverging": DIVERGING, "floor": FLOOR}


def colorize(
    values: ArrayLike,
    *,
    colormap: str = "inferno",
    limits: Limits | None = None,
    signed: bool = False,
) -> NDArray[np.uint8]:
    """Colour a map (h, w): uint8 RGB (h, w, 3); values outside `limits` take the end colours."""
    grid = checked_grid(values)
    return lookup(colormap, signed=signed)[_levels(grid, _scale(grid, limits, signed))]


def enlarge(values: ArrayLike, size: tuple[int, int], smooth: bool = True) -> NDArray[np.float32]:
    """Bring a map (h, w) to `size` (H, W), as float32 in the map's own units and range.

    Not smooth: pixel (i, j) takes cell (floor((i + 1/2) h / H), floor((j + 1/2) w / W)). Smooth:
    bicubic (Keys, a = -1/2, cells at their centres, weights beyond the edge dropped and the rest
    made to sum to 1), clipped to the range of the map, so that no value appears that isn't there.
    """
    grid = checked_grid(values)
    height, width = size
    if height < 1 or width < 1:
        raise OptionError(
            "error.draw.size",
            "A map can't be drawn at {height}x{width} pixels; give at least 1x1.",
            height=height,
            width=width,
        )
    if smooth:
        image = Image.fromarray(grid).resize((width, height), Image.Resampling.BICUBIC)
        smoothed: NDArray[np.float32] = np.asarray(image)
        return np.clip(smoothed, grid.min(), grid.max())
    rows = (2 * np.arange(height) + 1) * grid.shape[0] // (2 * height)
    columns = (2 * np.arange(width) + 1) * grid.shape[1] // (2 * width)
    cells: NDArray[np.float32] = grid[rows[:, None], columns[None, :]]
    return cells


def overlay(
    image: Image.Image,
    values: ArrayLike,
    *,
    opacity: float = 0.6,
    colormap: str = "inferno",
    smooth: bool = True,
    limits: Limits | None = None,
    signed: bool = False,
    box: Box | None = None,
) -> Image.Image:
    """Lay a map (gh, gw) over a picture: RGB of the picture's size.

    The higher a value, the more its colour covers. With t = (value - low) / (high - low) clipped
    to 0..1, i = min(255, floor(256 t)), and strength s = i / 255 (signed map: |2 i / 255 - 1|):

        a   = opacity * (FLOOR + (1 - FLOOR) * s)      with FLOOR = 0.5, then rounded to 1/255
        out = picture * (1 - a) + colormap[i] * a

    The map is enlarged first (`enlarge`), so t is taken at each pixel. `box` (left, top, right,
    bottom), in pixels of `image`, says where the map lies, the rest is dimmed; None is all of it.

    Raises OptionError for an opacity outside 0..1, an unknown colormap, limits that aren't
    low < high, or a box without area.
    """
    if not 0 <= opacity <= 1:
        raise OptionError(
            "error.opacity",
            "The opacity is {opacity}; expected a number from 0 to 1.",
            opacity=opacity,
        )
    grid = checked_grid(values)
    picture = image.convert("RGB")
    left, top, right, bottom = _whole_pixels(box or (0, 0, *picture.size))
    low_high = _scale(grid, limits, signed)
    levels = _levels(enlarge(grid, (bottom - top, right - left), smooth), low_high)
    # Where the model saw padding, the map reaches outside the picture.
    visible = (max(left, 0), max(top, 0), min(right, picture.width), min(bottom, picture.height))
    if visible[0] >= visible[2] or visible[1] >= visible[3]:
        raise OptionError(
            "error.box.outside",
            "The box {box} lies outside the {width}x{height} image.",
            box=box,
            width=picture.width,
            height=picture.height,
        )
    levels = levels[visible[1] - top : visible[3] - top, visible[0] - left : visible[2] - left]
    steps = np.arange(256) / 255
    strength = np.abs(2 * steps - 1) if signed else steps
    alpha = np.rint(255 * opacity * (FLOOR + (1 - FLOOR) * strength)).astype(np.uint8)
    colours = Image.fromarray(lookup(colormap, signed=signed)[levels])
    covered = picture.crop(visible)
    covered.paste(colours, mask=Image.fromarray(alpha[levels]))
    if box is None:
        return covered
    dimmed = picture.point([round(0.4 * level) for level in range(256)] * 3)
    dimmed.paste(covered, visible[:2])
    return dimmed


def checked_grid(values: ArrayLike) -> NDArray[np.float32]:
    """Return a map as float32 (rows, columns); raises OptionError unless it is 2-D and finite."""
    with np.errstate(over="ignore"):
        grid = np.asarray(values).astype(np.float32)
    if grid.ndim != 2 or grid.size == 0:
        raise OptionError(
            "error.map.shape",
            "A map has shape {shape}; expected (rows, columns).",
            shape=grid.shape,
        )
    if not np.isfinite(grid).all():
        raise OptionError(
            "error.map.finite", "A map holds NaN or infinite values and can't be drawn."
        )
    return grid


def _scale(grid: NDArray[np.float32], given: Limits | None, signed: bool) -> Limits:
    if given is None:
        return limits(grid, signed=signed)
    low, high = map(float, given)
    if not (math.isfinite(low) and math.isfinite(high) and low < high):
        raise OptionError(
            "error.limits.order",
            "The limits are {given}; expected two numbers, the lower first.",
            given=given,
        )
    return low, high


def _levels(values: NDArray[np.float32], scale: Limits) -> NDArray[np.uint8]:
    low, high = scale
    share = (values.astype(np.float64) - low) / (high - low)
    return np.clip(np.floor(256 * share), 0, 255).astype(np.uint8)


def _whole_pixels(box: Sequence[float]) -> tuple[int, int, int, int]:
    left, top, right, bottom = (round(edge) for edge in box)
    if not (box[0] < box[2] and box[1] < box[3]):
        raise OptionError(
            "error.box.empty",
            "The box {box} has no area; expected left, top, right, bottom.",
            box=tuple(box),
        )
    return left, top, max(right, left + 1), max(bottom, top + 1)
