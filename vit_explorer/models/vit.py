"""The Vision Transformer from scratch, readable top to bottom.

Submodules carry timm's names, so timm's state dicts for plain and distilled ViTs load strictly.

B pictures, C channels, (H, W) pixels, (gh, gw) patches, P = prefix tokens, N = P + gh·gw tokens,
h heads of width d, D = h·d.

Dosovitskiy et al., "An Image is Worth 16x16 Words", ICLR 2021; Touvron et al., "Training
data-efficient image transformers & distillation through attention", ICML 2021.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from numbers import Integral, Real
from typing import Any, Literal, get_args

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from vit_explorer.errors import ModelError, nearest
from vit_explorer.sentences import Sentence

Position = Literal["learned", "learned_2d", "sincos", "relative", "none"]
Pooling = Literal["class", "mean"]
Head = Literal["linear", "mlp"]
Activation = Literal["gelu", "gelu_tanh", "quick_gelu", "relu", "leaky_relu", "silu", "tanh"]
Init = Literal["timm", "jax", "jax_nlhb", "moco", "xavier", "kaiming", "torch"]
Pair = tuple[int, int]
# What gives the logits; zeros in an MLP head's other layer as well would never leave zero.
LAST_LAYERS = ("head", "head_dist", "head.fc2", "head_dist.fc2")
CHOICES: dict[str, Any] = {
    "position": Position, "pooling": Pooling, "head": Head, "activation": Activation,
    "head_activation": Activation, "init": Init,
}  # fmt: skip


WHOLE = ("channels", "classes", "dim", "depth", "heads", "representation_size")
NUMBERS = (
    "mlp_ratio", "qk_scale", "norm_eps", "dropout", "attention_dropout", "drop_path",
    "patch_dropout",
)  # fmt: skip
FLAGS = ("qkv_bias", "class_token", "distillation_token")
OPTIONAL = ("representation_size", "qk_scale")
LARGEST = 1_000_000  # of any count or side: far beyond use, and products of several stay countable


def _is_whole(value: Any) -> bool:
    return isinstance(value, Integral) and not isinstance(value, bool)


def _is_number(value: Any) -> bool:
    return isinstance(value, Real) and not isinstance(value, bool) and math.isfinite(value)


@dataclass(frozen=True)
class ViTConfig:
    """What a `VisionTransformer` is built from; sizes in pixels as (height, width).

    Rows and columns of the picture that fill no patch are dropped, as a convolution drops them.
    """

    image_size: Pair = (224, 224)
    patch_size: Pair = (16, 16)
    channels: int = 3
    classes: int = 1000
    dim: int = 768
    depth: int = 12
    heads: int = 12
    mlp_ratio: float = 4.0
    activation: Activation = "gelu"  # between the two layers of a block's MLP
    qkv_bias: bool = True
    qk_scale: float | None = None  # of query·key before the softmax; None is d^-0.5
    class_token: bool = True
    distillation_token: bool = False
    position: Position = "learned"
    pooling: Pooling = "class"
    representation_size: int | None = None
    head: Head = "linear"
    head_activation: Activation = "gelu"  # between the two layers of an MLP head
    norm_eps: float = 1e-6
    init: Init = "timm"
    dropout: float = 0.0
    attention_dropout: float = 0.0
    drop_path: float = 0.0  # of the last block; earlier ones rise linearly from 0
    patch_dropout: float = 0.0  # share of patches left out of each training picture

    def __post_init__(self) -> None:
        self._make_pairs()
        self._check_kinds()
        self._check_ranges()
        for name, allowed in CHOICES.items():
            value = getattr(self, name)
            if value not in get_args(allowed):
                raise ModelError(
                    "error.vit.choice",
                    "A ViT's {name} was {value!r}, expected one of {allowed}.",
                    name=name,
                    value=value,
                    allowed=get_args(allowed),
                )
        if any(size < patch for size, patch in zip(self.image_size, self.patch_size, strict=True)):
            raise ModelError(
                "error.vit.size",
                "The image size {image_size} is smaller than a patch of {patch_size}; choose a "
                "larger one.",
                image_size=self.image_size,
                patch_size=self.patch_size,
            )
        if self.dim % self.heads:
            raise ModelError(
                "error.vit.heads",
                "The width {dim} is not divisible by {heads} heads.",
                dim=self.dim,
                heads=self.heads,
            )
        if self.position in ("learned_2d", "sincos") and self.dim % 4:
            raise ModelError(
                "error.vit.twod",
                "2-D positions need a width divisible by 4, received {dim}.",
                dim=self.dim,
            )
        if self.pooling == "class" and not self.class_token:
            raise ModelError(
                "error.vit.pooling",
                "Pooling by the class token needs class_token=True, or pooling='mean'.",
            )
        if self.distillation_token and self.pooling != "class":
            raise ModelError(
                "error.vit.distillation",
                "A distillation token needs class_token=True and pooling='class'.",
            )
        if self.position == "relative" and self.patch_dropout:
            raise ModelError(
                "error.vit.relative", "Relative positions need every patch: set patch_dropout to 0."
            )

    def _make_pairs(self) -> None:
        for name in ("image_size", "patch_size"):
            size = getattr(self, name)
            pair = (size, size) if _is_whole(size) else size
            if not (
                isinstance(pair, (tuple, list)) and len(pair) == 2 and all(map(_is_whole, pair))
            ):
                raise ModelError(
                    "error.vit.pair",
                    "A ViT's {name} was {value!r}, expected a whole number, or height and width.",
                    name=name,
                    value=size,
                )
            object.__setattr__(self, name, (int(pair[0]), int(pair[1])))

    def _check_kinds(self) -> None:
        kinds: tuple[tuple[tuple[str, ...], Callable[[Any], bool], Sentence], ...] = (
            (WHOLE, _is_whole, Sentence("part.vit.whole", "a whole number")),
            (NUMBERS, _is_number, Sentence("part.vit.number", "a number")),
            (
                FLAGS,
                lambda value: isinstance(value, bool),
                Sentence("part.vit.flag", "true or false"),
            ),
        )
        for names, is_one, expected in kinds:
            for name in names:
                value = getattr(self, name)
                if not is_one(value) and not (value is None and name in OPTIONAL):
                    raise ModelError(
                        "error.vit.kind",
                        "A ViT's {name} was {value!r}, expected {expected}.",
                        name=name,
                        value=value,
                        expected=expected,
                    )

    def _check_ranges(self) -> None:
        for name in ("image_size", "patch_size", *WHOLE):
            value = getattr(self, name)
            sides = value if isinstance(value, tuple) else (1 if value is None else value,)
            least = 0 if name == "classes" else 1
            if not all(least <= side <= LARGEST for side in sides):
                raise ModelError(
                    "error.vit.whole",
                    "A ViT's {name} was {value}, expected {least} to {largest:,}.",
                    name=name,
                    value=value,
                    least=least,
                    largest=LARGEST,
                )
        for name in ("dropout", "attention_dropout", "drop_path", "patch_dropout"):
            if not 0 <= getattr(self, name) <= 1:
                raise ModelError(
                    "error.vit.share",
                    "A ViT's {name} was {value}, expected 0 to 1.",
                    name=name,
                    value=getattr(self, name),
                )

        if int(self.dim * self.mlp_ratio) < 1:
            raise ModelError(
                "error.vit.ratio",
                "A ViT's mlp_ratio was {mlp_ratio}, which leaves its MLPs no number between their "
                "layers; expected such as 4.",
                mlp_ratio=self.mlp_ratio,
            )
        if self.qk_scale is not None and self.qk_scale <= 0:
            raise ModelError(
                "error.vit.scale",
                "A ViT's qk_scale was {qk_scale}, expected a number above 0.",
                qk_scale=self.qk_scale,
            )
        if self.norm_eps <= 0:
            raise ModelError(
                "error.vit.eps",
                "A ViT's norm_eps was {norm_eps}, expected a number above 0.",
                norm_eps=self.norm_eps,
            )

    @property
    def grid(self) -> Pair:
        return (
            self.image_size[0] // self.patch_size[0],
            self.image_size[1] // self.patch_size[1],
        )

    @property
    def prefix_tokens(self) -> int:
        return int(self.class_token) + int(self.distillation_token)

    def to_dict(self) -> dict[str, Any]:
        return dataclasses.asdict(self)

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> ViTConfig:
        """Build a config from plain values; raises ModelError naming an unknown key."""
        names = [field.name for field in dataclasses.fields(cls)]
        for key in values:
            if key not in names:
                raise ModelError(
                    "error.vit.setting",
                    "A ViT has no setting {key!r}{near}",
                    key=key,
                    near=nearest(key, names) or ".",
                )
        return cls(**values)


class PatchEmbed(nn.Module):
    """Cuts a picture into patches and projects each: a convolution whose stride is its size."""

    def __init__(self, config: ViTConfig) -> None:
        super().__init__()
        self.grid_size = config.grid
        self.patch_size = config.patch_size
        self.proj = nn.Conv2d(
            config.channels, config.dim, kernel_size=config.patch_size, stride=config.patch_size
        )

    def forward(self, images: Tensor) -> Tensor:
        x = self.proj(images)  # (B, D, gh, gw)
        return x.flatten(2).transpose(1, 2)  # (B, gh·gw, D)


class RelativeBias(nn.Module):
    """A learned bias a head for each offset between two patches (BEiT's form).

    Three further entries serve prefix-to-patch, patch-to-prefix and prefix-to-prefix.
    Bao et al., "BEiT", ICLR 2022.
    """

    relative_position_index: Tensor

    def __init__(self, grid: Pair, heads: int, prefix_tokens: int) -> None:
        super().__init__()
        self.prefix_tokens = prefix_tokens
        entries = (2 * grid[0] - 1) * (2 * grid[1] - 1) + 3
        self.relative_position_bias_table = nn.Parameter(torch.zeros(entries, heads))
        nn.init.trunc_normal_(self.relative_position_bias_table, std=0.02)
        self.set_grid(grid)

    def set_grid(self, grid: Pair) -> None:
        gh, gw = grid
        rows, columns = torch.meshgrid(torch.arange(gh), torch.arange(gw), indexing="ij")
        place = torch.stack((rows.flatten(), columns.flatten()))  # (2, n)
        offset = place[:, :, None] - place[:, None, :]  # (2, n, n)
        patches = (offset[0] + gh - 1) * (2 * gw - 1) + offset[1] + gw - 1  # (n, n)
        p, size = self.prefix_tokens, self.prefix_tokens + gh * gw
        offsets = (2 * gh - 1) * (2 * gw - 1)
        index = torch.empty(size, size, dtype=torch.long)
        index[p:, p:] = patches
        index[:p, p:] = offsets
        index[p:, :p] = offsets + 1
        index[:p, :p] = offsets + 2
        device = self.relative_position_bias_table.device
        self.register_buffer("relative_position_index", index.to(device), persistent=False)

    def resize(self, old: Pair, new: Pair) -> None:
        table = self.relative_position_bias_table.data
        offsets, others = table[:-3], table[-3:]
        grid = offsets.T.reshape(1, -1, 2 * old[0] - 1, 2 * old[1] - 1)  # (1, h, rows, columns)
        grid = F.interpolate(grid, (2 * new[0] - 1, 2 * new[1] - 1), mode="bicubic")
        resized = torch.cat((grid.flatten(2)[0].T, others))
        self.relative_position_bias_table = nn.Parameter(resized)
        self.set_grid(new)

    def forward(self) -> Tensor:
        bias = self.relative_position_bias_table[self.relative_position_index]  # (N, N, h)
        return bias.permute(2, 0, 1)[None]  # (1, h, N, N)


class Attention(nn.Module):
    """Multi-head self-attention with one fused projection for query, key and value."""

    def __init__(self, config: ViTConfig) -> None:
        super().__init__()
        self.num_heads = config.heads
        self.head_dim = config.dim // config.heads
        self.scale = self.head_dim**-0.5 if config.qk_scale is None else config.qk_scale
        self.attention_dropout = config.attention_dropout
        self.qkv = nn.Linear(config.dim, 3 * config.dim, bias=config.qkv_bias)
        self.proj = nn.Linear(config.dim, config.dim)
        self.proj_drop = nn.Dropout(config.dropout)
        self.rel_pos = (
            RelativeBias(config.grid, config.heads, config.prefix_tokens)
            if config.position == "relative"
            else None
        )

    def forward(self, x: Tensor, attentions: list[Tensor] | None = None) -> Tensor:
        """Mix the tokens (B, N, D); a given list receives the probabilities (B, h, N, N)."""
        B, N, D = x.shape
        qkv = self.qkv(x).reshape(B, N, 3, self.num_heads, self.head_dim)  # (B, N, 3, h, d)
        q, k, v = qkv.permute(2, 0, 3, 1, 4).unbind(0)  # each (B, h, N, d)
        bias = None if self.rel_pos is None else self.rel_pos().to(q.dtype)  # (1, h, N, N)
        dropout = self.attention_dropout if self.training else 0.0
        if attentions is None:
            x = F.scaled_dot_product_attention(
                q, k, v, attn_mask=bias, dropout_p=dropout, scale=self.scale
            )
        else:
            scores = q @ k.transpose(-2, -1) * self.scale  # (B, h, N, N)
            attention = (scores if bias is None else scores + bias).softmax(dim=-1)
            attentions.append(attention)
            x = F.dropout(attention, dropout) @ v  # (B, h, N, d)
        x = x.transpose(1, 2).reshape(B, N, D)  # heads side by side
        return self.proj_drop(self.proj(x))


class QuickGELU(nn.Module):
    """x·sigmoid(1.702 x), the approximation of GELU that CLIP was trained with."""

    def forward(self, x: Tensor) -> Tensor:
        return x * torch.sigmoid(1.702 * x)


ACTIVATIONS: dict[Activation, Callable[[], nn.Module]] = {
    "gelu": nn.GELU,
    "gelu_tanh": partial(nn.GELU, approximate="tanh"),
    "quick_gelu": QuickGELU,
    "relu": nn.ReLU,
    "leaky_relu": nn.LeakyReLU,
    "silu": nn.SiLU,
    "tanh": nn.Tanh,
}


class Mlp(nn.Module):
    """Two linear layers with an activation between them."""

    def __init__(
        self, dim: int, hidden: int, out: int, activation: Activation, dropout: float = 0.0
    ) -> None:
        super().__init__()
        self.fc1 = nn.Linear(dim, hidden)
        self.act = ACTIVATIONS[activation]()
        self.fc2 = nn.Linear(hidden, out)
        self.drop = nn.Dropout(dropout)

    def forward(self, x: Tensor) -> Tensor:
        return self.drop(self.fc2(self.drop(self.act(self.fc1(x)))))


class DropPath(nn.Module):
    """Drops a residual branch for whole pictures in training (Huang et al., ECCV 2016)."""

    def __init__(self, rate: float) -> None:
        super().__init__()
        self.rate = rate

    def forward(self, x: Tensor) -> Tensor:
        if not self.training or self.rate == 0:
            return x
        if self.rate >= 1:
            return torch.zeros_like(x)
        keep = x.new_empty(len(x), *(1,) * (x.ndim - 1)).bernoulli_(1 - self.rate)
        return x * keep / (1 - self.rate)


class PatchDropout(nn.Module):
    """Leaves out a random share of the patches in training (Liu et al., WACV 2023)."""

    def __init__(self, rate: float, prefix_tokens: int) -> None:
        super().__init__()
        self.rate = rate
        self.prefix_tokens = prefix_tokens

    def draw(self, pictures: int, tokens: int, device: torch.device) -> Tensor | None:
        """Which of N tokens go on, (B, kept) with the prefix first; None for all of them."""
        if not self.training or self.rate == 0:
            return None
        patches = tokens - self.prefix_tokens
        kept = max(1, round(patches * (1 - self.rate)))
        order = torch.rand(pictures, patches, device=device).argsort(dim=1)[:, :kept]
        prefix = torch.arange(self.prefix_tokens, device=device).expand(pictures, -1)
        return torch.cat((prefix, order + self.prefix_tokens), dim=1)

    def forward(self, x: Tensor) -> Tensor:
        kept = self.draw(x.shape[0], x.shape[1], x.device)
        return x if kept is None else take_tokens(x, kept)


class Block(nn.Module):
    """A pre-norm transformer block: x + attention(norm(x)), then x + mlp(norm(x))."""

    def __init__(self, config: ViTConfig, drop_path: float) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(config.dim, eps=config.norm_eps)
        self.attn = Attention(config)
        self.drop_path1 = DropPath(drop_path)
        self.norm2 = nn.LayerNorm(config.dim, eps=config.norm_eps)
        hidden = int(config.dim * config.mlp_ratio)
        self.mlp = Mlp(config.dim, hidden, config.dim, config.activation, config.dropout)
        self.drop_path2 = DropPath(drop_path)

    def forward(self, x: Tensor, attentions: list[Tensor] | None = None) -> Tensor:
        x = x + self.drop_path1(self.attn(self.norm1(x), attentions))
        return x + self.drop_path2(self.mlp(self.norm2(x)))


class VisionTransformer(nn.Module):
    """The ViT: patches, prefix tokens, positions, blocks, norm, pooling, head."""

    pos_embed: Tensor | None

    def __init__(self, config: ViTConfig) -> None:
        super().__init__()
        self.config = config
        self.embed_dim = config.dim
        self.num_classes = config.classes
        self.num_prefix_tokens = config.prefix_tokens
        self.patch_embed = PatchEmbed(config)
        self.cls_token = _token(config.dim) if config.class_token else None
        self.dist_token = _token(config.dim) if config.distillation_token else None
        self._add_positions()
        self.pos_drop = nn.Dropout(config.dropout)
        self.patch_drop = PatchDropout(config.patch_dropout, config.prefix_tokens)
        rates = torch.linspace(0, config.drop_path, config.depth, device="cpu").tolist()
        self.blocks = nn.ModuleList(Block(config, rate) for rate in rates)
        self.norm = nn.LayerNorm(config.dim, eps=config.norm_eps)
        self.pre_logits = _representation(config)
        self.head = _head(config)
        self.head_dist = _head(config) if config.distillation_token else None
        if not self.norm.weight.is_meta:  # a module without numbers has none to draw
            self.init_weights()

    def _add_positions(self) -> None:
        config = self.config
        gh, gw = config.grid
        if config.position == "learned":
            self.pos_embed = nn.Parameter(
                torch.zeros(1, config.prefix_tokens + gh * gw, config.dim)
            )
        elif config.position == "learned_2d":
            self.pos_embed = nn.Parameter(torch.zeros(1, config.prefix_tokens, config.dim))
            self.pos_embed_row = nn.Parameter(torch.zeros(gh, config.dim // 2))
            self.pos_embed_column = nn.Parameter(torch.zeros(gw, config.dim // 2))
        elif config.position == "sincos":
            fixed = sincos_positions(config.grid, config.dim, config.prefix_tokens)
            self.register_buffer("pos_embed", fixed, persistent=False)
        else:
            self.pos_embed = None

    def init_weights(self) -> None:
        """Draw the weights anew, by `config.init`; see `_init_layer`."""
        for name, module in self.named_modules():
            if isinstance(module, (nn.Linear, nn.Conv2d)):
                _init_layer(module, name, self.config)
        for name, parameter in self.named_parameters():
            if name.startswith("pos_embed") or name == "dist_token":
                nn.init.trunc_normal_(parameter, std=0.02)
            elif name == "cls_token":
                nn.init.normal_(parameter, std=1e-6)

    def no_weight_decay(self) -> set[str]:
        names = {name for name, _ in self.named_parameters() if name.startswith("pos_embed")}
        return names | {"cls_token", "dist_token"}

    def position_embedding(self) -> Tensor | None:
        """What is added to the tokens, (1, N, D), or None for relative and no positions."""
        if self.pos_embed is None or self.config.position != "learned_2d":
            return self.pos_embed
        gh, gw = self.config.grid
        rows = self.pos_embed_row[:, None].expand(gh, gw, -1)
        columns = self.pos_embed_column[None].expand(gh, gw, -1)
        patches = torch.cat((rows, columns), dim=-1).flatten(0, 1)[None]  # (1, gh·gw, D)
        return torch.cat((self.pos_embed, patches), dim=1)

    def set_image_size(self, image_size: Pair) -> None:
        """Change the picture's size in place; positions are interpolated to the new grid."""
        old = self.config.grid
        self.config = dataclasses.replace(self.config, image_size=image_size)
        new = self.patch_embed.grid_size = self.config.grid
        if new == old:
            return
        with torch.no_grad():
            if self.config.position == "learned" and self.pos_embed is not None:
                resized = interpolate_positions(
                    self.pos_embed, old, new, prefix_tokens=self.num_prefix_tokens
                )
                self.pos_embed = nn.Parameter(resized)
            elif self.config.position == "learned_2d":
                self.pos_embed_row = nn.Parameter(_interpolate_line(self.pos_embed_row, new[0]))
                self.pos_embed_column = nn.Parameter(
                    _interpolate_line(self.pos_embed_column, new[1])
                )
            elif self.config.position == "sincos" and self.pos_embed is not None:
                fixed = sincos_positions(new, self.config.dim, self.num_prefix_tokens)
                self.pos_embed = fixed.to(self.pos_embed)
            for module in self.modules():
                if isinstance(module, RelativeBias):
                    module.resize(old, new)

    def embed(self, images: Tensor) -> Tensor:
        """Pictures (B, C, H, W) to tokens (B, N, D), prefix tokens first, positions added."""
        if tuple(images.shape[-2:]) != self.config.image_size:
            raise ModelError(
                "error.vit.picture",
                "The model received a picture of {given} pixels, expected {image_size}; load it "
                "with that image_size.",
                given=tuple(images.shape[-2:]),
                image_size=self.config.image_size,
            )
        x = self.patch_embed(images)  # (B, gh·gw, D)
        prefix = [token for token in (self.cls_token, self.dist_token) if token is not None]
        x = torch.cat([token.expand(x.shape[0], -1, -1) for token in prefix] + [x], dim=1)
        position = self.position_embedding()
        return self.pos_drop(x if position is None else x + position)

    def forward_features(
        self, images: Tensor, attentions: list[Tensor] | None = None, kept: Tensor | None = None
    ) -> Tensor:
        """Tokens (B, N, D) after the final norm; a given list receives each layer's attention.

        `kept` (B, n) names the tokens that go on, in place of patch dropout's own draw.
        """
        x = self.embed(images)
        x = self.patch_drop(x) if kept is None else take_tokens(x, kept)
        for block in self.blocks:
            x = block(x, attentions)
        return self.norm(x)

    def _class_logits(self, tokens: Tensor) -> Tensor:
        if self.config.pooling == "class":
            pooled = tokens[:, 0]  # (B, D)
        else:
            pooled = tokens[:, self.num_prefix_tokens :].mean(dim=1)
        return self.head(self.pre_logits(pooled))

    def heads(self, tokens: Tensor) -> tuple[Tensor, Tensor]:
        """Logits (B, classes) of the class head and of the distillation head, for training;
        without a distillation token the class head's twice."""
        logits = self._class_logits(tokens)
        if self.head_dist is None:
            return logits, logits
        return logits, self.head_dist(self.pre_logits(tokens[:, 1]))

    def forward_head(self, tokens: Tensor) -> Tensor:
        """Tokens (B, N, D) to logits (B, classes); two heads are averaged, as in DeiT."""
        logits, distilled = self.heads(tokens)
        return logits if self.head_dist is None else (logits + distilled) / 2

    def forward(
        self, images: Tensor, output_attentions: bool = False
    ) -> Tensor | tuple[Tensor, tuple[Tensor, ...]]:
        """Logits (B, classes); with `output_attentions` also each layer's (B, h, N, N)."""
        if not output_attentions:
            return self.forward_head(self.forward_features(images))
        attentions: list[Tensor] = []
        logits = self.forward_head(self.forward_features(images, attentions))
        return logits, tuple(attentions)


def _token(dim: int) -> nn.Parameter:
    return nn.Parameter(torch.zeros(1, 1, dim))


def _representation(config: ViTConfig) -> nn.Module:
    """The ViT paper's pre-training layer between pooling and head: linear, then tanh."""
    if config.representation_size is None:
        return nn.Identity()
    layer = nn.Sequential()
    layer.add_module("fc", nn.Linear(config.dim, config.representation_size))
    layer.add_module("act", nn.Tanh())
    return layer


def _head(config: ViTConfig) -> nn.Module:
    width = config.representation_size or config.dim
    if config.classes == 0:
        return nn.Identity()
    if config.head == "mlp":
        return Mlp(width, width, config.classes, config.head_activation)
    return nn.Linear(width, config.classes)


def _init_layer(layer: nn.Linear | nn.Conv2d, name: str, config: ViTConfig) -> None:
    """One layer's weights, as the model's `init` says.

    "timm": truncated normals of width 0.02, as ViT and DeiT in timm. "jax" and "jax_nlhb": the ViT
    paper's own (xavier uniform, MLP biases of 1e-6, a head of zeros, biased to -log classes with
    "nlhb"; LeCun normal patches). "moco": MoCo v3 (Chen, Xie, He, ICCV 2021), query, key and value
    each as a matrix of its own. "xavier" and "kaiming": uniform and normal (for relu) for every
    layer, zero biases. "torch": what torch's layers begin with. All but "jax", "xavier" and
    "kaiming" leave the patch convolution as torch made it.
    """
    everywhere: dict[str, Any] = {
        "xavier": nn.init.xavier_uniform_,
        "kaiming": nn.init.kaiming_normal_,
    }
    if config.init == "torch":
        layer.reset_parameters()
        return
    jax = config.init.startswith("jax")
    if isinstance(layer, nn.Conv2d) and not jax and config.init not in everywhere:
        return
    if layer.bias is not None:
        nn.init.zeros_(layer.bias)
    if config.init in everywhere:
        everywhere[config.init](layer.weight.flatten(1))
    elif isinstance(layer, nn.Conv2d):
        # Truncated at two widths, which shrinks the deviation by this factor.
        std = layer.weight[0].numel() ** -0.5 / 0.87962566103423978
        nn.init.trunc_normal_(layer.weight, std=std, a=-2 * std, b=2 * std)
    elif config.init == "timm":
        nn.init.trunc_normal_(layer.weight, std=0.02)
    elif jax and name in LAST_LAYERS:
        nn.init.zeros_(layer.weight)
        nn.init.constant_(layer.bias, -math.log(config.classes) if "nlhb" in config.init else 0.0)
    elif config.init == "moco" and name.endswith("qkv"):
        bound = math.sqrt(6 / (layer.weight.shape[0] // 3 + layer.weight.shape[1]))
        nn.init.uniform_(layer.weight, -bound, bound)
    else:
        nn.init.xavier_uniform_(layer.weight)
        if jax and "mlp" in name:
            nn.init.normal_(layer.bias, std=1e-6)


def take_tokens(tokens: Tensor, kept: Tensor) -> Tensor:
    """Of tokens (B, N, D) those that `kept` (B, n) names, (B, n, D)."""
    return tokens.gather(1, kept[:, :, None].expand(-1, -1, tokens.shape[-1]))


def patchify(images: Tensor, patch_size: Pair) -> Tensor:
    """Cut pictures (B, C, H, W) into flat patches (B, gh·gw, C·h·w), row by row.

    >>> patchify(torch.zeros(1, 3, 32, 48), (16, 16)).shape
    torch.Size([1, 6, 768])
    """
    B, C, H, W = images.shape
    h, w = patch_size
    gh, gw = H // h, W // w
    x = images[:, :, : gh * h, : gw * w]  # what fills no patch is dropped, as by a convolution
    x = x.reshape(B, C, gh, h, gw, w)
    return x.permute(0, 2, 4, 1, 3, 5).reshape(B, gh * gw, C * h * w)


def embed_patches_by_hand(images: Tensor, projection: nn.Conv2d) -> Tensor:
    """Patch embedding as unfold and one matrix product: (B, gh·gw, D), equal to the convolution."""
    height, width = projection.kernel_size
    weight = projection.weight.flatten(1)  # (D, C·h·w)
    return F.linear(patchify(images, (height, width)), weight, projection.bias)


def sincos_positions(grid: Pair, dim: int, prefix_tokens: int = 0) -> Tensor:
    """Fixed 2-D sine-cosine positions (1, P + gh·gw, D); zeros for the prefix tokens.

    A quarter of the width each for sine and cosine of the row and of the column, frequencies
    from 1 to 1/10000 (Chen, Xie, He, "MoCo v3", ICCV 2021).
    """
    gh, gw = grid
    frequency = 10000.0 ** -(torch.arange(dim // 4, dtype=torch.float64) / (dim / 4))
    row, column = torch.meshgrid(torch.arange(gh), torch.arange(gw), indexing="ij")
    angles = [place.flatten()[:, None] * frequency for place in (row, column)]  # (n, D/4) each
    patches = torch.cat([f(angle) for angle in angles for f in (torch.sin, torch.cos)], dim=1)
    return torch.cat((torch.zeros(prefix_tokens, dim), patches.float()))[None]


def interpolate_positions(positions: Tensor, old: Pair, new: Pair, *, prefix_tokens: int) -> Tensor:
    """Resample positions (1, P + gh·gw, D) to another grid, bicubic; prefix rows are kept."""
    prefix, patches = positions[:, :prefix_tokens], positions[:, prefix_tokens:]
    if math.prod(old) != patches.shape[1]:
        raise ModelError(
            "error.vit.positions",
            "{count} position embeddings do not fill a grid of {grid}.",
            count=patches.shape[1],
            grid=old,
        )
    grid = patches.reshape(1, *old, -1).permute(0, 3, 1, 2).float()  # (1, D, gh, gw)
    grid = F.interpolate(grid, new, mode="bicubic", antialias=True)
    patches = grid.permute(0, 2, 3, 1).flatten(1, 2).to(positions.dtype)
    return torch.cat((prefix, patches), dim=1)


def _interpolate_line(line: Tensor, length: int) -> Tensor:
    """Resample one axis of 2-D positions, (n, D/2) to (length, D/2)."""
    return F.interpolate(line.T[None], length, mode="linear", align_corners=False)[0].T
