"""Where maps point: shares by hand, mosaics of the pictures' own pixels, and the command."""

from __future__ import annotations

import dataclasses
import json
import shutil
from pathlib import Path

import numpy as np
import pytest

import vit_explorer as vx
from vit_explorer.analysis.pointing import half_interval, mosaic_of, quarter_shares

from .test_cli import run

PICTURES = ("cat.png", "coffee.png", "rocket.jpg", "grace_hopper.jpg", "astronaut.png")
METHODS = ("gradient_rollout", "libra_input_x_gradient")


@pytest.fixture(scope="module")
def bundled() -> vx.LoadedModel:
    return vx.load_model("bundled", device="cpu")


@pytest.fixture(scope="module")
def labelled(bundled: vx.LoadedModel, assets: Path) -> dict[str, Path]:
    """Pictures by the class that the model takes each for."""
    found = {}
    for name in PICTURES:
        picture = assets / name
        found[vx.explain(bundled, picture, methods=()).predictions[0].label] = picture
    assert len(found) >= 4
    return found


def test_a_map_s_mass_is_shared_among_quarters(small: vx.LoadedModel) -> None:
    values = np.zeros((3, 4), np.float32)
    values[0, 0], values[0, 3], values[2, 1] = 3, 1, 2
    values[2, 3] = -9  # what speaks against is no mass
    np.testing.assert_allclose(quarter_shares(small.card, values), [0.5, 1 / 6, 1 / 3, 0])
    values[:] = 0
    values[1, 0] = 1  # the middle one of three rows lies on both halves
    np.testing.assert_allclose(quarter_shares(small.card, values), [0.5, 0, 0.5, 0])
    np.testing.assert_allclose(quarter_shares(small.card, values * 0), [0.25] * 4)


def test_the_interval_is_student_s() -> None:
    # t of 4 degrees of freedom is 2.776.
    assert half_interval([1.0, 2.0, 3.0, 4.0, 5.0]) == pytest.approx(
        2.776 * 2.5**0.5 / 5**0.5, 1e-3
    )
    assert np.isnan(half_interval([1.0]))


def test_shares_are_those_of_the_mosaics(
    bundled: vx.LoadedModel, labelled: dict[str, Path]
) -> None:
    told: list[tuple[int, int]] = []
    found = vx.pointing_game(
        bundled, [(path, label) for label, path in labelled.items()], METHODS,
        mosaics=2, seed=3, progress=lambda *at: told.append(at),
    )  # fmt: skip
    assert told == [(1, 2), (2, 2)] and set(found.shares) == set(METHODS)
    labels = found.labels[0]
    assert len(set(labels)) == 4
    four = [bundled.prepare(labelled[label]) for label in labels]
    mosaic = mosaic_of(bundled.card, four)
    for at, own in enumerate(four):
        row, column = divmod(at, 2)
        quarter = mosaic.pixels[0, :, row * 32 : row * 32 + 32, column * 32 : column * 32 + 32]
        halved = own.pixels[0].unflatten(1, (32, 2)).unflatten(3, (32, 2)).mean((2, 4))
        assert float((quarter - halved).abs().mean()) < 0.1
    for name in METHODS:
        for at, label in enumerate(labels):
            target = bundled.labels.index(label)
            trace = vx.trace(bundled, mosaic, target=target, gradients="all")
            mass = np.maximum(vx.METHODS[name](trace).values, 0)
            half = bundled.card.grid[0] // 2
            row, column = (half * part for part in divmod(at, 2))
            share = mass[row : row + half, column : column + half].sum() / mass.sum()
            assert found.shares[name][0, at] == pytest.approx(share, abs=1e-4)
    assert found.mean(METHODS[0]) == pytest.approx(float(found.shares[METHODS[0]].mean()))


def test_pictures_that_the_model_is_wrong_about_take_no_part(
    bundled: vx.LoadedModel, labelled: dict[str, Path]
) -> None:
    few = list(labelled.items())[:4]
    wrong = [(path, labels) for (_, path), labels in zip(few, labelled, strict=False)]
    wrong = [(path, few[at - 1][0]) for at, (path, _) in enumerate(wrong)]
    with pytest.raises(vx.ExplorerError, match="is right about pictures of 0 of the classes"):
        vx.pointing_game(bundled, wrong, METHODS, mosaics=1)
    headless = dataclasses.replace(bundled, card=dataclasses.replace(bundled.card, classes=0))
    with pytest.raises(vx.ExplorerError, match="no classifier"):
        vx.pointing_game(headless, wrong, METHODS)


def test_the_command_points(
    bundled: vx.LoadedModel,
    labelled: dict[str, Path],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    for label, picture in labelled.items():
        folder = tmp_path / "test" / label
        folder.mkdir(parents=True)
        shutil.copy(picture, folder)
    asked = ("point", tmp_path, "--method", METHODS[0], "--mosaics", "2")
    assert run(*asked, "--json") == 0
    told = json.loads(capsys.readouterr().out)
    shares = np.array(told["methods"][METHODS[0]]["shares"])
    assert shares.shape == (2, 4) and told["chance"] == 0.25
    assert told["methods"][METHODS[0]]["mean"] == pytest.approx(shares.mean())
    assert run(*asked) == 0
    printed = capsys.readouterr().out
    assert METHODS[0] in printed and f"{shares.mean():.1%}" in printed
