"""What a recipe makes of its training pictures, looked at before the training."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray
from torch import Tensor

from vit_explorer.datasets.sources import Source
from vit_explorer.drawing.blank import blank
from vit_explorer.drawing.lettering import class_name, note_numbers
from vit_explorer.options import whole_number
from vit_explorer.result_folder import not_written
from vit_explorer.sentences import Sentence
from vit_explorer.training.augment import draw, erase, make_mixing, seed_step, standardise, vary
from vit_explorer.training.data import decode, find_run_splits
from vit_explorer.training.recipe import Recipe, load_recipe
from vit_explorer.training.report import png_of
from vit_explorer.training.student import build_model, image_size

_LONGEST = 18


@dataclass(frozen=True, eq=False)
class Preview:
    """n training pictures as they are, and V times as a model is given them.

    `pictures` (n, H, W, 3) and `varied` (V, n, H, W, 3) are values from 0 to 1; `shares`
    (V, n, classes) what the targets are: a label is 1 for its class, mixed pictures share it.
    """

    classes: tuple[str, ...]
    labels: tuple[int, ...]
    pictures: NDArray[np.float32]
    varied: NDArray[np.float32]
    shares: NDArray[np.float32]

    def figure(self) -> Figure:
        """A column a picture: as it is, and under it each time as it is learned from."""
        times, count = self.varied.shape[:2]
        figure = blank((1.5 * count, 1.8 * (times + 1)))
        axes = figure.subplots(times + 1, count, squeeze=False)
        for column, label in enumerate(self.labels):
            self._show(axes[0, column], self.pictures[column], np.eye(len(self.classes))[label])
            for row in range(times):
                self._show(
                    axes[row + 1, column], self.varied[row, column], self.shares[row, column]
                )
        note_numbers(figure, self.classes)
        return figure

    def save(self, file: str | Path) -> Path:
        """Write the figure as PNG; raises OutputError if it can't be."""
        place = Path(file)
        try:
            place.write_bytes(png_of(self.figure()))
        except OSError as error:
            raise not_written(place.parent, error) from None
        return place

    def _show(self, axis: Axes, picture: NDArray[np.float32], shares: NDArray[Any]) -> None:
        axis.imshow(picture)
        axis.set_axis_off()
        order = [place for place in np.argsort(-shares, kind="stable")[:2] if shares[place] > 0.005]
        lines = [class_name(self.classes[place], int(place), _LONGEST) for place in order]
        if len(order) > 1:
            lines = [f"{line} {shares[n]:.0%}" for n, line in zip(order, lines, strict=True)]
        axis.set_title("\n".join(lines), fontsize=8, parse_math=False)


def preview(
    recipe: str | Path | Recipe,
    *,
    data: str | Path = "cifar10",
    overrides: Sequence[str] = (),
    count: int = 8,
    times: int = 4,
) -> Preview:
    """Vary a few of a recipe's training pictures as its training does, without training.

    They are mirrored, moved, recoloured, erased and mixed by the training's own functions and the
    recipe's seed: the first picture of each class, and further ones. Where pictures differ in
    size, these few count as all.

    Raises:
        RecipeError, DataError: as `train`.
        OptionError: a count or times below 1.
    """
    settings = load_recipe(recipe, overrides)
    count = whole_number(Sentence("part.shown.pictures", "count of pictures"), count, 1, 100)
    times = whole_number(Sentence("part.shown.times", "count of variations"), times, 1, 100)
    few = _few(find_run_splits(data, settings.hold_out).train, count)
    size = _size(settings, len(few.classes))
    known = decode(few, size)
    pixels, labels = known.pixels[:count], known.labels[:count]
    plain = standardise(pixels / 255, size, settings.mean, settings.std)
    varied, shares = [], []
    mixing = make_mixing(settings.augment, len(few.classes))
    for time in range(times):
        seed_step(settings.seed, time, 0, 0)
        x = vary(pixels, draw(settings.augment, len(pixels)))
        x = erase(standardise(x, size, settings.mean, settings.std), settings.augment)
        one_hot = torch.nn.functional.one_hot(labels, len(few.classes)).float()
        x, targets = (x, one_hot) if mixing is None else mixing(x, labels)
        varied.append(_shown(x, settings))
        shares.append(targets.numpy())
    return Preview(
        few.classes,
        tuple(labels.tolist()),
        _shown(plain, settings),
        np.stack(varied),
        np.stack(shares),
    )


def _few(source: Source, count: int) -> Source:
    """The first pictures of some of the classes, two at least, in turn."""
    first = np.unique(source.labels, return_index=True)[1]
    chosen = sorted(first)[: max(count, 2)]
    more = [place for place in range(len(source)) if place not in set(first)]
    chosen += more[: max(0, count - len(chosen))]
    labels = [source.labels[place] for place in chosen]
    known = sorted(set(labels))
    items = source.items
    return replace(
        source,
        items=items[chosen] if isinstance(items, np.ndarray) else [items[n] for n in chosen],
        labels=tuple(known.index(label) for label in labels),
        classes=tuple(source.classes[label] for label in known),
    )


def _size(recipe: Recipe, classes: int) -> tuple[int, int]:
    """The (height, width) that a recipe's model takes, without its weights."""
    if recipe.timm is not None:
        bare = recipe.timm.model_copy(update={"pretrained": False, "weights": None})
        recipe = recipe.model_copy(update={"timm": bare})
    return image_size(build_model(recipe, classes))


def _shown(x: Tensor, recipe: Recipe) -> NDArray[np.float32]:
    """A model's input (n, 3, H, W) as pictures (n, H, W, 3)."""
    mean, std = (x.new_tensor(v)[:, None, None] for v in (recipe.mean, recipe.std))
    return (x * std + mean).clamp(0, 1).permute(0, 2, 3, 1).numpy()
