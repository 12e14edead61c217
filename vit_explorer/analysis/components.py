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
    wide = wide - wide.mean(0)
    tall = len(wide) > wide.shape[1]
    # The smaller of the two matrices that have the same sizes.
    squares, vectors = torch.linalg.eigh(wide.T @ wide if tall else wide @ wide.T)
    found = min(count, len(squares))
    squares, vectors = squares.flip(0).clamp(min=0), vectors.flip(1)[:, :found]
    scores = wide @ vectors if tall else vectors * squares[:found].sqrt()
    weights = vectors if tall else wide.T @ vectors  # (D, found), of any length
    signs = weights.gather(0, weights.abs().argmax(dim=0, keepdim=True))[0].sign()
    scores = scores * torch.where(signs < 0, -1.0, 1.0)
    shares = squares[:found] / squares.sum().clamp(min=1e-30)
    missing = (0, count - found)
    return F.pad(scores, missing), F.pad(shares, missing)


def as_colours(scores: Tensor) -> Tensor:
    """Scores (n, count) from 0 to 1, each component on a scale of its own."""
    low, high = scores.amin(0), scores.amax(0)
    return (scores - low) / (high - low).clamp(min=1e-12)
