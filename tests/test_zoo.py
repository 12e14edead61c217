"""Names, files and labels → models; everything wrong gets one helpful sentence."""

from __future__ import annotations

import json
import pickle
from pathlib import Path
from typing import Any

import pytest
import torch
from huggingface_hub import constants
from safetensors import safe_open
from safetensors.torch import save_file

import vit_explorer as vx
from vit_explorer.errors import ExplorerError, ModelError, OptionError
from vit_explorer.models.checkpoints import hub
from vit_explorer.models.vit import VisionTransformer, ViTConfig
from vit_explorer.page import Workbench
from vit_explorer.page.payloads.result import describe_result

CONFIG = {"image_size": [32, 32], "patch_size": [8, 8], "dim": 16, "depth": 2, "heads": 2}


def one_sentence(error: pytest.ExceptionInfo[ExplorerError]) -> str:
    message = str(error.value)
    assert "\n" not in message and message.endswith(".") and 40 < len(message) < 400
    return message


@pytest.fixture
def checkpoint(tmp_path: Path) -> Path:
    """What `train` writes, untrained."""
    module = VisionTransformer(ViTConfig.from_dict({**CONFIG, "classes": 3}))
    data = {"input_size": [3, 32, 32], "mean": [0.5] * 3, "std": [0.25] * 3}
    metadata = {
        "format": "vit-explorer/1",
        "config": json.dumps(module.config.to_dict()),
        "labels": json.dumps(["ant", "bee", "cow"]),
        "preprocess": json.dumps({**data, "interpolation": "bicubic", "crop_pct": 1.0}),
    }
    path = tmp_path / "own.safetensors"
    save_file(module.state_dict(), path, metadata)
    return path


def rewrite(checkpoint: Path, metadata: dict[str, str]) -> None:
    """Change the texts that a file says of itself."""
    with safe_open(checkpoint, framework="pt") as file:
        kept = {**(file.metadata() or {}), **metadata}
        state = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    save_file(state, checkpoint, kept)


def test_own_checkpoint_describes_itself(checkpoint: Path, cat: Path) -> None:
    model = vx.load_model(checkpoint)
    assert model.labels == ("ant", "bee", "cow")
    assert model.card.mean == (0.5, 0.5, 0.5)
    assert model.card.grid == (4, 4)
    larger = vx.load_model(checkpoint, image_size=(32, 48))
    assert larger.card.grid == (4, 6)
    assert vx.explain(larger, cat).heatmaps["rollout"].values.shape == (4, 6)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"config": None}, "has no 'config', expected an object"),
        ({"preprocess": None}, "has no 'preprocess', expected an object"),
        ({"labels": None}, "has no 'labels', expected a list"),
        ({"labels": {"0": "ant"}}, "has no 'labels', expected a list"),
        ({"config": {"dim": "wide"}}, "describes no ViT"),
        ({"config": {"timm": "local-dir:/tmp"}}, "expected a name of timm's"),
        ({"config": {"timm": 5}}, "expected a name of timm's"),
        ({"preprocess": {}}, "lacks input_size, mean, std"),
        ({"preprocess": {"input_size": [3], "mean": [0], "std": [1]}}, "needs input_size"),
    ],
)
def test_metadata_that_lacks_what_a_model_needs(
    checkpoint: Path, changes: dict[str, Any], message: str
) -> None:
    rewrite(checkpoint, {key: json.dumps(value) for key, value in changes.items()})
    with pytest.raises(ExplorerError, match=message) as error:
        vx.load_model(checkpoint)
    one_sentence(error)


def test_deep_metadata_is_refused(checkpoint: Path) -> None:
    rewrite(checkpoint, {"recipe": "[" * 200_000})
    with pytest.raises(ModelError, match="is damaged, expected JSON values") as error:
        vx.load_model(checkpoint)
    one_sentence(error)


def test_odd_facts_of_a_training_are_left_out(checkpoint: Path, cat: Path) -> None:
    rewrite(checkpoint, {"metrics": "[0.9]", "training": '"long"', "labels": '["ant", 2, {}]'})
    model = vx.load_model(checkpoint)
    assert model.labels == ("ant", "2", "{}")
    assert set(model.metadata) == {"format", "config", "labels", "preprocess"}
    workbench = Workbench(model)
    described = describe_result(workbench.analyse("cat.png", workbench.start_name, None))
    assert described["model"]["accuracy"] is None


def test_class_count_and_size_come_from_the_checkpoint(shared: Path, cat: Path) -> None:
    weights = shared / "weights/deit_tiny_cifar10_128.safetensors"
    model = vx.load_model("deit_tiny_patch16_224", weights=weights)
    assert (model.card.classes, model.card.image_size, model.card.grid) == (10, (128, 128), (8, 8))
    assert vx.explain(model, cat, methods=()).predictions[0].index == 3  # cat


def test_image_size_interpolates_as_timm_does(shared: Path) -> None:
    from timm.layers import resample_abs_pos_embed

    weights = shared / "weights/deit_tiny_patch16_224.safetensors"
    native = vx.load_model("deit_tiny_patch16_224", weights=weights)
    wide = vx.load_model("deit_tiny_patch16_224", weights=weights, image_size=(192, 320))
    assert wide.card.grid == (12, 20)
    expected = resample_abs_pos_embed(native.module.pos_embed, [12, 20])
    torch.testing.assert_close(wide.module.pos_embed, expected)


@pytest.mark.parametrize("suffix", [".pth", ".pt"])
def test_pickled_tensors_load(tmp_path: Path, suffix: str, cat: Path) -> None:
    module = vx.load_model("vit_tiny_patch16_224", pretrained=False).module
    path = tmp_path / f"weights{suffix}"
    state = {f"module.{name}": tensor for name, tensor in module.state_dict().items()}
    torch.save({"state_dict": state, "epoch": 3}, path)
    model = vx.load_model("vit_tiny_patch16_224", weights=path)
    assert torch.equal(model.module.pos_embed, module.pos_embed)


class Bomb:
    def __reduce__(self) -> tuple[object, tuple[str]]:
        return Path.touch, (Path("pickle-was-run"),)  # type: ignore[return-value]


def test_pickled_code_is_never_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "evil.pth"
    path.write_bytes(pickle.dumps(Bomb()))
    torch.save({"model": Bomb()}, tmp_path / "evil.pt")
    for name in ("evil.pth", "evil.pt"):
        with pytest.raises(ModelError, match="Python objects other than tensors|is damaged") as e:
            vx.load_model("vit_tiny_patch16_224", weights=tmp_path / name)
        one_sentence(e)
    assert not (tmp_path / "pickle-was-run").exists()


@pytest.mark.parametrize(
    ("content", "name", "message"),
    [
        (b"", "empty.safetensors", "not a readable safetensors file"),
        (b"\x08\0\0\0\0\0\0\0{}nonsense", "bad.safetensors", "not a readable safetensors file"),
        (b"hello", "bad.pth", "Python objects other than tensors|damaged or no PyTorch"),
        (b"", "empty.pt", "damaged or no PyTorch"),
        (b"hello", "weights.h5", "ends in '.h5', expected .safetensors"),
        (None, "missing.safetensors", "does not exist"),
    ],
)
def test_unreadable_weights(tmp_path: Path, content: bytes | None, name: str, message: str) -> None:
    path = tmp_path / name
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(ModelError, match=message) as error:
        vx.load_model("vit_tiny_patch16_224", weights=path)
    one_sentence(error)


def test_other_architecture(checkpoint: Path, tmp_path: Path) -> None:
    state = VisionTransformer(ViTConfig.from_dict({**CONFIG, "classes": 3})).state_dict()
    path = tmp_path / "plain.safetensors"
    save_file(state, path)
    with pytest.raises(ModelError, match="don't fit vit_tiny_patch16_224: .*missing") as error:
        vx.load_model("vit_tiny_patch16_224", weights=path)
    assert "give the architecture they were trained with" in one_sentence(error)
    with pytest.raises(ModelError, match="doesn't say its architecture") as error:
        vx.load_model(path)
    one_sentence(error)
    with pytest.raises(ModelError, match="'bundled' has its own weights"):
        vx.load_model("bundled", weights=path)


@pytest.mark.parametrize(
    ("name", "near"),
    [("vit_tiny_patch16_244", "vit_tiny_patch16_224"), ("bundeld", "bundled")],
)
def test_unknown_names_offer_near_ones(name: str, near: str) -> None:
    with pytest.raises(ModelError, match=rf"no model '{name}', did you mean .*'{near}'") as error:
        vx.load_model(name)
    one_sentence(error)


def test_unreachable_hub(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    # Nothing listens on port 9 of this machine, and the cache is empty.
    monkeypatch.setattr(constants, "ENDPOINT", "http://127.0.0.1:9")
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))
    monkeypatch.setattr(hub, "getproxies", dict)
    with pytest.raises(ModelError, match="can't be downloaded .*use the model 'bundled'") as error:
        vx.load_model("vit_tiny_patch16_224")
    one_sentence(error)
    assert constants.HF_HUB_OFFLINE is False


def test_labels(checkpoint: Path, tmp_path: Path) -> None:
    assert vx.load_model(checkpoint, labels=["x", "y", "z"]).labels == ("x", "y", "z")
    lines = tmp_path / "labels.txt"
    lines.write_text("un\ndeux\n\ntrois\n", encoding="utf-8")
    assert vx.load_model(checkpoint, labels=lines).labels == ("un", "deux", "trois")
    listed = tmp_path / "list.json"
    listed.write_text('["a", "b", "c"]')
    assert vx.load_model(checkpoint, labels=listed).labels == ("a", "b", "c")
    keyed = tmp_path / "keyed.json"
    keyed.write_text('{"1": "b", "0": "a", "2": "c"}')
    assert vx.load_model(checkpoint, labels=keyed).labels == ("a", "b", "c")
    for content, message in [
        ('{"a": 1}', "no JSON list of names"),
        ("nonsense", "no JSON list of names"),
        ('["a"]', "1 labels were given for own, which has 3 classes"),
    ]:
        keyed.write_text(content)
        with pytest.raises(ModelError, match=message) as error:
            vx.load_model(checkpoint, labels=keyed)
        one_sentence(error)
    with pytest.raises(ModelError, match="can't be read as text"):
        vx.load_model(checkpoint, labels=tmp_path / "none.txt")


def test_image_sizes(checkpoint: Path) -> None:
    with pytest.raises(ModelError, match=r"15×224 is smaller than one of .* patches, 16×16; "):
        vx.load_model("vit_tiny_patch16_224", pretrained=False, image_size=(15, 224))
    with pytest.raises(ModelError, match="smaller than a patch"):
        vx.load_model(checkpoint, image_size=(3, 32))
    for size in ((0, 32), (32,), 5000):
        with pytest.raises(OptionError, match="image size was"):
            vx.load_model(checkpoint, image_size=size)


def test_devices(checkpoint: Path) -> None:
    assert vx.load_model(checkpoint, device="cpu").device.type == "cpu"
    with pytest.raises(OptionError, match="device was 'gpu', expected"):
        vx.load_model(checkpoint, device="gpu")
    if not torch.cuda.is_available():
        with pytest.raises(OptionError, match="'cuda' is not available"):
            vx.load_model(checkpoint, device="cuda")


def test_a_module_must_say_how_to_prepare_its_pictures() -> None:
    module = VisionTransformer(ViTConfig.from_dict(CONFIG))
    with pytest.raises(ModelError, match="pass transform="):
        vx.load_model(module)


def test_preprocessing_of_the_reader(checkpoint: Path, cat: Path) -> None:
    plain = vx.load_model(checkpoint)
    given = {"mean": (0.1, 0.2, 0.3), "std": (0.5, 0.6, 0.7)}
    model = vx.load_model(checkpoint, preprocess={**given, "interpolation": "bilinear"})
    card = model.card
    assert (card.mean, card.std, card.interpolation) == (*given.values(), "bilinear")
    assert card.preprocess_given == ("mean", "std", "interpolation")
    assert plain.card.preprocess_given == ()
    renormalised = vx.load_model(checkpoint, preprocess=given).prepare(cat).pixels
    levels = plain.prepare(cat).pixels * 0.25 + 0.5
    mean, std = (torch.tensor(value).view(3, 1, 1) for value in given.values())
    torch.testing.assert_close(renormalised, (levels - mean) / std)
    for wrong, message in [
        ({"means": (0, 0, 0)}, "has no 'means', did you mean 'mean'"),
        ({"mean": 0.5}, "three numbers for mean"),
        ({"crop_pct": 5}, "expected a share of the picture"),
    ]:
        with pytest.raises(OptionError, match=message):
            vx.load_model(checkpoint, preprocess=wrong)
    with pytest.raises(OptionError, match="leave preprocess out"):
        vx.load_model(checkpoint, preprocess=given, transform=lambda picture: picture)


def test_a_module_s_preprocessing_may_be_its_mean_and_std(cat: Path) -> None:
    module = VisionTransformer(ViTConfig.from_dict(CONFIG))
    data = {"mean": (0.5,) * 3, "std": (0.5,) * 3, "crop_pct": 1.0}
    model = vx.load_model(module, preprocess=data)
    assert model.card.image_size == (32, 32) and model.card.crop_pct == 1.0
    assert model.prepare(cat).pixels.abs().max() <= 1


def test_loaded_models_are_frozen_and_in_evaluation_mode(checkpoint: Path) -> None:
    module = vx.load_model(checkpoint).module
    assert not module.training
    assert not any(parameter.requires_grad for parameter in module.parameters())


def test_available_models_begin_with_the_bundled() -> None:
    names = vx.available_models()
    assert names[0] == "bundled"
    assert "vit_base_patch16_224" in names
