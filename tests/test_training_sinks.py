"""What TensorBoard and trackio hold of a run, read back by these programs' own readers."""

from __future__ import annotations

import io
import json
import os
import subprocess
import sys
import threading
from pathlib import Path

import numpy as np
import pytest
import yaml
from PIL import Image

from tests.noise import write_noise
from vit_explorer import cli
from vit_explorer.errors import OptionError
from vit_explorer.training import RunResult, train

RECIPE = """
epochs: 3
batch_size: 16
model: {image_size: [16, 16], patch_size: [8, 8], dim: 16, depth: 1, heads: 2}
film: false
"""


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_noise(tmp_path_factory.mktemp("pictures"), ("cat", "dog"))


@pytest.fixture(scope="module")
def recipe(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("recipe") / "small.yaml"
    path.write_text(RECIPE)
    return path


def interrupted(recipe: Path, data: Path, out: Path, sink: str) -> RunResult:
    """A run that was stopped after its second epoch, and resumed."""
    stop = threading.Event()
    train(recipe, data=data, out=out, device="cpu", precision="no", log_to=[sink], stop=stop,
          watch=lambda row: stop.set() if row["epoch"] == 2 else None)  # fmt: skip
    return train(recipe, out=out, resume=True, device="cpu", log_to=[sink])


def test_event_files_hold_the_log(recipe: Path, pictures: Path, tmp_path: Path) -> None:
    reader = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    run = interrupted(recipe, pictures, tmp_path / "run", "tensorboard")
    found = reader.EventAccumulator(
        str(run.folder / "tensorboard"), size_guidance={reader.IMAGES: 0}
    ).Reload()
    rows = json.loads((run.folder / "log.json").read_text())
    for tag, name in (
        ("train/loss", "train_loss"),
        ("test/accuracy", "test_accuracy"),
        ("lr", "lr"),
    ):
        events = found.Scalars(tag)
        assert [event.step for event in events] == [1, 2, 3]
        np.testing.assert_allclose(
            [e.value for e in events], [row[name] for row in rows], rtol=1e-6
        )
    (final,) = found.Scalars("final/nll")
    stated = json.loads((run.folder / "metrics.json").read_text())
    assert (final.step, final.value) == (3, pytest.approx(stated["nll"]))
    (picture,) = found.Images("confusion")
    shown = Image.open(io.BytesIO(picture.encoded_image_string)).convert("RGB")
    with Image.open(run.folder / "confusion.png") as written:
        assert np.array_equal(shown, written.convert("RGB"))
    text = found.Tensors("recipe/text_summary")[0].tensor_proto.string_val[0].decode()
    told = yaml.safe_load(text.removeprefix("```yaml\n").removesuffix("```"))
    assert told == yaml.safe_load((run.folder / "recipe.yaml").read_text())


def test_trackio_holds_the_log(
    recipe: Path, pictures: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """In a process of its own: trackio reads where its database is when it is imported."""
    pytest.importorskip("trackio")
    code = """
import json, sys, tests.test_training_sinks as own
from pathlib import Path
run = own.interrupted(*map(Path, sys.argv[1:4]), "trackio")
from trackio.sqlite_storage import SQLiteStorage
print(json.dumps([SQLiteStorage.get_logs("vit-explorer", "run"), run.rows]))
"""
    places = [str(recipe), str(pictures), str(tmp_path / "run")]
    environment = {**own_environment(), "TRACKIO_DIR": str(tmp_path / "database")}
    done = subprocess.run(
        [sys.executable, "-c", code, *places],
        env=environment, capture_output=True, text=True, check=True,
    )  # fmt: skip
    told, rows = json.loads(done.stdout)
    found = [(one["step"], one["train/loss"]) for one in told if "train/loss" in one]
    assert found == [(row["epoch"], row["train_loss"]) for row in rows] and len(found) == 3
    (final,) = [one for one in told if "final/accuracy" in one]
    assert final["step"] == 3 and {"curves", "confusion"} <= {name for one in told for name in one}
    assert list((tmp_path / "database").glob("vit-explorer*.db"))


def own_environment() -> dict[str, str]:
    return {key: value for key, value in os.environ.items() if not key.startswith("TRACKIO_")}


def test_where_a_run_can_not_be_logged_is_said_before_it_starts(
    recipe: Path, pictures: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    out = tmp_path / "run"
    with pytest.raises(OptionError, match="was 'wandb', expected tensorboard or trackio"):
        train(recipe, data=pictures, out=out, log_to=["wandb"])
    monkeypatch.setitem(sys.modules, "tensorboard", None)
    with pytest.raises(SystemExit):
        cli.main(["train", str(recipe), "--data", str(pictures), "--out", str(out),
                  "--log-to", "tensorboard"])  # fmt: skip
    assert "pip install 'vit-explorer[tensorboard]'" in capsys.readouterr().err
    assert not out.exists()
