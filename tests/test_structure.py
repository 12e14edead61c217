"""Networks of any order of tokens and any way of attending, against the plain one."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import timm
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

import vit_explorer as vx
from vit_explorer.errors import UnsupportedModelError

from .odd_vits import GRID, SIZE, WAYS, OddViT, transform

MAPS = ("attention", "rollout", "gradient_rollout", "generic_attention", "grad_cam", "legrad")
CAT = Path(__file__).parents[1] / "assets" / "cat.png"


def load(module: nn.Module, size: int = SIZE) -> vx.LoadedModel:
    return vx.load_model(module.eval(), transform=transform, image_size=size)


@pytest.fixture(scope="module")
def plain() -> vx.Explanation:
    return vx.explain(load(OddViT()), CAT, methods=(*MAPS, "ablation_cam", "occlusion"))


def assert_same(result: vx.Explanation, plain: vx.Explanation, *, atol: float = 2e-6) -> None:
    assert result.predictions[0].label == plain.predictions[0].label
    for name, heatmap in result.heatmaps.items():
        expected = plain.heatmaps[name].values
        np.testing.assert_allclose(heatmap.values, expected, atol=atol, rtol=2e-5, err_msg=name)
    for layer in range(3):
        own, others = result.trace.attention(layer), plain.trace.attention(layer)
        torch.testing.assert_close(own, others, atol=1e-6, rtol=0)
        torch.testing.assert_close(
            result.trace.blocks[layer], plain.trace.blocks[layer], atol=1e-5, rtol=1e-5
        )


ORDERS = ["rows+c", "c+columns", "c+backwards", "columns+c", "backwards+c"]


@pytest.mark.parametrize("order", ORDERS)
def test_tokens_in_any_order_give_the_plain_maps(order: str, plain: vx.Explanation) -> None:
    model = load(OddViT(order))
    assert model.card.prefix_names == ("class",) and model.card.grid == (GRID, GRID)
    assert_same(vx.explain(model, CAT, methods=(*MAPS, "ablation_cam", "occlusion")), plain)


@settings(max_examples=15, deadline=None)
@given(st.integers(1, 2**31 - 1), st.booleans(), st.booleans(), st.sampled_from(WAYS))
def test_any_permutation(
    plain: vx.Explanation, seed: int, behind: bool, tokens_first: bool, way: str
) -> None:
    order = "rows+c" if behind else "c+rows"
    module = OddViT(order, shuffle=seed, tokens_first=tokens_first, way=way)
    assert_same(vx.explain(load(module), CAT, methods=MAPS), plain)


@pytest.mark.parametrize("way", WAYS)
def test_ways_of_attending_are_exact(way: str, plain: vx.Explanation) -> None:
    model = load(OddViT(way=way))
    result = vx.explain(model, CAT, methods=(*MAPS, "ablation_cam", "occlusion"))
    assert_same(result, plain)
    traced = vx.trace(model, CAT, gradients="all")
    expected = vx.trace(plain.model, CAT, gradients="all")
    for layer in range(3):
        torch.testing.assert_close(
            traced.attention_gradient(layer), expected.attention_gradient(layer), atol=1e-5, rtol=0
        )
    many = [one.trace for one in vx.explain_many(model, [CAT, CAT], (), batch_size=2)]
    torch.testing.assert_close(many[1].attention(1), traced.attention(1), atol=1e-6, rtol=0)


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("order", ["c+rows", "rows+c", "c+columns"])
def test_interventions_go_by_the_measured_order(
    way: str, order: str, plain: vx.Explanation
) -> None:
    change: dict[str, Any] = {"heads_off": [(1, 2), (-1, 0)], "patches_off": [(0, 1), (2, 3)]}
    own = vx.intervene(load(OddViT(order, way=way)), CAT, **change)
    expected = vx.intervene(plain.model, CAT, **change)
    np.testing.assert_allclose(own.logits_after, expected.logits_after, atol=1e-5)
    assert not np.allclose(own.logits_after, own.logits_before, atol=1e-3)


@pytest.mark.parametrize("call", ["plain", "keyword"])
@pytest.mark.parametrize("tokens_first", [False, True])
def test_calls_of_blocks(call: str, tokens_first: bool, plain: vx.Explanation) -> None:
    model = load(OddViT(call=call, tokens_first=tokens_first))
    assert_same(vx.explain(model, CAT, methods=(*MAPS, "ablation_cam")), plain)
    own, expected = (vx.logit_lens(vx.trace(one, CAT)) for one in (model, plain.model))
    np.testing.assert_allclose(own.logits, expected.logits, atol=1e-4)


def test_a_norm_after_attention_is_read_there(cat: Path) -> None:
    from pytorch_grad_cam import GradCAM
    from pytorch_grad_cam.utils.model_targets import ClassifierOutputTarget

    model = load(OddViT(post=True))
    module, (picture,) = model.module, [model.prepare(cat)]
    options = {"grad_cam": {"layer": 1}, "hires_cam": {"layer": 1}}
    result = vx.explain(model, cat, methods=tuple(options), target=3, options=options)

    def grid(tokens: Tensor) -> Tensor:
        return tokens[:, 1:].transpose(1, 2).unflatten(2, (GRID, GRID))

    norm = module.layers[1].one  # type: ignore[union-attr, index]
    cam = GradCAM(module, [norm], reshape_transform=grid)
    with torch.enable_grad():
        shown = cam(picture.pixels.requires_grad_(True), [ClassifierOutputTarget(3)])[0]
    values = result.heatmaps["grad_cam"].values
    # The package enlarges the map and stretches it to 0 and 1.
    small = torch.from_numpy(shown)[None, None]
    assert values.argmax() == nn.functional.avg_pool2d(small, 8).argmax() or values.max() == 0
    kept: list[Tensor] = []
    hook = norm.register_forward_hook(lambda _, __, out: kept.append(out))
    with torch.enable_grad():
        logit = module(picture.pixels.requires_grad_(True))[0, 3]
        hook.remove()
        (slope,) = torch.autograd.grad(logit, kept)
    expected = (grid(slope)[0] * grid(kept[0].detach())[0]).sum(0).relu()
    assert float(expected.max()) > 0
    np.testing.assert_allclose(result.heatmaps["hires_cam"].values, expected, atol=1e-6)
    assert "after attention" in result.heatmaps["grad_cam"].note


@pytest.mark.parametrize("order", ["c+rows", *ORDERS])
def test_positions_of_any_name_and_order(order: str) -> None:
    module = OddViT(order)
    model = load(module)
    assert model.card.position == "learned"
    flat = module.places[0].flatten(1).T.double()
    unit = nn.functional.normalize(flat, dim=1)
    expected = (unit @ unit.T).reshape(GRID, GRID, GRID, GRID)
    np.testing.assert_allclose(vx.position_similarity(model), expected.detach(), atol=1e-5)


def test_positions_that_are_not_there_are_not_told() -> None:
    module = OddViT()
    nn.init.zeros_(module.places)
    model = load(module)
    assert model.card.position == "no"
    with pytest.raises(UnsupportedModelError, match="adds no position embedding"):
        vx.position_similarity(model)


def test_loading_runs_little_of_a_model() -> None:
    """Whole passes: what it is made of, what its head reads, what its numbers are. The rest ends
    at the first block, or in it."""
    module = timm.create_model(
        "vit_tiny_patch16_224", embed_dim=48, num_heads=3, depth=3, num_classes=5
    ).eval()
    ran: dict[str, list[int]] = {"embedding": [], "first": [], "last": []}
    parts = {"embedding": module.patch_embed.proj, "first": module.blocks[0]}
    for name, part in parts.items():
        part.register_forward_pre_hook(lambda _, args, name=name: ran[name].append(len(args[0])))
    module.blocks[-1].register_forward_hook(lambda _, args, __: ran["last"].append(len(args[0])))
    vx.load_model(module)
    assert ran["last"] == [1, 1, 1]  # pictures of a pass
    # Places of 14 rows and columns are told by 4 bits each, with their opposites.
    assert len(ran["embedding"]) <= 10 and sum(ran["embedding"]) <= 27
    assert len(ran["first"]) <= 9


class Both(nn.Module):
    """A head on the class token and the patches' mean side by side."""

    def __init__(self) -> None:
        super().__init__()
        self.body = OddViT()
        self.body.head = nn.Identity()  # type: ignore[assignment]
        self.head = nn.Linear(64, 5)

    def forward(self, images: Tensor) -> Tensor:
        kept: list[Tensor] = []
        hook = self.body.layers[-1].register_forward_hook(lambda _, __, out: kept.append(out))
        self.body(images)
        hook.remove()
        tokens = self.body.end(kept[0])
        return self.head(torch.cat((tokens[:, 0], tokens[:, 1:].mean(1)), dim=1))


def test_a_head_on_both_is_read_in_shares(cat: Path) -> None:
    module = Both()
    with torch.no_grad():
        module.head.weight[:, :32] *= 3
    model = load(module)
    shares = dict(model.card.read_shares)
    assert model.card.pooling == "class + mean"
    # Each patch's gradient is a share of the mean's, so the norms' ratio is that of the weights.
    first, mean = (module.head.weight[:, part] for part in (slice(32), slice(32, 64)))
    generator = torch.Generator().manual_seed(0)
    rows = torch.randn(4, 1, 5, generator=generator)[:, 0]
    ratio = sum(float((row @ first).norm()) for row in rows) / sum(
        float((row @ mean).norm()) for row in rows
    )
    assert shares["class"] / shares["patches"] == pytest.approx(ratio, rel=1e-3)
    row = vx.trace(model, cat).readout()
    assert float(row[0]) == pytest.approx(shares["class"], rel=1e-5)
    assert row[1:].numpy() == pytest.approx(shares["patches"] / 16, rel=1e-5)


class Two(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.models = nn.ModuleList([OddViT(), OddViT()])

    def forward(self, images: Tensor) -> Tensor:
        return sum(model(images) for model in self.models) / 2  # type: ignore[return-value]


class Broken(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(2, 2)

    def forward(self, images: Tensor) -> Tensor:
        return {"a": images}["b"]


def test_refusals_give_the_measured_reason() -> None:
    with pytest.raises(UnsupportedModelError, match=r"KeyError \('b'\) in test_structure.py, line"):
        load(Broken())
    card = load(Two()).card
    reason = "'models.1.layers.0' doesn't read what 'models.0.layers.2' gives"
    assert card.tier == 2 and reason in card.tier_reason


class Frozen(nn.Module):
    """A new head on a backbone that is run without gradients."""

    def __init__(self, how: str) -> None:
        super().__init__()
        self.body, self.how = OddViT(classes=32), how
        self.head = nn.Linear(32, 7)

    def forward(self, images: Tensor) -> Any:
        with torch.set_grad_enabled(self.how != "no_grad" and torch.is_grad_enabled()):
            features = self.body(images)
        logits = self.head(features.detach() if self.how == "detach" else features)
        return logits if self.how != "pair" else ({"loss": None}, logits)


@pytest.mark.parametrize("how", ["no_grad", "detach", "pair"])
def test_a_frozen_backbone_is_explained_through(how: str, cat: Path) -> None:
    open_one, own = Frozen("open"), Frozen(how)
    own.load_state_dict(open_one.state_dict())
    methods = (*MAPS, "saliency", "input_x_gradient")
    expected = vx.explain(load(open_one), cat, methods=methods)
    result = vx.explain(load(own), cat, methods=methods)
    for name in methods:
        np.testing.assert_allclose(
            result.heatmaps[name].values, expected.heatmaps[name].values, atol=1e-6, err_msg=name
        )


@pytest.mark.parametrize("way", ["fused", "written"])
def test_what_is_borrowed_is_given_back_after_an_error(way: str, cat: Path) -> None:
    model = load(OddViT(way=way))
    module = model.module.train()

    def fail(*_: Any) -> None:
        raise RuntimeError("forced")

    hook = module.layers[1].mlp.register_forward_hook(fail)  # type: ignore[union-attr, index]
    with pytest.raises(RuntimeError, match="forced"):
        vx.trace(model, cat, gradients="all")
    hook.remove()
    assert all(child.training for child in module.modules())
    for child in module.modules():
        assert not child._forward_hooks and not child._forward_pre_hooks
    assert torch.is_grad_enabled()
    assert torch._C._len_torch_function_stack() == 0


def test_a_grid_that_is_not_square_and_a_patch_that_is_not(cat: Path) -> None:
    class Wide(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.embed = nn.Linear(3 * 4 * 8, 32)
            self.layers = nn.ModuleList(OddViT().layers)
            self.head = nn.Linear(32, 3)

        def forward(self, images: Tensor) -> Tensor:
            cut = nn.functional.unfold(images, (4, 8), stride=(4, 8))
            x = self.embed(cut.transpose(1, 2))
            for layer in self.layers:
                x = layer(x)
            return self.head(x.mean(1))

    module = Wide().eval()
    model = vx.load_model(module, transform=lambda _: torch.randn(3, 24, 64), image_size=(24, 64))
    assert model.card.grid == (6, 8) and model.card.patch_size == (4, 8)
    assert model.card.prefix_names == () and model.card.pooling == "mean"
    assert model.anatomy.places is None and not model.card.overlap
