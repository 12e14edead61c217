"""Reading a model's attention while it runs as it is.

A `TorchFunctionMode` sees the few calls that compute attention: the fused one, torch's own
multi-head attention, and a softmax over tokens. What goes in and comes out of the fused call is
kept, and no (N, N) matrix is made; a softmax that a module writes out is its attention.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, fields, replace
from typing import Any

import torch
from torch import Tensor, nn

from vit_explorer.models.capture import Hooks, capture
from vit_explorer.models.compiled import uncompiled
from vit_explorer.models.gradient_hooks import unhooked
from vit_explorer.models.structure.anatomy import PLAIN, Anatomy, Block, Layout, replaced, tokens_in
from vit_explorer.models.structure.attention_calls import Fused, Watch, probabilities
from vit_explorer.models.structure.foreign_calls import answering

# transformers' names of the ways of attending that are seen as they are.
_READABLE = ("sdpa", "eager")

BlockOutput = Callable[[int, Tensor], Tensor]


@dataclass(frozen=True)
class AttentionCall:
    """One attention of a block, arranged as (B, h, …, …), in the order of the model's tokens.

    A fused call has query, key, value and output (B, h, N, d), the bias and the scale; a softmax
    written out has `weights` (B, h, N, N), as has a fused call that was computed explicitly.
    `anchor` is the tensor in the graph by which the logit is differentiated: the fused call's
    output, or the softmax's.
    """

    block: int
    anchor: Tensor
    layout: Layout
    query: Tensor | None = None
    key: Tensor | None = None
    value: Tensor | None = None
    output: Tensor | None = None
    bias: Tensor | None = None
    scale: float = 1.0
    weights: Tensor | None = None

    @property
    def fused(self) -> bool:
        return self.query is not None

    @property
    def heads(self) -> int:
        """How many of the block's heads it holds."""
        return int(_any(self).shape[1])

    @property
    def tokens(self) -> int:
        """How many tokens attend."""
        return int(_any(self).shape[-2])

    def shapes(self) -> AttentionCall:
        """The same with tensors on the meta device, which hold no numbers."""
        own = ((one.name, getattr(self, one.name)) for one in fields(self))
        tensors = ((name, one) for name, one in own if isinstance(one, Tensor))
        changed: dict[str, Any] = {n: torch.empty_like(one, device="meta") for n, one in tensors}
        return replace(self, **changed)


class BlockWatch(Watch):
    """Knows which block's attention runs, None outside of them."""

    def __init__(self, anatomy: Anatomy, pictures: int) -> None:
        super().__init__()
        self.anatomy, self.pictures = anatomy, pictures
        self.block: int | None = None
        self.stays = False  # entered by a block's last part, for the next attention to end
        self.on_output: BlockOutput | None = None
        if anatomy.by_hand:
            self.read_quotients()

    def attends(self, tensor: Tensor, axis: int) -> bool:
        """Whether a softmax over this axis is the attention of a block."""
        layout, tokens = self.anatomy.layout, self.anatomy.tokens
        return (
            self.block is not None
            and not self.anatomy.fused
            and tensor.ndim > max(layout.first, layout.second)
            and axis == layout.second
            and tensor.shape[layout.first] == tensor.shape[layout.second] == tokens
        )


class Recorder(BlockWatch):
    """Keeps each attention of a block as an `AttentionCall`, in order."""

    def __init__(
        self, anatomy: Anatomy, pictures: int, *, explicit: bool = False, shapes_alone: bool = False
    ) -> None:
        super().__init__(anatomy, pictures)
        self.explicit, self.shapes_alone = explicit, shapes_alone
        self.calls: list[AttentionCall] = []

    def fused(self, call: Fused) -> Tensor:
        if self.block is None:
            return call.run()
        explicit = self.explicit and call.plain
        weights = probabilities(call.query, call.key, call.scale, call.mask) if explicit else None
        output = call.run() if weights is None else weights @ call.value
        arrange = self._arrange
        self._keep(
            AttentionCall(
                block=self.block,
                anchor=output,
                layout=self.anatomy.layout,
                query=arrange(call.query),
                key=arrange(call.key),
                value=arrange(call.value),
                output=arrange(output),
                bias=_bias(call.mask, self.anatomy.layout, self.pictures),
                scale=call.scale,
                weights=None if weights is None else arrange(weights),
            )
        )
        return output

    def written(self, run: Callable[[Tensor], Tensor], scores: Tensor, axis: int) -> Tensor:
        output = run(scores)
        if self.block is not None and self.attends(output, axis):
            layout = self.anatomy.layout
            weights = layout.arrange(output, self.pictures)
            self._keep(AttentionCall(self.block, output, layout, weights=weights))
        return output

    def _keep(self, call: AttentionCall) -> None:
        self.calls.append(call.shapes() if self.shapes_alone else call)

    def _arrange(self, tensor: Tensor) -> Tensor:
        layout = self.anatomy.layout
        return layout.arrange(tensor, self.pictures) if layout != PLAIN else tensor


def _bias(mask: Tensor | None, layout: Layout, pictures: int) -> Tensor | None:
    """A fused call's mask as (1 or B, 1 or h, …, …)."""
    if mask is None:
        return None
    if mask.ndim == 3 and layout.merged is not None and len(mask) > 1:
        return layout.arrange(mask, pictures)
    return mask.reshape((1,) * (4 - mask.ndim) + mask.shape)


@contextmanager
def recording(
    module: nn.Module,
    anatomy: Anatomy,
    *,
    pictures: int = 1,
    explicit: bool = False,
    shapes_alone: bool = False,
    on_output: BlockOutput | None = None,
) -> Iterator[list[AttentionCall]]:
    """Collect the attention calls of a forward pass over so many pictures, in order.

    `explicit` computes fused calls as a softmax and a product, and keeps the softmax;
    `shapes_alone` keeps no numbers, which over many tokens are most of the memory. `on_output`
    gets each block's index and output as the network has it, and gives what takes its place.

    Borrowed and given back on leaving, also after an error: evaluation mode, fused attention
    where it was off, and hooks on the blocks.
    """
    recorder = Recorder(anatomy, pictures, explicit=explicit, shapes_alone=shapes_alone)
    with watching(module, recorder, on_output):
        yield recorder.calls


@contextmanager
def watching(
    module: nn.Module,
    watch: BlockWatch,
    on_output: BlockOutput | None = None,
    *,
    whole: bool = False,
) -> Iterator[None]:
    """A forward pass under a watch, which costs each call of torch a little: while attention is
    computed, and from a list's last part to the next attention, where its sum is made. All of the
    pass where it must be seen that the network cuts a graph, or where `whole` asks for it.
    """
    anatomy = watch.anatomy
    whole = whole or anatomy.cut
    watch.on_output = on_output
    with ExitStack() as borrowed:
        borrowed.enter_context(evaluating(module))
        borrowed.enter_context(answering(watch, anatomy.foreign))
        if anatomy.cut:
            watch.keep_gradients()
        if whole:
            borrowed.enter_context(watch)
        else:
            borrowed.callback(watch.leave)
        hooks = borrowed.enter_context(capture())
        for index, block in enumerate(anatomy.blocks):
            for owner in block.owners:
                _mark(hooks, owner, watch, index, enter=not whole)
            if on_output is not None:
                _end(hooks, block, watch, index, on_output, enter=not whole)
        yield


def _mark(hooks: Hooks, owner: nn.Module, watch: BlockWatch, index: int, *, enter: bool) -> None:
    """Tell the watch while a block's attention runs."""

    def begin(*_: Any) -> None:
        watch.block = index
        if enter and not watch.stays:
            watch.enter()
        watch.stays = False

    def end(*_: Any) -> None:
        if enter:
            watch.leave()
        watch.block = None

    hooks.entering(owner, begin)
    hooks.leaving(owner, end)


def _end(
    hooks: Hooks, block: Block, watch: BlockWatch, index: int, told: BlockOutput, *, enter: bool
) -> None:
    """Tell of a block's output, which its last part's is only where the block is a module."""
    anatomy = watch.anatomy

    def tell(made: Tensor) -> Tensor:
        # What is kept of it is a copy where the next block would change it.
        kept = made.clone() if anatomy.in_place else made
        changed = told(index, kept)
        return made if changed is kept else changed

    def leave(_: nn.Module, __: Any, output: Any) -> Any:
        found = tokens_in(output, anatomy.tokens)
        if found is None:
            return None
        if not block.whole:
            if enter and not watch.stays:
                watch.enter()
                watch.stays = True
            watch.await_result(found.shape, anatomy.steps, tell)
            return None
        changed = tell(found)
        return None if changed is found else replaced(output, found, lambda _: changed)

    hooks.leaving(block.last, leave)


@contextmanager
def evaluating(module: nn.Module) -> Iterator[None]:
    """Evaluation mode, and attention that can be read: timm's attention reads `fused_attn` at each
    call, transformers' the name of its way of attending."""
    changes = list(_changes(module))
    try:
        for holder, name, value, _ in changes:
            setattr(holder, name, value)
        with uncompiled(), unhooked(module):
            yield
    finally:
        for holder, name, _, before in changes:
            setattr(holder, name, before)


@contextmanager
def running(module: nn.Module, anatomy: Anatomy) -> Iterator[None]:
    """Passes in which nothing is watched, but that run as watched ones do: a library's attention is
    computed by torch's own, which has a gradient on every device."""
    with evaluating(module), answering(Watch(), anatomy.foreign):
        yield


def _changes(module: nn.Module) -> Iterator[tuple[Any, str, Any, Any]]:
    """(holder, attribute, value, value before) of all that is to be lent."""
    configs: set[int] = set()
    for child in _descendants(module):
        own = vars(child)
        if child.training:
            yield child, "training", False, True
        if own.get("fused_attn") is False:
            yield child, "fused_attn", True, False
        config = own.get("config")
        way = getattr(config, "_attn_implementation", None)
        if isinstance(way, str) and way not in _READABLE and id(config) not in configs:
            configs.add(id(config))
            yield config, "_attn_implementation", "sdpa", way


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


def _any(call: AttentionCall) -> Tensor:
    tensor = call.weights if call.query is None else call.query
    assert tensor is not None  # noqa: S101 - a call has one of them
    return tensor
