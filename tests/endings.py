"""A small ViT that can end in every way: what its numbers mean is known by construction."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torchvision import transforms

import vit_explorer as vx

SIZE, PATCH, WIDTH = 16, 4, 12


class Block(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.norm1, self.norm2 = nn.LayerNorm(WIDTH), nn.LayerNorm(WIDTH)
        self.qkv, self.proj = nn.Linear(WIDTH, 3 * WIDTH), nn.Linear(WIDTH, WIDTH)
        self.mlp = nn.Sequential(
            nn.Linear(WIDTH, 2 * WIDTH), nn.GELU(), nn.Linear(2 * WIDTH, WIDTH)
        )

    def forward(self, x: Tensor) -> Tensor:
        B, N, D = x.shape
        q, k, v = self.qkv(self.norm1(x)).reshape(B, N, 3, 2, D // 2).permute(2, 0, 3, 1, 4)
        mixed = F.scaled_dot_product_attention(q, k, v).transpose(1, 2).reshape(B, N, D)
        x = x + self.proj(mixed)
        return x + self.mlp(self.norm2(x))


class EndingViT(nn.Module):
    """A ViT with random weights of a seed, the same for every `ending` (class token → output)."""

    def __init__(self, ending: nn.Module) -> None:
        super().__init__()
        torch.manual_seed(3)
        self.patch_embed = nn.Conv2d(3, WIDTH, PATCH, stride=PATCH)
        self.cls_token = nn.Parameter(torch.randn(1, 1, WIDTH))
        self.pos_embed = nn.Parameter(torch.randn(1, 1 + (SIZE // PATCH) ** 2, WIDTH))
        self.blocks = nn.ModuleList(Block() for _ in range(2))
        self.norm = nn.LayerNorm(WIDTH)
        for parameter in self.parameters():
            nn.init.normal_(parameter, std=0.4)
        self.ending = ending

    def forward(self, pixels: Tensor) -> Tensor:
        x = self.patch_embed(pixels).flatten(2).transpose(1, 2)
        x = torch.cat((self.cls_token.expand(len(x), -1, -1), x), dim=1) + self.pos_embed
        for block in self.blocks:
            x = block(x)
        answer: Tensor = self.ending(self.norm(x)[:, 0])
        return answer


class Lambda(nn.Module):
    """A function with the modules and parameters that it reads."""

    def __init__(self, function: Callable[..., Tensor], **parts: Any) -> None:
        super().__init__()
        self.function = function
        for name, part in parts.items():
            setattr(self, name, part)

    def forward(self, x: Tensor) -> Tensor:
        return self.function(self, x)


def head(outputs: int, *, bias: bool = True) -> nn.Linear:
    """A linear head with weights of a seed of its own."""
    made = nn.Linear(WIDTH, outputs, bias=bias)
    generator = torch.Generator().manual_seed(outputs)
    with torch.no_grad():
        for parameter in made.parameters():
            parameter.copy_(torch.randn(parameter.shape, generator=generator))
    return made


def weight(outputs: int) -> nn.Parameter:
    generator = torch.Generator().manual_seed(outputs)
    return nn.Parameter(torch.randn(WIDTH, outputs, generator=generator))


TRANSFORM = transforms.Compose(
    [
        transforms.Resize((SIZE, SIZE)),
        transforms.ToTensor(),
        transforms.Normalize((0.5,) * 3, (0.5,) * 3),
    ]
)


def load(
    ending: nn.Module, labels: Sequence[str] | None = None, outputs: str | None = None
) -> vx.LoadedModel:
    """The ViT of this ending, loaded."""
    return vx.load_model(
        EndingViT(ending).eval(),
        transform=TRANSFORM,
        image_size=SIZE,
        labels=labels,
        outputs=outputs,
    )


def written_softmax(z: Tensor) -> Tensor:
    shares = (z - z.amax(-1, keepdim=True)).exp()
    return shares / shares.sum(-1, keepdim=True)


ENDINGS: dict[str, tuple[Callable[[], nn.Module], str, int]] = {
    "a head": (lambda: head(7), "classes", 7),
    "as many classes as a token is wide": (lambda: head(WIDTH), "classes", WIDTH),
    "an MLP head": (
        lambda: nn.Sequential(nn.Linear(WIDTH, WIDTH), nn.Tanh(), head(5)),
        "classes",
        5,
    ),
    "an MLP head as wide as a token": (
        lambda: nn.Sequential(nn.Linear(WIDTH, WIDTH), nn.GELU(), head(WIDTH)),
        "classes",
        WIDTH,
    ),
    "a weight and a bias written out": (
        lambda: Lambda(lambda m, x: x @ m.w + m.b, w=weight(5), b=nn.Parameter(torch.ones(5))),
        "classes",
        5,
    ),
    "the same, as wide as a token": (
        lambda: Lambda(
            lambda m, x: x @ m.w + m.b, w=weight(WIDTH), b=nn.Parameter(torch.randn(WIDTH))
        ),
        "classes",
        WIDTH,
    ),
    "two heads' mean": (
        lambda: Lambda(lambda m, x: (m.one(x) + m.two(x)) / 2, one=head(5), two=head(5)),
        "classes",
        5,
    ),
    "two heads' mean, as wide as a token": (
        lambda: Lambda(lambda m, x: (m.one(x) + m.two(x)) / 2, one=head(WIDTH), two=head(WIDTH)),
        "classes",
        WIDTH,
    ),
    "a temperature": (lambda: Lambda(lambda m, x: m.head(x) / 0.1, head=head(5)), "classes", 5),
    "a head without bias": (
        lambda: Lambda(lambda m, x: m.head(x), head=head(5, bias=False)),
        "classes",
        5,
    ),
    "log_softmax": (lambda: nn.Sequential(head(5), nn.LogSoftmax(-1)), "classes", 5),
    "nn.Softmax": (lambda: nn.Sequential(head(5), nn.Softmax(-1)), "probabilities", 5),
    "F.softmax": (
        lambda: Lambda(lambda m, x: F.softmax(m.head(x), dim=-1), head=head(5)),
        "probabilities",
        5,
    ),
    "softmax written out": (
        lambda: Lambda(lambda m, x: written_softmax(m.head(x)), head=head(5)),
        "probabilities",
        5,
    ),
    "nn.Sigmoid": (lambda: nn.Sequential(head(5), nn.Sigmoid()), "probabilities", 5),
    "sigmoid written out": (
        lambda: Lambda(lambda m, x: 1 / (1 + (-m.head(x)).exp()), head=head(5)),
        "probabilities",
        5,
    ),
    "a sigmoid in its place": (
        lambda: Lambda(lambda m, x: m.head(x).sigmoid_(), head=head(5)),
        "probabilities",
        5,
    ),
    "one sigmoid": (lambda: nn.Sequential(head(1), nn.Sigmoid()), "probabilities", 1),
    "one sigmoid without its dimension": (
        lambda: Lambda(lambda m, x: m.head(x).sigmoid().squeeze(-1), head=head(1)),
        "probabilities",
        1,
    ),
    "one number": (lambda: head(1), "value", 1),
    "one number without its dimension": (
        lambda: Lambda(lambda m, x: m.head(x).squeeze(-1), head=head(1)),
        "value",
        1,
    ),
    "one number without any dimension": (
        lambda: Lambda(lambda m, x: m.head(x).squeeze(), head=head(1)),
        "value",
        1,
    ),
    "nothing": (nn.Identity, "embedding", 0),
    "a norm": (lambda: nn.LayerNorm(WIDTH), "embedding", 0),
    "a projection written out": (
        lambda: Lambda(lambda m, x: x @ m.proj, proj=weight(5)),
        "embedding",
        0,
    ),
    "a projection": (
        lambda: Lambda(lambda m, x: m.visual_projection(x), visual_projection=head(5, bias=False)),
        "embedding",
        0,
    ),
    "unit vectors": (
        lambda: Lambda(lambda m, x: F.normalize(m.head(x), dim=-1), head=head(5)),
        "embedding",
        0,
    ),
    "a sum after a linear map": (
        lambda: Lambda(lambda m, x: x + m.mlp(x), mlp=head(WIDTH)),
        "embedding",
        0,
    ),
}
