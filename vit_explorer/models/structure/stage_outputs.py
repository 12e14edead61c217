"""What the modules of stages give: their outputs as grids, kept or replaced while a model runs."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from vit_explorer.models.capture import capture
from vit_explorer.models.card import Stage


def as_grid(stage: Stage, output: Tensor) -> Tensor:
    """A stage's output as (B, D, gh, gw)."""
    if stage.layout == "BCHW":
        return output
    if stage.layout == "BHWC":
        return output.permute(0, 3, 1, 2)
    cells = output[:, stage.before : output.shape[1] - stage.behind]
    return cells.transpose(1, 2).unflatten(2, stage.grid)


def tensor_of(output: Any) -> Tensor | None:
    """The tensor that a module's output is or begins with."""
    if isinstance(output, (tuple, list)) and output:
        output = output[0]
    return output if isinstance(output, Tensor) else None


@contextmanager
def keeping(
    module: nn.Module, stages: Sequence[Stage], *, since: int, graph_from: int
) -> Iterator[dict[int, Tensor]]:
    """Keep the outputs of stage `since` and later, by index; record a graph from `graph_from` on.

    What goes on is a copy, so that an activation in place doesn't change what was kept.
    """
    kept: dict[int, Tensor] = {}

    def keep(index: int, stage: Stage) -> Any:
        def hook(_: nn.Module, __: Any, output: Any) -> Any:
            tensor = tensor_of(output)
            if tensor is None or not fits(stage, tensor):
                return None  # A module that runs again at another resolution.
            if index >= graph_from:
                torch.set_grad_enabled(True)
                if not tensor.requires_grad:
                    tensor = tensor.detach().requires_grad_(True)
            kept[index] = tensor
            copy = tensor.clone()
            return with_first(output, copy)

        return hook

    with capture() as hooks:
        for index, stage in enumerate(stages[since:], since):
            hooks.leaving(module.get_submodule(stage.name), keep(index, stage))
        yield kept


def with_first(output: Any, tensor: Tensor) -> Any:
    """An output with the tensor that it is or begins with replaced."""
    if isinstance(output, Tensor):
        return tensor
    rest = (tensor, *output[1:])
    return type(output)(*rest) if hasattr(output, "_fields") else type(output)(rest)


def fits(stage: Stage, tensor: Tensor) -> bool:
    """Whether an output has a stage's shape, however many pictures it is of."""
    shapes = {
        "BCHW": (stage.channels, *stage.grid),
        "BHWC": (*stage.grid, stage.channels),
        "BNC": (math.prod(stage.grid) + stage.before + stage.behind, stage.channels),
    }
    return tuple(tensor.shape[1:]) == shapes[stage.layout]
