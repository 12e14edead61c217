"""What was detected in a model: the facts every view and method relies on."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from vit_explorer.errors import UnsupportedModelError
from vit_explorer.interception import accept, recording
from vit_explorer.models.vit import VisionTransformer

Pair = tuple[int, int]

# A similarity map a patch: more than these are neither drawn nor read at once.
LARGEST_DRAWN_GRID = 40 * 40


@dataclass(frozen=True, kw_only=True)
class Structure:
    """The part of a card that the module itself tells. Sizes in pixels as (height, width)."""

    grid: Pair
    patch_size: Pair
    prefix_names: tuple[str, ...]
    depth: int
    heads: int
    head_width: int
    dim: int
    pooling: str
    position: str
    classes: int


@dataclass(frozen=True, kw_only=True)
class ModelCard(Structure):
    """What was detected: the structure, where it comes from, and how its pictures are prepared."""

    name: str
    source: str
    parameters: int
    image_size: Pair
    mean: tuple[float, ...]
    std: tuple[float, ...]
    interpolation: str
    crop_pct: float
    labels_source: str

    @property
    def prefix_tokens(self) -> int:
        return len(self.prefix_names)

    @property
    def tokens(self) -> int:
        return self.prefix_tokens + self.grid[0] * self.grid[1]

    @property
    def has_class_token(self) -> bool:
        return "class" in self.prefix_names

    @property
    def position_maps(self) -> bool:
        """Whether each patch has a position embedding to compare, on a grid that can be drawn."""
        absolute = any(kind in self.position for kind in ("learned", "sin-cos"))
        return absolute and self.tokens <= LARGEST_DRAWN_GRID

    def to_dict(self) -> dict[str, Any]:
        return dataclasses.asdict(self)

    def summary(self) -> str:
        """One line for a header, such as "224 px · 14×14 patches · 12 layers × 3 heads · …"."""
        height, width = self.image_size
        pixels = f"{height} px" if height == width else f"{height}×{width} px"
        prefix = _joined(self.prefix_names) or "no prefix token"
        return (
            f"{pixels} · {self.grid[0]}×{self.grid[1]} patches · {self.depth} layers × "
            f"{self.heads} heads · {prefix} · {self.position} positions"
        )


def _joined(names: Sequence[str]) -> str:
    registers = sum(name.startswith("register") for name in names)
    parts = [f"{name} token" for name in names if not name.startswith("register")]
    if registers:
        parts.append(f"{registers} registers")
    return " + ".join(parts)


def find_blocks(module: nn.Module, name: str) -> tuple[nn.Module, ...]:
    """The transformer blocks, in order.

    `module.blocks` as in timm, else the longest list of modules of one type.

    Raises:
        UnsupportedModelError: the module has no such list.
    """
    named = getattr(module, "blocks", None)
    if isinstance(named, (nn.ModuleList, nn.Sequential)) and len(named):
        return tuple(named)
    lists = [
        tuple(child)
        for child in module.modules()
        if isinstance(child, (nn.ModuleList, nn.Sequential))
        and len({type(item) for item in child}) == 1
    ]
    if not lists:
        raise UnsupportedModelError(
            f"{name} can't be explored: it has no list of transformer blocks; pass a ViT whose "
            "blocks are in a ModuleList or Sequential."
        )
    return max(lists, key=len)


def detect(
    module: nn.Module, blocks: Sequence[nn.Module], image_size: Pair, name: str
) -> Structure:
    """Run the module once on a grey picture and read off its structure.

    Raises:
        UnsupportedModelError: the blocks don't each make one global self-attention.
    """
    patch_size = find_patch_size(module, image_size, name)
    grid = (image_size[0] // patch_size[0], image_size[1] // patch_size[1])
    parameter = next(module.parameters())
    pixels = torch.zeros(1, 3, *image_size, dtype=parameter.dtype, device=parameter.device)
    with torch.no_grad(), recording(module, blocks) as calls:
        output = first_tensor(module(pixels))
    prefix_names = find_prefix_names(
        module, calls[0].query.shape[-2] - grid[0] * grid[1] if calls else 0
    )
    tokens = len(prefix_names) + grid[0] * grid[1]
    query = accept(calls, len(blocks), tokens, name)[0].query
    return Structure(
        grid=grid,
        patch_size=patch_size,
        prefix_names=prefix_names,
        depth=len(blocks),
        heads=query.shape[1],
        head_width=query.shape[3],
        dim=int(getattr(module, "embed_dim", query.shape[1] * query.shape[3])),
        pooling=find_pooling(module),
        position=find_position(module),
        classes=find_classes(module, output),
    )


def first_tensor(output: Any) -> torch.Tensor:
    """The logits of a forward pass that may return a tuple or an object with `logits`."""
    output = getattr(output, "logits", output)
    if isinstance(output, (tuple, list)):
        output = output[0]
    if not isinstance(output, torch.Tensor):
        raise UnsupportedModelError(
            f"The model returned {type(output).__name__}, expected logits as a tensor; wrap it so "
            "that its forward returns them."
        )
    return output


def find_patch_size(module: nn.Module, image_size: Pair, name: str) -> Pair:
    """Pixels a patch covers, from the patch embedding's stride or its grid."""
    embed = getattr(module, "patch_embed", None) or getattr(module, "embeds", None)
    ratio = getattr(embed, "feat_ratio", None)
    size = ratio() if callable(ratio) else getattr(embed, "patch_size", None)
    if size is None:
        strides = [
            child.stride
            for child in module.modules()
            if isinstance(child, nn.Conv2d) and child.stride == child.kernel_size
        ]
        size = strides[0] if strides else None
    if size is None:
        raise UnsupportedModelError(
            f"{name} can't be explored: no patch embedding was found, expected `patch_embed` or a "
            "convolution whose stride equals its kernel."
        )
    pair = (size, size) if isinstance(size, int) else tuple(int(side) for side in size)
    if any(pixels % patch for pixels, patch in zip(image_size, pair, strict=True)):
        raise UnsupportedModelError(
            f"The image size {image_size[0]}×{image_size[1]} is not divisible by {name}'s patch "
            f"size {pair[0]}×{pair[1]}; choose multiples of the patch."
        )
    return pair[0], pair[1]


def find_prefix_names(module: nn.Module, count: int) -> tuple[str, ...]:
    """Names of the tokens before the patches, in their order."""
    count = int(getattr(module, "num_prefix_tokens", count))
    holder = getattr(module, "embeds", module)
    names = [
        name
        for name, attribute in (("class", "cls_token"), ("distillation", "dist_token"))
        if getattr(holder, attribute, None) is not None
    ]
    registers = count - len(names)
    if registers < 0:
        return tuple(names[:count])
    return (*names, *(f"register {index + 1}" for index in range(registers)))


def find_pooling(module: nn.Module) -> str:
    if isinstance(module, VisionTransformer):
        return module.config.pooling
    pooling = getattr(module, "global_pool", None)
    return {"token": "class", "avg": "mean", "map": "attention", "": "none"}.get(
        str(pooling or ""), str(pooling)
    )


def find_position(module: nn.Module) -> str:
    """learned, learned 2-D, sin-cos, rotary, relative, several joined by +, or none."""
    if isinstance(module, VisionTransformer):
        names = {"learned_2d": "learned 2-D", "sincos": "sin-cos", "none": "no"}
        return names.get(module.config.position, module.config.position)
    kinds = []
    positions = getattr(getattr(module, "embeds", module), "pos_embed", None)
    if isinstance(positions, torch.Tensor):
        trained = isinstance(positions, nn.Parameter)
        kinds.append("learned" if trained else "sin-cos")
    if getattr(module, "rope", None) is not None:
        kinds.append("rotary")
    if any("relative_position" in key or "rel_pos" in key for key, _ in module.named_parameters()):
        kinds.append("relative")
    return " + ".join(kinds) or "no"


def find_classes(module: nn.Module, output: torch.Tensor) -> int:
    """Number of logits; 0 for a backbone that returns features."""
    declared = getattr(module, "num_classes", None)
    if declared is not None:
        return int(declared)
    return int(output.shape[-1])
