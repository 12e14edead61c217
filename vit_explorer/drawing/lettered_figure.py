"""matplotlib's figure, with every text in fonts that have its letters."""

from __future__ import annotations

from matplotlib.backend_bases import RendererBase
from matplotlib.figure import Figure
from matplotlib.text import Text

from vit_explorer.drawing.lettering import families_for


class LetteredFigure(Figure):
    """A figure whose texts may be in any script that an installed font has."""

    def draw(self, renderer: RendererBase) -> None:
        for axes in self.axes:
            for axis in (axes.xaxis, axes.yaxis):
                axis.get_ticklabels()  # which get their texts only now
        for text in self.findobj(Text):
            own = text.get_fontfamily()
            more = [one for one in families_for(text.get_text()) if one not in own]
            if more:
                text.set_fontfamily([*own, *more])
        super().draw(renderer)
