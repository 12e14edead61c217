"""One layer's attention: what went in and came out, and the probabilities made of it when asked."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, fields

import torch
import torch.nn.functional as F
from torch import Tensor

from vit_explorer.errors import OptionError
from vit_explorer.models.interception import AttentionCall
from vit_explorer.models.loaded import LoadedModel
from vit_explorer.models.structure.anatomy import Anatomy
from vit_explorer.models.structure.attention_calls import probabilities

Rows = slice | Sequence[int] | Tensor

# Attention is made for so many queries at a time that a chunk stays in cache.
CHUNK_BYTES = 4 * 2**20


@dataclass(frozen=True, eq=False)
class Layer:
    """What one block's attention read and wrote, float32; h heads of width d over N tokens.

    A fused call has `query`, `key`, `value` and `output`; a softmax written out has `weights`, as
    has a fused call that was computed explicitly. `output_gradient` is ∂logit/∂output, and
    `weights_gradient` ∂logit/∂weights, None where the pass kept no gradients.
    """

    query: Tensor | None  # (h, N, d)
    key: Tensor | None  # (h, N, d)
    value: Tensor | None  # (h, N, d)
    output: Tensor | None  # (h, N, d)
    scale: float
    bias: Tensor | None = None  # (1 or h, N or 1, N), boolean or added to the scores
    output_gradient: Tensor | None = None  # (h, N, d)
    weights: Tensor | None = None  # (h, N, N)
    weights_gradient: Tensor | None = None  # (h, N, N)

    @property
    def shape(self) -> tuple[int, int]:
        """Heads and tokens."""
        tensor = self.weights if self.query is None else self.query
        assert tensor is not None  # noqa: S101 - a layer has one of them
        return tensor.shape[0], tensor.shape[1]

    @property
    def tensors(self) -> Iterator[Tensor]:
        """All that is held."""
        own = (getattr(self, one.name) for one in fields(self))
        return (one for one in own if isinstance(one, Tensor))

    def attention(self, rows: Rows) -> Tensor:
        """Probabilities (h, len(rows), N) of some queries; rows sum to 1."""
        if self.weights is not None:
            return self.weights[:, rows]
        assert self.query is not None and self.key is not None  # noqa: S101, PT018
        bias = self.bias
        if bias is not None and bias.shape[-2] > 1:
            bias = bias[:, rows]
        return probabilities(self.query[:, rows], self.key, self.scale, bias)

    def attention_gradient(self, rows: Rows) -> Tensor:
        """∂logit/∂attention (h, len(rows), N); of a fused call dO vᵀ."""
        if self.weights_gradient is not None:
            return self.weights_gradient[:, rows]
        if self.output_gradient is None or self.value is None:
            raise OptionError(
                "error.trace.gradients",
                "This trace kept no gradients of this layer; trace with gradients='all'.",
            )
        return self.output_gradient[:, rows] @ self.value.transpose(-2, -1)

    def chunks(self, weights: Tensor | None = None) -> Iterator[slice | Tensor]:
        """The queries, so few at a time that their attention is cheap to hold.

        With `weights` (N,), only the queries whose weight is not 0.
        """
        heads, tokens = self.shape
        step = max(1, CHUNK_BYTES // (heads * tokens * 4))
        rows = None if weights is None else weights.nonzero().flatten()
        if rows is not None and len(rows) < tokens:
            yield from rows.split(step)
            return
        for start in range(0, tokens, step):
            yield slice(start, min(start + step, tokens))


def arranged_layers(
    anatomy: Anatomy, calls: Sequence[AttentionCall], slopes: Sequence[Tensor] | None, pictures: int
) -> list[Layer]:
    """A block's attention over several pictures as one layer each, tokens in the one order.

    `slopes` are ∂logit/∂ the calls' anchors. Several calls of a block hold its heads in turn.
    """
    place = None if anatomy.places is None else anatomy.place

    def ordered(tensor: Tensor | None, *axes: int) -> Tensor | None:
        if tensor is None or place is None:
            return tensor
        for axis in axes:
            if tensor.shape[axis] > 1:
                tensor = tensor.index_select(axis, place.to(tensor.device))
        return tensor

    def of(name: str, *axes: int) -> Tensor | None:
        parts = [getattr(call, name) for call in calls]
        if parts[0] is None:
            return None
        whole = parts[0] if len(parts) == 1 else torch.cat(parts, dim=1)
        return ordered(whole.detach(), *axes)

    slope = None
    if slopes is not None:
        arranged = [
            call.layout.arrange(one, pictures) for call, one in zip(calls, slopes, strict=True)
        ]
        slope = arranged[0] if len(arranged) == 1 else torch.cat(arranged, dim=1)
    fused = calls[0].fused
    slope = ordered(slope, *((-2,) if fused else (-2, -1)))
    whole = {name: of(name, -2) for name in ("query", "key", "value", "output")}
    whole |= {"bias": of("bias", -2, -1), "weights": of("weights", -2, -1)}
    whole |= {"output_gradient": slope if fused else None}
    whole |= {"weights_gradient": None if fused else slope}
    return [
        Layer(
            scale=calls[0].scale,
            **{name: _share(tensor, own, name) for name, tensor in whole.items()},
        )
        for own in range(pictures)
    ]


def _share(tensor: Tensor | None, own: int, name: str) -> Tensor | None:
    """One picture's part; a bias may serve all pictures and stays boolean where it is."""
    if tensor is None:
        return None
    part = tensor[own if len(tensor) > 1 else 0]
    return part if name == "bias" else part.float()


# Attention of more bytes a layer is not kept whole.
_EXPLICIT_BYTES = 4 * 2**20
_measured: dict[tuple[object, ...], bool] = {}


@torch.no_grad()
def explicit_is_cheaper(model: LoadedModel, pictures: int) -> bool:
    """Whether to compute fused attention as a softmax and a product, and keep the softmax.

    That saves making attention again for a map. Where it costs less than both the fused call and
    the attention made of its queries and keys is measured, once for each shape and thread count.
    """
    card = model.card
    size = card.heads * card.tokens**2 * 4
    if card.attends != "fused" or card.precision != "float32" or size > _EXPLICIT_BYTES:
        return False
    if model.device.type != "cpu":
        return False
    shape = (pictures, card.heads, card.tokens, card.head_width)
    key = (*shape, torch.get_num_threads())
    if key not in _measured:
        _measured[key] = _race(shape)
    return _measured[key]


def _race(shape: tuple[int, int, int, int]) -> bool:
    query, key, value = torch.rand(3, *shape).unbind(0)
    scale = shape[-1] ** -0.5

    def seconds(work: Callable[[], object]) -> float:
        times = []
        for _ in range(4):
            start = time.perf_counter()
            work()
            times.append(time.perf_counter() - start)
        return min(times)

    fused = seconds(lambda: F.scaled_dot_product_attention(query, key, value))
    again = seconds(lambda: probabilities(query[:1], key[:1], scale, None))
    explicit = seconds(lambda: probabilities(query, key, scale, None) @ value)
    return explicit <= fused + again
