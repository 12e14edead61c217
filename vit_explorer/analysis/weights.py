"""Views of a model's weights alone; no picture is needed."""

from __future__ import annotations

import math
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from vit_explorer.errors import OptionError, UnsupportedModelError
from vit_explorer.models.card import find_core, find_positions
from vit_explorer.models.loaded import LoadedModel
from vit_explorer.models.needs import require
from vit_explorer.models.structure.positions import added
from vit_explorer.models.vit import interpolate_positions
from vit_explorer.options import whole_number
from vit_explorer.pictures.bands import shown_bands
from vit_explorer.sentences import Sentence


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
            raise OptionError(
                "error.grid",
                "The grid was {grid!r}, expected rows and columns from 1 to 64.",
                grid=grid,
            )
        positions = interpolate_positions(
            positions.flatten(0, 1)[None], model.card.grid, grid, prefix_tokens=0
        )[0].unflatten(0, grid)
    unit = F.normalize(positions.flatten(0, 1).double(), dim=-1)  # (n, D)
    rows, columns = positions.shape[:2]
    similarity = (unit @ unit.T).clamp(-1, 1).reshape(rows, columns, rows, columns)
    return similarity.float().cpu().numpy()


@dataclass(frozen=True, eq=False)
class PatchFilters:
    """Principal components of the patch embedding, the strongest first.

    `filters` (n, h, w, 3) are RGB from 0 to 255: 127.5 is zero and each has its own scale. They are
    grey where the model takes one channel, and show the first three of more.
    `explained` (n,) is each one's share of the filters' variance, 0 to 1.
    """

    filters: npt.NDArray[np.uint8] = field(repr=False)
    explained: npt.NDArray[np.float32]


@torch.no_grad()
def patch_filters(model: LoadedModel, count: int | None = None) -> PatchFilters:
    """What patches are compared with: principal components of the embedding's filters as RGB.

    The first `count`, by default the paper's 28, or all where there are fewer.

    Raises:
        UnsupportedModelError: patches are not embedded by one convolution over the pixels.
        OptionError: a count that is not a whole number from 1 to the number of components.

    Dosovitskiy et al., "An Image is Worth 16x16 Words", ICLR 2021, Fig. 7 (left).
    """
    weight = patch_projection(model).weight.float().cpu()  # (D, C, h, w)
    flat = weight.flatten(1)
    _, sizes, components = torch.linalg.svd(flat - flat.mean(0), full_matrices=False)
    found = len(components)
    count = (
        min(28, found)
        if count is None
        else whole_number(Sentence("part.filters", "filter count"), count, 1, found)
    )
    components = components[:count]
    # A component's sign is arbitrary: a fixed one keeps the training film from flickering.
    sums = components.sum(dim=1, keepdim=True)
    components = components * torch.where(sums < 0, -1.0, 1.0)
    scaled = components / components.abs().amax(dim=1, keepdim=True).clamp(min=1e-12)
    pixels = ((scaled + 1) * 127.5).round().to(torch.uint8)
    variance = sizes.square()
    bands = list(shown_bands(weight.shape[1]))
    return PatchFilters(
        filters=pixels.unflatten(1, weight.shape[1:])[:, bands].permute(0, 2, 3, 1).numpy(),
        explained=(variance / variance.sum().clamp(min=1e-30))[:count].numpy(),
    )


def patch_projection(model: LoadedModel) -> nn.Conv2d:
    """The one convolution that turns patches into tokens. Raises UnsupportedModelError."""
    require(model.card, "embedding")
    projection = model.anatomy.embedding
    if projection is None or projection.in_channels != model.card.channels:
        channels = model.card.channels
        what: str = {1: Sentence("part.grey", "grey"), 3: "RGB"}.get(channels) or Sentence(
            "part.bands", "{count} bands", count=channels
        )
        raise UnsupportedModelError(
            "error.filters",
            "{model} doesn't embed its patches by one convolution over {what} whose stride is "
            "the patch, so it has no patch filters; choose a plain ViT.",
            model=model.card.name,
            what=what,
        )
    return projection


@torch.no_grad()
def position_embeddings(model: LoadedModel) -> Tensor:
    """What is added to each patch: (gh, gw, D). Raises UnsupportedModelError where nothing is."""
    module, card = model.module, model.card
    require(card, "positions")
    if model.anatomy.position:
        return _added(model)
    positions = find_positions(find_core(module))
    if positions is None:
        raise UnsupportedModelError(
            "error.positions.none",
            "{model} adds no position embedding to its patches ({position} positions), so there "
            "is no similarity map; choose a model with learned positions.",
            model=card.name,
            position=card.position,
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
    stored = positions.shape[1]
    if 0 <= stored - gh * gw <= card.prefix_tokens:
        return positions[0, stored - gh * gw :].unflatten(0, card.grid)
    # Some models keep a square of positions and interpolate it at each pass.
    for prefix in range(min(card.prefix_tokens, stored - 1) + 1):
        side = math.isqrt(stored - prefix)
        if side**2 == stored - prefix:
            flat = interpolate_positions(
                positions[:, prefix:], (side, side), card.grid, prefix_tokens=0
            )
            return flat[0].unflatten(0, card.grid)
    raise UnsupportedModelError(
        "error.positions.fit",
        "{model} keeps {stored} positions, which don't fill its grid of {rows}×{columns}, so "
        "there is no similarity map; load it at the size it was made for.",
        model=card.name,
        stored=stored,
        rows=gh,
        columns=gw,
    )


def _added(model: LoadedModel) -> Tensor:
    """Positions (gh, gw, D) read off what enters the first block with and without them."""
    card = model.card
    parameter = next(model.module.parameters())
    generator = torch.Generator().manual_seed(0)
    noise = torch.randn(1, card.channels, *card.image_size, generator=generator)
    with model.lock:
        found = added(model.module, model.anatomy, noise.to(parameter), card.prefix_tokens)
    if found is None:
        raise UnsupportedModelError(
            "error.positions.norm",
            "{model} doesn't add its positions {position!r} to its tokens alone, as a norm "
            "follows, so they can't be read in the order of its patches.",
            model=card.name,
            position=model.anatomy.position,
        )
    return found.unflatten(0, card.grid)
