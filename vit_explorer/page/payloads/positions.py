"""Position embeddings as colours, on another grid, and as a learned bias."""

from __future__ import annotations

import torch

from vit_explorer.analysis.position_components import position_components
from vit_explorer.analysis.weights import position_similarity
from vit_explorer.errors import ExplorerError
from vit_explorer.page.payloads.packing import pack
from vit_explorer.page.state.results import Result

# Similarities of every position to every other on a grid that was chosen to look at.
LARGEST_GRID = 48 * 48
LARGEST_BIAS_BYTES = 32 * 2**20


def component_bytes(result: Result) -> bytes:
    """The first three principal components, `colours` (gh, gw, 3) from 0 to 1, and their shares."""
    try:
        found = position_components(result.model)
    except ExplorerError:
        return pack({"explained": []}, {})
    return pack({"explained": found.explained.tolist()}, {"colours": found.values})


def interpolated_bytes(result: Result, rows: int, columns: int) -> bytes:
    """`similarity` (rows, columns, rows, columns) of the positions moved to another grid.

    Raises:
        IndexError: a grid too large to send, or no positions to move.
    """
    if rows * columns > LARGEST_GRID or min(rows, columns) < 1:
        raise IndexError(f"grid {rows}×{columns}")
    try:
        similarity = position_similarity(result.model, grid=(rows, columns))
    except ExplorerError:
        raise IndexError(f"{result.model.card.name} has no positions to move") from None
    return pack({}, {"similarity": similarity})


def bias_bytes(result: Result, layer: int) -> bytes:
    """What a layer adds to its scores between patches, `bias` (1 or h, n, n); none if nothing.

    Raises:
        IndexError: no such layer.
    """
    card = result.model.card
    if not 0 <= layer < card.depth:
        raise IndexError(f"layer {layer}")
    bias = result.explanation.trace.layers[layer].bias
    square = bias is not None and bias.shape[-2:] == (card.tokens, card.tokens)
    if bias is None or not square or bias.dtype == torch.bool:
        return pack({}, {})
    if bias.numel() * 4 > LARGEST_BIAS_BYTES:
        return pack({"large": True}, {})
    patches = bias[:, card.prefix_tokens :, card.prefix_tokens :]
    return pack({}, {"bias": patches.float().cpu().numpy()})
