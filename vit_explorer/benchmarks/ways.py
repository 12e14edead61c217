"""What recording attention costs, for each way in which a ViT may attend.

The models are alike but for how they attend, of DeiT-Tiny's size and with random weights: speed
does not depend on them. A ratio is the median over rounds of neighbouring passes.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import cast

import timm
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torchvision.models import VisionTransformer as TorchvisionViT

import vit_explorer as vx
from vit_explorer.models.interception import recording
from vit_explorer.pictures.preprocess import Preprocess
from vit_explorer.tracing.attention_layer import explicit_is_cheaper

TARGET = 1.1
SIZE, PATCH, DIM, DEPTH, HEADS = 224, 16, 192, 12, 3


class _WrittenAttention(nn.Module):
    """Attention with its softmax written out, as the tutorials have it."""

    def __init__(self) -> None:
        super().__init__()
        self.qkv, self.proj = nn.Linear(DIM, 3 * DIM), nn.Linear(DIM, DIM)

    def forward(self, x: Tensor) -> Tensor:
        batch, tokens, _ = x.shape
        qkv = self.qkv(x).reshape(batch, tokens, 3, HEADS, -1).permute(2, 0, 3, 1, 4)
        query, key, value = qkv.unbind(0)
        scores = query @ key.transpose(-2, -1) * query.shape[-1] ** -0.5
        mixed = scores.softmax(dim=-1) @ value
        return self.proj(mixed.transpose(1, 2).reshape(batch, tokens, DIM))


class _OneHead(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        width = DIM // HEADS
        self.query, self.key, self.value = (nn.Linear(DIM, width) for _ in range(3))

    def forward(self, x: Tensor) -> Tensor:
        query, key, value = self.query(x), self.key(x), self.value(x)
        return F.softmax(query @ key.transpose(1, 2) * query.shape[-1] ** -0.5, dim=-1) @ value


class _HeadByHead(nn.Module):
    """One module a head, their outputs side by side."""

    def __init__(self) -> None:
        super().__init__()
        self.heads, self.proj = nn.ModuleList(_OneHead() for _ in range(HEADS)), nn.Linear(DIM, DIM)

    def forward(self, x: Tensor) -> Tensor:
        return self.proj(torch.cat([head(x) for head in self.heads], dim=-1))


def _mlp() -> nn.Sequential:
    return nn.Sequential(nn.Linear(DIM, 4 * DIM), nn.GELU(), nn.Linear(4 * DIM, DIM))


class _Block(nn.Module):
    def __init__(self, attention: Callable[[], nn.Module]) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(DIM)
        self.attn = attention()
        self.norm2 = nn.LayerNorm(DIM)
        self.mlp = _mlp()

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.attn(self.norm1(x))
        return x + self.mlp(self.norm2(x))


class _Pairs(nn.Module):
    """Blocks that are lists of two parts, added by the one who walks the list."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.ModuleList(
            nn.ModuleList(
                [
                    nn.Sequential(nn.LayerNorm(DIM), _WrittenAttention()),
                    nn.Sequential(nn.LayerNorm(DIM), _mlp()),
                ]
            )
            for _ in range(DEPTH)
        )

    def forward(self, x: Tensor) -> Tensor:
        for pair in self.layers:
            attention, mlp = cast("nn.ModuleList", pair)
            x = x + attention(x)
            x = x + mlp(x)
        return x


class _ViT(nn.Module):
    """Patches, a class token, positions, some blocks and a head."""

    def __init__(self, blocks: nn.Module) -> None:
        super().__init__()
        self.patches = nn.Conv2d(3, DIM, PATCH, PATCH)
        self.class_token = nn.Parameter(torch.randn(1, 1, DIM))
        self.positions = nn.Parameter(torch.randn(1, (SIZE // PATCH) ** 2 + 1, DIM))
        self.blocks, self.norm, self.head = blocks, nn.LayerNorm(DIM), nn.Linear(DIM, 1000)

    def forward(self, pixels: Tensor) -> Tensor:
        x = self.patches(pixels).flatten(2).transpose(1, 2)
        x = torch.cat([self.class_token.expand(len(x), -1, -1), x], dim=1) + self.positions
        return self.head(self.norm(self.blocks(x))[:, 0])


def _of_blocks(attention: Callable[[], nn.Module]) -> nn.Module:
    return _ViT(nn.Sequential(*(_Block(attention) for _ in range(DEPTH))))


def _encoder() -> nn.Module:
    layer = nn.TransformerEncoderLayer(
        DIM, HEADS, 4 * DIM, activation="gelu", batch_first=True, norm_first=True
    )
    return _ViT(nn.TransformerEncoder(layer, DEPTH, enable_nested_tensor=False))


WAYS: Mapping[str, Callable[[], nn.Module]] = MappingProxyType(
    {
        "fused (timm)": lambda: timm.create_model("deit_tiny_patch16_224"),
        "nn.MultiheadAttention (torchvision)": lambda: TorchvisionViT(
            SIZE, PATCH, DEPTH, HEADS, DIM, 4 * DIM
        ),
        "nn.TransformerEncoder": _encoder,
        "softmax written out": lambda: _of_blocks(_WrittenAttention),
        "one module a head": lambda: _of_blocks(_HeadByHead),
        "blocks that are lists of parts": lambda: _ViT(_Pairs()),
    }
)


def measure(rounds: int, progress: Callable[[int, int], None] | None = None) -> dict[str, float]:
    """The recorded pass over the bare one, by the name of a way of attending."""
    torch.manual_seed(0)
    config = {"input_size": (3, SIZE, SIZE), "mean": (0.5,) * 3, "std": (0.5,) * 3}
    prepare = Preprocess.from_config(config).transform
    found = {}
    for done, (name, build) in enumerate(WAYS.items()):
        model = vx.load_model(build().eval(), transform=prepare, image_size=SIZE)
        found[name] = _ratio(model, rounds)
        if progress:
            progress(done + 1, len(WAYS))
    return found


@torch.no_grad()
def _ratio(model: vx.LoadedModel, rounds: int) -> float:
    pixels = torch.randn(1, 3, SIZE, SIZE)
    explicit = explicit_is_cheaper(model, len(pixels))  # as a trace does it

    def bare() -> None:
        model.module(pixels)

    def recorded() -> None:
        with recording(
            model.module, model.anatomy, explicit=explicit, on_output=lambda _, tokens: tokens
        ) as calls:
            model.module(pixels)
        assert calls  # noqa: S101 - a pass without attention would be no measurement

    ratios = [_seconds(recorded) / _seconds(bare) for _ in range(rounds + 1)]
    return statistics.median(ratios[1:])


def _seconds(call: Callable[[], None]) -> float:
    start = time.perf_counter()
    call()
    return time.perf_counter() - start
