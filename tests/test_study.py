"""Studies: what is trained, what goes on after a stop, and what their figures say."""

from __future__ import annotations

import base64
import io
import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from PIL import Image

import vit_explorer as vx
from tests.noise import write_noise
from vit_explorer import cli
from vit_explorer.errors import OptionError, RecipeError
from vit_explorer.training import STUDIES, StudyResult, load_recipe, run_study, study
from vit_explorer.training.recorded_runs import RecordedRun
from vit_explorer.training.study_files import films_figure, summaries

SMALL = (
    "epochs=1",
    "batch_size=32",
    "model={image_size: [16, 16], patch_size: [4, 4], dim: 8, depth: 1, heads: 2}",
)
POSITIONS = ("learned", "learned_2d", "sincos", "relative", "none")
OPTIONS = [part for one in SMALL for part in ("--set", one)]


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_noise(tmp_path_factory.mktemp("data"), ("cat", "dog"))


def command(*arguments: str) -> object:
    with pytest.raises(SystemExit) as stopped:
        cli.main(["study", *arguments])
    return stopped.value.code


@pytest.fixture(scope="module")
def folder(data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("study") / "out"


@pytest.fixture(scope="module")
def trained(folder: Path, data: Path) -> list[tuple[str, bool, bool]]:
    """What a study trained that was stopped in its second run and given again: each run's folder,
    whether it went on with one, and whether it came to its end."""
    calls: list[tuple[str, bool, bool]] = []
    train = study.train

    def watched(recipe: Any, **options: Any) -> Any:
        if len(calls) == 1:
            options["stop"].set()  # as Ctrl-C does
        result = train(recipe, **options)
        calls.append((result.folder.name, options["resume"], result.finished))
        return result

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(study, "train", watched)
        for _ in range(2):
            assert (
                command("positions", "--data", str(data), "--out", str(folder), *OPTIONS,
                        "--device", "cpu", "--precision", "no")
                == 0
            )  # fmt: skip
            if len(calls) == 2:
                assert not (folder / "report.html").exists()
    return calls


def test_a_stopped_study_goes_on_and_trains_nothing_twice(
    trained: list[tuple[str, bool, bool]], folder: Path
) -> None:
    assert trained == [
        ("1_D_learned-0", False, True),
        ("2_D_learned-0", False, False),
        ("2_D_learned-0", True, True),
        ("sine_cosine-0", False, True),
        ("relative-0", False, True),
        ("none-0", False, True),
    ]
    for name, position in zip(
        ["1_D_learned", "2_D_learned", "sine_cosine", "relative", "none"], POSITIONS, strict=True
    ):
        run = folder / "runs" / f"{name}-0"
        assert load_recipe(run / "recipe.yaml").model.position == position
        assert (run / "film.npz").is_file()


def test_runs_of_a_study_differ_in_what_it_varies_alone(
    trained: list[tuple[str, bool, bool]], folder: Path
) -> None:
    found = vx.compare_runs(sorted((folder / "runs").iterdir()), pictures=0)
    assert set(found.settings) == {"name", "model.position"}
    assert set(found.settings["model.position"]) == set(POSITIONS)
    assert found.facts == {}


def test_files_hold_what_the_runs_reached(
    trained: list[tuple[str, bool, bool]], folder: Path
) -> None:
    files = {path.name for path in folder.iterdir()}
    assert files == {
        "runs", "report.html", "study.png", "study.csv", "runs.csv", "films.png", "study.json",
    }  # fmt: skip
    table = pd.read_csv(folder / "study.csv").set_index("variant")
    assert table.index.tolist() == list(STUDIES["positions"].variants)
    measured = json.loads((folder / "runs/sine_cosine-0/metrics.json").read_text())
    assert table.loc["sine-cosine", "mean"] == measured["accuracy"]
    assert pd.isna(table.loc["sine-cosine", "p"])  # one seed tells nothing of another
    text = (folder / "report.html").read_text()
    assert not re.findall(r'(?:src|href)="(?!data:)', text)
    assert "Single runs tell nothing" in text and "model.dim" in text
    for image in re.findall(r"data:image/png;base64,([\w+/=]+)", text):
        Image.open(io.BytesIO(base64.b64decode(image))).verify()


def test_positions_drawn_are_the_models_and_the_films(
    trained: list[tuple[str, bool, bool]], folder: Path, data: Path
) -> None:
    found = run_study("positions", out=folder, overrides=SMALL)  # finished, and knows its data
    assert found.finished and found.done == 5
    panels = [axis for axis in found.figure().axes if axis.get_title() in found.runs]
    assert [bool(axis.images) for axis in panels] == [True, True, True, False, False]
    model = vx.load_model(folder / "runs/2_D_learned-0/last.safetensors")
    cosines = vx.position_similarity(model)
    drawn = np.asarray(panels[1].images[0].get_array())
    # Position (2, 3)'s map: maps of 4 cells with a gap of one between them.
    np.testing.assert_allclose(drawn[10:14, 15:19], cosines[2, 3], atol=1e-6)
    figure = films_figure(found)
    assert figure is not None
    with np.load(folder / "runs/2_D_learned-0/film.npz") as film:
        first = film["position_similarity"][0].reshape(4, 4, 4, 4)
    row = [axis for axis in figure.axes if axis.get_title() == "epoch 0"][1]
    np.testing.assert_allclose(np.asarray(row.images[0].get_array())[10:14, 15:19], first[2, 3])


def test_other_data_other_settings_and_what_a_study_sets_itself_are_refused(
    trained: list[tuple[str, bool, bool]], folder: Path, data: Path, tmp_path: Path
) -> None:
    with pytest.raises(OptionError, match="are trained on .*, not on cifar10; give that as data"):
        run_study("positions", data="cifar10", out=folder, overrides=SMALL)
    with pytest.raises(RecipeError, match="started with another batch_size"):
        run_study("positions", data=data, out=folder, overrides=(*SMALL, "batch_size=8"))
    for key in ("model.position", "seed", "name"):
        with pytest.raises(OptionError, match=f"sets {key} itself"):
            run_study("positions", data=data, out=tmp_path, overrides=(f"{key}=1",))
    with pytest.raises(OptionError, match="did you mean 'positions'"):
        run_study("position", data=data, out=tmp_path)
    with pytest.raises(OptionError, match="number of seeds was 0"):
        run_study("positions", data=data, out=tmp_path, seeds=0)
    assert not any(tmp_path.iterdir())


def test_the_command_lists_its_studies(capsys: pytest.CaptureFixture[str]) -> None:
    assert command() == 0
    assert "sine-cosine" in capsys.readouterr().out


def result_of(reached: dict[str, list[float]]) -> StudyResult:
    recipe = load_recipe("positions")
    runs = {
        variant: tuple(
            RecordedRun(variant, Path(), recipe, {}, (), {"accuracy": one}, None) for one in own
        )
        for variant, own in reached.items()
    }
    return StudyResult(STUDIES["positions"], Path(), runs, 12)


def test_differences_are_dunnett_s() -> None:
    """By simulation: the largest of three t values against one shared control."""
    reached = {
        "1-D learned": [0.50, 0.52, 0.51],
        "2-D learned": [0.52, 0.51, 0.535],
        "relative": [0.56, 0.55, 0.548],
        "none": [0.46, 0.47, 0.478],
        "sine-cosine": [],
    }
    found = summaries(result_of(reached))
    samples = np.array([own for own in reached.values() if own])
    assert [one.variant for one in found] == list(reached)[:4]
    np.testing.assert_allclose([one.mean for one in found], samples.mean(axis=1))
    np.testing.assert_allclose([one.deviation for one in found], samples.std(axis=1, ddof=1))
    pooled = np.sqrt(samples.var(axis=1, ddof=1).mean())  # equal numbers of seeds
    error = pooled * np.sqrt(2 / 3)
    draw = np.random.default_rng(0)
    means = draw.normal(0, 1 / np.sqrt(3), (200_000, 4))
    spread = np.sqrt(draw.chisquare(8, 200_000) / 8)
    largest = np.abs((means[:, 1:] - means[:, :1]) / (spread * np.sqrt(2 / 3))[:, None]).max(axis=1)
    reach = np.quantile(largest, 0.95) * error
    for one, own in zip(found[1:], samples[1:], strict=True):
        gain = own.mean() - samples[0].mean()
        assert one.difference == pytest.approx(gain)
        assert (one.low, one.high) == pytest.approx((gain - reach, gain + reach), abs=1e-3)
        assert one.p == pytest.approx((largest > abs(gain) / error).mean(), abs=0.01)
    assert found[1].p > 0.05 > found[2].p
    assert found[0].difference is None and found[0].p is None
    assert all(one.p is None for one in summaries(result_of({"a": [0.5, 0.5], "b": [0.6]})))
