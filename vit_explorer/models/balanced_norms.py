"""Norms whose scale counts as a constant, each as torch's own function is called.

They give (tokens on one scale, what these are multiplied with, what is added), None for neither.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

Norm = Callable[..., tuple[Tensor, Any, Any]]


def layer_norm(
    x: Tensor,
    shape: Any,
    weight: Any = None,
    bias: Any = None,
    eps: float = 1e-5,
    *_: Any,
    **__: Any,
) -> tuple[Tensor, Any, Any]:
    x = _wide(x)
    axes = tuple(range(-len(shape), 0))
    centred = x - x.mean(dim=axes, keepdim=True)
    return (
        centred / (centred.detach().square().mean(dim=axes, keepdim=True) + eps).sqrt(),
        weight,
        bias,
    )


def rms_norm(
    x: Tensor, shape: Any, weight: Any = None, eps: float | None = None
) -> tuple[Tensor, Any, Any]:
    eps = torch.finfo(x.dtype).eps if eps is None else eps
    x = _wide(x)
    axes = tuple(range(-len(shape), 0))
    return x / (x.detach().square().mean(dim=axes, keepdim=True) + eps).sqrt(), weight, None


def group_norm(
    x: Tensor, groups: int, weight: Any = None, bias: Any = None, eps: float = 1e-5
) -> tuple[Tensor, Any, Any]:
    # (B, C, …), a group's channels together
    grouped = _wide(x).unflatten(1, (groups, -1))
    axes = tuple(range(2, grouped.ndim))
    centred = grouped - grouped.mean(dim=axes, keepdim=True)
    scale = (centred.detach().square().mean(dim=axes, keepdim=True) + eps).sqrt()
    return (centred / scale).flatten(1, 2), *(_by_channel(one, x) for one in (weight, bias))


def batch_norm(
    x: Tensor,
    mean: Tensor,
    variance: Tensor,
    weight: Any = None,
    bias: Any = None,
    training: bool = False,
    momentum: float = 0.1,
    eps: float = 1e-5,
) -> tuple[Tensor, Any, Any]:
    # In evaluation mode it is a multiple and a sum.
    scale = (variance + eps).rsqrt() * (1.0 if weight is None else weight)
    added = (0.0 if bias is None else bias) - mean * scale
    return x, _by_channel(scale, x), _by_channel(added, x)


def unit(
    x: Tensor, p: float = 2.0, dim: Any = 1, eps: float = 1e-12, *_: Any
) -> tuple[Tensor, Any, Any]:
    return x / x.detach().norm(p, dim, keepdim=True).clamp_min(eps), None, None


def _wide(x: Tensor) -> Tensor:
    return x.float() if x.dtype in (torch.float16, torch.bfloat16) else x


def _by_channel(numbers: Any, x: Tensor) -> Any:
    return None if numbers is None else numbers.reshape(-1, *[1] * (x.ndim - 2))
