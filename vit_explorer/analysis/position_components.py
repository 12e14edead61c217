"""Position embeddings at a glance: their principal components, to be shown as colours."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt
import torch

from vit_explorer.analysis.components import as_colours, principal_components
from vit_explorer.analysis.weights import position_embeddings
from vit_explorer.models.loaded import LoadedModel


@dataclass(frozen=True, eq=False)
class PositionComponents:
    """Principal components of the position embeddings, the strongest first.

    `values` (gh, gw, 3) are from 0 to 1, each component on a scale of its own; `explained` (3,) is
    each one's share of the variance, 0 to 1. A component's sign is arbitrary.
    """

    values: npt.NDArray[np.float32] = field(repr=False)
    explained: npt.NDArray[np.float32]


@torch.no_grad()
def position_components(model: LoadedModel) -> PositionComponents:
    """The first three principal components of the patches' position embeddings.

    Raises:
        UnsupportedModelError: positions are rotary, relative or absent.
    """
    positions = position_embeddings(model)
    scores, shares = principal_components(positions.flatten(0, 1))
    return PositionComponents(
        values=as_colours(scores).float().unflatten(0, positions.shape[:2]).numpy(),
        explained=shares.float().numpy(),
    )
