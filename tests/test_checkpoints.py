"""Checkpoints as other programs write them: wrapped, nested, averaged, of another model."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import timm
import torch
from safetensors.torch import save_file
from timm.layers.pos_embed_sincos import build_sincos2d_pos_embed
from torch import Tensor

import vit_explorer as vx
from vit_explorer.errors import ModelError
from vit_explorer.page.payloads.load_arguments import load_arguments

from .test_zoo import one_sentence

TINY = "vit_tiny_patch16_224"
Wrap = Callable[[dict[str, Tensor]], Any]


@pytest.fixture(scope="module")
def state() -> dict[str, Tensor]:
    return timm.create_model(TINY, num_classes=3).state_dict()


def named(state: dict[str, Tensor], prefix: str) -> dict[str, Tensor]:
    return {f"{prefix}{name}": tensor for name, tensor in state.items()}


def optimizer(state: dict[str, Tensor]) -> dict[str, Any]:
    return {"state": {0: {"exp_avg": state["pos_embed"]}}, "param_groups": [{"params": [0]}]}


@pytest.mark.parametrize("prefix", ["module.", "_orig_mod.", "model.", "module._orig_mod.vit."])
@pytest.mark.parametrize("suffix", [".safetensors", ".pt"])
def test_names_around_the_model_are_taken_off(
    tmp_path: Path, state: dict[str, Tensor], prefix: str, suffix: str
) -> None:
    path = tmp_path / f"wrapped{suffix}"
    save: Callable[..., Any] = save_file if suffix == ".safetensors" else torch.save
    save(named(state, prefix), path)
    model = vx.load_model(TINY, weights=path)
    assert model.card.classes == 3
    torch.testing.assert_close(model.module.state_dict(), state, rtol=0, atol=0)


def test_the_image_size_is_read_inside_a_wrapper(tmp_path: Path) -> None:
    path = tmp_path / "wide.safetensors"
    wide = timm.create_model(TINY, num_classes=3, img_size=96)
    # Trained positions are alike where patches are near each other; only these tell their grid.
    positions = build_sincos2d_pos_embed([6, 6], dim=192)
    wide.pos_embed.data[:, 1:] = positions
    save_file(named(wide.state_dict(), "model."), path)
    assert vx.load_model(TINY, weights=path).card.grid == (6, 6)


@pytest.mark.parametrize(
    ("wrap", "key"),
    [
        (lambda s: {"model_state_dict": s, "optimizer_state_dict": optimizer(s)}, ""),
        (lambda s: {"net": named(s, "module."), "acc": 90.0, "epoch": 3}, ""),
        (lambda s: {"state_dict": named(s, "model."), "loops": {"state": {}}, "epoch": 3}, ""),
        (lambda s: {"checkpoint": {"weights_of_mine": s}, "step": torch.tensor(3)}, ""),
        (lambda s: {"model": {k: v + 1 for k, v in s.items()}, "model_ema": s}, "model_ema"),
        (lambda s: {"student": {k: v + 1 for k, v in s.items()}, "teacher": s}, "teacher"),
        (
            lambda s: {
                "model": {k: v + 1 for k, v in s.items()},
                "ema": {"module": {**named(s, "module."), "n_averaged": torch.tensor(7)}},
            },
            "ema.module",
        ),
    ],
)  # fmt: skip
def test_a_training_program_s_file_loads(
    tmp_path: Path, state: dict[str, Tensor], wrap: Wrap, key: str
) -> None:
    path = tmp_path / "last.ckpt"
    torch.save(wrap(state), path)
    model = vx.load_model(TINY, weights=path)
    torch.testing.assert_close(model.module.state_dict(), state, rtol=0, atol=0)
    assert str(model.card.source) == f"timm, weights from last.ckpt{key and f', key {key}'}"
    assert load_arguments(model)["weights"] == "last.ckpt"


@pytest.mark.parametrize(
    ("wrap", "message"),
    [
        (lambda s: {"epoch": 3, "best": 0.9}, "no model's tensors, but 'epoch', 'best',"),
        (lambda s: {"one": s, "other": s}, r"several models' tensors \('one', 'other'"),
        (lambda s: [s], "holds a list, expected one state_dict"),
    ],
)
def test_what_a_file_holds_is_named(
    tmp_path: Path, state: dict[str, Tensor], wrap: Wrap, message: str
) -> None:
    path = tmp_path / "last.pt"
    torch.save(wrap(state), path)
    with pytest.raises(ModelError, match=message) as error:
        vx.load_model(TINY, weights=path)
    one_sentence(error)


def test_a_file_that_holds_itself_ends(tmp_path: Path, state: dict[str, Tensor]) -> None:
    loop: dict[str, Any] = {"epoch": 3}
    loop["self"] = loop
    torch.save(loop, tmp_path / "loop.pt")
    with pytest.raises(ModelError, match="no model's tensors"):
        vx.load_model(TINY, weights=tmp_path / "loop.pt")


def test_another_patch_size_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "small.safetensors"
    other = timm.create_model(TINY, patch_size=8, img_size=128, num_classes=10)
    save_file(named(other.state_dict(), "module."), path)
    with pytest.raises(ModelError, match=rf"8×8 patches, {TINY} has 16×16; ") as error:
        vx.load_model(TINY, weights=path)
    assert "pass it to load_model(module)" in one_sentence(error)


@pytest.mark.parametrize("options", [{"reg_tokens": 4}, {"depth": 8}, {"class_token": False}])
def test_variants_that_no_name_fits_are_told_the_way_out(
    tmp_path: Path, options: dict[str, Any]
) -> None:
    path = tmp_path / "variant.safetensors"
    if "class_token" in options:
        options = {**options, "global_pool": "avg"}
    save_file(timm.create_model(TINY, num_classes=3, **options).state_dict(), path)
    with pytest.raises(ModelError, match="don't fit") as error:
        vx.load_model(TINY, weights=path)
    assert one_sentence(error).endswith(
        "or build the module in Python and pass it to load_model(module)."
    )


@pytest.mark.parametrize(
    "content", [b"<!DOCTYPE html><html>Not found</html>", b"version https://git-lfs", b'{"a": 1}']
)
def test_what_is_no_pytorch_file_is_not_said_to_hold_code(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "weights.pt"
    path.write_bytes(content)
    message = f"is no PyTorch file, as it begins with {re.escape(repr(content[:8].decode())[:-1])}"
    with pytest.raises(ModelError, match=message) as error:
        vx.load_model(TINY, weights=path)
    assert "code" not in one_sentence(error)


def test_a_file_may_name_its_timm_model(tmp_path: Path, state: dict[str, Tensor]) -> None:
    for key in ("model", "architecture"):
        path = tmp_path / f"{key}.safetensors"
        save_file(state, path, {"format": "pt", key: TINY})
        model = vx.load_model(path)
        assert (model.card.name, model.card.classes) == (TINY, 3)
        assert torch.equal(model.module.pos_embed, state["pos_embed"])
    for address in ("hf-hub:someone/something", "../vit_tiny", f"{TINY}:x/y", "unknown_model"):
        save_file(state, path, {"model": address})
        with pytest.raises(ModelError, match="doesn't say its architecture"):
            vx.load_model(path)
