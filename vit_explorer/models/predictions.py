"""What a model returned, as named classes, labels or values."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from torch import Tensor

from vit_explorer.errors import OptionError
from vit_explorer.models.outputs import probabilities
from vit_explorer.models.targets import Aim


@dataclass(frozen=True)
class Prediction:
    """A class with its probability, 0 to 1, and its score: the number that the model returned.

    `probability` is None where the model returns values.
    """

    index: int
    label: str
    probability: float | None
    score: float

    @property
    def shown(self) -> str:
        """The probability as a percentage, or the value with four digits."""
        return f"{self.score:.4g}" if self.probability is None else f"{self.probability:.1%}"

    @property
    def measured(self) -> float:
        """The probability, or of a value the score."""
        return self.score if self.probability is None else self.probability


def best(raw: Tensor, labels: Sequence[str], top: int, outputs: str) -> tuple[Prediction, ...]:
    """The `top` most probable classes of what a model returned (C,), best first; all of them where
    C is less. Values have no order but their own.

    Raises:
        OptionError: `top` is not a whole number from 1.
    """
    if isinstance(top, bool) or not isinstance(top, int) or top < 1:
        raise OptionError(
            "error.top", "The number of predictions was {top!r}, expected 1 or more.", top=top
        )
    count = min(top, len(raw))
    order = range(count) if outputs == "value" else raw.topk(count).indices.tolist()
    return tuple(predicted(raw, labels, Aim.at(index), outputs) for index in order)


def predicted(raw: Tensor, labels: Sequence[str], aim: Aim, outputs: str) -> Prediction:
    """What a model that returned `raw` (C,) says of an aim."""
    found = probabilities(raw, outputs)
    share = None if found is None else float(aim.measured(found, probabilities=True))
    return Prediction(aim.index, aim.label(labels), share, float(aim.of(raw.float())))


def first_aims(raw: Tensor, outputs: str) -> list[Aim]:
    """What is explained where none is named, for each row of (B, C): the best, or value 0."""
    if outputs == "value":
        return [Aim.at(0)] * len(raw)
    return [Aim.at(index) for index in raw.argmax(dim=-1).tolist()]
