"""The one pass: everything later views and methods need, from one forward and one backward pass."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from numbers import Integral
from typing import Any, Literal, get_args

import torch
from torch import Tensor, nn

from vit_explorer.errors import ModelError, OptionError, TargetError
from vit_explorer.interception import AttentionCall, accept, frozen, recording
from vit_explorer.layer import Layer
from vit_explorer.models.card import ModelCard, find_norm, first_tensor
from vit_explorer.models.devices import enough_memory
from vit_explorer.models.loaded import LoadedModel
from vit_explorer.pictures import Prepared
from vit_explorer.targets import Target, find_target

Gradients = Literal["none", "last", "all"]


@dataclass(frozen=True, eq=False)
class Trace:
    """One picture's way through a model: N tokens of width D, h heads of width d a layer.

    All tensors are float32, whatever the model computes in.

    `blocks` are the blocks' outputs (N, D). `features` are the token features (N, D) at a
    block's `norm1`, and `feature_gradients` ∂logit/∂features, by block, where gradients were kept;
    the last block's features are always there.
    """

    model: LoadedModel = field(repr=False)
    prepared: Prepared
    logits: Tensor  # (C,)
    target: int | None
    layers: tuple[Layer, ...] = field(repr=False)
    blocks: tuple[Tensor, ...] = field(repr=False)
    features: dict[int, Tensor] = field(repr=False)
    feature_gradients: dict[int, Tensor] = field(repr=False)
    gradients: Gradients = "none"

    @property
    def card(self) -> ModelCard:
        """What was detected in the model."""
        return self.model.card

    @property
    def probabilities(self) -> Tensor:
        """Softmax of the logits, (C,)."""
        return self.logits.float().softmax(dim=-1)

    def layer_index(self, layer: int) -> int:
        """Index from 0 of a layer that may be counted from the end. Raises OptionError."""
        depth = len(self.layers)
        whole = isinstance(layer, Integral) and not isinstance(layer, bool)
        if not whole or not -depth <= layer < depth:
            raise OptionError(
                f"The layer was {layer!r}, expected 0 to {depth - 1}, or -1 for the last."
            )
        return int(layer) % depth

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
        if not all(isinstance(query, Integral) and 0 <= query < tokens for query in queries):
            raise OptionError(
                f"The queries were {list(queries)!r}, expected token indices, 0 to {tokens - 1}."
            )
        return self.layers[self.layer_index(layer)].attention(list(queries))

    def attention_gradient(self, layer: int) -> Tensor:
        """∂logit/∂attention (h, N, N) of a layer.

        Raises:
            OptionError: no such layer, or its gradients were not kept.
        """
        return self.layers[self.layer_index(layer)].attention_gradient(slice(None))

    @property
    def reads_patches(self) -> bool:
        """Whether the head reads the patches themselves rather than a class token."""
        pools_patches = bool(self.card.classes) and self.card.pooling not in ("class", "none")
        return pools_patches or not self.card.has_class_token

    def readout(self) -> Tensor:
        """Weight (N,) of each token's row in a map: the class token's, or the patches' mean."""
        row = self.layers[-1].query.new_zeros(self.card.tokens)
        if self.reads_patches:
            row[self.card.prefix_tokens :] = 1 / (self.card.tokens - self.card.prefix_tokens)
        else:
            row[self.card.prefix_names.index("class")] = 1
        return row

    def grid(self, tokens: Tensor) -> Tensor:
        """Reshape (…, N) over tokens to (…, gh, gw) over patches, prefix tokens dropped."""
        return tokens[..., self.card.prefix_tokens :].unflatten(-1, self.card.grid)


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
        target: class index or label whose logit is differentiated; None is the top prediction.
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
            f"trace received {type(model).__name__} as its model; load it first with load_model."
        )
    indices = [find_target(model, target) for target in targets]
    if gradients not in get_args(Gradients):
        raise OptionError(f"The gradients were {gradients!r}, expected 'none', 'last' or 'all'.")
    if gradients != "none" and model.card.classes == 0:
        raise TargetError(
            f"{model.card.name} has no classifier, so there is no logit to differentiate; choose "
            "methods that need no class, or load weights with a head."
        )
    prepared = [model.prepare(picture) for picture in pictures]
    fewer = "fewer pictures at once, " if len(prepared) > 1 else ""
    with model.lock, enough_memory(model.card.name, fewer):
        return _run(model, prepared, indices, gradients)


def _run(
    model: LoadedModel,
    prepared: Sequence[Prepared],
    targets: Sequence[int | None],
    gradients: Gradients,
) -> list[Trace]:
    depth = len(model.blocks)
    first = {"none": depth, "last": depth - 1, "all": 0}[gradients]
    blocks: dict[int, Tensor] = {}
    features: dict[int, Tensor] = {}
    with ExitStack() as borrowed:
        borrowed.enter_context(torch.inference_mode(False))
        borrowed.enter_context(torch.no_grad())
        # A tensor made in inference mode can't be differentiated; the copy made here can.
        pixels = torch.cat([picture.pixels for picture in prepared])
        borrowed.enter_context(frozen(model.module))
        recorded = borrowed.enter_context(recording(model.module, model.blocks))
        # Without a logit there is no graph to begin late, so every layer's features can be kept.
        since = min(first, depth - 1) if model.card.classes else 0
        borrowed.enter_context(_keeping(model.blocks, first, since, blocks, features))
        output = first_tensor(model.module(pixels.to(next(model.module.parameters()))))
        calls = accept(recorded, depth, model.card.tokens, model.card.name, len(prepared))
        logits = _logits(model, output)
        if model.card.classes:
            best = logits.argmax(dim=-1).tolist()
            targets = [b if t is None else t for b, t in zip(best, targets, strict=True)]
        kept = {index: call.output for index, call in enumerate(calls) if index >= first}
        sloped = {index: features[index] for index in kept if index in features}
        slopes: list[Tensor] = []
        if gradients != "none":
            slopes = _slopes(output, targets, [*kept.values(), *sloped.values()])
    output_slopes = dict(zip(kept, slopes, strict=False))
    feature_slopes = dict(zip(sloped, slopes[len(kept) :], strict=False))
    return [
        Trace(
            model=model,
            prepared=picture,
            logits=logits[own],
            target=target,
            layers=tuple(_layer(c, output_slopes.get(i), own) for i, c in enumerate(calls)),
            blocks=tuple(blocks[index][own].float() for index in sorted(blocks)),
            features={i: tensor.detach()[own].float() for i, tensor in features.items()},
            feature_gradients={i: slope[own].float() for i, slope in feature_slopes.items()},
            gradients=gradients,
        )
        for own, (picture, target) in enumerate(zip(prepared, targets, strict=True))
    ]


def _logits(model: LoadedModel, output: Tensor) -> Tensor:
    """(B, C) float32, checked; (B, 0) of a model without classes."""
    logits = output.detach().float() if model.card.classes else output.new_zeros(len(output), 0)
    if not bool(torch.isfinite(logits).all()):
        raise ModelError(
            f"{model.card.name} returned logits that are not finite; check its weights."
        )
    return logits


def _slopes(output: Tensor, targets: Sequence[int | None], of: Sequence[Tensor]) -> list[Tensor]:
    """∂logit/∂ each tensor. Pictures don't mix, so one backward pass of a sum serves them all."""
    aims = torch.stack([row[target] for row, target in zip(output, targets, strict=True)])
    found = torch.autograd.grad(aims.sum(), of, allow_unused=True)
    return [
        torch.zeros_like(tensor) if slope is None else slope
        for slope, tensor in zip(found, of, strict=True)
    ]


def _layer(call: AttentionCall, slope: Tensor | None, own: int) -> Layer:
    """One picture's share of a call over several."""
    bias = call.bias
    if bias is not None:
        bias = bias.detach().reshape((1,) * (4 - bias.ndim) + bias.shape)
        bias = bias[own if len(bias) > 1 else 0]
    return Layer(
        query=call.query.detach()[own].float(),
        key=call.key.detach()[own].float(),
        value=call.value.detach()[own].float(),
        output=call.output.detach()[own].float(),
        scale=call.scale,
        bias=bias,
        output_gradient=None if slope is None else slope[own].float(),
    )


@contextmanager
def _keeping(
    blocks: Sequence[nn.Module],
    first: int,
    since: int,
    outputs: dict[int, Tensor],
    features: dict[int, Tensor],
) -> Iterator[None]:
    """Keep the blocks' outputs, and `norm1` features from block `since`; record a graph from block
    `first` on.

    A graph that begins at a late block makes the backward pass as short as the view needs,
    without running anything twice.
    """

    def begin(_: nn.Module, args: tuple[Any, ...]) -> tuple[Any, ...]:
        torch.set_grad_enabled(True)
        return (args[0].detach().requires_grad_(True), *args[1:])

    def keep(store: dict[int, Tensor], index: int, detach: bool) -> Any:
        def hook(_: nn.Module, __: Any, output: Any) -> None:
            tensor = first_tensor(output)
            store[index] = tensor.detach() if detach else tensor

        return hook

    handles = []
    try:
        if first < len(blocks):
            handles.append(blocks[first].register_forward_pre_hook(begin))
        for index, block in enumerate(blocks):
            handles.append(block.register_forward_hook(keep(outputs, index, detach=True)))
            name = find_norm(block)
            if index >= since and name is not None:
                norm = block.get_submodule(name)
                handles.append(norm.register_forward_hook(keep(features, index, detach=False)))
        yield
    finally:
        for handle in handles:
            handle.remove()
