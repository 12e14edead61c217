"""Where a module keeps what explanations are made of: blocks, norms, the layout of its tensors.

Measured by `models.structure`, used by everything that hooks a module. Outside of this file tokens
are (B, N, D) in one order: prefix tokens first, then patches row by row.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields, is_dataclass, replace
from typing import Any, Literal

import torch
from torch import Tensor, nn

from vit_explorer.models.structure.foreign_calls import Foreign


@dataclass(frozen=True)
class Layout:
    """How a module lays out (pictures, heads, …, …) in a tensor of an attention.

    `pictures` and `heads` are axes; where both share one, `merged` says which of them varies
    slowest there. `first` and `second` are the axes of queries and keys, or of tokens and channels.
    """

    pictures: int
    heads: int | None
    first: int
    second: int
    merged: Literal["pictures", "heads"] | None = None

    def arrange(self, tensor: Tensor, pictures: int) -> Tensor:
        """As (B, h, …, …)."""
        if self.merged is not None:
            moved = tensor.movedim((self.pictures, self.first, self.second), (0, 1, 2))
            if self.merged == "pictures":
                return moved.unflatten(0, (pictures, -1))
            return moved.unflatten(0, (-1, pictures)).transpose(0, 1)
        if self.heads is None:
            return tensor.movedim((self.pictures, self.first, self.second), (0, 1, 2))[:, None]
        axes = (self.pictures, self.heads, self.first, self.second)
        return tensor.movedim(axes, (0, 1, 2, 3))

    def restore(self, arranged: Tensor) -> Tensor:
        """What `arrange` was given."""
        if self.merged is not None:
            if self.merged == "heads":
                arranged = arranged.transpose(0, 1)
            flat = arranged.flatten(0, 1)
            return flat.movedim((0, 1, 2), (self.pictures, self.first, self.second))
        if self.heads is None:
            return arranged[:, 0].movedim((0, 1, 2), (self.pictures, self.first, self.second))
        axes = (self.pictures, self.heads, self.first, self.second)
        return arranged.movedim((0, 1, 2, 3), axes)


PLAIN = Layout(0, 1, 2, 3)


@dataclass(frozen=True)
class Block:
    """One transformer block.

    `module` is the block, or the list that holds its parts where the network loops over them; then
    `first` and `last` are the parts that run first and last, and the block's output is what the
    network makes of the last one's (its sum with the tokens). `owners` compute the attention, in
    the order of their heads. `norm` normalises what attention reads, or its result where
    `norm_after`; `mlp_norm` is the other one; None where there is none.
    """

    name: str
    module: nn.Module
    first: nn.Module
    last: nn.Module
    owners: tuple[nn.Module, ...]
    heads: int
    norm: nn.Module | None = None
    norm_after: bool = False
    mlp_norm: nn.Module | None = None

    @property
    def whole(self) -> bool:
        """Whether the block is a module that is called, rather than a list of parts."""
        return self.first is self.module


@dataclass(frozen=True)
class Anatomy:
    """What was measured of a network, as modules and axes.

    `places` gives each token's index in the network, by its index outside (None: the same order).
    `layout` is that of each block's attention: of queries, keys and values where the call is
    `fused`, else of the softmax's output; a call has `heads_at_once`. `by_hand` says that no call
    of a softmax makes that, but a quotient or an exponential. `cut` says that the network
    keeps gradients from its blocks, which a pass that needs them passes over; `in_place`, that
    blocks change the tokens they are given. Where blocks are lists of parts, what leaves a block
    is made of its last part's output in so many `steps`.
    """

    blocks: tuple[Block, ...] = ()
    tokens: int = 0
    tokens_first: bool = False  # (N, B, D) between the blocks
    places: tuple[int, ...] | None = None
    fused: bool = True
    by_hand: bool = False
    layout: Layout = PLAIN
    cut: bool = False
    in_place: bool = False
    heads_at_once: int = 1
    steps: int = 1
    foreign: tuple[Foreign, ...] = ()
    embedding: nn.Conv2d | None = None
    position: str = ""  # the parameter that is added to tokens as their positions

    @property
    def place(self) -> Tensor:
        """Index in the network of each token."""
        return torch.arange(self.tokens) if self.places is None else torch.tensor(self.places)

    def arrange(self, tokens: Tensor) -> Tensor:
        """What lies between blocks as (B, N, D), prefix tokens first and patches row by row."""
        if self.tokens_first:
            tokens = tokens.transpose(0, 1)
        return tokens if self.places is None else tokens[:, self.place.to(tokens.device)]

    def restore(self, tokens: Tensor) -> Tensor:
        """The opposite of `arrange`."""
        if self.places is not None:
            tokens = tokens[:, self.place.argsort().to(tokens.device)]
        return tokens.transpose(0, 1) if self.tokens_first else tokens

    def in_copy(self, copy: nn.Module, of: nn.Module) -> Anatomy:
        """The same of a deep copy of the module."""
        names = {id(child): name for name, child in of.named_modules()}

        def twin(part: Any) -> Any:
            return copy.get_submodule(names[id(part)]) if isinstance(part, nn.Module) else part

        blocks = [
            replace(
                block,
                owners=tuple(map(twin, block.owners)),
                **{
                    one.name: twin(getattr(block, one.name))
                    for one in fields(block)
                    if isinstance(getattr(block, one.name), nn.Module)
                },
            )
            for block in self.blocks
        ]
        return replace(self, blocks=tuple(blocks), embedding=twin(self.embedding))


def tokens_in(value: Any, tokens: int) -> Tensor | None:
    """The first tensor (B, N, D) or (N, B, D) in what a module is given or returns."""
    return next(
        (one for one in tensors_in(value) if one.ndim == 3 and tokens in one.shape[:2]), None
    )


def tensors_in(value: Any) -> Sequence[Tensor]:
    """All tensors in nested lists, mappings and objects of fields, in their order."""
    if isinstance(value, Tensor):
        return (value,)
    if isinstance(value, dict):
        value = tuple(value.values())
    elif is_dataclass(value) and not isinstance(value, type):
        value = tuple(getattr(value, one.name) for one in fields(value))
    if isinstance(value, (tuple, list)):
        return tuple(tensor for part in value for tensor in tensors_in(part))
    return ()


def replaced(value: Any, old: Tensor, change: Callable[[Tensor], Tensor]) -> Any:
    """The same nested value with `change(old)` in the place of `old`."""
    if value is old:
        return change(old)
    if isinstance(value, dict):
        return type(value)({key: replaced(part, old, change) for key, part in value.items()})
    if isinstance(value, tuple):
        parts = [replaced(part, old, change) for part in value]
        return type(value)(*parts) if hasattr(value, "_fields") else tuple(parts)
    if isinstance(value, list):
        return [replaced(part, old, change) for part in value]
    if is_dataclass(value) and not isinstance(value, type):
        own = {one.name: getattr(value, one.name) for one in fields(value)}
        return type(value)(**{name: replaced(part, old, change) for name, part in own.items()})
    return value
