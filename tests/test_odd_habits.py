"""Habits of real networks: heads on several blocks, stems, sums in place, hooks, chance."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import pairwise
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

import vit_explorer as vx
from vit_explorer.errors import UnsupportedModelError
from vit_explorer.models.checkpoints.transformers_modules import describe

from .odd_vits import GRID, HEADS, PATCH, SIZE, WIDTH, Attention, Block, OddViT, transform


def load(module: nn.Module) -> vx.LoadedModel:
    return vx.load_model(module.eval(), transform=transform, image_size=SIZE)


@contextmanager
def kept_of(part: nn.Module) -> Iterator[list[Tensor]]:
    kept: list[Tensor] = []
    hook = part.register_forward_hook(lambda _, __, output: kept.append(output))
    try:
        yield kept
    finally:
        hook.remove()


class OfTwoBlocks(OddViT):
    """A head on the class tokens, or the patches' means, of the last two blocks side by side."""

    def __init__(self, *, mean: bool = False) -> None:
        super().__init__(way="written")
        self.head, self.mean = nn.Linear(2 * WIDTH, 7), mean

    def forward(self, images: Tensor) -> Tensor:
        x = (self.conv(images) + self.places).flatten(2).transpose(1, 2)
        x = torch.cat([self.c.expand(len(x), -1, -1), x], 1)
        read = []
        for block in self.layers:
            x = block(x)
            tokens = self.end(x)
            read.append(tokens[:, 1:].mean(1) if self.mean else tokens[:, 0])
        return self.head(torch.cat(read[-2:], 1))


def test_a_head_on_two_blocks_is_told_and_nothing_is_read_off_one(cat: Path) -> None:
    module = OfTwoBlocks()
    model = load(module)
    assert model.card.read_blocks == (1,) and model.card.pooling == "class"
    assert load(OddViT()).card.read_blocks == ()
    result = vx.explain(model, cat, methods="all", options={"rise": {"masks": 8}})
    assert set(result.skipped) == {"legrad"}
    assert "its head reads the tokens of block 2 and of the last one" in result.skipped["legrad"]
    with pytest.raises(UnsupportedModelError, match="the tokens of block 2"):
        vx.logit_lens(vx.trace(model, cat))


def test_features_are_ablated_in_the_last_block_alone(cat: Path) -> None:
    module = OfTwoBlocks()
    model = load(module)
    options = {"ablation_cam": {"fill": "zero"}}
    result = vx.explain(model, cat, methods=("ablation_cam",), target=3, options=options)
    norm, pixels = module.layers[-1].one, result.prepared.pixels  # type: ignore[union-attr]
    without: int | None = None

    def ablate(_: nn.Module, __: Any, output: Tensor) -> Tensor:
        return output if without is None else output.index_fill(2, torch.tensor([without]), 0.0)

    hook = norm.register_forward_hook(ablate)  # type: ignore[union-attr, operator]
    with torch.no_grad():
        with kept_of(norm) as kept:  # type: ignore[arg-type]
            whole = float(module(pixels)[0, 3])
        features = kept[0][0, 1:]  # (n, D)
        total = torch.zeros(GRID * GRID)
        for without in range(WIDTH):
            lost = (whole - float(module(pixels)[0, 3])) / whole
            total += lost * features[:, without]
    hook.remove()
    expected = total.relu().unflatten(0, (GRID, GRID))
    np.testing.assert_allclose(
        result.heatmaps["ablation_cam"].values, expected, atol=1e-4, rtol=1e-4
    )
    assert float(expected.max()) > 1e-3


def test_patches_pooled_of_two_blocks_are_not_dropped(cat: Path) -> None:
    model = load(OfTwoBlocks(mean=True))
    assert model.card.read_blocks == (1,)
    with pytest.raises(UnsupportedModelError, match="pools the patches of several blocks"):
        vx.intervene(model, cat, patches_off=[0])
    assert vx.intervene(model, cat, patches_off=[0], how="grey").how == "grey"


class InPlace(Block):
    def forward(self, x: Tensor) -> Tensor:
        x += self.mix(self.one(x))
        x += self.mlp(self.two(x))
        return x


@pytest.mark.parametrize("way", ["fused", "written"])
def test_sums_in_place_leave_what_is_kept_alone(way: str, cat: Path) -> None:
    module, plain = OddViT(way=way), OddViT(way=way)
    blocks = nn.ModuleList(InPlace(way, post=False, tokens_first=False) for _ in range(3))
    blocks.load_state_dict(plain.layers.state_dict())
    module.layers = blocks
    model, methods = load(module), ("attention", "rollout", "occlusion", "eigen_cam")
    result = vx.explain(model, cat, methods=methods)
    expected = vx.explain(load(plain), cat, methods=methods)
    for name in methods:
        np.testing.assert_allclose(
            result.heatmaps[name].values, expected.heatmaps[name].values, atol=1e-6, err_msg=name
        )
    for own, other in zip(result.trace.blocks, expected.trace.blocks, strict=True):
        torch.testing.assert_close(own, other)
    lenses = [vx.logit_lens(one.trace).logits for one in (result, expected)]
    np.testing.assert_allclose(*lenses, atol=1e-5)
    with pytest.raises(UnsupportedModelError, match="can't be differentiated: it changes tensors"):
        vx.trace(model, cat, gradients="all")
    with pytest.raises(UnsupportedModelError, match="can't be differentiated"):
        vx.explain(model, cat, methods=("saliency",))


class Hooked(Attention):
    """Keeps its attention's gradient, as code made for explaining does."""

    def forward(self, x: Tensor) -> Tensor:
        B, N, D = x.shape
        q, k, v = self.qkv(x).reshape(B, N, 3, HEADS, D // HEADS).permute(2, 0, 3, 1, 4)
        attention = (q @ k.transpose(-2, -1) * q.shape[-1] ** -0.5).softmax(dim=-1)
        attention.register_hook(lambda slope: setattr(self, "slope", slope))
        return self.proj((attention @ v).transpose(1, 2).reshape(B, N, D))


def test_a_network_that_hooks_its_gradients_runs_without_them(cat: Path) -> None:
    module, plain = OddViT(way="written"), OddViT(way="written")
    for block, other in zip(module.layers, plain.layers, strict=True):
        block.attend = Hooked("written")  # type: ignore[union-attr]
        block.load_state_dict(other.state_dict())  # type: ignore[union-attr]
    with pytest.raises(RuntimeError, match="register a hook"), torch.no_grad():
        module(torch.zeros(1, 3, SIZE, SIZE))
    model = load(module)
    options = {"rise": {"masks": 8}}
    result = vx.explain(model, cat, methods="all", target=2, options=options)
    expected = vx.explain(load(plain), cat, methods="all", target=2, options=options)
    assert not result.skipped
    for name, heatmap in result.heatmaps.items():
        other = expected.heatmaps[name].values
        np.testing.assert_allclose(heatmap.values, other, atol=1e-6, rtol=1e-5, err_msg=name)
    change: dict[str, Any] = {"heads_off": [(0, 1)], "patches_off": [3]}
    after = [vx.intervene(one, cat, **change).logits_after for one in (model, expected.model)]
    np.testing.assert_allclose(*after, atol=1e-6)
    # Nothing of ours is left: without gradients it is as unable to run as it was.
    with pytest.raises(RuntimeError, match="register a hook"), torch.no_grad():
        module(torch.zeros(1, 3, SIZE, SIZE))


class Stem(OddViT):
    """Tokens of a stem that reaches beyond its patches, mixed by a permutation or not."""

    def __init__(self, stem: nn.Module, seed: int | None) -> None:
        super().__init__(shuffle=seed)
        self.conv = stem  # type: ignore[assignment]


def convolutions() -> nn.Module:
    sides = (3, 16, 24, WIDTH)
    parts: list[nn.Module] = []
    for given, made in pairwise(sides):
        made_by = nn.Conv2d(given, made, 3, stride=2, padding=1, bias=False)
        parts += [made_by, nn.BatchNorm2d(made), nn.ReLU()]
    return nn.Sequential(*parts, nn.Conv2d(WIDTH, WIDTH, 1))


def poolings() -> nn.Module:
    parts: list[nn.Module] = []
    for given, made in ((3, 16), (16, 24), (24, WIDTH)):
        parts += [nn.Conv2d(given, made, 3, padding=1), nn.ReLU(), nn.MaxPool2d(3, 2, padding=1)]
    return nn.Sequential(*parts)


class Shifted(nn.Module):
    """Each patch beside the same of the picture shifted by half a patch, four ways."""

    def __init__(self) -> None:
        super().__init__()
        self.embed = nn.Linear(5 * 3 * PATCH * PATCH, WIDTH)

    def forward(self, images: Tensor) -> Tensor:
        half = PATCH // 2
        ways = [(half, half), (half, -half), (-half, half), (-half, -half)]
        shifted = [F.pad(images, (x, -x, y, -y)) for x, y in ways]
        cut = torch.cat([images, *shifted], 1).unflatten(3, (GRID, PATCH))
        cut = cut.unflatten(2, (GRID, PATCH)).permute(0, 2, 4, 1, 3, 5).flatten(3)
        return self.embed(cut).permute(0, 3, 1, 2)


STEMS = {"convolutions": convolutions, "poolings": poolings, "shifted": Shifted}


@pytest.mark.parametrize("weights", range(4))
@pytest.mark.parametrize("name", STEMS)
def test_tokens_of_stems_stand_where_their_cells_are(name: str, weights: int) -> None:
    torch.manual_seed(weights)
    stem = STEMS[name]()
    model = load(Stem(stem, None))
    assert model.card.tier == 1, model.card.tier_reason
    assert model.card.grid == (GRID, GRID) and model.card.overlap
    assert model.anatomy.places is None
    assert model.card.position == "learned"
    mixed = Stem(stem, 5)
    places = load(mixed).anatomy.places
    assert places is not None
    # Patch p of the grid stands where the mixing put it, behind the class token.
    assert [mixed.mixed[place - 1].item() for place in places[1:]] == list(range(GRID * GRID))


class ByChance(OddViT):
    """Mixes its patches anew in each pass, as masked autoencoders do."""

    def forward(self, images: Tensor) -> Tensor:
        self.mixed = torch.rand(GRID * GRID).argsort()
        return super().forward(images)


def test_what_is_drawn_at_random_is_told() -> None:
    card = load(ByChance()).card
    assert card.tier == 2 and "something in it is drawn at random" in card.tier_reason


@pytest.mark.parametrize("switch", [False, True])
def test_a_switch_named_as_timms_pooling_tells_nothing(switch: bool) -> None:
    module = OddViT()
    module.global_pool = switch  # type: ignore[assignment]
    assert load(module).card.pooling == "class"


class Misshapen(OddViT):
    def run(self, block: nn.Module, x: Tensor) -> Tensor:
        return super().run(block, x) + torch.ones(3, 5)


def test_an_error_is_told_with_its_own_line() -> None:
    with pytest.raises(UnsupportedModelError, match=r"RuntimeError .*in test_odd_habits\.py, line"):
        load(Misshapen())


def test_transformers_is_not_imported_for_what_is_not_of_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    class Lazy(ModuleType):
        def __getattr__(self, name: str) -> Any:
            raise AssertionError(f"{name} was imported")

    monkeypatch.setitem(sys.modules, "transformers", Lazy("transformers"))
    monkeypatch.delitem(sys.modules, "transformers.modeling_utils", raising=False)
    assert describe(OddViT(), None, prepare=True) is None


class Experts(nn.Module):
    """A mixture of linear layers, chosen by a softmax for each token."""

    def __init__(self) -> None:
        super().__init__()
        self.gate = nn.Linear(WIDTH, 3)
        self.layers = nn.ModuleList(nn.Linear(WIDTH, WIDTH) for _ in range(3))

    def forward(self, x: Tensor) -> Tensor:
        gates = (self.gate(x) / 2).softmax(dim=-1)
        return sum(gates[..., i : i + 1] * one(x) for i, one in enumerate(self.layers))  # type: ignore[return-value]


def test_a_softmax_that_chooses_among_experts_is_no_attention(cat: Path) -> None:
    module, plain = OddViT(way="written"), load(OddViT(way="written"))
    for layer in module.layers:
        layer.mlp = Experts()  # type: ignore[union-attr, assignment]
    model = load(module)
    assert model.card.tier == 1, model.card.tier_reason
    # The first block's attention comes before its experts.
    own, other = (vx.trace(one, cat).attention(0) for one in (model, plain))
    torch.testing.assert_close(own, other, atol=1e-6, rtol=0)


class Alternating(OddViT):
    """One list of attentions and one of MLPs, each added to the tokens where they are walked."""

    def __init__(self) -> None:
        super().__init__()
        parts = [(layer.one, layer.attend, layer.two, layer.mlp) for layer in self.layers]  # type: ignore[union-attr]
        self.attentions = nn.ModuleList(nn.Sequential(*one[:2]) for one in parts)  # type: ignore[arg-type]
        self.layers = nn.ModuleList(nn.Sequential(*one[2:]) for one in parts)  # type: ignore[arg-type]

    def run(self, block: nn.Module, x: Tensor) -> Tensor:
        place = list(self.layers).index(block)
        x = x + self.attentions[place](x)
        return x + block(x)


def test_branches_are_not_taken_for_the_outputs_of_blocks() -> None:
    card = load(Alternating()).card
    assert card.tier == 2
    assert "what enters 'attentions.1' is more than what leaves 'attentions.0'" in card.tier_reason


class Dropping(OddViT):
    """Drops at random while it is evaluated too, as `F.dropout` does by itself."""

    def run(self, block: nn.Module, x: Tensor) -> Tensor:
        return F.dropout(super().run(block, x), 0.1)


def test_answers_that_differ_between_two_passes_are_told() -> None:
    card = load(Dropping()).card
    assert card.tier == 2 and "give different answers" in card.tier_reason


class Scripted(Attention):
    @staticmethod
    def _scripted(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        return attend_unseen(q, k, v)


@torch.jit.script
def attend_unseen(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    return torch.softmax(q @ k.transpose(-2, -1), -1) @ v


class Mixed(Attention):
    """Mixes tokens without any softmax."""

    @staticmethod
    def _mixed(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        return torch.sigmoid(q @ k.transpose(-2, -1)) @ v


@pytest.mark.parametrize(
    ("kind", "says"), [(Scripted, "where it can't be seen"), (Mixed, "has no softmax attention")]
)
def test_attention_that_is_not_seen_is_not_denied(kind: type[Attention], says: str) -> None:
    module = OddViT()
    for layer in module.layers:
        layer.attend = kind(kind.__name__.lower())  # type: ignore[union-attr, assignment]
    assert says in load(module).card.tier_reason


class Outward(Attention):
    """Writes its softmax into a tensor of its own, for which torch has no derivative."""

    @staticmethod
    def _outward(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        scores = q @ k.transpose(-2, -1) * q.shape[-1] ** -0.5
        return torch.softmax(scores, -1, out=torch.empty_like(scores)) @ v


def test_a_function_without_a_derivative_is_told(cat: Path) -> None:
    module = OddViT()
    for layer in module.layers:
        layer.attend = Outward("outward")  # type: ignore[union-attr, assignment]
    model = load(module)
    assert vx.explain(model, cat, methods=("rollout",)).heatmaps
    with pytest.raises(UnsupportedModelError, match="can't be differentiated: torch says"):
        vx.trace(model, cat, gradients="all")


@pytest.mark.parametrize("how", ["compiled parts", "DataParallel"])
def test_what_is_wrapped_gives_the_plain_maps(how: str, cat: Path) -> None:
    torch.manual_seed(0)
    module: nn.Module = OddViT(way="written").eval()
    methods = ("rollout", "grad_cam")
    expected = vx.explain(load(module), cat, methods=methods, target=3)
    if how == "DataParallel":
        module = nn.DataParallel(module)
    else:
        layers = module.layers
        for index, layer in enumerate(layers):  # type: ignore[arg-type]
            layers[index] = torch.compile(layer)  # type: ignore[index, operator]
    model = load(module)
    assert model.card.position == "learned"
    result = vx.explain(model, cat, methods=methods, target=3)
    for name in methods:
        made = result.heatmaps[name].values
        np.testing.assert_allclose(made, expected.heatmaps[name].values, atol=1e-6, err_msg=name)


class AxialRotaryEmbedding(nn.Module):
    """Turns nothing: its name alone is looked at."""


def test_rotary_positions_are_known_by_the_kind_of_part() -> None:
    module = OddViT()
    module.pos_emb = AxialRotaryEmbedding()
    assert "rotary" in load(module).card.position
