"""Evaluations: their numbers against scikit-learn's, and their files against their numbers."""

from __future__ import annotations

import csv
import json
import re
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest
import sklearn.metrics as sk
import torch
from sklearn.calibration import calibration_curve

import vit_explorer as vx
from tests.noise import write_noise
from vit_explorer import cli
from vit_explorer.datasets.evaluation import Evaluation, evaluation_of
from vit_explorer.datasets.metrics import reliability
from vit_explorer.datasets.sources import Source, find_pictures
from vit_explorer.errors import OutputError

COLUMNS = ["picture", "label", "predicted", "probability", "rank", "correct"]
# What a spreadsheet or a browser would make something else of.
CLASSES = ("=1+1", "<b>cat</b>", '"dog", big', "猫", "never", "frog")
FILES = {
    "predictions.parquet", "predictions.csv", "classes.csv", "confusion.csv", "report.html",
    "evaluation.json",
}  # fmt: skip


@pytest.fixture(scope="module")
def found() -> Evaluation:
    """400 pictures of noise with random answers, of which class 4 is never one."""
    draw = np.random.default_rng(0)
    pixels = draw.integers(0, 256, (400, 8, 8, 3), dtype=np.uint8)
    labels = tuple(sorted(draw.integers(0, 6, 400).tolist()))
    logits = torch.from_numpy(draw.normal(0, 1.5, (400, 6)))
    logits[:, 4] -= 20
    logits[torch.arange(400), torch.tensor(labels)] += torch.from_numpy(draw.normal(1.5, 1, 400))
    logits[7] = 0  # all alike: the first is the answer, the label one of the later
    return evaluation_of(logits, Source("noise", pixels, labels, CLASSES), "random")


def test_the_numbers_are_scikit_learn_s(found: Evaluation) -> None:
    shares, labels = found.probabilities, found.labels
    np.testing.assert_allclose(shares.sum(axis=1), 1, atol=1e-6)
    precision, recall, f1, pictures = sk.precision_recall_fscore_support(
        labels, found.predicted, labels=range(6), zero_division=0
    )
    own = found.by_class
    assert own.predicted[4] == own.precision[4] == 0 < own.pictures[4]
    np.testing.assert_allclose(own.precision, precision)
    np.testing.assert_allclose(own.recall, recall)
    np.testing.assert_allclose(own.f1, f1)
    assert own.pictures.tolist() == pictures.tolist()
    assert np.array_equal(found.confusion, sk.confusion_matrix(labels, found.predicted))
    assert found.accuracy == sk.accuracy_score(labels, found.predicted) == found.correct.mean()
    assert found.top5 == pytest.approx(sk.top_k_accuracy_score(labels, shares, k=5), abs=0.003)
    assert found.nll == pytest.approx(sk.log_loss(labels, shares.astype(float)), abs=1e-5)
    for index in range(6):
        is_it, share = labels == index, shares[:, index]
        true, said = calibration_curve(is_it, share, n_bins=15, strategy="uniform")
        counts = np.histogram(share, bins=15, range=(0, 1))[0]
        expected = (np.abs(true - said) * counts[counts > 0]).sum() / len(labels)
        assert own.calibration_error[index] == pytest.approx(expected, abs=1e-6), index
    bins = reliability(found.probability, found.correct)
    assert sum(one.count for one in bins) == 400
    gaps = sum(one.count * abs(one.accuracy - one.confidence) for one in bins) / 400
    assert gaps == pytest.approx(found.ece, abs=1e-6)


def test_a_rank_is_the_label_s_place_and_1_where_it_is_right(found: Evaluation) -> None:
    for place in range(found.samples):
        order = np.argsort(-found.probabilities[place], kind="stable").tolist()
        assert found.rank[place] == 1 + order.index(found.labels[place])
    assert np.array_equal(found.rank == 1, found.correct)
    assert found.rank[7] == 1 + found.labels[7] and found.predicted[7] == 0


def test_mistakes_come_the_surest_first(found: Evaluation) -> None:
    mistakes = found.mistakes()
    assert len(mistakes) == (~found.correct).sum() and not found.correct[mistakes].any()
    assert (np.diff(found.probability[mistakes]) <= 0).all()


def test_files_hold_what_the_arrays_hold(found: Evaluation, tmp_path: Path) -> None:
    folder = found.save(tmp_path / "out")
    assert {path.name for path in folder.iterdir()} == FILES
    table = pd.read_parquet(folder / "predictions.parquet")
    assert table.columns.tolist() == COLUMNS
    assert table["label"].tolist() == [CLASSES[one] for one in found.labels]
    assert table["predicted"].tolist() == [CLASSES[one] for one in found.predicted]
    assert table["picture"].tolist() == list(found.pictures)
    for name in ("probability", "rank", "correct"):
        assert np.array_equal(table[name], getattr(found, name)), name
    told = json.loads(pq.read_schema(folder / "predictions.parquet").metadata[b"vit_explorer"])
    assert told["metrics"] == found.to_dict() and told["model"] == "random"
    plain = pd.read_csv(folder / "predictions.csv")
    assert plain.columns.tolist() == COLUMNS and plain["correct"].dtype == bool
    np.testing.assert_allclose(plain["probability"], table["probability"], rtol=1e-6)
    assert plain["rank"].tolist() == table["rank"].tolist()
    assert plain["label"].replace("'=1+1", "=1+1").tolist() == table["label"].tolist()
    classes = pd.read_csv(folder / "classes.csv")
    assert classes.columns.tolist() == [
        "class", "pictures", "predicted", "precision", "recall", "f1", "calibration_error",
    ]  # fmt: skip
    for name in classes.columns[1:]:
        np.testing.assert_allclose(classes[name], getattr(found.by_class, name), rtol=1e-12)
    with (folder / "confusion.csv").open(newline="", encoding="utf-8") as file:
        header, *rows = csv.reader(file)
    assert header == ["label", "'=1+1", *CLASSES[1:]]
    assert [[int(cell) for cell in row[1:]] for row in rows] == found.confusion.tolist()
    assert json.loads((folder / "evaluation.json").read_text())["files"] == sorted(FILES)


class Page(HTMLParser):
    """What a page would fetch, the tags it has, and its text."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.fetched: list[str] = []
        self.tags: list[str] = []
        self.texts: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.fetched += [value or "" for name, value in attributes if name in ("src", "href")]

    def handle_data(self, data: str) -> None:
        self.texts.append(data.strip())


def test_a_report_asks_for_nothing_and_runs_nothing(found: Evaluation, tmp_path: Path) -> None:
    text = (found.save(tmp_path / "out") / "report.html").read_text(encoding="utf-8")
    page = Page(text)
    assert {"script", "link", "iframe", "b"} & set(page.tags) == {"b"}
    assert len(page.fetched) == 60
    assert all(source.startswith("data:image/jpeg;base64,/9j/") for source in page.fetched)
    assert not re.findall(r"https?://|url\(|@import", text)
    assert "<b>cat</b>" not in text and "<b>cat</b>" in page.texts
    for name in CLASSES:
        assert page.texts.count(name) >= 3, name
    assert f"{100 * found.accuracy:.2f} %" in page.texts
    worst = found.mistakes()[0]
    assert f"{100 * found.probability[worst]:.1f} %" in text


def test_a_right_model_and_many_classes_have_a_report_too(tmp_path: Path) -> None:
    labels = tuple(range(60))
    pixels = np.zeros((60, 4, 4, 3), np.uint8)
    classes = tuple(f"class {index}" for index in labels)
    right = evaluation_of(torch.eye(60) * 9, Source("right", pixels, labels, classes), "m")
    text = (right.save(tmp_path / "out") / "report.html").read_text(encoding="utf-8")
    assert "0 of 60 predictions are wrong." in text and 'class="matrix"' not in text


def test_the_command_writes_and_says_where(
    small: vx.LoadedModel,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(vx, "load_model", lambda *_args, **_options: small)
    data = write_noise(tmp_path / "set", [f"class {index}" for index in range(3)])
    (data / "test/class 0/Thumbs.db").touch()
    out = tmp_path / "out"
    cli.app(["evaluate", "--data", str(data), "--out", str(out)], standalone_mode=False)
    printed = capsys.readouterr()
    assert f"written to {out}/ (report.html)" in printed.out
    assert "set/test: left out: 1 hidden or left behind by a program (Thumbs.db)" in printed.err
    table = pd.read_parquet(out / "predictions.parquet")
    # The model's own answers, one picture after the other; its other classes don't count.
    source = find_pictures(data, "test")
    assert table["picture"].tolist() == [f"test/class {i // 16}/{i % 16:02}.png" for i in range(48)]
    for place in (0, 20, 47):
        shares = vx.trace(small, data / table["picture"][place]).logits[:3].softmax(0)
        assert table["predicted"][place] == source.classes[int(shares.argmax())]
        assert table["probability"][place] == pytest.approx(float(shares.max()), abs=1e-5)
    assert printed.out.startswith(f"accuracy           {table['correct'].mean():.2%} of 48")


def test_a_folder_that_can_not_be_written_is_refused_before_or_after(
    found: Evaluation, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(OutputError, match="can't be written to"):
        found.save(tmp_path / "file" / "out")
    with pytest.raises(SystemExit) as stopped:
        cli.main(["evaluate", "--data", str(tmp_path), "--out", str(tmp_path / "file")])
    assert stopped.value.code == 2
    assert "is a file; name a folder" in capsys.readouterr().err
