"""Figures of the views that are no heatmaps: heads, lens, artifacts, filters, similarity."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import ArrayLike, NDArray
from PIL import Image

from vit_explorer.analysis.logit_lens import LogitLens
from vit_explorer.analysis.tokens import Artifacts
from vit_explorer.analysis.weights import PatchFilters
from vit_explorer.drawing.blank import blank
from vit_explorer.drawing.coloring import DIVERGING
from vit_explorer.drawing.lettering import class_name, note_numbers
from vit_explorer.errors import OptionError
from vit_explorer.models.predictions import Prediction

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = ["artifact_figure", "filter_sheet", "head_figure", "lens_figure", "similarity_figure"]

_MARK = "#d6336c"


def head_figure(
    distance: ArrayLike, entropy: ArrayLike, *, renormalised: ArrayLike | None = None
) -> Figure:
    """Attention distance in pixels and entropy (0 to 1), both (L, h): a dot a head, a line the
    heads' mean. `renormalised` distances add a dashed line.

    After figure 11 of Dosovitskiy et al. 2021, "An Image is Worth 16x16 Words".
    """
    far, wide = _by_head(distance), _by_head(entropy)
    figure = blank((9.5, 3.8))
    left, right = figure.subplots(1, 2)
    _dots(left, far, "C0")
    if renormalised is not None:
        mean = _by_head(renormalised).mean(axis=1)
        left.plot(_layers(mean), mean, "--", color="C0", label="mean over patches alone")
    left.set_title("How far heads look", fontsize=11, fontweight="bold", loc="left")
    left.set_ylabel("mean attention distance, pixels")
    left.set_ylim(0, max(1.0, 1.08 * float(far.max())))
    _dots(right, wide, "C1")
    right.set_title("How widely heads spread", fontsize=11, fontweight="bold", loc="left")
    right.set_ylabel("entropy / log N")
    right.set_ylim(0, 1.03)
    for axis in (left, right):
        axis.legend(fontsize=8, frameon=False)
    return figure


def lens_figure(lens: LogitLens) -> Figure:
    """The most probable classes at each depth as a table, and the target's probability beside it.

    Row 0 is before the first block. Cells are darker the more probable their class; the target's
    have a frame. Values, which are no probabilities, stand alike on white.
    """
    depths, columns = len(lens.predictions), len(lens.predictions[0])
    size = (2.3 + 1.75 * columns + 2.4, 1.2 + 0.32 * depths)
    figure = blank(size)
    table, curve = figure.subplots(1, 2, sharey=True, width_ratios=(1.75 * columns, 2.4))
    shares = np.array([[p.probability or 0.0 for p in row] for row in lens.predictions])
    table.imshow(shares, cmap="Blues", vmin=0, vmax=1, aspect="auto", interpolation="none")
    for depth, row in enumerate(lens.predictions):
        for column, prediction in enumerate(row):
            label = class_name(prediction.label, prediction.index, 20)
            table.text(
                column,
                depth,
                f"{label}  {_shown(prediction)}",
                ha="center",
                va="center",
                fontsize=8,
                color="white" if shares[depth, column] > 0.6 else "black",
                parse_math=False,
            )
            if prediction.index == lens.target.index:
                _frame(table, column, depth)
    table.set_xticks(range(columns), [f"no. {rank + 1}" for rank in range(columns)], fontsize=8)
    table.xaxis.tick_top()
    table.set_yticks(range(depths), ["input", *(f"layer {n}" for n in range(1, depths))])
    table.tick_params(length=0, labelsize=8)
    table.spines[:].set_visible(False)
    curve.plot(lens.curve, range(depths), "o-", color=_MARK, markersize=4)
    valued = lens.target.probability is None
    if not valued:
        curve.set_xlim(-0.03, 1.03)
        curve.set_xticks((0, 0.5, 1), ("0 %", "50 %", "100 %"), fontsize=8)
    curve.grid(axis="x", alpha=0.3)
    curve.tick_params(axis="y", length=0)
    curve.spines[["top", "right"]].set_visible(False)
    name = class_name(lens.target.label, lens.target.index, 30)
    what = "value of" if valued else "probability of"
    curve.set_xlabel(f"{what} {name}", fontsize=9, parse_math=False)
    note_numbers(figure, (one.label for row in lens.predictions for one in row))
    return figure


def artifact_figure(image: Image.Image, found: Artifacts) -> Figure:
    """The norms of one layer's patch tokens as a map beside the picture, and their histogram.

    Patches that stand out are framed in both; `image` is the crop that the model saw.
    """
    figure = blank((11, 3.9))
    picture, norms, histogram = figure.subplots(1, 3, width_ratios=(1, 1.15, 1.3))
    rows, columns = found.norms.shape
    picture.imshow(image, extent=(-0.5, columns - 0.5, rows - 0.5, -0.5))
    drawn = norms.imshow(found.norms, cmap="viridis", interpolation="none")
    # Patches need not be square.
    aspect = (image.height / rows) / (image.width / columns)
    for axis in (picture, norms):
        axis.set_aspect(aspect)
        axis.set_axis_off()
        for row, column in np.argwhere(found.outliers):
            _frame(axis, column, row)
    figure.colorbar(drawn, ax=norms, fraction=0.046, pad=0.03)
    counts, edges = found.histogram
    bars = histogram.bar(edges[:-1], counts, np.diff(edges), align="edge", color="0.6")
    for bar, low in zip(bars, edges[:-1], strict=True):
        if low >= found.threshold:
            bar.set_color(_MARK)
    histogram.axvline(found.threshold, color=_MARK, linestyle="--", linewidth=1)
    histogram.set_yscale("symlog", linthresh=1)
    ticks = [n for n in (0, 1, 3, 10, 30, 100, 300, 1000, 3000) if n <= counts.max()]
    histogram.set_yticks(ticks, [str(n) for n in ticks])
    histogram.minorticks_off()
    histogram.set_xlabel("norm of the token; the dashed line is the threshold", fontsize=9)
    histogram.set_ylabel("patches", fontsize=9)
    histogram.spines[["top", "right"]].set_visible(False)
    title = f"Layer {found.layer + 1}: high norms on {found.count} of {found.norms.size} patches"
    if found.count:
        title += f"; {_percent(found.mean_share)} of all attention goes there"
        if found.class_share is not None:
            title += f", {_percent(found.class_share)} of the class token's"
    figure.suptitle(title, fontsize=11, fontweight="bold", x=0.01, ha="left")
    return figure


def filter_sheet(found: PatchFilters, *, columns: int = 7) -> Figure:
    """The patch embedding's principal components, each with its share of the variance."""
    count = len(found.filters)
    columns = min(columns, count)
    rows = math.ceil(count / columns)
    figure = blank((1.15 * columns, 1.35 * rows + 0.3))
    for index, axis in enumerate(np.ravel(figure.subplots(rows, columns, squeeze=False))):
        axis.set_axis_off()
        if index < count:
            axis.imshow(found.filters[index], interpolation="none")
            axis.set_title(_percent(found.explained[index]), fontsize=8)
    share = _percent(float(found.explained.sum()))
    title = f"{count} principal components: {share} of the filters' variance"
    figure.suptitle(title, fontsize=10, x=0.01, ha="left")
    return figure


def similarity_figure(
    image: Image.Image, maps: ArrayLike, *, patch: tuple[int, int] | None = None, columns: int = 5
) -> Figure:
    """Cosine similarity of one token to every patch after each layer, (L, gh, gw), -1 to 1.

    `patch` (row, column) frames the token that is compared, where it is a patch.
    """
    cosines = np.asarray(maps, dtype=np.float64)
    if cosines.ndim != 3 or not cosines.size:
        raise OptionError(
            "error.similarity.layers",
            "The similarity has shape {shape}; expected (layers, rows, columns).",
            shape=cosines.shape,
        )
    depth, gh, gw = cosines.shape
    columns = min(columns, depth + 1)
    rows = math.ceil((depth + 1) / columns)
    tall = 2.1 * image.height / image.width
    size = (2.1 * columns + 0.9, (tall + 0.35) * rows)
    figure = blank(size)
    axes = np.ravel(figure.subplots(rows, columns, squeeze=False))
    aspect = (image.height / gh) / (image.width / gw)
    for index, axis in enumerate(axes):
        axis.set_axis_off()
        if index > depth:
            continue
        if index == 0:
            axis.imshow(image, extent=(-0.5, gw - 0.5, gh - 0.5, -0.5))
        else:
            values = cosines[index - 1]
            drawn = axis.imshow(values, cmap=DIVERGING, vmin=-1, vmax=1, interpolation="none")
        axis.set_aspect(aspect)
        axis.set_title(f"layer {index}" if index else "picture", fontsize=9)
        if patch is not None:
            _frame(axis, patch[1], patch[0])
    bar = figure.colorbar(drawn, ax=list(axes), fraction=0.03, pad=0.02)
    bar.set_label("cosine similarity")
    return figure


def _shown(prediction: Prediction) -> str:
    share = prediction.probability
    return prediction.shown if share is None else _percent(share)


def _percent(share: float) -> str:
    return f"{100 * share:.0f} %" if share >= 0.1 else f"{100 * share:.1f} %"


def _by_head(values: ArrayLike) -> NDArray[np.float64]:
    table = np.asarray(values, dtype=np.float64)
    if table.ndim != 2 or not table.size:
        raise OptionError(
            "error.heads.shape",
            "The heads' values have shape {shape}; expected (layers, heads).",
            shape=table.shape,
        )
    return table


def _dots(axis: Axes, values: NDArray[np.float64], colour: str) -> None:
    layers = _layers(values)
    axis.plot(np.repeat(layers, values.shape[1]), values.ravel(), "o", color=colour, alpha=0.45)
    axis.lines[0].set_label("a head")
    axis.plot(layers, values.mean(axis=1), color=colour, label="mean")
    every = math.ceil(len(layers) / 12)
    axis.set_xticks(layers[::every])
    axis.set_xlabel("layer")
    axis.grid(axis="y", alpha=0.3)
    axis.spines[["top", "right"]].set_visible(False)


def _layers(values: NDArray[np.float64]) -> NDArray[np.int64]:
    return np.arange(1, len(values) + 1)


def _frame(axis: Axes, column: float, row: float) -> None:
    from matplotlib.patches import Rectangle

    corner = (column - 0.5, row - 0.5)
    axis.add_patch(Rectangle(corner, 1, 1, fill=False, edgecolor=_MARK, linewidth=1.6))
