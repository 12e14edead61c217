"""Insertion and deletion curves of orders of cells, measured a few points at a time.

A copy of the picture that several orders ask for is measured once, and none is measured whose value
can't change a verdict: most orders are told apart by a few points of their curves.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, MutableMapping, Sequence
from typing import Literal, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

Kind = Literal["insertion", "deletion"]
Cells = NDArray[np.intp]
Numbers = NDArray[np.float64]

KINDS: tuple[Kind, Kind] = ("insertion", "deletion")
# Every so many steps a curve has a point: a level of orders is measured after the one before it.
STRIDES = (4, 2, 1)
COARSER = 8  # than the first level, to see how much that one gained
# A level's error is about half of what it changed, and two such errors are sure enough: to be surer
# takes more copies than half, and made no more verdicts of ten pictures those of all steps
# (tests/test_settling.py).
ERROR = 0.5
SURE = 2.0
# So many copies or fewer are all measured: to choose among them saves nothing that is felt.
FEW = 100


class Copy(NamedTuple):
    """A changed picture: the cells that are left, as packed bits, and what the others became."""

    left: bytes
    fill: str

    def cells(self, count: int) -> NDArray[np.bool_]:
        """The cells that are left, (count,)."""
        return np.unpackbits(np.frombuffer(self.left, np.uint8), count=count).astype(bool)


class Changing(Protocol):
    """A way of taking cells of a picture away."""

    least: int  # cells that have to stay

    def fill(self, kind: Kind) -> str:
        """What cells become that are not there yet, or not any more."""
        ...

    def measure(self, copies: Sequence[Copy], told: Callable[[int], None]) -> Numbers:
        """The target's value on each copy; `told` how many more are done."""
        ...


class Curves:
    """The two curves of each order, of `steps` steps, where they were measured.

    `known` holds what copies of this picture were measured to be; it is added to, and may be given
    again with other orders; `held` are those known before. `used` are those that these curves
    needed.
    """

    def __init__(
        self,
        orders: Sequence[Cells],
        steps: int,
        way: Changing,
        known: MutableMapping[Copy, float],
        progress: Callable[[int, int], None] | None = None,
    ) -> None:
        self.steps, self.way, self.known, self.progress = steps, way, known, progress
        self.copies = [[_copies(order, steps, way, kind) for kind in KINDS] for order in orders]
        self.level = np.zeros(len(orders), int)
        self.used: set[Copy] = set()
        every = {copy for both in self.copies for curve in both for copy in curve}
        self.all, self.held = len(every), every & known.keys()

    @property
    def levels(self) -> int:
        return len(STRIDES)

    def points(self, level: int) -> list[int]:
        """The steps at which a curve of a level is measured, with its two ends."""
        return _points(self.steps, STRIDES[level])

    def needs(self, order: int, level: int) -> set[Copy]:
        """The copies of an order that a level takes."""
        return {curve[point] for curve in self.copies[order] for point in self.points(level)}

    def measure(self, wanted: Iterable[tuple[int, int]], most: int) -> None:
        """Bring orders to levels, given as (order, level), and tell of `most` copies."""
        wanted = list(wanted)
        copies = set().union(*(self.needs(order, level) for order, level in wanted))
        done = len(self.used | (copies & self.known.keys()))
        fresh = sorted(copies - self.known.keys())

        def told(count: int) -> None:
            nonlocal done
            done += count
            if self.progress is not None:
                self.progress(done, max(most, done))

        if fresh:
            self.known.update(zip(fresh, self.way.measure(fresh, told).tolist(), strict=True))
        self.used |= copies
        for order, level in wanted:
            self.level[order] = level

    def curve(self, order: int, which: int, points: Sequence[int]) -> Numbers:
        """One of an order's curves, steps + 1 values: straight between the points measured."""
        copies = self.copies[order][which]
        values = [self.known[copies[point]] for point in points]
        return np.interp(np.arange(self.steps + 1), points, values)

    def gain(self, order: int, stride: int) -> float:
        """Area of insertion - area of deletion, by every so many steps."""
        points = _points(self.steps, stride)
        areas = [np.trapezoid(self.curve(order, which, points)) for which in (0, 1)]
        return float(areas[0] - areas[1]) / self.steps

    def gains(self) -> tuple[Numbers, Numbers]:
        """Each order's gain as far as it is measured, and how far off that may be: 0 of all steps.

        What a level is off by is told by how much it changed the orders that have it.
        """
        found = np.array([self.gain(at, STRIDES[own]) for at, own in enumerate(self.level)])
        errors = np.zeros_like(found)
        before, error = COARSER, np.inf
        for level, stride in enumerate(STRIDES):
            held = np.flatnonzero(self.level >= level)
            changes = np.array([self.gain(i, stride) - self.gain(i, before) for i in held.tolist()])
            # A few changes tell little: an error then is half of the level before.
            told = ERROR * float(np.sqrt(np.mean(changes**2))) if len(held) > 3 else error / 2
            error = 0.0 if len(self.points(level)) == self.steps + 1 else told
            errors[self.level == level] = error
            before = stride
        return found, errors


def settle(curves: Curves, maps: int, of: int) -> set[int]:
    """Measure until it is settled which of the first `maps` orders beat chance, the last `of` ones,
    and of these which beat the one between, a Gaussian: with at most half of all copies.

    Returns:
        the maps that half of the copies did not settle.
    """
    if curves.all <= FEW:
        curves.measure([(order, curves.levels - 1) for order in range(len(curves.copies))], FEW)
        return set()
    most = curves.all // 2
    curves.measure([(order, 0) for order in range(len(curves.copies))], most)
    while True:
        wanted, unsettled = _unsettled(*curves.gains(), maps, of)
        deeper = sorted(i for i in wanted if curves.level[i] + 1 < curves.levels)
        affordable: list[tuple[int, int]] = []
        needed = set(curves.used)
        for order in deeper:
            level = int(curves.level[order]) + 1
            with_it = needed | curves.needs(order, level)
            if len(with_it) <= most:
                affordable.append((order, level))
                needed = with_it
        if not affordable:
            break
        curves.measure(affordable, most)
    if curves.progress is not None:
        curves.progress(len(curves.used), len(curves.used))
    return unsettled


def thresholds(of: int) -> tuple[int, int]:
    """Of how many random maps: from how many beaten on a map beats chance, 95 % of them, and up to
    how many it loses to chance, 5 %.

    >>> thresholds(20)
    (19, 1)
    """
    counts = range(of + 1)
    return min(c for c in counts if c / of >= 0.95), max(c for c in counts if c / of <= 0.05)


def _unsettled(gains: Numbers, errors: Numbers, maps: int, of: int) -> tuple[set[int], set[int]]:
    """(orders to measure further, maps whose verdict is open)."""
    good, bad = thresholds(of)
    middle = len(gains) - of - 1
    chance = np.arange(middle + 1, len(gains))
    wanted: set[int] = set()
    open_maps: set[int] = set()
    for own in range(maps):
        wins, losses = _told_apart(gains, errors, own, chance)
        if wins.sum() >= good:
            over, under = _told_apart(gains, errors, own, np.array([middle]))
            if not (over | under).all():
                open_maps.add(own)
                wanted |= {own, middle}
            continue
        # No better than chance once too many are above, no worse once enough are below.
        above, below = of - good + 1 - losses.sum(), bad + 1 - wins.sum()
        if losses.sum() >= of - bad or (above <= 0 and below <= 0):
            continue
        open_maps.add(own)
        wanted.add(own)
        near = chance[~(wins | losses)]
        near = near[np.argsort(-gains[near])]
        wanted.update(near[: max(above, 0)].tolist())
        wanted.update(near[len(near) - max(below, 0) :].tolist())
    return wanted, open_maps


def _told_apart(
    gains: Numbers, errors: Numbers, own: int, others: Cells
) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """Which others a map surely beats, and which surely not."""
    ahead = gains[own] - gains[others]
    unsure = SURE * np.hypot(errors[own], errors[others])
    return ahead > unsure, (ahead < -unsure) | ((unsure == 0) & (ahead <= 0))


def _points(steps: int, stride: int) -> list[int]:
    """Both ends and every so many steps between, so that each stride has those of its double."""
    return [0, *range(steps // 2 % stride or stride, steps, stride), steps]


def _copies(order: Cells, steps: int, way: Changing, kind: Kind) -> list[Copy]:
    """The copies of a curve, steps + 1."""
    count = len(order)
    found = []
    for step in range(steps + 1):
        best = round(step * count / steps)
        left = np.zeros(count, bool)
        if kind == "insertion":
            left[order[: max(best, way.least)]] = True
        else:
            left[order[min(best, count - way.least) :]] = True
        found.append(Copy(np.packbits(left).tobytes(), "" if left.all() else way.fill(kind)))
    return found
