"""Watches how a network ends: the linear maps after its last block, and a softmax or sigmoid."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from vit_explorer.models.capture import Functions, capture
from vit_explorer.models.card import first_tensor
from vit_explorer.models.interception import evaluating
from vit_explorer.models.outputs import SQUASHES, as_rows

LINEAR = (
    F.linear,
    F.conv1d,
    F.conv2d,
    torch.matmul,
    torch.mm,
    torch.addmm,
    torch.einsum,
    Tensor.matmul,
    Tensor.mm,
    Tensor.__matmul__,
    Tensor.__rmatmul__,
)


@dataclass(frozen=True)
class LinearMap:
    """A linear map that ran after the last block: its output, its weight's name, its bias."""

    output: Tensor
    weight: str
    bias: Tensor | None


@dataclass(frozen=True)
class Ending:
    """The end of one pass over noise: the output (1, C), as what it came, and what made it.

    `count` is that of all linear maps of the pass.
    """

    output: Tensor
    named_logits: bool
    maps: tuple[LinearMap, ...]
    squash: tuple[str, Tensor, Tensor] | None
    count: int


@dataclass(frozen=True)
class Probe:
    """Runs a module on noise of a shape (1, C, H, W) and watches how it ends."""

    module: nn.Module
    blocks: Sequence[nn.Module]
    shape: tuple[int, ...]

    def end(self, seed: int, replaced: int | None = None) -> Ending:
        """One pass; a `replaced` linear map answers with large numbers of both signs instead.

        Small logits may lie within 0 and 1 by chance: such a strain shows what follows them.
        """
        parameter = next(self.module.parameters())
        noise = torch.randn(self.shape, generator=torch.Generator().manual_seed(seed))
        names = {id(value): name for name, value in self.module.named_parameters()}
        observer = _Observer(names, replaced)
        with (
            torch.inference_mode(False),
            torch.no_grad(),
            evaluating(self.module),
            _leaving(self.blocks, observer),
            observer,
        ):
            returned = self.module(noise.to(parameter))
        return observer.ending(returned)


class _Observer(Functions):
    """Notes each linear map after the last block, and the last softmax or sigmoid."""

    def __init__(self, names: dict[int, str], replaced: int | None) -> None:
        super().__init__()
        self.names = names
        self.replaced = replaced
        self.count = 0
        self.maps: list[LinearMap] = []
        self.squash: tuple[str, Tensor, Tensor] | None = None

    def called(self, func: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        output = func(*args, **kwargs)
        if func in LINEAR and isinstance(output, Tensor):
            return self._note(func, args, kwargs, output)
        if func in SQUASHES and isinstance(output, Tensor):
            entered = args[0] if args else kwargs["input"]
            self.squash = SQUASHES[func], entered.detach(), output.detach()
        return output

    def _note(self, func: Any, args: tuple[Any, ...], kwargs: Any, output: Tensor) -> Tensor:
        given = [*args, *kwargs.values()]
        names = [self.names[id(value)] for value in given if id(value) in self.names]
        layer = func in (F.linear, F.conv1d, F.conv2d)
        # A product of two tensors that are no parameters may be anything, such as attention.
        if not names and not layer:
            return output
        bias = args[0] if func is torch.addmm else kwargs.get("bias")
        if layer and len(args) > 2:
            bias = args[2]
        weight = next((name for name in names if not name.endswith("bias")), "")
        self.count += 1
        if self.count == self.replaced:
            strain = torch.randn(output.shape, generator=torch.Generator().manual_seed(0))
            output = 50 * strain.to(output)
        # A copy, or what changes the output in its place would change this too.
        self.maps.append(LinearMap(output.detach().clone(), weight, bias))
        return output

    def ending(self, returned: Any) -> Ending:
        """What was seen of a whole pass."""
        output = first_tensor(returned).detach()
        # A single output may have come without its dimension.
        output = as_rows(output, 1) if output.ndim == 0 or output.shape == (1,) else output
        named = hasattr(returned, "logits")
        return Ending(output, named, tuple(self.maps), self.squash, self.count)


@contextmanager
def _leaving(blocks: Sequence[nn.Module], observer: _Observer) -> Iterator[None]:
    """Forget the linear maps before the end of the last block."""
    # A list of parts that a network loops over is never called itself: its parts are.
    parts = [part for block in blocks for part in block.modules()]
    with capture() as hooks:
        for part in parts:
            hooks.leaving(part, lambda *_: observer.maps.clear())
        yield
