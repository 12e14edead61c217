"""A change of a model's inside, and what it did to a prediction."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from vit_explorer.models.predictions import Prediction
from vit_explorer.models.targets import Aim

How = Literal["drop", "grey"]
HeadsHow = Literal["zero", "mean"]
Pair = tuple[int, int]


@dataclass(frozen=True)
class Change:
    """Heads as (layer, head) and patches as (row, column) or index to switch off, from 0.

    `how` patches go: "drop" takes their tokens away before the first block, positions already
    added; "grey" paints them in the mean colour. `heads_how` heads go: "zero" puts zeros in the
    place of their output, "mean" its mean over the picture's tokens.
    """

    heads_off: tuple[Pair, ...] = ()
    patches_off: tuple[Pair | int, ...] = ()
    how: How = "drop"
    heads_how: HeadsHow = "zero"


@dataclass(frozen=True, eq=False)
class Intervention:
    """Predictions before and after a change.

    `logits_before` and `logits_after` (C,) are what the model returned, `measured_before` and
    `measured_after` (C,) the probabilities, 0 to 1, or again the values of a model of values.
    `aim` is what was followed.
    `heads_off` and `patches_off` are sorted pairs (layer, head) and (row, column) without repeats.
    """

    heads_off: tuple[Pair, ...]
    patches_off: tuple[Pair, ...]
    how: How
    before: tuple[Prediction, ...]
    after: tuple[Prediction, ...]
    target_before: Prediction
    target_after: Prediction
    logits_before: NDArray[np.float32] = field(repr=False)
    logits_after: NDArray[np.float32] = field(repr=False)
    measured_before: NDArray[np.float32] = field(repr=False)
    measured_after: NDArray[np.float32] = field(repr=False)
    aim: Aim = field(repr=False)

    @property
    def difference(self) -> float:
        """The target's probability after, minus before: -1 to 1; of a value the value's."""
        return self.target_after.measured - self.target_before.measured

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON values, without the logits."""
        return {
            "heads_off": [list(pair) for pair in self.heads_off],
            "patches_off": [list(pair) for pair in self.patches_off],
            "how": self.how,
            "target": {
                "index": self.target_before.index,
                "label": self.target_before.label,
                "before": self.target_before.probability,
                "after": self.target_after.probability,
                "score_before": self.target_before.score,
                "score_after": self.target_after.score,
            },
            "before": [vars(prediction) for prediction in self.before],
            "after": [vars(prediction) for prediction in self.after],
        }
