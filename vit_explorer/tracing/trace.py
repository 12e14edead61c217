"""The one pass: everything later views and methods need, from one forward and one backward pass."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, replace
from typing import Any, Literal, get_args

import torch
from torch import Tensor, nn

from vit_explorer.errors import ModelError, OptionError, UnsupportedModelError
from vit_explorer.models.accepted_calls import accept
from vit_explorer.models.capture import capture
from vit_explorer.models.card import ModelCard, first_tensor
from vit_explorer.models.compared import reading
from vit_explorer.models.devices import enough_memory
from vit_explorer.models.gradient_hooks import differentiating
from vit_explorer.models.interception import frozen, recording
from vit_explorer.models.loaded import LoadedModel
from vit_explorer.models.outputs import answer, measured, no_classes, probabilities
from vit_explorer.models.predictions import first_aims
from vit_explorer.models.structure.anatomy import Anatomy, replaced, tokens_in
from vit_explorer.models.structure.attention_calls import detached
from vit_explorer.models.targets import Aim, Target, find_target
from vit_explorer.options import checked_index, is_whole
from vit_explorer.pictures.preprocess import Prepared
from vit_explorer.sentences import Sentence
from vit_explorer.tracing.attention_layer import Layer, arranged_layers, explicit_is_cheaper

Gradients = Literal["none", "last", "all"]


@dataclass(frozen=True, eq=False)
class Trace:
    """One picture's way through a model: N tokens of width D, h heads of width d a layer.

    All tensors are float32, whatever the model computes in.

    `blocks` are the blocks' outputs (N, D). `features` are the token features (N, D) at the norm
    before a block's attention (or after it, in a block that norms there alone), and
    `feature_gradients` ∂logit/∂features, by block, where gradients were kept; the last block's
    features are always there. `raw` is what the model returned, `logits` what
    is differentiated: the same, but of a module that itself ends in a softmax or sigmoid. `target`
    is the index of the output that `aim` is about, both None of an embedding.
    """

    model: LoadedModel = field(repr=False)
    prepared: Prepared
    logits: Tensor  # (C,)
    target: int | None
    layers: tuple[Layer, ...] = field(repr=False)
    blocks: tuple[Tensor, ...] = field(repr=False)
    features: dict[int, Tensor] = field(repr=False)
    feature_gradients: dict[int, Tensor] = field(repr=False)
    gradients: Gradients
    raw: Tensor  # (C,)
    aim: Aim | None

    @property
    def card(self) -> ModelCard:
        """What was detected in the model."""
        return self.model.card

    @property
    def probabilities(self) -> Tensor | None:
        """Of each class or label, (C,), by what the outputs are; None of values."""
        return probabilities(self.raw, self.card.outputs)

    @property
    def measured(self) -> Tensor:
        """The probabilities (C,), or of values the values themselves."""
        return measured(self.raw, self.card.outputs)

    def without_tensors(self) -> Trace:
        """The same for whoever only writes what was found: without what lies between the picture
        and the answer, which shares memory with its whole batch."""
        return replace(self, layers=(), blocks=(), features={}, feature_gradients={})

    def layer_index(self, layer: int) -> int:
        """Index from 0 of a layer that may be counted from the end. Raises OptionError."""
        return checked_index(
            Sentence("part.layer", "layer"),
            layer,
            len(self.layers),
            instead=Sentence("part.last", ", or -1 for the last"),
        )

    def attention(self, layer: int) -> Tensor:
        """Attention probabilities (h, N, N) of a layer: query by key, rows sum to 1.

        Raises:
            OptionError: no such layer.
        """
        return self.layers[self.layer_index(layer)].attention(slice(None))

    def attention_rows(self, layer: int, queries: Sequence[int]) -> Tensor:
        """Attention probabilities (h, len(queries), N) of some queries alone.

        Raises:
            OptionError: no such layer or token.
        """
        tokens = self.card.tokens
        if not all(is_whole(query) and 0 <= query < tokens for query in queries):
            raise OptionError(
                "error.queries",
                "The queries were {queries!r}, expected token indices, 0 to {last}.",
                queries=list(queries),
                last=tokens - 1,
            )
        return self.layers[self.layer_index(layer)].attention(list(queries))

    def attention_gradient(self, layer: int) -> Tensor:
        """∂logit/∂attention (h, N, N) of a layer.

        Raises:
            OptionError: no such layer, or its gradients were not kept.
        """
        return self.layers[self.layer_index(layer)].attention_gradient(slice(None))

    def queries_and_keys(self, layer: int) -> tuple[Tensor, Tensor]:
        """Queries and keys (h, N, d) of a layer, as its scores are made of them.

        Raises:
            OptionError: no such layer.
            UnsupportedModelError: its softmax alone is seen.
        """
        index = self.layer_index(layer)
        found = self.layers[index]
        if found.query is None or found.key is None:
            raise UnsupportedModelError(
                "error.trace.queries",
                "The queries and keys of layer {layer} of {model} are not seen, its softmax alone "
                "is; compare attention or features.",
                layer=index + 1,
                model=self.card.name,
            )
        return found.query, found.key

    @property
    def reads_patches(self) -> bool:
        """Whether the output reads the patches themselves more than a class token."""
        return self.card.readout[1] > self.card.readout[0]

    def readout(self) -> Tensor:
        """Weight (N,) of each token's row in a map: the class token's and the patches' mean, by
        their shares of what the output reads."""
        first, patches = self.card.readout
        row = self.blocks[-1].new_zeros(self.card.tokens)
        row[self.card.prefix_tokens :] = patches / (self.card.tokens - self.card.prefix_tokens)
        if first:
            row[self.card.prefix_names.index("class")] = first
        return row

    def grid(self, tokens: Tensor) -> Tensor:
        """Reshape (…, N) over tokens to (…, gh, gw) over patches, prefix tokens dropped."""
        return tokens[..., self.card.prefix_tokens :].unflatten(-1, self.card.grid)

    def feature_map(self, layer: int, tokens: Tensor) -> Tensor:
        """What `features` holds of a layer, (N, D), as (D, gh, gw)."""
        return self.grid(tokens.T)


def trace(
    model: LoadedModel,
    picture: Any,
    *,
    target: Target = None,
    gradients: Gradients = "none",
) -> Trace:
    """Run a model once over one picture and keep what explanations are made of.

    Args:
        model: from `load_model`.
        picture: anything `open_picture` takes, or a `Prepared`.
        target: class index or label whose logit is differentiated, "not" and one of these for its
            negative, or "A - B" for the difference of two; None is the top prediction.
        gradients: "none", of the "last" block alone (a short backward pass), or of "all" blocks.

    Raises:
        PictureError, TargetError: a picture or target that can't be used.
        UnsupportedModelError: the blocks don't each make one global self-attention.
        ModelError: the logits are not finite, or memory ran out.
    """
    return trace_batch(model, [picture], targets=[target], gradients=gradients)[0]


def trace_batch(
    model: LoadedModel,
    pictures: Sequence[Any],
    *,
    targets: Sequence[Target],
    gradients: Gradients = "none",
) -> list[Trace]:
    """Run a model once over several pictures, each with its own target: the `trace` of each.

    The traces are parts of the same tensors, so one that is kept holds the memory of all.

    Raises:
        ExplorerError: as `trace` does.
    """
    if not isinstance(model, LoadedModel):
        raise OptionError(
            "error.trace.model",
            "trace received {kind} as its model; load it first with load_model.",
            kind=type(model).__name__,
        )
    model = reading(model, targets)
    aims = [find_target(model, target) for target in targets]
    if gradients not in get_args(Gradients):
        raise OptionError(
            "error.gradients",
            "The gradients were {gradients!r}, expected 'none', 'last' or 'all'.",
            gradients=gradients,
        )
    if gradients != "none" and model.card.classes == 0:
        raise no_classes(
            model.card, Sentence("part.noclass.logit", "so there is no logit to differentiate")
        )
    prepared = [model.prepare(picture) for picture in pictures]
    fewer = "fewer pictures at once, " if len(prepared) > 1 else ""
    run = _run
    if model.card.tier == 2:
        from vit_explorer.tracing.stage_trace import trace_stages as run
    name = model.card.name
    with model.lock, enough_memory(name, fewer), differentiating(name):
        return run(model, prepared, aims, gradients)


def _run(
    model: LoadedModel,
    prepared: Sequence[Prepared],
    targets: Sequence[Aim | None],
    gradients: Gradients,
) -> list[Trace]:
    anatomy = model.anatomy
    depth = len(anatomy.blocks)
    first = {"none": depth, "last": depth - 1, "all": 0}[gradients]
    blocks: dict[int, Tensor] = {}
    features: dict[int, Tensor] = {}

    def leaving(index: int, tokens: Tensor) -> Tensor:
        blocks[index] = anatomy.arrange(detached(tokens))
        return tokens

    with ExitStack() as borrowed:
        borrowed.enter_context(torch.inference_mode(False))
        borrowed.enter_context(torch.no_grad())
        # A tensor made in inference mode can't be differentiated; the copy made here can.
        pixels = torch.cat([picture.pixels for picture in prepared])
        borrowed.enter_context(frozen(model.module))
        watched = recording(
            model.module,
            anatomy,
            pictures=len(prepared),
            explicit=explicit_is_cheaper(model, len(prepared)),
            on_output=leaving,
        )
        recorded = borrowed.enter_context(watched)
        # Without a logit there is no graph to begin late, so every layer's features can be kept.
        since = min(first, depth - 1) if model.card.classes else 0
        borrowed.enter_context(_keeping(anatomy, first, since, features))
        answered = answer(model, pixels.to(next(model.module.parameters())))
        calls = accept(recorded, anatomy, model.card.name)
        raw, logits = finite(model, answered.raw), finite(model, answered.logits)
        if model.card.classes:
            best = first_aims(raw, model.card.outputs)
            targets = [b if t is None else t for b, t in zip(best, targets, strict=True)]
        kept = {index: [call.anchor for call in own] for index, own in enumerate(calls)}
        kept = {index: anchors for index, anchors in kept.items() if index >= first}
        sloped = {index: features[index] for index in kept if index in features}
        slopes: list[Tensor] = []
        if gradients != "none":
            anchors = [anchor for own in kept.values() for anchor in own]
            slopes = slopes_of(answered.logits, targets, [*anchors, *sloped.values()])
    anchor_slopes: dict[int, list[Tensor]] = {}
    for index, own in kept.items() if slopes else ():
        anchor_slopes[index], slopes = slopes[: len(own)], slopes[len(own) :]
    feature_slopes = dict(zip(sloped, slopes, strict=False))
    layers = [
        arranged_layers(anatomy, own, anchor_slopes.get(index), len(prepared))
        for index, own in enumerate(calls)
    ]
    return [
        Trace(
            model=model,
            prepared=picture,
            logits=logits[own],
            target=None if aim is None else aim.index,
            layers=tuple(of_pictures[own] for of_pictures in layers),
            blocks=tuple(blocks[index][own].float() for index in sorted(blocks)),
            features={
                i: anatomy.arrange(tensor.detach())[own].float() for i, tensor in features.items()
            },
            feature_gradients={
                i: anatomy.arrange(slope)[own].float() for i, slope in feature_slopes.items()
            },
            gradients=gradients,
            raw=raw[own],
            aim=aim,
        )
        for own, (picture, aim) in enumerate(zip(prepared, targets, strict=True))
    ]


def finite(model: LoadedModel, output: Tensor) -> Tensor:
    """(B, C) float32, checked; (B, 0) of a model without classes."""
    kept = output.detach().float() if model.card.classes else output.new_zeros(len(output), 0)
    if not bool(torch.isfinite(kept).all()):
        raise ModelError(
            "error.notfinite",
            "{model} returned logits that are not finite; check its weights.",
            model=model.card.name,
        )
    return kept


def slopes_of(output: Tensor, targets: Sequence[Aim | None], of: Sequence[Tensor]) -> list[Tensor]:
    """∂logit/∂ each tensor. Pictures don't mix, so one backward pass of a sum serves them all."""
    aims = [aim.of(row) for row, aim in zip(output, targets, strict=True) if aim is not None]
    found = torch.autograd.grad(torch.stack(aims).sum(), of, allow_unused=True)
    return [
        torch.zeros_like(tensor) if slope is None else slope
        for slope, tensor in zip(found, of, strict=True)
    ]


@contextmanager
def _keeping(
    anatomy: Anatomy, first: int, since: int, features: dict[int, Tensor]
) -> Iterator[None]:
    """Keep the norms' features from block `since` on; record a graph from block `first` on.

    A graph that begins at a late block makes the backward pass as short as the view needs,
    without running anything twice.
    """

    def begin(_: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        torch.set_grad_enabled(True)
        tokens = tokens_in((args, kwargs), anatomy.tokens)
        if tokens is None:
            return None
        # A copy of the leaf, which the block may change in its place.
        leaf = detached(tokens).requires_grad_(True)
        return replaced((args, kwargs), tokens, lambda _: leaf.clone())

    def keep(index: int) -> Any:
        def hook(_: nn.Module, __: Any, output: Any) -> None:
            # A norm that runs twice in a block normalises what attention reads first.
            features.setdefault(index, first_tensor(output))

        return hook

    with capture() as hooks:
        if first < len(anatomy.blocks):
            hooks.entering(anatomy.blocks[first].first, begin)
        for index, block in enumerate(anatomy.blocks[since:], since):
            if block.norm is not None:
                hooks.leaving(block.norm, keep(index))
        yield
