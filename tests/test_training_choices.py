"""What a recipe may ask of the loop: gradient accumulation, class weights, early stopping."""

from __future__ import annotations

import json
import threading
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from lightning.pytorch.callbacks import EarlyStopping
from safetensors.torch import load_file
from sklearn.utils.class_weight import compute_class_weight

import vit_explorer as vx
from tests.noise import write_noise
from vit_explorer.datasets.sources import find_pictures
from vit_explorer.errors import RecipeError
from vit_explorer.page.state.trainings import Trainings
from vit_explorer.training import RunResult, load_recipe, train
from vit_explorer.training.augment import epoch_order, make_mixing, standardise
from vit_explorer.training.data import decode
from vit_explorer.training.early_stop import epochs_without_gain
from vit_explorer.training.losses import class_weights, label_loss
from vit_explorer.training.recipe_sections import Augment
from vit_explorer.training.student import build_model

CLASSES = ("cat", "dog")
# Nothing random in the model, no rate that changes, no gradient that is cut.
RECIPE = """
epochs: 2
batch_size: 12
model: {image_size: [16, 16], patch_size: [8, 8], dim: 16, depth: 1, heads: 2}
augment: {flip: false, shift: 0}
optimizer: {name: sgd, lr: 0.1, weight_decay: 0, momentum: 0.9, clip: null}
schedule: {warmup_epochs: 0, min_lr: 0.1}
class_weights: {dog: 3}
label_smoothing: 0.1
film: false
"""


STOP = (
    "epochs=30",
    "hold_out=0.25",
    "early_stop={patience: 2, min_gain: 10, by: loss}",
    "class_weights=balanced",
    "optimizer.lr=1",
)


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_noise(tmp_path_factory.mktemp("pictures"), CLASSES)


@pytest.fixture(scope="module")
def recipe(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("recipe") / "plain.yaml"
    path.write_text(RECIPE)
    return path


def run(recipe: Path, data: Path, out: Path, *overrides: str, **options: object) -> RunResult:
    return train(
        recipe, data=data, out=out, overrides=overrides, precision="no", device="cpu", **options
    )


def test_a_run_is_that_of_a_plain_loop(recipe: Path, pictures: Path, tmp_path: Path) -> None:
    """Its weights are those of torch's own optimizer, loss and means over batches."""
    settings = load_recipe(recipe)
    torch.manual_seed(settings.seed)
    model = build_model(settings, 2).train()
    optimizer = torch.optim.SGD(model.parameters(), 0.1, momentum=0.9, nesterov=True)
    known = decode(find_pictures(pictures, "train"), (16, 16))
    for epoch in range(2):
        # 32 pictures by 12 at most.
        for part in epoch_order(0, epoch, 32).tensor_split(3):
            x = standardise(known.pixels[part] / 255, (16, 16), settings.mean, settings.std)
            loss = F.cross_entropy(
                model(x), known.labels[part], torch.tensor([1.0, 3.0]), label_smoothing=0.1
            )
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
    found = load_file(run(recipe, pictures, tmp_path / "run").weights)
    for name, value in model.state_dict().items():
        torch.testing.assert_close(found[name], value, atol=2e-6, rtol=1e-5)


def test_passes_add_up_to_a_large_batch(recipe: Path, pictures: Path, tmp_path: Path) -> None:
    """Also where passes and steps differ in size, pictures are varied and the rate changes."""
    varied = ["augment={shift: 2, colour: 0.3}", "schedule={warmup_epochs: 0.5, min_lr: 0.001}"]
    varied += ["optimizer.clip=1.0", "ema=0.9"]
    whole = run(recipe, pictures, tmp_path / "whole", *varied)
    # Steps of 11, 11 and 10 pictures, in passes of 3 or 4.
    parted = run(recipe, pictures, tmp_path / "parted", *varied, "batch_size=4", "accumulate=3")
    assert len({row["lr"] for row in whole.rows}) == 2
    for one, other in zip(whole.rows, parted.rows, strict=True):
        assert one["lr"] == other["lr"]
        for name in ("train_loss", "train_accuracy", "test_loss", "images"):
            assert one[name] == pytest.approx(other[name], abs=1e-6)
    weights, others = load_file(whole.weights), load_file(parted.weights)
    for name, value in weights.items():
        torch.testing.assert_close(others[name], value, atol=2e-6, rtol=1e-5)


def test_balanced_weights_are_scikit_learns() -> None:
    labels = np.array([0] * 7 + [2] * 2 + [1] * 31)
    wanted = compute_class_weight("balanced", classes=np.arange(3), y=labels)
    found = class_weights("balanced", torch.from_numpy(labels), ("a", "b", "c"))
    np.testing.assert_allclose(found, wanted, rtol=1e-6)
    assert class_weights({"c": 2.5}, torch.tensor([0]), ("a", "b", "c")).tolist() == [1, 1, 2.5]
    assert class_weights(None, torch.tensor([0]), ("a", "b")).tolist() == [1, 1]


def test_weights_of_mixed_and_smoothed_labels_by_hand() -> None:
    torch.manual_seed(1)
    weights, labels = torch.tensor([0.5, 1.0, 4.0]), torch.tensor([0, 2, 1, 2, 2, 0])
    logits = torch.randn(6, 3)
    mixing = make_mixing(Augment(mixup=0.8), 3)
    assert mixing is not None
    _, targets = mixing(torch.zeros(6, 3, 4, 4), labels)
    smoothed = 0.8 * targets + 0.2 / 3
    terms = -(weights * smoothed * logits.log_softmax(1)).sum()
    assert float(label_loss(logits, targets, weights, 0.2)) == pytest.approx(float(terms))
    # Mixing shares the labels' weights out and loses none, so the mean is over the same sum.
    assert float((targets * weights).sum()) == pytest.approx(float(weights[labels].sum()))


def test_patience_is_lightnings() -> None:
    draw = np.random.default_rng(0)
    for gain in (0.0, 0.05):
        values = (draw.random((40, 12)) * np.linspace(0.5, 1, 12)).round(2)
        for row in values.tolist():
            theirs = EarlyStopping("accuracy", min_delta=gain, patience=10**9, mode="max")
            for epoch, value in enumerate(row, start=1):
                theirs._evaluate_stopping_criteria(torch.tensor(value, dtype=torch.float64))
                assert epochs_without_gain(row[:epoch], gain) == theirs.wait_count


@pytest.fixture(scope="module")
def short(recipe: Path, pictures: Path, tmp_path_factory: pytest.TempPathFactory) -> RunResult:
    """A run at a rate so high that its held-out loss rises from the first epoch on."""
    return run(recipe, pictures, tmp_path_factory.mktemp("runs") / "short", *STOP)


def test_a_run_without_gain_goes_back_to_its_best_epoch(short: RunResult, pictures: Path) -> None:
    assert short.finished and short.metrics is not None
    assert [row["epochs_without_gain"] for row in short.rows] == [0, 1, 2]
    losses = [row["held_out_loss"] for row in short.rows]
    best = int(np.argmin(losses)) + 1
    assert best < 3
    told = json.loads((short.folder / "metrics.json").read_text())
    assert (told["epochs"], told["best_epoch"]) == (3, best)
    assert "epochs_without_gain" in (short.folder / "log.csv").read_text()
    weights, others = load_file(short.weights), load_file(short.folder / "best.safetensors")
    assert all(torch.equal(weights[name], others[name]) for name in others)
    model = vx.load_model(short.weights)
    assert model.metadata["training"]["best_epoch"] == best
    assert model.metadata["training"]["class_weights"] == {"cat": 1, "dog": 1}
    assert vx.evaluate(model, pictures).nll == short.metrics.nll


def test_patience_outlives_an_interruption(
    short: RunResult, recipe: Path, pictures: Path, tmp_path: Path
) -> None:
    stop, out = threading.Event(), tmp_path / "run"
    run(recipe, pictures, out, *STOP, stop=stop,
        watch=lambda row: stop.set() if row["epoch"] == 2 else None)  # fmt: skip
    trainings = Trainings(tmp_path, device="cpu")
    trainings.resume("run")
    now = [one for one in trainings.news(600) if one][-1]
    assert (now["state"], now["patience"]) == ("finished", 2)
    assert [row["train_loss"] for row in now["rows"]] == [row["train_loss"] for row in short.rows]
    said = now["notes"][-1]
    assert "ended after epoch 3 of 30: no gain of more than 10 in loss" in said["text"]
    losses = [row["held_out_loss"] for row in short.rows]
    assert said["values"]["best"] == str(np.argmin(losses) + 1)


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("early_stop={patience: 3}", "only its test pictures to stop by.*set hold_out=0.1"),
        ("class_weights={dgo: 2}", "the data has no class 'dgo', did you mean 'dog'"),
        ("class_weights={7: 2}", "the data has no class '7'; its classes: cat, dog"),
        ("class_weights=balance", 'class_weights: was "balance"; expected "balanced", or numbers'),
        ("class_weights={cat: 0}", 'was {"cat": 0}; expected "balanced", or numbers above 0'),
        ("class_weights={cat: .inf}", "or numbers above 0 by class"),
        ("accumulate=0", "accumulate was 0; it should be 1 or more"),
        ("early_stop.patience=0", "early_stop.patience was 0; it should be 1 or more"),
    ],
)
def test_what_can_not_be_asked_is_said(
    recipe: Path, pictures: Path, tmp_path: Path, override: str, message: str
) -> None:
    with pytest.raises(RecipeError, match=message):
        run(recipe, pictures, tmp_path / "run", override)
    assert not (tmp_path / "run").exists()
