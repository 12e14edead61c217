"""The model a recipe trains, with its optimizer and schedule."""

from __future__ import annotations

import dataclasses
import logging
import math
from collections.abc import Iterable
from pathlib import Path
from typing import Any, NamedTuple

import timm
import torch
from timm.layers import resample_patch_embed
from timm.optim import create_optimizer_v2
from timm.scheduler import create_scheduler_v2
from timm.scheduler.scheduler import Scheduler
from torch import Tensor, nn

from vit_explorer.errors import ModelError, RecipeError
from vit_explorer.models.checkpoints.checkpoint import Checkpoint, read_checkpoint
from vit_explorer.models.checkpoints.filling import PATCHES, load_state
from vit_explorer.models.checkpoints.timm_names import timm_weights
from vit_explorer.models.shipped import SHIPPED
from vit_explorer.models.vit import VisionTransformer, ViTConfig
from vit_explorer.training.recipe import Recipe
from vit_explorer.training.teacher import Teacher
from vit_explorer.training.tokens import block_outputs, normalise

logger = logging.getLogger(__name__)


class Pass(NamedTuple):
    """What a batch's loss is made of."""

    logits: Tensor  # (B, classes) of the class head
    taught: Tensor  # (B, classes) of the head that follows a teacher
    tokens: tuple[Tensor, ...] = ()  # (B, n, width) read from each of the student's layers
    kept: Tensor | None = None  # (B, n) which tokens these are, None for all


class Student(nn.Module):
    """One forward pass for every kind of model, through which several processes can be joined."""

    def __init__(self, model: nn.Module, layers: Iterable[int] = (), width: int = 0) -> None:
        """From the tokens of `layers` linear layers read a teacher's of `width`."""
        super().__init__()
        self.model = model
        self.layers = tuple(layers)
        self.readers = nn.ModuleList(nn.Linear(model.embed_dim, width) for _ in self.layers)  # type: ignore[arg-type]

    def forward(self, x: Tensor) -> Pass:
        model = self.model
        if not isinstance(model, VisionTransformer):
            logits = model(x)
            return Pass(logits, logits)
        if self.layers:
            return self._with_tokens(model, x)
        return Pass(*model.heads(model.forward_features(x, _explicit(x))))

    def _with_tokens(self, model: VisionTransformer, x: Tensor) -> Pass:
        tokens = model.num_prefix_tokens + math.prod(model.config.grid)
        kept = model.patch_drop.draw(len(x), tokens, x.device)
        with block_outputs(list(model.blocks), self.layers) as found:
            logits, taught = model.heads(model.forward_features(x, _explicit(x), kept))
        read = [read(normalise(own)) for read, own in zip(self.readers, found, strict=True)]
        return Pass(logits, taught, tuple(read), kept)


def _explicit(x: Tensor) -> list[Tensor] | None:
    """Somewhere to keep attention on a CPU, where at a few dozen tokens it trains faster so than
    fused."""
    return [] if x.device.type == "cpu" else None


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
            raise ModelError(
                "error.student.weights",
                "The weights file {weights} (timm.weights) is missing.",
                weights=recipe.timm.weights,
            )
        options["pretrained_cfg_overlay"] = {"file": recipe.timm.weights}
    elif recipe.timm.pretrained:
        file = timm_weights(recipe.timm.name)
        options |= {} if file is None else {"pretrained_cfg_overlay": {"file": str(file)}}
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
            "error.student.make",
            "The model {name!r} can't be made ({error}); check the network, or set "
            "timm.pretrained to false or timm.weights to a file.",
            name=recipe.timm.name,
            error=error,
        ) from None


def read_initial_weights(recipe: Recipe, model: nn.Module) -> Checkpoint | None:
    """Give the model the weights its recipe begins with; raises ModelError if they don't fit.

    Those of another patch size at the same picture size are resampled to the recipe's patches.
    """
    if recipe.initial_weights is None:
        return None
    shipped = SHIPPED.get(recipe.initial_weights)
    checkpoint = read_checkpoint(shipped.weights if shipped else recipe.initial_weights)
    given = _resampled(checkpoint, model) if isinstance(model, VisionTransformer) else checkpoint
    load_state(model, given, f"the model of the recipe {recipe.name}")
    return checkpoint


def _resampled(checkpoint: Checkpoint, model: VisionTransformer) -> Checkpoint:
    """A checkpoint of our own ViT with the patch embedding and positions of the model's patches.

    The embedding by the pseudo-inverse of resizing, so that a patch and its enlargement give the
    same token (Beyer et al., "FlexiViT", CVPR 2023); positions are interpolated.
    """
    config = checkpoint.metadata.get("config", {})
    if "patch_size" not in config or "timm" in config:
        return checkpoint
    own, before = model.config, ViTConfig.from_dict(config)
    if before.patch_size == own.patch_size or before.image_size != own.image_size:
        return checkpoint
    earlier = VisionTransformer(before)
    load_state(earlier, checkpoint, f"what {checkpoint.path.name} says of itself")
    # As many of its own patches as the model has: positions become those of that grid.
    earlier.set_image_size((own.grid[0] * before.patch_size[0], own.grid[1] * before.patch_size[1]))
    state = earlier.state_dict()
    state[PATCHES] = resample_patch_embed(state[PATCHES], list(own.patch_size))
    sizes = [f"{height}×{width}" for height, width in (before.patch_size, own.patch_size)]
    logger.warning(
        "The weights in %s have %s patches; their patch embedding and positions were resampled to "
        "%s patches.", checkpoint.path.name, *sizes,
    )  # fmt: skip
    tensors = dataclasses.replace(checkpoint.sets[0], state=state)
    return dataclasses.replace(checkpoint, sets=(tensors,))


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


def make_student(recipe: Recipe, model: nn.Module, teacher: Teacher | None) -> Student:
    """The model as it is trained; raises RecipeError where it can't learn the teacher's tokens."""
    options = recipe.distill
    if teacher is None or options is None or not options.layers:
        return Student(model)
    assert isinstance(model, VisionTransformer)  # noqa: S101 - the recipe has been validated
    own, theirs = (model.config.grid, model.num_prefix_tokens), teacher.places
    if own != theirs:
        raise RecipeError(
            "error.student.grid",
            "distill.layers: the student has a grid of {grid} and {prefix} prefix tokens, the "
            "teacher {teacher_grid} and {teacher_prefix}; they must be equal, see "
            "distill.image_size.",
            grid=own[0],
            prefix=own[1],
            teacher_grid=theirs[0],
            teacher_prefix=theirs[1],
        )
    return Student(model, options.layers, teacher.width)


def make_optimizer(recipe: Recipe, learner: Student) -> torch.optim.Optimizer:
    """timm's optimizer of the recipe; raises RecipeError if it can't be made."""
    options = recipe.optimizer
    try:
        optimizer = create_optimizer_v2(
            learner.model,
            opt=options.name,
            lr=options.lr,
            weight_decay=options.weight_decay,
            momentum=options.momentum,
            layer_decay=options.layer_decay,
        )
    except (ValueError, TypeError, RuntimeError, ImportError, AssertionError) as error:
        raise RecipeError(
            "error.student.optimizer",
            "optimizer: timm's {name} can't be made with these settings ({error}); change them, "
            "or its name.",
            name=options.name,
            error=error,
        ) from None
    if learner.layers:
        optimizer.add_param_group({"params": list(learner.readers.parameters())})
    return optimizer


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
