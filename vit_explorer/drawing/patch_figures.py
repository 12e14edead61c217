"""Figures of what every patch holds: its lens at each depth, and its components as colours."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from vit_explorer.analysis.patch_lens import PatchLens
from vit_explorer.drawing.blank import blank
from vit_explorer.drawing.coloring import COLORMAPS
from vit_explorer.drawing.lettering import class_name, note_numbers

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

# Wong 2011, "Points of view: Color blindness": told apart by nearly everyone; grey for the rest.
CLASS_COLOURS = ("#0072b2", "#e69f00", "#009e73", "#cc79a7", "#56b4e9", "#d55e00", "#f0e442")
OTHERS = "#9a9a9a"
COLUMNS = 7
LONGEST_LABEL = 24


def frequent_classes(classes: NDArray[np.int64]) -> list[int]:
    """The classes that are said most often, the commonest first, as many as there are colours."""
    indices, counts = np.unique(classes, return_counts=True)
    order = np.lexsort((indices, -counts))
    return [int(index) for index in indices[order][: len(CLASS_COLOURS)]]


def patch_lens_figure(image: Image.Image, lens: PatchLens, labels: Sequence[str]) -> Figure:
    """The target's probability over the patches at each depth, and under it the likeliest class.

    The commonest classes have colours of their own, which the legend names; all others are grey.
    `image` is the crop that the model saw.
    """
    depths, gh, gw = lens.target_map.shape
    ranked = lens.classes is not None
    figure, axes = _panels(image, depths, 2 if ranked else 1, legend=ranked)
    low = 0.0 if ranked else float(lens.target_map.min())
    high = max(float(lens.target_map.max()), low + 1e-12)
    for depth, axis in enumerate(axes[0]):
        drawn = axis.imshow(
            lens.target_map[depth], cmap=COLORMAPS[1], vmin=low, vmax=high, interpolation="none"
        )
        axis.set_title(f"layer {depth}" if depth else "input", fontsize=8)
    name = class_name(lens.target.label, lens.target.index, LONGEST_LABEL)
    what = "probability" if ranked else "value"
    figure.colorbar(drawn, ax=axes[0], fraction=0.02, pad=0.01).set_label(
        f"{what} of {name}", fontsize=8, parse_math=False
    )
    if lens.classes is not None:
        from matplotlib.patches import Patch

        known = frequent_classes(lens.classes)
        for depth, axis in enumerate(axes[1]):
            axis.imshow(_class_colours(lens.classes[depth], known), interpolation="none")
        keys = [
            Patch(color=colour, label=class_name(labels[index], index, LONGEST_LABEL))
            for index, colour in zip(known, CLASS_COLOURS, strict=False)
        ]
        if len(np.unique(lens.classes)) > len(known):
            keys.append(Patch(color=OTHERS, label="others"))
        legend = figure.legend(handles=keys, loc="outside lower left", ncols=4, fontsize=8)
        legend.set_frame_on(False)
        for text in legend.get_texts():
            text.set_parse_math(False)
        note_numbers(figure, (labels[index] for index in known))
    for axis in (axis for row in axes for axis in row):
        axis.set_aspect((image.height / gh) / (image.width / gw))
    return figure


def components_figure(image: Image.Image, colours: Sequence[NDArray[np.float32]]) -> Figure:
    """The picture, and a panel a layer of patches coloured by their components (gh, gw, 3)."""
    gh, gw = colours[0].shape[:2]
    figure, ((first, *others),) = _panels(image, len(colours) + 1, 1, legend=False)
    first.imshow(image, extent=(-0.5, gw - 0.5, gh - 0.5, -0.5))
    first.set_title("picture", fontsize=8)
    for layer, (axis, values) in enumerate(zip(others, colours, strict=True), 1):
        axis.imshow(values, interpolation="none")
        axis.set_title(f"layer {layer}", fontsize=8)
    for axis in (first, *others):
        axis.set_aspect((image.height / gh) / (image.width / gw))
    return figure


def _panels(
    image: Image.Image, count: int, kinds: int, *, legend: bool
) -> tuple[Figure, list[list[Axes]]]:
    """Axes for `count` maps of each of some kinds, a kind's rows standing together."""
    columns = min(COLUMNS, count)
    rows = math.ceil(count / columns)
    tall = 1.5 * image.height / image.width + 0.25
    size = (1.5 * columns + 1.0, tall * rows * kinds + (0.6 if legend else 0.1))
    figure = blank(size)
    grid = figure.subplots(rows * kinds, columns, squeeze=False)
    return figure, [list(_filled(grid[k * rows : (k + 1) * rows], count)) for k in range(kinds)]


def _filled(axes: NDArray[np.object_], count: int) -> Iterator[Axes]:
    for index, axis in enumerate(np.ravel(axes)):
        axis.set_axis_off()
        if index < count:
            yield axis


def _class_colours(classes: NDArray[np.int64], known: Sequence[int]) -> NDArray[np.float64]:
    from matplotlib.colors import to_rgb

    found = np.empty((*classes.shape, 3))
    found[:] = to_rgb(OTHERS)
    for index, colour in zip(known, CLASS_COLOURS, strict=False):
        found[classes == index] = to_rgb(colour)
    return found
