"""Weights that come over a network: how far they are, an end at any moment, and on from there."""

from __future__ import annotations

import hashlib
import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from fastapi.testclient import TestClient
from safetensors.torch import save

import vit_explorer as vx
from tests.text_towers import save_transformers
from tests.weights_hub import WeightsHub
from vit_explorer import cli
from vit_explorer.errors import ModelError
from vit_explorer.models.checkpoints import hub as hubs
from vit_explorer.models.checkpoints.hub import downloaded_models
from vit_explorer.models.checkpoints.transfer import hearing
from vit_explorer.page import Workbench, build_app
from vit_explorer.stopping import Stopped, stoppable

NAME = "test_vit"
TAGGED = "test_vit.r160_in1k"
WORDS = ("a cat", "dog")


@pytest.fixture(scope="module")
def weights() -> dict[str, torch.Tensor]:
    import timm

    torch.manual_seed(0)
    return timm.create_model(NAME).state_dict()


@pytest.fixture
def hub(
    weights: dict[str, torch.Tensor], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> Iterator[WeightsHub]:
    made = WeightsHub(
        {f"timm/{TAGGED}": {"config.json": b"{}", "model.safetensors": save(weights)}}
    )
    monkeypatch.setattr(hubs, "getproxies", dict)
    with made.serving():
        made.meant(monkeypatch, tmp_path / "hub")
        yield made


def size_of(hub: WeightsHub) -> int:
    return len(hub.has[f"timm/{TAGGED}"]["model.safetensors"])


def parts(folder: Path) -> list[Path]:
    return list(folder.glob("**/*.incomplete"))


def as_given(model: vx.LoadedModel, weights: dict[str, torch.Tensor]) -> bool:
    found = model.module.state_dict()
    return all(torch.equal(found[name], one) for name, one in weights.items())


def test_a_stopped_download_goes_on_from_there_and_is_whole(
    hub: WeightsHub, weights: dict[str, torch.Tensor], tmp_path: Path
) -> None:
    hub.pace = 0.02
    told: list[tuple[str, int, int]] = []
    called_off = [0.0]

    def check() -> None:
        if told and told[-1][1] > size_of(hub) / 4:
            called_off[0] = called_off[0] or time.monotonic()
            raise Stopped

    with pytest.raises(Stopped), stoppable(check), hearing(lambda *line: told.append(line)):
        vx.load_model(NAME)
    assert time.monotonic() - called_off[0] < 1
    (part,) = parts(tmp_path)
    here = part.stat().st_size
    assert size_of(hub) / 4 < here < size_of(hub)
    assert part.read_bytes() == hub.has[f"timm/{TAGGED}"]["model.safetensors"][:here]
    assert downloaded_models() == []

    hub.pace = 0.0
    told.clear()
    with hearing(lambda *line: told.append(line)):
        assert as_given(vx.load_model(NAME), weights)
    assert hub.asked == [("model.safetensors", None), ("model.safetensors", f"bytes={here}-")]
    assert told[0] == (NAME, here, size_of(hub)) and told[-1] == (NAME, size_of(hub), size_of(hub))
    assert downloaded_models() == [TAGGED] and parts(tmp_path) == []
    # What is here is not sent again, and needs no hub.
    assert as_given(vx.load_model(NAME), weights) and len(hub.asked) == 2
    hub.has.clear()
    assert as_given(vx.load_model(NAME), weights)


def test_a_line_that_breaks_is_told_with_what_is_here(
    hub: WeightsHub, weights: dict[str, torch.Tensor], tmp_path: Path
) -> None:
    third = size_of(hub) // 3
    hub.cut_after = third
    begun = time.monotonic()
    with pytest.raises(ModelError, match="broke off") as error:
        vx.load_model(NAME)
    assert time.monotonic() - begun < 15  # of which this machine takes most to make the model
    # It was asked for the rest once, in vain.
    here = parts(tmp_path)[0].stat().st_size
    assert len(hub.asked) == 2 and 2 * third <= here < size_of(hub)
    said = f"(the line broke): {here / 1e6:.1f} of {size_of(hub) / 1e6:.1f} MB are on this machine"
    assert said in str(error.value) and "goes on from there" in str(error.value)
    assert error.value.instead == (NAME, "bundled")
    hub.cut_after = None
    assert as_given(vx.load_model(NAME), weights)
    assert hub.asked[-1] == ("model.safetensors", f"bytes={here}-")


def test_a_hub_without_ranges_sends_all_of_it_again(
    hub: WeightsHub, weights: dict[str, torch.Tensor]
) -> None:
    hub.whole, hub.cut_after = True, size_of(hub) // 2
    with pytest.raises(ModelError, match="broke off"):
        vx.load_model(NAME)
    hub.cut_after = None
    assert as_given(vx.load_model(NAME), weights)


def test_a_silent_line_is_left_at_once_or_told_in_time(
    hub: WeightsHub, monkeypatch: pytest.MonkeyPatch
) -> None:
    hub.silent_after = 0
    monkeypatch.setenv("HF_HUB_DOWNLOAD_TIMEOUT", "0.5")
    with pytest.raises(ModelError, match=r"nothing came for 0.5 s\): 0.0 of"):
        hubs.fetch(f"timm/{TAGGED}", "model.safetensors", NAME)
    monkeypatch.delenv("HF_HUB_DOWNLOAD_TIMEOUT")
    until = time.monotonic() + 1

    def check() -> None:
        if time.monotonic() > until:
            raise Stopped

    with pytest.raises(Stopped), stoppable(check):
        hubs.fetch(f"timm/{TAGGED}", "model.safetensors", NAME)
    assert time.monotonic() - until < 1


def test_what_is_not_what_was_announced_does_not_stay(
    hub: WeightsHub, weights: dict[str, torch.Tensor], tmp_path: Path
) -> None:
    hub.spoilt = True
    with pytest.raises(ModelError, match="its SHA-256 differs.* was deleted"):
        vx.load_model(NAME)
    assert parts(tmp_path) == [] and downloaded_models() == []
    hub.spoilt = False
    # So is what an earlier try left of another file.
    fetched = hub.has[f"timm/{TAGGED}"]["model.safetensors"]
    blobs = tmp_path / "hub" / f"models--timm--{TAGGED}" / "blobs"
    etag = hashlib.sha256(fetched).hexdigest()
    (blobs / f"{etag}.incomplete").write_bytes(bytes(1000))
    with pytest.raises(ModelError, match="its SHA-256 differs"):
        vx.load_model(NAME)
    assert as_given(vx.load_model(NAME), weights)


def test_what_keeps_weights_away_is_told(hub: WeightsHub, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("shutil.disk_usage", lambda _: type("Usage", (), {"free": 10**5}))
    with pytest.raises(ModelError, match="needs .* MB more on this machine's disk"):
        vx.load_model(NAME)
    monkeypatch.undo()
    monkeypatch.setattr(hubs.constants, "HF_HUB_OFFLINE", True)
    with pytest.raises(
        ModelError, match=r"HF_HUB_OFFLINE is set, and they are not here\); connect"
    ):
        vx.load_model(NAME)


def test_the_hub_s_refusals_are_told(hub: WeightsHub) -> None:
    hub.has[f"timm/{TAGGED}"].pop("model.safetensors")
    with pytest.raises(ModelError, match="can't be downloaded .the hub has none.; connect"):
        vx.load_model(NAME)
    hub.has.clear()
    with pytest.raises(ModelError, match="the hub has none, or wants an account"):
        vx.load_model(NAME)


def test_a_description_alone_is_no_model(hub: WeightsHub) -> None:
    hubs.fetch(f"timm/{TAGGED}", "config.json", NAME)
    assert downloaded_models() == []


def test_a_repository_with_words_is_fetched_file_by_file(
    hub: WeightsHub, tmp_path: Path, cat: Path
) -> None:
    save_transformers("clip", tmp_path / "mine")
    files = {file.name: file.read_bytes() for file in (tmp_path / "mine").iterdir()}
    hub.has["org/clip"] = files | {"tf_model.h5": b"no", "run.py": b"no"}
    hub.cut_after = len(files["model.safetensors"]) // 3
    with pytest.raises(ModelError, match="download of hf-hub:org/clip broke off"):
        vx.load_model("hf-hub:org/clip", words=WORDS)
    hub.cut_after = None
    found = [vx.load_model(name, words=WORDS) for name in ("hf-hub:org/clip", tmp_path / "mine")]
    logits = [vx.trace(model, cat).logits for model in found]
    torch.testing.assert_close(*logits)
    assert {name for name, _ in hub.asked} == set(files)
    hub.has.clear()
    with pytest.raises(ModelError, match="can't be had from the hub"):
        vx.load_model("hf-hub:org/other", words=WORDS)


def test_a_command_is_stopped_broken_off_and_goes_on(
    hub: WeightsHub,
    tmp_path: Path,
    cat: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    given = ["explain", str(cat), "--model", NAME, "--method", "rollout"]
    given += ["--out", str(tmp_path / "out")]
    hub.pace = 0.1
    running = subprocess.Popen(
        [sys.executable, "-m", "vit_explorer", *given],
        env={**os.environ, **hub.environment(tmp_path)},
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    until = time.monotonic() + 60
    while not any(part.stat().st_size for part in parts(tmp_path)):
        assert time.monotonic() < until and running.poll() is None
        time.sleep(0.05)
    running.send_signal(signal.SIGINT)
    stopped = time.monotonic()
    _, said = running.communicate(timeout=30)
    assert running.returncode == 130 and "Traceback" not in said
    assert time.monotonic() - stopped < 5

    hub.pace, hub.cut_after = 0.0, size_of(hub) // 4
    with pytest.raises(SystemExit) as broken:
        cli.main(given)
    said = capsys.readouterr().err
    assert broken.value.code == 2 and len(said.strip().splitlines()) == 1
    assert "broke off (the line broke)" in said and not (tmp_path / "out").exists()
    assert hub.asked[1][1] is not None

    hub.pace, hub.cut_after = 0.02, None
    monkeypatch.setenv("FORCE_COLOR", "1")  # as on a terminal
    with pytest.raises(SystemExit) as done:
        cli.main(given)
    assert done.value.code == 0 and (tmp_path / "out").exists()
    shares = re.findall(rf"downloading {NAME}: ([0-9.]+) of ([0-9.]+) MB, \d+%",
                        re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]", "", capsys.readouterr().err))  # fmt: skip
    assert shares and {whole for _, whole in shares} == {f"{size_of(hub) / 1e6:.1f}"}


def test_the_page_tells_the_share_and_what_to_try_again(
    hub: WeightsHub, small: vx.LoadedModel
) -> None:
    hub.pace, hub.cut_after = 0.03, size_of(hub) // 3
    with TestClient(build_app(Workbench(small)), base_url="http://127.0.0.1") as client:
        order = {"picture": "cat.png", "model": NAME}
        answer = client.post("/explorer/explanations", json=order)
        lines: list[dict[str, Any]] = [
            json.loads(line) for line in answer.text.splitlines() if line
        ]
        shares = [line["here"] / line["total"] for line in lines if "total" in line]
        assert shares == sorted(shares) and 0 < shares[-1] < 1
        assert lines[-1]["part"] == "model" and lines[-1]["instead"] == [NAME, "bundled"]
        assert lines[-1]["error"]["key"] == "error.download.broken"
        # So does whoever has files of their own loaded with it, and it goes on from there.
        asked = {"architecture": NAME, "outputs": "labels"}
        answer = client.post("/explorer/models", json=asked)
        further = [json.loads(line) for line in answer.text.splitlines() if line]
        assert {line["loading"] for line in further if "total" in line} == {NAME}
        assert further[0]["here"] / further[0]["total"] >= shares[-1]
        hub.pace, hub.cut_after = 0.0, None
        answer = client.post("/explorer/explanations", json=order)
        assert json.loads(answer.text.splitlines()[-1])["result"]["model"]["id"] == NAME
