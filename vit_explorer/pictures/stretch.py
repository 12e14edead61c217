"""Which values of a picture become black and white, where its type leaves that open."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, Literal, get_args

import numpy as np
from numpy.typing import NDArray

from vit_explorer.errors import OptionError, PictureError
from vit_explorer.sentences import Sentence

Rule = Literal["auto", "full", "minmax"]
Stretch = Rule | tuple[float, float]

# Detectors and scanners count in even numbers of bits, whatever the file that holds them.
DEPTHS = (8, 10, 12, 14, 16)
# Resampled pictures end a rounding error outside 0 to 1: a quarter of a level is let pass.
SLACK = 1e-3


@dataclass(frozen=True)
class Stretched:
    """What was done to a picture's values: `low` became black (0), `high` white (1).

    `rule` is "auto", "full", "minmax" or "given"; `bits` the depth that "auto" found, None for
    other rules and other types than whole numbers.
    """

    rule: str
    low: float
    high: float
    bits: int | None = None

    def __str__(self) -> str:
        bits = "" if self.bits is None else f", {self.bits} bits"
        return f"{self.rule}{bits}: {self.low:g} is black, {self.high:g} is white"

    def is_plain(self, dtype: np.dtype[Any]) -> bool:
        """Whether values of this type were taken as they are: 8 bits, or floats from 0 to 1."""
        if dtype.kind == "u" and dtype.itemsize == 2:
            return False
        return (self.low, self.high) == ((0, 255) if dtype.kind in "iu" else (0, 1))

    def apply(self, values: NDArray[Any]) -> NDArray[np.float32]:
        """Values as shares from 0 to 1; those beyond the ends are cut off."""
        shares = (values.astype(np.float32) - self.low) / np.float32(self.high - self.low)
        return np.clip(shares, 0, 1, out=shares)

    def levels(self, values: NDArray[Any]) -> NDArray[np.uint8]:
        """Values as levels from 0 to 255, to the nearest one."""
        if values.dtype == np.uint8 and (self.low, self.high) == (0, 255):
            return values
        shares = (values.astype(np.float64) - self.low) * (255 / (self.high - self.low))
        return np.rint(np.clip(shares, 0, 255, out=shares), out=shares).astype(np.uint8)


def check_stretch(stretch: Any) -> Stretch:
    """A rule by name, or the values that become black and white. Raises OptionError."""
    if isinstance(stretch, str) and stretch in get_args(Rule):
        return stretch  # type: ignore[return-value]
    if isinstance(stretch, (tuple, list)) and len(stretch) == 2:
        try:
            low, high = float(stretch[0]), float(stretch[1])
        except (TypeError, ValueError):
            low = high = math.nan
        if math.isfinite(low) and math.isfinite(high) and low < high:
            return low, high
    raise OptionError(
        "error.stretch",
        "The stretch was {stretch!r}, expected 'auto', 'full', 'minmax', or the values that "
        "become black and white, (low, high), low first.",
        stretch=stretch,
    )


def find_stretch(values: NDArray[Any], stretch: Stretch, subject: str) -> Stretched:
    """What a rule does to a picture's values, all bands together.

    "full" takes the range that the type stands for: 0 to 255 for 8 bits, 0 to 65535 for 16, 0 to 1
    for floats. "auto" takes the smallest of 8, 10, 12, 14 and 16 bits that holds 16-bit values, so
    that 12-bit data is not nearly black; the full range of what else lies in it; and what is found
    from lowest to highest elsewhere. "minmax" always takes the latter.

    Raises:
        PictureError: values that are no numbers, not finite, or outside what "full" takes.
    """
    kind = values.dtype.kind
    if kind not in "biuf":
        raise PictureError(
            "error.values.kind",
            "{subject} holds {dtype}; a picture holds uint8, uint16 or floats from 0 to 1.",
            subject=subject,
            dtype=values.dtype,
        )
    if kind == "f" and not np.isfinite(values).all():
        raise PictureError(
            "error.values.finite",
            "{subject} holds NaN or infinite values; replace them first.",
            subject=subject,
        )
    if isinstance(stretch, tuple):
        return Stretched("given", *stretch)
    if kind == "b":
        return Stretched(stretch, 0, 1)
    if values.dtype == np.uint8 and stretch != "minmax":
        return Stretched(stretch, 0, 255)
    low, high = values.min().item(), values.max().item()
    if stretch == "minmax":
        if low == high:
            raise PictureError(
                "error.values.flat",
                "{subject} holds nothing but {low:g}, which can't be stretched from lowest to "
                "highest; use stretch='full'.",
                subject=subject,
                low=low,
            )
        return Stretched(stretch, low, high)
    return _by_type(values.dtype, low, high, stretch, subject)


def _by_type(
    dtype: np.dtype[Any], low: float, high: float, stretch: Rule, subject: str
) -> Stretched:
    if dtype.kind == "f":
        if low >= -SLACK and high <= 1 + SLACK:
            return Stretched(stretch, 0, 1)
        if stretch == "auto" and low < high:
            return Stretched(stretch, low, high)
        raise PictureError(
            "error.values.floats",
            "{subject} holds floats from {low:.4g} to {high:.4g}; scale them to 0 to 1, or give "
            "the stretch (low, high).",
            subject=subject,
            low=low,
            high=high,
        )
    sixteen = dtype.kind == "u" and dtype.itemsize == 2
    if sixteen and stretch == "full":
        return Stretched(stretch, 0, 65535)
    if not sixteen and low >= 0 and high <= 255:
        return Stretched(stretch, 0, 255)
    if low >= 0 and high <= 65535 and (sixteen or low < high) and stretch == "auto":
        bits = next(depth for depth in DEPTHS if high < 2**depth)
        return Stretched(stretch, 0, 2**bits - 1, bits)
    if low < high and stretch == "auto":
        return Stretched(stretch, low, high)
    beyond = (
        Sentence("part.outside", ", outside 16-bit grey (0 to 65535)")
        if low < 0 or high > 65535
        else ""
    )
    raise PictureError(
        "error.values.whole",
        "{subject} holds {dtype} from {low} to {high}{beyond}; scale it to 0 to 255, convert it "
        "to uint16, or give the stretch (low, high).",
        subject=subject,
        dtype=dtype,
        low=low,
        high=high,
        beyond=beyond,
    )
