"""How what the prediction is read from moves through the layers."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F

from vit_explorer.tracing.trace import Trace


@dataclass(frozen=True, eq=False)
class ReadoutPath:
    """The class token after each of L layers, or the patches' mean where that is what is read.

    `similarity` (L, L) is the cosine between layers, -1 to 1; `points` (L, 2) are coordinates on
    the two principal components of the path, `shares` (2,) the part of its variance they hold.
    """

    similarity: npt.NDArray[np.float32] = field(repr=False)
    points: npt.NDArray[np.float32] = field(repr=False)
    shares: npt.NDArray[np.float32]


@torch.no_grad()
def readout_path(trace: Trace) -> ReadoutPath:
    """Follow the class token (or the patches' mean) through the blocks' outputs.

    The components' signs are those that put the last layer at or above 0.
    """
    read = trace.readout().float()
    states = torch.stack([read @ block.float() for block in trace.blocks]).cpu()  # (L, D)
    unit = F.normalize(states, dim=-1)
    sides, sizes, _ = torch.linalg.svd(states - states.mean(dim=0), full_matrices=False)
    found = min(2, len(sizes))
    points = torch.zeros(len(states), 2)
    points[:, :found] = (sides * sizes)[:, :2]
    points *= torch.where(points[-1] < 0, -1.0, 1.0)
    shares = torch.zeros(2)
    variance = sizes.square()
    shares[:found] = variance[:2] / variance.sum().clamp(min=torch.finfo(variance.dtype).tiny)
    return ReadoutPath(
        similarity=(unit @ unit.T).clamp(-1, 1).numpy(),
        points=points.numpy(),
        shares=shares.numpy(),
    )
