"""Whole runs of `train`, small enough for seconds."""

from __future__ import annotations

import errno
import json
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
import yaml
from filelock import FileLock
from PIL import Image
from safetensors.torch import load_file

import vit_explorer as vx
from tests.noise import write_noise
from vit_explorer import cli, training
from vit_explorer.datasets.evaluate import evaluate
from vit_explorer.ending import hangup
from vit_explorer.errors import DataError, ModelError, OptionError, OutputError, RecipeError
from vit_explorer.training import RunResult, load_recipe, train
from vit_explorer.training.film import Film
from vit_explorer.training.report import draw_curves
from vit_explorer.training.run_folder import RunFolder

ROOT = Path(__file__).resolve().parents[1]
CLASSES = ("cat", "dog", "frog", "ship")

# Everything that draws random numbers or carries state is on, so that resuming has to be right.
RECIPE = """
name: tiny
epochs: 3
full_epochs: 1
batch_size: 16
model: {image_size: [16, 16], patch_size: [4, 4], dim: 24, depth: 2, heads: 2, patch_dropout: 0.5,
  dropout: 0.1, drop_path: 0.1}
augment: {shift: 2, zoom: [0.8, 1.2], colour: 0.2, erase: 0.2, mixup: 0.2, cutmix: 0.5}
optimizer: {name: muon, lr: 2.0e-3}
ema: 0.9
label_smoothing: 0.1
"""


@pytest.fixture(scope="session")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_noise(tmp_path_factory.mktemp("pictures"), CLASSES)


@pytest.fixture(scope="session")
def recipe(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("recipe") / "tiny.yaml"
    path.write_text(RECIPE)
    return path


@pytest.fixture(scope="session")
def whole(recipe: Path, pictures: Path, tmp_path_factory: pytest.TempPathFactory) -> RunResult:
    """The uninterrupted run that others are compared with."""
    out = tmp_path_factory.mktemp("runs") / "whole"
    return train(recipe, data=pictures, out=out, precision="no", device="cpu")


def _assert_same(one: RunResult, other: RunResult) -> None:
    assert len(one.rows) == len(other.rows)
    for a, b in zip(one.rows, other.rows, strict=True):
        for name in ("train_loss", "train_accuracy", "test_loss", "test_accuracy", "lr", "images"):
            assert a[name] == pytest.approx(b[name], abs=1e-6), (name, a["epoch"])
    weights, others = load_file(one.weights), load_file(other.weights)
    assert all(torch.allclose(weights[key], others[key], atol=1e-6) for key in weights)


@pytest.mark.slow
def test_a_run_leaves_its_folder_and_a_model_that_explains(whole: RunResult, cat: Path) -> None:
    assert whole.finished
    files = {path.name for path in whole.folder.iterdir()}
    assert files >= {"recipe.yaml", "run.json", "log.json", "log.csv", "curves.png", "film.npz"}
    assert files >= {"confusion.png", "last.safetensors", "best.safetensors", "state.pt"}
    assert [name for name in files if name.startswith(".")] == [".lock"]
    rows = json.loads((whole.folder / "log.json").read_text())
    assert rows == list(whole.rows)
    assert [row["images"] for row in rows] == [64] * 3
    assert load_recipe(whole.folder / "recipe.yaml").name == "tiny"
    Image.open(whole.folder / "curves.png").verify()
    model = vx.load_model(whole.weights)
    assert model.labels == CLASSES
    assert {"config", "preprocess", "recipe", "metrics", "training"} <= set(model.metadata)
    result = vx.explain(model, cat, methods=("rollout",))
    assert result.heatmaps["rollout"].values.shape == (4, 4)


def test_the_stated_accuracy_is_what_evaluate_measures(whole: RunResult, pictures: Path) -> None:
    stated = vx.load_model(whole.weights).metadata["metrics"]
    metrics = evaluate(whole.weights, pictures)
    assert metrics == whole.metrics
    assert metrics.to_dict() == pytest.approx(stated)
    # The run wrote what its last weights answer about each picture.
    table = pd.read_parquet(whole.folder / "predictions.parquet")
    assert table["picture"].tolist() == list(metrics.pictures)
    assert np.array_equal(table["rank"], metrics.rank)
    written = {path.name for path in whole.folder.iterdir()}
    assert written >= {"predictions.csv", "classes.csv", "confusion.csv", "report.html"}


def test_the_film_has_a_frame_an_epoch_that_the_model_confirms(whole: RunResult) -> None:
    with np.load(whole.folder / "film.npz") as film:
        assert film["epoch"].tolist() == [0, 1, 2, 3]
        assert film["probe_names"][0] == "cat.png"
        assert film["probabilities"].shape == (4, len(film["probes"]), 4)
        assert film["rollout"].shape[2:] == (4, 4)
        assert film["attention_distance"].shape[2:] == (2, 2)
        assert film["test_accuracy"].tolist() == [row["test_accuracy"] for row in whole.rows]
        similarity = vx.position_similarity(vx.load_model(whole.weights)).reshape(16, 16)
        assert np.allclose(film["position_similarity"][-1], similarity, atol=2e-3)


@pytest.mark.slow
def test_a_run_stopped_within_an_epoch_resumes_to_the_same_numbers(
    whole: RunResult, recipe: Path, pictures: Path, tmp_path: Path
) -> None:
    stop, out = threading.Event(), tmp_path / "run"
    options = {"data": pictures, "out": out, "precision": "no", "device": "cpu"}
    # Set at the end of the first epoch, it is seen after the second one's first step.
    part = train(recipe, **options, stop=stop, watch=lambda row: stop.set())
    assert not part.finished
    state = torch.load(out / "state.pt", weights_only=True)
    assert (state["position"]["epoch"], state["position"]["step"]) == (1, 1)
    _assert_same(train(recipe, **options, resume=True), whole)


@pytest.mark.slow
def test_a_run_stopped_in_its_first_epoch_has_the_whole_film(
    whole: RunResult, recipe: Path, pictures: Path, tmp_path: Path
) -> None:
    stop = threading.Event()
    stop.set()
    options = {"data": pictures, "out": tmp_path, "precision": "no", "device": "cpu"}
    assert not train(recipe, **options, stop=stop).finished
    state = torch.load(tmp_path / "state.pt", weights_only=True)
    assert (state["position"]["epoch"], state["position"]["step"]) == (0, 1)
    _assert_same(train(recipe, **options, resume=True), whole)
    with np.load(tmp_path / "film.npz") as film, np.load(whole.folder / "film.npz") as other:
        for name in film:
            if film[name].dtype.kind == "f":
                assert np.allclose(film[name], other[name], atol=2e-3), name
            else:
                assert np.array_equal(film[name], other[name]), name


@pytest.mark.parametrize("main", [True, False])
def test_one_process_of_several_says_how_to_go_on(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], main: bool
) -> None:
    stopped = RunResult(Path("runs/a"), Path("runs/a/last.safetensors"), False, (), None, main)
    monkeypatch.setattr(training, "train", lambda *_args, **_options: stopped)
    cli.app(["train", "smoke"], standalone_mode=False)
    again = "go on with: vit-explorer train runs/a/recipe.yaml --out runs/a --resume"
    assert (again in capsys.readouterr().out) is main


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["SIGINT", "SIGTERM", "SIGHUP"])
@pytest.mark.usefixtures("terminal")
def test_ctrl_c_or_a_closed_terminal_keeps_a_state_that_resumes(
    whole: RunResult, recipe: Path, pictures: Path, tmp_path: Path, kind: str
) -> None:
    sent = getattr(signal, kind)
    before = signal.getsignal(sent)
    options = {"data": pictures, "out": tmp_path, "precision": "no", "device": "cpu"}
    part = train(recipe, **options, watch=lambda row: signal.raise_signal(sent))
    assert not part.finished
    assert signal.getsignal(sent) is before
    _assert_same(train(recipe, **options, resume=True), whole)


@pytest.mark.usefixtures("terminal")
def test_nohup_is_heeded() -> None:
    assert hangup() is signal.SIGHUP
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    assert hangup() is None


@pytest.mark.slow
def test_a_killed_run_resumes_to_the_same_numbers(
    whole: RunResult, recipe: Path, pictures: Path, tmp_path: Path
) -> None:
    out = tmp_path / "run"
    program = f"""
import time
from vit_explorer.training import loop, train
step = loop.Trainer._step
loop.Trainer._step = lambda *given: (step(*given), time.sleep(0.3))
train({str(recipe)!r}, data={str(pictures)!r}, out={str(out)!r}, precision="no", device="cpu",
      save_seconds=0)
"""
    process = subprocess.Popen([sys.executable, "-c", program], cwd=ROOT)
    deadline = time.monotonic() + 60
    while not (out / "log.json").exists() and time.monotonic() < deadline:
        time.sleep(0.05)
    time.sleep(0.8)
    process.kill()
    process.wait()
    state = torch.load(out / "state.pt", weights_only=True)
    assert state["position"]["epoch"] < 3
    result = train(recipe, data=pictures, out=out, resume=True, precision="no", device="cpu")
    _assert_same(result, whole)


@pytest.mark.slow
def test_a_full_disk_loses_nothing_written_before(
    whole: RunResult, recipe: Path, pictures: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(descriptor: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    def fill(row: dict[str, float]) -> None:
        if row["epoch"] == 2:
            monkeypatch.setattr(os, "fsync", full)

    options = {"data": pictures, "out": tmp_path, "precision": "no", "device": "cpu"}
    with pytest.raises(OutputError, match=r"state.pt can't be written: No space left.*resume"):
        train(recipe, **options, watch=fill)
    monkeypatch.undo()
    assert [path.name for path in tmp_path.iterdir() if path.name.startswith(".")] == [".lock"]
    assert len(json.loads((tmp_path / "log.json").read_text())) == 2
    vx.load_model(tmp_path / "last.safetensors")
    _assert_same(train(recipe, **options, resume=True), whole)


@pytest.mark.slow
def test_the_vit_from_scratch_overfits_64_pictures(pictures: Path, tmp_path: Path) -> None:
    overrides = [
        "epochs=24",
        "batch_size=16",
        "model={image_size: [16, 16], patch_size: [4, 4], dim: 64, depth: 2, heads: 2}",
        "augment={flip: false, shift: 0}",
        "optimizer={name: muon, lr: 5.0e-3, weight_decay: 0}",
        "label_smoothing=0",
        "film=false",
    ]
    result = train("smoke", data=pictures, out=tmp_path, overrides=overrides, device="cpu")
    assert result.metrics is not None
    assert result.metrics.accuracy == 1.0


@pytest.mark.slow
def test_two_processes_train_as_one(pictures: Path, tmp_path: Path) -> None:
    recipe = tmp_path / "plain.yaml"
    recipe.write_text("""
epochs: 2
batch_size: 24
model: {image_size: [16, 16], patch_size: [4, 4], dim: 24, depth: 2, heads: 2}
augment: {flip: false, shift: 0}
optimizer: {name: sgd, lr: 0.1}
""")
    options = {"data": str(pictures), "precision": "no", "device": "cpu"}
    script = tmp_path / "script.py"
    script.write_text(f"""
import threading
from vit_explorer.training import train
train({str(recipe)!r}, out={str(tmp_path / "two")!r}, **{options!r})
stop = threading.Event()
parted = {{"out": {str(tmp_path / "parted")!r}, **{options!r}}}
assert not train({str(recipe)!r}, stop=stop, watch=lambda row: stop.set(), **parted).finished
assert train({str(recipe)!r}, resume=True, **parted).finished
""")
    # accelerate's own launcher needs MPI for several processes on a CPU; torchrun does not.
    launch = ["torch.distributed.run", "--standalone", "--nproc_per_node=2", str(script)]
    command = [sys.executable, "-m", *launch]
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    subprocess.run(command, env=environment, check=True, timeout=120)
    one = train(recipe, out=tmp_path / "one", **options)
    two = json.loads((tmp_path / "two/log.json").read_text())
    assert json.loads((tmp_path / "two/run.json").read_text())["processes"] == 2
    for a, b in zip(one.rows, two, strict=True):
        assert a["images"] == b["images"] == 64
        assert a["train_loss"] == pytest.approx(b["train_loss"], abs=1e-5)
        assert a["test_loss"] == pytest.approx(b["test_loss"], abs=1e-5)
    parted = json.loads((tmp_path / "parted/log.json").read_text())
    for a, b in zip(two, parted, strict=True):
        assert a["train_loss"] == pytest.approx(b["train_loss"], abs=1e-6)
        assert a["images"] == b["images"]


@pytest.mark.parametrize("views", [3, 0])
def test_a_distillation_token_learns_from_a_checkpoint(
    whole: RunResult, recipe: Path, pictures: Path, tmp_path: Path, views: int
) -> None:
    overrides = [
        "epochs=1",
        f"distill={{teacher: {whole.weights}, kind: hard, views: {views}}}",
        "model.distillation_token=true",
        "augment={flip: false, shift: 0}",
    ]
    options = {"data": pictures, "out": tmp_path, "overrides": overrides, "device": "cpu"}
    result = train(recipe, **options, precision="no")
    model = vx.load_model(result.weights)
    assert model.card.prefix_names == ("class", "distillation")
    if views:
        labels = load_file(tmp_path / "soft_labels.safetensors")["labels"]
        assert labels.shape == (3, 64, 4)
        passed = vx.trace(vx.load_model(whole.weights), Image.open(pictures / "train/cat/00.png"))
        assert torch.allclose(labels[:, 0].float(), passed.logits, atol=1e-2)


@pytest.mark.slow
def test_epochs_are_measured_on_held_out_pictures_and_the_test_once(
    recipe: Path, pictures: Path, tmp_path: Path
) -> None:
    data = tmp_path / "data"
    shutil.copytree(pictures, data)
    for path in (data / "test").rglob("*.png"):  # not the training pictures' twins
        Image.fromarray(255 - np.asarray(Image.open(path))).save(path)
    out, change = tmp_path / "run", ["hold_out=0.25", "probes=shipped", "ema=null"]
    result = train(recipe, data=data, out=out, overrides=change, precision="no", device="cpu")
    facts = json.loads((out / "run.json").read_text())
    assert (facts["pictures"], facts["held_out"]) == (48, 16)
    columns = (out / "log.csv").read_text().splitlines()[0].split(",")
    assert {"held_out_loss", "held_out_accuracy", "held_out_ece"} <= set(columns)
    assert not [name for name in columns if name.startswith("test")]

    kept = tmp_path / "held_out"
    for split in ("train", "test"):  # the pictures held out, by hand: each fourth of a class
        for name in CLASSES:
            (kept / split / name).mkdir(parents=True)
            for file in sorted((pictures / "train" / name).iterdir())[::4]:
                shutil.copy(file, kept / split / name)
    held = evaluate(out / "last.safetensors", kept)
    assert result.rows[-1]["held_out_loss"] == pytest.approx(held.nll, abs=1e-5)
    assert result.rows[-1]["held_out_accuracy"] == held.accuracy

    test = evaluate(out / "last.safetensors", data)
    stated = json.loads((out / "metrics.json").read_text())
    assert stated["nll"] == pytest.approx(test.nll) and stated["samples"] == 64
    assert abs(stated["nll"] - held.nll) > 1e-3
    last, best = (vx.load_model(out / f"{name}.safetensors").metadata for name in ("last", "best"))
    assert last["training"]["measured"] == "test" and last["metrics"] == stated
    assert best["training"]["measured"] == "held_out" and best["metrics"]["samples"] == 16
    with np.load(out / "film.npz") as film:
        assert film["measured"] == "held_out"
        assert film["test_accuracy"].tolist() == [row["held_out_accuracy"] for row in result.rows]
        assert film["probe_names"].tolist() == [
            "cat.png", "coffee.png", "astronaut.png", "rocket.jpg",
        ]  # fmt: skip


def test_a_run_that_holds_pictures_out_names_its_curves_so() -> None:
    rows = [{"epoch": 1, "lr": 0.1, **dict.fromkeys(_columns("held_out"), 0.5)}]
    drawn = draw_curves(rows, "a run", "held_out")
    assert drawn == draw_curves(rows, "a run", "held_out")
    with pytest.raises(KeyError):
        draw_curves(rows, "a run", "test")
    other = [{"epoch": 1, "lr": 0.1, **dict.fromkeys(_columns("test"), 0.5)}]
    assert drawn != draw_curves(other, "a run", "test")


def _columns(measured: str) -> list[str]:
    return [f"{part}_{kind}" for part in ("train", measured) for kind in ("loss", "accuracy")]


def test_a_run_begins_with_the_weights_and_the_film_of_another(
    whole: RunResult, recipe: Path, pictures: Path, tmp_path: Path
) -> None:
    overrides = [f"initial_weights={whole.weights}", "epochs=1", "schedule.min_lr=0"]
    options = {"data": pictures, "device": "cpu", "precision": "no", "out": tmp_path}
    result = train(recipe, **options, overrides=[*overrides, "optimizer={name: sgd, lr: 1.0e-9}"])
    begun, ended = load_file(whole.weights), load_file(result.weights)
    assert all(torch.allclose(begun[key], ended[key], atol=1e-4) for key in begun)
    training = vx.load_model(result.weights).metadata["training"]
    assert training["initial"]["epochs"] == 3
    assert training["initial"]["sha256"] == vx.load_model(whole.weights).sha256
    assert whole.metrics and training["initial"]["accuracy"] == whole.metrics.accuracy
    with np.load(tmp_path / "film.npz") as film, np.load(whole.folder / "film.npz") as before:
        assert film["epoch"].tolist() == [0, 1, 2, 3, 4]
        assert np.array_equal(film["rollout"][:4], before["rollout"])
        assert film["test_accuracy"].shape == (4,)
        assert film["test_accuracy"][3] == result.rows[0]["test_accuracy"]
    wide = ["model.dim=48", "initial_weights=bundled"]
    with pytest.raises(ModelError, match="don't fit the model of the recipe tiny"):
        train(recipe, data=pictures, out=tmp_path / "other", overrides=wide)
    assert not (tmp_path / "other").exists()


def test_films_are_joined_on_the_pictures_they_share(
    whole: RunResult, cat: Path, coffee: Path
) -> None:
    model = vx.load_model(whole.weights)
    one, two = vx.open_picture(cat), vx.open_picture(coffee)
    row = dict.fromkeys(("train_loss", "train_accuracy", "test_loss", "test_accuracy", "lr"), 0.5)
    first, other, further = Film(model, [one, two]), Film(model, [one]), Film(model, [two])
    for film in (first, other, further):
        film.record(0)
    first.record(1)
    before = first.arrays([row])
    further.follow(before)
    further.record(1)
    joined = further.arrays([row])
    assert joined["epoch"].tolist() == [0, 1, 2]
    assert joined["probe_names"].tolist() == ["coffee.png"] and len(joined["probes"]) == 1
    assert np.array_equal(joined["rollout"][:2], before["rollout"][:, [1]])
    assert np.array_equal(joined["rollout"][2], before["rollout"][1, [1]])  # the model is the same
    assert joined["lr"].tolist() == [0.5, 0.5]
    other.follow({**before, "labels": np.array(["a", "b", "c", "d"])})
    other.follow({n: v[1:] if n == "probes" else v for n, v in before.items()})
    assert len(other.frames) == 1


def test_a_film_goes_on_at_a_finer_grid(
    whole: RunResult, recipe: Path, pictures: Path, tmp_path: Path
) -> None:
    begun = [f"initial_weights={whole.weights}", "model.patch_size=[2, 2]", "epochs=1"]
    options = {"data": pictures, "precision": "no", "device": "cpu"}
    train(recipe, out=tmp_path, overrides=[*begun, "full_epochs=0"], **options)
    with np.load(tmp_path / "film.npz") as film, np.load(whole.folder / "film.npz") as before:
        assert film["epoch"].tolist() == [0, 1, 2, 3, 4]
        early, late = before["rollout"].astype(float), film["rollout"].astype(float)
        assert late.shape[2:] == (8, 8)
        for row, column in np.ndindex(8, 8):
            share = early[:, :, row // 2, column // 2] / 4
            np.testing.assert_allclose(late[:4, :, row, column], share, atol=1e-4)
        np.testing.assert_allclose(late[:4].sum((2, 3)), early.sum((2, 3)), atol=1e-2)
        cosines = film["position_similarity"].reshape(5, 8, 8, 8, 8)
        coarse = before["position_similarity"].reshape(4, 4, 4, 4, 4)
        assert np.array_equal(cosines[:4, 5, 2, 7, 0], coarse[:, 2, 1, 3, 0])
        assert film["filters"].shape[2:] == (2, 2, 3)
        corner = before["filters"][2, 1, 2:, :2].astype(float).mean((0, 1))
        np.testing.assert_allclose(film["filters"][2, 1, 1, 0], corner, atol=0.51)


def test_a_timm_model_is_fine_tuned_with_layer_decay(pictures: Path, tmp_path: Path) -> None:
    overrides = [
        "epochs=1",
        "timm={name: test_vit, pretrained: false, image_size: 32}",
        "optimizer={name: adamw, lr: 5.0e-4, layer_decay: 0.75}",
        "film=false",
    ]
    result = train("cifar10_finetune", data=pictures, out=tmp_path, overrides=overrides)
    model = vx.load_model(result.weights)
    assert model.card.grid == (2, 2)
    assert model.labels == CLASSES


def test_folders_that_can_not_take_a_run_are_refused(
    whole: RunResult, recipe: Path, pictures: Path, tmp_path: Path
) -> None:
    with pytest.raises(OutputError, match="already holds a run; resume it"):
        train(recipe, data=pictures, out=whole.folder)
    with pytest.raises(OutputError, match="holds no run to resume"):
        train(recipe, data=tmp_path / "nowhere", out=tmp_path, resume=True)
    overrides = ["seed=1", "optimizer.lr=1"]
    with pytest.raises(RecipeError, match="started with another seed, optimizer; resume it with"):
        train(recipe, data=pictures, out=whole.folder, resume=True, overrides=overrides)
    busy = pytest.raises(OutputError, match="is being trained by another process; wait")
    with FileLock(whole.folder / ".lock"), busy:
        train(recipe, data=pictures, out=whole.folder, resume=True)
    (tmp_path / "file").touch()
    with pytest.raises(OutputError, match="can't be made: Not a directory"):
        train(recipe, data=pictures, out=tmp_path / "file" / "run")


def test_a_look_at_a_run_does_not_keep_it_from_starting(tmp_path: Path) -> None:
    look, folder = FileLock(tmp_path / ".lock"), RunFolder(tmp_path)
    look.acquire()
    begun = threading.Event()

    def claim() -> None:
        begun.set()
        folder._claim()

    with ThreadPoolExecutor() as pool:
        claiming = pool.submit(claim)
        assert begun.wait(5)
        time.sleep(0.1)
        look.release()
        claiming.result(timeout=5)
    assert RunFolder(tmp_path).is_training()


@pytest.mark.slow
def test_a_run_goes_on_with_its_own_data_and_precision(
    recipe: Path, pictures: Path, tmp_path: Path
) -> None:
    stop, out = threading.Event(), tmp_path / "run"
    train(recipe, data=pictures, out=out, precision="no", device="cpu", stop=stop,
          watch=lambda row: stop.set())  # fmt: skip
    facts = json.loads((out / "run.json").read_text())
    assert (facts["epochs"], facts["precision"], facts["data"]) == (1, "no", str(pictures))
    fewer = tmp_path / "fewer"
    for split in ("train", "test"):
        for name in CLASSES[:2]:
            shutil.copytree(pictures / split / name, fewer / split / name)
    kept = (out / "state.pt").read_bytes()
    with pytest.raises(DataError, match="started with 64 pictures of cat, dog, .* the same data"):
        train(recipe, data=fewer, out=out, resume=True, device="cpu")
    with pytest.raises(OptionError, match="with precision no and would go on with precision bf16"):
        train(recipe, out=out, resume=True, device="cpu", precision="bf16")
    assert (out / "state.pt").read_bytes() == kept
    resumed = train(recipe, out=out, resume=True, device="cpu")
    assert resumed.finished
    assert json.loads((out / "run.json").read_text())["precision"] == "no"


@pytest.mark.slow
def test_a_run_of_an_older_recipe_goes_on(recipe: Path, pictures: Path, tmp_path: Path) -> None:
    stop = threading.Event()
    options = {"data": pictures, "out": tmp_path, "precision": "no", "device": "cpu:0"}
    train(recipe, **options, stop=stop, watch=lambda row: stop.set())
    written = yaml.safe_load((tmp_path / "recipe.yaml").read_text())
    del written["half_weights"], written["augment"]["zoom_share"]  # as if they came later
    (tmp_path / "recipe.yaml").write_text(yaml.safe_dump(written))
    assert train(tmp_path / "recipe.yaml", **options, resume=True).finished


def test_settings_that_fail_late_leave_no_folder(
    recipe: Path, pictures: Path, tmp_path: Path
) -> None:
    for change in ("optimizer={name: sgd, momentum: 0}", "optimizer.name=fusedsgd"):
        with pytest.raises(RecipeError, match="can't be made with these settings"):
            train(recipe, data=pictures, out=tmp_path / "run", overrides=[change])
    assert not (tmp_path / "run").exists()


def test_bad_data_is_refused_before_a_folder_is_made(recipe: Path, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="does not exist"):
        train(recipe, data=tmp_path / "none", out=tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_a_missing_teacher_and_a_loss_that_explodes_are_named(
    recipe: Path, pictures: Path, tmp_path: Path
) -> None:
    options = {"data": pictures, "precision": "no", "device": "cpu"}
    teacher = ["distill={teacher: none.safetensors}", "augment={shift: 0}"]
    with pytest.raises(ModelError, match="none.safetensors does not exist"):
        train(recipe, **options, out=tmp_path / "a", overrides=teacher)
    wild = ["optimizer={name: sgd, lr: 1.0e+30, clip: null}", "schedule.warmup_epochs=0"]
    with pytest.raises(RecipeError, match="The loss became nan in epoch 1"):
        train(recipe, **options, out=tmp_path / "b", overrides=wild)
