"""One small ViT in many habits: one function of the picture up to the order of its tokens."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor, nn

WIDTH, HEADS, PATCH, GRID = 32, 4, 8, 4
SIZE = PATCH * GRID


def transform(image: Image.Image) -> Tensor:
    pixels = np.asarray(image.convert("RGB").resize((SIZE, SIZE))).copy()
    return (torch.from_numpy(pixels).permute(2, 0, 1).float() / 255 - 0.5) / 0.25


class Attention(nn.Module):
    """Multi-head self-attention, written in one of many ways; tokens (B, N, D)."""

    def __init__(self, way: str) -> None:
        super().__init__()
        self.way = way
        self.qkv, self.proj = nn.Linear(WIDTH, 3 * WIDTH), nn.Linear(WIDTH, WIDTH)

    def forward(self, x: Tensor) -> Tensor:
        B, N, D = x.shape
        q, k, v = self.qkv(x).reshape(B, N, 3, HEADS, D // HEADS).permute(2, 0, 3, 1, 4)
        return self.proj(getattr(self, f"_{self.way}")(q, k, v).transpose(1, 2).reshape(B, N, D))

    @staticmethod
    def _fused(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        return F.scaled_dot_product_attention(q, k, v)

    @staticmethod
    def _fused_merged(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        merged = F.scaled_dot_product_attention(*(x.flatten(0, 1) for x in (q, k, v)))
        return merged.unflatten(0, q.shape[:2])

    @staticmethod
    def _written(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        return (q @ k.transpose(-2, -1) * q.shape[-1] ** -0.5).softmax(dim=-1) @ v

    @staticmethod
    def _merged(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        q, k, v = (x.flatten(0, 1) for x in (q, k, v))
        scores = torch.bmm(q, k.transpose(1, 2)) * q.shape[-1] ** -0.5
        return torch.bmm(F.softmax(scores, dim=2), v).unflatten(0, (-1, HEADS))

    @staticmethod
    def _heads_slowest(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        q, k, v = (x.transpose(0, 1).flatten(0, 1) for x in (q, k, v))
        scores = q @ k.transpose(1, 2) * q.shape[-1] ** -0.5
        return (torch.softmax(scores, 2) @ v).unflatten(0, (HEADS, -1)).transpose(0, 1)

    @staticmethod
    def _tokens_first(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        scores = torch.einsum("bhid,bhjd->ijbh", q, k) * q.shape[-1] ** -0.5
        return torch.einsum("ijbh,bhjd->bhid", scores.softmax(dim=1), v)

    @staticmethod
    def _keys_before_queries(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        scores = k @ q.transpose(-2, -1) * q.shape[-1] ** -0.5
        return torch.einsum("bhji,bhjd->bhid", nn.Softmax(dim=-2)(scores), v)

    @staticmethod
    def _by_hand(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        scores = q @ k.transpose(-2, -1) / q.shape[-1] ** 0.5
        raised = torch.exp(scores - scores.amax(dim=-1, keepdim=True))
        return raised / raised.sum(dim=-1, keepdim=True) @ v

    @staticmethod
    def _by_logarithms(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        scores = q @ k.transpose(-2, -1) / q.shape[-1] ** 0.5
        return F.log_softmax(scores, dim=-1).exp() @ v

    @staticmethod
    def _a_head_at_a_time(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        heads = (q.unbind(1), k.unbind(1), v.unbind(1))
        made = [
            (one @ other.transpose(1, 2) * q.shape[-1] ** -0.5).softmax(-1) @ value
            for one, other, value in zip(*heads, strict=True)
        ]
        return torch.stack(made, dim=1)


WAYS = [name[1:] for name in vars(Attention) if name.startswith("_") and name[1] != "_"]


class Block(nn.Module):
    def __init__(self, way: str, *, post: bool, tokens_first: bool) -> None:
        super().__init__()
        self.one, self.two = nn.LayerNorm(WIDTH), nn.LayerNorm(WIDTH)
        self.attend = Attention(way)
        self.mlp = nn.Sequential(nn.Linear(WIDTH, 64), nn.GELU(), nn.Linear(64, WIDTH))
        self.post, self.tokens_first = post, tokens_first

    def mix(self, x: Tensor) -> Tensor:
        return (
            self.attend(x.transpose(0, 1)).transpose(0, 1) if self.tokens_first else self.attend(x)
        )

    def forward(self, x: Tensor) -> Tensor:
        if self.post:
            x = self.one(x + self.mix(x))
            return self.two(x + self.mlp(x))
        x = x + self.mix(self.one(x))
        return x + self.mlp(self.two(x))


class OddViT(nn.Module):
    """`order` says how patches ("rows", "columns", "backwards") and the class token ("c") stand in
    the sequence; `shuffle` mixes the patches by a seed; `call` is how blocks are called."""

    def __init__(
        self,
        order: str = "c+rows",
        *,
        way: str = "fused",
        shuffle: int | None = None,
        tokens_first: bool = False,
        post: bool = False,
        call: str = "plain",
        last: nn.Module | None = None,
        classes: int = 7,
    ) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.order, self.tokens_first, self.call = order, tokens_first, call
        self.conv = nn.Conv2d(3, WIDTH, PATCH, stride=PATCH)
        self.c = nn.Parameter(torch.randn(1, 1, WIDTH))
        self.places = nn.Parameter(torch.randn(1, WIDTH, GRID, GRID) * 0.5)
        self.layers = nn.ModuleList(
            Block(way, post=post, tokens_first=tokens_first) for _ in range(3)
        )
        self.end = nn.LayerNorm(WIDTH)
        self.head = nn.Linear(WIDTH, classes)
        self.last = last or nn.Identity()
        generator = torch.Generator().manual_seed(shuffle or 0)
        mixed = torch.randperm(GRID * GRID, generator=generator)
        self.register_buffer("mixed", mixed if shuffle is not None else torch.arange(GRID * GRID))
        for module in self.modules():
            if isinstance(module, nn.Linear):
                nn.init.normal_(module.weight, std=0.15)

    def forward(self, images: Tensor) -> Tensor:
        x = self.conv(images) + self.places
        if "columns" in self.order:
            x = x.transpose(2, 3)
        patches = x.flatten(2).transpose(1, 2)
        if "backwards" in self.order:
            patches = patches.flip(1)
        patches = patches[:, self.mixed]
        names = self.order.split("+")
        where = GRID * GRID if names.index("c") else 0
        c = self.c.expand(len(x), -1, -1)
        x = torch.cat([c if name == "c" else patches for name in names], 1)
        x = x.transpose(0, 1) if self.tokens_first else x
        for block in self.layers:
            x = self.run(block, x)
        x = x.transpose(0, 1) if self.tokens_first else x
        return self.last(self.head(self.end(x[:, where])))

    def run(self, block: nn.Module, x: Tensor) -> Tensor:
        calls: dict[str, Any] = {
            "plain": lambda: block(x),
            "keyword": lambda: block(x=x),
        }
        return calls[self.call]()
