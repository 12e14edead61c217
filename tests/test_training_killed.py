"""A training that ends otherwise than it should: killed, without a number, on a full disk."""

from __future__ import annotations

import json
import os
import random
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from filelock import FileLock
from safetensors.torch import load_file

import vit_explorer as vx
from tests.killed import forked
from tests.noise import write_noise
from vit_explorer import cli
from vit_explorer.errors import ModelError, OutputError
from vit_explorer.training import RunResult, train
from vit_explorer.training.loop import Trainer

CLASSES = ("cat", "dog")
# Random numbers and carried state in every part, so that going on has to be right.
RECIPE = """
epochs: 2
batch_size: 16
model: {image_size: [16, 16], patch_size: [8, 8], dim: 16, depth: 1, heads: 2, dropout: 0.1}
augment: {shift: 2, erase: 0.2, mixup: 0.2}
optimizer: {name: adamw, lr: 2.0e-3}
ema: 0.9
schedule: {warmup_epochs: 0}
film: false
"""
MOMENTS = 5
OPTIONS: dict[str, Any] = {"device": "cpu"}


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_noise(tmp_path_factory.mktemp("pictures"), CLASSES)


@pytest.fixture(scope="module")
def recipe(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("recipe") / "tiny.yaml"
    path.write_text(RECIPE)
    return path


def assert_same(run: RunResult, whole: RunResult) -> None:
    assert run.finished and len(run.rows) == len(whole.rows)
    for one, other in zip(run.rows, whole.rows, strict=True):
        for name in ("train_loss", "train_accuracy", "test_loss", "lr", "images"):
            assert one[name] == pytest.approx(other[name], abs=1e-6), name
    weights, others = load_file(run.weights), load_file(whole.weights)
    assert all(torch.allclose(weights[key], others[key], atol=1e-6) for key in others)
    names = [sorted(path.name for path in one.folder.iterdir()) for one in (run, whole)]
    assert names[0] == names[1]


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_killed_at_any_moment_it_goes_on_to_the_uninterrupted_run(
    recipe: Path, data: Path, tmp_path: Path
) -> None:
    def run(out: Path) -> Callable[[], RunResult]:
        # The state after each step, so that some moments lie within an epoch.
        return lambda: train(recipe, data=data, out=out, precision="no", save_seconds=0, **OPTIONS)

    whole = run(tmp_path / "whole")()
    changes = forked(run(tmp_path / "counted"), tmp_path / "counted", None)
    draw = random.Random(5)
    # The first are before there is a state, and before there is a recipe.
    moments = [*draw.sample(range(2, 10), 2), *draw.sample(range(10, changes + 1), MOMENTS - 2)]
    begun = []
    for moment in moments:
        out = tmp_path / str(moment)
        assert forked(run(out), out, moment) == -1
        begun.append((out / "recipe.yaml").exists())
        if begun[-1]:  # its data and precision are its own, also before the first step
            again = train(out / "recipe.yaml", out=out, resume=True, **OPTIONS)
            assert json.loads((out / "run.json").read_text())["precision"] == "no"
        else:
            again = run(out)()
        assert_same(again, whole)
    assert any(begun)


def test_a_run_that_was_killed_first_of_all_knows_its_data(
    recipe: Path, data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Killed(BaseException):
        pass

    def killed(*_: Any) -> None:
        raise Killed

    with monkeypatch.context() as patch:
        patch.setattr(Trainer, "run_epoch", killed)  # before the first step
        with pytest.raises(Killed):
            train(recipe, data=data, out=tmp_path, precision="no", **OPTIONS)
    (tmp_path / ".teacher_tokens.npy.x.partial").write_bytes(b"half")
    again = train(recipe, out=tmp_path, resume=True, **OPTIONS)
    assert again.finished and not list(tmp_path.glob(".*.partial"))
    facts = json.loads((tmp_path / "run.json").read_text())
    assert (facts["data"], facts["precision"]) == (str(data), "no")


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_a_run_that_another_process_began_meanwhile_is_not_written_over(
    recipe: Path, data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Decoding takes a while, in which another may have made the whole run."""
    out, prepare = tmp_path / "run", Trainer.__init__

    def late(self: Trainer, *given: Any) -> None:
        prepare(self, *given)
        monkeypatch.undo()
        forked(one, out, None)

    def one() -> None:
        train(recipe, data=data, out=out, overrides=["epochs=1"], precision="no", **OPTIONS)

    monkeypatch.setattr(Trainer, "__init__", late)
    with pytest.raises(OutputError, match="already holds a run; resume it"):
        train(recipe, data=data, out=out, precision="no", **OPTIONS)
    assert len(json.loads((out / "log.json").read_text())) == 1
    with (
        FileLock(out / ".lock"),
        pytest.raises(OutputError, match="is being trained by another process"),
    ):
        train(out / "recipe.yaml", out=out, resume=True, **OPTIONS)


def test_a_run_whose_last_answers_are_no_numbers_fails(
    recipe: Path, data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    step, out = Trainer._step, tmp_path / "run"

    def breaking(self: Trainer, part: torch.Tensor, whole: int) -> None:
        step(self, part, whole)
        if (self.position.epoch, self.position.step) == (1, self.steps - 1):
            for model in (self.model, self.best_model):
                next(model.parameters()).data.fill_(torch.nan)

    with monkeypatch.context() as patch:
        patch.setattr(Trainer, "_step", breaking)
        with pytest.raises(SystemExit) as stopped:
            cli.main(
                ["train", str(recipe), "--data", str(data), "--out", str(out), "--device", "cpu",
                 "--precision", "no"]
            )  # fmt: skip
    assert stopped.value.code == 2
    assert "What the model answers after epoch 2 is no number; start" in capsys.readouterr().err
    assert not (out / "metrics.json").exists()
    assert len(json.loads((out / "log.json").read_text())) == 1
    vx.load_model(out / "last.safetensors")  # the epoch before is whole
    # Nothing of it was kept, so the run may go on from its last state.
    assert train(out / "recipe.yaml", out=out, resume=True, **OPTIONS).finished


def test_a_model_that_answers_no_numbers_is_not_measured(
    recipe: Path, data: Path, tmp_path: Path
) -> None:
    run = train(recipe, data=data, out=tmp_path / "run", overrides=["epochs=1"], **OPTIONS)
    model = vx.load_model(run.weights)
    next(model.module.parameters()).data[..., :3] = torch.nan
    with pytest.raises(ModelError, match="answers 32 of 32 pictures with what is no number"):
        vx.evaluate(model, data)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_a_disk_that_fills_keeps_what_was_written(recipe: Path, data: Path, tmp_path: Path) -> None:
    import resource

    out = tmp_path / "run"

    def limit(row: dict[str, float]) -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (3000, 3000))  # no file may grow beyond

    def run() -> None:
        with pytest.raises(OutputError, match=r"can't be written: File too large; .* and resume"):
            train(recipe, data=data, out=out, precision="no", watch=limit, **OPTIONS)

    assert forked(run, out, None) > 0
    assert not list(out.glob(".*.partial")) and len(json.loads((out / "log.json").read_text())) == 1
    assert train(recipe, data=data, out=out, resume=True, precision="no", **OPTIONS).finished


def test_a_clock_that_jumps_changes_nothing(
    recipe: Path, data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    times = iter([2e9, 0.0, 5e8] * 10_000)
    monkeypatch.setattr("time.time", lambda: next(times))
    stop = threading.Event()
    options = {"data": data, "precision": "no", **OPTIONS}
    train(recipe, out=tmp_path, stop=stop, watch=lambda _: stop.set(), **options)
    run = train(recipe, out=tmp_path, resume=True, **options)
    assert run.finished and all(0 < row["seconds"] < 60 for row in run.rows)
