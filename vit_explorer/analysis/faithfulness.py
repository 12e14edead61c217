"""Whether a map can be trusted: does taking away what it marks change the prediction more than
chance does?

Petsiuk, Das & Saenko, "RISE", BMVC 2018 (insertion and deletion).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, MutableMapping
from dataclasses import dataclass, field
from typing import Any, Literal, get_args

import numpy as np
from numpy.typing import NDArray

from vit_explorer.analysis.changed_copies import WAYS
from vit_explorer.analysis.curves import Cells, Copy, Curves, settle, thresholds
from vit_explorer.analysis.interventions import check_drop
from vit_explorer.errors import OptionError, TargetError, UnsupportedModelError
from vit_explorer.methods import Heatmap
from vit_explorer.models.loaded import LoadedModel
from vit_explorer.models.outputs import no_classes
from vit_explorer.models.targets import Aim, Target, find_target
from vit_explorer.options import one_of, whole_number
from vit_explorer.pictures.preprocess import Prepared
from vit_explorer.sentences import Sentence
from vit_explorer.tracing.trace import trace

Grid = NDArray[np.float32]
Verdict = Literal["good", "middle", "chance", "worse"]
Protocol = Literal["pixels", "tokens"]
PROTOCOLS: tuple[Protocol, ...] = get_args(Protocol)
STEPS, RANDOM_MAPS = 14, 20


@dataclass(frozen=True, eq=False)
class Score:
    """How a map does: areas under its curves, 0 to 1, or in units of a value.

    `insertion` is the target's mean probability, or its mean value, while the best cells come
    first (higher is better), `deletion` while they go first (lower is better). The curves have one
    value a step, from nothing to everything; `measured` are the steps that were measured, between
    which they are straight.
    """

    insertion: float
    deletion: float
    insertion_curve: Grid = field(repr=False)
    deletion_curve: Grid = field(repr=False)
    measured: tuple[int, ...] = field(default=(), repr=False)

    @property
    def gain(self) -> float:
        """insertion - deletion, -1 to 1 of probabilities: the one number maps are ranked by."""
        return self.insertion - self.deletion


@dataclass(frozen=True, eq=False)
class Faithfulness:
    """Scores of maps by name, of a Gaussian in the middle, and of random maps.

    `measure` says what the curves are of: the target's "probability", or its "value" where that is
    what the model returns. `protocol` says what was taken away: "pixels" or "tokens". `copies` is
    how many changed pictures that took, of `possible` for all steps of all curves; what is
    `unsettled` are maps so near the border that half of those did not tell on which side they are.
    """

    target: int
    label: str
    scores: Mapping[str, Score]
    gaussian: Score
    random: tuple[Score, ...]
    measure: str = "probability"
    protocol: Protocol = "pixels"
    copies: int = 0
    possible: int = 0
    unsettled: frozenset[str] = frozenset()

    def beaten(self, name: str) -> int:
        """How many of the random maps a map beats, by its gain."""
        return sum(self.scores[name].gain > chance.gain for chance in self.random)

    def percentile(self, name: str) -> float:
        """Share of the random maps that a map beats, 0 to 1."""
        return self.beaten(name) / len(self.random)

    def beats_chance(self, name: str) -> bool:
        """Whether a map beats 95 % of the random maps."""
        return self.beaten(name) >= thresholds(len(self.random))[0]

    def loses_to_chance(self, name: str) -> bool:
        """Whether 95 % of the random maps beat a map."""
        return self.beaten(name) <= thresholds(len(self.random))[1]

    def beats_middle(self, name: str) -> bool:
        """Whether a map beats the Gaussian in the middle."""
        return self.scores[name].gain > self.gaussian.gain

    def kind(self, name: str) -> Verdict:
        """The verdict in a word: "good" where it beats chance and the Gaussian in the middle,
        "middle" where it beats chance alone, "chance" where not, "worse" where chance beats it."""
        if not self.beats_chance(name):
            return "worse" if self.loses_to_chance(name) else "chance"
        return "good" if self.beats_middle(name) else "middle"

    def verdict(self, name: str) -> str:
        """One line: what it beats."""
        near = ", a close call" if name in self.unsettled else ""
        beaten, of, kind = self.beaten(name), len(self.random), self.kind(name)
        if kind in ("worse", "chance"):
            how = "worse than chance" if kind == "worse" else "no better than chance"
            return f"{how} (beats {beaten} of {of}){near}"
        middle = "and" if kind == "good" else "but not"
        return f"beats {beaten} of {of} random maps, {middle} the middle{near}"

    def to_dict(self) -> dict[str, Any]:
        """The numbers, for a file."""

        def numbers(score: Score) -> dict[str, float]:
            return {"insertion": score.insertion, "deletion": score.deletion}

        return {
            "target": self.target,
            "label": self.label,
            "measure": self.measure,
            "protocol": self.protocol,
            "copies": self.copies,
            "maps": {
                name: {
                    **numbers(score),
                    "beats": self.beaten(name),
                    "percentile": self.percentile(name),
                    "verdict": self.verdict(name),
                    "settled": name not in self.unsettled,
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
    protocol: Protocol = "pixels",
    exact: bool = False,
    steps: int = STEPS,
    random_maps: int = RANDOM_MAPS,
    seed: int = 0,
    known: MutableMapping[Copy, float] | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> Faithfulness:
    """Insertion and deletion of maps (gh, gw), beside random maps and a Gaussian in the middle.

    Cells are ranked by value, equal ones row by row. By "pixels" deletion covers with the mean
    colour of the model's normalisation, and insertion starts from a blurred picture. By "tokens"
    the patches' tokens are taken out of the sequence before the first block, and the others keep
    their positions; random maps then come in pairs, of which one is the other from behind.

    A copy of the picture that several maps ask for is measured once. Curves are measured at every
    fourth step, and then at more where a verdict is open, with half of all copies at most: gains
    are within some 0.02 of those of all steps. A hundred copies or fewer are all measured.

    Args:
        picture: anything `open_picture` takes, or a `Prepared`.
        target: class, label or value that is followed, its probability where it has one; None
            takes the maps' own target where they have one, else the top prediction.
        protocol: what is taken away, "pixels" or "tokens".
        exact: measure every step of every curve.
        steps: points of a curve after the first.
        known: what copies of this very picture, target and protocol were measured to be; added to.
        progress: called with (copies done, copies in all at most).

    Raises:
        OptionError: a map of another grid, no maps, no such protocol, or counts below 1.
        TargetError: a model of one class or none, or maps made for several targets.
        UnsupportedModelError: tokens of a model of tier 2, or of one that needs all of them.
    """
    grids = _checked(model, heatmaps)
    one_of(Sentence("part.protocol", "protocol"), protocol, PROTOCOLS)
    for name, count in (("number of steps", steps), ("number of random maps", random_maps)):
        whole_number(name, count, 1)
    prepared = model.prepare(picture)
    aim = _choose_aim(model, prepared, heatmaps, target)
    orders = _orders(model, grids, protocol, random_maps, seed)
    way = WAYS[protocol](model, prepared, aim)
    known = {} if known is None else known
    curves = Curves(orders, min(steps, len(orders[0])), way, known, progress)
    unsettled: set[int] = set()
    if exact:
        curves.measure([(at, curves.levels - 1) for at in range(len(orders))], curves.all)
    else:
        unsettled = settle(curves, len(grids), random_maps)
    scores = [_score(curves, at) for at in range(len(orders))]
    return Faithfulness(
        target=aim.index,
        label=aim.label(model.labels),
        scores=dict(zip(grids, scores, strict=False)),
        gaussian=scores[len(grids)],
        random=tuple(scores[len(grids) + 1 :]),
        measure="value" if model.card.outputs == "value" else "probability",
        protocol=protocol,
        copies=len(curves.used),
        possible=curves.all,
        unsettled=frozenset(name for at, name in enumerate(grids) if at in unsettled),
    )


def most_copies(
    model: LoadedModel,
    picture: Any,
    heatmaps: Mapping[str, Heatmap],
    *,
    target: Target,
    protocol: Protocol,
    known: MutableMapping[Copy, float],
) -> tuple[int, float]:
    """What `faithfulness` with its usual steps and random maps costs at most.

    Returns:
        (copies to measure, what they take of as many passes: less where tokens are taken out).

    Raises:
        ExplorerError: as `faithfulness` does.
    """
    grids = _checked(model, heatmaps)
    prepared = model.prepare(picture)
    way = WAYS[protocol](model, prepared, _choose_aim(model, prepared, heatmaps, target))
    orders = _orders(model, grids, protocol, RANDOM_MAPS, 0)
    curves = Curves(orders, min(STEPS, len(orders[0])), way, dict(known))
    copies = max(0, curves.all // 2 - len(curves.held))
    return copies, copies * way.share


def protocols_of(model: LoadedModel) -> tuple[Protocol, ...]:
    """The protocols that a model allows."""
    if model.card.tier == 2:
        return ("pixels",)
    try:
        check_drop(model, 1)
    except UnsupportedModelError:
        return ("pixels",)
    return PROTOCOLS


def _score(curves: Curves, order: int) -> Score:
    points = curves.points(int(curves.level[order]))
    insertion, deletion = (curves.curve(order, which, points) for which in (0, 1))
    return Score(
        insertion=float(np.trapezoid(insertion)) / curves.steps,
        deletion=float(np.trapezoid(deletion)) / curves.steps,
        insertion_curve=insertion.astype(np.float32),
        deletion_curve=deletion.astype(np.float32),
        measured=tuple(points),
    )


def _checked(model: LoadedModel, heatmaps: Mapping[str, Heatmap | Grid]) -> dict[str, Grid]:
    grids = {name: _values(heatmap) for name, heatmap in heatmaps.items()}
    for name, grid in grids.items():
        if grid.shape != model.card.grid or not np.isfinite(grid).all():
            raise OptionError(
                "error.trust.shape",
                "The map {name!r} has shape {shape}, expected {expected} finite values, one a "
                "patch of the model.",
                name=name,
                shape=grid.shape,
                expected=model.card.grid,
            )
    if not grids:
        raise OptionError("error.trust.none", "No maps were given, expected at least one to score.")
    return grids


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


def _orders(
    model: LoadedModel,
    grids: Mapping[str, Grid],
    protocol: Protocol,
    random_maps: int,
    seed: int,
) -> list[Cells]:
    """Cells in the order of each map, of the Gaussian in the middle, and of random maps."""
    gh, gw = model.card.grid
    generator = np.random.default_rng(seed)
    chance = [generator.random((gh, gw), dtype=np.float32) for _ in range(random_maps)]
    if protocol == "tokens":
        # What one of a pair inserts the other has left, so that both need the same copies.
        chance = [one for first in chance for one in (first, -first)][:random_maps]
    return [_ranked(grid) for grid in (*grids.values(), _centred(gh, gw), *chance)]


def _ranked(grid: Grid) -> Cells:
    """Cells from the highest value down; equal ones keep their order, row by row."""
    return np.argsort(-grid.ravel(), kind="stable")


def _centred(rows: int, columns: int) -> Grid:
    """A Gaussian in the middle, a quarter of the picture wide: the photographer's bias."""
    y = (np.arange(rows) + 0.5) / rows - 0.5
    x = (np.arange(columns) + 0.5) / columns - 0.5
    return np.exp(-(y[:, None] ** 2 + x[None] ** 2) / (2 * 0.25**2)).astype(np.float32)
