"""Modules whose layers compute in whole numbers: whether gradients pass them is measured."""

from __future__ import annotations

import warnings

import torch
from torch import Tensor, nn

from vit_explorer.errors import UnsupportedModelError

PLAIN = (Tensor, nn.Parameter)


def check_gradients(module: nn.Module, name: str) -> None:
    """Refuse a module with quantised layers that pass no gradient back, by one of them.

    Raises:
        UnsupportedModelError: predictions would be right and every gradient zero, in silence.
    """
    floats = (parameter for parameter in module.parameters() if parameter.is_floating_point())
    like = next(floats, torch.zeros(0))
    seen = set()
    for place, layer in module.named_modules():
        width = getattr(layer, "in_features", None)
        if not _is_quantised(layer) or not isinstance(width, int) or type(layer) in seen:
            continue
        seen.add(type(layer))
        if not _passes_gradient(layer, width, like):
            kind = type(layer) if type(layer) is not nn.Linear else type(layer.weight)
            raise UnsupportedModelError(
                "error.quantised",
                "{name} can't be explored: its layer {place!r} is quantised ({module}.{kind}) "
                "and passes no gradient back; load the float model that it was made from.",
                name=name,
                place=place,
                module=kind.__module__,
                kind=kind.__name__,
            )


def _passes_gradient(layer: nn.Module, width: int, like: Tensor) -> bool:
    with torch.inference_mode(False), torch.enable_grad(), warnings.catch_warnings():
        # PyTorch warns where a function has no gradient, and gives none.
        warnings.simplefilter("ignore")
        given = torch.ones(1, width, dtype=like.dtype, device=like.device, requires_grad=True)
        output = layer(given)
        if not output.requires_grad:
            return False
        (slope,) = torch.autograd.grad(output.float().sum(), given, allow_unused=True)
    return slope is not None and bool(slope.any())


def _is_quantised(layer: nn.Module) -> bool:
    weight = getattr(layer, "weight", None)
    # Quantised layers of PyTorch give their weight by a method, those of torchao as a tensor's kin.
    return (callable(weight) and not isinstance(weight, Tensor)) or (
        isinstance(weight, Tensor) and (type(weight) not in PLAIN or weight.is_quantized)
    )


def plain_tensor(tensor: Tensor) -> Tensor:
    """The numbers of a tensor of any kind, detached and on the CPU."""
    tensor = tensor.detach()
    if type(tensor) not in PLAIN or tensor.is_quantized:
        tensor = tensor.dequantize()
    return tensor.cpu().contiguous()
