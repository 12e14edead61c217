"""Numbers of the Attention view that the browser does not work out itself."""

from __future__ import annotations

import torch

from vit_explorer.analysis.head_statistics import attention_distance, attention_entropy
from vit_explorer.methods.attention import rollout_by_layer
from vit_explorer.page.payloads.packing import pack
from vit_explorer.page.state.results import Result


def measure_bytes(result: Result) -> bytes:
    """Of each layer's heads, (L, h): how far they look, in pixels, and how widely, 0 to 1."""
    passed = result.explanation.trace
    return pack(
        {},
        {
            "distance": attention_distance(passed, renormalise=True),
            "entropy": attention_entropy(passed),
        },
    )


@torch.no_grad()
def rollout_bytes(result: Result, query: int) -> bytes:
    """Rollout of one token up to each layer, (L, N).

    Raises IndexError for a token that is not there.
    """
    if not 0 <= query < result.model.card.tokens:
        raise IndexError(f"There is no token {query}.")
    return pack({}, {"rollout": rollout_by_layer(result.explanation.trace, query).cpu().numpy()})
