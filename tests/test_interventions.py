"""Heads and patches switched off, against forward passes written out by hand."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import timm
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from torchvision import transforms

import vit_explorer as vx
from vit_explorer.analysis.intervention_result import Change
from vit_explorer.errors import ExplorerError, OptionError, TargetError, UnsupportedModelError
from vit_explorer.models.vit import VisionTransformer, ViTConfig

from .conftest import load_small

GONE = (0, 3, 7, 10)


def scratch(seed: int = 0, **settings: Any) -> vx.LoadedModel:
    torch.manual_seed(seed)
    config = ViTConfig(
        image_size=(24, 32), patch_size=(8, 8), dim=32, depth=3, heads=2, classes=5, **settings
    )
    module = VisionTransformer(config)
    for parameter in module.parameters():
        nn.init.normal_(parameter, std=0.3)
    return load_small(module)


def timm_model(name: str, **settings: Any) -> vx.LoadedModel:
    torch.manual_seed(0)
    module = timm.create_model(name, depth=2, num_classes=7, **settings)
    for key, parameter in module.named_parameters():
        if parameter.ndim > 1:
            nn.init.normal_(parameter, std=0.1)
        elif "gamma" in key:  # layer scale begins near zero, which would hide the blocks
            nn.init.ones_(parameter)
    size = module.patch_embed.img_size
    transform = transforms.Compose([transforms.Resize(size), transforms.ToTensor()])
    return vx.load_model(module, transform=transform, image_size=size)


def kept(model: vx.LoadedModel, gone: tuple[int, ...] = GONE) -> list[int]:
    prefix, tokens = model.card.prefix_tokens, model.card.tokens
    return [i for i in range(tokens) if i - prefix not in gone]


@torch.no_grad()
def without_tokens(model: vx.LoadedModel, picture: Any, gone: tuple[int, ...]) -> np.ndarray:
    """The forward pass of the from-scratch ViT on fewer tokens, relative biases cut to match."""
    module = model.module
    keep = kept(model, gone)
    x = module.embed(model.prepare(picture).pixels)[:, keep]
    for block in module.blocks:
        attention = block.attn
        q, k, v = (
            attention.qkv(block.norm1(x))
            .reshape(1, len(keep), 3, attention.num_heads, -1)
            .permute(2, 0, 3, 1, 4)
        )
        scores = q @ k.transpose(-2, -1) * attention.scale
        if attention.rel_pos is not None:
            scores = scores + attention.rel_pos()[:, :, keep][..., keep]
        mixed = (scores.softmax(dim=-1) @ v).transpose(1, 2).flatten(2)
        x = x + attention.proj(mixed)
        x = x + block.mlp(block.norm2(x))
    return module.forward_head(module.norm(x))[0].numpy()


SCRATCH = {
    "class": {},
    "distilled": {"distillation_token": True},
    "mean": {"pooling": "mean"},
    "no class token": {"pooling": "mean", "class_token": False},
    "relative": {"position": "relative"},
}


@pytest.mark.parametrize("kind", SCRATCH)
def test_dropped_patches_are_as_if_they_were_not_there(kind: str, cat: Path) -> None:
    model = scratch(**SCRATCH[kind])
    result = vx.intervene(model, cat, patches_off=GONE)
    expected = without_tokens(model, cat, GONE)
    np.testing.assert_allclose(result.logits_after, expected, rtol=1e-5, atol=2e-5)
    assert np.abs(expected - result.logits_before).max() > 0.01
    assert result.patches_off == ((0, 0), (0, 3), (1, 3), (2, 2))


@torch.no_grad()
def test_dropped_patches_in_timms_deit(deit_tiny: vx.LoadedModel, cat: Path) -> None:
    gone = tuple(range(0, 196, 3))
    module, keep = deit_tiny.module, kept(deit_tiny, gone)
    pixels = deit_tiny.prepare(cat).pixels
    x = module.norm_pre(module._pos_embed(module.patch_embed(pixels)))[:, keep]
    expected = module.forward_head(module.norm(module.blocks(x)))[0]
    result = vx.intervene(deit_tiny, cat, patches_off=gone)
    np.testing.assert_allclose(result.logits_after, expected.numpy(), atol=2e-5)
    shares = expected.softmax(dim=-1)
    assert result.after[0].index == int(expected.argmax())
    assert result.target_after.probability == pytest.approx(float(shares[285]), abs=1e-5)


class Keep(nn.Module):
    """In place of timm's patch dropout: keeps given patches, and tells timm which."""

    def __init__(self, prefix: int, keep: list[int]) -> None:
        super().__init__()
        self.prefix, self.keep = prefix, keep

    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        patches = torch.tensor(self.keep) - self.prefix
        patches = patches[patches >= 0][None].expand(len(x), -1)
        return x[:, self.keep], patches


@torch.no_grad()
def test_dropped_patches_with_rotary_positions(cat: Path) -> None:
    model = timm_model("vit_small_patch16_rope_224", img_size=64)
    assert "rotary" in model.card.position
    result = vx.intervene(model, cat, patches_off=GONE)
    model.module.patch_drop = Keep(model.card.prefix_tokens, kept(model))
    expected = model.module(model.prepare(cat).pixels)[0].numpy()
    np.testing.assert_allclose(result.logits_after, expected, rtol=1e-5, atol=2e-5)
    assert np.abs(expected - result.logits_before).max() > 1e-3


@pytest.mark.parametrize(
    ("name", "settings"),
    [
        ("vit_base_patch16_siglip_224", {"global_pool": "map"}),
        ("vit_tiny_patch16_224", {"global_pool": "avg"}),
    ],
)
@torch.no_grad()
def test_dropped_patches_are_not_pooled(name: str, settings: dict[str, Any], cat: Path) -> None:
    model = timm_model(name, img_size=64, **settings)
    module, keep = model.module, kept(model)
    x = module.norm_pre(module._pos_embed(module.patch_embed(model.prepare(cat).pixels)))
    expected = module.forward_head(module.norm(module.blocks(x[:, keep])))[0].numpy()
    result = vx.intervene(model, cat, patches_off=GONE)
    np.testing.assert_allclose(result.logits_after, expected, rtol=1e-5, atol=2e-5)
    assert np.abs(expected - result.logits_before).max() > 1e-4


HEADS = ((0, 1), (5, 0), (5, 2), (-1, 0))


@torch.no_grad()
def test_heads_off_are_zeros_before_the_output_projection(
    deit_tiny: vx.LoadedModel, cat: Path
) -> None:
    def silence(head: int) -> Callable[..., Any]:
        def hook(_: nn.Module, args: tuple[torch.Tensor]) -> torch.Tensor:
            mixed = args[0].clone()
            mixed[..., 64 * head : 64 * (head + 1)] = 0
            return mixed

        return hook

    blocks = deit_tiny.module.blocks
    hooks = [blocks[layer].attn.proj.register_forward_pre_hook(silence(h)) for layer, h in HEADS]
    try:
        expected = deit_tiny.module(deit_tiny.prepare(cat).pixels)[0].numpy()
    finally:
        for hook in hooks:
            hook.remove()
    result = vx.intervene(deit_tiny, cat, heads_off=HEADS)
    np.testing.assert_allclose(result.logits_after, expected, atol=1e-5)
    assert np.abs(expected - result.logits_before).max() > 0.1
    assert result.heads_off == ((0, 1), (5, 0), (5, 2), (11, 0))
    assert result.difference == pytest.approx(
        result.target_after.probability - result.target_before.probability
    )


@pytest.mark.parametrize("how", ["drop", "grey"])
def test_nothing_off_is_the_plain_prediction(
    deit_tiny: vx.LoadedModel, cat: Path, how: str
) -> None:
    result = vx.intervene(deit_tiny, cat, how=how)
    with torch.no_grad():
        plain = deit_tiny.module(deit_tiny.prepare(cat).pixels)[0].numpy()
    assert np.array_equal(result.logits_after, plain)
    assert np.array_equal(result.logits_before, plain)
    assert result.before == result.after
    assert result.difference == 0
    explained = vx.explain(deit_tiny, cat, methods=())
    np.testing.assert_allclose(plain, explained.trace.logits, atol=1e-5)
    assert [one.index for one in result.before] == [one.index for one in explained.predictions]


@torch.no_grad()
def test_grey_patches_have_the_mean_colour(small: vx.LoadedModel, cat: Path) -> None:
    pixels = small.prepare(cat).pixels.clone()
    for row, column in ((0, 1), (2, 3)):
        pixels[:, :, 8 * row : 8 * row + 8, 8 * column : 8 * column + 8] = 0
    expected = small.module.eval()(pixels)[0].numpy()
    result = vx.intervene(small, cat, patches_off=((2, 3), 1), how="grey")
    np.testing.assert_allclose(result.logits_after, expected, atol=1e-5)
    assert np.abs(expected - result.logits_before).max() > 0.01


@pytest.mark.parametrize("kind", ["class", "mean"])
def test_many_changes_are_the_same_as_each_alone(kind: str, cat: Path) -> None:
    model = scratch(**SCRATCH[kind])
    changes = (
        Change(patches_off=(0, 1)),
        Change(),
        Change(heads_off=((1, 0),), patches_off=tuple(range(9)), how="grey"),
        Change(heads_off=((0, 0), (2, 1)), patches_off=(4, 5)),
        Change(patches_off=tuple(range(11))),
        Change(heads_off=((1, 1),)),
    )
    together = vx.intervene_many(model, cat, changes, target=2)
    for change, found in zip(changes, together, strict=True):
        alone = vx.intervene_many(model, cat, (change,), target=2)[0]
        np.testing.assert_allclose(found.logits_after, alone.logits_after, atol=1e-5)
        assert found.target_after.index == 2
        assert found.heads_off == alone.heads_off and found.patches_off == alone.patches_off
    assert np.array_equal(together[1].logits_after, together[1].logits_before)
    assert vx.intervene_many(model, cat, ()) == ()


def test_changes_beyond_one_batch_stay_in_order(
    small: vx.LoadedModel, cat: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    changes = [Change(patches_off=(index,)) for index in range(5)]
    whole = vx.intervene_many(small, cat, changes)
    monkeypatch.setattr("vit_explorer.analysis.interventions.BATCH", 2)
    for one, other in zip(whole, vx.intervene_many(small, cat, changes), strict=True):
        np.testing.assert_allclose(one.logits_after, other.logits_after, atol=1e-5)


@settings(max_examples=15, deadline=None)
@given(heads=st.lists(st.tuples(st.integers(0, 2), st.integers(0, 1)), max_size=6))
def test_order_and_repeats_of_heads_do_not_matter(
    small: vx.LoadedModel, heads: list[tuple[int, int]]
) -> None:
    picture = np.full((24, 32, 3), 90, np.uint8)
    once = vx.intervene(small, picture, heads_off=sorted(set(heads)))
    again = vx.intervene(small, picture, heads_off=[*reversed(heads), *heads])
    assert once.heads_off == again.heads_off == tuple(sorted(set(heads)))
    assert np.array_equal(once.logits_after, again.logits_after)


def test_all_patches_dropped(cat: Path) -> None:
    every = tuple(range(12))
    model = scratch()
    result = vx.intervene(model, cat, patches_off=every)
    np.testing.assert_allclose(result.logits_after, without_tokens(model, cat, every), atol=2e-5)
    pooling = scratch(**SCRATCH["mean"])
    with pytest.raises(OptionError, match="predicts from the patches .* leave at least one"):
        vx.intervene(pooling, cat, patches_off=every)
    vx.intervene(pooling, cat, patches_off=every, how="grey")


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"heads_off": [(3, 0)]}, r"was \(3, 0\), expected \(layer, head\): a layer from 0 to 2"),
        ({"heads_off": [(0, 2)]}, "a head from 0 to 1"),
        ({"heads_off": [(0, -1)]}, "a head from 0 to 1"),
        ({"heads_off": [(0, True)]}, "expected \\(layer, head\\)"),
        ({"heads_off": [1]}, "was 1, expected \\(layer, head\\)"),
        ({"heads_off": ["ab"]}, "was 'ab', expected \\(layer, head\\)"),
        ({"patches_off": [12]}, "was 12, expected .* from 0 to 11"),
        ({"patches_off": [-1]}, "was -1, expected"),
        ({"patches_off": [(3, 0)]}, r"below \(3, 4\)"),
        ({"patches_off": [(0, 1.0)]}, "A patch to switch off"),
        ({"patches_off": [True]}, "was True, expected"),
        ({"how": "blur"}, "was 'blur', expected drop or grey"),
        ({"target": 5}, "has no class 5"),
        ({"top": 0}, "was 0, expected 1 or more"),
        ({"heads_off": 3}, "heads to switch off were 3, expected"),
        ({"patches_off": 3}, "patches to switch off were 3, expected"),
        ({"patches_off": None}, "patches to switch off were None, expected"),
    ],
)
def test_bad_input_is_named(
    small: vx.LoadedModel, cat: Path, wrong: dict[str, Any], message: str
) -> None:
    with pytest.raises(ExplorerError, match=message):
        vx.intervene(small, cat, **wrong)


def test_models_that_cannot_be_changed_are_named(small: vx.LoadedModel, cat: Path) -> None:
    with pytest.raises(OptionError, match="load_model"):
        vx.intervene("bundled", cat)
    backbone = scratch()
    backbone.module.blocks[1].mlp.conv = nn.Conv2d(4, 4, 3)
    with pytest.raises(UnsupportedModelError, match="mix neighbours by convolution"):
        vx.intervene(backbone, cat, patches_off=(0,))
    vx.intervene(backbone, cat, patches_off=(0,), how="grey")
    torch.manual_seed(0)
    headless = timm.create_model("vit_tiny_patch16_224", depth=1, num_classes=0, img_size=32)
    transform = transforms.Compose([transforms.Resize((32, 32)), transforms.ToTensor()])
    model = vx.load_model(headless, transform=transform, image_size=32)
    with pytest.raises(TargetError, match="no classifier"):
        vx.intervene(model, cat, heads_off=((0, 0),))


@pytest.mark.parametrize("failing", ["block", "head"])
def test_everything_is_given_back_after_a_failure(
    cat: Path, monkeypatch: pytest.MonkeyPatch, failing: str
) -> None:
    model = scratch(pooling="mean")
    module = model.module.train()
    attention = F.scaled_dot_product_attention
    before = vx.intervene(model, cat, patches_off=(1,))

    def fail(*_: Any, **__: Any) -> Any:
        raise RuntimeError("forced")

    part = module.blocks[1].mlp if failing == "block" else module.head
    with monkeypatch.context() as broken:
        broken.setattr(part, "forward", fail)
        with pytest.raises(RuntimeError, match="forced"):
            vx.intervene(model, cat, patches_off=(1,), heads_off=((0, 0),))
    for child in module.modules():
        assert child.training
        assert not child._forward_hooks and not child._forward_pre_hooks
        assert child is part or "forward" not in vars(child)
    assert F.scaled_dot_product_attention is attention
    assert all(parameter.requires_grad for parameter in module.parameters())
    assert model.lock.acquire(blocking=False)
    model.lock.release()
    again = vx.intervene(model, cat, patches_off=(1,))
    assert np.array_equal(before.logits_after, again.logits_after)
