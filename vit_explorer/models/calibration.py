"""What a checkpoint says of its probabilities: their temperature, and when they are too low."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, kw_only=True)
class Calibration:
    """Measured on pictures held out of training, neither learned from nor in the test.

    The classifier's weights are already divided by `temperature`, so the model's own logits give
    the calibrated probabilities (Guo et al., "On Calibration of Modern Neural Networks", ICML
    2017); it is 1 where none makes the top probability truer. Below `unsure_below` lies the top
    probability of 5 % of the held-out pictures that the model gets right, and of `unsure_wrong`
    of those that it gets wrong (0 to 1). `nll` and `ece`, cross-entropy and calibration error on
    the held-out pictures, are (before, after).
    """

    temperature: float
    held_out: int
    unsure_below: float
    unsure_wrong: float
    nll: tuple[float, float]
    ece: tuple[float, float]

    def __str__(self) -> str:
        return (
            f"probabilities at temperature {self.temperature:.3g}, fitted on {self.held_out:,} "
            "held-out pictures"
        )

    def to_dict(self) -> dict[str, Any]:
        return dataclasses.asdict(self)


def read_calibration(metadata: Mapping[str, Any]) -> Calibration | None:
    """What a checkpoint's metadata holds of it; None where it holds none, or something else."""
    given = metadata.get("calibration")
    if not isinstance(given, dict):
        return None
    try:
        (nll, calibrated_nll), (ece, calibrated_ece) = given["nll"], given["ece"]
        found = Calibration(
            temperature=float(given["temperature"]),
            held_out=int(given["held_out"]),
            unsure_below=float(given["unsure_below"]),
            unsure_wrong=float(given["unsure_wrong"]),
            nll=(float(nll), float(calibrated_nll)),
            ece=(float(ece), float(calibrated_ece)),
        )
    except (KeyError, TypeError, ValueError, OverflowError):
        return None
    finite = all(map(math.isfinite, (found.temperature, *found.nll, *found.ece)))
    sensible = found.temperature > 0 and found.held_out > 0 and 0 < found.unsure_below < 1
    return found if finite and sensible else None
