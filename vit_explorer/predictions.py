"""Logits as named classes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from torch import Tensor

from vit_explorer.errors import OptionError


@dataclass(frozen=True)
class Prediction:
    """A class with its probability, 0 to 1."""

    index: int
    label: str
    probability: float


def best(logits: Tensor, labels: Sequence[str], top: int) -> tuple[Prediction, ...]:
    """The `top` most probable classes of logits (C,), best first; all of them where C is less.

    Raises:
        OptionError: `top` is not a whole number from 1.
    """
    if isinstance(top, bool) or not isinstance(top, int) or top < 1:
        raise OptionError(f"The number of predictions was {top!r}, expected 1 or more.")
    probabilities = logits.float().softmax(dim=-1)
    order = logits.topk(min(top, len(logits))).indices.tolist()
    return tuple(Prediction(index, labels[index], float(probabilities[index])) for index in order)
