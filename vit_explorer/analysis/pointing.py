"""Where is it? Mosaics of four pictures: how much of a class's map lies on the picture of it.

Böhle, Fritz & Schiele, "Convolutional Dynamic Alignment Networks for Interpretable
Classifications", CVPR 2021 (the grid pointing game).
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from PIL import Image

from vit_explorer.errors import TargetError
from vit_explorer.methods import METHODS, find_method
from vit_explorer.models.card import ModelCard
from vit_explorer.models.cells import cell_means
from vit_explorer.models.loaded import LoadedModel
from vit_explorer.models.needs import require, why_not
from vit_explorer.models.targets import Aim, find_target
from vit_explorer.options import whole_number
from vit_explorer.pictures.preprocess import Prepared
from vit_explorer.sentences import Sentence
from vit_explorer.tracing.trace import trace

Shares = NDArray[np.float64]

SIDE = 2
QUARTERS = SIDE * SIDE
CHANCE = 1 / QUARTERS


@dataclass(frozen=True, eq=False)
class Pointing:
    """The share of each map's positive mass that lies on its class's own quarter.

    `shares` has by method (mosaics, 4), 0 to 1, where chance is 1/4; `labels` are the classes of
    each mosaic's quarters, row by row. `skipped` are methods that the model does not allow.
    """

    shares: Mapping[str, Shares]
    labels: tuple[tuple[str, ...], ...]
    skipped: Mapping[str, str]

    def to_dict(self) -> dict[str, Any]:
        """The numbers, for a file."""
        return {
            "mosaics": [list(labels) for labels in self.labels],
            "chance": CHANCE,
            "methods": {
                name: {
                    "mean": self.mean(name),
                    # A single mosaic has no interval, and JSON no number for that.
                    "interval": None if len(own) < 2 else self.interval(name),
                    "shares": own.tolist(),
                }
                for name, own in self.shares.items()
            },
            "skipped": dict(self.skipped),
        }

    def mean(self, name: str) -> float:
        """The mean share, 0 to 1."""
        return float(self.shares[name].mean())

    def interval(self, name: str) -> float:
        """Half of the mean's 95 % interval, of mosaics as one each; nan of a single mosaic."""
        return half_interval(self.shares[name].mean(axis=1))


def half_interval(values: Sequence[float] | Shares) -> float:
    """Half of the 95 % interval of a mean by Student's t: nan of a single value."""
    from scipy.stats import t

    count = len(values)
    if count < 2:
        return math.nan
    return float(t.ppf(0.975, count - 1) * np.std(values, ddof=1) / math.sqrt(count))


def pointing_game(
    model: LoadedModel,
    pictures: Iterable[tuple[Any, int | str]],
    methods: Sequence[str] | None = None,
    *,
    mosaics: int = 20,
    seed: int = 0,
    progress: Callable[[int, int], None] | None = None,
) -> Pointing:
    """Explain each of the four classes of mosaics, and see on whose quarter its map lies.

    Pictures that the model is wrong about when they stand alone take no part. A mosaic has four of
    different classes, each at half its size; a map with no positive value counts as chance.

    Args:
        pictures: (anything `open_picture` takes, its class by index or label), read in their order
            until there are four for each mosaic; after that they take part in several.
        methods: names; None are all that the model allows.
        mosaics: how many.
        seed: of which pictures stand together.
        progress: called with (mosaics done, mosaics in all).

    Raises:
        OptionError: no such method, or fewer than one mosaic.
        TargetError: a model without classes, or one that is right about fewer than four of them.
    """
    count = whole_number(Sentence("part.mosaics", "number of mosaics"), mosaics, 1)
    seed = whole_number(Sentence("part.seed", "seed"), seed, 0, 2**32 - 1)
    names = list(METHODS) if methods is None else list(methods)
    for name in names:
        find_method(name)
    require(model.card, "class")
    reasons = {name: why_not(model.card, METHODS[name].needed) for name in names}
    skipped = {name: reason for name, reason in reasons.items() if reason}
    names = [name for name in names if name not in skipped]
    right = _rightly_seen(model, pictures, count * QUARTERS)
    generator = np.random.default_rng(seed)
    found: dict[str, list[list[float]]] = {name: [] for name in names}
    labels = []
    for done in range(count):
        four = _four(right, generator)
        labels.append(tuple(model.labels[index] for index, _ in four))
        mosaic = mosaic_of(model.card, [prepared for _, prepared in four])
        for name, shares in _point(model, mosaic, [index for index, _ in four], names).items():
            found[name].append(shares)
        if progress is not None:
            progress(done + 1, count)
    return Pointing({k: np.array(v) for k, v in found.items()}, tuple(labels), skipped)


def mosaic_of(card: ModelCard, four: Sequence[Prepared]) -> Prepared:
    """Four prepared pictures as one of the same size, row by row, each at half its size."""
    height, width = four[0].pixels.shape[-2:]
    top, left = height // SIDE, width // SIDE
    rows, columns = (top, height - top), (left, width - left)
    pixels = four[0].pixels.clone()
    shown = Image.new("RGB", (width, height))
    for (row, column), own in zip(itertools.product(range(SIDE), repeat=2), four, strict=True):
        size = (rows[row], columns[column])
        small = F.interpolate(own.pixels, size, mode="bicubic", antialias=True)
        y, x = row * top, column * left
        pixels[..., y : y + size[0], x : x + size[1]] = small
        shown.paste(own.shown.resize(size[::-1], Image.Resampling.BICUBIC), (x, y))
    box = (0.0, 0.0, float(width), float(height))
    whole = replace(four[0], pixels=pixels, shown=shown, box=box, box_known=False)
    return whole.covering(card.covered)


def quarter_shares(card: ModelCard, values: NDArray[np.float32]) -> Shares:
    """The share of a map's positive mass in each quarter, (4,) row by row, 1 together: a cell on a
    border counts by its parts, and a map with no positive value as chance everywhere."""
    mass = np.maximum(values, 0).astype(np.float64)
    if not mass.any():
        return np.full(QUARTERS, CHANCE)
    height, width = card.image_size
    found = []
    for row, column in itertools.product(range(SIDE), repeat=2):
        inside = torch.zeros(height, width)
        rows = slice(0, height // 2) if row == 0 else slice(height // 2, None)
        columns = slice(0, width // 2) if column == 0 else slice(width // 2, None)
        inside[rows, columns] = 1
        found.append(float((mass * cell_means(card, inside).numpy()).sum()))
    return np.array(found) / mass.sum()


def _point(
    model: LoadedModel, mosaic: Prepared, classes: Sequence[int], names: Sequence[str]
) -> dict[str, list[float]]:
    """By method, for each quarter's class the share of its map that lies there."""
    found: dict[str, list[float]] = {name: [] for name in names}
    for quarter, index in enumerate(classes):
        traced = trace(model, mosaic, target=Aim.at(index), gradients="all")
        for name in names:
            values = METHODS[name](traced).values
            found[name].append(float(quarter_shares(model.card, values)[quarter]))
    return found


def _rightly_seen(
    model: LoadedModel, pictures: Iterable[tuple[Any, int | str]], most: int
) -> dict[int, list[Prepared]]:
    """By class the prepared pictures that a model is right about, `most` together."""
    right: dict[int, list[Prepared]] = {}
    for picture, name in pictures:
        aim = find_target(model, name)
        prepared = model.prepare(picture)
        if aim is not None and trace(model, prepared).target == aim.index:
            right.setdefault(aim.index, []).append(prepared)
            most -= 1
        if most <= 0 and len(right) >= QUARTERS:
            break
    if len(right) < QUARTERS:
        raise TargetError(
            "error.pointing.few",
            "{model} is right about pictures of {count} of the classes, expected {least} or more; "
            "give pictures of more classes that it knows.",
            model=model.card.name,
            count=len(right),
            least=QUARTERS,
        )
    return right


def _four(
    right: Mapping[int, Sequence[Prepared]], generator: np.random.Generator
) -> list[tuple[int, Prepared]]:
    """Pictures of four classes, each class as likely as it has pictures."""
    classes = sorted(right)
    weights = np.array([len(right[one]) for one in classes], float)
    chosen = generator.choice(len(classes), QUARTERS, replace=False, p=weights / weights.sum())
    return [
        (classes[at], right[classes[at]][int(generator.integers(len(right[classes[at]])))])
        for at in chosen
    ]
