"""The grid-shaped stages of a model that has no attention between all patches.

Nothing is guessed from a shape: a quarter of the picture is changed, and an output counts as a grid
over the picture where that changes most the cells of this quarter, for each of the four.
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from vit_explorer.errors import UnsupportedModelError
from vit_explorer.models.capture import capture
from vit_explorer.models.card import (
    Pair,
    Stage,
    Structure,
    find_classes,
    find_core,
    first_tensor,
)
from vit_explorer.models.interception import evaluating, frozen
from vit_explorer.models.structure.stage_outputs import as_grid, tensor_of, with_first
from vit_explorer.sentences import Sentence

# So much of a grid's cells change most when the quarter they lie in does. The rest of the cells,
# near the middle, may be moved more by a neighbour; a wrong reading of the axes reaches about half.
AGREEING = 0.8
# Class, distillation and register tokens that may stand beside a grid of tokens.
MOST_OTHER_TOKENS = 8
# A grid of tokens is looked for among shapes no more oblong than this.
MOST_OBLONG = 4
# What a forward pass raises where a module wasn't made for pictures of this size.
NOT_RUNNING = (
    RuntimeError, TypeError, ValueError, LookupError, AssertionError, AttributeError, NameError,
)  # fmt: skip


def detect_stages(
    module: nn.Module,
    image_size: Pair,
    name: str,
    refusal: UnsupportedModelError,
    channels: int = 3,
) -> tuple[Structure, dict[str, Any]]:
    """A model's structure as its stages tell it, and what its card says of its tier.

    Raises:
        UnsupportedModelError: `refusal`, where it doesn't say what the model is like but what to
            choose for it, such as another size, or where there are no stages either.
    """
    reason = reason_of(refusal)
    if not reason:
        raise refusal
    try:
        stages, output = find_stages(module, image_size, channels)
    except NOT_RUNNING:
        raise refusal from None
    if not stages:
        raise refusal
    last = stages[-1]
    structure = Structure(
        grid=last.grid,
        patch_size=tuple(  # type: ignore[arg-type]  # a pair
            max(1, round(side / count)) for side, count in zip(image_size, last.grid, strict=True)
        ),
        prefix_names=(),
        depth=len(stages),
        heads=0,
        head_width=0,
        dim=last.channels,
        pooling="none",
        position="none",
        classes=find_classes(module, find_core(module), output),
    )
    return structure, {"tier": 2, "stages": stages, "tier_reason": reason}


def reason_of(refusal: UnsupportedModelError) -> str:
    """What was measured of a model: "it attends within windows …"; "" of other refusals."""
    said = refusal.sentence
    if isinstance(said, Sentence) and said.key == "error.unexplorable":
        return said.values["reason"]
    return ""


def find_stages(
    module: nn.Module, image_size: Pair, channels: int = 3
) -> tuple[tuple[Stage, ...], Tensor]:
    """The stages of a module in run order, and the answer it gave.

    A stage is the last output of its resolution that all which the answer reads of the picture
    passes through; where branches run side by side, so that there is none, the last one of each
    resolution that the answer reads.
    """
    pixels = _pictures(image_size, channels).to(next(module.parameters()))
    with torch.inference_mode(False), frozen(module), evaluating(module):
        output, through, beside = _passed(module, pixels[:1])
        for candidates in (through, beside):
            responses = _responses(module, pixels, candidates)
            stages: dict[Pair, Stage] = {}
            done: set[tuple[int, ...]] = set()
            for one in reversed(candidates):
                if one.shape in done:
                    continue
                stage = read_grid(one.name, responses.get((one.name, one.shape), ()))
                small = stage is not None and all(map(operator.le, stage.grid, image_size))
                if stage is not None and small and one.reads(stage):
                    done.add(one.shape)
                    stages.setdefault(stage.grid, stage)
            if stages:
                return tuple(reversed(stages.values())), output
    return (), output


def may_have_stages(module: nn.Module, image_size: Pair, channels: int = 3) -> bool:
    """Whether a module on the meta device gives an output that could be a grid, by its shape."""
    parameter = next(module.parameters())
    pixels = torch.zeros(2, channels, *image_size, device=parameter.device, dtype=parameter.dtype)
    seen: list[torch.Size] = []

    def note(_: str, tensor: Tensor) -> None:
        seen.append(tensor.shape)

    try:
        with torch.no_grad(), evaluating(module), _hearing(module, 2, note):
            module(pixels)
    except NOT_RUNNING:
        return True  # Perhaps on the meta device alone: the real module will tell.
    return any(min(shape[1:-1]) > 1 for shape in seen)


def _pictures(image_size: Pair, channels: int) -> Tensor:
    """A picture of noise, and four whose quarter is other noise: (5, C, H, W)."""
    generator = torch.Generator().manual_seed(0)
    base, other = torch.randn(2, 1, channels, *image_size, generator=generator)
    changed = [torch.where(quarter, other, base) for quarter in _quarters(image_size)]
    return torch.cat((base, *changed))


def _quarters(grid: Pair) -> Tensor:
    """Upper left, upper right, lower left and lower right of a grid, (4, gh, gw)."""
    upper, left = (torch.arange(count) * 2 + 1 < count for count in grid)
    lower, right = (torch.arange(count) * 2 + 1 > count for count in grid)
    return torch.stack(
        [rows[:, None] & columns for rows in (upper, lower) for columns in (left, right)]
    )


@contextmanager
def _hearing(
    module: nn.Module,
    pictures: int,
    note: Callable[[str, Tensor], Tensor | None],
    names: Iterable[str] | None = None,
) -> Iterator[None]:
    """Tell `note` each module's output that may be a grid; what it returns goes on instead."""

    def hear(name: str) -> Any:
        def hook(_: nn.Module, __: Any, output: Any) -> Any:
            tensor = tensor_of(output)
            if tensor is None or tensor.ndim not in (3, 4) or len(tensor) != pictures:
                return None
            instead = note(name, tensor)
            return None if instead is None else with_first(output, instead)

        return hook

    chosen = dict(module.named_modules())
    with capture() as hooks:
        for name in filter(None, chosen if names is None else names):
            hooks.leaving(chosen[name], hear(name))
        yield


@dataclass(frozen=True, eq=False)
class _Candidate:
    """An output that may be a stage; `slope` is the answer's gradient at it, None if unknown."""

    name: str
    shape: tuple[int, ...]
    slope: Tensor | None

    def reads(self, stage: Stage) -> bool:
        """Whether the answer depends on the cells, and not on other tokens alone."""
        return self.slope is None or bool((as_grid(stage, self.slope) != 0).any())


def _passed(module: nn.Module, pixels: Tensor) -> tuple[Tensor, list[_Candidate], list[_Candidate]]:
    """The answer; outputs that all paths from the picture to it cross; and all on such paths.

    Both in the order in which they come.
    """
    made: list[tuple[str, Tensor]] = []

    def note(name: str, tensor: Tensor) -> Tensor | None:
        if not tensor.requires_grad or tensor.shape == pixels.shape:
            return None
        # A node of its own in the graph, which an activation in place leaves alone.
        copy = tensor.clone()
        made.append((name, copy))
        return copy.clone()

    with torch.enable_grad(), _hearing(module, 1, note):
        leaf = pixels.clone().requires_grad_(True)
        output = first_tensor(module(leaf))
    if not output.requires_grad:
        return output.detach(), [], []
    answer = output.float().pow(2).sum()
    paths = count_paths(answer.grad_fn, leaf)
    whole = paths[answer.grad_fn]
    crossed = [paths.get(tensor.grad_fn, 0) for _, tensor in made]
    joined = [one for one, count in zip(made, crossed, strict=True) if count]
    slopes = torch.autograd.grad(answer, [leaf, *(tensor for _, tensor in joined)])
    # A head that begins as zeros says nothing about what is read.
    known = bool((slopes[0] != 0).any())
    found = [
        (_Candidate(name, tuple(slope.shape[1:]), slope if known else None), count == whole)
        for (name, _), slope, count in zip(joined, slopes[1:], filter(None, crossed), strict=True)
    ]
    return output.detach(), [one for one, cut in found if cut], [one for one, _ in found]


def count_paths(top: Any, leaf: Tensor) -> dict[Any, int]:
    """Of each node of an autograd graph, how many paths from `top` to a leaf cross it.

    Nodes that no such path crosses are left out. Counts are exact, however many paths there are.
    """
    order: list[Any] = []  # each node after those it leads to
    waiting: list[tuple[Any, bool]] = [(top, False)]
    met = set()
    while waiting:
        node, ready = waiting.pop()
        if ready:
            order.append(node)
        elif node not in met:
            met.add(node)
            waiting.append((node, True))
            waiting.extend((other, False) for other, _ in node.next_functions if other is not None)
    below: dict[Any, int] = {}
    for node in order:
        ends = getattr(node, "variable", None) is leaf
        below[node] = ends + sum(below[n] for n, _ in node.next_functions if n is not None)
    above = dict.fromkeys(order, 0)
    above[top] = 1
    for node in reversed(order):
        for other, _ in node.next_functions:
            if other is not None:
                above[other] += above[node]
    crossing = {node: above[node] * below[node] for node in order}
    return {node: count for node, count in crossing.items() if count}


def _responses(
    module: nn.Module, pixels: Tensor, candidates: Sequence[_Candidate]
) -> dict[tuple[str, tuple[int, ...]], list[_Response]]:
    """How far each quarter moves an output, by its name and shape and for each possible layout."""
    found: dict[tuple[str, tuple[int, ...]], list[_Response]] = {}

    def note(name: str, outputs: Tensor) -> None:
        moved = (outputs[1:].float() - outputs[:1].float()).abs()  # (4, …)
        layouts = {"BNC": 2} if moved.ndim == 3 else {"BCHW": 1, "BHWC": 3}
        found[name, tuple(moved.shape[1:])] = [
            _Response(layout, moved.shape[axis], moved.sum(dim=axis).cpu())
            for layout, axis in layouts.items()
        ]

    names = dict.fromkeys(one.name for one in candidates)
    with torch.no_grad(), _hearing(module, len(pixels), note, names):
        module(pixels)
    return found


@dataclass(frozen=True, eq=False)
class _Response:
    """How far four changes of the picture move an output, channels summed: (4, …)."""

    layout: str
    channels: int
    moved: Tensor


@dataclass(frozen=True, order=True)
class _Reading:
    """A way to read an output as a grid, and how well it follows the picture's quarters.

    With one class token more than there are, a grid fits about as well, shifted by a place.
    """

    fewer: int  # other tokens, below 0
    agreement: float
    contrast: float
    stage: Stage = field(compare=False)


def read_grid(name: str, responses: Iterable[_Response]) -> Stage | None:
    """How an output lies on the picture, None if it doesn't: with as few other tokens as agree."""
    readings = (_judge(moved, stage) for one in responses for moved, stage in _readings(name, one))
    agreeing = [one for one in readings if one.agreement >= AGREEING]
    return max(agreeing).stage if agreeing else None


def _readings(name: str, response: _Response) -> Iterator[tuple[Tensor, Stage]]:
    """Each way to read a response as that of a grid, (4, gh, gw), and the stage it would be."""
    moved, channels = response.moved, response.channels
    if response.layout != "BNC":
        if min(moved.shape[1:]) > 1:
            yield moved, Stage(name, (moved.shape[1], moved.shape[2]), channels, response.layout)
        return
    count = moved.shape[1]
    others = range(min(MOST_OTHER_TOKENS, count) + 1)
    for before, behind in (*((n, 0) for n in others), *((0, n) for n in others[1:])):
        cells = moved[:, before : count - behind]
        for grid in _factors(cells.shape[1]):
            yield cells.unflatten(1, grid), Stage(name, grid, channels, "BNC", before, behind)


def _factors(count: int) -> list[Pair]:
    """Rows and columns of so many cells, none more oblong than MOST_OBLONG to 1."""
    pairs = [(rows, count // rows) for rows in range(2, count // 2 + 1) if count % rows == 0]
    return [pair for pair in pairs if max(pair) <= MOST_OBLONG * min(pair)]


def _judge(response: Tensor, stage: Stage) -> _Reading:
    """How many cells respond most to their own quarter; those on a middle line don't count."""
    quarters = _quarters(stage.grid).to(response.device)
    # Where each cell reads the whole picture, one change may move all cells more than another does.
    response = response / response.mean(dim=(1, 2), keepdim=True)
    total = response.sum(dim=0)
    counted = quarters.any(dim=0)
    if not bool((total[counted] > 0).all()):  # nothing moves, or what moves is no number
        return _Reading(0, 0.0, 0.0, stage)
    own = (response.argmax(dim=0) == quarters.float().argmax(dim=0))[counted].float().mean()
    share = ((response * quarters).sum(dim=0) / total)[counted].mean()
    return _Reading(-stage.before - stage.behind, float(own), float(share), stage)
