"""Whether a map can be trusted: does covering what it marks change the prediction more than chance?

Petsiuk, Das & Saenko, "RISE", BMVC 2018 (insertion and deletion); Adebayo et al., "Sanity Checks
for Saliency Maps", NeurIPS 2018 (weight randomisation).
"""

from __future__ import annotations

import copy
import dataclasses
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from vit_explorer.errors import OptionError, TargetError
from vit_explorer.methods import METHODS, Heatmap, find_method
from vit_explorer.methods.model_queries import pictures_at_once
from vit_explorer.models.card import ModelCard
from vit_explorer.models.cells import over_pixels
from vit_explorer.models.devices import enough_memory
from vit_explorer.models.interception import running
from vit_explorer.models.loaded import LoadedModel
from vit_explorer.models.outputs import answer, measured, no_classes
from vit_explorer.models.targets import Aim, Target, find_target
from vit_explorer.options import whole_number
from vit_explorer.pictures.preprocess import Prepared
from vit_explorer.sentences import Sentence
from vit_explorer.tracing.trace import trace

Grid = NDArray[np.float32]

# RISE blurs 224 pixels by a Gaussian of 5: 5/16 of a patch of 16.
BLUR_IN_PATCHES = 5 / 16
BATCH = 64


@dataclass(frozen=True, eq=False)
class Score:
    """How a map does: areas under its curves, 0 to 1, or in units of a value.

    `insertion` is the target's mean probability, or its mean value, while the best cells are
    uncovered first (higher is better), `deletion` while they are covered first (lower is better).
    The curves have one value a step, from nothing to everything.
    """

    insertion: float
    deletion: float
    insertion_curve: Grid = field(repr=False)
    deletion_curve: Grid = field(repr=False)

    @property
    def gain(self) -> float:
        """insertion - deletion, -1 to 1 of probabilities: the one number maps are ranked by."""
        return self.insertion - self.deletion


@dataclass(frozen=True, eq=False)
class Faithfulness:
    """Scores of maps by name, of a Gaussian in the middle, and of random maps.

    `measure` says what the curves are of: the target's "probability", or its "value" where that is
    what the model returns.
    """

    target: int
    label: str
    scores: Mapping[str, Score]
    gaussian: Score
    random: tuple[Score, ...]
    measure: str = "probability"

    def beaten(self, name: str) -> int:
        """How many of the random maps a map beats, by its gain."""
        return sum(self.scores[name].gain > chance.gain for chance in self.random)

    def percentile(self, name: str) -> float:
        """Share of the random maps that a map beats, 0 to 1."""
        return self.beaten(name) / len(self.random)

    def beats_chance(self, name: str) -> bool:
        """Whether a map beats 95 % of the random maps."""
        return self.percentile(name) >= 0.95

    def loses_to_chance(self, name: str) -> bool:
        """Whether 95 % of the random maps beat a map."""
        return self.percentile(name) <= 0.05

    def beats_middle(self, name: str) -> bool:
        """Whether a map beats the Gaussian in the middle."""
        return self.scores[name].gain > self.gaussian.gain

    def verdict(self, name: str) -> str:
        """One line: what it beats."""
        if not self.beats_chance(name):
            how = "worse than chance" if self.loses_to_chance(name) else "no better than chance"
            return f"{how} (beats {self.beaten(name)} of {len(self.random)})"
        middle = "and" if self.beats_middle(name) else "but not"
        return f"beats {self.beaten(name)} of {len(self.random)} random maps, {middle} the middle"

    def to_dict(self) -> dict[str, Any]:
        """The numbers, for a file."""

        def numbers(score: Score) -> dict[str, float]:
            return {"insertion": score.insertion, "deletion": score.deletion}

        return {
            "target": self.target,
            "label": self.label,
            "measure": self.measure,
            "maps": {
                name: {
                    **numbers(score),
                    "beats": self.beaten(name),
                    "percentile": self.percentile(name),
                    "verdict": self.verdict(name),
                }
                for name, score in self.scores.items()
            },
            "gaussian": numbers(self.gaussian),
            "random": [numbers(score) for score in self.random],
        }


def faithfulness(
    model: LoadedModel,
    picture: Any,
    heatmaps: Mapping[str, Heatmap | Grid],
    *,
    target: Target = None,
    steps: int = 14,
    random_maps: int = 20,
    seed: int = 0,
    progress: Callable[[int, int], None] | None = None,
) -> Faithfulness:
    """Insertion and deletion of maps (gh, gw), beside random maps and a Gaussian in the middle.

    Cells are ranked by value, equal ones row by row. Deletion covers with the mean colour of the
    model's normalisation, insertion starts from a blurred picture. All covered pictures of all
    maps share batches.

    Args:
        picture: anything `open_picture` takes, or a `Prepared`.
        target: class, label or value that is followed, its probability where it has one; None
            takes the maps' own target where they have one, else the top prediction.
        steps: points of a curve after the first.
        progress: called with (pictures done, pictures in all).

    Raises:
        OptionError: a map of another grid, no maps, or counts below 1.
        TargetError: a model of one class or none, or maps made for several targets.
    """
    gh, gw = model.card.grid
    for name, count in (("number of steps", steps), ("number of random maps", random_maps)):
        whole_number(name, count, 1)
    grids = {name: _values(heatmap) for name, heatmap in heatmaps.items()}
    for name, grid in grids.items():
        if grid.shape != (gh, gw) or not np.isfinite(grid).all():
            raise OptionError(
                "error.trust.shape",
                "The map {name!r} has shape {shape}, expected {expected} finite values, one a "
                "patch of the model.",
                name=name,
                shape=grid.shape,
                expected=(gh, gw),
            )
    if not grids:
        raise OptionError("error.trust.none", "No maps were given, expected at least one to score.")
    prepared = model.prepare(picture)
    aim = _choose_aim(model, prepared, heatmaps, target)
    generator = np.random.default_rng(seed)
    chance = [generator.random((gh, gw), dtype=np.float32) for _ in range(random_maps)]
    orders = [_ranked(grid) for grid in (*grids.values(), _centred(gh, gw), *chance)]
    curves = _curves(model, prepared, orders, aim, min(steps, gh * gw), progress)
    scores = [_score(*pair) for pair in curves]
    return Faithfulness(
        target=aim.index,
        label=aim.label(model.labels),
        scores=dict(zip(grids, scores, strict=False)),
        gaussian=scores[len(grids)],
        random=tuple(scores[len(grids) + 1 :]),
        measure="value" if model.card.outputs == "value" else "probability",
    )


def weight_randomisation(
    model: LoadedModel,
    picture: Any,
    methods: Mapping[str, Mapping[str, Any]] | tuple[str, ...],
    *,
    target: Target = None,
    seed: int = 0,
) -> dict[str, float]:
    """Rank correlation, -1 to 1, of each method's map with the one a ruined model gives.

    Every weight tensor is shuffled in a copy of the model, so each keeps its values but not what
    it learned. A method whose map stays alike (near 1) does not explain the model. A map that is
    the same everywhere correlates with nothing: 0.

    Raises:
        OptionError: an unknown method or option.
    """
    chosen = methods if isinstance(methods, Mapping) else {name: {} for name in methods}
    for name in chosen:
        find_method(name)
    prepared = model.prepare(picture)
    real = trace(model, prepared, target=target, gradients="all")
    ruined = trace(_shuffled(model, seed), prepared, target=real.aim, gradients="all")
    return {
        name: _rank_correlation(
            METHODS[name](real, **options).values, METHODS[name](ruined, **options).values
        )
        for name, options in chosen.items()
    }


def _values(heatmap: Heatmap | Grid) -> Grid:
    return heatmap.values if isinstance(heatmap, Heatmap) else np.asarray(heatmap, np.float32)


def _choose_aim(
    model: LoadedModel, prepared: Prepared, heatmaps: Mapping[str, Heatmap | Grid], target: Target
) -> Aim:
    aim = find_target(model, target)
    own = {
        h.aim or Aim.at(h.target)
        for h in heatmaps.values()
        if isinstance(h, Heatmap) and h.target is not None
    }
    if aim is None and len(own) > 1:
        raise TargetError(
            "error.trust.classes",
            "The maps were made for {count} different classes; give the target to follow.",
            count=len(own),
        )
    if aim is None and own:
        aim = own.pop()
    if aim is None:
        aim = trace(model, prepared).aim
    if aim is None:
        raise no_classes(
            model.card, Sentence("part.noclass.follow", "so there is no probability to follow")
        )
    if model.card.classes == 1 and model.card.sums_to_one:
        raise TargetError(
            "error.trust.single",
            "{model} has a single output, whose softmax probability is always 1, so no map can "
            "change it; load it with outputs='labels' or 'value', or a model of two classes or "
            "more.",
            model=model.card.name,
        )
    return aim


def _ranked(grid: Grid) -> NDArray[np.intp]:
    """Cells from the highest value down; equal ones keep their order, row by row."""
    return np.argsort(-grid.ravel(), kind="stable")


def _centred(rows: int, columns: int) -> Grid:
    """A Gaussian in the middle, a quarter of the picture wide: the photographer's bias."""
    y = (np.arange(rows) + 0.5) / rows - 0.5
    x = (np.arange(columns) + 0.5) / columns - 0.5
    return np.exp(-(y[:, None] ** 2 + x[None] ** 2) / (2 * 0.25**2)).astype(np.float32)


def _curves(
    model: LoadedModel,
    prepared: Prepared,
    orders: list[NDArray[np.intp]],
    aim: Aim,
    steps: int,
    progress: Callable[[int, int], None] | None,
) -> list[tuple[Grid, Grid]]:
    """(insertion, deletion) probabilities or values of each order, steps + 1 each."""
    from torchvision.transforms.v2.functional import gaussian_blur

    outputs = model.card.outputs
    parameter = next(model.module.parameters())
    pixels = prepared.pixels.to(parameter.device, parameter.dtype)
    h, w = model.card.patch_size
    sigma = [BLUR_IN_PATCHES * w, BLUR_IN_PATCHES * h]
    kernel = [2 * round(3 * value) + 1 for value in sigma]
    blurred = gaussian_blur(pixels, kernel, sigma)
    mean = torch.zeros_like(pixels)  # the normalisation's mean colour

    def covered() -> Iterator[Tensor]:
        # All curves share their ends: the whole picture, the blurred one, the mean colour.
        yield from (pixels, blurred, mean)
        for order in orders:
            for shown in _masks(order, model.card, steps):
                mask = shown.to(pixels)
                yield torch.where(mask > 0, pixels, blurred)
                yield torch.where(mask > 0, mean, pixels)

    total = 3 + len(orders) * (steps - 1) * 2
    found: list[Tensor] = []
    size = min(BATCH, pictures_at_once(model.device, model.card.work))
    with (
        model.lock,
        torch.inference_mode(),
        running(model.module, model.anatomy),
        enough_memory(model.card.name),
    ):
        for batch in _batches(covered(), size):
            told = measured(answer(model, batch).raw, outputs)
            found.append(aim.measured(told, probabilities=outputs != "value").cpu())
            if progress is not None:
                progress(sum(map(len, found)), total)
    whole, faint, nothing = (probability.reshape(1) for probability in torch.cat(found)[:3].numpy())
    table = torch.cat(found)[3:].reshape(len(orders), steps - 1, 2).numpy()
    return [
        (
            np.concatenate((faint, curve[:, 0], whole)),
            np.concatenate((whole, curve[:, 1], nothing)),
        )
        for curve in table
    ]


def _masks(order: NDArray[np.intp], card: ModelCard, steps: int) -> Iterator[Tensor]:
    """Masks (1, 1, H, W) of the first n/steps, 2n/steps, … cells of an order, short of all n."""
    for step in range(1, steps):
        cells = np.zeros(len(order), np.float32)
        cells[order[: round(step * len(order) / steps)]] = 1
        yield over_pixels(card, torch.from_numpy(cells).unflatten(0, card.grid))[None, None]


def _batches(pictures: Iterator[Tensor], size: int) -> Iterator[Tensor]:
    held: list[Tensor] = []
    for picture in pictures:
        held.append(picture)
        if len(held) == size:
            yield torch.cat(held)
            held = []
    if held:
        yield torch.cat(held)


def _score(insertion: Grid, deletion: Grid) -> Score:
    width = 1 / (len(insertion) - 1)
    return Score(
        insertion=float(np.trapezoid(insertion, dx=width)),
        deletion=float(np.trapezoid(deletion, dx=width)),
        insertion_curve=insertion,
        deletion_curve=deletion,
    )


def _shuffled(model: LoadedModel, seed: int) -> LoadedModel:
    """A copy of the model with each parameter's numbers in random places."""
    with model.lock:
        module = copy.deepcopy(model.module)
        anatomy = model.anatomy.in_copy(module, model.module)
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in module.parameters():
            order = torch.randperm(parameter.numel(), generator=generator).to(parameter.device)
            parameter.copy_(parameter.flatten()[order].reshape(parameter.shape))
    return dataclasses.replace(model, module=module, anatomy=anatomy)


def _rank_correlation(first: Grid, second: Grid) -> float:
    from scipy.stats import spearmanr

    if np.ptp(first) == 0 or np.ptp(second) == 0:
        return 0.0
    return float(spearmanr(first.ravel(), second.ravel()).statistic)
