"""From picture to tokens: the patch grid, the patch embedding by hand, and tokens compared."""

from __future__ import annotations

from dataclasses import dataclass, field
from numbers import Real
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F

from vit_explorer.analysis.weights import patch_projection
from vit_explorer.errors import OptionError, UnsupportedModelError
from vit_explorer.models.card import ModelCard
from vit_explorer.models.loaded import LoadedModel
from vit_explorer.models.vit import embed_patches_by_hand
from vit_explorer.options import is_whole
from vit_explorer.sentences import Sentence
from vit_explorer.tracing.trace import Trace

# Median absolute deviation to standard deviation, for a normal distribution.
MAD_TO_DEVIATION = 1.4826


def patch_grid(model: LoadedModel, picture: Any) -> npt.NDArray[np.uint8]:
    """The crop the model saw, cut into patches: (gh, gw, h, w, 3), values 0 to 255.

    In grey for a model of one channel, three bands of more.

    `picture` is anything `open_picture` takes, or a `Prepared`.

    Raises:
        PictureError: no picture that can be opened.
        UnsupportedModelError: cells of a last stage whose sides are no whole pixels.
    """
    prepared = model.prepare(picture)
    card = model.card
    (gh, gw), (h, w) = card.grid, card.patch_size
    pixels = np.asarray(prepared.shown, dtype=np.uint8)  # (gh·h, gw·w, 3)
    if card.tier == 2 and (gh * h, gw * w) != card.image_size:
        raise UnsupportedModelError(
            "error.cut",
            "The {rows}×{columns} cells of {model} share {height}×{width} pixels, which are no "
            "multiples, so the picture can't be cut into equal ones; choose an image_size that "
            "is.",
            rows=gh,
            columns=gw,
            model=card.name,
            height=card.image_size[0],
            width=card.image_size[1],
        )
    return pixels.reshape(gh, h, gw, w, 3).swapaxes(1, 2).copy()


@dataclass(frozen=True)
class PatchEmbeddingCheck:
    """How far unfold-and-multiply is from the model's convolution: `error` beside the `largest`."""

    patches: int
    inputs: int
    dim: int
    error: float
    largest: float


@torch.no_grad()
def check_patch_embedding(model: LoadedModel, picture: Any) -> PatchEmbeddingCheck:
    """Embed the patches by the model's convolution and by hand, and compare.

    Raises:
        UnsupportedModelError: patches are not embedded by one convolution over the pixels.
    """
    prepared = model.prepare(picture)
    projection = patch_projection(model)
    pixels = prepared.pixels.to(projection.weight)
    with model.lock:  # another pass may have hooks on it
        convolved = projection(pixels).flatten(2).transpose(1, 2)  # (1, n, D)
    by_hand = embed_patches_by_hand(pixels, projection)
    return PatchEmbeddingCheck(
        patches=convolved.shape[1],
        inputs=projection.weight[0].numel(),
        dim=convolved.shape[2],
        error=float((convolved - by_hand).abs().max()),
        largest=float(convolved.abs().max()),
    )


def token_similarity(
    trace: Trace, token: int | str | tuple[int, int], *, layer: int | None = -1
) -> npt.NDArray[np.float32]:
    """Cosine similarity of one token's block output to every patch's: (gh, gw), -1 to 1.

    Args:
        token: a patch as (row, column), a prefix token's name such as "class", or an index among
            all tokens.
        layer: the block whose output is compared; None gives every block's: (L, gh, gw).

    Raises:
        OptionError: no such token or layer.
    """
    index = _token_index(trace.card, token)
    chosen = trace.blocks if layer is None else (trace.blocks[trace.layer_index(layer)],)
    unit = F.normalize(torch.stack(chosen).float(), dim=-1)  # (L, N, D)
    cosines = torch.einsum("lnd,ld->ln", unit, unit[:, index]).clamp(-1, 1)
    maps = trace.grid(cosines).cpu().numpy()
    return maps if layer is None else maps[0]


def _token_index(card: ModelCard, token: int | str | tuple[int, int]) -> int:
    rows, columns = card.grid
    if isinstance(token, str) and token in card.prefix_names:
        return card.prefix_names.index(token)
    if isinstance(token, (tuple, list)) and len(token) == 2 and all(map(is_whole, token)):
        row, column = token
        if 0 <= row < rows and 0 <= column < columns:
            return card.prefix_tokens + int(row) * columns + int(column)
    if is_whole(token) and 0 <= token < card.tokens:
        return int(token)
    names = (
        Sentence("part.oneof", "one of {names}, ", names=", ".join(map(repr, card.prefix_names)))
        if card.prefix_names
        else ""
    )
    raise OptionError(
        "error.token",
        "The token was {token!r}, expected (row, column) below ({rows}, {columns}), {names}or "
        "an index from 0 to {last}.",
        token=token,
        rows=rows,
        columns=columns,
        names=names,
        last=card.tokens - 1,
    )


@dataclass(frozen=True, eq=False)
class Artifacts:
    """Patch tokens whose norm stands out after one layer, and the attention they take.

    `norms` (gh, gw) and `prefix_norms` (P,) are Euclidean; `outliers` (gh, gw) marks patches
    whose norm is above `threshold`. Shares of that layer's attention, mean over heads, 0 to 1:
    `class_share` of the class token's row (None without one), `mean_share` of all rows' mean.
    """

    layer: int
    norms: npt.NDArray[np.float32] = field(repr=False)
    prefix_norms: npt.NDArray[np.float32]
    outliers: npt.NDArray[np.bool_] = field(repr=False)
    median: float
    threshold: float
    class_share: float | None
    mean_share: float

    @property
    def count(self) -> int:
        """How many patches stand out."""
        return int(self.outliers.sum())

    @property
    def histogram(self) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.float32]]:
        """Patches a bin, and the bins' edges (one more), from the lowest norm to the highest.

        Where patches stand out, an edge just above the threshold keeps them in bins of their own.
        """
        bins, low, high = min(32, self.norms.size), self.norms.min(), self.norms.max()
        if not self.count:
            return np.histogram(self.norms, bins)
        between = np.nextafter(np.float32(self.threshold), np.float32(np.inf))
        below = min(max(1, round(bins * float((between - low) / (high - low)))), bins - 1)
        edges = (
            np.linspace(low, between, below + 1)[:-1],
            np.linspace(between, high, bins - below + 1),
        )
        return np.histogram(self.norms, np.concatenate(edges))


def artifacts(trace: Trace, *, layer: int = -1, deviations: float = 4.0) -> Artifacts:
    """Norms of a block's output tokens, and the high ones that registers were invented for.

    A patch stands out where its norm is above median + deviations·1.4826·MAD, with MAD the median
    of |norm - median|: that many standard deviations, were the norms normally distributed.

    Raises:
        OptionError: no such layer, or deviations that are not above 0.

    Darcet et al., "Vision Transformers Need Registers", ICLR 2024.
    """
    if isinstance(deviations, bool) or not isinstance(deviations, Real) or not deviations > 0:
        raise OptionError(
            "error.deviations",
            "The deviations were {deviations!r}, expected a number above 0.",
            deviations=deviations,
        )
    index = trace.layer_index(layer)
    norms = trace.blocks[index].float().norm(dim=-1)  # (N,)
    patches = trace.grid(norms)
    median = patches.flatten().quantile(0.5)
    spread = (patches - median).abs().flatten().quantile(0.5) * MAD_TO_DEVIATION
    threshold = median + float(deviations) * spread
    outliers = patches > threshold
    taken = _attention_to(trace, index, outliers)  # (N,)
    names = trace.card.prefix_names
    return Artifacts(
        layer=index,
        norms=patches.cpu().numpy(),
        prefix_norms=norms[: trace.card.prefix_tokens].cpu().numpy(),
        outliers=outliers.cpu().numpy(),
        median=float(median),
        threshold=float(threshold),
        class_share=float(taken[names.index("class")]) if "class" in names else None,
        mean_share=float(taken.mean()),
    )


def _attention_to(trace: Trace, layer: int, patches: torch.Tensor) -> torch.Tensor:
    """Share (N,) of each query's attention, mean over heads, that goes to the marked patches."""
    chosen = trace.layers[layer]
    marked = torch.cat((patches.new_zeros(trace.card.prefix_tokens), patches.flatten()))
    shares = [
        chosen.attention(rows)[..., marked].float().sum(dim=-1).mean(dim=0)
        for rows in chosen.chunks()
    ]
    return torch.cat(shares)
