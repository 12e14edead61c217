"""A run made ready to ship: calibrated on its held-out pictures, named, with its film."""

from __future__ import annotations

import importlib
import json
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from PIL import Image
from safetensors.torch import load_file

import vit_explorer as vx
from tests.tiny_imagenet import WNIDS
from vit_explorer import cli
from vit_explorer.datasets.evaluate import evaluate
from vit_explorer.errors import DataError, ModelError, OutputError
from vit_explorer.models.calibration import Calibration, read_calibration
from vit_explorer.models.targets import Aim, find_target
from vit_explorer.training import RunResult, ship, train
from vit_explorer.training.calibrate import calibrate, fit_temperature
from vit_explorer.training.ship import _public

RECIPE = """
name: tiny
epochs: 8
hold_out: 0.25
batch_size: 16
model: {image_size: [16, 16], patch_size: [4, 4], dim: 32, depth: 2, heads: 2}
augment: {flip: false, shift: 0}
optimizer: {name: muon, lr: 5.0e-3, weight_decay: 0}
schedule: {warmup_epochs: 0.5}
half_weights: true
probes: shipped
"""


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three classes of Tiny ImageNet by WNID: noise, each tinted, some tinted as another."""
    root, draw = tmp_path_factory.mktemp("pictures"), np.random.default_rng(0)
    for channel, wnid in enumerate(WNIDS):
        for split in ("train", "test"):
            (root / split / wnid).mkdir(parents=True)
            for index in range(48):
                pixels = draw.integers(0, 160, (16, 16, 3), dtype=np.uint8)
                tint = channel if draw.random() < 0.8 else int(draw.integers(3))
                pixels[..., tint] += 60
                Image.fromarray(pixels).save(root / split / wnid / f"{index:02}.png")
    return root


@pytest.fixture(scope="module")
def run(pictures: Path, tmp_path_factory: pytest.TempPathFactory) -> RunResult:
    root = tmp_path_factory.mktemp("run")
    (root / "tiny.yaml").write_text(RECIPE)
    return train(root / "tiny.yaml", data=pictures, out=root / "run", precision="no", device="cpu")


@pytest.fixture(scope="module")
def shipped(run: RunResult, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return ship(run.folder, tmp_path_factory.mktemp("out") / "own.safetensors").weights


def _held_out(run: RunResult, pictures: Path) -> tuple[torch.Tensor, torch.Tensor]:
    """The run's logits about each fourth training picture of a class, and their labels."""
    model, logits, labels = vx.load_model(run.weights), [], []
    for label, wnid in enumerate(sorted(WNIDS)):
        for file in sorted((pictures / "train" / wnid).iterdir())[::4]:
            logits.append(model.module(model.prepare(file).pixels)[0])
            labels.append(label)
    return torch.stack(logits), torch.tensor(labels)


def test_a_temperature_is_where_the_gradient_vanishes() -> None:
    draw = torch.Generator().manual_seed(0)
    logits = torch.randn(500, 7, generator=draw)
    labels = torch.distributions.Categorical(logits=logits).sample()
    for true in (0.4, 1.0, 3.0):
        T = fit_temperature(logits * true, labels)
        slope = torch.tensor(1 / T, dtype=torch.float64, requires_grad=True)
        F.cross_entropy(logits.double() * true * slope, labels).backward()
        assert slope.grad is not None and abs(slope.grad.item()) < 1e-3
        assert pytest.approx(true, rel=0.2) == T  # what the labels were drawn with


def test_calibration_by_hand() -> None:
    logits = torch.tensor([[2.0, 0, 0], [0, 3.0, 0], [0, 0, 1.0], [1.0, 0, 0]])
    labels = torch.tensor([0, 1, 2, 2])
    found = calibrate(logits, labels, ("a", "b", "c"))
    shares = (logits.double() / found.temperature).softmax(1).numpy()
    right = shares.max(1)[:3]
    low, middle, _ = sorted(right)
    # The 5th percentile of three values lies a tenth of the way from the first to the second.
    assert found.unsure_below == pytest.approx(low + 0.1 * (middle - low))
    assert found.unsure_wrong == float(shares.max(1)[3] < found.unsure_below)
    assert found.nll[1] == pytest.approx(-np.log(shares[range(4), labels]).mean())
    assert found.nll[1] <= found.nll[0] and found.held_out == 4
    with pytest.raises(DataError, match="right about none of the held-out"):
        calibrate(logits, torch.tensor([1, 2, 0, 1]), ("a", "b", "c"))


def test_a_temperature_that_makes_the_top_probability_less_true_is_left_out() -> None:
    """The top class is right as often as it says; sharpening would only mend the rest."""
    shares = torch.tensor([0.5, 0.2, *[0.3 / 98] * 98])
    logits, labels = shares.log().repeat(10, 1), torch.tensor([0, 1] * 5)
    found = calibrate(logits, labels, tuple(map(str, range(100))))
    assert fit_temperature(logits, labels) < 0.9
    assert found.temperature == 1
    assert found.ece == pytest.approx((0, 0), abs=1e-6) and found.nll[0] == found.nll[1]
    assert found.unsure_below == pytest.approx(0.5)


def test_a_shipped_model_is_calibrated_on_the_pictures_its_run_held_out(
    run: RunResult, shipped: Path, pictures: Path
) -> None:
    logits, labels = _held_out(run, pictures)
    model = vx.load_model(shipped)
    told = read_calibration(model.metadata)
    assert told is not None and told.held_out == len(labels) == 36
    grid = np.exp(np.linspace(-2, 2, 4001))
    losses = [F.cross_entropy(logits.double() / T, labels).item() for T in grid]
    assert told.temperature == pytest.approx(grid[int(np.argmin(losses))], rel=2e-3)
    assert told.nll == pytest.approx(
        (F.cross_entropy(logits, labels).item(), min(losses)), abs=1e-5
    )
    before, after = load_file(run.weights), load_file(shipped)
    assert set(before) == set(after)
    for key in before:
        scale = told.temperature if key.startswith("head.") else 1
        torch.testing.assert_close(
            after[key].float() * scale, before[key].float(), rtol=2e-3, atol=1e-5
        )
        assert after[key].dtype == torch.float16
    picture = next((pictures / "test" / WNIDS[0]).iterdir())
    plain = vx.trace(vx.load_model(run.weights), picture).logits
    torch.testing.assert_close(
        vx.trace(model, picture).logits * told.temperature, plain, atol=5e-3, rtol=5e-3
    )
    assert model.card.calibration == (
        f"probabilities at temperature {told.temperature:.3g}, fitted on 36 held-out pictures"
    )


def test_a_shipped_model_says_what_it_knows_and_how_well(
    run: RunResult, shipped: Path, pictures: Path
) -> None:
    model = vx.load_model(shipped)
    assert model.labels == ("goldfish", "tabby cat", "espresso")
    assert model.labels_zh == ("金鱼", "虎斑猫", "浓缩咖啡")
    assert vx.load_model(shipped, labels=["a", "b", "c"]).labels_zh == ()
    assert find_target(model, "虎斑猫") == find_target(model, "tabby cat") == Aim.at(1)
    stated = model.metadata["metrics"]
    assert evaluate(model, pictures).to_dict() == pytest.approx(stated)
    assert run.metrics is not None and stated["accuracy"] == run.metrics.accuracy
    assert model.metadata["recipe"]["name"] == "tiny"
    with (
        np.load(shipped.with_name("own_film.npz")) as film,
        np.load(run.folder / "film.npz") as own,
    ):
        assert film["labels"].tolist() == list(model.labels)
        assert np.array_equal(film["rollout"], own["rollout"])


def test_a_shipped_file_names_no_way_to_its_maker_s_files() -> None:
    told = {
        "initial_weights": "/home/me/runs/trunk/last.safetensors",
        "teacher": "deit_tiny",
        "n": 3,
    }
    assert _public({"recipe": told}) == {
        "recipe": {"initial_weights": "trunk/last.safetensors", "teacher": "deit_tiny", "n": 3}
    }


def test_a_run_goes_on_from_one_whose_classes_were_called_by_wnids(
    run: RunResult, pictures: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    recipe, options = run.folder / "recipe.yaml", {"precision": "no", "device": "cpu"}
    with monkeypatch.context() as before:
        for module in ("sources", "evaluate"):
            before.setattr(
                importlib.import_module(f"vit_explorer.datasets.{module}"), "named", tuple
            )
        old = train(recipe, data=pictures, out=tmp_path / "old", overrides=["epochs=1"], **options)
    assert vx.load_model(old.weights).labels == tuple(sorted(WNIDS))
    change = ["epochs=1", f"initial_weights={old.weights}"]
    train(recipe, data=pictures, out=tmp_path / "new", overrides=change, **options)
    with np.load(tmp_path / "new" / "film.npz") as film:
        assert film["epoch"].tolist() == [0, 1, 2]
        assert film["labels"].tolist() == ["goldfish", "tabby cat", "espresso"]
    found = ship(old.folder, tmp_path / "own.safetensors")
    assert vx.load_model(found.weights).labels_zh == ("金鱼", "虎斑猫", "浓缩咖啡")
    assert found.film is not None
    with np.load(found.film) as film:
        assert film["labels"].tolist() == ["goldfish", "tabby cat", "espresso"]


def test_an_unsure_prediction_is_told(shipped: Path, pictures: Path, cat: Path) -> None:
    model = vx.load_model(shipped)
    told = read_calibration(model.metadata)
    assert told is not None and model.card.unsure_below == told.unsure_below
    found = [
        vx.explain(model, file, methods=()) for file in sorted((pictures / "train").rglob("*.png"))
    ]
    flags = [one.predictions[0].probability < told.unsure_below for one in found]
    assert [one.unsure for one in found] == flags and any(flags) and not all(flags)
    assert found[flags.index(True)].to_dict()["unsure"] is True
    assert vx.explain(vx.load_model("bundled-cifar10"), cat, methods=()).unsure is None


def test_the_command_ships_and_explain_says_unsure(
    run: RunResult, pictures: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "own.safetensors"
    cli.app(["ship", str(run.weights), str(out)], standalone_mode=False)
    printed = capsys.readouterr().out
    told = read_calibration(vx.load_model(out).metadata)
    assert told is not None and printed.startswith(f"{told}\n")
    assert f"written to {out} and {tmp_path / 'own_film.npz'}" in printed
    cli.app(["inspect", str(out)], standalone_mode=False)
    assert "held-out" in capsys.readouterr().out
    model, files = vx.load_model(out), sorted((pictures / "train").rglob("*.png"))
    unsure = next(file for file in files if vx.explain(model, file, methods=()).unsure)
    given = ["explain", str(unsure), "--model", str(out), "--out", str(tmp_path / "x")]
    cli.app([*given, "--method", "attention"], standalone_mode=False)
    assert "None of the 3 classes fits well" in " ".join(capsys.readouterr().out.split())
    written = json.loads((tmp_path / "x" / unsure.stem / "explanation.json").read_text())
    assert written["unsure"] is True and written["model"]["unsure_below"] == told.unsure_below


def test_what_can_not_be_shipped_is_refused(run: RunResult, pictures: Path, tmp_path: Path) -> None:
    plain = tmp_path / "plain.yaml"
    plain.write_text(RECIPE.replace("hold_out: 0.25", "hold_out: 0").replace("8", "1", 1))
    other = train(plain, data=pictures, out=tmp_path / "plain", precision="no", device="cpu")
    with pytest.raises(DataError, match="held out no pictures, which a calibration needs"):
        ship(other.folder, tmp_path / "own.safetensors")
    with pytest.raises(OutputError, match="a name that ends in .safetensors"):
        ship(run.folder, tmp_path / "own.pth")
    with pytest.raises(OutputError, match="in a folder that is there"):
        ship(run.folder, tmp_path / "none" / "own.safetensors")
    with pytest.raises(ModelError, match="does not exist"):
        ship(tmp_path / "nowhere.safetensors", tmp_path / "own.safetensors")
    with pytest.raises(DataError, match="does not exist"):
        ship(run.folder, tmp_path / "own.safetensors", data=tmp_path / "moved")
    assert not (tmp_path / "own.safetensors").exists()


GOOD = Calibration(
    temperature=1.2, held_out=5, unsure_below=0.3, unsure_wrong=0.1, nll=(2, 1), ece=(0.1, 0.02)
).to_dict()


@pytest.mark.parametrize(
    "change",
    [
        {"temperature": 0}, {"temperature": "warm"}, {"held_out": None}, {"unsure_below": 1.5},
        {"nll": [1]}, {"ece": 3}, {"nll": ["a", "b"]}, {"temperature": float("nan")},
    ],
)  # fmt: skip
def test_odd_calibrations_of_a_file_are_left_out(change: dict[str, object]) -> None:
    assert read_calibration({"calibration": GOOD}) is not None
    assert read_calibration({"calibration": {**GOOD, **change}}) is None
    assert read_calibration({"calibration": [1]}) is None
    assert read_calibration({}) is None
