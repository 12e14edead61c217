"""Which patch of one picture corresponds to which of another."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Literal, get_args

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
from torch import Tensor

from vit_explorer.analysis.same_model import require_same_model
from vit_explorer.models.needs import require
from vit_explorer.options import checked_index, one_of
from vit_explorer.sentences import Sentence
from vit_explorer.tracing.trace import Trace

By = Literal["features", "query_key"]


@dataclass(frozen=True, eq=False)
class PatchMatches:
    """How each patch of a first picture matches each of a second.

    `similarity` (gh, gw, gh, gw): at a patch of the first, a map over the second. By "features"
    cosines, -1 to 1; by "query_key" the attention, 0 to 1, that the first's query would pay to the
    second's keys. `nearest` (gh, gw, 2) is the row and column of the best in the second;
    `mutual` (gh, gw) whether that patch's best in the first is the one it came from.
    """

    by: By
    layer: int
    similarity: npt.NDArray[np.float32] = field(repr=False)

    @property
    def nearest(self) -> npt.NDArray[np.int64]:
        rows, columns = self.similarity.shape[2:]
        best = self.similarity.reshape(rows, columns, -1).argmax(axis=-1)
        return np.stack(np.unravel_index(best, (rows, columns)), axis=-1)

    @property
    def mutual(self) -> npt.NDArray[np.bool_]:
        rows, columns = self.similarity.shape[:2]
        flat = self.similarity.reshape(rows * columns, -1)
        there, back = flat.argmax(axis=1), flat.argmax(axis=0)
        return (back[there] == np.arange(len(flat))).reshape(rows, columns)


@torch.no_grad()
def patch_matches(
    first: Trace, second: Trace, *, by: By = "features", layer: int = -1, head: int | None = None
) -> PatchMatches:
    """Compare all patches of one picture with all of another, after or in one layer.

    Args:
        first: the picture whose patches look for their like.
        second: the one they look in, traced with the same model.
        by: "features": cosines of the block's outputs; "query_key": what the first's queries would
            attend to if the keys were the second's, mean over heads, the model's own bias added.
        layer: counted from 0, or from the end below 0.
        head: one head of "query_key" alone.

    Raises:
        OptionError: traces of different models, or no such way, layer or head.
        UnsupportedModelError: no tokens, or for "query_key" queries and keys that are not seen.

    Amir et al., "Deep ViT Features as Dense Visual Descriptors", 2022.
    """
    one_of(Sentence("part.by", "way of comparing"), by, get_args(By))
    require(first.card, "tokens", "attention")
    require_same_model(first, second)
    index = first.layer_index(layer)
    card = first.card
    if by == "features":
        one, other = (
            F.normalize(each.blocks[index][card.prefix_tokens :].float(), dim=-1)
            for each in (first, second)
        )
        found = (one @ other.T).clamp(-1, 1)
    else:
        found = _attention_across(first, second, index, head)
    return PatchMatches(by, index, found.reshape(*card.grid, *card.grid).cpu().numpy())


def _attention_across(first: Trace, second: Trace, index: int, head: int | None) -> Tensor:
    """Attention (n, n) of the first's patches to the second's, whose tokens all share 1."""
    prefix = first.card.prefix_tokens
    first.queries_and_keys(index)
    _, keys = second.queries_and_keys(index)
    if head is not None:
        head = checked_index(Sentence("part.head", "head"), head, first.card.heads)
    across = replace(first.layers[index], key=keys, weights=None, weights_gradient=None)
    parts = []
    for rows in across.chunks():
        attention = across.attention(rows).float()
        parts.append(attention.mean(dim=0) if head is None else attention[head])
    return torch.cat(parts)[prefix:, prefix:]
