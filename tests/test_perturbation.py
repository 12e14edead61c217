"""Maps from changed pictures, against captum, the grad-cam package and formulas written out."""

from __future__ import annotations

import copy
import dataclasses
import sys
import types
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

import vit_explorer as vx
from vit_explorer.errors import OptionError, TargetError
from vit_explorer.methods import METHODS
from vit_explorer.models.vit import VisionTransformer, ViTConfig
from vit_explorer.tracing.trace import Trace

from .conftest import load_small
from .test_faithfulness import Looker
from .test_methods import relative_error

SLOW = tuple(name for name, method in METHODS.items() if method.runs_model)


@pytest.fixture
def traced(small: vx.LoadedModel, cat: Path) -> Trace:
    return vx.trace(small, cat)


@pytest.fixture
def looker(small: vx.LoadedModel) -> Trace:
    """A picture, and a model whose class 0 is 8 times the brightness of row 1, column 2."""
    return vx.trace(load_small(Looker(small.module, 1, 2)), Image.new("RGB", (32, 24), "white"))


@pytest.mark.parametrize(("window", "stride"), [(1, 1), (2, 1), (3, 1)])
def test_occlusion_equals_captum(
    small: vx.LoadedModel, traced: Trace, window: int, stride: int
) -> None:
    from captum.attr import Occlusion

    pixels = traced.prepared.pixels
    expected = Occlusion(small.module).attribute(
        pixels,
        sliding_window_shapes=(3, 8 * window, 8 * window),
        strides=(3, 8 * stride, 8 * stride),
        baselines=0,
        target=traced.target,
    )
    values = METHODS["occlusion"](traced, window=window, stride=stride).values
    assert relative_error(values, expected[0, 0, ::8, ::8].numpy()) < 1e-4


def test_occlusion_equals_captums_ablation_of_patches(small: vx.LoadedModel, traced: Trace) -> None:
    from captum.attr import FeatureAblation

    patches = torch.arange(12).reshape(1, 1, 3, 4)
    patches = patches.repeat_interleave(8, 2).repeat_interleave(8, 3).expand(1, 3, -1, -1)
    expected = FeatureAblation(small.module).attribute(
        traced.prepared.pixels, target=traced.target, feature_mask=patches
    )
    values = METHODS["occlusion"](traced).values
    assert relative_error(values, expected[0, 0, ::8, ::8].numpy()) < 1e-4


def test_occlusion_by_hand(looker: Trace) -> None:
    """Covering the one patch that is looked at takes its white, 1 × 8, from the logit."""
    assert looker.target == 0
    expected = np.zeros((3, 4))
    expected[1, 2] = 8
    np.testing.assert_allclose(METHODS["occlusion"](looker).values, expected, atol=1e-5)
    # Windows of 2 × 2 begin at rows 0, 1 and columns 0, 2: a cell is the mean of those over it.
    expected = np.zeros((3, 4))
    expected[:, 2:] = 8
    values = METHODS["occlusion"](looker, window=2, stride=2).values
    np.testing.assert_allclose(values, expected, atol=1e-5)


def masks_and_probabilities(
    monkeypatch: pytest.MonkeyPatch, looker: Trace, **options: object
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """RISE's map, with the masks it showed a white picture through and what the model said."""
    seen: list[torch.Tensor] = []
    said: list[torch.Tensor] = []
    forward = looker.model.module.forward

    def listening(pixels: torch.Tensor) -> torch.Tensor:
        logits = forward(pixels)
        seen.append(pixels)
        said.append(logits.softmax(-1)[:, 0])
        return logits

    monkeypatch.setattr(looker.model.module, "forward", listening)
    values = METHODS["rise"](looker, **options).values
    return values, torch.cat(seen).numpy(), torch.cat(said).numpy()


def test_rise_is_its_formula(monkeypatch: pytest.MonkeyPatch, looker: Trace) -> None:
    # White is 1 after normalisation, so a masked picture is the mask itself.
    values, masks, said = masks_and_probabilities(monkeypatch, looker, masks=300, keep=0.4)
    assert masks.shape == (300, 3, 24, 32)
    assert masks.min() >= 0 and masks.max() <= 1
    assert masks.mean() == pytest.approx(0.4, abs=0.03)
    assert len({mask.tobytes() for mask in masks}) == 300
    per_pixel = np.tensordot(said, masks[:, 0], 1) / (300 * 0.4)
    floor = said.mean() * masks[:, 0].sum(axis=0) / (300 * 0.4)
    expected = (per_pixel - floor).reshape(3, 8, 4, 8).mean(axis=(1, 3))
    np.testing.assert_allclose(values, expected, atol=1e-5)
    # What is looked at stands out, and what is far from it means nothing.
    assert np.unravel_index(values.argmax(), (3, 4)) == (1, 2)
    assert abs(values[2, 0]) < 0.3 * values[1, 2]


def test_rises_masks_are_smooth_and_begin_anywhere(
    monkeypatch: pytest.MonkeyPatch, looker: Trace
) -> None:
    _, masks, _ = masks_and_probabilities(monkeypatch, looker, masks=400, cells=2)
    # Coarse cells of 12 × 11 pixels, enlarged bilinearly: a step is at most a cell's fraction.
    assert np.abs(np.diff(masks[:, 0], axis=1)).max() <= 1 / 12 + 1e-6
    assert np.abs(np.diff(masks[:, 0], axis=2)).max() <= 1 / 11 + 1e-6
    # No pixel is favoured, wherever the cells' middles lie.
    assert np.abs(masks[:, 0].mean(axis=0) - 0.5).max() < 0.12


def test_rise_goes_by_its_seed_and_not_by_batches(
    traced: Trace, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = METHODS["rise"](traced, masks=50).values
    assert relative_error(METHODS["rise"](traced, masks=50, seed=1).values, first) > 0.1
    monkeypatch.setattr(sys.modules["vit_explorer.methods.model_queries"], "TOKENS_AT_ONCE", 13 * 7)
    np.testing.assert_allclose(METHODS["rise"](traced, masks=50).values, first, atol=1e-7)


def norm_input(model: vx.LoadedModel, pixels: torch.Tensor, layer: int, change: object) -> float:
    """The logits with a changed output of one block's `norm1`."""
    hook = model.blocks[layer].norm1.register_forward_hook(lambda _, __, output: change(output))
    try:
        with torch.no_grad():
            return model.module(pixels)[0]
    finally:
        hook.remove()


@pytest.mark.parametrize("layer", [-1, 0])
def test_ablation_cam_is_its_formula(small: vx.LoadedModel, cat: Path, layer: int) -> None:
    traced = vx.trace(small, cat, target=2, gradients="all")
    weights = []
    for channel in range(32):

        def without(tokens: torch.Tensor, channel: int = channel) -> torch.Tensor:
            return tokens * (torch.arange(32) != channel)

        logits = norm_input(small, traced.prepared.pixels, layer, without)
        kept, whole = float(logits[traced.target]), float(traced.logits[traced.target])
        weights.append((whole - kept) / whole)
    features = traced.features[layer % 3][1:].numpy()
    expected = np.maximum(features @ np.array(weights), 0).reshape(3, 4)
    assert expected.max() > 0
    values = METHODS["ablation_cam"](traced, layer=layer, fill="zero").values
    assert relative_error(values, expected) < 1e-3


def package_map(kind: str, traced: Trace, layer: int, **options: object) -> np.ndarray:
    """The grad-cam package's map at the picture's size, used as its documentation shows."""
    import pytorch_grad_cam
    from pytorch_grad_cam.utils.model_targets import ClassifierOutputTarget

    def as_grid(tokens: torch.Tensor) -> torch.Tensor:
        return tokens[:, 1:].reshape(len(tokens), 3, 4, -1).permute(0, 3, 1, 2)

    model = traced.model
    with getattr(pytorch_grad_cam, kind)(
        model.module, [model.blocks[layer].norm1], reshape_transform=as_grid, **options
    ) as peer:
        return peer(traced.prepared.pixels, [ClassifierOutputTarget(traced.target)])[0]


@pytest.mark.parametrize("layer", [-1, 1])
@pytest.mark.parametrize("target", [0, 4])
def test_cams_equal_the_grad_cam_package(
    small: vx.LoadedModel, cat: Path, layer: int, target: int
) -> None:
    from pytorch_grad_cam.ablation_layer import AblationLayerVit
    from pytorch_grad_cam.utils.image import scale_cam_image

    traced = vx.trace(small, cat, target=target, gradients="all")
    peers = {
        "score_cam": package_map("ScoreCAM", traced, layer),
        "ablation_cam": package_map(
            "AblationCAM", traced, layer, ablation_layer=AblationLayerVit()
        ),
    }
    for name, expected in peers.items():
        values = METHODS[name](traced, layer=layer).values
        ours = scale_cam_image(scale_cam_image(values[None], (32, 24)))[0]
        np.testing.assert_allclose(ours, expected, atol=2e-3, err_msg=name)


@pytest.mark.parametrize("name", SLOW)
def test_progress_reaches_its_end(traced: Trace, name: str) -> None:
    seen: list[tuple[int, int]] = []
    METHODS[name](traced, progress=lambda *at: seen.append(at))
    assert seen[-1][0] == seen[-1][1] == max(done for done, _ in seen)
    assert len({total for _, total in seen}) == 1


@pytest.mark.parametrize("name", SLOW)
@pytest.mark.parametrize("after", [1, 2])
def test_the_model_is_given_back_when_stopped(
    small: vx.LoadedModel,
    cat: Path,
    name: str,
    after: int,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    import tqdm
    from pytorch_grad_cam import ablation_cam, score_cam

    traced = vx.trace(small, cat)
    modules = dict(small.module.named_modules())
    before = METHODS[name](traced).values
    monkeypatch.setattr(sys.modules["vit_explorer.methods.model_queries"], "TOKENS_AT_ONCE", 13 * 5)
    small.module.train()
    told = []

    def stop(done: int, total: int) -> None:
        told.append(done)
        if len(told) == after or done == total:
            raise InterruptedError(name)

    try:
        with pytest.raises(InterruptedError, match=name):
            METHODS[name](traced, progress=stop)
        assert all(module.training for module in small.module.modules())
    finally:
        small.module.eval()
    assert dict(small.module.named_modules()) == modules
    assert not any(m._forward_hooks or m._forward_pre_hooks for m in modules.values())
    assert score_cam.tqdm is tqdm
    assert ablation_cam.tqdm is tqdm
    np.testing.assert_allclose(METHODS[name](traced).values, before, rtol=1e-3, atol=1e-5)
    assert capfd.readouterr().err == ""


def test_all_and_fast(small: vx.LoadedModel, cat: Path) -> None:
    seen: list[str] = []
    result = vx.explain(small, cat, "all", 3, progress=lambda name, *_: seen.append(name))
    assert tuple(result.heatmaps) == tuple(METHODS)
    assert not result.skipped
    assert set(seen) == set(SLOW)
    assert all(result.heatmaps[name].target == 3 for name in SLOW)
    seen.clear()
    result = vx.explain(small, cat, ("fast", "rise"), progress=lambda name, *_: seen.append(name))
    assert set(METHODS) - set(result.heatmaps) == set(SLOW) - {"rise"}
    assert set(seen) == {"rise"}


def test_a_model_without_norms_skips_cams_alone(small: vx.LoadedModel, cat: Path) -> None:
    module = copy.deepcopy(small.module)
    for block in module.blocks:
        block.norm, block.norm1 = block.norm1, None
        block.forward = types.MethodType(forward_without_norm1, block)
    result = vx.explain(load_small(module), cat, "all")
    expected = vx.explain(small, cat, "all")
    cams = {name for name, method in METHODS.items() if method.features}
    assert set(result.skipped) == cams
    assert all("No norm was seen in block 3" in reason for reason in result.skipped.values())
    for name, heatmap in result.heatmaps.items():
        np.testing.assert_allclose(
            heatmap.values, expected.heatmaps[name].values, rtol=1e-3, atol=1e-5
        )


def forward_without_norm1(block: Any, x: torch.Tensor, *_: Any) -> torch.Tensor:
    norm = block.norm
    normed = torch.nn.functional.layer_norm(x, x.shape[-1:], norm.weight, norm.bias, norm.eps)
    x = x + block.attn(normed)
    return x + block.mlp(block.norm2(x))


def test_a_backbone_skips_what_needs_a_class(cat: Path) -> None:
    torch.manual_seed(0)
    config = ViTConfig(image_size=(24, 32), patch_size=(8, 8), dim=32, depth=3, heads=2, classes=0)
    result = vx.explain(load_small(VisionTransformer(config)), cat, "all")
    assert set(result.heatmaps) == {"attention", "rollout", "eigen_cam"}
    assert set(result.skipped) == set(METHODS) - set(result.heatmaps)
    assert all("no classifier" in reason for reason in result.skipped.values())
    with pytest.raises(TargetError, match="no class to explain"):
        vx.explain(result.model, cat, "rise")


def test_logits_in_a_tuple(small: vx.LoadedModel, cat: Path) -> None:
    """As other libraries return them; the maps are the same."""

    class Tupled(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.inner, self.config = small.module, small.module.config

        def forward(self, images: torch.Tensor) -> tuple[torch.Tensor, None]:
            return self.inner(images), None

    tupled = load_small(Tupled())
    found, expected = (vx.explain(model, cat, SLOW) for model in (tupled, small))
    for name in SLOW:
        np.testing.assert_allclose(
            found.heatmaps[name].values, expected.heatmaps[name].values, rtol=1e-3, atol=1e-6
        )


def test_every_method_can_be_checked_by_ruining_the_weights(
    small: vx.LoadedModel, cat: Path
) -> None:
    found = vx.weight_randomisation(small, cat, tuple(METHODS))
    assert set(found) == set(METHODS)
    assert all(-1 <= value <= 1 for value in found.values())
    assert all(found[name] < 0.95 for name in SLOW)


@pytest.mark.parametrize("name", SLOW)
def test_a_backbone_has_no_class_to_explain(traced: Trace, name: str) -> None:
    headless = dataclasses.replace(traced, target=None)
    with pytest.raises(TargetError, match="no class to explain"):
        METHODS[name](headless)


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("occlusion", {"window": 4}, "window was 4, expected a whole number from 1 to 3"),
        ("occlusion", {"window": "2"}, "window was '2'"),
        ("occlusion", {"window": 2, "stride": 3}, "stride was 3, expected .* from 1 to 2"),
        ("rise", {"masks": 1}, "number of masks was 1"),
        ("rise", {"masks": 10.0}, "number of masks was 10.0"),
        ("rise", {"cells": 1}, "number of cells was 1, expected a whole number from 2 to 24"),
        ("rise", {"keep": 0}, "share of cells kept was 0, expected above 0 to below 1"),
        ("rise", {"keep": "half"}, "share of cells kept was 'half'"),
        ("rise", {"seed": -1}, "seed was -1"),
        ("score_cam", {"layer": 3}, "layer was 3, expected 0 to 2"),
        ("score_cam", {"layer": 0}, "kept no features of layer 0"),
        ("ablation_cam", {"layer": 1.0}, "layer was 1.0"),
        ("ablation_cam", {"fill": "mean"}, "fill was 'mean', expected zero or low"),
        ("legrad", {"start": 3}, "layer was 3, expected 0 to 2"),
        ("saliency", {"steps": 3}, "no option 'steps'.*its options: none"),
        ("rise", {"progress": None}, "no option 'progress'"),
    ],
)
def test_wrong_options_are_named(
    traced: Trace, name: str, options: dict[str, object], message: str
) -> None:
    if "progress" in options:
        with pytest.raises(OptionError, match=message):
            METHODS[name].options(options)
        return
    with pytest.raises(OptionError, match=message):
        METHODS[name](traced, **options)


def test_ablation_cam_says_what_float16_can_not_hold(small: vx.LoadedModel, cat: Path) -> None:
    plain = {"mean": (0.5,) * 3, "std": (0.5,) * 3}
    half = vx.load_model(copy.deepcopy(small.module).half(), preprocess=plain)
    passed = vx.trace(half, cat)
    with pytest.raises(OptionError, match="lower than float16 can hold; use fill='zero'"):
        vx.METHODS["ablation_cam"](passed)
    assert np.isfinite(vx.METHODS["ablation_cam"](passed, fill="zero").values).all()
