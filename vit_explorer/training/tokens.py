"""A teacher's tokens as targets of a student's: after which blocks, stored how, compared how."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor, nn

from vit_explorer.models.capture import capture
from vit_explorer.models.vit import take_tokens

_STEPS = 31.75  # bytes in a standard deviation, so that a byte reaches 4 of them


@contextmanager
def block_outputs(blocks: Sequence[nn.Module], layers: Sequence[int]) -> Iterator[list[Tensor]]:
    """Collects what leaves some blocks in a pass: a list of (B, N, D), in the order of `layers`."""
    found: list[Tensor] = [torch.empty(0)] * len(layers)

    def keep(place: int, block: nn.Module, args: Any, out: Tensor) -> None:
        found[place] = out

    with capture() as hooks:
        for place, layer in enumerate(layers):
            hooks.leaving(blocks[layer], partial(keep, place))
        yield found


def normalise(tokens: Tensor) -> Tensor:
    """Each token of mean 0 and deviation 1 over its channels."""
    return F.layer_norm(tokens.float(), tokens.shape[-1:])


@dataclass(frozen=True)
class Scale:
    """Mean and deviation (L, 1, D) of each channel of a teacher's normalised tokens."""

    mean: Tensor
    deviation: Tensor

    @classmethod
    def of(cls, tokens: Tensor) -> Scale:
        """The scale of tokens (B, L, N, D)."""
        tokens = normalise(tokens)
        deviation, mean = torch.std_mean(tokens, (0, 2), keepdim=True)
        return cls(mean[0], deviation[0] + 1e-6)

    def pack(self, tokens: Tensor) -> NDArray[np.int8]:
        """Tokens (B, L, N, D) as bytes, in each channel's deviations, from -4 to 4."""
        whitened = (normalise(tokens) - self.mean) / self.deviation
        return (whitened * _STEPS).round().clamp(-127, 127).to(torch.int8).cpu().numpy()


def unpack(stored: Tensor) -> Tensor:
    """What `pack` stored (bytes), as numbers."""
    return stored.float() / _STEPS


def mirror_tokens(tokens: Tensor, grid: tuple[int, int]) -> Tensor:
    """Tokens (..., N, D) with the patches of each row of the grid in reverse."""
    patches = math.prod(grid)
    prefix, rest = tokens.split((tokens.shape[-2] - patches, patches), dim=-2)
    return torch.cat((prefix, rest.unflatten(-2, grid).flip(-2).flatten(-3, -2)), dim=-2)


def token_loss(read: Sequence[Tensor], kept: Tensor | None, wanted: Tensor) -> Tensor:
    """How far the tokens read from a student, L of (B, n, D), are from the teacher's (B, L, N, D).

    Smooth L1, mean over tokens and channels and summed over layers; `kept` (B, n) says which
    tokens the student's are. Wei et al., "Contrastive Learning Rivals Masked Image Modeling in
    Fine-tuning via Feature Distillation", 2022.
    """
    terms = [
        F.smooth_l1_loss(own.float(), theirs if kept is None else take_tokens(theirs, kept))
        for own, theirs in zip(read, wanted.unbind(1), strict=True)
    ]
    return torch.stack(terms).sum()
