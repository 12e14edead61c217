"""Which of a file's tensors are the model's: numbers equal those of the model that was saved."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import timm
import torch
from timm.layers import resample_abs_pos_embed
from timm.layers.pos_embed_sincos import build_sincos2d_pos_embed
from torch import Tensor, nn

import vit_explorer as vx
from vit_explorer.errors import ModelError
from vit_explorer.page.payloads.load_arguments import load_arguments
from vit_explorer.sentences import keyed

from .test_zoo import one_sentence

TINY = "vit_tiny_patch16_224"
WIDTH = 192
State = dict[str, Tensor]


def shaken(module: nn.Module) -> nn.Module:
    """Numbers large enough for every part to count; norms about one."""
    chance = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for name, parameter in module.named_parameters():
            parameter.normal_(std=0.05, generator=chance)
            if parameter.ndim == 1 and name.endswith("weight"):
                parameter.add_(1)
    return module.eval()


def pictures(size: int = 224) -> Tensor:
    return torch.rand(2, 3, size, size, generator=torch.Generator().manual_seed(1))


def answer(module: nn.Module, pixels: Tensor | None = None) -> Tensor:
    with torch.no_grad():
        output: Any = module.eval()(pictures() if pixels is None else pixels)
    return getattr(output, "logits", getattr(output, "pooler_output", output))


def load(path: Path, content: Any, name: str = TINY, **given: Any) -> vx.LoadedModel:
    torch.save(content, path)
    model = vx.load_model(name, weights=path, **given)
    for note in model.card.weights_notes:
        assert keyed(note).keys() >= {"key", "values"}, note
    return model


def equal(model: vx.LoadedModel, expected: Tensor) -> None:
    torch.testing.assert_close(answer(model.module), expected, rtol=1e-5, atol=1e-5)


@pytest.fixture(scope="module")
def whole() -> nn.Module:
    return shaken(timm.create_model(TINY, num_classes=3))


@pytest.fixture(scope="module")
def state(whole: nn.Module) -> State:
    return whole.state_dict()


@pytest.fixture(scope="module")
def body(state: State) -> State:
    return {name: tensor for name, tensor in state.items() if not name.startswith("head")}


@pytest.fixture(scope="module")
def logits(whole: nn.Module) -> Tensor:
    return answer(whole)


def named(state: State, prefix: str) -> State:
    return {f"{prefix}{name}": tensor for name, tensor in state.items()}


def plus_one(state: State) -> State:
    return {name: tensor + 1 for name, tensor in state.items()}


LOSS = {"criterion.weight": torch.ones(3), "train_acc.tp": torch.zeros(1)}


@pytest.mark.parametrize(
    ("prefix", "others", "left"),
    [
        ("model.", LOSS, "criterion.weight, train_acc.tp"),
        ("backbone.", LOSS, "criterion.weight, train_acc.tp"),
        ("module._orig_mod.encoder.", LOSS, "criterion.weight, train_acc.tp"),
        ("net.", {"neck.conv.weight": torch.ones(3, 3, 1, 1)}, "neck.conv.weight"),
        ("", LOSS, "criterion.weight, train_acc.tp"),
    ],
)
def test_what_stands_beside_the_model_is_left_and_named(
    tmp_path: Path, state: State, logits: Tensor, prefix: str, others: State, left: str
) -> None:
    model = load(tmp_path / "last.ckpt", {"state_dict": named(state, prefix) | others})
    equal(model, logits)
    assert f"Left aside: {left}." in model.card.weights_notes


@pytest.mark.parametrize(
    "unknown", ["reg_token", "blocks.0.adapter.weight", "patch_embed.norm.weight", "norm_pre.bias"]
)
@pytest.mark.parametrize("prefix", ["", "model."])
def test_what_may_be_a_part_of_the_model_is_never_left(
    tmp_path: Path, state: State, unknown: str, prefix: str
) -> None:
    with pytest.raises(ModelError, match=f"don't fit .* unknown, such as '{unknown}'") as error:
        load(tmp_path / "x.pth", named({**state, unknown: torch.ones(1, 4, WIDTH)}, prefix))
    one_sentence(error)


@pytest.mark.parametrize(
    "content",
    [
        lambda s: {"student": named(plus_one(s), "module."), "teacher": named(s, "module.")},
        lambda s: {"state_dict": named(plus_one(s), "student.") | named(s, "teacher.")},
        lambda s: {"state_dict": named(plus_one(s), "model.") | named(s, "ema_model.module.")},
        lambda s: {"model": plus_one(s), "model_ema": s},
        # Distilled from a teacher of another width, which is not the model that was named.
        lambda s: {"teacher": {k: v.repeat_interleave(2, -1) for k, v in s.items()}, "student": s},
    ],
)
def test_of_two_the_one_to_be_used_is_taken_and_said(
    tmp_path: Path, state: State, logits: Tensor, content: Callable[[State], Any]
) -> None:
    model = load(tmp_path / "two.pth", content(state))
    equal(model, logits)
    assert any(note.startswith("Of several models in the") for note in model.card.weights_notes)


def test_models_that_are_not_taken_are_named(tmp_path: Path, body: State) -> None:
    others = {"encoder": plus_one(body), "predictor": {"blocks.0.norm1.weight": torch.ones(3)}}
    model = load(tmp_path / "jepa.pth", {"target_encoder": named(body, "module.")} | others)
    assert torch.equal(model.module.pos_embed, body["pos_embed"])
    assert model.card.weights_notes == ("Left aside: encoder, predictor.",)


def test_two_models_of_which_neither_is_named_are_refused(tmp_path: Path, body: State) -> None:
    with pytest.raises(ModelError, match=r"several models' tensors \('a', 'b'\)") as error:
        load(tmp_path / "two.pth", {"state_dict": named(body, "a.") | named(body, "b.")})
    one_sentence(error)


def dino(body: State) -> Any:
    head = {
        "head.mlp.0.weight": torch.ones(4, WIDTH), "head.mlp.2.weight": torch.ones(4, 4),
        "head.last_layer.weight_v": torch.ones(9, 4), "head.last_layer.weight_g": torch.ones(9, 1),
    }  # fmt: skip
    return {
        "student": named(plus_one(body), "module.backbone.") | named(head, "module."),
        "teacher": named(body, "backbone.") | head,
    }


def masked(body: State) -> Any:
    decoder = {f"decoder_blocks.{i}.attn.qkv.weight": torch.ones(3, 3) for i in range(8)}
    rest = {"mask_token": torch.zeros(1, 1, 8), "decoder_embed.weight": torch.ones(8, WIDTH)}
    return {"model": body | decoder | rest}


def contrasted(body: State) -> Any:
    return {"state_dict": named(body, "backbone.") | {"projector.0.weight": torch.ones(8, WIDTH)}}


@pytest.mark.parametrize(
    ("content", "left"),
    [
        (dino, "head.last_layer.weight_g, head.last_layer.weight_v, head.mlp.0.weight"),
        (masked, "decoder_blocks (8 tensors), decoder_embed, mask_token"),
        (contrasted, "projector.0.weight"),
    ],
)
def test_a_backbone_has_no_classes_and_its_head_is_named(
    tmp_path: Path, body: State, content: Callable[[State], Any], left: str
) -> None:
    model = load(tmp_path / "ssl.pth", content(body))
    backbone = timm.create_model(TINY, num_classes=0)
    backbone.load_state_dict(body)
    equal(model, answer(backbone))
    assert model.card.classes == 0
    assert any(note.startswith(f"Left aside: {left}") for note in model.card.weights_notes)


@pytest.mark.parametrize(
    ("place", "bias"),
    [
        ("classifier", True), ("fc", True), ("linear", True), ("head", True), ("my_layer", True),
        ("head.1", True), ("classifier", False),
    ],
)  # fmt: skip
@pytest.mark.parametrize("outer", ["", "model."])
def test_a_classifier_beside_a_backbone_becomes_its_head(
    tmp_path: Path, body: State, state: State, logits: Tensor, place: str, bias: bool, outer: str
) -> None:
    head = {f"{place}.weight": state["head.weight"]}
    if bias:
        head[f"{place}.bias"] = state["head.bias"]
    both = named(body, f"{outer}backbone.") | named(head, outer)
    model = load(tmp_path / "probe.ckpt", {"state_dict": both})
    equal(model, logits if bias else logits - state["head.bias"])
    first = place.partition(".")[0]
    assert model.card.classes == 3
    assert f"The classifier is the file's {outer}{first} of 3 classes." in model.card.weights_notes
    dropout = any("taken for a dropout" in note for note in model.card.weights_notes)
    assert dropout == (place == "head.1")


@pytest.mark.parametrize("kind", [nn.LayerNorm, nn.BatchNorm1d])
def test_a_norm_before_the_classifier_is_rebuilt(
    tmp_path: Path, body: State, kind: type[nn.Module]
) -> None:
    head = nn.Sequential(kind(WIDTH), nn.Linear(WIDTH, 5))
    shaken(head)
    if kind is nn.BatchNorm1d:
        head[0].running_mean.uniform_()
        head[0].running_var.uniform_(0.5, 2)
    backbone = timm.create_model(TINY, num_classes=0)
    backbone.load_state_dict(body)
    both = named(body, "backbone.") | named(head.state_dict(), "head.")
    model = load(tmp_path / "probe.pth", both)
    equal(model, answer(nn.Sequential(backbone, head)))
    assert any(kind.__name__ in note for note in model.card.weights_notes)


@pytest.mark.parametrize(
    ("head", "message"),
    [
        (
            {"head.0.weight": (64, WIDTH), "head.2.weight": (7, 64)},
            r"has 2 layers \(head.0 from 192 to 64, head.2 from 64 to 7\), and what stands between",
        ),
        (
            {"classifier.0.weight": (64, WIDTH), "classifier.3.weight": (7, 64)},
            "has 2 layers .*what stands between",
        ),
        ({"classifier.weight": (7, 2 * WIDTH)}, "does not read the 192 numbers"),
        ({"fc_a.weight": (7, WIDTH), "fc_b.weight": (2, WIDTH)}, "holds several classifiers"),
    ],
)
@pytest.mark.parametrize("prefix", ["", "backbone."])
def test_a_classifier_that_can_t_be_rebuilt_is_refused(
    tmp_path: Path, body: State, head: dict[str, Any], message: str, prefix: str
) -> None:
    tensors = {name: torch.ones(shape) for name, shape in head.items()}
    with pytest.raises(ModelError, match=message) as error:
        load(tmp_path / "heads.pth", named(body, prefix) | tensors)
    assert "build the module in Python with that head" in one_sentence(error)


def test_pooling_follows_the_norm_after_it(tmp_path: Path) -> None:
    pooled = shaken(timm.create_model(TINY, num_classes=3, global_pool="avg"))
    model = load(tmp_path / "mae.pth", {"model": pooled.state_dict()})
    equal(model, answer(pooled))
    assert model.card.pooling == "mean"
    assert "fc_norm" in "".join(model.card.weights_notes)


@pytest.mark.parametrize("channels", [1, 4])
def test_other_channels_are_read_from_the_file(tmp_path: Path, state: State, channels: int) -> None:
    kernel = torch.ones(WIDTH, channels, 16, 16)
    torch.save({**state, "patch_embed.proj.weight": kernel}, tmp_path / "grey.pth")
    # How other bands than those of a colour are normalised is not known.
    bands = {"mean": (0.5,) * channels, "std": (0.5,) * channels} if channels > 1 else None
    model = vx.load_model(TINY, weights=tmp_path / "grey.pth", preprocess=bands)
    assert model.module.patch_embed.proj.in_channels == model.card.channels == channels


STRIP = torch.randn(1, 257, WIDTH, generator=torch.Generator().manual_seed(0))


def test_positions_that_fit_several_grids_are_asked_for(tmp_path: Path, state: State) -> None:
    path, strip = tmp_path / "strip.pth", {**state, "pos_embed": STRIP}
    with pytest.raises(
        ModelError, match=r"256 patches, which fit .*512×128 \(32×8 .* as image_size="
    ) as error:
        load(path, strip)
    one_sentence(error)
    model = vx.load_model(TINY, weights=path, image_size=(512, 128))
    assert (model.card.grid, model.card.image_size) == ((32, 8), (512, 128))
    assert torch.equal(model.module.pos_embed, STRIP)
    with pytest.raises(ModelError, match="give the one it was trained at as weights_image_size="):
        vx.load_model(TINY, weights=path, image_size=224)
    moved = vx.load_model(TINY, weights=path, image_size=224, weights_image_size=(512, 128))
    expected = resample_abs_pos_embed(STRIP, [14, 14], [32, 8])
    torch.testing.assert_close(moved.module.pos_embed, expected)
    assert "Positions were interpolated from 32×8 to 14×14 patches." in moved.card.weights_notes
    assert load_arguments(moved)["weights_image_size"] == [512, 128]
    with pytest.raises(ModelError, match=r"512×144 has 32×9 = 288"):
        vx.load_model(TINY, weights=path, weights_image_size=(512, 144))
    args = argparse.Namespace(img_size=None, input_size=[3, 512, 128], crop_pct=0.9)
    said = load(path, {"state_dict": strip, "args": args})
    assert (said.card.grid, said.card.crop_pct) == ((32, 8), 0.9)


@pytest.mark.parametrize("grid", [(32, 8), (8, 32), (6, 6), (4, 9), (28, 7), (14, 14), (12, 20)])
def test_trained_positions_tell_their_grid(
    tmp_path: Path, state: State, grid: tuple[int, int]
) -> None:
    positions = state["pos_embed"].new_zeros(1, 1 + grid[0] * grid[1], WIDTH)
    positions[:, 1:] = build_sincos2d_pos_embed(list(grid), dim=WIDTH)
    noise = torch.randn(positions.shape, generator=torch.Generator().manual_seed(2))
    model = load(tmp_path / "grid.pth", {**state, "pos_embed": positions + 0.1 * noise})
    assert model.card.grid == grid
    said = f"The grid of {grid[0]}×{grid[1]} patches was read from its position embeddings."
    assert (said in model.card.weights_notes) == (grid != (14, 14))


def test_real_positions_tell_their_grid(tmp_path: Path, shared: Path, cat: Path) -> None:
    name, weights = "deit_tiny_patch16_224", shared / "weights/deit_tiny_patch16_224.safetensors"
    square = vx.load_model(name, weights=weights)
    whole = square.module.state_dict()
    for grid in ((32, 8), (8, 32), (7, 28)):
        positions = resample_abs_pos_embed(whole["pos_embed"], list(grid))
        model = load(tmp_path / "w.pth", {**whole, "pos_embed": positions}, name)
        assert model.card.grid == grid
    wide = vx.load_model(name, weights=weights, image_size=(192, 320))
    torch.save(wide.module.state_dict(), tmp_path / "wide.pth")
    again = vx.load_model(name, weights=tmp_path / "wide.pth")
    assert torch.equal(again.module.pos_embed, wide.module.pos_embed)


def google(state: State) -> dict[str, np.ndarray[Any, Any]]:
    """A ViT's tensors as Google's JAX code saves them: timm's own reading, the other way round."""
    arrays = {
        "cls": state["cls_token"],
        "embedding/kernel": state["patch_embed.proj.weight"].permute(2, 3, 1, 0),
        "embedding/bias": state["patch_embed.proj.bias"],
        "Transformer/posembed_input/pos_embedding": state["pos_embed"],
        "Transformer/encoder_norm/scale": state["norm.weight"],
        "Transformer/encoder_norm/bias": state["norm.bias"],
        "head/kernel": state["head.weight"].T,
        "head/bias": state["head.bias"],
    }
    for index in range(12):
        theirs, ours = f"Transformer/encoderblock_{index}", f"blocks.{index}"
        for norm, one in (("LayerNorm_0", "norm1"), ("LayerNorm_2", "norm2")):
            arrays[f"{theirs}/{norm}/scale"] = state[f"{ours}.{one}.weight"]
            arrays[f"{theirs}/{norm}/bias"] = state[f"{ours}.{one}.bias"]
        attention = f"{theirs}/MultiHeadDotProductAttention_1"
        weight = state[f"{ours}.attn.qkv.weight"].reshape(3, 3, 64, WIDTH)
        bias = state[f"{ours}.attn.qkv.bias"].reshape(3, 3, 64)
        for which, part in enumerate(("query", "key", "value")):
            arrays[f"{attention}/{part}/kernel"] = weight[which].permute(2, 0, 1)
            arrays[f"{attention}/{part}/bias"] = bias[which]
        out = state[f"{ours}.attn.proj.weight"].T.reshape(3, 64, WIDTH)
        arrays[f"{attention}/out/kernel"] = out
        arrays[f"{attention}/out/bias"] = state[f"{ours}.attn.proj.bias"]
        for layer in (0, 1):
            dense = f"{theirs}/MlpBlock_3/Dense_{layer}"
            arrays[f"{dense}/kernel"] = state[f"{ours}.mlp.fc{layer + 1}.weight"].T
            arrays[f"{dense}/bias"] = state[f"{ours}.mlp.fc{layer + 1}.bias"]
    return {name: tensor.numpy() for name, tensor in arrays.items()}


def test_google_s_own_files(tmp_path: Path, state: State, logits: Tensor) -> None:
    path, arrays = tmp_path / "vit.npz", google(state)
    np.savez(path, **arrays)
    model = vx.load_model(TINY, weights=path)
    equal(model, logits)
    with pytest.raises(ModelError, match="don't fit vit_small_patch16_224: it has .* numbers"):
        vx.load_model("vit_small_patch16_224", weights=path)
    layer = {"pre_logits/kernel": np.ones((WIDTH, WIDTH), "f4"), "pre_logits/bias": np.ones(WIDTH)}
    np.savez(path, **arrays, **layer)
    backbone = vx.load_model(TINY, weights=path)
    assert backbone.card.classes == 0
    assert "Left aside: pre_logits, head." in backbone.card.weights_notes
    strip = {**arrays, "Transformer/posembed_input/pos_embedding": STRIP[:, :85].numpy()}
    np.savez(path, **strip)
    wide = vx.load_model(TINY, weights=path, image_size=(192, 112))
    assert torch.equal(wide.module.pos_embed, STRIP[:, :85])
    with pytest.raises(ModelError, match="84 patches, which fit"):
        vx.load_model(TINY, weights=path)


def test_a_representation_layer_is_not_passed_over(tmp_path: Path, state: State) -> None:
    layer = {"pre_logits.fc.weight": torch.ones(WIDTH, WIDTH), "pre_logits.fc.bias": torch.ones(1)}
    with pytest.raises(ModelError, match="reads a representation layer") as error:
        load(tmp_path / "old.pth", {**state, **layer})
    one_sentence(error)
