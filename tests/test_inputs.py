"""Captum's gradients as patch maps, against the goldens and gradients written out."""

from __future__ import annotations

import dataclasses
import re
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

import vit_explorer as vx
from vit_explorer.errors import OptionError, TargetError
from vit_explorer.methods import METHODS, inputs

from .test_methods import relative_error

NAMES = ("saliency", "input_x_gradient", "integrated_gradients")


@pytest.mark.parametrize("picture", ["cat", "coffee"])
def test_goldens(
    deit_tiny: vx.LoadedModel, goldens: dict[str, np.ndarray], assets: Path, picture: str
) -> None:
    traced = vx.trace(deit_tiny, assets / f"{picture}.png")
    names = NAMES if picture == "cat" else NAMES[:2]
    for name in names:
        suffix = "_50_patchsum" if name == "integrated_gradients" else "_patchsum"
        values = METHODS[name](traced).values
        assert relative_error(values, goldens[f"{picture}/{name}{suffix}"]) <= 1e-3, name


def gradients(model: vx.LoadedModel, pixels: torch.Tensor, target: int) -> torch.Tensor:
    """∂logit/∂pixel of each picture (B, 3, H, W)."""
    with torch.enable_grad():
        leaf = pixels.clone().requires_grad_()
        return torch.autograd.grad(model.module(leaf)[:, target].sum(), leaf)[0]


def patch_sums(attributions: torch.Tensor) -> np.ndarray:
    """(3, 24, 32) to (3, 4) by cutting out each patch of 8 pixels."""
    rows = [attributions[:, r : r + 8] for r in range(0, 24, 8)]
    return np.array([[float(row[:, :, c : c + 8].sum()) for c in range(0, 32, 8)] for row in rows])


def test_gradients_on_a_grid_that_is_not_square(small: vx.LoadedModel, cat: Path) -> None:
    traced = vx.trace(small, cat, target=3)
    pixels = traced.prepared.pixels
    slope = gradients(small, pixels, 3)[0]
    values = METHODS["saliency"](traced).values
    np.testing.assert_allclose(values, patch_sums(slope.abs()), rtol=1e-4)
    values = METHODS["input_x_gradient"](traced).values
    np.testing.assert_allclose(values, patch_sums(slope * pixels[0]), rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize(("baseline", "level"), [("mean", 0.0), ("black", -1.0), ("white", 1.0)])
def test_integrated_gradients_by_the_midpoint_rule(
    small: vx.LoadedModel, cat: Path, baseline: str, level: float
) -> None:
    """Mean and deviation of the small model's transform are 0.5: black is -1, white 1."""
    traced = vx.trace(small, cat)
    pixels, start = traced.prepared.pixels, torch.full((1, 3, 24, 32), level)
    middles = (torch.arange(200) + 0.5)[:, None, None, None] / 200
    slopes = gradients(small, start + middles * (pixels - start), traced.target or 0)
    expected = patch_sums(slopes.mean(dim=0) * (pixels - start)[0])
    values = METHODS["integrated_gradients"](traced, baseline=baseline, steps=100).values
    assert relative_error(values, expected) < 0.02


@settings(max_examples=8, deadline=None)
@given(st.integers(0, 4), st.integers(0, 255))
def test_integrated_gradients_are_complete(small: vx.LoadedModel, target: int, grey: int) -> None:
    traced = vx.trace(small, Image.effect_noise((32, 24), grey), target=target)
    heatmap = METHODS["integrated_gradients"](traced, steps=300)
    with torch.no_grad():
        start = small.module(torch.zeros(1, 3, 24, 32))[0, target]
    rise = float(traced.logits[target] - start)
    total = float(heatmap.values.sum())
    assert total == pytest.approx(rise, abs=0.02 * max(1.0, abs(rise)))
    sums, rises = map(float, re.findall(r"-?\d+\.\d+", heatmap.note))
    assert sums == pytest.approx(total, abs=2e-3)
    assert rises == pytest.approx(rise, abs=2e-3)
    assert "(300 steps)" in heatmap.note


def test_progress_counts_every_picture_and_can_stop(small: vx.LoadedModel, cat: Path) -> None:
    traced = vx.trace(small, cat)
    seen: list[tuple[int, int]] = []
    METHODS["integrated_gradients"](traced, steps=20, progress=lambda *at: seen.append(at))
    assert seen[-1] == (22, 22)
    assert seen == sorted(seen)

    def stop(done: int, total: int) -> None:
        raise InterruptedError

    for parameter in small.module.parameters():
        parameter.requires_grad_(True)
        parameter.grad = None  # other packages, in other tests, leave theirs
    try:
        for name in NAMES:
            with pytest.raises(InterruptedError):
                METHODS[name](traced, progress=stop)
            assert all(parameter.requires_grad for parameter in small.module.parameters())
            assert all(parameter.grad is None for parameter in small.module.parameters())
    finally:
        small.module.requires_grad_(False)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"steps": 0}, "number of steps was 0, expected a whole number from 1 to 1000"),
        ({"steps": 2.5}, "number of steps was 2.5"),
        ({"steps": True}, "number of steps was True"),
        ({"baseline": "grey"}, "baseline was 'grey', expected mean, black or white"),
        ({"baseline": 0}, "baseline was 0"),
    ],
)
def test_wrong_options_are_named(
    small: vx.LoadedModel, cat: Path, options: dict[str, object], message: str
) -> None:
    with pytest.raises(OptionError, match=message):
        METHODS["integrated_gradients"](vx.trace(small, cat), **options)


def test_a_backbone_has_no_class_to_explain(cat: Path) -> None:
    model = vx.load_model("vit_tiny_patch16_224", pretrained=False)
    headless = vx.load_model(
        type(model.module)(img_size=32, patch_size=16, embed_dim=12, depth=1, num_classes=0),
        transform=lambda picture: torch.zeros(3, 32, 32),
        image_size=32,
    )
    traced = vx.trace(headless, cat)
    for name in NAMES:
        with pytest.raises(TargetError, match="no class to explain"):
            METHODS[name](traced)


def test_black_and_white_of_a_transform_that_normalises_bytes(small: vx.LoadedModel) -> None:
    card = dataclasses.replace(small.card, mean=(127.5,) * 3, std=(127.5,) * 3)
    assert inputs._COLOURS["black"](card).flatten().tolist() == [-1, -1, -1]
    assert inputs._COLOURS["white"](card).flatten().tolist() == [1, 1, 1]
