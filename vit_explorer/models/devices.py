"""Where a model computes, and in which floating-point type."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Literal, get_args

import torch

from vit_explorer.errors import ModelError, OptionError

Autocast = Literal["auto", "no", "bf16", "fp16"]


def find_device(name: str) -> torch.device:
    """ "auto" is cuda where there is one. Raises OptionError for a device that isn't there."""
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    kind = name.partition(":")[0]
    if kind == "cpu" or (kind == "cuda" and torch.cuda.is_available()):
        try:
            return torch.device(name)
        except RuntimeError:
            kind = ""
    if kind == "cuda":
        raise OptionError(
            "error.device.cuda",
            "The device 'cuda' is not available on this machine; use 'cpu' or 'auto'.",
        )
    raise OptionError(
        "error.device.name",
        "The device was {name!r}, expected 'auto', 'cpu', 'cuda' or 'cuda:N'.",
        name=name,
    )


def find_precision(name: str) -> torch.dtype:
    """A floating-point type by its name. Raises OptionError for another name."""
    types = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}
    if name not in types:
        raise OptionError(
            "error.precision",
            "The precision was {name!r}, expected {known}.",
            name=name,
            known=", ".join(types),
        )
    return types[name]


def choose_precision(name: str, device: torch.device) -> str:
    """A type for autocast: "auto" is bf16 where the processor has it.

    Raises OptionError for an unknown name.
    """
    if name not in get_args(Autocast):
        raise OptionError(
            "error.precision.known",
            "The precision was {name!r}, expected {known}.",
            name=name,
            known=", ".join(get_args(Autocast)),
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
def enough_memory(name: str, otherwise: str = "") -> Iterator[None]:
    """Raises ModelError, in one sentence, where a GPU's memory runs out."""
    try:
        yield
    except torch.cuda.OutOfMemoryError:
        raise ModelError(
            "error.memory",
            "{name} ran out of GPU memory; use {otherwise}a smaller image_size, or the cpu.",
            name=name,
            otherwise=otherwise,
        ) from None
