"""Changing a model's attention while it runs: tokens hidden from it, heads silenced."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from vit_explorer.models.interception import BlockOutput, BlockWatch, watching
from vit_explorer.models.structure.anatomy import PLAIN, Anatomy, Layout
from vit_explorer.models.structure.attention_calls import Fused


class _Switch(BlockWatch):
    def __init__(
        self,
        anatomy: Anatomy,
        pictures: int,
        keys: Tensor | None,
        heads: Mapping[int, Tensor],
        *,
        mean: bool,
    ) -> None:
        super().__init__(anatomy, pictures)
        self.keys, self.heads, self.mean = keys, heads, mean
        self.turns: dict[int, int] = {}

    def fused(self, call: Fused) -> Tensor:
        if self.block is None:
            return call.run()
        layout = self.anatomy.layout
        if self.keys is not None:
            call = call.hiding(self._allowed(layout, call.query.ndim))
        output = call.run()
        if self.block in self.heads:
            output = self._silenced(output, self.block)
        return output

    def written(self, run: Callable[[Tensor], Tensor], scores: Tensor, axis: int) -> Tensor:
        if self.block is None or not self.attends(scores, axis):
            return run(scores)
        if self.keys is not None:
            allowed = self._allowed(self.anatomy.layout, scores.ndim)
            scores = scores.masked_fill(~allowed, -torch.inf)
        output = run(scores)
        return self._silenced(output, self.block) if self.block in self.heads else output

    def _allowed(self, layout: Layout, axes: int) -> Tensor:
        """Which keys are seen, in a shape that fits scores as the module lays them out."""
        assert self.keys is not None  # noqa: S101 - the callers have looked
        allowed = self.keys[:, None, None]  # (B, 1, 1, N)
        if layout.merged is not None:
            heads = self.anatomy.heads_at_once
            allowed = allowed.expand(-1, heads, -1, -1)
        if axes == 4 and layout == PLAIN:
            return allowed
        return layout.restore(allowed)

    def _silenced(self, output: Tensor, block: int) -> Tensor:
        """Zeros, or the mean over queries, for heads that are off; calls of a block share its
        heads."""
        arranged = self.anatomy.layout.arrange(output, self.pictures)
        count, on = arranged.shape[1], self.heads[block]
        if count != on.shape[1]:
            turn = self.turns.get(block, 0)
            self.turns[block] = turn + count
            on = on[:, turn : turn + count]
        # Of a softmax, the mean of its rows mixes the mean of what they mix.
        instead = arranged.mean(dim=-2, keepdim=True) if self.mean else arranged.new_zeros(())
        return self.anatomy.layout.restore(torch.where(on[:, :, None, None], arranged, instead))


@contextmanager
def switching(
    module: nn.Module,
    anatomy: Anatomy,
    *,
    pictures: int,
    keys: Tensor | None,
    heads: Mapping[int, Tensor],
    mean: bool = False,
    on_output: BlockOutput | None = None,
) -> Iterator[None]:
    """Hide tokens from attention, and silence heads, in the forward pass made meanwhile.

    Borrowed and given back as by `recording`.

    Args:
        pictures: how many the pass is over.
        keys: (B, N) in the module's own order, False for tokens that no query of any block sees;
            None hides none.
        heads: by block (B, h), False for heads whose attention output is set to 0.
        mean: set it to its mean over the tokens instead.
    """
    with watching(module, _Switch(anatomy, pictures, keys, heads, mean=mean), on_output):
        yield
