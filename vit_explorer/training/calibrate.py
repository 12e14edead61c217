"""One temperature for a classifier's probabilities, and the probability it is unsure below."""

from __future__ import annotations

import math

import numpy as np
from torch import Tensor

from vit_explorer.datasets.metrics import measure
from vit_explorer.errors import DataError
from vit_explorer.models.calibration import Calibration

_WIDEST = 20.0  # temperatures from 1/20 to 20
_PRECISION = 1e-6  # of their logarithm
_UNSURE_PERCENTILE = 5.0


def calibrate(logits: Tensor, labels: Tensor, classes: tuple[str, ...]) -> Calibration:
    """What (n, classes) logits about held-out pictures say of a classifier's probabilities.

    The temperature is 1 where the one of least cross-entropy would make the calibration error of
    the top probability larger than it is without: after learning a teacher's soft answers both
    can't always be had, and the top probability is what people are told.

    Raises:
        DataError: none of the pictures is classified rightly.
    """
    temperature = fit_temperature(logits, labels)
    before, after = (measure(one, labels, classes) for one in (logits, logits / temperature))
    if after.ece > before.ece:
        temperature, after = 1.0, before
    likeliest, predicted = (logits.double() / temperature).softmax(dim=1).max(dim=1)
    right = predicted == labels
    if not bool(right.any()):
        raise DataError(
            "error.calibrate.none",
            "The model is right about none of the held-out pictures, so there is no probability "
            "to call it sure from; train it further.",
        )
    below = float(np.percentile(likeliest[right].numpy(), _UNSURE_PERCENTILE))
    wrong = likeliest[~right]
    return Calibration(
        temperature=temperature,
        held_out=len(labels),
        unsure_below=below,
        unsure_wrong=float((wrong < below).double().mean()) if len(wrong) else 0.0,
        nll=(before.nll, after.nll),
        ece=(before.ece, after.ece),
    )


def fit_temperature(logits: Tensor, labels: Tensor) -> float:
    """The T from 1/20 to 20 at which softmax(logits / T) has the least cross-entropy.

    Guo et al., "On Calibration of Modern Neural Networks", ICML 2017.
    """
    logits = logits.double()
    true = logits.gather(1, labels[:, None])[:, 0]
    low, high = -math.log(_WIDEST), math.log(_WIDEST)
    # The cross-entropy is convex in 1/T: its slope, expected less true logit, changes sign once.
    while high - low > _PRECISION:
        middle = (low + high) / 2
        expected = ((logits / math.exp(middle)).softmax(dim=1) * logits).sum(dim=1)
        if float((expected - true).mean()) > 0:
            low = middle
        else:
            high = middle
    return math.exp((low + high) / 2)
