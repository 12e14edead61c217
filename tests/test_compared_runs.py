"""Runs side by side: their numbers against scikit-learn, SciPy and sums by hand; their files."""

from __future__ import annotations

import base64
import io
import json
import math
import re
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import sklearn.metrics as sk
import yaml
from fastapi.testclient import TestClient
from PIL import Image
from scipy.stats import bootstrap

import vit_explorer as vx
from tests.noise import write_noise
from vit_explorer import cli
from vit_explorer.datasets.paired import Paired, pair
from vit_explorer.datasets.predictions import Predictions
from vit_explorer.drawing.coloring import limits, overlay
from vit_explorer.errors import DataError, OptionError
from vit_explorer.page import Workbench, build_app
from vit_explorer.page.state.trainings import Trainings
from vit_explorer.training import train
from vit_explorer.training.report import run_curves

CLASSES = ("cat", "<b>dog", "frog", "=ship")
RECIPE = """
name: one
epochs: 4
batch_size: 8
model: {image_size: [16, 16], patch_size: [4, 4], dim: 16, depth: 1, heads: 2}
augment: {shift: 0, flip: false}
optimizer: {lr: 4.0e-3}
film: false
"""
FILES = {
    "report.html", "curves.png", "runs.csv", "settings.csv", "classes.csv", "pictures.csv",
    "comparison.json",
}  # fmt: skip


def answers(seed: int, right: float, order: np.ndarray | None = None) -> Predictions:
    """Answers about 300 pictures of four classes, of which a share is right."""
    labels = np.repeat(np.arange(4, dtype=np.int32), 75)
    draw = np.random.default_rng(seed)
    guessed = draw.integers(0, 4, 300).astype(np.int32)
    predicted = np.where(draw.random(300) < right, labels, guessed)
    share = draw.random(300).astype(np.float32)
    names = tuple(f"{index}.png" for index in range(300))
    order = np.arange(300) if order is None else order
    return Predictions(
        "model", "data", CLASSES, tuple(names[i] for i in order), labels[order], predicted[order],
        share[order],
    )  # fmt: skip


@pytest.fixture(scope="module")
def paired() -> Paired:
    """The second better; its table in another order, and with its classes in another one."""
    order = np.random.default_rng(9).permutation(300)
    other = answers(2, 0.7, order)
    turned = np.array([3, 2, 1, 0], np.int32)  # a place in CLASSES → in its reverse
    other = Predictions(
        "model", "data", CLASSES[::-1], other.pictures, turned[other.labels],
        turned[other.predicted], other.probability,
    )  # fmt: skip
    return pair(answers(1, 0.5), other, ("one", "two"))


def test_numbers_are_those_of_scikit_learn_and_of_sums_by_hand(paired: Paired) -> None:
    one, two = answers(1, 0.5), answers(2, 0.7)
    own, labels = paired.by_class, one.labels
    assert paired.accuracy == tuple(sk.accuracy_score(labels, m.predicted) for m in (one, two))
    for place, model in enumerate((one, two)):
        _, recall, f1, pictures = sk.precision_recall_fscore_support(labels, model.predicted)
        np.testing.assert_allclose(own.recall[place], recall)
        np.testing.assert_allclose(own.f1[place], f1)
        assert own.pictures.tolist() == pictures.tolist()
    table = pd.DataFrame({"one": one.predicted == labels, "two": two.predicted == labels})
    cells = pd.crosstab(table["one"], table["two"])
    only_one, only_two = int(cells.loc[True, False]), int(cells.loc[False, True])
    assert (len(paired.only_first), len(paired.only_second)) == (only_one, only_two)
    n = only_one + only_two
    tail = sum(math.comb(n, k) for k in range(min(only_one, only_two) + 1)) / 2**n
    assert paired.p == pytest.approx(2 * tail) and paired.p < 0.05
    ordered = np.sort(own.p)  # Benjamini and Hochberg: p·m/rank, never less than the next one's
    adjusted = [min(4 * ordered[i:] / np.arange(i + 1, 5)) for i in range(4)]
    np.testing.assert_allclose(np.sort(own.p_adjusted), np.minimum(adjusted, 1))
    # The surest mistakes of the other come first.
    wrong = two.probability[paired.only_first]
    assert (np.diff(wrong) <= 0).all() and len(wrong) > 10


def test_mcnemar_and_the_interval_of_a_published_table() -> None:
    """21 children before and after a transplantation: 7 changed one way and 1 the other; Fagerland,
    Lydersen and Laake, "Recommended tests and confidence intervals for paired binomial
    proportions", Statistics in Medicine 2014. By hand: 2·(1 + 8)/2⁸, and (1 - 7)/23 ± 1.96·s with
    s² = (2 + 8 - 6²/23)/23²."""
    labels = np.zeros(21, np.int64)
    first, second = labels.copy(), labels.copy()
    first[:1], second[1:8], first[8:20], second[8:20] = 1, 1, 1, 1
    share = np.full((2, 21), 0.5, np.float32)
    found = Paired(("no", "yes"), tuple(map(str, range(21))), labels, second, first, share)
    assert found.p == pytest.approx(18 / 256)
    middle, half = 6 / 23, 1.96 * math.sqrt((2 + 8 - 36 / 23) / 23**2)
    assert found.interval == pytest.approx((middle - half, middle + half), abs=1e-4)


def test_the_interval_of_f1_is_the_bootstrap_s(paired: Paired) -> None:
    def gain(places: np.ndarray) -> float:
        is_it = paired.labels[places] == 0
        said = [own[places] == 0 for own in (paired.first, paired.second)]
        scores = [2 * (is_it & own).sum() / (is_it.sum() + own.sum()) for own in said]
        return float(scores[1] - scores[0])

    expected = bootstrap(
        (np.arange(300),), gain, n_resamples=400, vectorized=False, method="percentile", rng=1
    ).confidence_interval
    own = paired.by_class
    assert (own.f1_low[0], own.f1_high[0]) == pytest.approx(tuple(expected), abs=0.03)
    assert own.f1_low[0] < own.f1_difference[0] < own.f1_high[0]


def test_answers_about_other_pictures_classes_or_labels_are_not_compared() -> None:
    one = answers(1, 0.5)
    fewer = answers(2, 0.7, np.arange(200))
    with pytest.raises(DataError, match=r"b was measured .* than a \(200 of 300 and 200 are"):
        pair(one, fewer, ("a", "b"))
    classes = Predictions(
        "m", "d", ("cow", *CLASSES[1:]), one.pictures, one.labels, one.predicted, one.probability
    )
    with pytest.raises(DataError, match=r"\(cat only in a, cow only in b\)"):
        pair(one, classes, ("a", "b"))
    moved = one.labels.copy()
    moved[:3] = 2
    labels = Predictions("m", "d", CLASSES, one.pictures, moved, one.predicted, one.probability)
    with pytest.raises(DataError, match="3 pictures have another label in b than in a"):
        pair(one, labels, ("a", "b"))


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """Two runs that differ in positions, rate and seed."""
    root = tmp_path_factory.mktemp("compared")
    (root / "one.yaml").write_text(RECIPE)
    data = write_noise(root / "data", CLASSES)
    changes = ["model.position=sincos", "optimizer.lr=3e-3", "seed=3", "schedule.warmup_epochs=0"]
    for name, own in (("first", []), ("second", changes)):
        train(root / "one.yaml", data=data, out=root / name, overrides=own, device="cpu")
    return root / "first", root / "second"


@pytest.fixture(scope="module")
def found(runs: tuple[Path, Path]) -> vx.RunComparison:
    return vx.compare_runs(runs, pictures=3, device="cpu")


def test_what_differs_is_what_was_changed(found: vx.RunComparison) -> None:
    assert found.settings == {
        "seed": (0, 3),
        "model.position": ("learned", "sincos"),
        "optimizer.lr": (4e-3, 3e-3),
        "schedule.warmup_epochs": (1.0, 0.0),
    }
    assert found.facts == {} and found.notes == ()
    assert [run.name for run in found.runs] == ["first", "second"]


def test_files_hold_what_the_runs_wrote(
    found: vx.RunComparison, runs: tuple[Path, Path], tmp_path: Path
) -> None:
    folder = found.save(tmp_path / "out")
    assert {path.name for path in folder.iterdir()} == FILES
    both = [pd.read_parquet(run / "predictions.parquet") for run in runs]
    merged = both[0].merge(both[1], on=["picture", "label"], suffixes=("_1", "_2"))
    contested = merged[merged["correct_1"] != merged["correct_2"]]
    assert len(contested) > 3
    table = pd.read_csv(folder / "pictures.csv")
    assert set(table["picture"]) == set(contested["picture"])
    for _, row in table.iterrows():
        own = contested[contested["picture"] == row["picture"]].iloc[0]
        right, wrong = ("1", "2") if own["correct_1"] else ("2", "1")
        assert (row["right"], row["wrong"]) == tuple({"1": "first", "2": "second"}[one]
                                                     for one in (right, wrong))  # fmt: skip
        assert row["predicted_wrong"].lstrip("'") == own[f"predicted_{wrong}"]
        assert row["probability_right"] == pytest.approx(own[f"probability_{right}"], rel=1e-5)
    listed = pd.read_csv(folder / "runs.csv")
    for place, run in enumerate(runs):
        log = json.loads((run / "log.json").read_text())
        assert listed["best_accuracy"][place] == max(row["test_accuracy"] for row in log)
        assert listed["test_accuracy"][place] == both[place]["correct"].mean()
    settings = pd.read_csv(folder / "settings.csv")
    assert settings["setting"].tolist() == list(found.settings)
    assert settings["second"].tolist() == ["3", "sincos", "0.003", "0.0"]
    recalls = pd.read_csv(folder / "classes.csv")
    assert (np.diff(recalls["recall_difference"]) <= 0).all()
    cats = merged[merged["label"] == "cat"]
    own = recalls.set_index("class").loc["cat"]
    assert own["recall_second"] == cats["correct_2"].mean()


def test_the_report_asks_nobody_and_shows_both_maps(
    found: vx.RunComparison, tmp_path: Path
) -> None:
    text = (found.save(tmp_path / "out") / "report.html").read_text()
    assert "<b>dog" not in text and "&lt;b&gt;dog" in text
    assert not re.findall(r'(?:src|href)="(?!data:)', text)
    [one] = found.pairs
    shown = [*one.only_first, *one.only_second]
    assert 0 < len(shown) <= 6 and one.verdict in text
    pictures = re.findall(r"data:image/jpeg;base64,([\w+/=]+)", text)
    assert len(pictures) == 3 * len(shown)
    for image in pictures:
        Image.open(io.BytesIO(base64.b64decode(image))).verify()
    Image.open(io.BytesIO(base64.b64decode(
        re.findall(r"data:image/png;base64,([\w+/=]+)", text)[0]
    ))).verify()  # fmt: skip


def test_a_map_is_that_of_the_run_s_own_answer(
    found: vx.RunComparison, runs: tuple[Path, Path]
) -> None:
    [one] = found.pairs
    contested = [*one.only_first, *one.only_second][0]
    path = runs[0].parent / "data" / one.answers.pictures[contested.place]
    for run, said, looked in zip(
        runs, (one.answers.first, one.answers.second), contested.maps, strict=True
    ):
        model = vx.load_model(run / "last.safetensors")
        label = one.answers.classes[said[contested.place]]
        result = vx.explain(model, path, (one.method,), target=label)
        assert result.predictions[0].label == label
        values = result.heatmaps[one.method].values
        expected = overlay(
            result.prepared.shown.resize((160, 160), Image.Resampling.BICUBIC), values
        )
        assert looked.scale == pytest.approx(limits(values), rel=1e-3)
        gap = np.abs(np.asarray(looked.image).astype(int) - np.asarray(expected))
        assert gap.mean() < 1


def test_curves_are_the_logs_and_groups_their_mean_and_range() -> None:
    def log(shift: float, part: str = "test") -> list[dict[str, float]]:
        return [
            {"epoch": epoch, "train_loss": 2.0, "train_accuracy": 0.1,
             f"{part}_loss": 1 / epoch + shift, f"{part}_accuracy": 0.2 * epoch + shift}
            for epoch in (1, 2, 3)
        ]  # fmt: skip

    figure = run_curves({"_one": [log(0)], "$many$": [log(0.0), log(0.3)[:2]]})
    loss, accuracy = figure.axes
    np.testing.assert_allclose(loss.lines[0].get_ydata(), [1, 1 / 2, 1 / 3])
    np.testing.assert_allclose(accuracy.lines[2].get_ydata(), [35, 55])  # 20 and 50, 40 and 70
    [band] = accuracy.collections
    assert band.get_datalim(accuracy.transData).intervaly.tolist() == pytest.approx([20, 70])
    assert [text.get_text() for text in figure.legends[0].get_texts()] == ["_one", "$many$"]
    held = run_curves({"a": [log(0, "held_out")]})
    assert held.legends[0].get_texts()[0].get_text() == "a: held-out"


def test_runs_that_can_not_be_compared_are_said_in_a_sentence(
    runs: tuple[Path, Path], tmp_path: Path
) -> None:
    with pytest.raises(OptionError, match="1 runs were given, expected two or more"):
        vx.compare_runs(runs[:1])
    with pytest.raises(OptionError, match="was given twice"):
        vx.compare_runs([runs[0], runs[1], runs[0] / "."])
    with pytest.raises(DataError, match="holds no run; give a folder"):
        vx.compare_runs([runs[0], tmp_path])
    unfinished = shutil.copytree(runs[1], tmp_path / "unfinished")
    (unfinished / "metrics.json").unlink()
    log = json.loads((unfinished / "log.json").read_text())
    (unfinished / "log.json").write_text(json.dumps(log[:1]))
    found = vx.compare_runs([runs[0], unfinished])
    assert found.pairs == () and len(found.settings) == 4
    [note] = found.notes
    assert "(1 of 4 epochs are done)" in note
    command = re.search(r"`vit-explorer train (\S+) --out (\S+) --resume`", note)
    assert command is not None and Path(command[1]).is_file() and Path(command[2]) == unfinished
    begun = shutil.copytree(unfinished, tmp_path / "begun")
    (begun / "log.json").unlink()
    assert vx.compare_runs([begun, unfinished]).figure().axes
    lost = shutil.copytree(runs[1], tmp_path / "lost")
    (lost / "predictions.parquet").unlink()
    assert "holds no predictions.parquet" in vx.compare_runs([runs[0], lost]).notes[0]
    for content in ("{", "[]", "{}", "[3]", '[{"epoch": 1}]'):
        (lost / "log.json").write_text(content)
        with pytest.raises(DataError, match=r"log.json is damaged"):
            vx.compare_runs([runs[0], lost])


def test_what_is_missing_of_finished_runs_is_said_and_the_rest_compared(
    runs: tuple[Path, Path], tmp_path: Path
) -> None:
    bare = shutil.copytree(runs[1], tmp_path / "first")  # a name that is there already
    (bare / "last.safetensors").unlink()
    found = vx.compare_runs([runs[0], bare], pictures=1)
    assert [run.name for run in found.runs] == [str(runs[0]), str(bare)]
    [one] = found.pairs
    assert one.method is None and (one.only_first or one.only_second)
    assert all(shown.image and shown.maps is None for shown in one.only_first)
    assert found.notes[0].startswith("No maps were made for")
    away = [shutil.copytree(run, tmp_path / f"away-{run.name}") for run in runs]
    for run in away:
        facts = json.loads((run / "run.json").read_text())
        (run / "run.json").write_text(json.dumps({**facts, "data": str(tmp_path / run.name / "x")}))
    found = vx.compare_runs(away, pictures=1)
    assert "count as the same pictures" in found.notes[0]
    assert "named, not shown: The data folder" in found.notes[1]
    assert set(found.facts) == {"data"}
    assert (found.save(tmp_path / "out") / "report.html").is_file()


def test_the_command_prints_and_writes(
    runs: tuple[Path, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    both = list(map(str, runs))
    assert command(*both, "--out", str(tmp_path / "out"), "--no-maps") == 0
    printed = capsys.readouterr().out
    assert "model.position" in printed and "McNemar's exact test p" in printed
    assert (tmp_path / "out/report.html").is_file()
    assert command(*both, "--json") == 0
    told = json.loads(capsys.readouterr().out)
    assert told["settings"]["optimizer.lr"] == [4e-3, 3e-3]
    recipe = yaml.safe_load((runs[1] / "recipe.yaml").read_text())
    assert told["runs"][1]["seed"] == recipe["seed"] == 3
    assert command(both[0], str(tmp_path / "none")) == 2
    assert "holds no run" in capsys.readouterr().err


def test_the_page_gets_the_curves_and_what_differs(
    small: vx.LoadedModel, found: vx.RunComparison, runs: tuple[Path, Path]
) -> None:
    app = build_app(Workbench(small, trainings=Trainings(runs[0].parent)))
    with TestClient(app, base_url="http://localhost") as client:
        told = client.get("/explorer/training/compared?run=second&run=first").json()
        for names, said in (
            ("run=first", "1 runs were given"),
            ("run=first&run=../first", "There is no run '../first'"),
            ("run=first&run=first", "was given twice"),
        ):
            answer = client.get(f"/explorer/training/compared?{names}")
            assert answer.status_code == 404 and said in answer.json()["error"]["text"]
    log = json.loads((runs[1] / "log.json").read_text())
    assert [run["name"] for run in told["runs"]] == ["second", "first"]
    for column in ("train_loss", "test_accuracy"):
        assert told["runs"][0][column] == [row[column] for row in log]
    assert {one["setting"]: one["values"] for one in told["differs"]} == {
        "seed": ["3", "0"],
        "model.position": ["sincos", "learned"],
        "optimizer.lr": ["0.003", "0.004"],
        "schedule.warmup_epochs": ["0.0", "1.0"],
    }
    [one] = found.pairs
    verdict, measured = told["said"]
    assert verdict["key"] in ("note.runs.alike", "note.runs.better")
    assert measured["values"]["only_two"] == str(len(one.answers.only_first))


def command(*arguments: str) -> object:
    with pytest.raises(SystemExit) as stopped:
        cli.main(["compare-runs", *arguments])
    return stopped.value.code
