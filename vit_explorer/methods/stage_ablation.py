"""Ablation-CAM at a grid-shaped stage: the answer without each of its features in turn."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from vit_explorer.methods.gradients import kept_features
from vit_explorer.methods.heatmap import Progress
from vit_explorer.methods.model_queries import Asked, asking
from vit_explorer.models.capture import capture
from vit_explorer.models.card import Stage
from vit_explorer.models.structure.stage_outputs import as_grid, fits, tensor_of, with_first
from vit_explorer.tracing.trace import Trace

# How far below all features the grad-cam package's convolutional layer fills in.
FAR_BELOW = 1e7


def ablate_stage(trace: Trace, layer: int, fill: str, progress: Progress | None) -> Tensor:
    """Features of a stage, weighted by the share of the logit lost without each: (gh, gw).

    `fill` "zero" puts 0 in a feature's place; "low" does where no feature is below 0, and else
    what is far below all of them, as the grad-cam package does.
    """
    stage = trace.card.stages[trace.layer_index(layer)]
    features = kept_features(trace, layer)  # (D, gh, gw)
    lowest = float(features.min())
    value = 0.0 if fill == "zero" or lowest == 0 else lowest - FAR_BELOW
    with asking(trace, stage.channels + 1, progress) as model:
        module = trace.model.module.get_submodule(stage.name)
        whole = float(model.aimed(model.pixels))
        copied = _takes_copies(model, module, stage)
        channels = torch.arange(stage.channels, device=model.pixels.device)
        left = [
            _without(model, module, stage, some, value, copied=copied)
            for some in channels.split(model.batch)
        ]
        weights = (whole - torch.cat(left).to(features)) / whole
    return (weights[:, None, None] * features).sum(dim=0).relu()


def _without(
    model: Asked, module: nn.Module, stage: Stage, channels: Tensor, value: float, *, copied: bool
) -> Tensor:
    """The target's logit (n,) without each of n features."""
    count = len(channels)

    def ablate(tensor: Tensor) -> Tensor:
        copies = tensor.expand(count, *tensor.shape[1:]).clone()
        as_grid(stage, copies)[torch.arange(count), channels] = value
        return copies

    with _changing(module, stage, ablate):
        logits = model.aimed(model.pixels if copied else model.pixels.expand(count, -1, -1, -1))
    if copied:
        model.count(count - 1)
    return logits


def _takes_copies(model: Asked, module: nn.Module, stage: Stage) -> bool:
    """Whether what follows a stage can be given more pictures than what comes before it."""
    with torch.no_grad(), _changing(module, stage, lambda one: one.expand(2, *one.shape[1:])):
        try:
            logits = model.module(model.pixels.to(next(model.module.parameters())))
        except torch.cuda.OutOfMemoryError:
            raise
        except RuntimeError:  # what lies beside the stage has its one picture still
            return False
    answer = tensor_of(getattr(logits, "logits", logits))
    return answer is not None and len(answer) == 2


@contextmanager
def _changing(module: nn.Module, stage: Stage, change: Any) -> Iterator[None]:
    """Put `change` of a stage's output in its place."""

    def hook(_: nn.Module, __: Sequence[Any], output: Any) -> Any:
        tensor = tensor_of(output)
        if tensor is None or not fits(stage, tensor):
            return None
        return with_first(output, change(tensor))

    with capture() as hooks:
        hooks.leaving(module, hook)
        yield
