"""One number a head a layer: how far its attention reaches, how widely it spreads, how much it
depends on the query."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from vit_explorer.models.needs import require
from vit_explorer.tracing.attention_layer import Layer
from vit_explorer.tracing.trace import Trace


def attention_distance(trace: Trace, *, renormalise: bool = False) -> npt.NDArray[np.float32]:
    """Mean distance in pixels from a patch to what it attends to: (L, h), 0 or more.

    The mean over patch queries of Σ attention·distance between the patches' centres. What a
    prefix token receives counts as distance 0, or with `renormalise` not at all: each row is
    divided by what its patches receive.

    Dosovitskiy et al., "An Image is Worth 16x16 Words", ICLR 2021, Fig. 7 (right).
    """
    card = trace.card
    require(card, "attention")
    rows, columns = (
        torch.arange(count, dtype=torch.float32, device=trace.logits.device) * size
        for count, size in zip(card.grid, card.patch_size, strict=True)
    )
    places = torch.cartesian_prod(rows, columns)  # (gh·gw, 2)

    def far(attention: Tensor, first: int) -> Tensor:
        prefix = card.prefix_tokens
        skipped = max(prefix - first, 0)
        seen = attention[:, skipped:, prefix:]  # (h, q, gh·gw)
        own = places[first + skipped - prefix :][: seen.shape[1]]
        distances = torch.cdist(own, places, compute_mode="donot_use_mm_for_euclid_dist")
        reach = torch.einsum("hqk,qk->hq", seen, distances)
        if renormalise:
            reach = reach / seen.sum(dim=-1).clamp(min=torch.finfo(seen.dtype).tiny)
        return reach

    return _by_head(trace, far)


def attention_entropy(trace: Trace) -> npt.NDArray[np.float32]:
    """How widely each head spreads its attention over the N tokens: (L, h), 0 to 1.

    The mean over all queries of -Σ A·log A, divided by log N: 0 is all on one token, 1 is the
    same everywhere.
    """
    most = math.log(max(trace.card.tokens, 2))
    return _by_head(trace, lambda attention, _: torch.special.entr(attention).sum(dim=-1) / most)


def attention_variation(trace: Trace) -> npt.NDArray[np.float32]:
    """How much each head's attention depends on who asks: (L, h), 0 to 1.

    The mean over queries of the total variation between a query's attention and the mean of all:
    ½ Σ |A - mean A|. A head of 0 gives every token the same, whatever it is: a dead one, as all are
    before training.
    """
    require(trace.card, "attention")
    found = []
    for layer in trace.layers:
        heads, tokens = layer.shape
        mean = torch.zeros(heads, tokens, device=trace.logits.device)
        apart = torch.zeros(heads, device=trace.logits.device)
        for rows in layer.chunks():
            mean += layer.attention(rows).float().sum(dim=1) / tokens
        for rows in layer.chunks():
            attention = layer.attention(rows).float()
            apart += (attention - mean[:, None]).abs().sum(dim=(1, 2)) / 2
        found.append(apart / tokens)
    return torch.stack(found).cpu().numpy()


def _by_head(trace: Trace, measure: Callable[[Tensor, int], Tensor]) -> npt.NDArray[np.float32]:
    """Mean over queries of what `measure` gives (h, q) for q queries' attention: (L, h).

    `measure` takes the attention (h, q, N) and the index of its first query.
    """

    def mean(layer: Layer) -> Tensor:
        return torch.cat(list(measured(layer)), dim=1).mean(dim=1)

    def measured(layer: Layer) -> Iterator[Tensor]:
        first = 0
        for queries in layer.chunks():
            attention = layer.attention(queries).float()
            yield measure(attention, first)
            first += attention.shape[1]

    return torch.stack([mean(layer) for layer in trace.layers]).cpu().numpy()
