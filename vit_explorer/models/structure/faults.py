"""What keeps an attention that was seen from being explored, in words."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

from vit_explorer.models.interception import evaluating
from vit_explorer.models.structure.seen import Event, Seen
from vit_explorer.sentences import Sentence

# A class token or registers may join the patches between two blocks.
LATE_TOKENS = 8


def _windowed(event: Event) -> bool:
    """Whether it reads parts of the picture one by one, along a dimension of their own."""
    own = len(event.shape) > 4 or (len(event.shape) == 4 and _pictures(event) > 1)
    return bool(event.source) and (event.source[0] > 1 or own)


def _pictures(event: Event) -> int:
    return event.shape[0] if 0 not in event.axes else 1


def _tokens(event: Event) -> int:
    """Positions in the layer's input: (B, N, C), (B, H, W, C) or (B, C, H, W)."""
    source = event.source
    first = len(source) == 4 and event.queries == math.prod(source[2:])
    return math.prod(source[2:] if first else source[1:-1]) if source else event.queries


def _over_channels(event: Event) -> bool:
    """Whether channels attend to each other rather than tokens."""
    source = event.source
    if not source or not event.square or event.queries == _tokens(event):
        return False
    rows = math.prod(event.shape) // event.keys
    return rows in (source[-1], source[1])


_FAULTS: tuple[tuple[Callable[[Event], bool], Callable[[Event], Sentence]], ...] = (
    (
        _windowed,
        lambda one: Sentence(
            "reason.windows",
            "it attends within windows or groups ({count} tokens at a time)",
            count=one.queries,
        ),
    ),
    (
        _over_channels,
        lambda one: Sentence(
            "reason.channels",
            "it attends over {count} channels a head, not over tokens",
            count=one.queries,
        ),
    ),
    (
        lambda one: not one.square,
        lambda one: Sentence(
            "reason.others",
            "it attends from {queries} tokens to {keys} others, not to themselves",
            queries=one.queries,
            keys=one.keys,
        ),
    ),
    (
        lambda one: one.causal,
        lambda _: Sentence(
            "reason.causal", "its attention is causal: a token sees only those before it"
        ),
    ),
)


def why_not(seen: Seen) -> str:
    """What keeps a module's attention from being explored, "" where nothing seen does."""
    events = [one for one in seen.events if one.queries > 1]
    if not events:
        return Sentence(
            "reason.none",
            "it has no softmax attention between patches (it mixes them in another way)",
        )
    for applies, words in _FAULTS:
        for event in filter(applies, events):
            return words(event)
    counts = sorted({one.queries for one in events}, reverse=True)
    if counts[0] - counts[-1] > LATE_TOKENS:
        stages = ", ".join(map(str, counts))
        return Sentence(
            "reason.uneven",
            "its stages attend over different numbers of tokens ({counts})",
            counts=stages,
        )
    pooled = next((one for one in events if one.queries != _tokens(one) and one.source), None)
    if pooled is not None and len(pooled.source) == 4:
        return Sentence(
            "reason.pooled",
            "it attends over {count} tokens, pooled from those of its blocks",
            count=pooled.queries,
        )
    return ""


class _Beneath(TorchDispatchMode):
    """Sees what torch computes, whoever called it: whether attention was among it."""

    supports_higher_order_operators = True  # as flex attention is one

    def __init__(self) -> None:
        super().__init__()
        self.attention = False

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        output = func(*args, **(kwargs or {}))
        name = getattr(func, "overloadpacket", func).__name__
        shape = output.shape if isinstance(output, Tensor) else ()
        if "scaled_dot_product" in name or name == "flex_attention":
            self.attention |= args[0].shape[-2] == args[1].shape[-2] > 1
        elif name in ("_softmax", "softmax"):
            self.attention |= len(shape) > 2 and shape[args[1]] > 1 and shape[-1] == shape[-2]
        return output


@torch.no_grad()
def hidden(module: nn.Module, pixels: Tensor) -> str:
    """What to say of attention that no watch saw, in another pass: "" where there is none."""
    beneath = _Beneath()
    with evaluating(module), beneath:
        module(pixels)
    if not beneath.attention:
        return ""
    return Sentence(
        "reason.hidden",
        "its attention is computed where it can't be seen, as in a scripted function or one of "
        "torch's own inner calls",
    )
