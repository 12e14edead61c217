"""The order in which methods are offered, and that what it rests on is so."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from scipy.stats import spearmanr

import vit_explorer as vx
from vit_explorer.methods import belief, first_shown, in_order, place
from vit_explorer.methods.registry import BEST

TABLE = {
    "one": {
        "pixels": {"gains": {"a": 0.3, "b": 0.2, "c": 0.1}},
        "tokens": {"gains": {"a": 5.0, "c": 6.0}},
    },
    "other": {"pixels": {"gains": {"c": -1.0, "b": -2.0, "d": -3.0}}},
}


def test_methods_stand_by_their_mean_place(monkeypatch: pytest.MonkeyPatch) -> None:
    found = belief.standing(TABLE)
    # a: first of three, last of two. b: in the middle twice. c: last, first, first. d: last.
    assert found == {"a": 0.5, "b": 0.5, "c": pytest.approx(1 / 3), "d": 1.0}
    monkeypatch.setattr(belief, "measured", lambda: TABLE)
    assert belief.believed(["x", "d", "b", "a", "c"]) == ["c", "b", "a", "d", "x"]


def test_what_was_measured_has_a_place_and_the_best_are_shown_first() -> None:
    places = [place(method.name) for method in in_order()]
    known = [one for one in places if one is not None]
    assert places == [*range(1, len(known) + 1), *[None] * (len(places) - len(known))]
    assert len(known) >= 20
    for protocols in belief.measured().values():
        for table in protocols.values():
            assert set(table["gains"]) == set(table["pictures"]) <= set(vx.METHODS)
    shown = [method.name for method in first_shown(1)]
    assert {"attention", "rollout"} <= set(shown)
    quick = [one.name for one in in_order() if one.passes != "many"]
    assert set(shown) - {"attention", "rollout"} <= set(quick[:BEST]) <= set(shown)
    assert all(method.of_stages for method in first_shown(2))


@pytest.mark.parametrize(
    "name", ["bundled", pytest.param("deit_tiny_patch16_224", marks=pytest.mark.long)]
)
def test_the_order_comes_again_on_a_few_pictures(
    name: str, assets: Path, request: pytest.FixtureRequest
) -> None:
    shipped = name == "bundled"
    model = vx.load_model(name) if shipped else request.getfixturevalue("deit_tiny")
    table = belief.standing({name: belief.measured()[name]})
    methods = tuple(n for n in table if vx.METHODS[n].passes != "many")
    gains: dict[str, list[float]] = {}
    for picture in ("cat.png", "coffee.png"):
        result = vx.explain(model, assets / picture, methods=methods)
        trust = vx.faithfulness(model, result.prepared, result.heatmaps, protocol="tokens")
        for method, score in trust.scores.items():
            gains.setdefault(method, []).append(score.gain)
    means = [np.mean(gains[method]) for method in methods]
    assert spearmanr(means, [-table[method] for method in methods]).statistic > 0.4
