"""On which grid of patches a checkpoint's position embeddings lie, and on another."""

from __future__ import annotations

import torch
from torch import Tensor

from vit_explorer.errors import ModelError
from vit_explorer.models.card import Pair
from vit_explorer.sentences import Sentence, joined

# Trained and sin-cos positions reach 0.3 to 0.98 on their own grid, random ones 0.02 on any; on
# another grid of as many patches the same positions are at least 0.03 less alike.
LEAST_LIKENESS = 0.25
LEAST_LEAD = 0.02
# Fewer have too few neighbours to compare.
FEWEST_MEASURED = 16
WIDEST = 16


def candidates(count: int) -> list[Pair]:
    """Grids of `count` patches, the squarest first; those of one row only where nothing else is."""
    grids = [(rows, count // rows) for rows in range(2, count // 2 + 1) if count % rows == 0]
    grids = [grid for grid in grids if max(grid) <= WIDEST * min(grid)]
    return sorted(grids, key=lambda grid: max(grid) / min(grid)) or [(1, count)]


def measured_grid(positions: Tensor) -> Pair | None:
    """The grid on which neighbours of (N, D) position embeddings are alike, if one stands out."""
    count = len(positions)
    if count < FEWEST_MEASURED:
        return None
    centred = positions.float() - positions.float().mean(0)
    unit = torch.nn.functional.normalize(centred, dim=-1)
    ranked = sorted(((_likeness(unit, grid), grid) for grid in candidates(count)), reverse=True)
    best, grid = ranked[0]
    lead = best - ranked[1][0] if len(ranked) > 1 else best
    return grid if best >= LEAST_LIKENESS and lead >= LEAST_LEAD else None


def _likeness(unit: Tensor, grid: Pair) -> float:
    """Mean cosine similarity of cells side by side and one above the other."""
    cells = unit.reshape(*grid, -1)
    pairs = [(cells[:, 1:] * cells[:, :-1]).sum(-1), (cells[1:] * cells[:-1]).sum(-1)]
    return float(torch.cat([pair.flatten() for pair in pairs]).mean())


def find_grid(
    positions: Tensor,
    native: Pair,
    patch: Pair,
    file: str,
    *,
    old: Pair | None,
    said: Pair | None,
    size: Pair | None,
) -> tuple[Pair, str]:
    """The grid that position embeddings (N, D) were trained on, and a sentence on how it is known.

    `native`: the architecture's own grid; picture sizes (height, width): `old` that the caller says
    the file was trained at, `said` what the file says, `size` what it shall run at.

    Raises:
        ModelError: the embeddings fit none of these, and more than one grid has as many patches.
    """
    count = len(positions)
    given = _grid(old, patch)
    if given is not None:
        if given[0] * given[1] != count:
            raise ModelError(
                "error.positions.count",
                "The position embeddings in {file} are of {count} patches, and a picture of "
                "{size} has {grid} = {product}; give the size that the weights were trained at.",
                file=file,
                count=count,
                size=_by(old or given),
                grid=_by(given),
                product=given[0] * given[1],
            )
        return given, ""
    told = _grid(said, patch)
    if told is not None and told[0] * told[1] == count:
        return told, ""
    seen = measured_grid(positions)
    if seen is not None:
        how = Sentence(
            "weights.grid",
            "The grid of {grid} patches was read from its position embeddings.",
            grid=_by(seen),
        )
        return seen, "" if seen == native else how
    run = _grid(size, patch)
    if run is not None and run[0] * run[1] == count:
        return run, ""
    if native[0] * native[1] == count:
        return native, ""
    possible = candidates(count)
    if len(possible) == 1:
        return possible[0], ""
    sizes = [(rows * patch[0], columns * patch[1]) for rows, columns in possible]
    shown = joined(
        Sentence("part.size", "{size} ({grid} patches)", size=_by(one), grid=_by(grid))
        for one, grid in zip(sizes[:5], possible, strict=False)
    )
    argument = "weights_image_size" if size is not None else "image_size"
    raise ModelError(
        "error.positions.sizes",
        "The position embeddings in {file} are of {count} patches, which fit pictures of "
        "{shown}{more}; give the one it was trained at as {argument}=(height, width).",
        file=file,
        count=count,
        shown=shown,
        more=Sentence("part.more", " and more") if len(sizes) > 5 else "",
        argument=argument,
    )


def resampled(positions: Tensor, old: Pair, new: Pair, prefix: int) -> Tensor:
    """Position embeddings (1, prefix + N, D) on another grid, as timm resamples them."""
    from timm.layers import resample_abs_pos_embed

    if old == new:
        return positions
    return resample_abs_pos_embed(
        positions,
        new_size=list(new),
        old_size=list(old),
        num_prefix_tokens=prefix,
        interpolation="bicubic",
        antialias=True,
    )


def _grid(size: Pair | None, patch: Pair) -> Pair | None:
    return None if size is None else (size[0] // patch[0], size[1] // patch[1])


def _by(pair: Pair) -> str:
    return f"{pair[0]}×{pair[1]}"
