"""The benchmarks: peers that give the same maps, and the command that prints the ratios."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

import vit_explorer as vx
from vit_explorer.benchmarks import memory, peers, speed, startup, ways
from vit_explorer.cli import main


@pytest.fixture(scope="module")
def model() -> vx.LoadedModel:
    torch.manual_seed(0)
    return vx.load_model("test_vit", pretrained=False, device="cpu")


def test_the_peers_give_our_maps(model: vx.LoadedModel, cat: Path) -> None:
    result = vx.explain(model, cat)
    pixels = result.prepared.pixels
    rollout, grad_cam = (result.heatmaps[n].values.ravel() for n in ("rollout", "grad_cam"))
    assert np.allclose(peers.ExplicitRollout(model)(pixels), rollout, atol=1e-6)
    assert np.allclose(peers.ExtractedRollout(model)(pixels), rollout, atol=1e-6)
    captum = peers.captum_grad_cam(model)(pixels).numpy().ravel()
    assert np.allclose(captum, grad_cam, atol=1e-5 * grad_cam.max())
    package = peers.grad_cam_package(model)(pixels)
    assert package.max() > 0
    assert not any(parameter.requires_grad for parameter in model.module.parameters())
    assert all(block.attn.fused_attn for block in model.blocks)  # type: ignore[union-attr]


def test_the_command_prints_every_ratio_and_writes_json(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "speed.json"
    command = ["benchmarks", "--model", "test_vit", "--rounds", "1", "--no-memory"]
    command += ["--no-startup"]
    with pytest.raises(SystemExit) as ended:
        main([*command, "--json", str(file)])
    assert ended.value.code == 0
    assert "trace + rollout / forward" in capsys.readouterr().out
    found = json.loads(file.read_text())
    assert set(found["speed"][0]["ratios"]) == {row.what for row in speed.ROWS}
    assert all(ratio > 0 for ratio in found["speed"][0]["ratios"].values())
    assert set(found["recording"]) == set(ways.WAYS)
    assert all(ratio > 0 for ratio in found["recording"].values())
    with pytest.raises(SystemExit) as ended:
        main([*command, "--json", str(tmp_path / "none" / "x.json")])
    assert ended.value.code == 2
    assert "does not exist; make it first" in capsys.readouterr().err


@pytest.mark.slow
def test_a_peak_is_this_process_s_alone() -> None:
    held = np.ones(300 * 2**17)  # 300 MB, given back before it is looked at again
    low = memory._highest()
    del held
    assert memory._highest() > low - 20
    code = "from vit_explorer.benchmarks import memory; print(memory._highest())"
    filled = np.ones(1500 * 2**17)
    child = subprocess.run([sys.executable, "-c", code], capture_output=True, check=True)
    assert 100 < float(child.stdout) < 1200 < filled.nbytes / 2**20


def test_memory_is_measured_above_the_bare_pass(monkeypatch: pytest.MonkeyPatch) -> None:
    assert memory.Memory(300.0, 450.0, 400).above == 150
    name = next(iter(memory.CASES))
    asked: list[str] = []
    monkeypatch.setattr(memory, "_peak", lambda _, stage: asked.append(stage) or 100.0 * len(asked))
    assert memory.measure(name) == memory.Memory(100.0, 200.0, 200)
    assert asked == ["forward", "explained"]


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["--model", "bundled"], "time timm's plain ViTs, and bundled is none"),
        (["--model", "beit_base_patch16_224"], "beit_base_patch16_224 is none"),
        (["--json", "."], "is a folder; name a file in it"),
    ],
)
def test_benchmarks_that_can_not_be_made_are_refused(
    arguments: list[str], says: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["benchmarks", "--rounds", "1", "--no-memory", *arguments])
    assert ended.value.code == 2
    assert says in capsys.readouterr().err


def test_starting_stays_light() -> None:
    seconds = startup.measure(1)
    found = startup.ratios(seconds)
    assert set(found) == {row.what for row in startup.ROWS}
    # Others' work on the machine may add some; an import too many would double it.
    heavy = [row.what for row in startup.ROWS if found[row.what] > 1.5 * row.target]
    assert heavy == []
