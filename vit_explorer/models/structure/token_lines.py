"""The row and the column of a grid that each token stands in, by which pixels move it."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from vit_explorer.models.card import Pair

# Lines of tokens lie one line of cells apart, on the mean and at the least.
_LEAST_SPAN, _LEAST_GAP = 0.5, 0.1


def lines(axis: int, grid: Pair, patch: Pair, image_size: Pair) -> Tensor:
    """Of each line of pixels the row or column of patches, -1 behind the last."""
    lines = torch.arange(image_size[axis]) // patch[axis]
    return torch.where(lines < grid[axis], lines, -1)


def _masks(lines: Tensor, axis: int) -> Tensor:
    """Lines (n, H) or (n, W) as masks that fit (n, H, W)."""
    return lines[:, :, None] if axis == 0 else lines[:, None, :]


def decode(
    enter: Callable[[Tensor], Tensor], lines: Tensor, count: int, axis: int
) -> tuple[Tensor, Tensor]:
    """Each token's row or column, and how far it follows others than its own."""
    bits = max(1, (count - 1).bit_length())
    on = (lines[None] >> torch.arange(bits)[:, None] & 1).bool()  # (bits, H or W)
    both = torch.stack((on, ~on), dim=1) & (lines >= 0)
    changes = enter(_masks(both.flatten(0, 1), axis)).unflatten(0, (bits, 2))  # (bits, 2, N)
    code = ((changes[:, 0] > changes[:, 1]).long() << torch.arange(bits)[:, None]).sum(dim=0)
    return code, changes.amin(dim=1).amax(dim=0)


def ranked(
    enter: Callable[..., Tensor],
    lines: Tensor,
    grid: Pair,
    patch: Pair,
    axis: int,
    following: Tensor,
) -> Tensor:
    """The row or column of each token that follows the picture, by where the middle of what it
    follows lies among those of the others: a stem may shift them all, or reach far.

    Every patch has the same pixels, so that a stem makes the same of each of a row but the last.
    """
    count, beside = grid[axis], grid[1 - axis]
    masks = _masks(lines == torch.arange(count)[:, None], axis)
    changes = enter(masks, patch)[:, following].double()
    # Norms over the whole picture make every token follow all of it a little.
    weights = (changes - changes.amin(dim=0)).pow(4)
    middle = (weights * torch.arange(count)[:, None]).sum(dim=0) / weights.sum(dim=0)
    order = middle.argsort()
    groups = middle[order].unflatten(0, (count, beside))
    if count > 1 and not _in_lines(groups):
        return torch.full_like(order, count)  # no row or column of the grid
    rank = torch.empty_like(order)
    rank[order] = torch.arange(len(order))
    return rank // beside


def _in_lines(groups: Tensor) -> bool:
    """Whether middles (lines, tokens), in order, are those of lines over the whole picture: the
    edges of a stem draw those of the first and last lines in, and scatter all of them."""
    gaps = groups.mean(dim=1).diff()
    spread = float((groups[:, -1] - groups[:, 0]).max())
    return spread < float(gaps.mean()) > _LEAST_SPAN and float(gaps.min()) > _LEAST_GAP


def bijection(cells: Sequence[Tensor], following: Tensor, grid: Pair) -> tuple[int, ...] | None:
    """Places of all tokens where each patch is that of one of those that follow the picture."""
    rows, columns = cells
    index = rows * grid[1] + columns
    inside = bool(((rows < grid[0]) & (columns < grid[1])).all())
    if not inside or len(index.unique()) != grid[0] * grid[1]:
        return None
    patches = following.nonzero().flatten()[index.argsort()]
    prefix = (~following).nonzero().flatten()
    return (*prefix.tolist(), *patches.tolist())
