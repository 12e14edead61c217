"""One watched pass: every attention that a module computes, and the parts that ran around it."""

from __future__ import annotations

import weakref
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from vit_explorer.models.capture import following
from vit_explorer.models.gradient_hooks import NoHandle
from vit_explorer.models.interception import evaluating
from vit_explorer.models.structure.anatomy import tensors_in
from vit_explorer.models.structure.attention_calls import QUOTIENTS, Fused, Watch
from vit_explorer.models.structure.foreign_calls import Foreign, answering, find_foreign

PRODUCTS = (
    torch.matmul, torch.bmm, torch.mm, torch.baddbmm, torch.einsum,
    Tensor.matmul, Tensor.__matmul__, Tensor.bmm, Tensor.mm,
)  # fmt: skip
_SWITCHES = (torch._C._set_grad_enabled, Tensor.detach, torch.detach)
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
    by_hand: bool = False  # no call of a softmax makes its attention
    hooks: bool = False  # it registered a hook on a tensor that needs no gradient here
    foreign: tuple[Foreign, ...] = ()
    output: Any = None

    def release(self) -> None:
        """Let go of what attention read, once the blocks are told by it."""
        for call in self.calls:
            call.given = None


class _Observer(Watch):
    def __init__(self) -> None:
        super().__init__()
        self.seen = Seen()
        self.running: list[Call] = []
        self.holders: set[int] = set()
        self.by_hand: list[Event] = []
        # What linear layers made of each token by itself, by its id while it lives.
        self.mapped: dict[int, weakref.ref[Tensor]] = {}
        self.clock = 0
        own: dict[Any, str] = {
            **dict.fromkeys((F.conv2d, torch.conv2d), "_convolution"),
            **dict.fromkeys(POOLINGS, "_pooling"),
            **dict.fromkeys(QUOTIENTS, "_quotient"),
            F.unfold: "_unfolding",
            Tensor.register_hook: "_hooked",
            **dict.fromkeys(_SWITCHES, "_switched"),
        }
        self._handlers.update(own)

    def called(self, func: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        output = super().called(func, args, kwargs)
        if isinstance(output, Tensor) and self._maps(func, args):
            self.mapped[id(output)] = weakref.ref(output)
        return output

    def _maps(self, func: Any, args: tuple[Any, ...]) -> bool:
        """Whether a call gives what a layer made of each token, or that changed by itself."""
        given = tensors_in(args)
        if func in PRODUCTS:
            return any(isinstance(one, nn.Parameter) for one in given)
        return func is F.linear or any(self._is_mapped(one) for one in given)

    def _is_mapped(self, tensor: Tensor) -> bool:
        known = self.mapped.get(id(tensor))
        return known is not None and known() is tensor

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
        # A gate (B, N, experts) is the softmax of what a linear layer made of each token by itself.
        if len(shape) == 3 and shape[queries] != shape[axis] and self._is_mapped(scores):
            return output
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

    def _quotient(self, func: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        events, self.seen.events = self.seen.events, self.by_hand
        try:
            return super()._quotient(func, args, kwargs)
        finally:
            self.seen.events = events

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
    lent = answering(observer, find_foreign({type(child).__module__ for child in module.modules()}))
    with evaluating(module), _following(module, observer), lent as answered, observer:
        seen.output = module(pixels)
    seen.foreign = tuple(answered)
    if not seen.events and observer.by_hand:
        seen.events, seen.by_hand = observer.by_hand, True
    return seen


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

    with following(module, enter, leave):
        yield
