"""Who did it: direct contributions, activations put into another pass, heads ablated, by hand."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import vit_explorer as vx
from vit_explorer.errors import ExplorerError, OptionError, UnsupportedModelError

from .odd_vits import GRID, HEADS, WIDTH, OddViT
from .test_balanced import load, swiglu_and_rms_norm

D = WIDTH // HEADS
ORDERS = {"c+rows": 0, "backwards+c": GRID * GRID}


@contextmanager
def hooked(*hooks: Any) -> Iterator[None]:
    try:
        yield
    finally:
        for hook in hooks:
            hook.remove()


def kept_by(module: OddViT, pixels: Tensor) -> tuple[dict[str, Tensor], Tensor]:
    """What enters each projection, leaves each MLP and enters the first block and the end."""
    found: dict[str, Tensor] = {}
    hooks = []
    for index, block in enumerate(module.layers):
        hooks.append(
            block.attend.proj.register_forward_pre_hook(
                lambda _, args, index=index: found.update({f"o{index}": args[0][0]})
            )
        )
        hooks.append(
            block.mlp.register_forward_hook(
                lambda _, __, out, index=index: found.update({f"m{index}": out[0]})
            )
        )
    hooks.append(
        module.layers[0].register_forward_pre_hook(lambda _, args: found.update(x=args[0][0]))
    )
    hooks.append(module.end.register_forward_pre_hook(lambda _, args: found.update(end=args[0][0])))
    with hooked(*hooks), torch.no_grad():
        logits = module(pixels)[0]
    return found, logits


@pytest.mark.parametrize("way", ["fused", "written", "by_hand", "a_head_at_a_time", "fused_merged"])
@pytest.mark.parametrize("order", ORDERS)
def test_contributions_by_hand(way: str, order: str, cat: Path) -> None:
    module = OddViT(order, way=way).eval()
    with torch.no_grad():
        module.end.bias.normal_()
        module.end.weight.normal_()
    model = load(module)
    trace = vx.trace(model, cat, target=2)
    found = vx.contributions(trace)
    kept, logits = kept_by(module, trace.prepared.pixels)
    place = ORDERS[order]
    last = kept["end"]
    scale = (last - last.mean()).square().mean().add(module.end.eps).sqrt()

    def direct(vector: Tensor) -> float:
        normed = (vector - vector.mean()) / scale * module.end.weight
        return float(normed @ module.head.weight[2])

    assert found.embedding == pytest.approx(direct(kept["x"][place]), abs=1e-5)
    for index, block in enumerate(module.layers):
        proj = block.attend.proj
        for head in range(HEADS):
            own = slice(head * D, (head + 1) * D)
            made = proj.weight[:, own] @ kept[f"o{index}"][place, own]
            assert found.heads[index, head] == pytest.approx(direct(made), abs=1e-5)
        assert found.attention_biases[index] == pytest.approx(direct(proj.bias), abs=1e-5)
        assert found.mlps[index] == pytest.approx(direct(kept[f"m{index}"][place]), abs=1e-5)
    end = float(module.end.bias @ module.head.weight[2] + module.head.bias[2])
    assert found.end == pytest.approx(end, abs=1e-5)
    assert found.logit == pytest.approx(float(logits[2]), abs=1e-5)
    assert found.total == pytest.approx(found.logit, abs=1e-5)
    name, value = found.ranked()[0]
    assert abs(value) == max(abs(one) for _, one in found.ranked()) and name


def test_contributions_to_a_difference_and_of_pooled_patches(cat: Path) -> None:
    module, _ = swiglu_and_rms_norm()
    model = load(module)
    one, other, both = (
        vx.contributions(vx.trace(model, cat, target=target)) for target in (1, 3, "1 - 3")
    )
    np.testing.assert_allclose(both.heads, one.heads - other.heads, atol=1e-5)
    assert both.total == pytest.approx(one.logit - other.logit, abs=1e-5)
    # Heads and the bias make what attention adds, through its layer scale.
    kept: dict[int, Tensor] = {}
    hooks = [
        block.ls1.register_forward_hook(lambda _, __, out, i=i: kept.update({i: out[0]}))
        for i, block in enumerate(module.blocks)
    ]
    hooks.append(module.fc_norm.register_forward_pre_hook(lambda _, a: kept.update({9: a[0][0]})))
    with hooked(*hooks), torch.no_grad():
        module(model.prepare(cat).pixels)
    scale = kept[9].square().mean().add(module.fc_norm.eps).sqrt()
    for index in range(3):
        read = kept[index].mean(0) / scale * module.fc_norm.weight
        added = float(one.heads[index].sum() + one.attention_biases[index])
        assert added == pytest.approx(float(read @ module.head.weight[1]), abs=1e-5)


def test_contributions_of_the_models_that_are_known(deit_tiny: vx.LoadedModel, cat: Path) -> None:
    for model in (vx.load_model("bundled"), deit_tiny):
        found = vx.contributions(vx.trace(model, cat))
        assert found.heads.shape == (model.card.depth, model.card.heads)
        assert found.total == pytest.approx(found.logit, abs=1e-5)


def test_contributions_that_can_not_be_told(cat: Path) -> None:
    trace = vx.trace(load(OddViT(post=True)), cat)
    with pytest.raises(UnsupportedModelError, match="in block 1 no norm was seen before attention"):
        vx.contributions(trace)

    class Bent(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return torch.cos(x)

    trace = vx.trace(load(OddViT(last=Bent())), cat)
    with pytest.raises(UnsupportedModelError, match="their sum misses the logit by"):
        vx.contributions(trace)


@pytest.mark.parametrize("order", ORDERS)
def test_patching_equals_hooks(order: str, cat: Path, coffee: Path) -> None:
    module = OddViT(order).eval()
    model = load(module)
    found = vx.patch_activations(model, cat, coffee, target="1 - 4")
    assert found.logits.shape == (3, 17) and found.label == "class 1 - class 4"
    source, other = (model.prepare(one).pixels for one in (cat, coffee))
    states: list[Tensor] = []
    keep = [b.register_forward_hook(lambda _, __, out: states.append(out)) for b in module.layers]
    with hooked(*keep), torch.no_grad():
        logits = module(source)[0]
    assert found.source == pytest.approx(float(logits[1] - logits[4]), abs=1e-5)
    places = [ORDERS[order], *(range(1, 17) if order == "c+rows" else reversed(range(16)))]
    for layer in range(3):
        for token in (0, 1, 7, 16):

            def put(_: nn.Module, __: Any, out: Tensor, place: int = places[token]) -> Tensor:
                changed = out.clone()
                changed[:, place] = states[layer][:, place]  # noqa: B023
                return changed

            with hooked(module.layers[layer].register_forward_hook(put)), torch.no_grad():
                logits = module(other)[0]
            wanted = float(logits[1] - logits[4])
            assert found.logits[layer, token] == pytest.approx(wanted, abs=1e-5)
    # After the last block the class token is all that is read.
    assert found.restored[2, 0] == pytest.approx(1, abs=1e-4)
    np.testing.assert_allclose(found.restored[2, 1:], 0, atol=1e-4)
    np.testing.assert_array_equal(found.maps[0].ravel(), found.restored[0, 1:])


def test_patching_of_some_alone(cat: Path, coffee: Path) -> None:
    model = load(OddViT(way="written"))
    told: list[tuple[int, int]] = []
    some = vx.patch_activations(
        model, cat, coffee, layers=[-1, 0], tokens=[0, 3],
        progress=lambda *done: told.append(done),
    )  # fmt: skip
    every = vx.patch_activations(model, cat, coffee)
    asked = ~np.isnan(some.logits)
    assert sorted(zip(*np.nonzero(asked), strict=True)) == [(0, 0), (0, 3), (2, 0), (2, 3)]
    np.testing.assert_allclose(some.logits[asked], every.logits[asked], atol=1e-5)
    assert told[-1] == (4, 4)
    assert every.label == vx.explain(model, cat, ()).predictions[0].label
    for wrong in ({"layers": []}, {"layers": [3]}, {"tokens": [17]}, {"tokens": 2}):
        with pytest.raises(OptionError):
            vx.patch_activations(model, cat, coffee, **wrong)  # type: ignore[arg-type]
    same = vx.patch_activations(model, cat, cat, layers=[0], tokens=[1])
    assert np.isnan(same.restored).all()


@pytest.mark.parametrize("way", ["fused", "written", "by_hand", "a_head_at_a_time"])
@pytest.mark.parametrize("how", ["mean", "zero"])
def test_ablating_heads_by_hooks(way: str, how: Any, cat: Path) -> None:
    module = OddViT(way=way).eval()
    model = load(module)
    found = vx.ablate_heads(model, cat, target=2, how=how)
    pixels = model.prepare(cat).pixels
    with torch.no_grad():
        before = float(module(pixels)[0].softmax(-1)[2])
    assert found.before == pytest.approx(before, abs=1e-6)
    for layer in range(3):
        for head in range(HEADS):

            def change(_: nn.Module, args: Any, own: int = head) -> Any:
                (x,) = args
                x = x.clone()
                part = x[..., own * D : (own + 1) * D]
                part[:] = part.mean(1, keepdim=True).clone() if how == "mean" else 0
                return (x,)

            hook = module.layers[layer].attend.proj.register_forward_pre_hook(change)
            with hooked(hook), torch.no_grad():
                after = float(module(pixels)[0].softmax(-1)[2])
            assert found.drops[layer, head] == pytest.approx(before - after, abs=1e-6)
    ranked = found.ranked()
    assert len(ranked) == 12
    assert [drop for *_, drop in ranked] == sorted(found.drops.ravel().tolist(), reverse=True)
    layer, head, drop = ranked[0]
    assert drop == found.drops[layer, head]


def test_ways_heads_go_can_stand_beside_one_another(cat: Path) -> None:
    model = load(OddViT())
    ways = ("zero", "mean", "zero")
    changes = [vx.Change(heads_off=((1, 2),), heads_how=way) for way in ways]
    found = vx.intervene_many(model, cat, changes, target=2)
    for way, one in zip(ways, found, strict=True):
        alone = vx.intervene(model, cat, heads_off=[(1, 2)], heads_how=way, target=2)
        np.testing.assert_allclose(one.logits_after, alone.logits_after, atol=1e-6)
    assert not np.allclose(found[0].logits_after, found[1].logits_after)
    with pytest.raises(ExplorerError, match="zero or mean"):
        vx.ablate_heads(model, cat, how="half")  # type: ignore[arg-type]


def test_contributions_as_a_view(cat: Path, tmp_path: Path) -> None:
    model = load(OddViT())
    vx.save_views(model, cat, tmp_path, "contributions")
    expected = vx.contributions(vx.trace(model, cat))
    assert (tmp_path / "cat/contributions.png").stat().st_size > 5000
    with np.load(tmp_path / "cat/contributions.npz") as arrays:
        np.testing.assert_allclose(arrays["heads"], expected.heads, atol=1e-6)
        total = sum(float(arrays[name].sum()) for name in arrays.files)
    assert total == pytest.approx(expected.logit, abs=1e-5)
