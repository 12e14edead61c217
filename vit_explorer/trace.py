"""The one pass: everything later views and methods need, from one forward and one backward pass."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from numbers import Integral
from typing import Any, Literal

import torch
from torch import Tensor, nn

from vit_explorer.errors import ModelError, OptionError, TargetError, nearest
from vit_explorer.interception import AttentionCall, accept, frozen, probabilities, recording
from vit_explorer.models.card import ModelCard, first_tensor
from vit_explorer.models.zoo import LoadedModel
from vit_explorer.pictures import Prepared

Gradients = Literal["none", "last", "all"]
Target = int | str | None

# Attention is made for so many queries at a time that a chunk stays in cache.
CHUNK_BYTES = 16 * 2**20


@dataclass(frozen=True, eq=False)
class Layer:
    """What one block's attention read and wrote; h heads of width d over N tokens.

    `output_gradient` is ∂logit/∂output, None where the pass kept no gradients.
    """

    query: Tensor  # (h, N, d)
    key: Tensor  # (h, N, d)
    value: Tensor  # (h, N, d)
    output: Tensor  # (h, N, d)
    scale: float
    bias: Tensor | None = None  # (1 or h, N or 1, N), boolean or added to the scores
    output_gradient: Tensor | None = None  # (h, N, d)

    def attention(self, rows: slice | Sequence[int]) -> Tensor:
        """Probabilities (h, len(rows), N) of some queries; rows sum to 1."""
        bias = self.bias
        if bias is not None and bias.shape[-2] > 1:
            bias = bias[:, rows]
        return probabilities(self.query[:, rows], self.key, self.scale, bias)

    def attention_gradient(self, rows: slice | Sequence[int]) -> Tensor:
        """∂logit/∂attention (h, len(rows), N), from the output's gradient: dO vᵀ."""
        if self.output_gradient is None:
            raise OptionError(
                "This trace kept no gradients of this layer; trace with gradients='all'."
            )
        return self.output_gradient[:, rows] @ self.value.transpose(-2, -1)

    def chunks(self) -> Iterator[slice]:
        """Slices of the queries, so small that their attention is cheap to hold."""
        heads, tokens, _ = self.query.shape
        step = max(1, CHUNK_BYTES // (heads * tokens * self.query.element_size()))
        for start in range(0, tokens, step):
            yield slice(start, min(start + step, tokens))


@dataclass(frozen=True, eq=False)
class Trace:
    """One picture's way through a model: N tokens of width D, h heads of width d a layer.

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
        pools_patches = bool(self.card.classes) and self.card.pooling in ("mean", "attention")
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


def find_target(model: LoadedModel, target: Target) -> int | None:
    """Class index of an index or a label; None stays None (the top prediction).

    Raises:
        TargetError: no such class, a label that two classes share, or a model without classes.
    """
    if target is None:
        return None
    if isinstance(target, bool) or not isinstance(target, (str, Integral)):
        raise TargetError(
            f"The target was {target!r}, expected a class label or a whole number as its index."
        )
    classes = model.card.classes
    if classes == 0:
        raise TargetError(
            f"{model.card.name} has no classifier, so no class can be its target; leave the "
            "target out, or load weights with a head."
        )
    if isinstance(target, str):
        indices = _named(model.labels, target)
        if len(indices) > 1:
            raise TargetError(
                f"The label {target!r} names {len(indices)} classes of {model.card.name}; give the "
                f"index, one of {', '.join(map(str, indices))}."
            )
        number = re.fullmatch(r"-?[0-9]+", target)
        if not indices and not number:
            near = _near(target, model.labels)
            raise TargetError(
                f"{model.card.name} has no class {target!r}{near}; give one of its labels or an "
                f"index from 0 to {classes - 1}."
            )
        target = indices[0] if indices else int(target)
    if not 0 <= int(target) < classes:
        raise TargetError(
            f"{model.card.name} has no class {target}; give a label or an index from 0 to "
            f"{classes - 1}."
        )
    return int(target)


def _near(name: str, labels: Sequence[str]) -> str:
    """Labels that hold the name as a word, else those spelled like it."""
    word = re.compile(rf"\b{re.escape(name)}\b", re.IGNORECASE)
    holding = [label for label in labels if word.search(label)][:3]
    if holding:
        return f", did you mean {' or '.join(map(repr, holding))}?"
    return nearest(name, [part for label in labels for part in (label, *label.split(", "))])


def _named(labels: Sequence[str], name: str) -> list[int]:
    """Classes of a label: the exact one, else by any of its synonyms ("tabby, tabby cat")."""
    exact = [index for index, label in enumerate(labels) if label == name]
    if exact:
        return exact
    folded = name.casefold()
    return [
        index
        for index, label in enumerate(labels)
        if folded in (label.casefold(), *label.casefold().split(", "))
    ]


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
    if not isinstance(model, LoadedModel):
        raise OptionError(
            f"trace received {type(model).__name__} as its model; load it first with load_model."
        )
    index = find_target(model, target)
    if gradients not in ("none", "last", "all"):
        raise OptionError(f"The gradients were {gradients!r}, expected 'none', 'last' or 'all'.")
    if gradients != "none" and model.card.classes == 0:
        raise TargetError(
            f"{model.card.name} has no classifier, so there is no logit to differentiate; choose "
            "methods that need no class, or load weights with a head."
        )
    prepared = model.prepare(picture)
    with model.lock:
        try:
            return _run(model, prepared, index, gradients)
        except torch.cuda.OutOfMemoryError:
            raise ModelError(
                f"{model.card.name} ran out of GPU memory; use a smaller image_size, or the cpu."
            ) from None


def _run(model: LoadedModel, prepared: Prepared, target: int | None, gradients: Gradients) -> Trace:
    first = {"none": len(model.blocks), "last": len(model.blocks) - 1, "all": 0}[gradients]
    parameter = next(model.module.parameters())
    blocks: dict[int, Tensor] = {}
    features: dict[int, Tensor] = {}
    with ExitStack() as borrowed:
        borrowed.enter_context(torch.inference_mode(False))
        borrowed.enter_context(torch.no_grad())
        # A tensor made in inference mode can't be differentiated; a copy made here can.
        pixels = prepared.pixels.clone().to(parameter.device, parameter.dtype)
        borrowed.enter_context(frozen(model.module))
        calls = borrowed.enter_context(recording(model.module, model.blocks))
        borrowed.enter_context(_keeping(model.blocks, first, blocks, features))
        output = first_tensor(model.module(pixels))
        accepted = accept(calls, len(model.blocks), model.card.tokens, model.card.name)
        logits = output[0].detach() if model.card.classes else output.new_zeros(0)
        if not bool(torch.isfinite(logits).all()):
            raise ModelError(
                f"{model.card.name} returned logits that are not finite; check its weights."
            )
        if model.card.classes and target is None:
            target = int(logits.argmax())
        kept = [call.output for call in accepted[first:]]
        sloped = [index for index in features if index >= first]
        wanted = [*kept, *(features[index] for index in sloped)]
        found: Sequence[Tensor | None] = ()
        if gradients != "none":
            found = torch.autograd.grad(output[0, target], wanted, allow_unused=True)
    slopes = [
        torch.zeros_like(of) if slope is None else slope
        for slope, of in zip(found, wanted, strict=True)
    ]
    output_gradients: list[Tensor | None] = [None] * first + list(slopes[: len(kept)])
    feature_gradients = slopes[len(kept) :]
    return Trace(
        model=model,
        prepared=prepared,
        logits=logits,
        target=target,
        layers=tuple(map(_layer, accepted, output_gradients)),
        blocks=tuple(blocks[index][0] for index in sorted(blocks)),
        features={index: tensor.detach()[0] for index, tensor in features.items()},
        feature_gradients={
            index: slope[0] for index, slope in zip(sloped, feature_gradients, strict=True)
        },
        gradients=gradients,
    )


def _layer(call: AttentionCall, output_gradient: Tensor | None) -> Layer:
    bias = None if call.bias is None else call.bias.detach()
    if bias is not None:
        bias = bias.reshape(-1, *bias.shape[-2:])
    return Layer(
        query=call.query.detach()[0],
        key=call.key.detach()[0],
        value=call.value.detach()[0],
        output=call.output.detach()[0],
        scale=call.scale,
        bias=bias,
        output_gradient=None if output_gradient is None else output_gradient[0],
    )


@contextmanager
def _keeping(
    blocks: Sequence[nn.Module],
    first: int,
    outputs: dict[int, Tensor],
    features: dict[int, Tensor],
) -> Iterator[None]:
    """Keep the blocks' outputs and their `norm1` features; record a graph from block `first` on.

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
            norm = getattr(block, "norm1", None)
            if index >= min(first, len(blocks) - 1) and isinstance(norm, nn.Module):
                handles.append(norm.register_forward_hook(keep(features, index, detach=False)))
        yield
    finally:
        for handle in handles:
            handle.remove()
