"""Queries and keys of one head over many pictures in one space, where what attends lies near."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Literal, get_args

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from vit_explorer.analysis.components import principal_components
from vit_explorer.analysis.same_model import require_same_model
from vit_explorer.errors import OptionError
from vit_explorer.models.needs import require
from vit_explorer.options import checked_index, one_of
from vit_explorer.sentences import Sentence
from vit_explorer.tracing.trace import Trace

Layout = Literal["pca", "tsne"]

# Neighbours in t-SNE of more points take minutes.
MOST_POINTS: dict[Layout, int] = {"pca": 100_000, "tsne": 5_000}
# So many queries say how well distances tell scores.
_SAMPLE = 500


@dataclass(frozen=True, eq=False)
class QueryKeySpace:
    """Queries and keys of a head over n pictures of N tokens each (prefix tokens first).

    `queries` and `keys` (n, N, d) are moved and scaled without a change to attention: keys by one
    vector for all, queries by `scale` and keys by its inverse. `query_points` and `key_points`
    (n, N, 2) place them in the plane. `explained` (2,) is each axis's share of the variance, 0 to
    1, None of t-SNE, whose axes mean nothing.

    `agreement` says how far "near" means "attends much", -1 to 1: the correlation of a query's
    scores with its closeness to the keys of its own picture, mean over queries, in all d
    dimensions; `drawn_agreement` the same of the points. `biased` says that the model adds to
    these scores what no distance shows (relative positions, a mask).
    """

    layer: int
    head: int
    layout: Layout
    scale: float
    queries: npt.NDArray[np.float32] = field(repr=False)
    keys: npt.NDArray[np.float32] = field(repr=False)
    query_points: npt.NDArray[np.float32] = field(repr=False)
    key_points: npt.NDArray[np.float32] = field(repr=False)
    explained: tuple[float, float] | None
    agreement: float
    drawn_agreement: float
    biased: bool


@torch.no_grad()
def query_key_space(
    traces: Iterable[Trace],
    *,
    layer: int = -1,
    head: int = 0,
    layout: Layout = "pca",
    progress: Callable[[int], None] | None = None,
) -> QueryKeySpace:
    """Embed a head's queries and keys over many pictures together.

    Attention is a softmax of query · key over keys, so that a vector added to every key changes
    nothing, nor does a factor that queries gain and keys lose. Keys are moved around 0, and the
    factor makes queries and keys spread equally far around their means: then what lies near
    attends much, as far as `agreement` says. The two clouds may lie apart: that is what all
    queries have in common. (Moved onto one centre, as in the paper, they lose it: at DeiT-Tiny's
    last layers the nearest keys are then attended least.)

    Args:
        traces: of one model, looked at one by one: a generator keeps memory small.
        layer: counted from 0, or from the end below 0.
        head: counted likewise.
        layout: "pca" draws the two strongest principal components of both; "tsne" keeps
            neighbours (scikit-learn's t-SNE, seeded), for at most 5,000 points.
        progress: called with how many pictures are done; what it raises stops the work.

    Raises:
        OptionError: no traces, traces of different models, too many points, or no such layer,
            head or layout.
        UnsupportedModelError: no attention, or queries and keys that are not seen.

    Yeh et al., "AttentionViz: A Global View of Transformer Attention", IEEE VIS 2023.
    """
    one_of(Sentence("part.layout", "layout"), layout, get_args(Layout))
    queries, keys = [], []
    first: Trace | None = None
    for one in traces:
        if first is None:
            first = one
            require(one.card, "attention")
            layer = one.layer_index(layer)
            head = checked_index(Sentence("part.head", "head"), head, one.layers[layer].shape[0])
        require_same_model(first, one)
        query, key = one.queries_and_keys(layer)
        queries.append(query[head].cpu())
        keys.append(key[head].cpu())
        _bounded(2 * len(queries) * len(query[head]), layout)
        if progress is not None:
            progress(len(queries))
    if first is None:
        raise OptionError(
            "error.components.none", "No traces were given, expected one or more of one model."
        )
    scale, query, key = _aligned(torch.stack(queries).double(), torch.stack(keys).double())
    points, explained = _placed(torch.cat([query, key]).flatten(0, 1), layout)
    query_points, key_points = points.unflatten(0, (2, *query.shape[:2])).unbind()
    scores = _sampled_scores(query, key)
    return QueryKeySpace(
        layer=layer,
        head=head,
        layout=layout,
        scale=scale,
        queries=query.float().numpy(),
        keys=key.float().numpy(),
        query_points=query_points.float().numpy(),
        key_points=key_points.float().numpy(),
        explained=explained,
        agreement=_agreement(scores, query, key),
        drawn_agreement=_agreement(scores, query_points, key_points),
        biased=first.layers[layer].bias is not None,
    )


def _bounded(points: int, layout: Layout) -> None:
    most = MOST_POINTS[layout]
    if points > most:
        raise OptionError(
            "error.query_keys.points",
            "The pictures have more than {most:,} queries and keys, the most that {layout} places; "
            "choose fewer pictures.",
            most=most,
            layout=layout,
        )


def _aligned(query: Tensor, key: Tensor) -> tuple[float, Tensor, Tensor]:
    """The factor, and queries and keys (n, N, d) by it, the keys around 0."""
    key = key - key.mean(dim=(0, 1))
    spreads = [x.norm().clamp(min=1e-30) for x in (query - query.mean(dim=(0, 1)), key)]
    factor = (spreads[1] / spreads[0]).sqrt()
    return float(factor), query * factor, key / factor


def _sampled(query: Tensor) -> tuple[Tensor, Tensor]:
    """Picture and token of evenly spread queries."""
    pictures, tokens = query.shape[:2]
    total = pictures * tokens
    places = torch.linspace(0, total - 1, min(total, _SAMPLE)).round().long().unique()
    return places // tokens, places % tokens


def _sampled_scores(query: Tensor, key: Tensor) -> Tensor:
    """Scores (m, N) of a sample of queries with all keys of their pictures."""
    picture, token = _sampled(query)
    return torch.einsum("md,mnd->mn", query[picture, token], key[picture])


def _agreement(scores: Tensor, query: Tensor, key: Tensor) -> float:
    """Mean correlation of scores (m, N) with closeness, query by query; 0 where all are equal."""
    picture, token = _sampled(query)
    near = -(query[picture, token][:, None] - key[picture]).square().sum(dim=-1)
    one, other = (x - x.mean(dim=1, keepdim=True) for x in (scores, near))
    sizes = one.norm(dim=1) * other.norm(dim=1)
    cosines = torch.where(sizes > 0, (one * other).sum(dim=1) / sizes.clamp(min=1e-300), 0)
    return float(cosines.mean())


def _placed(rows: Tensor, layout: Layout) -> tuple[Tensor, tuple[float, float] | None]:
    """Rows (m, d) in the plane (m, 2), and what each axis explains."""
    if layout == "pca":
        scores, shares = principal_components(rows, 2)
        return scores, (float(shares[0]), float(shares[1]))
    from sklearn.manifold import TSNE

    # Fewer points than three perplexities have no such neighbourhoods.
    near = min(30.0, (len(rows) - 1) / 3)
    found = TSNE(perplexity=near, init="pca", random_state=0).fit_transform(rows.numpy())
    return torch.from_numpy(np.asarray(found, np.float64)), None
