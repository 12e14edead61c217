"""The model a recipe trains, with its optimizer and schedule."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import timm
import torch
from timm.optim import create_optimizer_v2
from timm.scheduler import create_scheduler_v2
from timm.scheduler.scheduler import Scheduler
from torch import Tensor, nn

from vit_explorer.errors import ModelError
from vit_explorer.models.checkpoints import Checkpoint, load_state, read_checkpoint
from vit_explorer.models.vit import VisionTransformer
from vit_explorer.models.zoo import BUNDLED, asset
from vit_explorer.training.recipe import Recipe


class Student(nn.Module):
    """One forward pass for every kind of model, through which several processes can be joined."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Logits (B, classes) of the class head, and of the head that follows a teacher."""
        if isinstance(self.model, VisionTransformer):
            if self.model.head_dist is not None:
                return self.model.forward_heads(x)
            if x.device.type == "cpu":
                # At a few dozen tokens explicit attention trains faster on a CPU than fused.
                logits = self.model(x, output_attentions=True)[0]
                return logits, logits
        logits = self.model(x)
        return logits, logits


def build_model(recipe: Recipe, classes: int) -> nn.Module:
    """The model with as many outputs as classes; raises ModelError if its weights can't be had."""
    if recipe.model is not None:
        return VisionTransformer(dataclasses.replace(recipe.model, classes=classes))
    assert recipe.timm is not None  # noqa: S101 - the recipe has been validated
    options: dict[str, Any] = {}
    if recipe.timm.image_size is not None:
        options["img_size"] = recipe.timm.image_size
    if recipe.timm.weights is not None:
        if not Path(recipe.timm.weights).is_file():
            raise ModelError(f"The weights file {recipe.timm.weights} (timm.weights) is missing.")
        options["pretrained_cfg_overlay"] = {"file": recipe.timm.weights}
    try:
        return timm.create_model(
            recipe.timm.name,
            pretrained=recipe.timm.pretrained,
            num_classes=classes,
            drop_path_rate=recipe.timm.drop_path,
            **options,
        )
    except (OSError, RuntimeError, ValueError, TypeError) as error:
        raise ModelError(
            f"The model {recipe.timm.name!r} can't be made ({error}); check the network, or set "
            "timm.pretrained to false or timm.weights to a file."
        ) from None


def read_initial_weights(recipe: Recipe, model: nn.Module) -> Checkpoint | None:
    """Give the model the weights its recipe begins with; raises ModelError if they don't fit."""
    if recipe.initial_weights is None:
        return None
    bundled = recipe.initial_weights == BUNDLED
    path = asset("weights/bundled.safetensors") if bundled else Path(recipe.initial_weights)
    checkpoint = read_checkpoint(path)
    load_state(model, checkpoint, f"the model of the recipe {recipe.name}")
    return checkpoint


def image_size(model: nn.Module) -> tuple[int, int]:
    """The (height, width) a model takes."""
    if isinstance(model, VisionTransformer):
        return model.config.image_size
    embed = getattr(model, "patch_embed", None)
    size = getattr(embed, "img_size", None) or model.pretrained_cfg["input_size"][1:]  # type: ignore[index]
    return int(size[0]), int(size[1])


def describe(recipe: Recipe, model: nn.Module) -> dict[str, Any]:
    """The `config` of a checkpoint's metadata."""
    if isinstance(model, VisionTransformer):
        return model.config.to_dict()
    assert recipe.timm is not None  # noqa: S101 - the recipe has been validated
    return {"timm": recipe.timm.name, "image_size": list(image_size(model))}


def make_optimizer(recipe: Recipe, model: nn.Module) -> torch.optim.Optimizer:
    options = recipe.optimizer
    return create_optimizer_v2(
        model,
        opt=options.name,
        lr=options.lr,
        weight_decay=options.weight_decay,
        momentum=options.momentum,
        layer_decay=options.layer_decay,
    )


def make_schedule(
    recipe: Recipe, optimizer: torch.optim.Optimizer, steps_per_epoch: int
) -> Scheduler:
    """A learning rate for each step."""
    options = recipe.schedule
    schedule, _ = create_scheduler_v2(
        optimizer,
        sched=options.name,
        num_epochs=recipe.epochs,
        min_lr=options.min_lr,
        warmup_epochs=options.warmup_epochs,  # type: ignore[arg-type]
        warmup_lr=recipe.optimizer.lr / 100,
        step_on_epochs=False,
        updates_per_epoch=steps_per_epoch,
    )
    return schedule
