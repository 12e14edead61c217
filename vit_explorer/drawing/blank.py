"""Empty figures: matplotlib's `Figure` without pyplot, safe under threads, no display needed."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def blank(size: tuple[float, float], *, dpi: int = 110, constrained: bool = True) -> Figure:
    """A figure of so many inches, whose texts may be in any script; `constrained` finds the room of
    its parts. matplotlib is only imported where one is drawn."""
    from vit_explorer.drawing.lettered_figure import LetteredFigure

    return LetteredFigure(figsize=size, dpi=dpi, layout="constrained" if constrained else None)
