"""How much of a map lies at the picture's border and in its corners, where marks and frames are."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from vit_explorer.errors import OptionError

CORNERS = ("top left", "top right", "bottom left", "bottom right")
# A corner's side and the border's width, as parts of the grid's shorter side.
_CORNER, _BORDER = 4, 8

Maps = npt.NDArray[np.float32]


@dataclass(frozen=True, eq=False)
class BorderRelevance:
    """Where the relevance of n maps lies, as shares of each map's own, 0 to 1.

    `border` (n,) is the share in the outer ring, `width` patches wide; `corners` (n, 4) that in
    each of `CORNERS`, a square of `side` patches. `even_border` and `even_corner` are what a map
    that is the same everywhere has. Only relevance above 0 counts; a map without any counts as
    even, since it speaks for no place.
    """

    border: npt.NDArray[np.float64] = field(repr=False)
    corners: npt.NDArray[np.float64] = field(repr=False)
    even_border: float
    even_corner: float
    width: int
    side: int

    @property
    def border_ratio(self) -> float:
        """The mean share at the border over an even map's: 1 where nothing stands out."""
        return float(self.border.mean()) / self.even_border

    @property
    def corner_ratios(self) -> tuple[float, ...]:
        """The mean share of each of `CORNERS` over an even map's."""
        return tuple((self.corners.mean(axis=0) / self.even_corner).tolist())


def border_relevance(maps: Maps | Sequence[Maps]) -> BorderRelevance:
    """The share of relevance at the border and in each corner of maps (n, gh, gw).

    A watermark, a frame or a date stamp that decides the answer shows as a share far above that of
    an even map, in the mean over the pictures that carry it.

    Raises:
        OptionError: no maps, or a grid with fewer than 3 rows or columns, which has no inside.

    Lapuschkin et al., "Unmasking Clever Hans Predictors and Assessing What Machines Really Learn",
    Nature Communications 2019.
    """
    shares = relevance_shares(maps)
    rows, columns = shares.shape[1:]
    if min(rows, columns) < 3:
        raise OptionError(
            "error.maps.small",
            "The maps have {rows}×{columns} patches, expected 3×3 or more: a smaller grid is all "
            "border.",
            rows=rows,
            columns=columns,
        )
    shorter = min(rows, columns)
    width, side = max(1, shorter // _BORDER), max(1, shorter // _CORNER)
    inside = shares[:, width : rows - width, width : columns - width].sum(axis=(1, 2))
    ends = [(top, left) for top in (slice(side), slice(-side, None)) for left in
            (slice(side), slice(-side, None))]  # fmt: skip
    corners = np.stack([shares[:, top, left].sum(axis=(1, 2)) for top, left in ends], axis=1)
    return BorderRelevance(
        border=1 - inside,
        corners=corners,
        even_border=1 - (rows - 2 * width) * (columns - 2 * width) / (rows * columns),
        even_corner=side * side / (rows * columns),
        width=width,
        side=side,
    )


def relevance_shares(maps: Maps | Sequence[Maps]) -> npt.NDArray[np.float64]:
    """Each map's relevance above 0 as shares (n, gh, gw) that sum to 1; a map without any is even.

    Raises:
        OptionError: no maps, or what is no stack of grids of finite numbers.
    """
    try:
        given = np.asarray(maps, np.float64)
    except (TypeError, ValueError):
        given = np.empty(0)
    if given.ndim != 3 or not given.size or not np.isfinite(given).all():
        raise OptionError(
            "error.maps.shape",
            "The maps had the shape {shape}, expected (pictures, rows, columns) of finite numbers; "
            "stack the values of heatmaps of one model.",
            shape=given.shape,
        )
    positive = given.clip(min=0)
    whole = positive.sum(axis=(1, 2), keepdims=True)
    even = np.full_like(positive, 1 / positive[0].size)
    return np.where(whole > 0, positive / np.where(whole > 0, whole, 1), even)
