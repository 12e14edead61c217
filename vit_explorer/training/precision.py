"""Number formats and attention kernels that suit the device."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Literal, get_args

import torch
from torch.nn.attention import SDPBackend, sdpa_kernel

from vit_explorer.errors import OptionError

Precision = Literal["auto", "no", "bf16", "fp16"]


def choose_precision(name: str, device: torch.device) -> str:
    """ "auto" is bf16 where the processor has it. Raises OptionError for an unknown name."""
    if name not in get_args(Precision):
        raise OptionError(
            "error.precision.known",
            "The precision was {name!r}, expected {known}.",
            name=name,
            known=", ".join(get_args(Precision)),
        )
    if name == "fp16" and device.type == "cpu":
        raise OptionError(
            "error.precision.fp16", "The precision fp16 needs a GPU; use bf16, no or auto."
        )
    if name != "auto":
        return name
    if device.type == "cuda":
        return "bf16" if torch.cuda.is_bf16_supported(False) else "fp16"
    return "bf16" if torch.cpu._is_avx512_bf16_supported() else "no"


@contextmanager
def training_kernels(device: torch.device) -> Iterator[None]:
    """On a CPU the plain attention: its backward pass is a third faster than the fused one's."""
    if device.type != "cpu":
        yield
        return
    with sdpa_kernel(SDPBackend.MATH):
        yield
