"""How many channels a model takes, and pictures of any number of them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import timm
import torch
import torch.nn.functional as F
from torch import nn

from vit_explorer.models.structure.channels import input_channels


class Tokens(nn.Module):
    """Pixels to tokens in one of many habits, 4×4 patches of 16×16 pixels, and one weight after."""

    def __init__(self, channels: int, way: str) -> None:
        super().__init__()
        self.way, self.patch = way, 4
        flat = channels * 16
        self.one = nn.Conv2d(channels, 3, 1)
        self.embedder = nn.Conv2d(3 if way == "1×1 first" else channels, 8, 4, stride=4)
        self.kernel = nn.Parameter(torch.randn(8, channels, 4, 4))
        self.matrix = nn.Parameter(torch.randn(flat, 8))
        self.linear = nn.Linear(flat, 8)
        self.norm = nn.LayerNorm(flat)
        self.batch_norm = nn.BatchNorm2d(channels)
        self.register_buffer("mean", torch.full((1, channels, 1, 1), 0.5))
        self.head = nn.Linear(8, 2)
        self.channels = channels

    def refuse(self, x: torch.Tensor) -> torch.Tensor:
        if x.shape[1] != self.channels:
            raise ValueError(f"{x.shape[1]} channels, expected those of the configuration")
        return tokens(self.embedder(x))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.head(WAYS[self.way](self, x).mean(1))


def tokens(grid: torch.Tensor) -> torch.Tensor:
    return grid.flatten(2).transpose(1, 2)


def rows(x: torch.Tensor) -> torch.Tensor:
    return F.unfold(x, 4, stride=4).transpose(1, 2)  # (B, 16, C·16)


def channels_last(x: torch.Tensor) -> torch.Tensor:
    B, C, H, W = x.shape
    cut = x.reshape(B, C, H // 4, 4, W // 4, 4).permute(0, 2, 4, 3, 5, 1)
    return cut.reshape(B, 16, -1)


WAYS: dict[str, Callable[[Tokens, torch.Tensor], torch.Tensor]] = {
    "convolution": lambda m, x: tokens(m.embedder(x)),
    "1×1 first": lambda m, x: tokens(m.embedder(m.one(x))),
    "bare parameter": lambda m, x: tokens(F.conv2d(x, m.kernel, stride=4)),
    "unfold, linear": lambda m, x: m.linear(rows(x)),
    "unfold, norm, linear": lambda m, x: m.linear(m.norm(rows(x))),
    "unfold, matrix": lambda m, x: rows(x) @ m.matrix,
    "reshaped": lambda m, x: m.linear(channels_last(x)),
    "normalised first": lambda m, x: tokens(m.embedder((x - m.mean) / 0.5)),
    "batch norm first": lambda m, x: tokens(m.embedder(m.batch_norm(x))),
    "refuses by itself": lambda m, x: m.refuse(x),
}


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("channels", [1, 2, 3, 4, 6, 13])
def test_channels_are_measured(way: str, channels: int) -> None:
    module = Tokens(channels, way).train()
    assert input_channels(module, (16, 16)) == channels
    assert module.training
    assert not any(child._forward_hooks or child._forward_pre_hooks for child in module.modules())
    for wrapped in (nn.Sequential(module), nn.Sequential(nn.Identity(), nn.DataParallel(module))):
        assert input_channels(wrapped, (16, 16)) == channels


def test_a_module_that_makes_its_own_channels_takes_those_it_is_given() -> None:
    class Repeats(Tokens):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return super().forward(x.repeat(1, 3, 1, 1))

    class Greys(Tokens):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return super().forward(x.mean(1, keepdim=True))

    class Positions(Tokens):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            # weights that meet no pixels tell nothing
            F.conv2d(torch.zeros(1, 5, 4, 4), torch.zeros(2, 5, 1, 1))
            return super().forward(x)

    assert input_channels(Repeats(3, "convolution"), (16, 16)) == 1
    assert input_channels(Greys(1, "convolution"), (16, 16)) == 3
    assert input_channels(Positions(2, "convolution"), (16, 16)) == 2


def test_only_what_comes_before_the_first_weight_runs() -> None:
    ran: list[Any] = []
    module = Tokens(6, "convolution")
    module.head.register_forward_hook(lambda *_: ran.append(1))
    assert input_channels(module, (16, 16)) == 6
    assert not ran


@pytest.mark.parametrize("channels", [1, 3, 5])
def test_timms_and_transformers(channels: int) -> None:
    with torch.device("meta"):
        module = timm.create_model("vit_tiny_patch16_224", depth=1, in_chans=channels)
        hybrid = timm.create_model("vit_tiny_r_s16_p8_224", depth=1, in_chans=channels)
    assert input_channels(module, (224, 224)) == channels
    assert input_channels(hybrid, (224, 224)) == channels
    transformers = pytest.importorskip("transformers")
    config = transformers.ViTConfig(
        hidden_size=16, num_hidden_layers=1, num_attention_heads=2, intermediate_size=16,
        image_size=32, patch_size=16, num_channels=channels,
    )  # fmt: skip
    assert input_channels(transformers.ViTForImageClassification(config), (32, 32)) == channels


def test_a_module_that_never_runs_is_taken_for_rgb() -> None:
    class Broken(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            raise KeyError("no")

    assert input_channels(Broken(), (16, 16)) == 3
