"""What each head, MLP and bias adds to a logit by itself, through the residual sum alone."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from vit_explorer.errors import UnsupportedModelError
from vit_explorer.methods.model_queries import asking
from vit_explorer.models.accepted_calls import accept
from vit_explorer.models.balanced import Balancing
from vit_explorer.models.capture import capture
from vit_explorer.models.interception import AttentionCall, watching
from vit_explorer.models.needs import require
from vit_explorer.models.structure.anatomy import Anatomy, replaced, tokens_in
from vit_explorer.models.structure.attention_calls import Fused, detached
from vit_explorer.models.targets import Aim
from vit_explorer.tracing.trace import Trace

# By how much of all parts their sum may miss the logit: rounding.
_ROUNDING = {"float16": 2e-2, "bfloat16": 5e-2}


@dataclass(frozen=True, eq=False)
class Contributions:
    """Direct contributions to a logit, in its units; L blocks of h heads. They add up to `logit`.

    `embedding` is that of the tokens that enter the first block, `heads` (L, h) of each head's
    output through its projection, `attention_biases` (L,) of those projections' biases, `mlps` (L,)
    of the MLPs' outputs, and `end` of the biases after the last block (of the final norm and the
    head). The final norm's scale counts as a constant.
    """

    label: str
    logit: float
    embedding: float
    heads: npt.NDArray[np.float32] = field(repr=False)
    attention_biases: npt.NDArray[np.float32] = field(repr=False)
    mlps: npt.NDArray[np.float32] = field(repr=False)
    end: float
    aim: Aim = field(repr=False)

    @property
    def total(self) -> float:
        """The sum of all, which is the logit to rounding."""
        parts = (self.heads, self.attention_biases, self.mlps)
        return self.embedding + self.end + sum(float(one.astype(np.float64).sum()) for one in parts)

    def ranked(self) -> list[tuple[str, float]]:
        """All parts by the size of what they add, the largest first, such as ("head 3.0", 1.2):
        layers and heads from 0."""
        depth, heads = self.heads.shape
        named = [("embedding", self.embedding), ("end biases", self.end)]
        named += [
            (f"head {layer}.{head}", float(self.heads[layer, head]))
            for layer in range(depth)
            for head in range(heads)
        ]
        for name, values in (("MLP", self.mlps), ("attention bias", self.attention_biases)):
            named += [(f"{name} {layer}", float(value)) for layer, value in enumerate(values)]
        return sorted(named, key=lambda one: -abs(one[1]))


def contributions(trace: Trace) -> Contributions:
    """What each head, each MLP, the embedding and all biases add to the target's logit by
    themselves: on the way of the residual sum through the final norm and the head, not through
    later blocks.

    One forward and one backward pass. That the parts add up is checked.

    Raises:
        TargetError: a model without classes.
        UnsupportedModelError: blocks that are no sums of what a norm before attention and a norm
            before the MLP let in, or a model of tier 2.

    Elhage et al., "A Mathematical Framework for Transformer Circuits", 2021 (direct logit
    attribution); Gandelsman et al., "Interpreting CLIP's Image Representation via Text-Based
    Decomposition", ICLR 2024.
    """
    require(trace.card, "attention", "class")
    model, anatomy = trace.model, trace.model.anatomy
    for index, block in enumerate(anatomy.blocks):
        if block.norm is None or block.norm_after or block.mlp_norm is None:
            raise UnsupportedModelError(
                "error.contributions.norm",
                "Contributions can't be told of {model}: in block {block} no norm was seen before "
                "attention and another before the MLP; libra_input_x_gradient shows what tokens "
                "contribute.",
                model=trace.card.name,
                block=index + 1,
            )
    with asking(trace, 1, None) as asked, torch.enable_grad():
        pixels = asked.pixels.requires_grad_(True)
        with _directly(model.module, anatomy) as watch:
            logit = asked.aimed(pixels).sum()
        found = watch.parts(logit, trace)
    return _checked(found, trace)


def _checked(found: Contributions, trace: Trace) -> Contributions:
    sizes = (found.heads, found.mlps, found.attention_biases)
    size = abs(found.embedding) + abs(found.end) + sum(float(np.abs(one).sum()) for one in sizes)
    gap = abs(found.total - found.logit) / max(size + abs(found.logit), 1e-12)
    if not gap <= _ROUNDING.get(trace.card.precision, 1e-5):
        raise UnsupportedModelError(
            "error.contributions.sum",
            "Contributions can't be told of {model}: their sum misses the logit by {gap:.1%} of "
            "all parts, so what follows its blocks is more than a norm, a pooling and a head, or "
            "its blocks are more than sums.",
            model=trace.card.name,
            gap=gap,
        )
    return found


class _Direct(Balancing):
    """Lets gradients pass along the residual sum alone: what enters a branch is cut."""

    def __init__(self, anatomy: Anatomy) -> None:
        super().__init__(anatomy)
        self.between: list[tuple[Any, Tensor]] = []  # after attention, as `_received`
        self.last: tuple[Any, Tensor] | None = None
        self.biases_before_end = 0

    def fused(self, call: Fused) -> Tensor:
        output = super().fused(call)
        return output if output.requires_grad else output.requires_grad_(True)

    def kept(self, tokens: Tensor) -> tuple[Any, Tensor]:
        """Where a gradient is asked for, and the value there."""
        return torch.autograd.graph.get_gradient_edge(tokens), detached(tokens).clone()

    def part(self, tokens: Tensor) -> None:
        """Tokens are between a block's attention and its MLP."""
        self.between.append(self.kept(tokens))

    def entering(self, told: Callable[[Tensor], None] | None = None, *, cut: bool = False) -> Any:
        """A hook that tells of the tokens that enter a part, and may cut them from the graph."""

        def hook(_: nn.Module, args: Any, kwargs: Any) -> Any:
            tokens = tokens_in((args, kwargs), self.anatomy.tokens)
            if tokens is None:
                return None
            if told is not None:
                told(tokens)
            return replaced((args, kwargs), tokens, detached) if cut else None

        return hook

    def parts(self, logit: Tensor, trace: Trace) -> Contributions:
        """Differentiate a logit, and tell what each part added."""
        assert self.last is not None and trace.aim is not None  # noqa: S101, PT018
        points = [*self._received, *self.between, self.last]
        leaves = [leaf for _, leaf in self._biases[self.biases_before_end :]]
        anchors = [call.anchor for call in self.calls]
        wanted = [*(edge for edge, _ in points), *leaves, *anchors]
        slopes = torch.autograd.grad(logit, wanted, allow_unused=True)

        def held(value: Tensor, slope: Tensor | None) -> float:
            return 0.0 if slope is None else float((value.double() * slope.double()).sum())

        at = [held(value, slope) for (_, value), slope in zip(points, slopes, strict=False)]
        depth = len(self._received)
        before, middle, after = at[:depth], at[depth:-1], [*at[1:depth], at[-1]]
        end = sum(
            held(leaf.detach(), slope)
            for leaf, slope in zip(leaves, slopes[len(points) :], strict=False)
        )
        by_call = iter(slopes[len(points) + len(leaves) :])
        heads = [
            np.concatenate([_by_head(call, next(by_call)) for call in own])
            for own in accept(self.calls, self.anatomy, trace.card.name)
        ]
        attended = np.subtract(middle, before)
        return Contributions(
            label=trace.aim.label(trace.model.labels),
            logit=float(logit.detach()),
            embedding=before[0],
            heads=np.array(heads, np.float32),
            attention_biases=(attended - np.sum(heads, axis=1)).astype(np.float32),
            mlps=np.subtract(after, middle).astype(np.float32),
            end=float(end),
            aim=trace.aim,
        )


def _by_head(call: AttentionCall, slope: Tensor | None) -> npt.NDArray[np.float64]:
    """What each head of a call adds: (h,). Of a softmax A·∂y/∂A is what its output adds."""
    value = call.output if call.fused else call.weights
    assert value is not None  # noqa: S101 - a call has one of them
    if slope is None:
        return np.zeros(call.heads)
    arranged = call.layout.arrange(slope, 1).double()
    return (value.detach().double() * arranged).sum(dim=(0, 2, 3)).cpu().numpy()


@contextmanager
def _directly(module: nn.Module, anatomy: Anatomy) -> Iterator[_Direct]:
    watch = _Direct(anatomy)

    def leaving(index: int, tokens: Tensor) -> Tensor:
        if index == len(anatomy.blocks) - 1:
            watch.last = watch.kept(tokens)
            watch.biases_before_end = len(watch._biases)
        return tokens

    with capture() as hooks, watching(module, watch, leaving, whole=True):
        for block in anatomy.blocks:
            assert block.norm is not None and block.mlp_norm is not None  # noqa: S101, PT018
            hooks.entering(block.first, watch.entering(watch.receive))
            hooks.entering(block.norm, watch.entering(cut=True))
            hooks.entering(block.mlp_norm, watch.entering(watch.part, cut=True))
        yield watch
