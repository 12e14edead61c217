"""Principal components, whatever they are of: scores, and each one's share of the variance."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor


def principal_components(rows: Tensor, count: int = 3) -> tuple[Tensor, Tensor]:
    """The strongest components of rows (n, D): scores (n, count) and shares (count,), 0 to 1.

    Where there are fewer than `count`, the rest is 0. A component's sign is arbitrary: here its
    largest weight is above 0, so that the same rows give the same colours.
    """
    wide = rows.double().cpu()
    left, sizes, weights = torch.linalg.svd(wide - wide.mean(0), full_matrices=False)
    found = min(count, len(sizes))
    largest = weights[:found].gather(1, weights[:found].abs().argmax(dim=1, keepdim=True))
    signs = torch.where(largest[:, 0] < 0, -1.0, 1.0)
    scores = left[:, :found] * sizes[:found] * signs
    variance = sizes.square()
    shares = variance[:found] / variance.sum().clamp(min=1e-30)
    missing = (0, count - found)
    return F.pad(scores, missing), F.pad(shares, missing)


def as_colours(scores: Tensor) -> Tensor:
    """Scores (n, count) from 0 to 1, each component on a scale of its own."""
    low, high = scores.amin(0), scores.amax(0)
    return (scores - low) / (high - low).clamp(min=1e-12)
