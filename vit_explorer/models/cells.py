"""Where a model's cells lie among the pixels of its pictures: the one place that knows.

The (gh, gw) cells are h×w pixels each and begin at the top left. Where a picture is no multiple of
them, what remains at the right and at the bottom belongs to no cell: the convolution that embeds
patches drops it.
"""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor

from vit_explorer.models.card import ModelCard


def in_cells(card: ModelCard, pixels: Tensor) -> Tensor:
    """Pixels (…, H, W) cut into their cells: (…, gh, h, gw, w), without what belongs to none."""
    (gh, gw), (h, w) = card.grid, card.patch_size
    return pixels[..., : gh * h, : gw * w].unflatten(-1, (gw, w)).unflatten(-3, (gh, h))


def over_pixels(card: ModelCard, cells: Tensor) -> Tensor:
    """One value a cell (…, gh, gw) to one a pixel (…, H, W); 0 where no cell lies."""
    h, w = card.patch_size
    large = cells.repeat_interleave(h, -2).repeat_interleave(w, -1)
    rows, columns = card.left_over
    return F.pad(large, (0, columns, 0, rows))
