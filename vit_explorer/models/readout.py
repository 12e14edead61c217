"""The end of a model alone: what follows its last block, run on any tokens."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from vit_explorer.errors import TargetError
from vit_explorer.interception import evaluating, frozen
from vit_explorer.models.card import first_tensor
from vit_explorer.models.loaded import LoadedModel


def readout(model: LoadedModel, tokens: Tensor) -> Tensor:
    """Logits (B, C) of the model's own norm, pooling and head for block outputs (B, N, D).

    Differentiable with respect to `tokens` where gradients are enabled. The module runs as it is
    on one black picture with its blocks left out, so that of all models it costs a patch embedding
    and one block.

    Raises:
        TargetError: the model has no classifier.
    """
    if not model.card.classes:
        raise TargetError(
            f"{model.card.name} has no classifier, so tokens can't be read as classes; load "
            "weights with a head."
        )
    gradients = torch.is_grad_enabled()
    parameter = next(model.module.parameters())
    pixels = torch.zeros(1, 3, *model.card.image_size).to(parameter)

    def answer() -> Tensor:
        torch.set_grad_enabled(gradients)
        return tokens.to(parameter)

    with ExitStack() as borrowed:
        borrowed.enter_context(model.lock)
        borrowed.enter_context(torch.no_grad())
        borrowed.enter_context(frozen(model.module))
        borrowed.enter_context(evaluating(model.module))
        borrowed.enter_context(_skipping(model.blocks, answer))
        return first_tensor(model.module(pixels))


def embedded(model: LoadedModel, pixels: Tensor) -> Tensor:
    """Tokens (B, N, D) that the first block receives, of prepared pictures (B, 3, H, W)."""
    received: list[Tensor] = []

    def keep(_: nn.Module, args: tuple[Any, ...]) -> None:
        received.append(args[0])

    parameter = next(model.module.parameters())
    with model.lock, torch.no_grad(), evaluating(model.module):
        hook = model.blocks[0].register_forward_pre_hook(keep)
        try:
            with _skipping(model.blocks, lambda: received[0]):
                model.module(pixels.to(parameter))
        finally:
            hook.remove()
    return received[0]


@contextmanager
def _skipping(blocks: Sequence[nn.Module], answer: Callable[[], Tensor]) -> Iterator[None]:
    """Leave out all blocks but the first; the last one's output is `answer()`.

    The first runs to show in which form blocks answer: a tensor, or a tuple that begins with one.
    """
    first: list[Any] = []

    def keep(_: nn.Module, __: Any, output: Any) -> Any:
        first.append(output)
        return answered() if len(blocks) == 1 else output

    def skip(*_: Any, **__: Any) -> Any:
        return first[0]

    def answered(*_: Any, **__: Any) -> Any:
        output = first[0]
        return (answer(), *output[1:]) if isinstance(output, tuple) else answer()

    hook = blocks[0].register_forward_hook(keep)
    own = [block.__dict__.get("forward") for block in blocks]
    try:
        for block in blocks[1:-1]:
            block.forward = skip
        if len(blocks) > 1:
            blocks[-1].forward = answered
        yield
    finally:
        hook.remove()
        for block, forward in zip(blocks, own, strict=True):
            block.__dict__.pop("forward", None)
            if forward is not None:
                block.forward = forward
