"""Reading a model's attention while it runs as it is, fused attention included.

A `TorchFunctionMode` sees each call of `scaled_dot_product_attention` and keeps what goes in and
comes out; nothing is recomputed and no (N, N) matrix is made.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from vit_explorer.errors import UnsupportedModelError


@dataclass(frozen=True)
class AttentionCall:
    """One fused attention: query, key, value and output (B, h, N, d), the bias and the scale."""

    query: Tensor
    key: Tensor
    value: Tensor
    bias: Tensor | None
    scale: float
    output: Tensor
    causal: bool
    block: int | None  # the block that made the call, None outside of blocks


class _BlockMode(TorchFunctionMode):
    """Knows which block runs, None outside of blocks."""

    block: int | None = None


class _Recorder(_BlockMode):
    def __init__(self) -> None:
        super().__init__()
        self.calls: list[AttentionCall] = []

    def __torch_function__(
        self,
        func: Any,
        types: Any,
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> Any:
        kwargs = kwargs or {}
        output = func(*args, **kwargs)
        if func is F.scaled_dot_product_attention:
            self._keep(output, *args, **kwargs)
        return output

    def _keep(
        self,
        output: Tensor,
        query: Tensor,
        key: Tensor,
        value: Tensor,
        attn_mask: Tensor | None = None,
        dropout_p: float = 0.0,
        is_causal: bool = False,
        scale: float | None = None,
        enable_gqa: bool = False,
    ) -> None:
        scale = 1 / math.sqrt(query.shape[-1]) if scale is None else scale
        call = AttentionCall(query, key, value, attn_mask, scale, output, is_causal, self.block)
        self.calls.append(call)


@contextmanager
def recording(module: nn.Module, blocks: Sequence[nn.Module]) -> Iterator[list[AttentionCall]]:
    """Collect the fused attention calls of a forward pass, in order.

    Borrowed and given back on leaving, also after an error: evaluation mode, fused attention
    where it was off, and two hooks a block.
    """
    recorder = _Recorder()
    with ExitStack() as borrowed:
        borrowed.enter_context(evaluating(module))
        for index, block in enumerate(blocks):
            borrowed.callback(_mark(block, recorder, index))
        with recorder:
            yield recorder.calls


class _Switch(_BlockMode):
    def __init__(self, keys: Tensor | None, heads: Mapping[int, Tensor]) -> None:
        super().__init__()
        self.keys = keys
        self.heads = heads

    def __torch_function__(
        self,
        func: Any,
        types: Any,
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> Any:
        kwargs = kwargs or {}
        if func is F.scaled_dot_product_attention and self.block is not None:
            return self._attend(self.block, *args, **kwargs)
        return func(*args, **kwargs)

    def _attend(
        self,
        block: int,
        query: Tensor,
        key: Tensor,
        value: Tensor,
        attn_mask: Tensor | None = None,
        *rest: Any,
        **others: Any,
    ) -> Tensor:
        if self.keys is not None:
            allowed = self.keys[:, None, None]  # (B, 1, 1, N)
            if attn_mask is None:
                attn_mask = allowed
            elif attn_mask.dtype == torch.bool:
                attn_mask = attn_mask & allowed
            else:
                attn_mask = attn_mask.masked_fill(~allowed, -torch.inf)
        output = F.scaled_dot_product_attention(query, key, value, attn_mask, *rest, **others)
        if block in self.heads:
            output = output.masked_fill(~self.heads[block][:, :, None, None], 0.0)
        return output


@contextmanager
def switching(
    module: nn.Module,
    blocks: Sequence[nn.Module],
    *,
    keys: Tensor | None,
    heads: Mapping[int, Tensor],
) -> Iterator[None]:
    """Hide tokens from attention, and silence heads, in the forward passes made meanwhile.

    Borrowed and given back as by `recording`.

    Args:
        keys: (B, N), False for tokens that no query of any block sees; None hides none.
        heads: by block (B, h), False for heads whose attention output is set to 0.
    """
    switch = _Switch(keys, heads)
    with ExitStack() as borrowed:
        borrowed.enter_context(evaluating(module))
        for index, block in enumerate(blocks):
            borrowed.callback(_mark(block, switch, index))
        with switch:
            yield


def _mark(block: nn.Module, mode: _BlockMode, index: int) -> Any:
    """Tell the mode while `block` runs; returns what undoes it."""

    def enter(*_: Any) -> None:
        mode.block = index

    def leave(*_: Any) -> None:
        mode.block = None

    handles = block.register_forward_pre_hook(enter), block.register_forward_hook(leave)

    def undo() -> None:
        for handle in handles:
            handle.remove()

    return undo


@contextmanager
def evaluating(module: nn.Module) -> Iterator[None]:
    """Evaluation mode, and fused attention: timm's attention reads `fused_attn` at each call."""
    training, explicit = [], []
    for child in _descendants(module):
        if child.training:
            training.append(child)
        if vars(child).get("fused_attn") is False:
            explicit.append(child)
    try:
        for child in training:
            child.training = False
        for child in explicit:
            child.fused_attn = True  # type: ignore[assignment]
        yield
    finally:
        for child in training:
            child.training = True
        for child in explicit:
            child.fused_attn = False  # type: ignore[assignment]


@contextmanager
def frozen(module: nn.Module) -> Iterator[None]:
    """Switch off the gradients of all parameters, and on again for those that had them."""
    trained = [
        parameter
        for child in _descendants(module)
        for parameter in child._parameters.values()
        if parameter is not None and parameter.requires_grad
    ]
    try:
        for parameter in trained:
            parameter.requires_grad_(False)
        yield
    finally:
        for parameter in trained:
            parameter.requires_grad_(True)


def _descendants(module: nn.Module) -> Iterator[nn.Module]:
    """A module and all below it, as `modules()` but four times faster: shared ones come twice."""
    waiting: list[nn.Module | None] = [module]
    while waiting:
        child = waiting.pop()
        if child is not None:
            yield child
            waiting.extend(child._modules.values())


def accept(
    calls: Sequence[AttentionCall], depth: int, tokens: int, name: str, pictures: int = 1
) -> tuple[AttentionCall, ...]:
    """Return the one global self-attention of each block, or say why there is none.

    Raises:
        UnsupportedModelError: a block made no call or several, or one that is causal or has
            another number of queries or keys than the model has tokens.
    """

    def refuse(found: str) -> UnsupportedModelError:
        return UnsupportedModelError(
            f"{name} can't be explored: {found}, expected each block to call "
            f"scaled_dot_product_attention once over all {tokens} tokens; choose a plain ViT."
        )

    inside = [call for call in calls if call.block is not None]
    if not inside:
        raise refuse(
            "no fused attention call was seen in its blocks (nn.MultiheadAttention and a softmax "
            "written out can't be read)"
        )
    for index in range(depth):
        own = [call for call in inside if call.block == index]
        if len(own) != 1:
            raise refuse(f"block {index + 1} of {depth} made {len(own)} attention calls")
        query, key = own[0].query, own[0].key
        if query.ndim != 4 or query.shape[0] != pictures or query.shape[1] != key.shape[1]:
            shape = "×".join(map(str, query.shape))
            raise refuse(f"block {index + 1} attends within windows or groups ({shape} queries)")
        if query.shape[-2] != tokens or key.shape[-2] != tokens:
            raise refuse(
                f"block {index + 1} has {query.shape[-2]} queries and {key.shape[-2]} keys"
            )
        if own[0].causal:
            raise refuse(f"block {index + 1} is causal")
    return tuple(inside)


@torch.no_grad()
def attention_error(call: AttentionCall) -> float:
    """Largest |softmax(scale·q kᵀ + bias)·v - output|: rounding alone if a call is read right."""
    rebuilt = probabilities(call.query, call.key, call.scale, call.bias) @ call.value
    return float((rebuilt - call.output).abs().max())


def probabilities(query: Tensor, key: Tensor, scale: float, bias: Tensor | None) -> Tensor:
    """softmax(scale·q kᵀ + bias) over keys; a boolean bias says where attention is allowed."""
    scores = (query * scale) @ key.transpose(-2, -1)
    if bias is None:
        return scores.softmax(dim=-1)
    if bias.dtype == torch.bool:
        return scores.masked_fill(~bias, -torch.inf).softmax(dim=-1)
    return (scores + bias).softmax(dim=-1)
