"""Many pictures in one pass are what each is alone, and a folder of them is worked through."""

from __future__ import annotations

import csv
import itertools
import json
import shutil
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import timm
import torch
from scipy.stats import spearmanr

import vit_explorer as vx
from vit_explorer import cli
from vit_explorer.errors import OptionError, OutputError, PictureError, TargetError
from vit_explorer.explaining import folders
from vit_explorer.explaining.folders import distinct, find_pictures
from vit_explorer.explaining.pipeline import WAITING_BYTES, Room
from vit_explorer.explaining.plan import Request
from vit_explorer.pictures.decode import open_picture
from vit_explorer.tracing.trace import trace, trace_batch

FAST = [name for name, method in vx.METHODS.items() if not method.runs_model]
NAMES = ("cat.png", "coffee.png", "rocket.jpg")
MODELS = {
    "class token": ("vit_tiny_patch16_224", {}),
    "mean of patches": ("vit_tiny_patch16_224", {"class_token": False, "global_pool": "avg"}),
    "relative bias": ("beit_base_patch16_224", {"embed_dim": 64, "num_heads": 2}),
    "registers, rotary": ("vit_base_patch16_dinov3", {"embed_dim": 64, "num_heads": 2}),
    "added bias, no class": ("vit_relpos_small_patch16_224", {"embed_dim": 64, "num_heads": 2}),
}


def make(kind: str) -> vx.LoadedModel:
    name, options = MODELS[kind]
    torch.manual_seed(0)
    module = timm.create_model(name, img_size=48, depth=3, num_classes=7, **options)
    for parameter in module.parameters():
        torch.nn.init.normal_(parameter, std=0.15)
    return vx.load_model(module, image_size=48)


@pytest.mark.parametrize("kind", MODELS)
def test_a_batch_equals_single_passes(kind: str, assets: Path) -> None:
    model = make(kind)
    pictures = [assets / name for name in NAMES]
    targets = [2, None, "class 5"]
    together = vx.explain(model, pictures, FAST, targets)
    for picture, target, result in zip(pictures, targets, together, strict=True):
        alone = vx.explain(model, picture, FAST, target)
        assert result.picture.name == picture.name
        assert result.target is not None and alone.target is not None
        assert result.target.index == alone.target.index
        torch.testing.assert_close(result.trace.logits, alone.trace.logits, atol=1e-5, rtol=1e-5)
        for layer in range(3):
            for part in ("query", "key", "value", "output", "output_gradient"):
                torch.testing.assert_close(
                    getattr(result.trace.layers[layer], part),
                    getattr(alone.trace.layers[layer], part),
                    atol=1e-5, rtol=1e-5,
                )  # fmt: skip
            torch.testing.assert_close(
                result.trace.attention(layer), alone.trace.attention(layer), atol=1e-5, rtol=0
            )
            torch.testing.assert_close(
                result.trace.blocks[layer], alone.trace.blocks[layer], atol=1e-5, rtol=1e-5
            )
        for name in FAST:
            values, expected = result.heatmaps[name].values, alone.heatmaps[name].values
            scale = max(1.0, float(np.abs(expected).max()))
            # XGrad-CAM divides by feature sums near zero, Grad-CAM++ by cubes that cancel.
            loose = 100 if name in ("xgrad_cam", "grad_cam_plus_plus") else 1
            assert float(np.abs(values - expected).max()) <= 1e-5 * scale * loose, name
    assert len({result.trace.logits.numpy().tobytes() for result in together}) == 3


def test_real_weights_in_a_batch(deit_tiny: vx.LoadedModel, assets: Path) -> None:
    pictures = [assets / name for name in NAMES]
    together = vx.explain(deit_tiny, pictures, ("rollout", "grad_cam", "generic_attention"))
    for picture, result in zip(pictures, together, strict=True):
        alone = vx.explain(deit_tiny, picture, ("rollout", "grad_cam", "generic_attention"))
        assert result.predictions[0].index == alone.predictions[0].index
        for name, heatmap in alone.heatmaps.items():
            np.testing.assert_allclose(result.heatmaps[name].values, heatmap.values, atol=1e-5)


def test_targets_of_a_batch(small: vx.LoadedModel, assets: Path) -> None:
    pictures = [assets / name for name in NAMES]
    for target in (3, "class 3"):
        results = vx.explain(small, pictures, (), target)
        assert [result.target.index for result in results if result.target] == [3, 3, 3]
    with pytest.raises(TargetError, match="2 targets were given for 3 pictures"):
        vx.explain(small, pictures, (), [1, 2])
    with pytest.raises(TargetError, match="no class 9"):
        vx.explain(small, pictures, (), [1, 2, 9])
    found = vx.relevance_maps(small, iter(pictures), [1, 2, 3], method="grad_cam").values
    for target, picture, values in zip((1, 2, 3), pictures, found, strict=True):
        alone = vx.explain(small, picture, ("grad_cam",), target).heatmaps["grad_cam"].values
        np.testing.assert_allclose(values, alone, atol=1e-5)
    for targets, told in (([1, 2], "for more than 2 pictures"), ([1] * 4, "for 3 pictures")):
        with pytest.raises(TargetError, match=f"{len(targets)} targets were given {told}"):
            vx.relevance_maps(small, iter(pictures), targets, method="grad_cam")
    assert vx.explain(small, []) == []


def test_pictures_are_opened_as_they_are_needed(small: vx.LoadedModel, cat: Path) -> None:
    opened: list[int] = []

    def endless() -> Iterator[Path]:
        for number in itertools.count():
            opened.append(number)
            yield cat

    results = vx.explain_many(small, endless(), ("rollout",), batch_size=3)
    assert not opened
    next(results)
    assert len(opened) == 3
    for _ in range(3):
        next(results)
    assert len(opened) == 6


def test_a_pass_serves_a_whole_batch(small: vx.LoadedModel, cat: Path) -> None:
    sizes: list[int] = []
    hook = small.module.register_forward_hook(lambda _, args, __: sizes.append(len(args[0])))
    try:
        assert len(list(vx.explain_many(small, [cat] * 5, batch_size=2))) == 5
    finally:
        hook.remove()
    assert sizes == [2, 2, 1]
    for wrong in (0, True, 2.5):
        with pytest.raises(OptionError, match="batch size was"):
            vx.explain_many(small, [cat], batch_size=wrong)  # type: ignore[arg-type]


def test_large_pictures_share_smaller_passes(small: vx.LoadedModel) -> None:
    def size(side: int, methods: str) -> int:
        card = replace(small.card, grid=(side, side), depth=12, dim=192)
        return Request.check(small, methods, None).batch_size(replace(small, card=card))

    assert size(14, "rollout") == 16
    assert 1 < size(14, "generic_attention") < 16
    assert size(64, "rollout") == 1


def test_a_model_that_takes_a_batch_apart_is_refused(cat: Path) -> None:
    model = make("class token")
    attention = model.blocks[1].attn
    each = attention.forward
    attention.forward = lambda x, **_: torch.cat([each(one[None]) for one in x])
    assert len(trace_batch(model, [cat], targets=[None])) == 1
    with pytest.raises(vx.ExplorerError, match="block 2 attended with 6 heads"):
        trace_batch(model, [cat, cat], targets=[None, None])


@pytest.mark.parametrize(
    ("precision", "probability", "ranks"),
    [
        ("bfloat16", 0.02, {"rollout": 0.99, "generic_attention": 0.98, "grad_cam": 0.98}),
        pytest.param(
            "float16",
            0.005,
            {"rollout": 0.999, "generic_attention": 0.999, "grad_cam": 0.99},
            marks=pytest.mark.skipif(
                not torch.cuda.is_available(), reason="float16 is slow without a CUDA device"
            ),
        ),
    ],
)
def test_half_precision_agrees(
    deit_tiny: vx.LoadedModel,
    shared: Path,
    assets: Path,
    precision: str,
    probability: float,
    ranks: dict[str, float],
) -> None:
    half = vx.load_model(
        "deit_tiny_patch16_224",
        weights=shared / "weights/deit_tiny_patch16_224.safetensors",
        precision=precision,
    )
    assert half.card.precision == precision
    assert half.sha256 == deit_tiny.sha256
    pictures = [assets / name for name in NAMES[:2]]
    full = vx.explain(deit_tiny, pictures, tuple(ranks))
    targets = [result.target.index for result in full if result.target]
    for exact, result in zip(full, vx.explain(half, pictures, tuple(ranks), targets), strict=True):
        difference = exact.trace.probabilities - result.trace.probabilities
        assert 0 < float(difference.abs().max()) <= probability
        for name, least in ranks.items():
            maps = exact.heatmaps[name].values, result.heatmaps[name].values
            assert spearmanr(maps[0].ravel(), maps[1].ravel()).statistic >= least, name


def test_an_unknown_precision_is_named() -> None:
    with pytest.raises(OptionError, match="precision was 'int8', expected float32, bfloat16"):
        vx.load_model("bundled", precision="int8")


@pytest.fixture
def album(tmp_path: Path, assets: Path) -> Path:
    """Pictures in subfolders, two of one name, one that is none, and things to pass over."""
    root = tmp_path / "album"
    for name in ("cat.png", "holiday/cat.png", "holiday/coffee.png", "holiday/deep/rocket.jpg"):
        place = root / name
        place.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(assets / place.name, place)
    shutil.copy(assets / "coffee.png", root / "Cat.PNG")
    (root / "holiday" / "broken.jpg").write_bytes(b"no picture")
    (root / "notes.txt").write_text("notes")
    (root / ".hidden.png").write_bytes(b"")
    (root / ".cache").mkdir()
    shutil.copy(assets / "cat.png", root / ".cache" / "cat.png")
    return root


FOLDERS = ["Cat", "cat-2", "holiday/cat", "holiday/coffee", "holiday/deep/rocket"]


def test_a_folder_is_explained(small: vx.LoadedModel, album: Path, tmp_path: Path) -> None:
    out = album / "results"  # inside, and not searched on the second run
    for _ in range(2):
        outcomes = list(vx.explain_folder(small, album, out, batch_size=2))
    assert sorted(outcome.folder for outcome in outcomes if not outcome.error) == FOLDERS
    (failed,) = [outcome for outcome in outcomes if outcome.error]
    assert failed.picture == "holiday/broken.jpg"
    assert "not a picture" in failed.error
    found = {path.parent.relative_to(out).as_posix() for path in out.rglob("explanation.json")}
    assert found == set(FOLDERS)
    expected = vx.explain(small, album / "holiday" / "coffee.png")
    with np.load(out / "holiday" / "coffee" / "heatmaps.npz") as maps:
        for name, heatmap in expected.heatmaps.items():
            np.testing.assert_allclose(maps[name], heatmap.values, atol=1e-5)
    with (out / "summary.csv").open(newline="") as file:
        rows = {row["picture"]: row for row in csv.DictReader(file)}
    assert len(rows) == 6
    row = rows["holiday/coffee.png"]
    best = expected.predictions[0]
    assert (row["label"], row["index"], row["folder"]) == (best.label, str(best.index),
                                                           "holiday/coffee")  # fmt: skip
    assert float(row["probability"]) == pytest.approx(best.probability, abs=1e-5)
    summary = json.loads((out / "summary.json").read_text())
    assert [entry["picture"] for entry in summary["pictures"]] == [o.picture for o in outcomes]
    assert summary["model"]["weights_sha256"] == small.sha256


def test_resume_keeps_what_is_the_same(small: vx.LoadedModel, album: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"

    def run(methods: str = "rollout", **more: Any) -> set[str]:
        """Folders that were written again."""
        stamps = {path: path.stat().st_mtime_ns for path in out.rglob("explanation.json")}
        outcomes = list(vx.explain_folder(small, album, out, methods, resume=True, **more))
        assert sorted(outcome.folder for outcome in outcomes if not outcome.error) == FOLDERS
        assert all(outcome.label for outcome in outcomes if not outcome.error)
        now = {path: path.stat().st_mtime_ns for path in out.rglob("explanation.json")}
        return {p.parent.relative_to(out).as_posix() for p in now if stamps.get(p) != now[p]}

    assert run() == set(FOLDERS)
    assert run() == set()
    shutil.copy(album / "holiday/cat.png", album / "holiday/coffee.png")
    assert run() == {"holiday/coffee"}
    (out / "Cat" / "rollout.png").unlink()
    (out / "cat-2" / "explanation.json").write_text("{")
    assert run() == {"Cat", "cat-2"}
    assert run(options={"rollout": {"fusion": "max"}}) == set(FOLDERS)
    assert run("grad_cam") == set(FOLDERS)
    chosen = json.loads((out / "Cat" / "explanation.json").read_text())["target"]["index"]
    assert "Cat" in run("grad_cam", target=(chosen + 1) % 5)
    assert run("grad_cam", target=(chosen + 1) % 5) == set()


def test_what_is_done_when_stopped_is_summed_up(
    small: vx.LoadedModel, album: Path, tmp_path: Path
) -> None:
    outcomes = vx.explain_folder(small, album, tmp_path / "out", (), batch_size=1)
    first = next(outcomes)
    outcomes.close()
    out = tmp_path / "out"
    summary = json.loads((out / "summary.json").read_text())["pictures"]
    assert summary[0]["picture"] == first.picture
    found = {path.parent.relative_to(out).as_posix() for path in out.rglob("explanation.json")}
    assert {entry["folder"] for entry in summary if not entry["error"]} == found
    assert len(summary) < 5  # one done, and few written ahead of it
    assert not [thread for thread in threading.enumerate() if "reading" in thread.name]


def test_reading_and_writing_go_on_beside_a_pass(
    small: vx.LoadedModel, cat: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of twelve pictures in passes of two: each pass waits for what only other threads can do."""
    for number in range(12):
        shutil.copy(cat, tmp_path / f"{number:02}.png")
    out, opened, waits = tmp_path / "out", [], []
    monkeypatch.setattr(
        folders, "open_picture", lambda path, **how: opened.append(path) or open_picture(path)
    )

    def met(condition: Callable[[], bool]) -> bool:
        end = time.monotonic() + 30
        while not condition() and time.monotonic() < end:
            time.sleep(0.002)
        return condition()

    def beside(_: torch.nn.Module, __: Any, answer: torch.Tensor) -> None:
        done = 2 * len(waits)
        ahead = met(lambda: len(opened) >= min(done + 4, 12))
        written = met(lambda: len(list(out.glob("*/explanation.json"))) >= done)
        waits.append((ahead, written, len(opened) - done))

    hook = small.module.register_forward_hook(beside)
    try:
        outcomes = list(vx.explain_folder(small, tmp_path, out, ("rollout",), batch_size=2))
    finally:
        hook.remove()
    assert [outcome.picture for outcome in outcomes] == [f"{n:02}.png" for n in range(12)]
    assert [wait[:2] for wait in waits] == [(True, True)] * 6
    assert max(wait[2] for wait in waits) <= 5  # the pass's two, two that wait, one asked for


def test_large_pictures_wait_in_smaller_numbers() -> None:
    room = Room(16)
    room.saw(WAITING_BYTES // 10)
    room.saw(1000)
    assert room.pictures == 10
    room.saw(3 * WAITING_BYTES)
    assert room.pictures == 1


def test_folders_that_hold_nothing(small: vx.LoadedModel, album: Path, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(PictureError, match="holds no pictures"):
        find_pictures(tmp_path / "empty")
    with pytest.raises(PictureError, match="does not exist"):
        find_pictures(tmp_path / "missing")
    with pytest.raises(PictureError, match="is a file"):
        find_pictures(album / "cat.png")
    with pytest.raises(OutputError, match="name another folder"):
        vx.explain_folder(small, album, album)


def test_arrays_are_pictures_too(small: vx.LoadedModel, tmp_path: Path) -> None:
    values = np.random.default_rng(0).integers(0, 255, (24, 32, 3)).astype(np.uint8)
    np.save(tmp_path / "field.NPY.npy", values)
    (tmp_path / "notes.txt").write_text("none")
    assert [path.name for path in find_pictures(tmp_path).files] == ["field.NPY.npy"]
    (outcome,) = vx.explain_folder(small, tmp_path, tmp_path / "out", ())
    expected = vx.explain(small, values, ()).predictions[0]
    assert (outcome.label, outcome.probability) == (expected.label, expected.probability)


def test_names_are_made_distinct() -> None:
    assert distinct(["a", "A", "b", "a", "a-2"]) == ["a", "A-2", "b", "a-3", "a-2-2"]


def test_the_command(album: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    def run(*arguments: object) -> int:
        with pytest.raises(SystemExit) as stopped:
            cli.main(["batch", *map(str, arguments)])
        return int(stopped.value.code or 0)

    out = tmp_path / "out"
    assert run(album, "--out", out, "--method", "rollout", "--batch-size", 4) == 2
    printed = capsys.readouterr()
    assert "5 of 6 pictures explained" in printed.out
    (line,) = printed.err.splitlines()
    assert line.startswith("vit-explorer: holiday/broken.jpg: ")
    assert (out / "holiday" / "deep" / "rocket" / "rollout.png").is_file()
    (album / "holiday" / "broken.jpg").unlink()
    assert run(album, "--out", out, "--method", "rollout", "--resume") == 0
    assert capsys.readouterr().err == ""
    assert run(tmp_path / "missing") == 2
    assert capsys.readouterr().err.count("\n") == 1


def test_a_trace_of_one_is_a_batch_of_one(small: vx.LoadedModel, cat: Path) -> None:
    (batched,) = trace_batch(small, [cat], targets=[1], gradients="all")
    alone = trace(small, cat, target=1, gradients="all")
    assert torch.equal(batched.logits, alone.logits)
    assert torch.equal(batched.attention_gradient(0), alone.attention_gradient(0))
