"""Where a model's cells lie among the pixels of its pictures: the one place that knows.

The patches of a ViT are h×w pixels each and begin at the top left. Where a picture is no multiple
of them, what remains at the right and at the bottom belongs to no cell: the convolution that embeds
patches drops it. The cells of a last stage share the whole picture, so their sides may be no whole
pixels; a pixel then belongs to the cell that holds its centre.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from vit_explorer.models.card import ModelCard


def cell_edges(card: ModelCard) -> tuple[list[int], list[int]]:
    """Where rows and columns of cells begin, in pixels, and where the last one ends."""
    # The first pixel whose centre is not before index · side / count.
    rows, columns = (
        [-((count - 2 * index * side) // (2 * count)) for index in range(count + 1)]
        for count, side in zip(card.grid, card.covered, strict=True)
    )
    return rows, columns


def over_pixels(card: ModelCard, cells: Tensor) -> Tensor:
    """One value a cell (…, gh, gw) to one a pixel (…, H, W); 0 where no cell lies."""
    for axis, edges in zip((-2, -1), cell_edges(card), strict=True):
        sizes = torch.tensor(edges, device=cells.device).diff()
        cells = cells.repeat_interleave(sizes, axis)
    rows, columns = card.left_over
    return F.pad(cells, (0, columns, 0, rows))


def cell_sums(card: ModelCard, pixels: Tensor) -> Tensor:
    """Values (…, H, W) of pixels to their sums over each cell, (…, gh, gw)."""
    within = []
    for edges, side in zip(cell_edges(card), card.image_size, strict=True):
        places = torch.arange(side, device=pixels.device)
        ends = torch.tensor(edges, device=pixels.device)
        inside = (places >= ends[:-1, None]) & (places < ends[1:, None])  # (cells, side)
        within.append(inside.to(pixels))
    return within[0] @ pixels @ within[1].T


def cell_means(card: ModelCard, pixels: Tensor) -> Tensor:
    """Values (…, H, W) of pixels to their means over each cell, (…, gh, gw)."""
    return cell_sums(card, pixels) / cell_sums(card, torch.ones_like(pixels))
