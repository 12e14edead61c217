"""One watched pass: every attention that a module computes, and the parts that ran around it."""

from __future__ import annotations

import math
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from vit_explorer.models.capture import capture
from vit_explorer.models.gradient_hooks import NoHandle
from vit_explorer.models.interception import evaluating
from vit_explorer.models.structure.anatomy import tensors_in
from vit_explorer.models.structure.attention_calls import (
    Foreign,
    Fused,
    Watch,
    answering,
    find_foreign,
)
from vit_explorer.sentences import Sentence

POOLINGS = (F.max_pool2d, torch.max_pool2d, F.avg_pool2d)

Run = Callable[[Tensor], Tensor]


@dataclass(eq=False)
class Call:
    """A part's call: when it began and ended, counted over all calls, and what it was given."""

    name: str
    module: nn.Module
    began: int
    given: Tensor | None = field(repr=False)
    version: int
    shape: tuple[int, ...]
    ended: int = 0
    result: tuple[int, ...] = ()


@dataclass(frozen=True, eq=False)
class Event:
    """One attention.

    `shape` is that of its probabilities as the module lays them out, `axes` those of queries and
    keys; `first` is the shape of the query or the softmax's output. `calls` are the parts at work,
    outermost first; `holder` is the innermost of them with parameters.
    """

    fused: bool
    shape: tuple[int, ...]
    axes: tuple[int, int]
    first: tuple[int, ...]
    causal: bool
    at: int
    calls: tuple[Call, ...] = field(repr=False)
    holder: Call = field(repr=False)

    @property
    def queries(self) -> int:
        return self.shape[self.axes[0]]

    @property
    def keys(self) -> int:
        return self.shape[self.axes[1]]

    @property
    def square(self) -> bool:
        return self.queries == self.keys

    @property
    def source(self) -> tuple[int, ...]:
        """Shape of what the layer that computed it was given."""
        given = (one.shape for one in reversed(self.calls) if len(one.shape) >= 3)
        parts = (one for one in reversed(self.calls) if len(one.shape) >= 3)
        own = next((one.shape for one in parts if _parameters(one.module)), ())
        return own or next(given, ())


@dataclass(frozen=True, eq=False)
class Convolution:
    """A convolution, pooling or unfolding before the first attention: what it was given and made,
    of which the last two axes are a grid."""

    call: Call | None
    stride: tuple[int, int]
    kernel: tuple[int, int]
    given: tuple[int, ...]
    made: tuple[int, ...]


@dataclass(eq=False)
class Seen:
    """What a pass showed, in order."""

    events: list[Event] = field(default_factory=list)
    calls: list[Call] = field(default_factory=list)
    convolutions: list[Convolution] = field(default_factory=list)
    cut: bool = False  # the module switched gradients off, or cut its graph
    hooks: bool = False  # it registered a hook on a tensor that needs no gradient here
    foreign: tuple[Foreign, ...] = ()
    output: Any = None


class _Observer(Watch):
    def __init__(self) -> None:
        super().__init__()
        self.seen = Seen()
        self.running: list[Call] = []
        self.holders: set[int] = set()
        self.clock = 0
        self._handlers[F.conv2d] = self._convolution
        self._handlers[torch.conv2d] = self._convolution
        self._handlers.update(dict.fromkeys(POOLINGS, self._pooling))
        self._handlers[F.unfold] = self._unfolding
        self._handlers[Tensor.register_hook] = self._hooked
        self._handlers[torch._C._set_grad_enabled] = self._switched
        self._handlers.update(dict.fromkeys((Tensor.detach, torch.detach), self._switched))

    def tick(self) -> int:
        self.clock += 1
        return self.clock

    def fused(self, call: Fused) -> Tensor:
        query, key = call.query, call.key
        shape = (*query.shape[:-1], key.shape[-2])
        axes = (query.ndim - 2, query.ndim - 1)
        self._keep(True, shape, axes, tuple(query.shape), call.causal)
        return call.run()

    def written(self, run: Run, scores: Tensor, axis: int) -> Tensor:
        output = run(scores)
        shape = tuple(output.shape)
        others = sorted((one for one in range(output.ndim) if one != axis), key=_near(axis))
        alike = (one for one in others if shape[one] == shape[axis])
        queries = next(alike, others[0])
        self._keep(False, shape, (queries, axis), shape, causal=False)
        return output

    def _keep(
        self,
        fused: bool,
        shape: tuple[int, ...],
        axes: tuple[int, int],
        first: tuple[int, ...],
        causal: bool,
    ) -> None:
        holder = next((c for c in reversed(self.running) if _parameters(c.module)), None)
        if holder is not None:
            event = Event(
                fused, shape, axes, first, causal, self.tick(), tuple(self.running), holder
            )
            self.seen.events.append(event)
            self.holders.add(id(holder))

    def _convolution(self, func: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Tensor:
        output = func(*args, **kwargs)
        weight = args[1] if len(args) > 1 else kwargs["weight"]
        stride = args[3] if len(args) > 3 else kwargs.get("stride", 1)
        self._grid(args[0], output.shape, stride, tuple(weight.shape[-2:]))
        return output

    def _pooling(self, func: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        output = func(*args, **kwargs)
        given = args[0] if args else kwargs["input"]
        kernel = args[1] if len(args) > 1 else kwargs["kernel_size"]
        stride = args[2] if len(args) > 2 else kwargs.get("stride")
        made = output[0] if isinstance(output, tuple) else output
        self._grid(given, made.shape, stride or kernel, kernel)
        return output

    def _unfolding(self, func: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Tensor:
        output: Tensor = func(*args, **kwargs)
        names = ("input", "kernel_size", "dilation", "padding", "stride")
        said = {"dilation": 1, "padding": 0, "stride": 1, **dict(zip(names, args, strict=False))}
        said.update(kwargs)
        sizes = zip(
            said["input"].shape[-2:],
            *(_both(said[name]) for name in names[1:]),
            strict=True,
        )
        grid = ((size + 2 * p - d * (k - 1) - 1) // s + 1 for size, k, d, p, s in sizes)
        self._grid(said["input"], (*output.shape[:2], *grid), said["stride"], said["kernel_size"])
        return output

    def _grid(self, given: Tensor, made: Sequence[int], stride: Any, kernel: Any) -> None:
        if self.seen.events or len(made) < 3:
            return
        self.seen.convolutions.append(
            Convolution(
                call=self.running[-1] if self.running else None,
                stride=_both(stride),
                kernel=_both(kernel),
                given=tuple(given.shape),
                made=tuple(made),
            )
        )

    def _switched(self, func: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        # Called from the module's own code: hooks of this file switch nothing.
        self.seen.cut |= not args or args[0] is not True
        return func(*args, **kwargs)

    def _hooked(self, func: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        if args[0].requires_grad:
            return func(*args, **kwargs)
        self.seen.hooks = True
        return NoHandle()


def _both(size: Any) -> tuple[int, int]:
    """A size that torch takes as one number or two, by axis."""
    return (size, size) if isinstance(size, int) else (size[0], size[-1])


def _near(axis: int) -> Callable[[int], int]:
    return lambda other: abs(other - axis)


def _parameters(module: nn.Module) -> bool:
    return next(module.parameters(), None) is not None


@torch.no_grad()
def look(module: nn.Module, pixels: Tensor) -> Seen:
    """Run a module once on a picture (1, C, H, W) and note what it does.

    It may be on the meta device, where that takes no memory. What its forward raises passes
    through.
    """
    observer = _Observer()
    seen = observer.seen
    seen.foreign = find_foreign(_files(module))
    lent = answering(observer, seen.foreign)
    with evaluating(module), _following(module, observer), lent, observer:
        seen.output = module(pixels)
    return seen


def _files(module: nn.Module) -> list[Any]:
    """The Python files that a module's classes are from, torch's own left out."""
    names = {type(child).__module__ for child in module.modules()}
    return [sys.modules[name] for name in sorted(names) if not name.startswith("torch.")]


@contextmanager
def _following(module: nn.Module, observer: _Observer) -> Iterator[None]:
    """Keep the parts at work, and all calls, in the observer."""
    names = {child: name for name, child in module.named_modules()}

    def enter(child: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        given = next(iter(tensors_in((args, kwargs))), None)
        shape = () if given is None else tuple(given.shape)
        version = 0 if given is None or given.is_inference() else given._version
        call = Call(names[child], child, observer.tick(), given, version, shape)
        observer.running.append(call)
        observer.seen.calls.append(call)

    def leave(_: nn.Module, __: Any, output: Any) -> None:
        call = observer.running.pop()
        call.ended = observer.tick()
        result = next(iter(tensors_in(output)), None)
        call.result = () if result is None else tuple(result.shape)
        # What attention read is held to the end, so that no later tensor takes its address.
        if id(call) not in observer.holders:
            call.given = None

    with capture() as hooks:
        for child in names:
            hooks.entering(child, enter)
            hooks.leaving(child, leave)
        yield


# --- why an attention can't be explored ---------------------------------------------------------

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
