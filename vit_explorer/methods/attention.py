"""Maps made of attention, alone or weighted by its gradient.

Each method follows one row of the layers' product from the last layer down. A row times a matrix
needs the matrix only a chunk of queries at a time, so no (N, N) product is ever held.
"""

from __future__ import annotations

from collections.abc import Callable
from numbers import Integral, Real
from operator import itemgetter
from typing import Literal

import torch
from torch import Tensor

from vit_explorer.errors import OptionError
from vit_explorer.trace import Layer, Trace

Fusion = Literal["mean", "max", "min"]

_FUSIONS: dict[str, Callable[[Tensor], Tensor]] = {
    "mean": lambda attention: attention.mean(dim=0),
    "max": lambda attention: attention.amax(dim=0),
    "min": lambda attention: attention.amin(dim=0),
}


def attention(trace: Trace, *, layer: int = -1, head: int | Fusion = "mean") -> Tensor:
    """One layer's attention from the class token (or the mean patch) to each patch: (gh, gw).

    Values are probabilities: 0 to 1, at most 1 in sum. `head` is an index or "mean", "max", "min".
    """
    chosen = trace.layers[trace.layer_index(layer)]
    heads = len(chosen.query)
    if isinstance(head, Integral) and not isinstance(head, bool):
        if not -heads <= head < heads:
            raise OptionError(
                f"The head was {head}, expected 0 to {heads - 1}, or mean, max or min."
            )
        fuse: Callable[[Tensor], Tensor] = itemgetter(int(head))
    else:
        fuse = _fusion(head)
    row = trace.readout()
    return trace.grid(_through(chosen, row, lambda rows: fuse(chosen.attention(rows))))


def rollout(
    trace: Trace, *, fusion: Fusion = "mean", discard: float = 0.0, start: int = 0
) -> Tensor:
    """Attention rollout: the class row of Â_L … Â_start with Â = A + I, rows divided by their sum.

    Values are shares of the class token's mix: 0 to 1, at most 1 in sum.

    Args:
        fusion: how heads are fused: "mean", "max" or "min".
        discard: share (0 to below 1) of each row's smallest patch columns that is set to 0.
        start: first layer of the product, from 0.

    Abnar & Zuidema, "Quantifying Attention Flow in Transformers", ACL 2020.
    """
    fuse = _fusion(fusion)
    if isinstance(discard, bool) or not isinstance(discard, Real) or not 0 <= discard < 1:
        raise OptionError(f"The discard ratio was {discard!r}, expected 0 to below 1.")
    row = trace.readout()
    for layer in reversed(trace.layers[trace.layer_index(start) :]):

        def matrix(rows: slice, layer: Layer = layer) -> Tensor:
            fused = fuse(layer.attention(rows))
            return _discarded(fused, discard, trace.card.prefix_tokens) if discard else fused

        # Rows of a mean over heads sum to 1 already, so the division is by 2 for each.
        exact = fusion == "mean" and not discard
        row = _mixed(layer, row, matrix) if exact else _with_identity(layer, row, matrix)
    return trace.grid(row)


def gradient_rollout(trace: Trace, *, start: int = 0) -> Tensor:
    """Rollout with A replaced by relu(mean over heads of A∘∂logit/∂A): (gh, gw), 0 to 1.

    Abnar & Zuidema 2020, weighted as in Chefer et al., "Transformer Interpretability Beyond
    Attention Visualization", CVPR 2021.
    """
    row = trace.readout()
    for layer in reversed(trace.layers[trace.layer_index(start) :]):

        def matrix(rows: slice, layer: Layer = layer) -> Tensor:
            weighted = layer.attention(rows) * layer.attention_gradient(rows)
            return weighted.mean(dim=0).relu()

        row = _with_identity(layer, row, matrix)
    return trace.grid(row)


def generic_attention(trace: Trace, *, start: int = 0) -> Tensor:
    """Generic attention: R ← R + mean over heads of relu(A∘∂logit/∂A)·R, class row: (gh, gw).

    Values are 0 or more, in units of the logit.

    Chefer, Gur & Wolf, "Generic Attention-model Explainability", ICCV 2021.
    """
    row = trace.readout()
    for layer in reversed(trace.layers[trace.layer_index(start) :]):

        def matrix(rows: slice, layer: Layer = layer) -> Tensor:
            weighted = layer.attention(rows) * layer.attention_gradient(rows)
            return weighted.relu().mean(dim=0)

        row = row + _through(layer, row, matrix)
    return trace.grid(row)


def attention_grad_cam(trace: Trace, *, layer: int = -1) -> Tensor:
    """One layer's class row, each head weighted by its mean gradient, relu: (gh, gw), 0 or more.

    The baseline of Chefer, Gur & Wolf, CVPR 2021, after Selvaraju et al., "Grad-CAM", ICCV 2017.
    """
    chosen = trace.layers[trace.layer_index(layer)]
    row = trace.readout()
    rows = row.nonzero().flatten().tolist()
    weights = row[rows]
    probabilities = torch.einsum("q,hqk->hk", weights, chosen.attention(rows))  # (h, N)
    gradient = torch.einsum("q,hqk->hk", weights, chosen.attention_gradient(rows))
    head_weight = trace.grid(gradient).mean(dim=(-2, -1))  # (h,)
    weighted = head_weight[:, None, None] * trace.grid(probabilities)  # (h, gh, gw)
    return weighted.mean(dim=0).relu()


def _fusion(name: int | str) -> Callable[[Tensor], Tensor]:
    if not isinstance(name, str) or name not in _FUSIONS:
        raise OptionError(f"The heads' fusion was {name!r}, expected mean, max or min.")
    return _FUSIONS[name]


def _through(layer: Layer, row: Tensor, matrix: Callable[[slice], Tensor]) -> Tensor:
    """row · M, with M made a chunk of its rows at a time; rows that weigh nothing are left out."""
    result = torch.zeros_like(row)
    for rows in layer.chunks():
        if bool(row[rows].any()):
            result += row[rows] @ matrix(rows)
    return result


def _mixed(layer: Layer, row: Tensor, matrix: Callable[[slice], Tensor]) -> Tensor:
    """row · (A + I)/2, for rows of A that sum to 1."""
    return (row + _through(layer, row, matrix)) / 2


def _with_identity(layer: Layer, row: Tensor, matrix: Callable[[slice], Tensor]) -> Tensor:
    """row · (M + I) with each row of M + I divided by its sum."""
    result = torch.zeros_like(row)
    for rows in layer.chunks():
        chunk = matrix(rows)
        share = row[rows] / (1 + chunk.sum(dim=-1))
        result += share @ chunk
        result[rows] += share
    return result


def _discarded(fused: Tensor, ratio: float, prefix_tokens: int) -> Tensor:
    """Set the smallest patch columns of each row to 0; prefix columns are kept."""
    patches = fused[:, prefix_tokens:]
    count = int(patches.shape[1] * ratio)
    smallest = patches.topk(count, dim=1, largest=False).indices
    return torch.cat((fused[:, :prefix_tokens], patches.scatter(1, smallest, 0.0)), dim=1)
