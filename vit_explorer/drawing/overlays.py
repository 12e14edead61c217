"""Numbers to pictures: the one place that draws.

Everything here is numpy, Pillow and matplotlib's `Figure`, without pyplot's global state: it is
safe under several threads and needs no display. Scaling and colouring lie in `coloring.py`.
"""

from __future__ import annotations

import math
import textwrap
from collections.abc import Sequence
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from PIL import Image, ImageDraw, ImageFont

from vit_explorer.drawing.blank import blank
from vit_explorer.drawing.coloring import (
    COLORMAPS,
    DIVERGING,
    FLOOR,
    Limits,
    checked_grid,
    colorize,
    enlarge,
    limits,
    lookup,
    overlay,
)
from vit_explorer.errors import OptionError

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = [
    "COLORMAPS",
    "DIVERGING",
    "FLOOR",
    "colorize",
    "comparison",
    "describe",
    "draw_mosaic",
    "enlarge",
    "limits",
    "lookup",
    "numbered_patches",
    "overlay",
    "position_maps",
    "position_mosaic",
]

Panel = tuple[str, ArrayLike, bool, str]

# Inches: a panel's width, the space between panels, over a picture and under it.
_WIDE, _GAP, _TITLE, _BELOW = 3.0, 0.2, 0.55, 1.0

_QUARTERS = {
    "upper left quarter": (0.0, 0.5, 0.0, 0.5),
    "upper right quarter": (0.0, 0.5, 0.5, 1.0),
    "lower left quarter": (0.5, 1.0, 0.0, 0.5),
    "lower right quarter": (0.5, 1.0, 0.5, 1.0),
    "central quarter": (0.25, 0.75, 0.25, 0.75),
}
_HALVES = {
    "upper half": (0.0, 0.5, 0.0, 1.0),
    "lower half": (0.5, 1.0, 0.0, 1.0),
    "left half": (0.0, 1.0, 0.0, 0.5),
    "right half": (0.0, 1.0, 0.5, 1.0),
}


def comparison(
    image: Image.Image,
    panels: Sequence[Panel],
    *,
    columns: int = 4,
    opacity: float = 0.6,
    colormap: str = "inferno",
    smooth: bool = True,
    shared: bool = False,
) -> Figure:
    """Draw maps over one picture side by side, the picture first.

    Each panel is (title, values (gh, gw), signed, caption). Each map has its own scale and a colour
    bar of its real values; `shared` gives all unsigned maps one scale and all signed maps another,
    for maps in the same unit.
    """
    columns = max(1, min(columns, len(panels) + 1))
    rows = math.ceil((len(panels) + 1) / columns)
    tall = min(max(_WIDE * image.height / image.width, 0.5), 9.0)
    cell = (_WIDE + _GAP, tall + _TITLE + _BELOW)
    figure = blank((columns * cell[0] + _GAP, rows * cell[1]), constrained=False)
    scales: dict[bool, Limits] = {}
    if shared:
        for kind in {panel[2] for panel in panels}:
            alike = [values for _, values, signed, _ in panels if signed == kind]
            scales[kind] = limits(*alike, signed=kind)
    for index in range(len(panels) + 1):
        row, column = divmod(index, columns)
        corner = (_GAP + column * cell[0], (rows - row) * cell[1] - _TITLE - tall)
        axis = _add_axes(figure, (*corner, _WIDE, tall))
        axis.set_axis_off()
        if index == 0:
            _title(axis, "What the model sees")
            axis.imshow(image)
            continue
        title, values, signed, caption = panels[index - 1]
        _title(axis, title)
        scale = scales.get(signed) or limits(values, signed=signed)
        laid = overlay(
            image,
            values,
            opacity=opacity,
            colormap=colormap,
            smooth=smooth,
            limits=scale,
            signed=signed,
        )
        axis.imshow(laid)
        bar = _add_axes(figure, (corner[0], corner[1] - 0.2, _WIDE, 0.12))
        _colour_bar(bar, DIVERGING if signed else colormap, scale, caption)
    return figure


def numbered_patches(
    image: Image.Image, grid: tuple[int, int], *, cell: int | None = None, gap: int = 2
) -> Image.Image:
    """Cut a picture into its (rows, columns) patches, numbered from 1 row by row.

    RGB; patches keep the picture's aspect up to 8 to 1, at least `cell` pixels on the short side
    (by default enough for the numbers), with `gap` white pixels between them.
    """
    rows, columns = grid
    if rows < 1 or columns < 1:
        raise OptionError(
            "error.patchgrid",
            "The patch grid is {rows}x{columns}; expected at least 1x1.",
            rows=rows,
            columns=columns,
        )
    digits = len(str(rows * columns))
    size = 13
    cell = max(cell or 0, 10 + size * digits * 2 // 3, 480 // max(rows, columns))
    aspect = min(max((image.width / columns) / (image.height / rows), 1 / 8), 8.0)
    wide, tall = round(cell * max(1.0, aspect)), round(cell * max(1.0, 1 / aspect))
    picture = image.convert("RGB").resize((wide * columns, tall * rows), Image.Resampling.BICUBIC)
    cells = np.asarray(picture).reshape(rows, tall, columns, wide, 3)
    spread = np.full((rows, tall + gap, columns, wide + gap, 3), 255, np.uint8)
    spread[:, :tall, :, :wide] = cells
    whole = spread.reshape(rows * (tall + gap), columns * (wide + gap), 3)
    sheet = Image.fromarray(whole[: len(whole) - gap, : whole.shape[1] - gap])
    outline, numbers = _numbers(
        grid, (wide + gap, tall + gap), sheet.size, size=min(max(size, cell // 4), 24)
    )
    sheet.paste((0, 0, 0), mask=outline)
    sheet.paste((255, 255, 255), mask=numbers)
    return sheet


# Drawing letters takes longer than all else; a folder of pictures has the same ones on each.
@lru_cache(maxsize=4)
def _numbers(
    grid: tuple[int, int], step: tuple[int, int], sheet: tuple[int, int], *, size: int
) -> tuple[Image.Image, Image.Image]:
    """How much of each pixel of a sheet the outlines of the patches' numbers cover, and the numbers
    themselves: two L images of the sheet's (width, height)."""
    font = ImageFont.load_default(size)
    covered = Image.new("L", sheet), Image.new("L", sheet)
    for image, stroke in zip(covered, (2, 0), strict=True):
        draw = ImageDraw.Draw(image)
        for index in range(grid[0] * grid[1]):
            row, column = divmod(index, grid[1])
            corner = (column * step[0] + 3, row * step[1] + 1)
            draw.text(corner, str(index + 1), font=font, fill=255, stroke_width=stroke)
    return covered


def position_maps(similarity: ArrayLike) -> Figure:
    """Draw the cosine similarity of every position embedding with every other, (gh, gw, gh, gw).

    One small map a position, laid out as the patches are; scale -1 to 1. After figure 7 of
    Dosovitskiy et al. 2021, "An Image is Worth 16x16 Words".
    """
    mosaic, gap = position_mosaic(similarity)
    rows, columns = np.shape(similarity)[:2]
    side = 7.0
    scale = side / max(mosaic.shape)
    size = (mosaic.shape[1] * scale + 1.6, mosaic.shape[0] * scale + 1.0)
    figure = blank(size, dpi=120)
    axis = figure.subplots()
    draw_mosaic(axis, mosaic)
    _number_ticks(axis.set_xticks, columns, columns + gap)
    _number_ticks(axis.set_yticks, rows, rows + gap)
    axis.set_xlabel("patch column")
    axis.set_ylabel("patch row")
    bar = figure.colorbar(axis.images[0], ax=axis, fraction=0.04, pad=0.02)
    bar.set_label("cosine similarity")
    return figure


def position_mosaic(similarity: ArrayLike) -> tuple[NDArray[np.float64], int]:
    """The maps of all positions (gh, gw, gh, gw) laid out as the patches are, and how many cells of
    NaN lie between two of them."""
    cosine = np.asarray(similarity, dtype=np.float64)
    if cosine.ndim != 4 or cosine.shape[:2] != cosine.shape[2:] or not cosine.size:
        raise OptionError(
            "error.similarity.grid",
            "The similarity has shape {shape}; expected (rows, columns, rows, columns).",
            shape=cosine.shape,
        )
    rows, columns = cosine.shape[:2]
    gap = max(1, round(max(rows, columns) / 8))
    padded = np.full((rows, rows + gap, columns, columns + gap), np.nan)
    padded[:, :rows, :, :columns] = cosine.transpose(0, 2, 1, 3)
    return padded.reshape(rows * (rows + gap), columns * (columns + gap))[:-gap, :-gap], gap


def draw_mosaic(axis: Axes, mosaic: NDArray[np.float64]) -> None:
    """Draw what `position_mosaic` laid out, on the scale of cosines."""
    axis.set_facecolor("0.8")  # a zero is white: gaps must not look like one
    shown = np.ma.masked_invalid(mosaic)
    axis.imshow(shown, cmap=DIVERGING, vmin=-1, vmax=1, interpolation="none")
    axis.tick_params(length=0)
    axis.spines[:].set_visible(False)


def describe(values: ArrayLike, signed: bool = False) -> str:
    """Say in words where a map's mass lies, as alt text; rows and columns are counted from 1.

    The mass is that of the values above 0 (for a signed map, of either sign apart).

    >>> describe([[9, 1, 1, 0]] + [[0, 1, 0, 0]] * 3)
    '79 % of the map lies in the upper left quarter; half of it on 1 of 16 patches; \
brightest patch: row 1, column 1, 64 %.'
    """
    grid = checked_grid(values).astype(np.float64)
    if not signed:
        return _where(grid, "the map", "brightest") + "."
    parts = [
        _where(np.maximum(grid, 0), "the evidence for", "strongest"),
        _where(np.maximum(-grid, 0), "the evidence against", "strongest"),
    ]
    return "; ".join(part[0].upper() + part[1:] for part in parts) + "."


def _where(values: NDArray[np.float64], name: str, best: str) -> str:
    if values.max() == values.min():
        return (
            f"{name} is zero everywhere" if not values.any() else f"{name} is the same everywhere"
        )
    mass = np.maximum(values, 0) if values.max() > 0 else values - values.min()
    share = mass / mass.sum()
    row, column = np.unravel_index(int(share.argmax()), share.shape)
    half = 1 + int(np.searchsorted(np.cumsum(np.sort(share, axis=None)[::-1]), 0.5))
    rest = (
        f"half of it on {half} of {share.size} patches; "
        f"{best} patch: row {row + 1}, column {column + 1}, {_percent(share.max())}"
    )
    # Quarters before halves: the smaller place says more.
    for places, enough in ((_QUARTERS, 0.4), (_HALVES, 0.6)):
        held = {place: _held(share, *edges) for place, edges in places.items()}
        place = max(held, key=held.__getitem__)
        if held[place] >= enough:
            return f"{_percent(held[place])} of {name} lies in the {place}; {rest}"
    return f"{name} is spread over the picture; {rest}"


def _held(
    share: NDArray[np.float64], top: float, bottom: float, left: float, right: float
) -> float:
    """The mass inside a part of the grid, cells on its edge counted by their area inside."""

    def inside(cells: int, low: float, high: float) -> NDArray[np.float64]:
        start = np.arange(cells)
        overlap = np.minimum(start + 1, high * cells) - np.maximum(start, low * cells)
        return overlap.clip(0, 1)

    rows, columns = inside(share.shape[0], top, bottom), inside(share.shape[1], left, right)
    return float(rows @ share @ columns)


def _percent(share: float) -> str:
    return f"{100 * share:.0f} %" if share >= 0.01 else f"{100 * share:.1g} %"


def _add_axes(figure: Figure, inches: tuple[float, float, float, float]) -> Axes:
    width, height = figure.get_size_inches()
    left, bottom, wide, tall = inches
    return figure.add_axes((left / width, bottom / height, wide / width, tall / height))


def _title(axis: Axes, title: str) -> None:
    lines = textwrap.wrap(title, 32, max_lines=2, placeholder=" …") or [""]
    axis.set_title("\n".join(lines), fontsize=11, fontweight="bold", loc="left", parse_math=False)


def _colour_bar(axis: Axes, colormap: str, scale: Limits, caption: str) -> None:
    axis.imshow(
        np.linspace(0, 1, 256)[None], cmap=colormap, aspect="auto", extent=(0.0, 1.0, 0.0, 1.0)
    )
    low, high = scale
    values = (low, (low + high) / 2, high)
    axis.set_xticks((0, 0.5, 1), [f"{value:.3g}" for value in values], fontsize=8)
    axis.set_yticks([])
    axis.tick_params(length=2)
    axis.spines[:].set_visible(False)
    # Centred, the outer numbers would stand over the neighbour's.
    first, _, last = axis.get_xticklabels()
    first.set_horizontalalignment("left")
    last.set_horizontalalignment("right")
    lines = textwrap.wrap(caption, 44, max_lines=3, placeholder=" …")
    axis.set_xlabel("\n".join(lines), fontsize=8, loc="left", parse_math=False)


def _number_ticks(set_ticks: Any, count: int, step: int) -> None:
    every = math.ceil(count / 16)
    numbers = range(1, count + 1, every)
    middle = (count - 1) / 2
    set_ticks([(number - 1) * step + middle for number in numbers], [str(n) for n in numbers])
