"""Views of a model's weights alone; no picture is needed."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
from torch import Tensor

from vit_explorer.errors import OptionError, UnsupportedModelError
from vit_explorer.models.card import find_core, find_positions
from vit_explorer.models.vit import interpolate_positions
from vit_explorer.models.zoo import LoadedModel


def position_similarity(
    model: LoadedModel, *, grid: tuple[int, int] | None = None
) -> npt.NDArray[np.float32]:
    """Cosine similarity of each patch's position embedding to every other's: (gh, gw, gh, gw).

    Values from -1 to 1; [r, c] is the map of the patch in row r, column c. Prefix tokens are left
    out. With `grid` the embeddings are first interpolated (bicubic) to that many rows and columns.

    Raises:
        UnsupportedModelError: positions are rotary, relative or absent.
        OptionError: a grid that is not two whole numbers from 1 to 64.

    Dosovitskiy et al., "An Image is Worth 16x16 Words", ICLR 2021, Fig. 7.
    """
    positions = position_embeddings(model)
    if grid is not None:
        pair = isinstance(grid, (tuple, list)) and len(grid) == 2
        if not pair or not all(isinstance(n, int) and 1 <= n <= 64 for n in grid):
            raise OptionError(f"The grid was {grid!r}, expected rows and columns from 1 to 64.")
        positions = interpolate_positions(
            positions.flatten(0, 1)[None], model.card.grid, grid, prefix_tokens=0
        )[0].unflatten(0, grid)
    unit = F.normalize(positions.flatten(0, 1).double(), dim=-1)  # (n, D)
    rows, columns = positions.shape[:2]
    similarity = (unit @ unit.T).clamp(-1, 1).reshape(rows, columns, rows, columns)
    return similarity.float().cpu().numpy()


@torch.no_grad()
def position_embeddings(model: LoadedModel) -> Tensor:
    """What is added to each patch: (gh, gw, D). Raises UnsupportedModelError where nothing is."""
    module, card = model.module, model.card
    positions = find_positions(find_core(module))
    if positions is None:
        raise UnsupportedModelError(
            f"{card.name} adds no position embedding to its patches ({card.position} positions), "
            "so there is no similarity map; choose a model with learned positions."
        )
    positions = positions.detach()
    gh, gw = card.grid
    if positions.ndim == 2:
        positions = positions[None]
    if positions.ndim == 4:
        base = (positions.shape[1], positions.shape[2])
        flat = positions.flatten(1, 2)
        return interpolate_positions(flat, base, card.grid, prefix_tokens=0)[0].unflatten(
            0, card.grid
        )
    return positions[0, positions.shape[1] - gh * gw :].unflatten(0, card.grid)
