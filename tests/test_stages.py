"""Models without attention between all patches: stages, CAMs, and what is told by whom."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
import torchvision
from torch import nn

import vit_explorer as vx
from tests.stage_models import BUILD, LAST, SIZE, build, load, models, prepared, resnet, uneven
from vit_explorer.errors import UnsupportedModelError
from vit_explorer.methods import METHODS
from vit_explorer.models.structure.stages import may_have_stages

__all__ = ["models", "resnet", "uneven"]  # fixtures

PACKAGE = {
    "grad_cam": "GradCAM",
    "hires_cam": "HiResCAM",
    "grad_cam_plus_plus": "GradCAMPlusPlus",
    "xgrad_cam": "XGradCAM",
    "layer_cam": "LayerCAM",
    "eigen_cam": "EigenCAM",
    "eigen_grad_cam": "EigenGradCAM",
}


def channels_first(tensor: torch.Tensor, grid: tuple[int, int]) -> torch.Tensor:
    """(B, N, C) or (B, H, W, C) or (B, C, H, W) to the last, told apart by the grid."""
    if tensor.ndim == 3:
        return tensor.transpose(1, 2).reshape(len(tensor), -1, *grid)
    return tensor if tuple(tensor.shape[2:]) == grid else tensor.permute(0, 3, 1, 2)


@pytest.mark.parametrize("name", list(BUILD))
def test_stages_are_found(models: dict[str, vx.LoadedModel], name: str) -> None:
    card = models[name].card
    assert card.tier == 2 and card.tier_reason
    assert tuple((stage.name, stage.grid) for stage in card.stages)[-2:] == LAST[name]
    assert card.grid == card.stages[-1].grid and card.depth == len(card.stages)
    assert card.classes == 7 and card.heads == 0 and card.prefix_names == ()
    assert json.dumps(card.to_dict()) and "no attention between all patches" in card.summary()


@pytest.mark.parametrize("size", [(64, 96), (96, 64)])
@pytest.mark.parametrize("name", ["resnet18", "pvt_v2", "convnext"])
def test_oblong_grids(name: str, size: tuple[int, int]) -> None:
    rows, columns = LAST[name][-1][1]
    expected = rows * size[0] // 64, columns * size[1] // 64
    assert load(name, size).card.grid == expected


def package_map(
    model: vx.LoadedModel, pixels: torch.Tensor, name: str, target: int, layer: str,
    grid: tuple[int, int],
) -> np.ndarray:  # fmt: skip
    """The grad-cam package's map at the picture's size, used as its documentation shows."""
    import pytorch_grad_cam
    from pytorch_grad_cam.utils.model_targets import ClassifierOutputTarget

    kind = getattr(pytorch_grad_cam, name)
    try:
        model.module.requires_grad_(True)  # the package reads gradients through parameters
        with kind(
            model.module,
            [model.module.get_submodule(layer)],
            reshape_transform=lambda tensor: channels_first(tensor, grid),
        ) as peer:
            return peer(pixels, [ClassifierOutputTarget(target)])[0]
    finally:
        model.module.requires_grad_(False)


def unscaled(
    model: vx.LoadedModel, pixels: torch.Tensor, name: str, target: int, layer: str,
    grid: tuple[int, int],
) -> np.ndarray:  # fmt: skip
    """The package's map before it is scaled and enlarged."""
    import pytorch_grad_cam

    module = model.module.get_submodule(layer)
    kept: list[torch.Tensor] = []
    handle = module.register_forward_hook(lambda _, __, output: kept.append(output))
    try:
        logit = model.module(pixels.clone().requires_grad_(True))[0, target]
    finally:
        handle.remove()
    (slope,) = torch.autograd.grad(logit, kept)
    features, slopes = (channels_first(one, grid).detach().numpy() for one in (kept[0], slope))
    cam = getattr(pytorch_grad_cam, name)(model.module, [])
    found = cam.get_cam_image(pixels, module, [], features, slopes, False)[0]
    return np.maximum(found, 0)


def enlarged(cam: np.ndarray) -> np.ndarray:
    """As the package scales each layer's map while enlarging it, and their mean once more."""
    from pytorch_grad_cam.utils.image import scale_cam_image

    return scale_cam_image(scale_cam_image(cam[None], SIZE[::-1]))[0]


@pytest.mark.parametrize("stage", [-1, -2])
# DenseNet goes on with an activation in place, which changes what the package has kept.
@pytest.mark.parametrize("name", [name for name in BUILD if name != "densenet"])
def test_cams_equal_the_grad_cam_package(cat: Path, name: str, stage: int) -> None:
    # In float64, where rounding is no matter of the order of sums.
    model = vx.load_model(build(name).double(), transform=prepared(), image_size=SIZE)
    layer, grid = LAST[name][stage]
    lit = 0
    for target in range(4):
        traced = vx.trace(model, cat, target=target, gradients="all" if stage == -2 else "last")
        for method, kind in PACKAGE.items():
            pixels = traced.prepared.pixels.double()
            expected = package_map(model, pixels, kind, target, layer, grid)
            ours = METHODS[method](traced, layer=stage).values
            assert ours.shape == grid
            if method.startswith("eigen") and np.abs(enlarged(ours) - expected).max() > 1e-3:
                continue  # The package takes whatever sign its SVD gives: the map's other half.
            # Where a layer norm follows the pooling, the sum over features cancels nearly: what
            # is left, scaled to 1, shows the rounding of what is kept in float32.
            np.testing.assert_allclose(enlarged(ours), expected, atol=1e-3, err_msg=method)
            raw = unscaled(model, pixels, kind, target, layer, grid)
            np.testing.assert_allclose(ours, raw, atol=1e-5, rtol=1e-4, err_msg=method)
            lit += int(expected.max() > 0.9)
    assert lit >= 3  # maps of zeros would agree too


@pytest.mark.parametrize("stage", [-1, -2])
def test_score_and_ablation_cam_equal_the_package(
    resnet: vx.LoadedModel, cat: Path, stage: int
) -> None:
    layer, grid = LAST["resnet18"][stage]
    traced = vx.trace(resnet, cat, target=2, gradients="all")
    pixels = traced.prepared.pixels
    for method, kind in (("score_cam", "ScoreCAM"), ("ablation_cam", "AblationCAM")):
        expected = package_map(resnet, pixels, kind, 2, layer, grid)
        seen: list[tuple[int, int]] = []
        found = METHODS[method](traced, layer=stage, progress=lambda *at, s=seen: s.append(at))
        np.testing.assert_allclose(enlarged(found.values), expected, atol=2e-3, err_msg=method)
        assert expected.max() > 0.9 and seen[-1][0] == seen[-1][1]


class Beside(nn.Module):
    """Two stages whose answer also reads the picture past them."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Conv2d(3, 6, 8, 8)
        self.second = nn.Conv2d(6, 6, 3, padding=1)
        self.head = nn.Linear(12, 4)

    def forward(self, pixels: torch.Tensor) -> torch.Tensor:
        first = self.first(pixels).tanh()
        second = self.second(first).tanh()
        return self.head(torch.cat((first, second), dim=1).mean(dim=(2, 3)))


def test_ablation_where_branches_run_side_by_side(cat: Path) -> None:
    torch.manual_seed(0)
    module = Beside().eval()
    model = vx.load_model(module, transform=prepared((32, 48)), image_size=(32, 48))
    # All that the answer reads of the picture passes through the first convolution alone.
    assert [(stage.name, stage.grid) for stage in model.card.stages] == [("first", (4, 6))]
    traced = vx.trace(model, cat, target=1)
    pixels = traced.prepared.pixels
    with torch.no_grad():
        features, whole = module.first(pixels), module(pixels)[0, 1]
        expected = torch.zeros(4, 6)
        for channel in range(6):
            gone = features.clone()
            gone[0, channel] = 0
            first = gone.tanh()
            joined = torch.cat((first, module.second(first).tanh()), dim=1).mean(dim=(2, 3))
            expected += (whole - module.head(joined)[0, 1]) / whole * features[0, channel]
    found = METHODS["ablation_cam"](traced, fill="zero").values
    np.testing.assert_allclose(found, expected.relu(), atol=1e-5)


def test_an_activation_in_place_changes_nothing_kept(
    models: dict[str, vx.LoadedModel], cat: Path
) -> None:
    model = models["densenet"]
    traced = vx.trace(model, cat, target=3, gradients="last")
    module = model.module
    features = module.features(traced.prepared.pixels).requires_grad_(True)
    logit = module.classifier(F.relu(features).mean(dim=(2, 3)))[0, 3]
    (slope,) = torch.autograd.grad(logit, features)
    assert float(features.min()) < 0
    last = model.card.depth - 1
    kept = traced.feature_map(last, traced.features[last])
    torch.testing.assert_close(kept, features[0].detach(), atol=1e-5, rtol=0)
    kept = traced.feature_map(last, traced.feature_gradients[last])
    torch.testing.assert_close(kept, slope[0], atol=1e-6, rtol=0)


def test_logits_are_the_models_own_and_everything_is_given_back(
    models: dict[str, vx.LoadedModel], cat: Path
) -> None:
    for name in BUILD:
        module = build(name).train()
        model = vx.load_model(module, transform=prepared(), image_size=SIZE)
        flags = [parameter.requires_grad for parameter in module.parameters()]
        traced = vx.trace(model, cat, gradients="all")
        assert module.training
        assert flags == [parameter.requires_grad for parameter in module.parameters()]
        assert all(parameter.grad is None for parameter in module.parameters())
        assert not any(child._forward_hooks for child in module.modules())
        with torch.no_grad():
            expected = module.eval()(traced.prepared.pixels)[0]
        torch.testing.assert_close(traced.logits, expected, atol=1e-5, rtol=0)


def test_everything_is_given_back_after_an_error(resnet: vx.LoadedModel, cat: Path) -> None:
    def fail(*_: object) -> None:
        raise RuntimeError("on purpose")

    handle = resnet.module.fc.register_forward_pre_hook(fail)
    try:
        with pytest.raises(RuntimeError, match="on purpose"):
            vx.trace(resnet, cat, gradients="all")
    finally:
        handle.remove()
    assert not any(child._forward_hooks for child in resnet.module.modules())
    assert torch.is_grad_enabled()
    assert vx.trace(resnet, cat).logits.shape == (7,)


class Tokens(nn.Module):
    """A patch embedding, and tokens with others around them in an order of choice."""

    def __init__(self, order: torch.Tensor, before: int, behind: int, *, reads: str) -> None:
        super().__init__()
        self.embed = nn.Conv2d(3, 16, 8, 8)
        self.before = nn.Parameter(torch.randn(1, before, 16))
        self.behind = nn.Parameter(torch.randn(1, behind, 16))
        self.mix = nn.Sequential(nn.Linear(16, 16), nn.Tanh())
        self.last = nn.LayerNorm(16)
        self.head = nn.Linear(16, 3)
        self.order, self.reads = order, reads

    def forward(self, pixels: torch.Tensor) -> torch.Tensor:
        tokens = self.embed(pixels).flatten(2).transpose(1, 2)[:, self.order]
        before, behind = (one.expand(len(pixels), -1, -1) for one in (self.before, self.behind))
        tokens = torch.cat((before, tokens, behind), dim=1)
        tokens = self.mix(tokens)
        tokens = tokens + 0.5 * tokens.mean(dim=1, keepdim=True)
        tokens = self.last(tokens)
        read = tokens.mean(dim=1) if self.reads == "all" else tokens[:, 0]
        return self.head(read)


@pytest.mark.parametrize(("before", "behind"), [(0, 0), (1, 0), (5, 0), (0, 1), (0, 4)])
def test_other_tokens_are_told_from_cells(before: int, behind: int) -> None:
    torch.manual_seed(0)
    module = Tokens(torch.arange(7 * 9), before, behind, reads="all").eval()
    model = vx.load_model(module, transform=prepared((56, 72)), image_size=(56, 72))
    stage = model.card.stages[-1]
    assert (stage.name, stage.grid, stage.layout) == ("last", (7, 9), "BNC")
    assert (stage.before, stage.behind) == (before, behind)


def test_tokens_out_of_order_are_no_grid() -> None:
    torch.manual_seed(0)
    order = torch.randperm(63)
    module = Tokens(order, 0, 0, reads="all").eval()
    model = vx.load_model(module, transform=prepared((56, 72)), image_size=(56, 72))
    assert [(stage.name, stage.grid) for stage in model.card.stages] == [("embed", (7, 9))]


def test_cells_that_the_answer_does_not_read_are_no_stage() -> None:
    torch.manual_seed(0)
    module = Tokens(torch.arange(63), 1, 0, reads="class").eval()
    model = vx.load_model(module, transform=prepared((56, 72)), image_size=(56, 72))
    assert model.card.stages[-1].name == "mix"


def test_what_is_no_image_model_keeps_its_refusal() -> None:
    flat = nn.Sequential(nn.Flatten(), nn.Linear(3 * 64 * 64, 8), nn.Linear(8, 2))
    with pytest.raises(UnsupportedModelError, match="can't be explored"):
        vx.load_model(flat, transform=prepared(), image_size=SIZE)
    broken = build("swin")
    broken.head = nn.Linear(3, 2)
    with pytest.raises(UnsupportedModelError, match="does not run on a picture of 3×64×64"):
        vx.load_model(broken, transform=prepared(), image_size=SIZE)


def test_the_meta_device_tells_whether_stages_are_possible() -> None:
    with torch.device("meta"):
        assert may_have_stages(BUILD["swin"](), SIZE)
        assert not may_have_stages(nn.Sequential(nn.Flatten(), nn.Linear(12288, 2)), SIZE)


def test_a_head_on_the_grid_makes_classes() -> None:
    """SqueezeNet's classes are convolved and pooled: as many channels as classes, no embedding."""
    module = torchvision.models.squeezenet1_1(num_classes=7).eval()
    model = vx.load_model(module, transform=prepared(), image_size=SIZE)
    assert (model.card.outputs, model.card.classes) == ("classes", 7)
    pooled = build("resnet18")
    pooled.fc = nn.Identity()
    model = vx.load_model(pooled, transform=prepared(), image_size=SIZE)
    assert (model.card.outputs, model.card.classes) == ("embedding", 0)
