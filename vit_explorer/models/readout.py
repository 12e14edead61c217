"""The end of a model alone: what follows its last block, run on any tokens."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from vit_explorer.models.capture import capture
from vit_explorer.models.interception import frozen, recording
from vit_explorer.models.loaded import LoadedModel
from vit_explorer.models.outputs import Answer, answer, no_classes
from vit_explorer.models.structure.anatomy import Block
from vit_explorer.models.structure.token_order import run_to_block
from vit_explorer.sentences import Sentence


def readout(model: LoadedModel, tokens: Tensor, *, arranged: bool = True) -> Tensor:
    """Logits (B, C) of `read_end`, which are what explanations differentiate."""
    return read_end(model, tokens, arranged=arranged).logits


def read_end(model: LoadedModel, tokens: Tensor, *, arranged: bool = True) -> Answer:
    """Outputs and logits (B, C) of the model's own norm, pooling and head for tokens (B, N, D).

    Differentiable with respect to `tokens` where gradients are enabled. The module runs as it is
    on one black picture with its blocks left out, so that of all models it costs a patch embedding
    and one block; where a network loops over lists of parts, those run too.

    Args:
        arranged: False for tokens in the network's own order, as where some are left out.

    Raises:
        TargetError: the model has no classifier.
    """
    if not model.card.classes:
        raise no_classes(
            model.card, Sentence("part.noclass.read", "so tokens can't be read as classes")
        )
    anatomy = model.anatomy
    gradients = torch.is_grad_enabled()
    parameter = next(model.module.parameters())
    pixels = torch.zeros(1, model.card.channels, *model.card.image_size).to(parameter)
    last = len(anatomy.blocks) - 1

    def put(index: int, found: Tensor) -> Tensor:
        if index < last:
            return found
        torch.set_grad_enabled(gradients)
        given = tokens.to(parameter)
        given = given.clone() if anatomy.in_place else given
        if arranged:
            return anatomy.restore(given)
        return given.transpose(0, 1) if anatomy.tokens_first else given

    with ExitStack() as borrowed:
        borrowed.enter_context(model.lock)
        borrowed.enter_context(torch.no_grad())
        borrowed.enter_context(frozen(model.module))
        borrowed.enter_context(recording(model.module, anatomy, on_output=put))
        if all(block.whole for block in anatomy.blocks):
            borrowed.enter_context(_skipping(anatomy.blocks))
        return answer(model, pixels)


def embedded(model: LoadedModel, pixels: Tensor) -> Tensor:
    """Tokens (B, N, D) that the first block receives, of prepared pictures (B, C, H, W)."""
    anatomy = model.anatomy
    parameter = next(model.module.parameters())
    with model.lock:
        received = run_to_block(
            model.module, anatomy.blocks[0], pixels.to(parameter), anatomy.tokens
        )
    return anatomy.arrange(received)


@contextmanager
def _skipping(blocks: Sequence[Block]) -> Iterator[None]:
    """Leave out all blocks but the first, which shows in which form blocks answer: each of the
    others gives what it gave."""
    first: list[Any] = []

    def keep(_: nn.Module, __: Any, output: Any) -> None:
        first.append(output)

    def skip(*_: Any, **__: Any) -> Any:
        return first[0]

    own = [block.module.__dict__.get("forward") for block in blocks[1:]]
    try:
        for block in blocks[1:]:
            block.module.forward = skip
        with capture() as hooks:
            hooks.leaving(blocks[0].module, keep)
            yield
    finally:
        for block, forward in zip(blocks[1:], own, strict=True):
            block.module.__dict__.pop("forward", None)
            if forward is not None:
                block.module.forward = forward
