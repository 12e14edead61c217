"""How right a classifier is, and how well it knows that."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from vit_explorer.models.outputs import measured


@dataclass(frozen=True)
class Metrics:
    """How often a classifier is right, and how well it knows that.

    `accuracy` and `top5` (right among the five likeliest; None of five classes or fewer) from 0 to
    1, `nll` in nats, `ece` the calibration error from 0 to 1, `confusion` [true, predicted].
    """

    accuracy: float
    nll: float
    ece: float
    samples: int
    top5: float | None = None
    classes: tuple[str, ...] = ()
    confusion: NDArray[np.int64] = field(
        default_factory=lambda: np.zeros((0, 0), np.int64), repr=False, compare=False
    )

    def to_dict(self) -> dict[str, float | int]:
        """The numbers alone, as a checkpoint's metadata keeps them."""
        names = ("accuracy", "top5", "nll", "ece", "samples")
        found = {name: getattr(self, name) for name in names}
        return {name: value for name, value in found.items() if value is not None}


def measure(logits: Tensor, labels: Tensor, classes: tuple[str, ...]) -> Metrics:
    """Metrics of logits (n, classes) against labels (n,)."""
    shares = measured(logits.double(), "classes")
    # Of equal ones numpy takes the first, everywhere.
    predicted = torch.from_numpy(shares.numpy().argmax(axis=1))
    confidence = shares.amax(dim=1)
    correct = predicted == labels
    count = len(classes)
    confusion = torch.bincount(labels * count + predicted, minlength=count * count)
    return Metrics(
        accuracy=correct.double().mean().item(),
        nll=F.cross_entropy(logits.double(), labels).item(),
        ece=calibration_error(confidence, correct),
        samples=len(labels),
        top5=_top(logits, labels, 5) if count > 5 else None,
        classes=classes,
        confusion=confusion.reshape(count, count).numpy(),
    )


def _top(logits: Tensor, labels: Tensor, k: int) -> float:
    """Share of rows whose label is among the `k` highest logits."""
    return (logits.topk(k).indices == labels[:, None]).any(dim=1).double().mean().item()


def calibration_error(confidence: Tensor, correct: Tensor, bins: int = 15) -> float:
    """Expected calibration error, 0 to 1: mean gap of confidence and accuracy over equal bins.

    Args:
        confidence: (n,) probability of the predicted class.
        correct: (n,) whether it was right.

    Naeini et al., "Obtaining Well Calibrated Probabilities Using Bayesian Binning", AAAI 2015;
    Guo et al., "On Calibration of Modern Neural Networks", ICML 2017.
    """
    gap = torch.zeros(bins, dtype=torch.float64)
    gap.index_add_(0, _bins(confidence, bins), correct.double() - confidence.double())
    return gap.abs().sum().item() / len(confidence)


def _bins(confidence: Tensor, bins: int) -> Tensor:
    """Which of equal bins each confidence lies in; they are open on the left."""
    return (confidence * bins).ceil().long().clamp(1, bins) - 1


@dataclass(frozen=True)
class Bin:
    """Pictures whose prediction has a probability above `low` and up to `high`: how many, how sure
    of them the model is on average, and how many it is right about."""

    low: float
    high: float
    count: int
    confidence: float
    accuracy: float


def reliability(
    confidence: NDArray[np.float32], correct: NDArray[np.bool_], bins: int = 15
) -> list[Bin]:
    """The bins of `calibration_error` that hold pictures, as a reliability diagram draws them."""
    place = _bins(torch.from_numpy(confidence), bins).numpy()
    return [
        Bin(
            one / bins,
            (one + 1) / bins,
            int(inside.sum()),
            float(confidence[inside].mean()),
            float(correct[inside].mean()),
        )
        for one in range(bins)
        if (inside := place == one).any()
    ]
