"""What each head and MLP adds to a logit, as one signed matrix."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from vit_explorer.analysis.contributions import Contributions
from vit_explorer.drawing.blank import blank
from vit_explorer.drawing.coloring import DIVERGING
from vit_explorer.drawing.lettering import class_name, note_numbers

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def contribution_figure(found: Contributions) -> Figure:
    """Heads by layer with the MLPs beside them, on one diverging scale centred on 0, in units of
    the logit; what else the logit is made of stands below."""
    depth, heads = found.heads.shape
    parts = np.concatenate((found.heads, found.mlps[:, None]), axis=1)
    largest = float(np.abs(parts).max()) or 1.0
    size = (2.4 + 0.5 * (heads + 1), 1.6 + 0.34 * depth)
    figure = blank(size)
    axis = figure.subplots()
    image = axis.imshow(parts, cmap=DIVERGING, vmin=-largest, vmax=largest, aspect="auto")
    for (row, column), value in np.ndenumerate(parts):
        dark = abs(value) > 0.6 * largest
        axis.text(
            column, row, f"{value:+.2f}", ha="center", va="center", fontsize=7,
            color="white" if dark else "black",
        )  # fmt: skip
    axis.set_xticks(range(heads + 1), [*(str(head + 1) for head in range(heads)), "MLP"])
    axis.set_yticks(range(depth), [str(layer + 1) for layer in range(depth)])
    axis.axvline(heads - 0.5, color="black", linewidth=1)
    biases = float(found.attention_biases.sum()) + found.end
    axis.set_xlabel(
        f"head\nembedding {found.embedding:+.2f} · biases {biases:+.2f} · logit {found.logit:.2f}"
    )
    axis.set_ylabel("layer")
    axis.set_title(f"adds to {class_name(found.label, None)}", fontsize=9, parse_math=False)
    note_numbers(figure, (found.label,))
    figure.colorbar(image, ax=axis, label="logit")
    return figure
