"""The models that ship are as good as they say, on all test pictures."""

from __future__ import annotations

import itertools
import tarfile
from pathlib import Path

import numpy as np
import pytest
from sklearn import metrics as sk

import vit_explorer as vx
from tests.tiny_imagenet import unpack_test
from vit_explorer.datasets.evaluate import evaluate
from vit_explorer.datasets.tiny_imagenet import names
from vit_explorer.models.calibration import read_calibration
from vit_explorer.models.provenance import ABOUT_TINY_IMAGENET
from vit_explorer.models.shipped import CIFAR10, SHIPPED, asset
from vit_explorer.training import list_recipes

CATS = ("tabby cat", "Persian cat", "Egyptian cat")


@pytest.fixture
def bundled() -> vx.LoadedModel:
    return vx.load_model("bundled")


def unpack_cifar10(shared: Path, out: Path) -> Path:
    with tarfile.open(shared / "data/cifar10-jpeg.tar.xz") as archive:
        for member in archive:
            if member.name.startswith("test/"):
                archive.extract(member, out, filter="data")
    return out


@pytest.mark.parametrize(
    "name",
    [pytest.param(name, marks=[] if name == "bundled" else pytest.mark.long) for name in SHIPPED],
)
def test_a_shipped_model_is_as_good_as_it_says(shared: Path, tmp_path: Path, name: str) -> None:
    model = vx.load_model(name)
    stated = model.metadata["metrics"]
    assert stated["samples"] == 10_000
    assert {"seed", "epochs", "hardware", "seconds", "versions"} <= set(model.metadata["training"])
    unpack = unpack_cifar10 if SHIPPED[name] is CIFAR10 else unpack_test
    data = unpack(shared, tmp_path)
    evaluation = vx.evaluate(model, data)
    shares, true = evaluation.probabilities.astype(np.float64), evaluation.labels
    assert len(shares) == 10_000 == len(set(evaluation.pictures))
    own = evaluation.by_class
    known = (own.precision, own.recall, own.f1)
    expected = sk.precision_recall_fscore_support(true, shares.argmax(1), zero_division=0)
    for numbers, others in zip(known, expected, strict=False):
        np.testing.assert_allclose(numbers, others, atol=1e-12)
    assert np.array_equal(evaluation.confusion, sk.confusion_matrix(true, shares.argmax(1)))
    # Another processor may round a few pictures over to their second class.
    found = {
        "accuracy": sk.accuracy_score(true, shares.argmax(1)),
        "top5": sk.top_k_accuracy_score(true, shares, k=5, labels=range(shares.shape[1])),
        "nll": sk.log_loss(true, shares, labels=range(shares.shape[1])),
        "ece": _calibration_error(shares, true),
    }
    tolerance = {"accuracy": 5e-4, "top5": 5e-4, "nll": 1e-3, "ece": 1e-3}
    for key, limit in tolerance.items():
        if key in stated:
            assert stated[key] == pytest.approx(found[key], abs=limit), key


def _calibration_error(shares: np.ndarray, true: np.ndarray, bins: int = 15) -> float:
    """The mean gap of confidence and accuracy over fifteen equal bins, bin by bin."""
    confidence, right = shares.max(1), shares.argmax(1) == true
    edges, gap = np.linspace(0, 1, bins + 1), 0.0
    for low, high in itertools.pairwise(edges):
        inside = (confidence > low) & (confidence <= high)
        if inside.any():
            gap += inside.mean() * abs(right[inside].mean() - confidence[inside].mean())
    return gap


def test_the_ten_class_model_has_not_got_worse() -> None:
    assert vx.load_model("bundled-cifar10").metadata["metrics"]["accuracy"] >= 0.87


def test_the_bundled_model_meets_its_bar(bundled: vx.LoadedModel) -> None:
    stated = bundled.metadata["metrics"]
    assert stated["accuracy"] >= 0.50
    assert stated["top5"] >= 0.76
    assert stated["ece"] <= 0.05
    assert bundled.metadata["training"]["measured"] == "test"
    calibration = read_calibration(bundled.metadata)
    assert calibration is not None and calibration.held_out == 5_000
    assert bundled.trained_on == ABOUT_TINY_IMAGENET
    assert bundled.card.image_size == (64, 64)
    assert bundled.metadata["recipe"]["hold_out"] == 0.05
    assert bundled.metadata["recipe"]["name"] in list_recipes()
    table = list(names().values())
    assert bundled.labels == tuple(one.english for one in table)
    assert bundled.labels_zh == tuple(one.chinese for one in table)


def test_the_bundled_model_knows_the_cat(bundled: vx.LoadedModel) -> None:
    assert vx.explain(bundled, asset("cat.png"), methods=()).predictions[0].label in CATS


def test_the_bundled_model_says_where_it_is_unsure(bundled: vx.LoadedModel) -> None:
    found = vx.explain(bundled, asset("cat.png"), methods=())
    assert found.unsure or found.predictions[0].label in CATS


@pytest.mark.parametrize("name", ["coffee.png", "cat_and_coffee.jpg"])
def test_the_bundled_model_knows_the_coffee(bundled: vx.LoadedModel, name: str) -> None:
    found = vx.explain(bundled, asset(name), methods=())
    assert "espresso" in [one.label for one in found.predictions[:2]]
    assert found.unsure is False


def test_the_ten_class_model_sees_the_cat(cat: Path) -> None:
    result = vx.explain(vx.load_model("bundled-cifar10"), cat, methods=())
    assert result.predictions[0].label == "cat"


def test_shipped_models_have_files_of_bounded_size() -> None:
    for one in SHIPPED.values():
        assert one.weights.stat().st_size <= 12 * 2**20
        assert one.film.stat().st_size <= 3 * 2**20


def test_evaluate_takes_a_shipped_model_by_name(shared: Path, tmp_path: Path) -> None:
    """A tenth of the classes, each with its first picture, is enough to see the names agree."""
    root = unpack_test(shared, tmp_path / "all") / "test"
    for folder in sorted(root.iterdir())[:2]:
        target = tmp_path / "few" / "test" / folder.name
        target.mkdir(parents=True)
        for file in sorted(folder.iterdir())[:2]:
            (target / file.name).write_bytes(file.read_bytes())
    assert evaluate("bundled", tmp_path / "few").samples == 4
    with pytest.raises(vx.ExplorerError, match="does not: goldfish"):
        evaluate("bundled-cifar10", tmp_path / "few")
