"""What a network's output reads of its last tokens, and whether its blocks follow one another."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn

from vit_explorer.errors import UnsupportedModelError
from vit_explorer.models.accepted_calls import accept
from vit_explorer.models.capture import Hooks, capture
from vit_explorer.models.card import first_tensor
from vit_explorer.models.interception import frozen, recording
from vit_explorer.models.structure.anatomy import Anatomy, tokens_in
from vit_explorer.models.structure.attention_calls import detached
from vit_explorer.models.structure.seen import Seen
from vit_explorer.sentences import Sentence

PLAIN_VIT = Sentence(
    "part.plain", "choose a plain ViT, whose every block attends once from all tokens to all tokens"
)
_ONE_OF_THEM = Sentence(
    "part.networks", "where several networks run side by side, pass one of them"
)
# Directions in which the output is differentiated to see which tokens it reads.
_DIRECTIONS = 4


def unexplorable(name: str, reason: str, way: str = PLAIN_VIT) -> UnsupportedModelError:
    """The refusal of a model by what was measured of it, and what to do about it."""
    return UnsupportedModelError(
        "error.unexplorable",
        "{name} can't be explored: {reason}; {way}.",
        name=name,
        reason=reason,
        way=way,
    )


@dataclass(frozen=True)
class Read:
    """What the output reads: shares (N,) of the gradient, by token; None where it has none.

    `blocks` are those before the last whose tokens it reads too; `in_place` says that a block
    changes the tokens that it is given.
    """

    output: Tensor | None = None
    width: int = 0
    shares: Tensor | None = None
    query: Tensor | None = None
    blocks: tuple[int, ...] = ()
    in_place: bool = False


def read_out(
    module: nn.Module, anatomy: Anatomy, seen: Seen, pixels: Tensor, name: str
) -> tuple[Anatomy, Read]:
    """A second pass: do the blocks follow one another, and which last tokens does the output read?

    Where the network keeps gradients from its blocks, what does so is passed over.
    """
    after = _last_of_tokens(seen, anatomy)
    read = _differentiated(module, anatomy, after, pixels, name)
    if read.shares is None and read.output is not None and read.output.ndim == 2:
        cut = replace(anatomy, cut=True)
        again = _differentiated(module, cut, after, pixels, name)
        if again.shares is not None:
            anatomy, read = cut, again
    return replace(anatomy, in_place=read.in_place), read


def _last_of_tokens(seen: Seen, anatomy: Anatomy) -> nn.Module | None:
    """The last part behind the blocks that gives a vector a token: the final norm."""
    shape = (anatomy.tokens, 1) if anatomy.tokens_first else (1, anatomy.tokens)
    end = max(one.ended for one in seen.calls if one.module is anatomy.blocks[-1].last)
    behind = [one for one in seen.calls if one.began > end and one.result[:2] == shape]
    return behind[-1].module if behind and len(behind[-1].result) == 3 else None


def _differentiated(
    module: nn.Module, anatomy: Anatomy, after: nn.Module | None, pixels: Tensor, name: str
) -> Read:
    """`after` is the part whose tokens the head reads, None where those are the last block's."""
    leaves: list[Tensor] = []
    chain = _Chain(anatomy)

    def leaving(_: int, tokens: Tensor) -> Tensor:
        chain.leaving(tokens)
        # Until the next block begins; so a leaf has a gradient only by what reads it directly.
        torch.set_grad_enabled(True)
        leaves.append(detached(tokens).requires_grad_(True))
        return leaves[-1].clone()  # what comes next may change it in its place

    head = _LastLinear(module)
    normed: list[Tensor] = []
    with ExitStack() as borrowed:
        borrowed.enter_context(torch.no_grad())
        borrowed.enter_context(frozen(module))
        hooks = borrowed.enter_context(capture())
        chain.watch(hooks)
        head.watch(hooks)
        if after is not None:
            hooks.leaving(after, lambda _, __, out: normed.append(first_tensor(out)))
        watched = recording(module, anatomy, shapes_alone=True, on_output=leaving)
        calls = borrowed.enter_context(watched)
        output = first_tensor(module(pixels))
    _check_chain(module, anatomy, pixels, chain, name)
    heads = accept(calls, anatomy, name)
    query = heads[0][0].query
    width = leaves[-1].shape[-1] if leaves else 0
    shares: Tensor | None = None
    blocks: tuple[int, ...] = ()
    if leaves and output.ndim == 2 and output.requires_grad:
        # On tokens of one scale shares compare; before a norm those of small ones would be large.
        tokens = normed[-1] if normed and normed[-1].requires_grad else leaves[-1]
        # A head of zeros, as torchvision makes them, reads what it is given all the same.
        for made in (output, head.given):
            if shares is None and made is not None and made.requires_grad:
                shares = _shares(made, tokens, anatomy)
                blocks = _also_read(made, leaves)
    _check_branches(anatomy, chain, blocks, name)
    return Read(output.detach(), width, shares, query, blocks, chain.in_place)


def _also_read(output: Tensor, leaves: Sequence[Tensor]) -> tuple[int, ...]:
    """The blocks before the last whose tokens the output depends on, later blocks aside."""
    generator = torch.Generator().manual_seed(0)
    direction = torch.randn(output.shape, generator=generator).to(output)
    slopes = torch.autograd.grad(
        (output * direction).sum(), leaves, retain_graph=True, allow_unused=True
    )
    found = (index for index, one in enumerate(slopes[:-1]) if one is not None and bool(one.any()))
    return tuple(found)


def _shares(output: Tensor, tokens: Tensor, anatomy: Anatomy) -> Tensor | None:
    """Each token's share (N,) of the gradient of the output, in several directions."""
    generator = torch.Generator().manual_seed(0)
    directions = torch.randn(_DIRECTIONS, *output.shape, generator=generator).to(output)
    total = torch.zeros(anatomy.tokens)
    for direction in directions:
        (slope,) = torch.autograd.grad(
            (output * direction).sum(), tokens, retain_graph=True, allow_unused=True
        )
        if slope is None:
            return None
        total += anatomy.arrange(slope)[0].float().norm(dim=-1).cpu()
    return total / total.sum() if float(total.sum()) > 0 else None


class _LastLinear:
    """What the last linear layer of a pass was given."""

    def __init__(self, module: nn.Module) -> None:
        self.layers = [one for one in module.modules() if isinstance(one, nn.Linear)]
        self.given: Tensor | None = None

    def watch(self, hooks: Hooks) -> None:
        for layer in self.layers:
            hooks.entering(layer, self._keep)

    def _keep(self, _: nn.Module, args: tuple[Any, ...], __: Any) -> None:
        self.given = args[0]


class _Chain:
    """Whether what leaves a block is what enters the next, and whether a block changes that."""

    def __init__(self, anatomy: Anatomy) -> None:
        self.anatomy = anatomy
        self.left: Tensor | None = None
        self.broken: list[int] = []
        self.entered: tuple[Tensor, int] | None = None
        self.in_place = False

    def leaving(self, tokens: Tensor) -> None:
        self.left = detached(tokens)
        if self.entered is not None:
            given, version = self.entered
            self.in_place |= given._version > version

    def watch(self, hooks: Hooks) -> None:
        for index, block in enumerate(self.anatomy.blocks):
            hooks.entering(block.first, self._entering(index))

    def _entering(self, index: int) -> Any:
        def hook(_: nn.Module, args: Any, kwargs: Any) -> None:
            torch.set_grad_enabled(False)
            given = tokens_in((args, kwargs), self.anatomy.tokens)
            same = given is not None and self.left is not None and torch.equal(given, self.left)
            if index and not same:
                self.broken.append(index)
            self.left = None
            self.entered = None
            if given is not None and not given.is_inference():
                self.entered = given, given._version

        return hook


def _check_chain(
    module: nn.Module, anatomy: Anatomy, pixels: Tensor, chain: _Chain, name: str
) -> None:
    """Refuse blocks that don't follow one another, such as those of two networks side by side."""
    for index in chain.broken:
        names = [anatomy.blocks[place].name for place in (index - 1, index)]
        follows = _follows(module, anatomy, pixels, index)
        if follows and not anatomy.blocks[index - 1].whole:
            reason = Sentence(
                "reason.parts",
                "what enters {later!r} is more than what leaves {earlier!r}, and its blocks are "
                "lists of parts, so their outputs can't be told",
                later=names[1],
                earlier=names[0],
            )
            raise unexplorable(name, reason)
        if not follows:
            reason = Sentence(
                "reason.order",
                "its blocks don't follow one another, as {later!r} doesn't read what {earlier!r} "
                "gives",
                later=names[1],
                earlier=names[0],
            )
            raise unexplorable(name, reason, _ONE_OF_THEM)


def _check_branches(anatomy: Anatomy, chain: _Chain, read: Sequence[int], name: str) -> None:
    """Refuse blocks whose outputs are only added to the tokens, elsewhere: the attentions of a list
    beside that of the MLPs."""
    for index in chain.broken:
        if index - 1 in read:
            earlier, later = (anatomy.blocks[place].name for place in (index - 1, index))
            reason = Sentence(
                "reason.beside",
                "what enters {later!r} is more than what leaves {earlier!r}, and its head reads "
                "both, so the outputs of its blocks can't be told",
                later=later,
                earlier=earlier,
            )
            raise unexplorable(name, reason)


def _follows(module: nn.Module, anatomy: Anatomy, pixels: Tensor, index: int) -> bool:
    """Whether what enters a block changes with what leaves the one before."""
    found: list[Tensor] = []
    for factor in (1.0, 1.5):

        def leaving(place: int, tokens: Tensor, factor: float = factor) -> Tensor:
            return tokens * factor if place == index - 1 and factor != 1 else tokens

        def entering(_: nn.Module, args: Any, kwargs: Any) -> None:
            given = tokens_in((args, kwargs), anatomy.tokens)
            if given is not None:
                found.append(given.detach().clone())

        watched = recording(module, anatomy, shapes_alone=True, on_output=leaving)
        with capture() as hooks, torch.no_grad(), watched:
            hooks.entering(anatomy.blocks[index].first, entering)
            module(pixels)
    return len(found) == 2 and not torch.equal(found[0], found[1])
