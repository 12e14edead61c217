"""Empty figures: matplotlib's `Figure` without pyplot, safe under threads, no display needed."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def blank(size: tuple[float, float], *, dpi: int = 110) -> Figure:
    """A figure of so many inches; matplotlib is only imported where one is drawn."""
    from matplotlib.figure import Figure

    return Figure(figsize=size, dpi=dpi, layout="constrained")
