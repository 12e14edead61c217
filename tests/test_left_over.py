"""Pictures whose size is no multiple of the patch: what is left over belongs to no patch."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest
import timm
import torch
from PIL import Image

import vit_explorer as vx
from vit_explorer.models.vit import VisionTransformer, ViTConfig

# 2 rows and 6 columns of 8-pixel patches fit into 21 by 52 pixels; 5 and 4 pixels are left over.
SIZE, GRID, COVERED = (21, 52), (2, 6), (16, 48)
PLAIN = {"mean": (0.5,) * 3, "std": (0.25,) * 3, "crop_pct": 1.0, "crop_mode": "squash"}


def build(image_size: tuple[int, int]) -> VisionTransformer:
    torch.manual_seed(0)
    module = VisionTransformer(
        ViTConfig(image_size=image_size, patch_size=(8, 8), dim=16, depth=2, heads=2, classes=5)
    )
    for parameter in module.parameters():
        torch.nn.init.normal_(parameter, std=0.3)
    return module.eval()


@pytest.fixture(scope="module")
def model() -> vx.LoadedModel:
    return vx.load_model(build(SIZE), preprocess=PLAIN)


@pytest.fixture(scope="module")
def even() -> vx.LoadedModel:
    """The same weights on the pixels that the patches cover."""
    return vx.load_model(build(COVERED), preprocess=PLAIN)


@pytest.fixture(scope="module")
def picture() -> np.ndarray:
    """As large as the model's input, so that no pixel is resized."""
    return np.random.default_rng(0).integers(0, 256, (*SIZE, 3), dtype=np.uint8)


def test_the_card_says_what_is_left_over(model: vx.LoadedModel, even: vx.LoadedModel) -> None:
    card = model.card
    assert (card.image_size, card.grid, card.covered, card.left_over) == (
        SIZE,
        GRID,
        COVERED,
        (5, 4),
    )
    assert "21×52 px · 2×6 patches (last 5 rows, 4 columns in none) · " in card.summary()
    assert card.notes == (
        "The last 5 rows and 4 columns of pixels belong to no patch: the patch convolution drops "
        "them.",
    )
    assert card.to_dict()["notes"] == card.notes
    assert even.card.notes == ()
    assert "in none" not in even.card.summary()


def test_everything_is_as_on_the_covered_pixels(
    model: vx.LoadedModel, even: vx.LoadedModel, picture: np.ndarray
) -> None:
    cut = picture[:16, :48]
    options = {"rise": {"masks": 40, "cells": 2}, "integrated_gradients": {"steps": 8}}
    whole = vx.explain(model, picture, methods="all", target=2, options=options)
    part = vx.explain(even, cut, methods="all", target=2, options=options)
    assert whole.prepared.pixels.shape == (1, 3, *SIZE)
    assert torch.equal(whole.prepared.pixels[:, :, :16, :48], part.prepared.pixels)
    assert whole.prepared.box == (0, 0, 48, 16)
    assert np.array_equal(np.asarray(whole.prepared.shown), cut)
    assert np.array_equal(np.asarray(whole.prepared.crop), cut)
    assert set(whole.heatmaps) == set(part.heatmaps) == set(vx.METHODS)
    for name, heatmap in whole.heatmaps.items():
        if name != "rise":  # its masks are drawn for the picture's size
            expected = part.heatmaps[name].values
            np.testing.assert_allclose(heatmap.values, expected, rtol=1e-4, atol=1e-5, err_msg=name)
            for on in ("crop", "seen"):
                overlays = [np.asarray(each.overlay(name, on=on)) for each in (whole, part)]
                assert np.abs(overlays[0].astype(int) - overlays[1]).max() <= 1
    assert np.array_equal(vx.patch_grid(model, picture), vx.patch_grid(even, cut))
    assert vx.check_patch_embedding(model, picture).error < 1e-5
    np.testing.assert_allclose(
        vx.attention_distance(whole.trace), vx.attention_distance(part.trace), rtol=1e-4
    )
    for how in ("grey", "drop"):
        changes = [
            vx.intervene(one, shown, patches_off=[(1, 5), (0, 0)], how=how, target=2)
            for one, shown in ((model, picture), (even, cut))
        ]
        probabilities = [change.target_after.probability for change in changes]
        assert probabilities[0] == pytest.approx(probabilities[1], rel=1e-4)
        assert changes[0].target_after.probability != changes[0].target_before.probability
    maps = {"map": np.arange(12, dtype=np.float32).reshape(GRID)}
    trust = [
        vx.faithfulness(one, shown, maps, target=2, random_maps=2)
        for one, shown in ((model, picture), (even, cut))
    ]
    np.testing.assert_allclose(
        trust[0].scores["map"].deletion_curve, trust[1].scores["map"].deletion_curve, rtol=1e-3
    )


def test_rise_counts_the_pixels_of_a_patch(model: vx.LoadedModel, picture: np.ndarray) -> None:
    """The map by its formula, from the masks that the model was asked about."""
    asked: list[torch.Tensor] = []
    traced = vx.trace(model, picture, target=2)
    hook = model.module.register_forward_pre_hook(lambda _, args: asked.append(args[0].clone()))
    try:
        found = vx.METHODS["rise"](traced, masks=30, cells=2).values
    finally:
        hook.remove()
    mask = (torch.cat(asked) / traced.prepared.pixels)[:, 0]
    with torch.no_grad():
        chance = model.module(torch.cat(asked)).softmax(-1)[:, 2]
    expected = np.zeros(GRID)
    for row in range(2):
        for column in range(6):
            share = mask[:, 8 * row : 8 * row + 8, 8 * column : 8 * column + 8].mean((1, 2))
            expected[row, column] = float(((chance - chance.mean()) * share).sum()) / (30 * 0.5)
    np.testing.assert_allclose(found, expected, rtol=1e-2, atol=1e-4)


def test_one_patch_lies_where_it_is_in_the_original(model: vx.LoadedModel) -> None:
    """A picture of another size: the last cell's colour covers its own pixels and no others."""
    image = Image.new("RGB", (520, 210), "black")  # ten of its pixels are one of the model's
    result = vx.explain(model, image, methods=("rollout",))
    assert result.prepared.box == pytest.approx((0, 0, 480, 160))
    last = np.zeros(GRID, np.float32)
    last[1, 5] = 1
    heatmap = dataclasses.replace(result.heatmaps["rollout"], values=last)
    result = dataclasses.replace(result, heatmaps={"rollout": heatmap})
    whole = np.asarray(result.overlay("rollout", on="whole", smooth=False)).astype(int).sum(-1)
    rows, columns = np.where(whole > whole.max() / 2)
    assert (rows.min(), rows.max() + 1, columns.min(), columns.max() + 1) == (80, 160, 400, 480)
    crop = np.asarray(result.overlay("rollout", smooth=False)).astype(int).sum(-1)
    assert crop.shape == (160, 480)
    rows, columns = np.where(crop > crop.max() / 2)
    assert (rows.min(), rows.max() + 1, columns.min(), columns.max() + 1) == (80, 160, 400, 480)


def test_a_picture_prepared_for_other_patches_is_cut_anew(
    model: vx.LoadedModel, picture: np.ndarray
) -> None:
    torch.manual_seed(0)
    other = vx.load_model(
        VisionTransformer(
            ViTConfig(image_size=SIZE, patch_size=(10, 10), dim=16, depth=1, heads=2, classes=5)
        ),
        preprocess=PLAIN,
    )
    prepared = other.prepare(picture)
    assert prepared.shown.size == (50, 20)
    assert model.prepare(prepared).shown.size == (48, 16)
    assert model.prepare(prepared).box == (0, 0, 48, 16)


def test_the_tutorial_s_size_and_timms(cat: Path) -> None:
    module = VisionTransformer(
        ViTConfig(image_size=450, patch_size=4, dim=12, depth=1, heads=3, classes=2)
    )
    card = vx.load_model(module, preprocess=PLAIN).card
    assert (card.grid, card.tokens, card.left_over) == ((112, 112), 12545, (2, 2))
    torch.manual_seed(0)
    theirs = timm.create_model("vit_tiny_patch16_224", img_size=(70, 90), depth=2, num_classes=3)
    model = vx.load_model(theirs.eval())
    assert (model.card.grid, model.card.left_over) == ((4, 5), (6, 10))
    traced = vx.trace(model, cat)
    with torch.no_grad():
        expected = theirs(traced.prepared.pixels)[0]
    torch.testing.assert_close(traced.logits, expected, atol=1e-5, rtol=1e-5)


def test_transformers_drop_it_as_well(cat: Path) -> None:
    transformers = pytest.importorskip("transformers")
    config = transformers.ViTConfig(
        hidden_size=16, num_hidden_layers=2, num_attention_heads=2, intermediate_size=16,
        image_size=(37, 32), patch_size=16, attn_implementation="sdpa",
    )  # fmt: skip
    module = transformers.ViTForImageClassification(config).eval()
    model = vx.load_model(module, image_size=(37, 32), preprocess=PLAIN)
    assert (model.card.grid, model.card.left_over) == ((2, 2), (5, 0))
    traced = vx.trace(model, cat)
    with torch.no_grad():
        torch.testing.assert_close(traced.logits, module(traced.prepared.pixels).logits[0])
