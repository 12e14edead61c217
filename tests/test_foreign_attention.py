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

import vit_explorer as vx
from vit_explorer.models.interception import recording

from .odd_vits import HEADS, SIZE, WIDTH, OddViT, transform


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
