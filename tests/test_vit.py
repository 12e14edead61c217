"""The from-scratch ViT against timm's and transformers', and its options against their papers."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import get_args

import numpy as np
import pytest
import timm
import torch
import torch.nn.functional as F
from timm.layers import resample_abs_pos_embed
from torch import Tensor

import vit_explorer as vx
from tests.conftest import load_small
from vit_explorer.errors import ModelError
from vit_explorer.models import vit
from vit_explorer.models.checkpoints.checkpoint import read_checkpoint
from vit_explorer.models.vit import (
    RelativeBias,
    VisionTransformer,
    ViTConfig,
    embed_patches_by_hand,
    interpolate_positions,
    patchify,
    sincos_positions,
)

TINY = {"dim": 192, "heads": 3}
SMALL = {"image_size": (16, 24), "patch_size": (8, 8), "dim": 16, "depth": 2, "heads": 2}


def build(**settings: object) -> VisionTransformer:
    torch.manual_seed(1)
    return VisionTransformer(ViTConfig.from_dict({**SMALL, "classes": 7, **settings})).eval()


def randomise(module: torch.nn.Module, std: float = 0.05) -> None:
    torch.manual_seed(0)
    for parameter in module.parameters():
        torch.nn.init.normal_(parameter, std=std)


@pytest.mark.parametrize(
    ("name", "settings"),
    [
        ("vit_base_patch16_224", {}),
        ("deit_tiny_distilled_patch16_224", {**TINY, "distillation_token": True}),
    ],
)
def test_equals_timm_with_random_weights(name: str, settings: dict[str, object]) -> None:
    theirs = timm.create_model(name).eval()
    randomise(theirs, std=0.02)
    ours = VisionTransformer(ViTConfig.from_dict(settings)).eval()
    ours.load_state_dict(theirs.state_dict(), strict=True)
    images = torch.randn(2, 3, 224, 224)
    with torch.no_grad():
        expected = theirs(images)
        assert expected.std() > 0.01
        torch.testing.assert_close(ours(images), expected, atol=1e-5, rtol=0)
        attentions = ours(images[:1], output_attentions=True)[1]
    # The trace reads timm's fused attention; ours is the explicit product.
    loaded = vx.load_model(theirs)
    picture = dataclasses.replace(
        loaded.preprocess(vx.open_picture(np.zeros((8, 8, 3), np.uint8))), pixels=images[:1]
    )
    traced = vx.trace(loaded, picture)
    for layer, attention in enumerate(attentions):
        torch.testing.assert_close(attention[0], traced.attention(layer), atol=1e-5, rtol=0)


def test_equals_timm_with_real_weights(deit_tiny: vx.LoadedModel, cat: object) -> None:
    ours = VisionTransformer(ViTConfig(dim=192, heads=3)).eval()
    ours.load_state_dict(deit_tiny.module.state_dict(), strict=True)
    traced = vx.trace(deit_tiny, cat)
    with torch.no_grad():
        logits, attentions = ours(traced.prepared.pixels, output_attentions=True)
        torch.testing.assert_close(logits[0], traced.logits, atol=1e-5, rtol=0)
        torch.testing.assert_close(ours(traced.prepared.pixels), logits, atol=1e-5, rtol=0)
    assert len(attentions) == 12
    for layer, attention in enumerate(attentions):
        assert attention.shape == (1, 3, 197, 197)
        torch.testing.assert_close(attention.sum(-1), torch.ones(1, 3, 197))
        torch.testing.assert_close(attention[0], traced.attention(layer), atol=1e-5, rtol=0)


def test_equals_transformers() -> None:
    """transformers keeps query, key and value apart and names everything otherwise."""
    from transformers import ViTConfig as TheirConfig
    from transformers import ViTForImageClassification

    theirs = ViTForImageClassification(
        TheirConfig(
            hidden_size=32,
            num_hidden_layers=3,
            num_attention_heads=4,
            intermediate_size=64,
            image_size=32,
            patch_size=8,
            num_labels=5,
            layer_norm_eps=1e-6,
            attn_implementation="eager",
        )
    ).eval()
    randomise(theirs, std=0.2)
    state = theirs.state_dict()
    ours = VisionTransformer(
        ViTConfig(
            image_size=(32, 32),
            patch_size=(8, 8),
            dim=32,
            depth=3,
            heads=4,
            mlp_ratio=2,
            classes=5,
        )
    ).eval()
    ours.load_state_dict(from_transformers(state, depth=3), strict=True)
    images = torch.randn(2, 3, 32, 32)
    with torch.no_grad():
        expected = theirs(images, output_attentions=True)
        logits, attentions = ours(images, output_attentions=True)
    torch.testing.assert_close(logits, expected.logits, atol=1e-5, rtol=1e-5)
    for attention, reference in zip(attentions, expected.attentions, strict=True):
        torch.testing.assert_close(attention, reference, atol=1e-5, rtol=0)


def from_transformers(state: dict[str, Tensor], depth: int) -> dict[str, Tensor]:
    """Rename by what a tensor is, whatever the library's version calls its parents."""

    def take(*parts: str) -> Tensor:
        found = [k for k in state if all(part in f".{k}" for part in parts)]
        assert len(found) == 1, (parts, found)
        return state[found[0]]

    renamed = {
        "cls_token": take("cls_token"),
        "pos_embed": take("position_embeddings"),
        "patch_embed.proj.weight": take("patch_embeddings", "weight"),
        "patch_embed.proj.bias": take("patch_embeddings", "bias"),
        "norm.weight": take("vit.layernorm.weight"),
        "norm.bias": take("vit.layernorm.bias"),
        "head.weight": take(".classifier.weight"),
        "head.bias": take(".classifier.bias"),
    }
    ends = {
        "norm1": ("layernorm_before",),
        "norm2": ("layernorm_after",),
    }
    sample = [key for key in state if ".0." in key]
    old_names = any("intermediate" in key for key in sample)
    proj = ("attention.output.dense",) if old_names else ("attention.o_proj",)
    ends |= {"attn.proj": proj}
    ends |= {
        "mlp.fc1": ("intermediate.dense",) if old_names else ("mlp.fc1",),
        "mlp.fc2": (f".{'{i}'}.output.dense",) if old_names else ("mlp.fc2",),
    }
    parts = ("query", "key", "value") if old_names else ("q_proj", "k_proj", "v_proj")
    for i in range(depth):
        for kind in ("weight", "bias"):
            for name, places in ends.items():
                where = tuple(place.replace("{i}", str(i)) for place in places)
                renamed[f"blocks.{i}.{name}.{kind}"] = take(f".{i}.", *where, f".{kind}")
            qkv = [take(f".{i}.", f".{part}.", f".{kind}") for part in parts]
            renamed[f"blocks.{i}.attn.qkv.{kind}"] = torch.cat(qkv)
    return renamed


@pytest.mark.parametrize("position", ["learned", "learned_2d", "sincos", "relative", "none"])
@pytest.mark.parametrize("pooling", ["class", "mean"])
def test_attentions_agree_with_the_fused_path(position: str, pooling: str) -> None:
    model = build(position=position, pooling=pooling, class_token=pooling == "class")
    randomise(model, std=0.5)
    images = torch.randn(2, 3, 16, 24)
    with torch.no_grad():
        logits, attentions = model(images, output_attentions=True)
        torch.testing.assert_close(model(images), logits, atol=1e-4, rtol=1e-4)
    for attention in attentions:
        torch.testing.assert_close(attention.sum(-1), torch.ones(attention.shape[:-1]))


def test_patches_by_hand_equal_the_convolution() -> None:
    model = build()
    images = torch.randn(2, 3, 16, 24)
    with torch.no_grad():
        expected = model.patch_embed(images)
        by_hand = embed_patches_by_hand(images, model.patch_embed.proj)
    torch.testing.assert_close(by_hand, expected, atol=1e-5, rtol=0)
    unfolded = F.unfold(images, kernel_size=8, stride=8).transpose(1, 2)
    assert torch.equal(patchify(images, (8, 8)), unfolded)


def test_positions_tell_patches_apart() -> None:
    """Without positions the class logits are blind to the patches' order."""
    images = torch.randn(1, 3, 16, 24)
    moved = torch.roll(images, 8, dims=-1)  # by one patch
    for position, blind in [("none", True), ("sincos", False), ("relative", False)]:
        model = build(position=position)
        randomise(model, std=0.5)
        same = torch.allclose(model(images), model(moved), atol=1e-5)
        assert same is blind, position


def test_sincos_is_fixed_and_as_published() -> None:
    model = build(position="sincos")
    assert "pos_embed" not in dict(model.named_parameters())
    positions = sincos_positions((2, 3), 8, prefix_tokens=1)
    assert torch.equal(positions[0, 0], torch.zeros(8))
    row, column = 1.0, 2.0
    expected = [f(x / w) for x in (row, column) for f in (torch.sin, torch.cos) for w in SCALES]
    torch.testing.assert_close(positions[0, 6], torch.stack(expected))


SCALES = (torch.tensor(1.0), torch.tensor(100.0))


def test_learned_2d_adds_row_and_column() -> None:
    model = build(position="learned_2d")
    positions = model.position_embedding()
    assert positions is not None
    patches = positions[0, 1:].unflatten(0, (2, 3))
    assert torch.equal(patches[1, :, :8], model.pos_embed_row[1].expand(3, -1))
    assert torch.equal(patches[:, 2, 8:], model.pos_embed_column[2].expand(2, -1))


def test_relative_bias_reaches_attention() -> None:
    model = build(position="relative")
    images = torch.randn(1, 3, 16, 24)
    before = model(images, output_attentions=True)[1][0]
    bias = model.blocks[0].attn.rel_pos
    index = bias.relative_position_index
    # Patches 0 and 1 are side by side, as are 1 and 2: one offset, one bias.
    assert index[1, 2] == index[2, 3] != index[2, 1]
    with torch.no_grad():
        bias.relative_position_bias_table[index[1, 2], 0] += 5
    after = model(images, output_attentions=True)[1][0]
    assert (after[0, 0, 1, 2] > before[0, 0, 1, 2] + 0.3) and (after[0, 0, 2, 3] > 0.5)
    assert torch.equal(after[0, 1], before[0, 1])


def test_relative_bias_keeps_its_values_when_the_grid_grows() -> None:
    bias = RelativeBias((3, 3), heads=2, prefix_tokens=1)
    table = bias.relative_position_bias_table.data
    table[:-3] = torch.arange(5.0).repeat(5)[:, None]  # depends on the column offset alone
    bias.resize((3, 3), (5, 3))
    grown = bias()[0, 0, 1:, 1:]
    assert grown.shape == (15, 15)
    torch.testing.assert_close(grown[0, :3], torch.tensor([2.0, 1.0, 0.0]))


def test_drop_path_of_one_leaves_the_residual() -> None:
    model = build(drop_path=1.0).train()
    tokens = torch.randn(3, 7, 16)
    assert torch.equal(model.blocks[-1](tokens), tokens)
    assert not torch.equal(model.blocks[0](tokens), tokens)
    assert not torch.equal(model.eval().blocks[-1](tokens), tokens)


def test_drop_path_keeps_the_mean() -> None:
    model = build(drop_path=0.5).train()
    dropped = model.blocks[-1].drop_path1(torch.ones(10_000, 1, 1))
    assert set(dropped.unique().tolist()) == {0.0, 2.0}
    assert abs(float(dropped.mean()) - 1) < 0.05


def test_patch_dropout_keeps_the_prefix_and_a_share() -> None:
    model = build(patch_dropout=0.5).train()
    tokens = torch.arange(7.0)[None, :, None].expand(2, -1, 16)
    kept = model.patch_drop(tokens)
    assert kept.shape == (2, 4, 16)
    assert (kept[:, 0] == 0).all()
    assert all(len(set(row.tolist())) == 4 for row in kept[:, :, 0])
    assert torch.equal(model.eval().patch_drop(tokens), tokens)


@pytest.mark.parametrize("width", [None, 5])
def test_distillation_heads(width: int | None) -> None:
    model = build(distillation_token=True, representation_size=width)
    images = torch.randn(2, 3, 16, 24)
    own, distilled = model.heads(model.forward_features(images))
    assert not torch.allclose(own, distilled)
    torch.testing.assert_close(model(images), (own + distilled) / 2)
    distilled.sum().backward()
    assert model.head.weight.grad is None
    assert model.head_dist.weight.grad.abs().sum() > 0


def test_representation_layer_and_mlp_head() -> None:
    model = build(representation_size=5, head="mlp")
    tokens = torch.randn(2, 7, 16) * 100
    pooled = model.pre_logits(tokens[:, 0])
    assert pooled.shape == (2, 5)
    assert float(pooled.detach().abs().max()) <= 1
    by_hand = model.head.fc2(F.gelu(model.head.fc1(pooled)))
    torch.testing.assert_close(model.forward_head(tokens), by_hand)


def test_mean_pooling_ignores_the_class_token() -> None:
    model = build(pooling="mean")
    tokens = torch.randn(1, 7, 16)
    changed = tokens.clone()
    changed[:, 0] += 1
    assert torch.equal(model.forward_head(tokens), model.forward_head(changed))
    torch.testing.assert_close(model.forward_head(tokens), model.head(tokens[:, 1:].mean(1)))


def test_dropout_and_attention_dropout_act_in_training_alone() -> None:
    images = torch.randn(1, 3, 16, 24)
    for settings in ({"dropout": 0.5}, {"attention_dropout": 0.5}):
        model = build(**settings)
        assert torch.equal(model(images), model(images))
        model.train()
        assert not torch.equal(model(images), model(images))


@pytest.mark.parametrize("init", ["timm", "jax", "jax_nlhb", "moco"])
def test_initialisations_are_timms_number_for_number(
    init: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    # The two draw in another order, and timm's truncated normal is another algorithm than torch's.
    def seeded(name: str) -> Callable[..., Tensor]:
        draw = getattr(torch.nn.init, name)

        def drawn(tensor: Tensor, *args: float, **kwargs: float) -> Tensor:
            torch.manual_seed(tensor.numel())
            return draw(tensor, *args, **kwargs)

        monkeypatch.setattr(torch.nn.init, name, drawn)
        return drawn

    normal = seeded("trunc_normal_")
    for name in ("normal_", "uniform_", "xavier_uniform_"):
        seeded(name)
    monkeypatch.setattr(timm.models.vision_transformer, "trunc_normal_", normal)
    monkeypatch.setattr(timm.layers.weight_init, "_trunc_normal_", normal)
    ours = VisionTransformer(
        ViTConfig.from_dict({**SMALL, "image_size": 32, "classes": 7, "init": init})
    )
    mode = "" if init == "timm" else init
    theirs = timm.models.VisionTransformer(
        img_size=32, patch_size=8, embed_dim=16, depth=2, num_heads=2, num_classes=7,
        weight_init=mode,
    )  # fmt: skip
    expected = theirs.state_dict()
    assert ours.state_dict().keys() == expected.keys()
    for key, value in ours.state_dict().items():
        if "patch_embed" not in key or "jax" in init:  # elsewhere both leave it to torch
            torch.testing.assert_close(value, expected[key], atol=1e-7, rtol=1e-5)


def test_other_initialisations_are_torchs() -> None:
    def patches(init: str) -> Tensor:
        torch.manual_seed(0)
        return VisionTransformer(ViTConfig(dim=192, heads=3, depth=1, init=init)).state_dict()

    xavier, kaiming, plain = (patches(init) for init in ("xavier", "kaiming", "torch"))
    for key in ("patch_embed.proj.weight", "blocks.0.attn.qkv.weight", "blocks.0.mlp.fc2.weight"):
        out, inputs = plain[key].flatten(1).shape
        assert float(xavier[key].abs().max()) == pytest.approx(
            (6 / (out + inputs)) ** 0.5, rel=0.01
        )
        assert float(xavier[key].std()) == pytest.approx((2 / (out + inputs)) ** 0.5, rel=0.02)
        assert float(kaiming[key].std()) == pytest.approx((2 / inputs) ** 0.5, rel=0.02)
        assert float(plain[key].abs().max()) == pytest.approx(inputs**-0.5, rel=0.01)
    for state in (xavier, kaiming):
        assert not state["patch_embed.proj.bias"].any()


def test_a_jax_head_of_two_layers_can_learn() -> None:
    model = build(head="mlp", init="jax_nlhb")
    assert not model.head.fc2.weight.any()
    assert model.head.fc1.weight.std() > 0.1
    torch.testing.assert_close(model.head.fc2.bias, torch.full((7,), -np.log(7), dtype=torch.float))


@pytest.mark.parametrize("scale", [None, 0.07, 1.5])
def test_qk_scale_is_timms_and_is_read_right(scale: float | None) -> None:
    ours = build(qk_scale=scale)
    randomise(ours, std=0.4)
    theirs = timm.models.VisionTransformer(
        img_size=(16, 24), patch_size=8, embed_dim=16, depth=2, num_heads=2, num_classes=7
    ).eval()
    theirs.load_state_dict(ours.state_dict(), strict=True)
    probabilities: list[Tensor] = []
    for block in theirs.blocks:
        block.attn.fused_attn = False
        block.attn.scale = 8**-0.5 if scale is None else scale
        block.attn.attn_drop.register_forward_hook(
            lambda _, args, __: probabilities.append(args[0])
        )
    model = load_small(ours)
    traced = vx.trace(model, np.arange(16 * 24 * 3, dtype=np.uint8).reshape(16, 24, 3))
    pixels = traced.prepared.pixels
    with torch.no_grad():
        torch.testing.assert_close(traced.logits, theirs(pixels)[0], atol=1e-5, rtol=1e-5)
        logits, explicit = ours(pixels, output_attentions=True)
    torch.testing.assert_close(logits[0], traced.logits, atol=1e-5, rtol=1e-5)
    for layer, expected in enumerate(probabilities):
        torch.testing.assert_close(traced.attention(layer), expected[0], atol=1e-6, rtol=1e-5)
        torch.testing.assert_close(explicit[layer], expected, atol=1e-6, rtol=1e-5)


ACTIVATIONS = {
    "gelu": F.gelu,
    "gelu_tanh": lambda x: F.gelu(x, approximate="tanh"),
    "quick_gelu": lambda x: x * torch.sigmoid(1.702 * x),
    "relu": F.relu,
    "leaky_relu": F.leaky_relu,
    "silu": F.silu,
    "tanh": torch.tanh,
}


@pytest.mark.parametrize("name", ACTIVATIONS)
def test_activations_of_blocks_and_of_the_head(name: str) -> None:
    assert set(get_args(vit.Activation)) == set(ACTIVATIONS)
    model = build(head="mlp", activation=name, head_activation="tanh")
    turned = build(head="mlp", activation="tanh", head_activation=name)
    x = torch.randn(3, 16)
    for mlp in (model.blocks[1].mlp, turned.head):
        expected = mlp.fc2(ACTIVATIONS[name](mlp.fc1(x)))
        torch.testing.assert_close(mlp(x), expected)
    assert isinstance(model.head.act, torch.nn.Tanh)
    theirs = timm.models.VisionTransformer(
        img_size=(16, 24), patch_size=8, embed_dim=16, depth=2, num_heads=2, num_classes=7,
        act_layer=name,
    ).eval()  # fmt: skip
    ours = build(activation=name)
    randomise(theirs, std=0.4)
    ours.load_state_dict(theirs.state_dict(), strict=True)
    images = torch.randn(2, 3, 16, 24)
    torch.testing.assert_close(ours(images), theirs(images), atol=1e-5, rtol=1e-5)


def test_an_older_config_still_loads() -> None:
    older = {
        key: value
        for key, value in ViTConfig().to_dict().items()
        if key not in ("qk_scale", "activation", "head_activation", "init", "norm_eps")
    }
    assert ViTConfig.from_dict(older) == ViTConfig()


@pytest.mark.parametrize("position", ["learned", "learned_2d", "sincos", "relative", "none"])
def test_what_fills_no_patch_is_dropped_as_by_the_convolution(position: str) -> None:
    model = build(image_size=(21, 30), position=position)
    assert model.config.grid == (2, 3)
    images = torch.randn(1, 3, 21, 30)
    other = images.clone()
    other[:, :, 16:], other[:, :, :, 24:] = 7, -7
    even = build(position=position)
    even.load_state_dict(model.state_dict())
    with torch.no_grad():
        assert torch.equal(model(images), model(other))
        assert torch.equal(model(images), even(images[:, :, :16, :24]))
        by_hand = embed_patches_by_hand(images, model.patch_embed.proj)
        torch.testing.assert_close(by_hand, model.patch_embed(images), atol=1e-6, rtol=1e-5)
    assert ViTConfig(image_size=450, patch_size=4, dim=12, heads=3).grid == (112, 112)


def test_initialisation_is_timms() -> None:
    torch.manual_seed(0)
    ours = VisionTransformer(ViTConfig(dim=192, heads=3, depth=2)).state_dict()
    theirs = timm.create_model("deit_tiny_patch16_224", depth=2).state_dict()
    assert ours.keys() == theirs.keys()
    for key, value in theirs.items():
        if key != "cls_token":  # drawn at 1e-6
            assert abs(float(ours[key].std() - value.std())) < 0.1 * float(value.std()) + 1e-3, key


def test_interpolation_is_timms() -> None:
    positions = torch.randn(1, 1 + 49, 8)
    ours = interpolate_positions(positions, (7, 7), (5, 9), prefix_tokens=1)
    theirs = resample_abs_pos_embed(positions, [5, 9], [7, 7], num_prefix_tokens=1)
    torch.testing.assert_close(ours, theirs)


@pytest.mark.parametrize("position", ["learned", "learned_2d", "sincos", "relative", "none"])
def test_image_size_can_change(position: str) -> None:
    model = build(position=position)
    randomise(model, std=0.3)
    before = model(torch.ones(1, 3, 16, 24))
    model.set_image_size((32, 40))
    assert model(torch.ones(1, 3, 32, 40)).shape == before.shape
    with pytest.raises(ModelError, match=r"received a picture of \(16, 24\) pixels, expected"):
        model(torch.ones(1, 3, 16, 24))


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"image_size": (16, 7)}, "smaller than a patch of "),
        ({"heads": 3}, "not divisible by 3 heads"),
        ({"class_token": False}, "Pooling by the class token"),
        ({"position": "rotary"}, "position was 'rotary'"),
        ({"dept": 3}, "no setting 'dept', did you mean 'depth'"),
        ({"position": "relative", "patch_dropout": 0.5}, "need every patch"),
    ],
)
def test_impossible_settings_are_named(settings: dict[str, object], message: str) -> None:
    with pytest.raises(ModelError, match=message):
        build(**settings)


def test_checkpoint_with_nan_is_refused(tmp_path: object) -> None:
    from safetensors.torch import save_file

    state = build().state_dict()
    state["norm.weight"][0] = float("nan")
    path = f"{tmp_path}/nan.safetensors"
    save_file(state, path)
    with pytest.raises(ModelError, match="NaN or infinite numbers in 'norm.weight'"):
        read_checkpoint(path)
