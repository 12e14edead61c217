"""Attention functions of other libraries that a module's own file imported."""

from __future__ import annotations

import sys
import threading
import types
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn.attention import flex_attention as flex

import vit_explorer as vx
from vit_explorer.models.interception import recording

from .odd_vits import GRID, HEADS, SIZE, WIDTH, OddViT, transform

TOKENS = GRID * GRID + 1


def memory_efficient_attention(*_: Any, **__: Any) -> Tensor:
    raise NotImplementedError("needs a GPU, as the library's own does")


memory_efficient_attention.__module__ = "xformers.ops"


@pytest.fixture
def theirs(monkeypatch: pytest.MonkeyPatch) -> types.ModuleType:
    """A module's file that says `from xformers.ops import memory_efficient_attention`."""
    file = types.ModuleType("their_vit")
    file.memory_efficient_attention = memory_efficient_attention  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "their_vit", file)
    return file


class Attention(nn.Module):
    __module__ = "their_vit"

    def __init__(self, own: Any) -> None:
        super().__init__()
        self.qkv, self.proj = own.qkv, own.proj

    def forward(self, x: Tensor) -> Tensor:
        B, N, D = x.shape
        q, k, v = self.qkv(x).reshape(B, N, 3, HEADS, D // HEADS).unbind(2)  # (B, N, h, d)
        attend = sys.modules["their_vit"].memory_efficient_attention
        return self.proj(attend(q, k, v).reshape(B, N, WIDTH))


def test_their_function_is_read_and_given_back(theirs: types.ModuleType, cat: Path) -> None:
    plain, module = OddViT().eval(), OddViT().eval()
    for layer in module.layers:
        layer.attend = Attention(layer.attend)
    model = vx.load_model(module, transform=transform, image_size=SIZE)
    expected = vx.trace(
        vx.load_model(plain, transform=transform, image_size=SIZE), cat, gradients="all"
    )
    traced = vx.trace(model, cat, gradients="all")
    for layer in range(3):
        torch.testing.assert_close(
            traced.attention(layer), expected.attention(layer), atol=1e-6, rtol=0
        )
        torch.testing.assert_close(
            traced.attention_gradient(layer), expected.attention_gradient(layer), atol=1e-5, rtol=0
        )
    np.testing.assert_allclose(traced.logits, expected.logits, atol=1e-5)
    assert theirs.memory_efficient_attention is memory_efficient_attention


def test_other_threads_keep_their_own(theirs: types.ModuleType, cat: Path) -> None:
    module = OddViT().eval()
    for layer in module.layers:
        layer.attend = Attention(layer.attend)
    model = vx.load_model(module, transform=transform, image_size=SIZE)
    seen: list[BaseException] = []

    def ask() -> None:
        try:
            theirs.memory_efficient_attention(torch.zeros(1))
        except NotImplementedError as error:
            seen.append(error)

    def interrupted() -> None:
        with recording(module, model.anatomy):
            thread = threading.Thread(target=ask)
            thread.start()
            thread.join()
            raise RuntimeError("forced")

    with pytest.raises(RuntimeError, match="forced"):
        interrupted()
    assert len(seen) == 1
    assert theirs.memory_efficient_attention is memory_efficient_attention


class Flexible(nn.Module):
    """Calls flex_attention itself: plainly, with a mask, or with scores that it changes."""

    def __init__(self, own: Any, way: str) -> None:
        super().__init__()
        self.qkv, self.proj, self.way = own.qkv, own.proj, way
        self.added = torch.randn(HEADS, TOKENS, TOKENS, generator=torch.Generator().manual_seed(2))
        self.mask = flex.create_block_mask(self.near, None, None, TOKENS, TOKENS, device="cpu")

    @staticmethod
    def near(_: Tensor, __: Tensor, query: Tensor, key: Tensor) -> Tensor:
        return (query - key).abs() < 5

    def bend(self, score: Tensor, _: Tensor, head: Tensor, query: Tensor, key: Tensor) -> Tensor:
        return 2 * torch.tanh(score / 2) + self.added[head, query, key]

    def split(self, x: Tensor) -> tuple[Tensor, ...]:
        B, N, D = x.shape
        return self.qkv(x).reshape(B, N, 3, HEADS, D // HEADS).permute(2, 0, 3, 1, 4).unbind(0)

    def forward(self, x: Tensor) -> Tensor:
        q, k, v = self.split(x)
        changes = {"plain": {}, "mask": {"block_mask": self.mask}, "bend": {"score_mod": self.bend}}
        made = flex.flex_attention(q, k, v, scale=0.4, **changes[self.way])
        return self.proj(made.transpose(1, 2).flatten(2))


class Explicit(Flexible):
    """The same by a softmax, after the definition of flex attention."""

    def forward(self, x: Tensor) -> Tensor:
        q, k, v = self.split(x)
        scores = 0.4 * q @ k.transpose(-2, -1)
        rows, columns = torch.arange(TOKENS)[:, None], torch.arange(TOKENS)
        if self.way == "mask":
            scores = scores.masked_fill((rows - columns).abs() >= 5, -torch.inf)
        if self.way == "bend":
            scores = 2 * (scores / 2).tanh() + self.added
        return self.proj((scores.softmax(dim=-1) @ v).transpose(1, 2).flatten(2))


@pytest.mark.parametrize("way", ["plain", "mask", "bend"])
def test_flex_attention_that_a_module_calls_itself(way: str, cat: Path) -> None:
    traces, changed, own_function = [], [], flex.flex_attention
    for kind in (Flexible, Explicit):
        torch.manual_seed(0)
        module = OddViT().eval()
        for layer in module.layers:
            layer.attend = kind(layer.attend, way)
        model = vx.load_model(module, transform=transform, image_size=SIZE)
        assert model.card.tier == 1, model.card.tier_reason
        traces.append(vx.trace(model, cat, target=2, gradients="all"))
        change: dict[str, Any] = {"heads_off": [(1, 2)], "patches_off": [3, 7]}
        changed.append(vx.intervene(model, cat, **change).logits_after)
    own, other = traces
    for layer in range(3):
        for name in ("attention", "attention_gradient"):
            made, expected = (getattr(one, name)(layer) for one in (own, other))
            torch.testing.assert_close(made, expected, atol=1e-5, rtol=1e-4)
    np.testing.assert_allclose(own.logits, other.logits, atol=1e-5)
    np.testing.assert_allclose(*changed, atol=1e-5)
    assert flex.flex_attention is own_function
