"""A picture's way through a model: the sums that make its tokens, and the two of each block."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from vit_explorer.analysis.weights import position_embeddings
from vit_explorer.errors import UnsupportedModelError
from vit_explorer.models.capture import Hooks, capture
from vit_explorer.models.card import find_core, find_patch_embed, find_positions, first_tensor
from vit_explorer.models.interception import AttentionCall, recording
from vit_explorer.models.loaded import LoadedModel
from vit_explorer.models.needs import require
from vit_explorer.models.structure.anatomy import Block, tokens_in


@dataclass(frozen=True, eq=False)
class Stages:
    """N tokens of width D, n of them patches, through L blocks.

    `patches` (n, D) is the patch embedding's output, None where it can't be read; `positions`
    (N, D) is what is added, None where nothing is; `tokens` (N, D) are their sum with the prefix
    tokens before it. `error` is the largest |patches + positions - tokens| over the patches.
    `normalised` says that a norm lies between `tokens` and the first block.

    `inputs` (L, N, D) enter the blocks; each adds `attention` and then `mlp`, both (L, N, D) or
    None where the blocks are built otherwise, so that the sum of the three is a block's output.

    `maps` are the first block's linear layers that ran before its attention, and the one that ran
    between it and the norm behind it; none, and None, where these are no modules.
    """

    patches: Tensor | None = field(repr=False)
    positions: Tensor | None = field(repr=False)
    tokens: Tensor = field(repr=False)
    error: float | None
    normalised: bool
    inputs: Tensor = field(repr=False)
    attention: Tensor | None = field(repr=False)
    mlp: Tensor | None = field(repr=False)
    maps: tuple[tuple[nn.Linear, ...], nn.Linear | None] = field(repr=False)


@torch.no_grad()
def stages(model: LoadedModel, picture: Any) -> Stages:
    """Run a model once and keep its stages; `picture` is anything `open_picture` takes.

    Raises:
        PictureError: no picture that can be opened.
        UnsupportedModelError: a model of tier 2, whose patches are no tokens.
    """
    require(model.card, "tokens")
    prepared = model.prepare(picture)
    core = find_core(model.module)
    kept: dict[str, Tensor] = {}
    maps = _Maps()
    with model.lock, _keeping(model, core, kept, maps):
        model.module(prepared.pixels.to(next(model.module.parameters())))
    entering = kept["enter 0"]
    tokens = kept.get("summed", entering)
    norm = getattr(core, "norm_pre", None)
    positions = _positions(model, core)
    patches, error = _patches(kept.get("patches"), model, tokens, positions)
    inputs = torch.stack([kept[f"enter {index}"] for index in range(model.card.depth)])
    attention, mlp = _branches(inputs, kept, model.card.depth)
    return Stages(
        patches=patches,
        positions=positions,
        tokens=tokens,
        error=error,
        normalised=isinstance(norm, nn.Module) and not isinstance(norm, nn.Identity),
        inputs=inputs,
        attention=attention,
        mlp=mlp,
        maps=(tuple(maps.before), maps.after),
    )


class _Maps:
    """The linear layers around the first block's attention, by the order in which they run."""

    def __init__(self) -> None:
        self.before: list[nn.Linear] = []
        self.after: nn.Linear | None = None

    def watch(self, hooks: Hooks, block: Block, calls: Sequence[AttentionCall]) -> None:
        """Hook a block's linear layers while `calls` grows."""
        behind = block.norm if block.norm_after else block.mlp_norm
        closed = behind is None

        def ran(layer: nn.Module, *_: Any) -> None:
            nonlocal closed
            heads = sum(call.heads for call in calls if call.block == 0)
            if layer is behind:
                closed |= heads > 0
            elif isinstance(layer, nn.Linear) and not heads:
                self.before.append(layer)
            elif isinstance(layer, nn.Linear) and heads == block.heads and not closed:
                self.after = self.after or layer

        for part in block.module.modules():
            if isinstance(part, nn.Linear) or part is behind:
                hooks.entering(part, ran)


@contextmanager
def _keeping(
    model: LoadedModel, core: nn.Module, kept: dict[str, Tensor], maps: _Maps
) -> Iterator[None]:
    anatomy = model.anatomy

    def entering(name: str) -> Any:
        def hook(_: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
            tokens = tokens_in((args, kwargs), anatomy.tokens)
            if tokens is not None:
                kept.setdefault(name, anatomy.arrange(tokens)[0].float())

        return hook

    def embedded(_: nn.Module, __: Any, output: Any) -> None:
        kept["patches"] = first_tensor(output)[0].float()

    def leaving(index: int, tokens: Tensor) -> Tensor:
        kept[f"leave {index}"] = anatomy.arrange(tokens)[0].float()
        return tokens

    with recording(model.module, anatomy, on_output=leaving) as calls, capture() as hooks:
        maps.watch(hooks, anatomy.blocks[0], calls)
        embed = find_patch_embed(model.module) or anatomy.embedding
        if embed is not None:
            hooks.leaving(embed, embedded)
        before = {"summed": getattr(core, "norm_pre", None)}
        for index, block in enumerate(anatomy.blocks):
            before[f"enter {index}"] = block.first
            before[f"norm1 {index}"] = None if block.norm_after else block.norm
            before[f"norm2 {index}"] = block.mlp_norm
        for name, part in before.items():
            if isinstance(part, nn.Module):
                hooks.entering(part, entering(name))
        yield


def _patches(
    output: Tensor | None, model: LoadedModel, tokens: Tensor, positions: Tensor | None
) -> tuple[Tensor | None, float | None]:
    """The patch embedding's output (n, D) row by row, and how far it is from the tokens.

    It may lay out the grid in several ways, and rows of tokens may already be in the network's own
    order: of these two the one is taken that fits the tokens.
    """
    (rows, columns), dim, prefix = model.card.grid, model.card.dim, model.card.prefix_tokens
    if output is None:
        return None, None
    if tuple(output.shape) == (dim, rows, columns):
        output = output.permute(1, 2, 0)
    if tuple(output.shape) == (rows, columns, dim):
        output = output.flatten(0, 1)
    if tuple(output.shape) != (rows * columns, dim):
        return None, None
    own_order = model.anatomy.place[prefix:].argsort().argsort().to(output.device)
    expected = tokens[prefix:] if positions is None else tokens[prefix:] - positions[prefix:]
    orders = (output, output[own_order])
    errors = [float((found - expected).abs().max()) for found in orders]
    best = errors.index(min(errors))
    return orders[best], errors[best]


def _positions(model: LoadedModel, core: nn.Module) -> Tensor | None:
    """What is added to each token (N, D), zeros for prefix tokens that get none."""
    try:
        patches = position_embeddings(model).flatten(0, 1).float()
    except UnsupportedModelError:
        return None
    whole = find_positions(core)
    count = model.card.prefix_tokens
    prefix = patches.new_zeros(count, patches.shape[1])
    if whole is not None and whole.ndim < 4 and whole.shape[-2] == model.card.tokens:
        prefix = whole.detach().reshape(-1, whole.shape[-1])[:count].float()
    return torch.cat((prefix, patches))


def _branches(
    inputs: Tensor, kept: dict[str, Tensor], depth: int
) -> tuple[Tensor | None, Tensor | None]:
    """What attention and MLP add, read off the second norm's input in pre-norm blocks."""
    middles = []
    for index in range(depth):
        first, middle = kept.get(f"norm1 {index}"), kept.get(f"norm2 {index}")
        if first is None or middle is None or not torch.equal(first, inputs[index]):
            return None, None
        middles.append(middle)
    middle = torch.stack(middles)
    outputs = torch.stack([kept[f"leave {index}"] for index in range(depth)])
    return middle - inputs, outputs - middle
