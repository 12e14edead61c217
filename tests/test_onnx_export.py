"""Models as ONNX files: their numbers are the model's own, and what can't be written is said."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from PIL import Image
from timm.data import create_transform
from torch import Tensor, nn

import vit_explorer as vx
from vit_explorer import cli
from vit_explorer.errors import ModelError, OptionError
from vit_explorer.models import onnx_export
from vit_explorer.models.vit import VisionTransformer, ViTConfig
from vit_explorer.training.run_folder import RunFolder

CLASSES = ("猫", "dog", 'a"b')
CONFIG = {"input_size": (3, 16, 24), "mean": (0.4, 0.5, 0.6), "std": (0.2, 0.3, 0.25),
          "crop_pct": 0.9, "interpolation": "bilinear"}  # fmt: skip


def tiny(kind: type[VisionTransformer] = VisionTransformer) -> VisionTransformer:
    torch.manual_seed(0)
    module = kind(
        ViTConfig(image_size=(16, 24), patch_size=(8, 8), dim=16, depth=1, heads=2, classes=3)
    )
    for parameter in module.parameters():
        nn.init.normal_(parameter, std=0.3)
    return module


def loaded(module: nn.Module) -> vx.LoadedModel:
    transform = create_transform(**CONFIG)
    return vx.load_model(module, transform=transform, labels=CLASSES, image_size=(16, 24))


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A file as `train` writes it."""
    folder = RunFolder(tmp_path_factory.mktemp("run"))
    module = tiny()
    told = {"config": module.config.to_dict(), "labels": CLASSES, "preprocess": CONFIG}
    folder.write_weights("tiny.safetensors", module.state_dict(), told, half=False)
    return folder / "tiny.safetensors"


@pytest.fixture(scope="module")
def exported(weights: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What the command wrote."""
    file = tmp_path_factory.mktemp("onnx") / "tiny.onnx"
    with pytest.raises(SystemExit) as end:
        cli.main(["export", str(weights), "--onnx", str(file)])
    assert not end.value.code
    return file


def test_whoever_reads_the_file_alone_gets_the_models_probabilities(
    exported: Path, weights: Path, assets: Path
) -> None:
    """By its own metadata, timm's transform and ONNX Runtime, without this package."""
    session = onnxruntime.InferenceSession(exported, providers=["CPUExecutionProvider"])
    told = session.get_modelmeta().custom_metadata_map
    assert tuple(json.loads(told["labels"])) == CLASSES
    prepare = create_transform(**json.loads(told["preprocess"]))
    names = ["cat.png", "rocket.jpg", "coffee.png"]
    images = [Image.open(assets / name).convert("RGB") for name in names]
    pixels = np.stack([prepare(image).numpy() for image in images])
    for part in (pixels, pixels[:1]):
        (logits,) = session.run(["logits"], {"pixels": part})
        shares = torch.tensor(logits).softmax(1)
        for name, row in zip(names, shares, strict=False):
            best = vx.explain(vx.load_model(weights), assets / name, methods=()).predictions[0]
            assert row.argmax() == best.index
            assert float(row.max()) == pytest.approx(best.probability, abs=1e-5)
    assert told["weights_sha256"] == vx.load_model(weights).sha256
    onnx.checker.check_model(onnx.load(exported), full_check=True)
    assert [path.name for path in exported.parent.iterdir()] == ["tiny.onnx"]


def test_a_difference_is_refused_and_the_file_before_stays(
    exported: Path, weights: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Whatever the exporter made of the model: here that of other weights."""
    model, file = loaded(tiny()), tmp_path / "tiny.onnx"
    file.write_bytes(b"before")

    def export(*_: Any, **__: Any) -> Any:
        class Program:
            def save(self, path: str, **_: Any) -> None:
                Path(path).write_bytes(exported.read_bytes())

        return Program()

    monkeypatch.setattr(torch.onnx, "export", export)
    found = vx.export_onnx(model, tmp_path / "same.onnx")
    assert found.agreed == found.pictures == 4 and found.difference < 1e-5 * found.largest
    with torch.no_grad():
        model.module.head.bias[1] += 0.1
    with pytest.raises(ModelError, match=r"numbers differ by up to 0\.1, where the largest is"):
        vx.export_onnx(model, file)
    assert file.read_bytes() == b"before"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["same.onnx", "tiny.onnx"]


class Counting(VisionTransformer):
    """Makes a number of how many pictures there are."""

    def forward(self, x: Tensor, **more: Any) -> Any:
        return super().forward(x, **more) * torch.ones(len(x), 1)


class Choosing(VisionTransformer):
    """Computes by what it sees."""

    def forward(self, x: Tensor, **more: Any) -> Any:
        logits = super().forward(x, **more)
        return logits if float(logits.sum()) > -1e9 else -logits


@pytest.mark.parametrize(
    ("kind", "reason"),
    [
        (Counting, r"its code makes a fixed one of it, as len\(x\) does; write x.shape\[0\]"),
        (Choosing, r"can't be exported to ONNX: GuardOnDataDependentSymNode: Could not guard"),
    ],
)
def test_a_model_that_can_not_be_exported_is_said_with_the_reason(
    kind: type[VisionTransformer], reason: str, tmp_path: Path
) -> None:
    with pytest.raises(ModelError, match=reason) as error:
        vx.export_onnx(loaded(tiny(kind)), tmp_path / "a.onnx")
    assert "\n" not in str(error.value)
    assert list(tmp_path.iterdir()) == []


def test_what_is_asked_wrongly_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model = loaded(tiny())
    for file in (tmp_path / "a.pt", tmp_path / "none" / "a.onnx"):
        with pytest.raises(OptionError, match=r"give a name that ends in \.onnx"):
            vx.export_onnx(model, file)
    monkeypatch.setattr(onnx_export, "_MOST_BYTES", 1000)
    with pytest.raises(ModelError, match="an ONNX file of one piece holds 2"):
        vx.export_onnx(model, tmp_path / "a.onnx")
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    with pytest.raises(ModelError, match=r"needs onnxruntime.*pip install 'vit-explorer\[onnx\]'"):
        vx.export_onnx(model, tmp_path / "a.onnx")
