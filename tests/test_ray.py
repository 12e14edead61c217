"""A Ray cluster of two workers answers as one process does, also where a worker is lost or the run
is stopped."""

from __future__ import annotations

import copy
import json
import os
import shutil
import signal
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pandas as pd
import psutil
import pyarrow as pa
import pytest
import torch

import vit_explorer as vx
from tests.noise import write_noise
from vit_explorer import cli
from vit_explorer.cluster import engine as engine_module
from vit_explorer.cluster.engine import RayEngine, connected
from vit_explorer.datasets.evaluate import predict
from vit_explorer.datasets.sources import Source, find_pictures
from vit_explorer.datasets.spread_evaluation import Job, State, Worker
from vit_explorer.errors import ModelError, OptionError
from vit_explorer.explaining.spread_folder import Job as BatchJob
from vit_explorer.explaining.spread_folder import Worker as BatchWorker
from vit_explorer.explaining.spread_folder import find_listed
from vit_explorer.models.loading import Replica, fingerprint
from vit_explorer.models.shipped import SHIPPED

ray = pytest.importorskip("ray", reason="the extra `ray` is not installed")
pytestmark = pytest.mark.long

COLUMNS = ["picture", "label", "predicted", "probability", "rank", "correct"]
CLASSES = ("cat", "dog", "frog")
ONE, TWO = (RayEngine(workers=count, device="cpu") for count in (1, 2))


@pytest.fixture(scope="module")
def cluster() -> Iterator[None]:
    """One cluster of two cores for the file, started as the commands start theirs."""
    for attempt in range(3):  # Ray gives its own processes 15 s, which a busy machine may miss
        try:
            with connected(TWO) as found:
                assert found.workers == 2
                assert not found.gpus
                yield
            return
        except OptionError:
            if attempt == 2:
                raise


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_noise(tmp_path_factory.mktemp("data"), CLASSES)


@pytest.fixture(scope="module")
def model() -> vx.LoadedModel:
    return vx.load_model("bundled-cifar10", device="cpu")


def workers() -> list[int]:
    """The processes of this cluster that hold a model."""
    address = ray.get_runtime_context().gcs_address
    found = []
    for process in psutil.process_iter(["cmdline", "ppid"]):
        if "ray::MapWorker" in " ".join(process.info["cmdline"] or ()):
            parent = psutil.Process(process.info["ppid"])
            if any(address in part for part in parent.cmdline()):
                found.append(process.pid)
    return found


def same(found: vx.Evaluation, expected: vx.Evaluation, tmp_path: Path) -> None:
    """That two evaluations write the same Parquet to rounding, each picture once."""
    tables = [
        pd.read_parquet(one.save(tmp_path / name) / "predictions.parquet")
        for name, one in (("found", found), ("expected", expected))
    ]
    for name in ("picture", "label", "predicted", "rank", "correct"):
        assert tables[0][name].tolist() == tables[1][name].tolist(), name
    np.testing.assert_allclose(tables[0]["probability"], tables[1]["probability"], atol=1e-5)
    assert found.nll == pytest.approx(expected.nll, abs=1e-5)
    np.testing.assert_array_equal(found.confusion, expected.confusion)


def test_two_workers_answer_as_one_process_also_when_one_is_killed_and_go_on(
    cluster: None, data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    own, out = tmp_path / "own", tmp_path / "out"
    shutil.copytree(data, own)
    expected = vx.evaluate("bundled-cifar10", own)
    killed: list[int] = []

    def progress(done: int, total: int) -> None:
        assert 0 < done <= total == 48
        if not killed:
            killed.append(workers()[0])
            os.kill(killed[0], signal.SIGKILL)

    found = vx.evaluate(
        "bundled-cifar10", own, batch_size=2, engine=TWO, parts=out / "parts", progress=progress
    )
    assert killed
    same(found, expected, tmp_path)
    written = pd.read_parquet(out / "parts")
    assert sorted(written["picture"]) == sorted(expected.pictures)
    rows = written.set_index("picture").loc[list(expected.pictures)]
    np.testing.assert_allclose(rows["probability"], expected.probability, atol=1e-5)
    assert rows["rank"].tolist() == expected.rank.tolist()
    assert rows["label"].tolist() == [CLASSES[one] for one in expected.labels]

    # What another picture has replaced, and what can't be read any more, is asked again; no other.
    changed, broken, other = written["picture"][:3]
    shutil.copy(own / other, own / changed)
    (own / broken).write_bytes(b"no picture")
    (out / "parts" / "part-999999.parquet").write_bytes(b"somebody's")
    with pytest.raises(SystemExit, match="2"):
        cli.main([
            "evaluate", "--model", "bundled-cifar10", "--data", str(own), "--engine", "ray",
            "--workers", "1", "--device", "cpu", "--resume", "--out", str(out),
        ])  # fmt: skip
    said = capsys.readouterr()
    assert f"{broken}: " in said.err and "left out: 1 that can't be read" in said.err
    assert "of 47 pictures" in said.out and len(said.out.splitlines()) == 5
    (out / "parts" / "part-999999.parquet").unlink()
    rows = pd.read_parquet(out / "parts")
    for name in ("picture", "probability", "modified"):
        assert rows[name][:46].tolist() == written[name][2:].tolist()
    assert sorted(rows["picture"][46:]) == sorted((changed, broken))
    (own / broken).unlink()
    again = vx.evaluate("bundled-cifar10", own)
    table = pd.read_parquet(out / "predictions.parquet")
    assert table["picture"].tolist() == list(again.pictures)
    np.testing.assert_allclose(table["probability"], again.probability, atol=1e-5)
    assert json.loads((out / "evaluation.json").read_text())["unreadable"].keys() == {broken}


def expected_names(data: Path) -> list[str]:
    return [path.relative_to(data).as_posix() for path in (data / "test").rglob("*.png")]


def test_a_folder_is_explained_as_by_one_process_and_goes_on_after_a_stop(
    cluster: None, model: vx.LoadedModel, data: Path, tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    folder, out = tmp_path / "album", tmp_path / "out"
    shutil.copytree(data / "test", folder)
    (folder / "broken.png").write_bytes(b"no picture")
    outcomes = vx.explain_folder(model, folder, out, ("rollout",), batch_size=4, engine=ONE)
    first = next(outcomes)
    outcomes.close()
    written = pd.read_parquet(out / "parts")
    assert first.picture in set(written["picture"]) and 4 <= len(written) < 49
    assert json.loads((out / "summary.json").read_text())["pictures"]
    with pytest.raises(SystemExit, match="2"):
        cli.main([
            "batch", str(folder), "--model", "bundled-cifar10", "--method", "rollout", "--engine",
            "ray", "--workers", "1", "--device", "cpu", "--resume", "--out", str(out),
        ])  # fmt: skip
    said = capsys.readouterr()
    assert said.out == f"48 of 49 pictures explained, written to {out}/ (summary.csv)\n"
    assert said.err.startswith("vit-explorer: broken.png: ") and said.err.count("\n") == 1
    rows = pd.read_parquet(out / "parts").set_index("picture")
    plain = list(vx.explain_folder(model, folder, tmp_path / "plain", ("rollout",)))
    assert sorted(rows.index) == sorted(one.picture for one in plain)
    summary = json.loads((out / "summary.json").read_text())["pictures"]
    for one, told in zip(plain, summary, strict=True):
        row = rows.loc[one.picture]
        assert told["picture"] == one.picture and told["error"] == one.error == row["error"]
        if one.error:
            continue
        assert (row["predicted"], row["index"], told["index"]) == (one.label, one.index, one.index)
        assert row["probability"] == pytest.approx(one.probability, abs=1e-5)
        with np.load(tmp_path / "plain" / one.folder / "heatmaps.npz") as maps:
            own = row["map.rollout"].astype(np.float32) * row["scale.rollout"]
            shape = int(row["map_rows"]), int(row["map_columns"])
            np.testing.assert_allclose(
                own.reshape(shape), maps["rollout"], atol=1e-3 * row["scale.rollout"]
            )


def test_a_worker_s_maps_and_what_they_are_worth(
    model: vx.LoadedModel, data: Path, tmp_path: Path
) -> None:
    """What a worker does, without a cluster, of pictures that a table lists."""
    names = expected_names(data)[:1]
    listed = pd.DataFrame({"file_name": [*names, "gone.png"], "label": ["cat", None]})
    listed.to_parquet(data / "list.parquet")
    found = find_listed(data / "list.parquet", tmp_path)
    (data / "list.parquet").unlink()
    assert list(found.pictures) == [*names, "gone.png"] and found.labels == {names[0]: "cat"}
    methods = ("grad_cam", "saliency")
    job = BatchJob(
        model=Replica.of(model), methods=methods, names=methods, target="dog", options={},
        opening={}, batch_size=None, protocols=("pixels",),
    )  # fmt: skip
    files = [os.fsencode(file) for file in found.pictures.values()]
    table = pa.table({"place": [1, 0], "file": pa.array(files, pa.binary())})
    rows = BatchWorker(job, "cpu")(table).to_pylist()
    assert [row["place"] for row in rows] == [1, 0]
    assert rows[1]["error"] and rows[1]["map.grad_cam"] is None
    for row, name in zip(rows, names, strict=False):
        expected = vx.explain(model, data / name, methods, "dog")
        trust = vx.faithfulness(model, data / name, expected.heatmaps, target="dog")
        assert (row["target"], row["index"]) == ("dog", expected.predictions[0].index)
        for method in methods:
            values = expected.heatmaps[method].values
            assert row[f"scale.{method}"] == pytest.approx(np.abs(values).max(), rel=1e-4)
            own = np.array(row[f"map.{method}"], np.float32) * row[f"scale.{method}"]
            np.testing.assert_allclose(own, values.ravel(), atol=2e-3 * row[f"scale.{method}"])
            assert row[f"percentile.pixels.{method}"] == pytest.approx(trust.percentile(method))
            assert row[f"gain.pixels.{method}"] == pytest.approx(
                trust.scores[method].gain, abs=1e-4
            )


def test_a_table_in_parquet_says_labels_too(data: Path) -> None:
    names = expected_names(data)
    table = pd.DataFrame({"picture": names, "label": [name.split("/")[1] for name in names]})
    table["split"] = "test"
    table.to_parquet(data / "own.parquet")
    source = find_pictures(data / "own.parquet", "test")
    (data / "own.parquet").unlink()
    assert sorted(map(source.name_of, range(len(source)))) == sorted(names)
    assert [source.classes[one] for one in source.labels] == [
        source.name_of(place).split("/")[1] for place in range(len(source))
    ]


def test_pixels_of_arrays_are_answered_as_pictures_are(model: vx.LoadedModel) -> None:
    """What a worker does, without a cluster: of CIFAR-10's own files there are no pictures."""
    draw = np.random.default_rng(0)
    pixels = draw.integers(0, 256, (6, 32, 32, 3), dtype=np.uint8)
    source = Source("noise", pixels, (0, 0, 1, 1, 2, 2), CLASSES)
    state = State(source)
    worker = Worker(Job(Replica.of(model), CLASSES, "no", state.shape), "cpu")
    answered = worker(state.table(np.array([4, 1])))
    expected = predict(model, source)[[4, 1]]
    logits = np.array(answered["logits"].to_pylist())
    np.testing.assert_allclose(logits, expected.numpy(), atol=1e-5)
    rows = state.rows(answered)
    assert rows.column_names[:6] == COLUMNS
    best = expected.argmax(dim=1).tolist()
    assert rows["predicted"].to_pylist() == [CLASSES[one] for one in best]
    assert rows["correct"].to_pylist() == [best[0] == 2, best[1] == 0]


def test_a_worker_that_has_another_model_says_so(model: vx.LoadedModel) -> None:
    with pytest.raises(ModelError, match="another model here"):
        Replica(model.loading, model.labels, Replica.of(model).print * 1.01).load("cpu")
    with pytest.raises(ModelError, match="another model here"):
        Replica(model.loading, model.labels[::-1], Replica.of(model).print).load("cpu")
    turned = copy.deepcopy(model.module)
    head = next(one for one in turned.modules() if isinstance(one, torch.nn.Linear))
    with torch.no_grad():
        head.weight.copy_(head.weight.flip(0))
    assert not np.allclose(fingerprint(turned), fingerprint(model.module), rtol=1e-4)


def test_how_a_model_was_loaded_is_known_from_any_folder(
    model: vx.LoadedModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, small: vx.LoadedModel
) -> None:
    shutil.copy(SHIPPED["bundled-cifar10"].weights, tmp_path / "own.safetensors")
    (tmp_path / "names.txt").write_text("".join(f"class {n}\n" for n in range(10)))
    monkeypatch.chdir(tmp_path)
    loaded = vx.load_model("own.safetensors", labels="names.txt", preprocess={"mean": (0.4,) * 3})
    replica = Replica.of(loaded)
    monkeypatch.chdir("/")
    again = replica.load("cpu")
    assert again.labels == loaded.labels
    assert again.card == loaded.card
    with pytest.raises(OptionError, match="handed in as a module"):
        Replica.of(small)


def test_what_can_t_be_done_is_one_sentence(
    model: vx.LoadedModel, small: vx.LoadedModel, data: Path, tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    for wrong, why in (
        ({"engine": "spark"}, "engine was 'spark', expected local or ray"),
        ({"resume": True, "engine": "ray"}, "give both"),
        ({"parts": tmp_path}, "give both"),
    ):
        with pytest.raises(OptionError, match=why):
            vx.evaluate(model, data, **wrong)
    with pytest.raises(OptionError, match="engine='ray' alone"):
        vx.explain_folder(model, data, tmp_path, trust=True)
    with pytest.raises(OptionError, match="handed in as a module"):
        vx.explain_folder(small, data, tmp_path, engine="ray")
    with pytest.raises(OptionError, match="number of workers was 0"):
        RayEngine(workers=0)
    asked = ["evaluate", "--model", "bundled-cifar10", "--data", str(data)]
    for more, why in (
        (["--workers", "2"], "--workers is for --engine ray"),
        (["--resume"], "give both"),
    ):
        with pytest.raises(SystemExit, match="2"):
            cli.main([*asked, *more])
        assert why in capsys.readouterr().err
    monkeypatch.setattr(engine_module, "find_spec", lambda name: None)
    with pytest.raises(SystemExit, match="2"):
        cli.main([*asked, "--engine", "ray"])
    assert capsys.readouterr().err == (
        "vit-explorer: The engine 'ray' needs packages that are not installed; install them with "
        "pip install 'vit-explorer[ray]'.\n"
    )
