"""Maps made of attention, alone or weighted by its gradient.

Each method follows one row of the layers' product from the last layer down. A row times a matrix
needs the matrix only a chunk of queries at a time, so no (N, N) product is ever held.
"""

from __future__ import annotations

from collections.abc import Callable
from operator import itemgetter
from typing import Literal

import torch
from torch import Tensor

from vit_explorer.methods.heatmap import Progress
from vit_explorer.methods.model_queries import asking
from vit_explorer.methods.registry import method
from vit_explorer.models.accepted_calls import accept
from vit_explorer.models.interception import recording
from vit_explorer.models.readout import readout
from vit_explorer.options import checked_index, one_of, share
from vit_explorer.sentences import Sentence, either
from vit_explorer.tracing.attention_layer import Layer, Rows, arranged_layers
from vit_explorer.tracing.trace import Trace

Fusion = Literal["mean", "max", "min"]

_FUSIONS: dict[str, Callable[[Tensor], Tensor]] = {
    "mean": lambda attention: attention.mean(dim=0),
    "max": lambda attention: attention.amax(dim=0),
    "min": lambda attention: attention.amin(dim=0),
}


@method(
    title="Attention",
    summary="Where the class token looks in one layer.",
    formula="class-token row of one layer's A; heads by mean, max, min, or one",
    source="Vaswani et al. 2017; Dosovitskiy et al. 2021",
    caveat="One layer's mixing weights: they ignore the values mixed, and are the same for every "
    "class.",
    requires=("attention",),
    unit="share",
    follows_row=True,
    taught=True,
)
def attention(trace: Trace, *, layer: int = -1, head: int | Fusion = "mean") -> Tensor:
    """One layer's attention from the class token (or the mean patch) to each patch: (gh, gw).

    Values are probabilities: 0 to 1, and at most 1 in sum but for "max". `head` is an index or
    "mean", "max", "min".
    """
    chosen = trace.layers[trace.layer_index(layer)]
    fuse = one_or_fused(head, chosen.shape[0])
    row = trace.readout()
    return trace.grid(_through(chosen, row, lambda rows: fuse(chosen.attention(rows))))


@method(
    title="Attention rollout",
    summary="Attention of all layers multiplied through, residuals included.",
    formula="class row of Â_L … Â_1, each Â = A + I with its rows divided by their sums",
    source="Abnar & Zuidema 2020",
    caveat="The same for every class; often highlights background that deep layers use as scratch "
    "space.",
    requires=("attention",),
    unit="share",
    follows_row=True,
    taught=True,
)
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
    discard = share(Sentence("part.discard", "discard ratio"), discard, zero=True)
    row = trace.readout()
    for layer in reversed(trace.layers[trace.layer_index(start) :]):

        def matrix(rows: Rows, layer: Layer = layer) -> Tensor:
            fused = fuse(layer.attention(rows))
            return _discarded(fused, discard, trace.card.prefix_tokens) if discard else fused

        # Rows of a mean over heads sum to 1 already, so the division is by 2 for each.
        exact = fusion == "mean" and not discard
        row = _mixed(layer, row, matrix) if exact else _with_identity(layer, row, matrix)
    return trace.grid(row)


def rollout_by_layer(trace: Trace, query: int) -> Tensor:
    """One token's rollout up to each layer: row `query` of Â_l … Â_0 for each l: (L, N).

    Rows sum to 1. All are followed together from the last layer down, so each layer's attention
    is made once.

    Raises OptionError for a token that is not there.

    Abnar & Zuidema 2020.
    """
    trace.attention_rows(0, [query])  # the check
    depth, tokens = len(trace.layers), trace.card.tokens
    mixes = trace.readout().new_zeros(depth, tokens)
    for index, layer in reversed(list(enumerate(trace.layers))):
        mixes[index, query] = 1
        begun = mixes[index:]
        passed = torch.zeros_like(begun)
        for rows in layer.chunks():
            passed += begun[:, rows] @ layer.attention(rows).mean(dim=0)
        mixes[index:] = (begun + passed) / 2
    return mixes


@method(
    title="Gradient rollout",
    summary="Rollout that keeps only attention which raises the class's logit.",
    formula="rollout with A replaced by relu(mean over heads of A∘∂y/∂A)",
    source="Abnar & Zuidema 2020; Chefer et al. 2021",
    caveat="The gradient is small beside the residual, so single layers dominate.",
    requires=("attention",),
    gradients="all",
    follows_row=True,
)
def gradient_rollout(trace: Trace, *, start: int = 0) -> Tensor:
    """Rollout with A replaced by relu(mean over heads of A∘∂logit/∂A): (gh, gw), 0 to 1.

    Abnar & Zuidema 2020, weighted as in Chefer et al., "Transformer Interpretability Beyond
    Attention Visualization", CVPR 2021.
    """
    row = trace.readout()
    for layer in reversed(trace.layers[trace.layer_index(start) :]):

        def matrix(rows: Rows, layer: Layer = layer) -> Tensor:
            weighted = layer.attention(rows) * layer.attention_gradient(rows)
            return weighted.mean(dim=0).relu()

        row = _with_identity(layer, row, matrix)
    return trace.grid(row)


@method(
    title="Generic attention",
    summary="Positive attention × gradient, added up through the layers.",
    formula="R ← R + mean over heads of relu(A∘∂y/∂A)·R, from R = I; class row",
    source="Chefer, Gur & Wolf 2021 (ICCV)",
    caveat="Drops what speaks against the class.",
    requires=("attention",),
    gradients="all",
    follows_row=True,
)
def generic_attention(trace: Trace, *, start: int = 0) -> Tensor:
    """Generic attention: R ← R + mean over heads of relu(A∘∂logit/∂A)·R, class row: (gh, gw).

    Values are 0 or more.

    Chefer, Gur & Wolf, "Generic Attention-model Explainability", ICCV 2021.
    """
    row = trace.readout()
    for layer in reversed(trace.layers[trace.layer_index(start) :]):

        def matrix(rows: Rows, layer: Layer = layer) -> Tensor:
            weighted = layer.attention(rows) * layer.attention_gradient(rows)
            return weighted.relu().mean(dim=0)

        row = row + _through(layer, row, matrix)
    return trace.grid(row)


@method(
    title="Attention Grad-CAM",
    summary="The last layer's heads weighted by how much they raise the logit.",
    formula="last layer's class row of A, each head weighted by its mean ∂y/∂A, relu",
    source="Chefer et al. 2021 (CVPR), after Selvaraju et al. 2017",
    caveat="Sees one layer; zero everywhere when no head raises the logit.",
    requires=("attention",),
    gradients="last",
    follows_row=True,
)
def attention_grad_cam(trace: Trace, *, layer: int = -1) -> Tensor:
    """One layer's class row, each head weighted by its mean gradient, relu: (gh, gw), 0 or more.

    The baseline of Chefer, Gur & Wolf, CVPR 2021, after Selvaraju et al., "Grad-CAM", ICCV 2017.
    """
    chosen = trace.layers[trace.layer_index(layer)]
    row = trace.readout()
    probabilities = _through(chosen, row, chosen.attention)  # (h, N)
    gradient = _through(chosen, row, chosen.attention_gradient)  # (h, N)
    head_weight = trace.grid(gradient).mean(dim=(-2, -1))  # (h,)
    weighted = head_weight[:, None, None] * trace.grid(probabilities)  # (h, gh, gw)
    return weighted.mean(dim=0).relu()


@method(
    title="LeGrad",
    summary="Where more attention, in any layer, would raise the class read off it.",
    formula="relu(∂s/∂A), s the class's logit that the head reads off that layer's tokens; mean "
    "over heads, queries and layers",
    source="Bousselham et al. 2024",
    caveat="The head was trained on the last layer's tokens, not on earlier ones.",
    requires=("attention", "end"),
    passes="few",
)
def legrad(trace: Trace, *, start: int = 0, progress: Progress | None = None) -> Tensor:
    """LeGrad: relu(∂s/∂A), mean over heads, queries and layers, s being the class's logit that the
    model's own norm, pooling and head read off that layer's tokens: (gh, gw), 0 or more.

    Two passes: the model once more, then its head on all layers' tokens.

    Raises:
        OptionError: no such `start`, the first layer of the mean.
        TargetError: a model without classes.

    Bousselham et al., "LeGrad: An Explainability Method for Vision Transformers via Feature
    Formation Sensitivity", 2024.
    """
    first = trace.layer_index(start)
    model, anatomy = trace.model, trace.model.anatomy
    left: list[Tensor] = []

    def leaving(_: int, tokens: Tensor) -> Tensor:
        left.append(tokens)
        return tokens

    with asking(trace, 2, progress) as asked, torch.enable_grad():
        pixels = asked.pixels.requires_grad_(True)
        with recording(model.module, anatomy, on_output=leaving) as calls:
            asked(pixels)
        read = torch.cat([anatomy.arrange(tokens) for tokens in left[first:]]).detach()
        logits = readout(model, read.requires_grad_(True))  # (layers, C)
        (slopes,) = torch.autograd.grad(asked.aim.of(logits).sum(), read)
        asked.count(1)
        of_blocks = accept(calls, anatomy, trace.card.name)[first:]
        mean = torch.zeros_like(trace.readout())
        for own, tokens, slope in zip(of_blocks, left[first:], slopes, strict=True):
            anchors = [call.anchor for call in own]
            # The graph ends at this block's attention: nothing before it is run through.
            found = torch.autograd.grad(
                tokens, anchors, anatomy.restore(slope[None]), retain_graph=True
            )
            (layer,) = arranged_layers(anatomy, own, found, 1)
            for rows in layer.chunks():
                mean += layer.attention_gradient(rows).relu().mean(dim=0).sum(dim=0)
    return trace.grid(mean / (len(of_blocks) * trace.card.tokens))


def one_or_fused(head: int | str, heads: int) -> Callable[[Tensor], Tensor]:
    """What makes one (…) of the heads' (h, …): an index takes one, a name fuses all.

    Raises OptionError for neither.
    """
    if isinstance(head, str) and head in _FUSIONS:
        return _FUSIONS[head]
    return itemgetter(
        checked_index(
            Sentence("part.head", "head"),
            head,
            heads,
            instead=Sentence("part.or", ", or {names}", names=either(_FUSIONS)),
        )
    )


def _fusion(name: str) -> Callable[[Tensor], Tensor]:
    return _FUSIONS[one_of(Sentence("part.fusion", "heads' fusion"), name, _FUSIONS)]


def _through(layer: Layer, row: Tensor, matrix: Callable[[Rows], Tensor]) -> Tensor:
    """row · M, with M (…, N, N) made a chunk of rows at a time, and none of those that weigh 0."""
    result = row.new_zeros(())
    for rows in layer.chunks(row):
        result = result + row[rows] @ matrix(rows)
    return result


def _mixed(layer: Layer, row: Tensor, matrix: Callable[[Rows], Tensor]) -> Tensor:
    """row · (A + I)/2, for rows of A that sum to 1."""
    return (row + _through(layer, row, matrix)) / 2


def _with_identity(layer: Layer, row: Tensor, matrix: Callable[[Rows], Tensor]) -> Tensor:
    """row · (M + I) with each row of M + I divided by its sum."""
    result = torch.zeros_like(row)
    for rows in layer.chunks(row):
        chunk = matrix(rows)
        mixed = row[rows] / (1 + chunk.sum(dim=-1))
        result += mixed @ chunk
        result[rows] += mixed
    return result


def _discarded(fused: Tensor, ratio: float, prefix_tokens: int) -> Tensor:
    """Set the smallest patch columns of each row to 0; prefix columns are kept."""
    patches = fused[:, prefix_tokens:]
    count = int(patches.shape[1] * ratio)
    smallest = patches.topk(count, dim=1, largest=False).indices
    return torch.cat((fused[:, :prefix_tokens], patches.scatter(1, smallest, 0.0)), dim=1)
