"""Absolute positions that no known name tells, by what enters the first block without them."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace

import torch
from torch import Tensor, nn

from vit_explorer.models.structure.anatomy import Anatomy
from vit_explorer.models.structure.token_order import run_to_block


@contextmanager
def _without(module: nn.Module, name: str) -> Iterator[None]:
    """Lend zeros in the place of one of a module's parameters."""
    parts, _, own = name.rpartition(".")
    holder = module.get_submodule(parts)
    kept = holder.get_parameter(own)
    holder.register_parameter(own, nn.Parameter(torch.zeros_like(kept), requires_grad=False))
    try:
        yield
    finally:
        holder.register_parameter(own, kept)


def _patches(module: nn.Module, anatomy: Anatomy, pixels: Tensor, prefix: int) -> Tensor:
    entering = run_to_block(module, anatomy.blocks[0], pixels, anatomy.tokens)
    return anatomy.arrange(entering)[0, prefix:].float()


def has_positions(module: nn.Module, anatomy: Anatomy, pixels: Tensor, prefix: int) -> bool:
    """Whether patches of an empty picture (1, C, H, W) become different tokens."""
    tokens = _patches(module, anatomy, torch.zeros_like(pixels), prefix)
    spread = (tokens - tokens[:1]).abs().max()
    return bool(spread > 1e-5 * tokens.abs().max().clamp(min=1e-12))


def find_parameter(module: nn.Module, anatomy: Anatomy, pixels: Tensor, prefix: int) -> str:
    """The parameter without which they are the same, "" where there is none."""
    patches = anatomy.tokens - prefix
    width = _patches(module, anatomy, torch.zeros_like(pixels), prefix).shape[-1]
    for name in _candidates(module, anatomy, patches, width):
        with _without(module, name):
            told = has_positions(module, anatomy, pixels, prefix)
        if not told:
            return name
    return ""


def find_added(module: nn.Module, anatomy: Anatomy, pixels: Tensor, prefix: int) -> str:
    """The parameter that adds something else to each patch, the same in any picture."""
    patches = anatomy.tokens - prefix
    width = _patches(module, anatomy, torch.zeros_like(pixels), prefix).shape[-1]
    for name in _candidates(module, anatomy, patches, width):
        found = added(module, replace(anatomy, position=name), pixels, prefix)
        if found is not None and bool((found != found[:1]).any()):
            return name
    return ""


def _candidates(module: nn.Module, anatomy: Anatomy, patches: int, width: int) -> Iterator[str]:
    inside = {id(one) for block in anatomy.blocks for one in block.module.parameters()}
    sizes = {count * width for count in range(patches, anatomy.tokens + 1)}
    for name, parameter in module.named_parameters():
        if id(parameter) not in inside and parameter.numel() in sizes and width in parameter.shape:
            yield name


def added(module: nn.Module, anatomy: Anatomy, pixels: Tensor, prefix: int) -> Tensor | None:
    """What the parameter adds to each patch (n, D), row by row; None where it is not added alone,
    as under a norm: then it differs between pictures."""
    pictures = (torch.zeros_like(pixels), pixels)
    whole = [_patches(module, anatomy, picture, prefix) for picture in pictures]
    with _without(module, anatomy.position):
        rest = [_patches(module, anatomy, picture, prefix) for picture in pictures]
    empty, other = (one - without for one, without in zip(whole, rest, strict=True))
    alike = torch.allclose(empty, other, atol=1e-3 * float(empty.abs().max()), rtol=0)
    return empty if alike else None
