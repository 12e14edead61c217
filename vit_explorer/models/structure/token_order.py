"""Which token a patch becomes, and how attention lays out pictures and heads: measured.

Pixels are changed and what enters the first block is watched, so only what lies before it runs.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from functools import cache
from typing import Any

import torch
from torch import Tensor, nn

from vit_explorer.errors import SaidError
from vit_explorer.models.capture import Functions, capture
from vit_explorer.models.interception import evaluating
from vit_explorer.models.structure.anatomy import Anatomy, Block, Layout, tensors_in, tokens_in
from vit_explorer.models.structure.attention_calls import Fused, Watch
from vit_explorer.models.structure.foreign_calls import answering
from vit_explorer.models.structure.seen import Convolution, Event
from vit_explorer.models.structure.token_lines import bijection, decode, lines, ranked

Pair = tuple[int, int]

# A token follows a change of pixels where its own change is more than this share of the largest:
# batches of another size round otherwise.
_FOLLOWS = 1e-4
# Of all pictures that a stem is given together: more at a large size would fill the memory.
_PIXELS_AT_ONCE = 8 * 256**2


class NoOrderError(SaidError):
    """Why the order of a network's tokens can't be told; the message is a clause."""


@dataclass(frozen=True)
class Order:
    """`places` (N,) gives the network's index of each token, prefix tokens first and patches row by
    row; a patch covers `patch_size` pixels, and where patches `overlap` is seen beyond them too."""

    grid: Pair
    patch_size: Pair
    places: tuple[int, ...]
    overlap: bool

    @property
    def prefix(self) -> int:
        return len(self.places) - self.grid[0] * self.grid[1]


class _EnoughError(Exception):
    """Ends a pass that has shown what was looked for."""


class _First(Watch):
    """Keeps the first attention's tensors: queries, or the softmax."""

    def __init__(self, known: Anatomy) -> None:
        super().__init__()
        self.expected = known.fused
        if known.by_hand:
            self.read_quotients()
        self.found: list[Tensor] = []
        self.inside = False

    def fused(self, call: Fused) -> Tensor:
        if self.inside and self.expected:
            self.found.append(call.query)
        return call.run()

    def written(self, run: Callable[[Tensor], Tensor], scores: Tensor, axis: int) -> Tensor:
        output = run(scores)
        if self.inside and not self.expected:
            self.found.append(output)
        return output


@torch.no_grad()
def run_to_attention(
    module: nn.Module, block: Block, pixels: Tensor, known: Anatomy
) -> tuple[Tensor | None, list[Tensor]]:
    """What enters a block, and what its attention is made of, of several pictures."""
    watch, entered = _First(known), []

    def enter(_: nn.Module, args: Any, kwargs: Any) -> None:
        entered.append((args, kwargs))
        watch.inside = True

    def enough(*_: Any) -> None:
        raise _EnoughError

    with ExitStack() as borrowed:
        borrowed.enter_context(evaluating(module))
        borrowed.enter_context(answering(watch, known.foreign))
        hooks = borrowed.enter_context(capture())
        hooks.entering(block.first, enter)
        hooks.leaving(block.owners[-1], enough)
        with suppress(_EnoughError), watch:
            module(pixels)
    return _tensor(entered[0]) if entered else None, watch.found


def _tensor(given: Any) -> Tensor | None:
    return next((one for one in tensors_in(given) if one.ndim >= 3), None)


@torch.no_grad()
def run_to_block(module: nn.Module, block: Block, pixels: Tensor, tokens: int) -> Tensor:
    """What enters a block, as the network lays it out; nothing behind it runs."""
    entered: list[Tensor] = []

    def enough(_: nn.Module, args: Any, kwargs: Any) -> None:
        found = tokens_in((args, kwargs), tokens)
        assert found is not None  # noqa: S101 - the pass at load had it
        entered.append(found)
        raise _EnoughError

    with capture() as hooks, suppress(_EnoughError), evaluating(module):
        hooks.entering(block.first, enough)
        module(pixels)
    return entered[0]


class _Steps(Functions):
    """Keeps the results of all calls since the last part of the first block."""

    def __init__(self) -> None:
        super().__init__()
        self.made: list[Tensor] | None = None

    def called(self, func: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        output = func(*args, **kwargs)
        if self.made is not None and isinstance(output, Tensor):
            self.made.append(output)
        return output


@torch.no_grad()
def find_steps(module: nn.Module, blocks: Sequence[Block], pixels: Tensor, tokens: int) -> int:
    """Where blocks are lists of parts: how many calls after the first block's last part, of those
    whose result has the tokens' shape, make what enters the second.

    Raises:
        NoOrderError: it isn't made between them.
    """
    watch = _Steps()
    found: list[int] = []

    def left(*_: Any) -> None:
        watch.made = []

    def entered(_: nn.Module, args: Any, kwargs: Any) -> None:
        given = tokens_in((args, kwargs), tokens)
        if given is not None and watch.made is not None:
            made = [one for one in watch.made if one.shape == given.shape]
            found.extend(step for step, one in enumerate(made, 1) if one is given)
        raise _EnoughError

    with ExitStack() as borrowed:
        borrowed.enter_context(evaluating(module))
        hooks = borrowed.enter_context(capture())
        hooks.leaving(blocks[0].last, left)
        hooks.entering(blocks[1].first, entered)
        with suppress(_EnoughError), watch:
            module(pixels)
    if not found:
        raise NoOrderError(
            "reason.made",
            "what enters its part {later!r} is not made of what leaves {earlier!r} alone",
            later=blocks[1].name,
            earlier=blocks[0].name,
        )
    return found[-1]


def find_layout(event: Event, found: Tensor, pictures: int) -> Layout:
    """How an attention of one picture lays out pictures and heads, from the same one of several,
    of which the first and the last are the same.

    Raises:
        NoOrderError: no axis follows the number of pictures.
    """
    one, many = event.first, tuple(found.shape)
    axes = event.axes if not event.fused else (found.ndim - 2, found.ndim - 1)
    grown = [
        axis
        for axis, (before, after) in enumerate(zip(one, many, strict=False))
        if after == before * pictures and axis not in axes
    ]
    if len(one) != len(many) or len(grown) != 1 or found.ndim not in (3, 4):
        before, after = ("×".join(map(str, shape)) for shape in (one, many))
        raise NoOrderError(
            "reason.layout",
            "its attention keeps pictures and heads in no order that was found ({before} for "
            "one picture, {after} for {count})",
            before=before,
            after=after,
            count=pictures,
        )
    axis = grown[0]
    others = [other for other in range(found.ndim) if other not in (*axes, axis)]
    if one[axis] == 1 and (others or not event.fused or found.ndim == 3):
        return Layout(axis, others[0] if others else None, *axes)
    if others:
        raise NoOrderError(
            "reason.windows",
            "it attends within windows or groups ({count} tokens at a time)",
            count=event.queries,
        )
    by_picture = found.movedim(axis, 0).unflatten(0, (pictures, one[axis]))
    first = torch.equal(by_picture[0], by_picture[-1])
    return Layout(axis, None, *axes, merged="pictures" if first else "heads")


def find_order(
    module: nn.Module,
    block: Block,
    tokens: int,
    image_size: Pair,
    channels: int,
    convolutions: Sequence[Convolution],
    *,
    tokens_first: bool,
) -> Order:
    """Find the grid, and the token of each of its patches, by changing pixels.

    Raises:
        NoOrderError: no grid of patches fits what was seen.
    """
    parameter = next(module.parameters())
    noise = torch.randn(2, channels, *image_size, generator=torch.Generator().manual_seed(1))
    base, other = noise.to(parameter.device, parameter.dtype)

    def entering(pixels: Tensor) -> Tensor:
        found = run_to_block(module, block, pixels, tokens)
        return (found.transpose(0, 1) if tokens_first else found).float()

    @cache
    def pictures(tile: Pair) -> tuple[Tensor, Tensor, Tensor]:
        """Two pictures that repeat after so many pixels, and what enters for the first."""
        rows, columns = (
            torch.arange(size) % step for size, step in zip(image_size, tile, strict=True)
        )
        still, moved = (one[:, rows[:, None], columns] for one in (base, other))
        return still, moved, entering(still[None])

    def enter(masks: Tensor, tile: Pair = image_size) -> Tensor:
        """How far each token moves, (n, N), where the pixels under masks (n, H, W) are changed."""
        still, moved, before = pictures(tile)
        at_once = max(1, _PIXELS_AT_ONCE // math.prod(image_size))
        changes = [
            (entering(torch.where(some[:, None].to(base.device), moved, still)) - before).norm(
                dim=-1
            )
            for some in masks.split(at_once)
        ]
        return torch.cat(changes).cpu()

    whole = enter(torch.ones(1, *image_size, dtype=torch.bool))[0]
    following = whole > _FOLLOWS * whole.max()
    count = int(following.sum())
    if not count:
        raise NoOrderError("reason.still", "no token follows the picture")
    for grid, patch in _grids(count, image_size, convolutions):
        if grid[0] * grid[1] == count:
            found = _fit(enter, following, whole, grid, patch, image_size, convolutions)
            if found is not None:
                return found
    first, second = (run_to_block(module, block, base[None], tokens) for _ in range(2))
    if not torch.allclose(first, second):
        raise NoOrderError(
            "reason.random",
            "what enters its blocks differs between two passes over one picture, so something "
            "in it is drawn at random",
        )
    raise NoOrderError(
        "reason.grid",
        "{count} of its {tokens} tokens follow the picture, and no grid of patches was found in "
        "which each of them is one patch",
        count=count,
        tokens=tokens,
    )


def _grids(
    count: int, image_size: Pair, convolutions: Sequence[Convolution]
) -> Iterator[tuple[Pair, Pair]]:
    """Grids of so many patches, with the patch: as a convolution makes them, then all others."""
    tried = set()
    for number in range(len(convolutions), 0, -1):
        last = convolutions[number - 1]
        grid = (last.made[-2], last.made[-1])
        chain = [one for one in convolutions[:number] if one.made[-2:] != one.given[-2:]] or [last]
        steps = tuple(math.prod(one.stride[axis] for one in chain) for axis in (0, 1))
        fits = all(
            abs(step * cells - size) < 2 * step
            for step, cells, size in zip(steps, grid, image_size, strict=True)
        )
        if grid[0] * grid[1] == count and fits and (grid, steps) not in tried:
            tried.add((grid, steps))
            yield grid, (steps[0], steps[1])
    divided = ((rows, count // rows) for rows in range(1, count + 1) if count % rows == 0)
    cells = (
        ((rows, columns), (image_size[0] // rows, image_size[1] // columns))
        for rows, columns in divided
        if rows <= image_size[0] and columns <= image_size[1]
    )
    for grid, patch in sorted(cells, key=lambda one: abs(math.log(one[1][0] / one[1][1]))):
        if (grid, patch) not in tried:
            yield grid, patch


def _fit(
    enter: Callable[..., Tensor],
    following: Tensor,
    whole: Tensor,
    grid: Pair,
    patch: Pair,
    image_size: Pair,
    convolutions: Sequence[Convolution],
) -> Order | None:
    """The order of tokens on a grid, None where it is not theirs.

    Rows and columns are told by binary codes, a few pictures each. Where tokens follow more than
    their cells, every row and column is changed by itself, and tokens are put in the order of the
    middles of what they follow, on a grid that a convolution made, or of square patches.
    """
    of_axes = [lines(axis, grid, patch, image_size) for axis in (0, 1)]
    least = 1e-3 * whole[following]
    coded = [decode(enter, one, grid[axis], axis) for axis, one in enumerate(of_axes)]
    places = bijection([cells[following] for cells, _ in coded], following, grid)
    beyond = any(bool((other[following] > least).any()) for _, other in coded)
    square = patch[0] == patch[1] and all(
        cells * patch[0] == size for cells, size in zip(grid, image_size, strict=True)
    )
    made = square or any(tuple(one.made[-2:]) == grid for one in convolutions)
    if places is None and beyond and made:
        found = [
            ranked(enter, one, grid, patch, axis, following) for axis, one in enumerate(of_axes)
        ]
        places = bijection(found, following, grid)
    return None if places is None else Order(grid, patch, places, overlap=beyond)
