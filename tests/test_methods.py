"""Methods against the goldens, the grad-cam package, whole-matrix formulas and hand-made cases."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from timm.layers import resample_abs_pos_embed

import vit_explorer as vx
from vit_explorer.errors import OptionError, UnsupportedModelError
from vit_explorer.methods import METHODS
from vit_explorer.models.vit import VisionTransformer, ViTConfig
from vit_explorer.tracing.attention_layer import Layer
from vit_explorer.tracing.trace import Trace, trace

from .conftest import load_small


def relative_error(values: np.ndarray, reference: np.ndarray) -> float:
    return float(np.abs(values.ravel() - reference.ravel()).max() / np.abs(reference).max())


@pytest.mark.parametrize("picture", ["cat", "coffee"])
def test_goldens(
    deit_tiny: vx.LoadedModel, goldens: dict[str, np.ndarray], assets: Path, picture: str
) -> None:
    golden = {k.split("/")[1]: v for k, v in goldens.items() if k.startswith(f"{picture}/")}
    traced = trace(deit_tiny, assets / f"{picture}.png", gradients="all")
    assert traced.target == int(golden["top1"])
    assert relative_error(traced.logits.numpy(), golden["logits"]) < 1e-5
    heads = np.stack([METHODS["attention"](traced, head=h).values.ravel() for h in range(3)])
    cam = METHODS["attention_grad_cam"](traced).values
    found = {
        "attention_cls_last_layer": heads,
        "rollout_mean": METHODS["rollout"](traced).values,
        "rollout_max": METHODS["rollout"](traced, fusion="max").values,
        "generic_attention": METHODS["generic_attention"](traced).values,
        "attention_grad_cam_minmax": (cam - cam.min()) / (cam.max() - cam.min()),
    }
    for name, values in found.items():
        assert relative_error(values, golden[name]) <= 1e-4, name


PACKAGE = {
    "grad_cam": "GradCAM",
    "hires_cam": "HiResCAM",
    "grad_cam_plus_plus": "GradCAMPlusPlus",
    "xgrad_cam": "XGradCAM",
    "layer_cam": "LayerCAM",
    "eigen_cam": "EigenCAM",
    "eigen_grad_cam": "EigenGradCAM",
}


def package_map(
    model: vx.LoadedModel, pixels: torch.Tensor, name: str, target: int, block: int
) -> np.ndarray:
    """The grad-cam package's map (224, 224), 0 to 1."""
    import pytorch_grad_cam
    from pytorch_grad_cam.utils.model_targets import ClassifierOutputTarget

    def as_grid(tokens: torch.Tensor) -> torch.Tensor:
        return tokens[:, 1:].reshape(len(tokens), 14, 14, -1).permute(0, 3, 1, 2)

    kind = getattr(pytorch_grad_cam, PACKAGE[name])
    try:
        model.module.requires_grad_(True)  # the package reads gradients through parameters
        layers = [model.blocks[block].norm1]
        with kind(model.module, layers, reshape_transform=as_grid) as peer:
            return peer(pixels, [ClassifierOutputTarget(target)])[0]
    finally:
        model.module.requires_grad_(False)


@pytest.mark.parametrize("name", list(PACKAGE))
@pytest.mark.parametrize(
    ("picture", "target", "layer"),
    [("cat.png", None, -1), ("cat.png", 30, -1), ("rocket.jpg", None, -1), ("cat.png", None, 6)],
)
def test_cams_equal_the_grad_cam_package(
    deit_tiny: vx.LoadedModel,
    assets: Path,
    name: str,
    picture: str,
    target: int | None,
    layer: int,
) -> None:
    from pytorch_grad_cam.utils.image import scale_cam_image

    gradients = "last" if layer == -1 else "all"
    traced = trace(deit_tiny, assets / picture, target=target, gradients=gradients)
    expected = package_map(deit_tiny, traced.prepared.pixels, name, traced.target, layer)
    assert expected.shape == (224, 224)
    assert expected.max() > 0.9

    def enlarged(cam: np.ndarray) -> np.ndarray:
        # The package scales each layer's map while enlarging it, and their mean once more.
        return scale_cam_image(scale_cam_image(cam[None], (224, 224)))[0]

    ours = enlarged(METHODS[name](traced, layer=layer).values)
    if name.startswith("eigen") and np.abs(ours - expected).max() > 1e-3:
        # The package takes whatever sign its SVD gives: then its map is the other half.
        projection = first_component(eigen_features(traced, name, layer))
        projection *= -np.sign(projection[np.abs(projection).argmax()])
        ours = enlarged(np.maximum(projection, 0).reshape(14, 14))
    np.testing.assert_allclose(ours, expected, atol=1e-3)


def eigen_features(traced: Trace, name: str, layer: int) -> np.ndarray:
    features = traced.features[layer % 12][1:]
    if name == "eigen_grad_cam":
        features = features * traced.feature_gradients[layer % 12][1:]
    return features.numpy()


def first_component(tokens: np.ndarray) -> np.ndarray:
    centred = tokens - tokens.mean(axis=0)
    return centred @ np.linalg.svd(centred, full_matrices=False)[2][0]


@pytest.mark.parametrize("name", ["eigen_cam", "eigen_grad_cam"])
def test_eigen_cams_make_the_strongest_patch_positive(
    deit_tiny: vx.LoadedModel, cat: Path, name: str
) -> None:
    traced = trace(deit_tiny, cat, gradients="last")
    projection = first_component(eigen_features(traced, name, -1))
    values = METHODS[name](traced).values.ravel()
    strongest = np.abs(projection).argmax()
    assert values.argmax() == strongest
    assert values[strongest] == pytest.approx(abs(projection[strongest]), rel=1e-3)


def whole(traced: Trace, matrices: list[torch.Tensor], added: bool) -> torch.Tensor:
    """The layers' product as written in the papers, (N, N) by (N, N)."""
    identity = torch.eye(len(matrices[0]))
    product = identity
    for matrix in matrices:
        if added:
            product = product + matrix @ product
        else:
            mixed = matrix + identity
            product = mixed / mixed.sum(dim=-1, keepdim=True) @ product
    return product


def test_streamed_rows_equal_whole_products(small: vx.LoadedModel, cat: Path) -> None:
    traced = trace(small, cat, gradients="all")
    attention = [traced.attention(layer) for layer in range(3)]
    weighted = [traced.attention(i) * traced.attention_gradient(i) for i in range(3)]
    expected = {
        "rollout": whole(traced, [a.mean(0) for a in attention], added=False),
        "gradient_rollout": whole(traced, [w.mean(0).relu() for w in weighted], added=False),
        "generic_attention": whole(traced, [w.relu().mean(0) for w in weighted], added=True),
    }
    for name, product in expected.items():
        values = METHODS[name](traced).values
        assert values.shape == (3, 4)
        assert relative_error(values, product[0, 1:].numpy()) < 1e-5, name
    for fusion in ("max", "min"):
        product = whole(traced, [getattr(a, f"a{fusion}")(0) for a in attention], added=False)
        values = METHODS["rollout"](traced, fusion=fusion).values
        assert relative_error(values, product[0, 1:].numpy()) < 1e-5
    from_second = METHODS["rollout"](traced, start=1).values
    product = whole(traced, [a.mean(0) for a in attention[1:]], added=False)
    assert relative_error(from_second, product[0, 1:].numpy()) < 1e-5


def test_chunked_maps_equal_unchunked(
    small: vx.LoadedModel, cat: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    traced = trace(small, cat, gradients="all")
    names = ("rollout", "gradient_rollout", "generic_attention", "attention")
    before = {name: METHODS[name](traced).values for name in names}
    monkeypatch.setattr("vit_explorer.tracing.attention_layer.CHUNK_BYTES", 2 * 13 * 4 * 5)
    for name, values in before.items():
        np.testing.assert_allclose(METHODS[name](traced).values, values, rtol=1e-5, atol=1e-9)


def hand_made(trace_of: Trace, attention: torch.Tensor) -> Trace:
    """A trace whose every layer has the given attention (N, N): keys one-hot, queries its log."""
    tokens = len(attention)
    query = attention.clamp_min(1e-30).log()[None]
    key = torch.eye(tokens)[None]
    layers = tuple(
        Layer(query, key, value=torch.zeros_like(query), output=layer.output, scale=1.0)
        for layer in trace_of.layers
    )
    return dataclasses.replace(trace_of, layers=layers)


def test_rollout_of_identity_is_the_class_row_of_identity(small: vx.LoadedModel, cat: Path) -> None:
    values = METHODS["rollout"](hand_made(trace(small, cat), torch.eye(13))).values
    np.testing.assert_allclose(values, 0, atol=1e-12)


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 2**31), st.floats(0.1, 8.0))
def test_rollout_shares_sum_to_one(small: vx.LoadedModel, seed: int, spread: float) -> None:
    generator = torch.Generator().manual_seed(seed)
    attention = (torch.randn(13, 13, generator=generator) * spread).softmax(-1)
    traced = hand_made(_traced(small), attention)
    step = (attention + torch.eye(13)) / 2
    expected = (step @ step @ step)[0]
    values = METHODS["rollout"](traced).values
    np.testing.assert_allclose(values.ravel(), expected[1:], atol=1e-5)
    assert values.min() >= 0
    assert values.sum() + float(expected[0]) == pytest.approx(1, abs=1e-5)


def _traced(small: vx.LoadedModel) -> Trace:
    from PIL import Image

    return trace(small, Image.new("RGB", (32, 24), "white"))


def test_discard_drops_the_smallest_patches_of_each_row_and_no_prefix(
    small: vx.LoadedModel, cat: Path
) -> None:
    attention = torch.full((13, 13), 0.05)
    attention[:, 0] = 0.001  # the class column is smallest and must stay
    attention[:, 12] = 0.449
    values = METHODS["rollout"](
        hand_made(trace(small, cat), attention), discard=0.9, start=2
    ).values
    expected = np.zeros(12)
    # 10 of 12 patch columns are dropped: of the equal ones, one is left beside the largest.
    row_sum = 1 + 0.001 + 0.05 + 0.449
    expected[11] = 0.449 / row_sum
    assert values.ravel()[11] == pytest.approx(expected[11], rel=1e-5)
    assert sorted(values.ravel())[10] == pytest.approx(0.05 / row_sum, rel=1e-5)
    assert np.count_nonzero(values) == 2


def test_attention_grad_cam_by_hand(small: vx.LoadedModel, cat: Path) -> None:
    traced = trace(small, cat, gradients="last")
    attention = traced.attention(-1)[:, 0, 1:]
    gradient = traced.attention_gradient(-1)[:, 0, 1:]
    expected = torch.zeros(12)
    for head in range(2):
        expected += gradient[head].mean() * attention[head] / 2
    values = METHODS["attention_grad_cam"](traced).values
    np.testing.assert_allclose(values.ravel(), expected.clamp(min=0), rtol=1e-4, atol=1e-8)


@pytest.mark.parametrize(
    "settings",
    [{}, {"pooling": "mean"}, {"class_token": False, "pooling": "mean"}, {"head": "mlp"}],
)
@pytest.mark.parametrize("start", [0, 2])
def test_legrad_equals_autograd_through_explicit_attention(
    settings: dict[str, object], start: int, cat: Path
) -> None:
    model = random_vit(**settings)
    traced = trace(model, cat, target=2)
    module, prefix = model.module, model.card.prefix_tokens
    gradients = []
    with torch.enable_grad():
        tokens = module.embed(traced.prepared.pixels).requires_grad_()
        for block in module.blocks:
            attentions: list[torch.Tensor] = []
            tokens = block(tokens.detach().requires_grad_(), attentions)
            logit = module.forward_head(module.norm(tokens))[0, 2]
            gradients.append(torch.autograd.grad(logit, attentions)[0][0])  # (h, N, N)
    expected = torch.stack([g.clamp(min=0).mean(dim=(0, 1)) for g in gradients[start:]]).mean(dim=0)
    values = METHODS["legrad"](traced, start=start).values
    assert expected[prefix:].max() > 0
    assert relative_error(values, expected[prefix:].reshape(3, 4).numpy()) < 1e-4


def test_legrad_by_hand(cat: Path) -> None:
    """A block that adds A·x, read by w at the class token: ∂s/∂A is w·x_key in that row."""
    model = random_vit(depth=1, heads=1)
    module, block = model.module, model.module.blocks[0]
    module.norm = block.norm1 = torch.nn.Identity()
    with torch.no_grad():
        block.attn.qkv.weight[64:] = torch.eye(32)
        block.attn.qkv.bias[64:] = 0
        block.attn.proj.weight.copy_(torch.eye(32))
        for zero in (block.attn.proj.bias, block.mlp.fc2.weight, block.mlp.fc2.bias):
            zero.zero_()
    traced = trace(model, cat, target=4)
    keys = module.embed(traced.prepared.pixels)[0, 1:].detach()
    expected = (keys @ module.head.weight[4].detach()).clamp(min=0) / 13
    assert 0 < (expected > 0).sum() < 12
    values = METHODS["legrad"](traced).values
    np.testing.assert_allclose(values.ravel(), expected, rtol=1e-4, atol=1e-6)


def random_vit(**settings: object) -> vx.LoadedModel:
    torch.manual_seed(0)
    base = {"image_size": (24, 32), "patch_size": (8, 8), "dim": 32, "depth": 3, "heads": 2}
    module = VisionTransformer(ViTConfig.from_dict({**base, "classes": 5, **settings}))
    for parameter in module.parameters():
        torch.nn.init.normal_(parameter, std=0.3)
    return load_small(module)


# Soft masks reach over the edges of patches, so a patch's neighbours matter to these.
PLACED = ("rise", "score_cam")


@pytest.mark.parametrize("settings", [{}, {"class_token": False, "pooling": "mean"}])
def test_maps_follow_the_patches_where_positions_are_none(
    settings: dict[str, object], cat: Path
) -> None:
    model = random_vit(position="none", **settings)
    prepared = model.prepare(cat)
    order = torch.randperm(12, generator=torch.Generator().manual_seed(1))
    patches = prepared.pixels.reshape(3, 3, 8, 4, 8).permute(1, 3, 0, 2, 4).flatten(0, 1)[order]
    moved = patches.unflatten(0, (3, 4)).permute(2, 0, 3, 1, 4).reshape(1, 3, 24, 32)
    one = trace(model, prepared, target=1, gradients="all")
    other = trace(model, dataclasses.replace(prepared, pixels=moved), target=1, gradients="all")
    for name in METHODS:
        if name in PLACED:
            continue
        options = {"steps": 5} if name == "integrated_gradients" else {}
        values = METHODS[name](one, **options).values.ravel()
        assert np.ptp(values) > 0, name
        found = METHODS[name](other, **options).values.ravel()
        assert relative_error(found, values[order]) < 2e-3, name


def test_notes(small: vx.LoadedModel, cat: Path) -> None:
    """Methods that follow the class token's row say when there is none to follow."""
    traced = trace(random_vit(class_token=False, pooling="mean"), cat, gradients="all")
    rows = {"attention", "rollout", "gradient_rollout", "generic_attention", "attention_grad_cam"}
    for name, method in METHODS.items():
        if not method.runs_model:
            note = "The model has no class token: the map is the mean of the patches' rows."
            assert method(traced).note == (note if name in rows else "")
            assert method(trace(small, cat, gradients="all")).note == ""
    assert METHODS["legrad"](traced).note == ""


def test_numpy_options_are_kept_as_plain_numbers(small: vx.LoadedModel, cat: Path) -> None:
    result = vx.explain(
        small, cat, methods="grad_cam", options={"grad_cam": {"layer": np.int64(1)}}
    )
    assert type(result.heatmaps["grad_cam"].options["layer"]) is int
    assert result.trace.gradients == "all"


def test_earlier_layers(small: vx.LoadedModel, cat: Path) -> None:
    result = vx.explain(small, cat, methods=("grad_cam",), options={"grad_cam": {"layer": 0}})
    pixels = result.prepared.pixels
    module = small.module
    with torch.enable_grad():
        x = module.embed(pixels)
        features = module.blocks[0].norm1(x).detach().requires_grad_(True)
        x = x + module.blocks[0].attn(features)
        x = x + module.blocks[0].mlp(module.blocks[0].norm2(x))
        for block in module.blocks[1:]:
            x = block(x)
        logit = module.forward_head(module.norm(x))[0, result.target.index]
        (gradient,) = torch.autograd.grad(logit, features)
    weights = gradient[0, 1:].mean(0)
    expected = F.relu(features.detach()[0, 1:] @ weights)
    values = result.heatmaps["grad_cam"].values
    assert expected.max() > 0
    np.testing.assert_allclose(values.ravel(), expected, rtol=1e-3, atol=1e-7)


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("rollout", {"fussion": "max"}, "no option 'fussion', did you mean 'fusion'"),
        ("rollout", {"fusion": "median"}, "fusion was 'median', expected mean, max or min"),
        ("rollout", {"discard": 1.0}, "discard ratio was 1.0, expected 0 to below 1"),
        ("rollout", {"start": 3}, "layer was 3, expected 0 to 2"),
        ("attention", {"head": 2}, "head was 2, expected 0 to 1"),
        ("attention", {"head": "first"}, "head was 'first', expected 0 to 1, or mean, max or min"),
    ],
)
def test_wrong_options_are_named(
    small: vx.LoadedModel, cat: Path, name: str, options: dict[str, object], message: str
) -> None:
    with pytest.raises(OptionError, match=message):
        METHODS[name](trace(small, cat, gradients="all"), **options)


def test_what_was_not_kept_is_asked_for(small: vx.LoadedModel, cat: Path) -> None:
    with pytest.raises(OptionError, match="kept no gradients of layer 2; trace with gradients"):
        METHODS["grad_cam"](trace(small, cat))
    with pytest.raises(OptionError, match="kept no features of layer 0; trace with gradients"):
        METHODS["eigen_cam"](trace(small, cat, gradients="last"), layer=0)


def test_position_similarity(deit_tiny: vx.LoadedModel) -> None:
    similarity = vx.position_similarity(deit_tiny)
    assert similarity.shape == (14, 14, 14, 14)
    positions = deit_tiny.module.pos_embed[0, 1:]
    for row, column in [(0, 0), (7, 3), (13, 13)]:
        expected = F.cosine_similarity(positions[row * 14 + column][None], positions)
        np.testing.assert_allclose(similarity[row, column].ravel(), expected, atol=1e-5)
        assert similarity[row, column, row, column] == pytest.approx(1)
    # A trained model's neighbours are more alike than far patches (ViT, Fig. 7).
    assert similarity[7, 7, 7, 8] > similarity[7, 7, 0, 0]
    grown = vx.position_similarity(deit_tiny, grid=(7, 20))
    assert grown.shape == (7, 20, 7, 20)
    resampled = resample_abs_pos_embed(deit_tiny.module.pos_embed, [7, 20])[0, 1:]
    expected = F.cosine_similarity(resampled[:, None], resampled[None], dim=-1)
    np.testing.assert_allclose(grown.reshape(140, 140), expected.detach(), atol=1e-5)
    with pytest.raises(OptionError, match="grid was"):
        vx.position_similarity(deit_tiny, grid=(0, 5))


def test_position_similarity_without_positions_says_so() -> None:
    import timm

    module = timm.create_model("vit_relpos_small_patch16_224", depth=2)
    with pytest.raises(UnsupportedModelError, match="adds no position embedding"):
        vx.position_similarity(vx.load_model(module))


def test_patch_grid_and_the_unfold_check(small: vx.LoadedModel, cat: Path) -> None:
    prepared = small.preprocess(vx.open_picture(cat))
    grid = vx.patch_grid(small, prepared)
    shown = np.asarray(prepared.shown)
    assert grid.shape == (3, 4, 8, 8, 3)
    assert np.array_equal(grid[2, 1], shown[16:24, 8:16])
    check = vx.check_patch_embedding(small, prepared)
    assert (check.patches, check.inputs, check.dim) == (12, 192, 32)
    assert check.error < 1e-5 * check.largest
