"""How far a run has come within an epoch, and how long the rest will take."""

from __future__ import annotations

import time
from dataclasses import dataclass
from datetime import timedelta


@dataclass(frozen=True)
class Step:
    """A run after a step: `step` of `steps` in `epoch` of `epochs`, counted from 1; mean `loss` and
    `accuracy` of the epoch's steps so far; `seconds_left` of the whole run, None at its first step.
    """

    epoch: int
    epochs: int
    step: int
    steps: int
    loss: float
    accuracy: float
    seconds_left: float | None

    @property
    def left(self) -> str:
        """The time left as a clock shows it.

        >>> Step(1, 2, 3, 4, 0.5, 0.5, 3725.2).left
        '1:02:05'
        """
        if self.seconds_left is None:
            return "?"
        return str(timedelta(seconds=round(self.seconds_left)))


class Pace:
    """How long a step takes on average since this process went on with the run, what comes between
    epochs included; by a clock that is never set."""

    def __init__(self) -> None:
        self._began: float | None = None
        self._steps = 0

    def left(self, steps: int) -> float | None:
        """Seconds that so many further steps will take, at the end of a step; None after the first,
        which may have taken what only a first one does."""
        now = time.monotonic()
        if self._began is None:
            self._began = now
            return None
        self._steps += 1
        return steps * (now - self._began) / self._steps
