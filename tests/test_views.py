"""The views that are no heatmaps: by hand, by loops, and by the model's own parts."""

from __future__ import annotations

import dataclasses
import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import timm
import torch
import torch.nn.functional as F
from scipy.stats import entropy
from torch import Tensor, nn
from torchvision import transforms

import vit_explorer as vx
from vit_explorer.drawing import figures
from vit_explorer.errors import OptionError, OutputError, TargetError, UnsupportedModelError
from vit_explorer.models.readout import embedded, readout
from vit_explorer.models.vit import Block, VisionTransformer, ViTConfig

from .conftest import load_small
from .test_interventions import SCRATCH, scratch, timm_model


@pytest.fixture(scope="module")
def passed(small: vx.LoadedModel, cat: Path) -> vx.Trace:
    return vx.trace(small, cat)


class TupleBlock(Block):
    """A block that answers in a tuple, as some libraries' do."""

    def forward(self, x: Any, attentions: Any = None) -> Any:
        return super().forward(x[0] if isinstance(x, tuple) else x, attentions), "more"


class TupleViT(VisionTransformer):
    def forward_features(self, images: Tensor, attentions: Any = None) -> Tensor:
        x: Any = self.embed(images)
        for block in self.blocks:
            x = block(x)
        return self.norm(x[0])


def tuple_model() -> vx.LoadedModel:
    model = scratch()
    module = TupleViT(model.module.config)
    for index, block in enumerate(module.blocks):
        module.blocks[index] = TupleBlock(module.config, 0.0)
        module.blocks[index].load_state_dict(block.state_dict())
    module.load_state_dict(model.module.state_dict())
    return load_small(module)


def one_block() -> vx.LoadedModel:
    torch.manual_seed(0)
    config = ViTConfig(image_size=(16, 16), patch_size=(8, 8), dim=8, depth=1, heads=2, classes=3)
    return load_small(VisionTransformer(config))


READABLE = {
    **{kind: lambda kind=kind: scratch(**SCRATCH[kind]) for kind in SCRATCH},
    "tuples": tuple_model,
    "one block": one_block,
    "gap": lambda: timm_model("vit_tiny_patch16_224", img_size=64, global_pool="avg"),
    "two heads": lambda: timm_model("deit_tiny_distilled_patch16_224", img_size=64),
    "attention": lambda: timm_model("vit_base_patch16_siglip_224", img_size=64, global_pool="map"),
    "rotary": lambda: timm_model("eva02_tiny_patch14_224", img_size=56),
    "relative in timm": lambda: timm_model("beit_base_patch16_224", img_size=64),
    "registers": lambda: timm_model("vit_small_patch14_reg4_dinov2", img_size=56),
}


@pytest.mark.parametrize("kind", READABLE)
def test_the_end_of_a_model_alone_gives_its_logits(kind: str, cat: Path) -> None:
    model = READABLE[kind]()
    traced = vx.trace(model, cat)
    tokens = torch.stack((torch.zeros_like(traced.blocks[-1]), traced.blocks[-1]))
    found = readout(model, tokens)[1].detach()
    torch.testing.assert_close(found, traced.logits, rtol=1e-5, atol=1e-5)
    lens = vx.logit_lens(traced)
    assert len(lens.predictions) == model.card.depth + 1
    np.testing.assert_allclose(lens.logits[-1], traced.logits, rtol=1e-5, atol=1e-5)


def test_the_end_of_a_model_is_differentiated(passed: vx.Trace) -> None:
    module = passed.model.module
    tokens = torch.stack(passed.blocks).requires_grad_(True)
    (slope,) = torch.autograd.grad(readout(passed.model, tokens)[:, 3].sum(), tokens)
    (expected,) = torch.autograd.grad(module.forward_head(module.norm(tokens))[:, 3].sum(), tokens)
    torch.testing.assert_close(slope, expected)
    assert expected.abs().max() > 1e-3
    with torch.no_grad():
        assert not readout(passed.model, tokens).requires_grad
    assert all(parameter.grad is None for parameter in module.parameters())


@torch.no_grad()
def test_tokens_before_the_first_block(passed: vx.Trace) -> None:
    pixels = passed.prepared.pixels
    both = torch.cat((pixels, pixels.flip(-1)))
    torch.testing.assert_close(embedded(passed.model, both), passed.model.module.embed(both))


def test_what_is_borrowed_for_the_readout_is_given_back(
    cat: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = scratch()
    module = model.module.train()

    def own(x: Tensor, attentions: Any = None) -> Tensor:
        return Block.forward(module.blocks[1], x, attentions)

    module.blocks[1].forward = own  # as accelerate's hooks do
    tokens = torch.randn(2, 13, 32)

    def fail(_: Tensor) -> Tensor:
        raise RuntimeError("forced")

    for part, call in (
        (module.head, lambda: readout(model, tokens)),
        (module.pos_drop, lambda: embedded(model, torch.zeros(1, 3, 24, 32))),
    ):
        with monkeypatch.context() as broken:
            broken.setattr(part, "forward", fail)
            with pytest.raises(RuntimeError, match="forced"):
                call()
    assert vars(module.blocks[1])["forward"] is own
    for index in (0, 2):
        assert "forward" not in vars(module.blocks[index])
    for child in module.modules():
        assert child.training
        assert not child._forward_hooks and not child._forward_pre_hooks
    assert torch.is_grad_enabled()
    assert all(parameter.requires_grad for parameter in module.parameters())


@torch.no_grad()
def test_lens_by_the_models_own_parts(deit_tiny: vx.LoadedModel, cat: Path) -> None:
    module = deit_tiny.module
    traced = vx.trace(deit_tiny, cat)
    start = module.norm_pre(module._pos_embed(module.patch_embed(traced.prepared.pixels)))
    tokens = torch.stack((start[0], *traced.blocks))
    expected = module.head(module.norm(tokens)[:, 0])
    lens = vx.logit_lens(traced, top=3)
    np.testing.assert_allclose(lens.logits, expected, atol=1e-5)
    np.testing.assert_allclose(lens.logits[-1], traced.logits, atol=1e-5)
    shares = expected.softmax(dim=-1)
    np.testing.assert_allclose(lens.curve, shares[:, 285], atol=1e-6)
    assert (lens.target.index, lens.target.label) == (285, "Egyptian cat")
    assert lens.target.probability == pytest.approx(float(shares[-1, 285]), abs=1e-6)
    for row, predictions in zip(shares, lens.predictions, strict=True):
        best = row.topk(3)
        assert [p.index for p in predictions] == best.indices.tolist()
        assert [p.probability for p in predictions] == pytest.approx(best.values.tolist())
    leads = (shares.argmax(dim=-1) == 285).tolist()
    assert lens.settled == 9 and all(leads[9:]) and not leads[8]
    # The last layer's mean and variance, token by token, at every depth.
    last = tokens[-1, 0]
    deviation = (last.var(correction=0) + module.norm.eps).sqrt()
    scaled = (tokens[:, 0] - last.mean()) / deviation * module.norm.weight + module.norm.bias
    fixed = vx.logit_lens(traced, norm="last_statistics")
    np.testing.assert_allclose(fixed.logits, module.head(scaled), atol=2e-5)
    assert np.abs(fixed.logits[:-1] - lens.logits[:-1]).max() > 0.1


@torch.no_grad()
def test_lens_with_the_last_statistics_of_a_pooled_norm(cat: Path) -> None:
    model = timm_model("vit_tiny_patch16_224", img_size=64, global_pool="avg")
    traced = vx.trace(model, cat)
    pooled = torch.stack(traced.blocks)[:, 1:].mean(dim=1)
    norm = model.module.fc_norm
    deviation = (pooled[-1].var(correction=0) + norm.eps).sqrt()
    scaled = (pooled - pooled[-1].mean()) / deviation * norm.weight + norm.bias
    found = vx.logit_lens(traced, norm="last_statistics").logits[1:]
    np.testing.assert_allclose(found, model.module.head(scaled), rtol=1e-4, atol=1e-4)


def test_lens_follows_the_traces_target(small: vx.LoadedModel, cat: Path) -> None:
    traced = vx.trace(small, cat, target=1)
    lens = vx.logit_lens(traced)
    assert lens.target.index == 1
    never = traced.logits.argmax() != 1
    assert (lens.settled == small.card.depth + 1) == bool(never)


class Identity(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x


def test_lens_refuses_what_it_cannot_read(small: vx.LoadedModel, cat: Path) -> None:
    with pytest.raises(OptionError, match="was 'mean', expected final or last_statistics"):
        vx.logit_lens(vx.trace(small, cat), norm="mean")
    unnormed = scratch()
    unnormed.module.norm = Identity()
    traced = vx.trace(unnormed, cat)
    vx.logit_lens(traced)
    with pytest.raises(UnsupportedModelError, match="No layer norm follows the blocks"):
        vx.logit_lens(traced, norm="last_statistics")
    headless = timm.create_model("vit_tiny_patch16_224", depth=1, num_classes=0, img_size=32)
    transform = transforms.Compose([transforms.Resize((32, 32)), transforms.ToTensor()])
    model = vx.load_model(headless, transform=transform, image_size=32)
    with pytest.raises(TargetError, match="no classifier, so tokens can't be read as classes"):
        vx.logit_lens(vx.trace(model, cat))


class TwoDepths(VisionTransformer):
    def forward_features(self, images: Tensor, attentions: Any = None) -> Tensor:
        middle = self.blocks[1](self.blocks[0](self.embed(images)))
        return self.norm(middle + self.blocks[2](middle))


def test_lens_refuses_a_head_that_reads_several_blocks(cat: Path) -> None:
    model = scratch()
    module = TwoDepths(model.module.config)
    module.load_state_dict(model.module.state_dict())
    with pytest.raises(
        UnsupportedModelError, match="reads the tokens of block 2 and of the last one"
    ):
        vx.logit_lens(vx.trace(load_small(module), cat))


def distances_by_loop(model: vx.LoadedModel, attention: Tensor, renormalise: bool) -> Tensor:
    (gh, gw), (h, w) = model.card.grid, model.card.patch_size
    shares = attention[:, model.card.prefix_tokens :, model.card.prefix_tokens :]
    total = torch.zeros(len(shares))
    for i in range(gh * gw):
        row = torch.zeros(len(shares))
        for j in range(gh * gw):
            far = math.hypot(h * (i // gw - j // gw), w * (i % gw - j % gw))
            row += shares[:, i, j] * far
        total += row / (shares[:, i].sum(dim=-1) if renormalise else 1)
    return total / (gh * gw)


@pytest.mark.parametrize("kind", ["class", "distilled", "no class token"])
@pytest.mark.parametrize("step", [1, 5, 100])
def test_distance_and_entropy_against_loops(
    kind: str, step: int, cat: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = scratch(**SCRATCH[kind])
    traced = vx.trace(model, cat)
    whole = [traced.attention(layer) for layer in range(3)]
    monkeypatch.setattr(
        "vit_explorer.tracing.attention_layer.CHUNK_BYTES", 2 * model.card.tokens * 4 * step
    )
    assert len(list(traced.layers[0].chunks())) == math.ceil(model.card.tokens / step)
    for renormalise in (False, True):
        found = vx.attention_distance(traced, renormalise=renormalise)
        expected = torch.stack([distances_by_loop(model, one, renormalise) for one in whole])
        np.testing.assert_allclose(found, expected, rtol=1e-4)
    spread = [entropy(one.numpy(), axis=-1, base=model.card.tokens).mean(axis=1) for one in whole]
    np.testing.assert_allclose(vx.attention_entropy(traced), spread, atol=1e-5)


def test_uniform_attention_by_hand(cat: Path) -> None:
    torch.manual_seed(0)
    config = ViTConfig(image_size=(6, 16), patch_size=(6, 8), dim=8, depth=1, heads=2, classes=3)
    module = VisionTransformer(config)
    nn.init.zeros_(module.blocks[0].attn.qkv.weight)
    traced = vx.trace(load_small(module), cat)
    # Three tokens, a third each: the class token, the patch itself, and one 8 pixels away.
    np.testing.assert_allclose(vx.attention_distance(traced), [[8 / 3, 8 / 3]], rtol=1e-6)
    np.testing.assert_allclose(vx.attention_distance(traced, renormalise=True), [[4, 4]])
    np.testing.assert_allclose(vx.attention_entropy(traced), [[1, 1]], rtol=1e-6)


def test_filters_are_the_principal_components(small: vx.LoadedModel) -> None:
    torch.manual_seed(1)
    axis = F.normalize(torch.rand(3 * 8 * 8), dim=0)
    model = scratch()
    weight = (torch.randn(32, 1) * axis).reshape(32, 3, 8, 8)
    with torch.no_grad():
        model.module.patch_embed.proj.weight.copy_(weight)
    found = vx.patch_filters(model, count=2)
    assert found.filters.shape == (2, 8, 8, 3) and found.filters.dtype == np.uint8
    first = torch.from_numpy(found.filters[0]).float() / 127.5 - 1
    first = F.normalize(first.permute(2, 0, 1).flatten(), dim=0)
    assert float(first @ axis) == pytest.approx(1, abs=1e-3)
    np.testing.assert_allclose(found.explained, [1, 0], atol=1e-6)
    weight = small.module.patch_embed.proj.weight.detach().flatten(1)
    variance = np.linalg.eigvalsh(np.cov(weight.numpy(), rowvar=False))[::-1]
    np.testing.assert_allclose(
        vx.patch_filters(small).explained, variance[:28] / variance.sum(), rtol=1e-3
    )
    assert len(vx.patch_filters(one_block()).filters) == 8
    for count in (0, 33, 2.0, True):
        with pytest.raises(OptionError, match="filter count was .* from 1 to 32"):
            vx.patch_filters(small, count=count)


@pytest.mark.parametrize("name", ["vit_base_r50_s16_224", "naflexvit_base_patch16_gap"])
def test_filters_need_one_convolution_over_rgb(name: str, cat: Path) -> None:
    model = vx.load_model(name, pretrained=False)
    for call in (vx.patch_filters, lambda model: vx.check_patch_embedding(model, cat)):
        with pytest.raises(UnsupportedModelError, match="by one convolution over RGB"):
            call(model)


def test_token_similarity_against_cosines(cat: Path) -> None:
    traced = vx.trace(scratch(distillation_token=True), cat)
    for token, index in (((2, 1), 11), ("distillation", 1), (0, 0), (11, 11)):
        maps = vx.token_similarity(traced, token, layer=None)
        assert maps.shape == (3, 3, 4)
        for layer, output in enumerate(traced.blocks):
            expected = F.cosine_similarity(output[2:], output[index][None], dim=-1).reshape(3, 4)
            np.testing.assert_allclose(maps[layer], expected, atol=1e-6)
            one = vx.token_similarity(traced, token, layer=layer)
            np.testing.assert_allclose(one, expected, atol=1e-6)
    assert vx.token_similarity(traced, (2, 1))[2, 1] == pytest.approx(1)


@pytest.mark.parametrize("token", [(3, 0), (0, 4), (-1, 0), "register 1", 13, -1, True, 1.0, (1,)])
def test_token_similarity_refuses_other_tokens(passed: vx.Trace, token: Any) -> None:
    with pytest.raises(OptionError, match=r"expected \(row, column\) below \(3, 4\), one of 'cl"):
        vx.token_similarity(passed, token)
    with pytest.raises(OptionError, match="layer was 3"):
        vx.token_similarity(passed, (0, 0), layer=3)


def with_norms(passed: vx.Trace, norms: list[float]) -> vx.Trace:
    tokens = F.normalize(passed.blocks[-1], dim=-1) * torch.tensor(norms)[:, None]
    return dataclasses.replace(passed, blocks=(*passed.blocks[:-1], tokens))


def test_artifacts_by_hand(passed: vx.Trace) -> None:
    # Median 6.5; deviations 5.5, …, 0.5, 0.5, …, 4.5 and 93.5: their median is 3.
    patches = [1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 100]
    found = vx.artifacts(with_norms(passed, [50, *patches]))
    assert found.median == pytest.approx(6.5)
    assert found.threshold == pytest.approx(6.5 + 4 * 1.4826 * 3, rel=1e-5)
    np.testing.assert_allclose(found.norms.ravel(), patches, rtol=1e-5)
    np.testing.assert_allclose(found.prefix_norms, [50], rtol=1e-5)
    assert found.count == 1 and found.outliers[2, 3] and found.layer == 2
    counts, edges = found.histogram
    # Of twelve bins, three end at the threshold: at 8.8, 16.5 and 24.3.
    assert counts.tolist() == [8, 3, *[0] * 9, 1]
    assert edges[3] == pytest.approx(found.threshold) and edges[-1] == pytest.approx(100)
    taken = passed.attention(2)[:, :, 12]
    assert found.mean_share == pytest.approx(float(taken.mean()), rel=1e-5)
    assert found.class_share == pytest.approx(float(taken[:, 0].mean()), rel=1e-5)
    wider = vx.artifacts(with_norms(passed, [50, *patches]), deviations=0.5)
    assert wider.outliers.ravel().tolist() == [False] * 8 + [True] * 4
    several = passed.attention(2)[:, :, 9:].sum(dim=-1).mean()
    assert wider.mean_share == pytest.approx(float(several), rel=1e-5)


def test_no_artifacts_where_all_norms_are_alike(passed: vx.Trace, cat: Path) -> None:
    found = vx.artifacts(dataclasses.replace(passed, blocks=(torch.ones(13, 32),) * 3))
    assert found.count == 0 and found.mean_share == 0 == found.class_share
    bare = vx.artifacts(vx.trace(scratch(**SCRATCH["no class token"]), cat))
    assert bare.class_share is None and bare.prefix_norms.shape == (0,)
    for deviations in (0, -1, "4", True, math.nan):
        with pytest.raises(OptionError, match="deviations were .* above 0"):
            vx.artifacts(passed, deviations=deviations)
    with pytest.raises(OptionError, match="layer was 3"):
        vx.artifacts(passed, layer=3)


def test_deit_has_the_artifacts_that_were_found_in_it(deit_tiny: vx.LoadedModel, cat: Path) -> None:
    found = vx.artifacts(vx.trace(deit_tiny, cat))
    assert 1 <= found.count <= 10
    assert found.mean_share > 5 * found.count / 197, "outliers take much more than their share"


def test_figures_show_the_numbers(passed: vx.Trace, small: vx.LoadedModel) -> None:
    distance, spread = vx.attention_distance(passed), vx.attention_entropy(passed)
    heads = figures.head_figure(distance, spread, renormalised=distance * 2)
    left, right = heads.axes
    np.testing.assert_allclose(left.lines[0].get_ydata(), distance.ravel())
    np.testing.assert_allclose(left.lines[2].get_ydata(), 2 * distance.mean(axis=1))
    np.testing.assert_allclose(right.lines[1].get_ydata(), spread.mean(axis=1))
    assert left.get_ylim()[1] > distance.max()
    lens = vx.logit_lens(passed)
    table, curve = figures.lens_figure(lens).axes
    assert len(table.texts) == 4 * 5
    assert table.texts[15].get_text().startswith(lens.predictions[3][0].label)
    assert len(table.patches) == sum(
        p.index == lens.target.index for row in lens.predictions for p in row
    )
    np.testing.assert_allclose(curve.lines[0].get_xdata(), lens.curve)
    marked = vx.artifacts(with_norms(passed, [50, *range(1, 12), 100]))
    drawn = figures.artifact_figure(passed.prepared.crop, marked)
    assert "1 of 12 patches" in drawn.get_suptitle()
    assert [patch.get_xy() for patch in drawn.axes[1].patches] == [(2.5, 1.5)]
    bars = drawn.axes[2].patches
    grey = [bar.get_height() for bar in bars if bar.get_facecolor() == bars[0].get_facecolor()]
    assert sum(grey) == 11 and sum(bar.get_height() for bar in bars) == 12
    sheet = figures.filter_sheet(vx.patch_filters(small, count=9))
    assert [len(axis.images) for axis in sheet.axes] == [1] * 9 + [0] * 5
    maps = vx.token_similarity(passed, (1, 2), layer=None)
    similar = figures.similarity_figure(passed.prepared.crop, maps, patch=(1, 2))
    np.testing.assert_allclose(similar.axes[3].images[0].get_array(), maps[2])
    assert similar.axes[3].patches[0].get_xy() == (1.5, 0.5)
    for call in (
        lambda: figures.head_figure([1.0], spread),
        lambda: figures.similarity_figure(passed.prepared.crop, maps[0]),
    ):
        with pytest.raises(OptionError, match="have shape|has shape"):
            call()


def test_views_are_saved_whole_or_not_at_all(
    small: vx.LoadedModel, cat: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, skipped = vx.save_views(small, cat, tmp_path / "out")
    assert folder == tmp_path / "out" / "cat" and skipped == {}
    names = {file.name for file in folder.iterdir()}
    expected = {f"{view}.{kind}" for view in vx.VIEWS for kind in ("png", "npz")}
    assert names == expected | {"views.json"}
    manifest = json.loads((folder / "views.json").read_text())
    assert list(manifest["views"]) == list(vx.VIEWS) and set(manifest["files"]) == names
    traced = vx.trace(small, cat)
    with np.load(folder / "heads.npz") as file:
        np.testing.assert_allclose(file["distance"], vx.attention_distance(traced))
    with np.load(folder / "lens.npz") as file:
        np.testing.assert_allclose(file["target_probability"], vx.logit_lens(traced).curve)
    with np.load(folder / "artifacts.npz") as file:
        np.testing.assert_allclose(file["norms"][1], vx.artifacts(traced, layer=1).norms)
    (folder / "mine.txt").write_text("kept")
    vx.save_views(small, cat, tmp_path / "out", "lens")
    assert {file.name for file in folder.iterdir()} == {
        "lens.png",
        "lens.npz",
        "views.json",
        "mine.txt",
    }

    def fail(*_: Any, **__: Any) -> Any:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("vit_explorer.explaining.views.saving.np.savez_compressed", fail)
    with pytest.raises(OutputError, match="No space left"):
        vx.save_views(small, cat, tmp_path / "full", ("lens", "heads"))
    assert list((tmp_path / "full").iterdir()) == []


def test_views_that_a_model_does_not_allow(cat: Path, tmp_path: Path) -> None:
    model = scratch(**SCRATCH["relative"])
    folder, skipped = vx.save_views(model, cat, tmp_path)
    assert list(skipped) == ["positions"]
    assert not (folder / "positions.png").exists()
    with pytest.raises(UnsupportedModelError, match="positions are relative"):
        vx.save_views(model, cat, tmp_path, ("heads", "positions"), name="named")
    assert not (tmp_path / "named").exists()
    with pytest.raises(OptionError, match="no view 'lense', did you mean 'lens'"):
        vx.save_views(model, cat, tmp_path, "lense")
    with pytest.raises(OptionError, match="No views were named"):
        vx.save_views(model, cat, tmp_path, ())
    with pytest.raises(OptionError, match="a name that is no path"):
        vx.save_views(model, cat, tmp_path, name="../up")
