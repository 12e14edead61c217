"""Verdicts settled by half of the copies are those of all, on curves that were measured whole."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pytest

from vit_explorer.analysis.curves import Copy, Curves, Kind, settle, thresholds

# (pictures, orders, 2, 15): insertion and deletion curves by pixels of the 12 maps of one pass, a
# Gaussian in the middle and 20 random maps, of deit_tiny_patch16_224 and of `bundled`.
# Made by `faithfulness(…, exact=True)`.
FILE = Path(__file__).parent / "measured_curves.npz"
CELLS, STEPS, RANDOM = 196, 14, 20


class Recorded:
    """Answers as the recorded curves do."""

    least = 0

    def __init__(self, picture: np.ndarray) -> None:
        generator = np.random.default_rng(1)
        self.orders = [generator.permutation(CELLS) for _ in picture]
        self.asked = 0
        self.values: dict[Copy, float] = {}
        whole = Curves(self.orders, STEPS, self, {})
        for copies, curves in zip(whole.copies, picture, strict=True):
            for own, values in zip(copies, curves, strict=True):
                self.values.update(zip(own, values.tolist(), strict=True))

    def fill(self, kind: Kind) -> str:
        return kind

    def measure(self, copies: Sequence[Copy], told: Callable[[int], None]) -> np.ndarray:
        self.asked += len(copies)
        told(len(copies))
        return np.array([self.values[copy] for copy in copies])


def verdicts(gains: np.ndarray, maps: int) -> list[str]:
    """By definition: 19 of 20 random maps beaten, or 1 at most; and the Gaussian."""
    found = []
    for gain in gains[:maps]:
        beaten = int((gain > gains[maps + 1 :]).sum())
        good = "good" if gain > gains[maps] else "middle"
        found.append(good if beaten >= 19 else "worse" if beaten <= 1 else "chance")
    return found


@pytest.mark.parametrize("name", ["deit", "bundled"])
def test_half_of_the_copies_give_the_verdicts_of_all(name: str) -> None:
    with np.load(FILE) as file:
        pictures = file[name]
    maps = pictures.shape[1] - RANDOM - 1
    wrong, errors = 0, []
    for picture in pictures:
        recorded = Recorded(picture)
        curves = Curves(recorded.orders, STEPS, recorded, {})
        open_maps = settle(curves, maps, RANDOM)
        # 860 and their three ends for 12 maps.
        assert curves.all == 3 + (maps + 1 + RANDOM) * 2 * (STEPS - 1) == 861
        assert recorded.asked == len(curves.used) <= 430
        areas = np.trapezoid(picture, dx=1 / STEPS)
        gains = areas[:, 0] - areas[:, 1]
        settled, whole = verdicts(curves.gains()[0], maps), verdicts(gains, maps)
        for own, (found, true) in enumerate(zip(settled, whole, strict=True)):
            assert found == true or own in open_maps
            wrong += found != true
        errors += list(curves.gains()[0][:maps] - gains[:maps])
    # What half of the copies leave open is a near thing, and is said to be.
    assert wrong <= len(pictures) * maps / 50
    assert np.mean(np.abs(errors)) < 0.02


def test_copies_are_measured_once_and_known_ones_not_again() -> None:
    with np.load(FILE) as file:
        recorded = Recorded(file["deit"][0])
    known: dict[Copy, float] = {}
    seen: list[tuple[int, int]] = []
    twice = [recorded.orders[0], *recorded.orders]
    first = Curves(twice, STEPS, recorded, known, lambda *at: seen.append(at))
    settle(first, 13, RANDOM)
    assert recorded.asked == len(known) == len(first.used)
    assert first.gain(0, 1) == pytest.approx(first.gain(1, 1), abs=0) or first.level[0] != 2
    assert seen[-1] == (len(first.used), len(first.used))
    again = Curves(twice, STEPS, recorded, known)
    assert settle(again, 13, RANDOM) == settle(first, 13, RANDOM)
    assert recorded.asked == len(known)
    np.testing.assert_array_equal(again.gains()[0], first.gains()[0])


@pytest.mark.parametrize("steps", [1, 2, 3, 4, 7, 12, 14])
def test_levels_are_nested_and_the_last_has_every_step(steps: int) -> None:
    recorded = Recorded(np.zeros((1, 2, STEPS + 1)))
    curves = Curves(recorded.orders, steps, recorded, {})
    points = [set(curves.points(level)) for level in range(curves.levels)]
    assert points[0] <= points[1] <= points[2] == set(range(steps + 1))


@pytest.mark.parametrize("of", [1, 2, 19, 20, 21, 40, 100])
def test_thresholds_are_95_and_5_percent(of: int) -> None:
    good, bad = thresholds(of)
    assert good / of >= 0.95 > (good - 1) / of
    assert bad / of <= 0.05 < (bad + 1) / of
