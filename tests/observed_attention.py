"""Every attention that a module computes, told apart from what decides on acceptance: the sweep's
other witness."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from vit_explorer.models.capture import Functions, following
from vit_explorer.models.card import Pair
from vit_explorer.models.interception import evaluating

SOFTMAXES = (F.softmax, torch.softmax, Tensor.softmax)


# A class token or registers may join the patches between two blocks.
LATE_TOKENS = 8


@dataclass(frozen=True)
class Seen:
    """One attention: fused, multihead (nn.MultiheadAttention) or softmax (written out).

    `shape` is that of its probabilities (…, queries, keys), `source` that of the input of the layer
    that computed it, `block` the name of the network's block that it belongs to: the part of the
    outermost list of modules around it, "" outside of lists.
    """

    kind: str
    shape: tuple[int, ...]
    source: tuple[int, ...]
    block: str

    @property
    def queries(self) -> int:
        return self.shape[-2]

    @property
    def keys(self) -> int:
        return self.shape[-1]

    @property
    def tokens(self) -> int:
        """Positions in the layer's input: (B, N, C), (B, H, W, C) or (B, C, H, W)."""
        first = len(self.source) == 4 and self.queries == math.prod(self.source[2:])
        return math.prod(self.source[2:] if first else self.source[1:-1])


class _Observer(Functions):
    def __init__(self, module: nn.Module) -> None:
        super().__init__()
        self.seen: list[Seen] = []
        self.running: list[tuple[nn.Module, tuple[int, ...]]] = []
        self.blocks = dict(_blocks(module))

    def called(self, func: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        output = func(*args, **kwargs)
        if func is F.scaled_dot_product_attention:
            key = args[1] if len(args) > 1 else kwargs["key"]
            self._keep("fused", (*output.shape[:-1], key.shape[-2]))
        elif func is F.multi_head_attention_forward:
            self._keep("multihead", (1, args[0].shape[0], args[1].shape[0]))
        elif func in SOFTMAXES and output.ndim >= 3:
            axis = kwargs.get("dim", args[1] if len(args) > 1 else None)
            if axis in (-1, output.ndim - 1):
                self._keep("softmax", tuple(output.shape))
        return output

    def _keep(self, kind: str, shape: tuple[int, ...]) -> None:
        source = next(
            source
            for module, source in reversed(self.running)
            if len(source) >= 3 and next(module.parameters(), None) is not None
        )
        names = (self.blocks.get(module) for module, _ in self.running)
        self.seen.append(Seen(kind, shape, source, next(filter(None, names), "")))


def _blocks(module: nn.Module) -> Iterator[tuple[nn.Module, str]]:
    """The parts of each outermost list of modules, and their names."""
    outermost: list[str] = []
    for name, child in module.named_modules():
        if not name or any(name.startswith(f"{outer}.") for outer in outermost):
            continue
        if isinstance(child, (nn.ModuleList, nn.Sequential)):
            outermost.append(name)
            for key, part in child.named_children():
                yield part, f"{name}.{key}"


def observe(module: nn.Module, image_size: Pair, channels: int = 3) -> list[Seen]:
    """Run a module on a black picture and note its attention between tokens, pooling left out.

    The module may be on the meta device, where that takes no memory.
    """
    observer = _Observer(module)
    parameter = next(module.parameters())
    pixels = torch.zeros(1, channels, *image_size, device=parameter.device, dtype=parameter.dtype)
    with torch.no_grad(), evaluating(module), _following(module, observer.running), observer:
        module(pixels)
    return [one for one in observer.seen if one.queries > 1]


@contextmanager
def _following(
    module: nn.Module, running: list[tuple[nn.Module, tuple[int, ...]]]
) -> Iterator[None]:
    """Keep in `running` the modules at work, outermost first, with their inputs' shapes."""

    def enter(child: nn.Module, args: tuple[Any, ...], _: Any) -> None:
        first = args[0] if args else None
        running.append((child, tuple(first.shape) if isinstance(first, Tensor) else ()))

    def leave(*_: Any) -> None:
        running.pop()

    with following(module, enter, leave):
        yield


def uses_global_attention(module: nn.Module, seen: Sequence[Seen]) -> bool:
    """Whether each block of a module makes one attention, from all its tokens to all of them."""
    whole = all(one.source[0] == 1 and one.queries == one.keys == one.tokens for one in seen)
    return bool(seen) and whole and _even(module, seen)


def _even(module: nn.Module, seen: Sequence[Seen]) -> bool:
    """Whether each block makes one attention, of the same length but for late tokens."""
    counts = [one.queries for one in seen]
    made = Counter(one.block for one in seen)
    lists = {name.rpartition(".")[0] for name in made}
    beside = {name for _, name in _blocks(module) if name.rpartition(".")[0] in lists}
    one_each = made.keys() == beside and set(made.values()) == {1}
    return max(counts) - min(counts) <= LATE_TOKENS and bool(beside) and one_each
