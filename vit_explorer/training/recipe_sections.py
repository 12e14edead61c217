"""The sections of a recipe, each with its limits."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from vit_explorer.errors import nearest
from vit_explorer.sentences import Sentence

Share = Annotated[float, Field(ge=0, le=1)]
Positive = Annotated[float, Field(gt=0)]
Scheduler = Literal["cosine", "poly", "tanh"]


class Section(BaseModel):
    # YAML 1.1 reads 1e-3 as text, so numbers are taken from text too.
    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


class TimmModel(Section):
    """A timm model with a new head; `image_size` interpolates its positions."""

    name: str
    pretrained: bool = True
    weights: str | None = None  # a file instead of the hub
    image_size: int | None = Field(default=None, gt=0, le=4096)
    drop_path: Share = 0.0


class Augment(Section):
    """What is done to a training batch, on tensors; 0 leaves a step out."""

    flip: bool = True
    shift: float = Field(default=4.0, ge=0)  # pixels either way, reflected at the border
    zoom: tuple[Positive, Positive] = (1.0, 1.0)  # side of the region seen, a share of the picture
    zoom_share: Share = 0.5  # of the pictures
    colour: Share = 0.0  # strength of brightness, contrast and saturation changes
    erase: Share = 0.0  # share of pictures that lose a random rectangle
    mixup: float = Field(default=0.0, ge=0)
    cutmix: float = Field(default=0.0, ge=0)

    @field_validator("zoom")
    @classmethod
    def _ordered(cls, zoom: tuple[float, float]) -> tuple[float, float]:
        if zoom[0] > zoom[1]:
            raise ValueError(
                Sentence(
                    "recipe.error.zoom", "was {zoom}; give the smaller side first.", zoom=list(zoom)
                )
            )
        return zoom


class Optimizer(Section):
    """One of timm's optimizers."""

    name: str = "adamw"
    lr: Positive = 1e-3
    weight_decay: float = Field(default=0.05, ge=0)
    momentum: float = Field(default=0.9, ge=0, lt=1)
    layer_decay: float | None = Field(default=None, gt=0, le=1)
    clip: Positive | None = 1.0

    @model_validator(mode="after")
    def _known(self) -> Optimizer:
        from timm.optim import list_optimizers

        known = [str(name) for name in list_optimizers()]
        if self.name not in known:
            near = nearest(self.name, known) or Sentence(
                "recipe.error.listed", "; `timm.optim.list_optimizers()` lists them."
            )
            raise ValueError(
                Sentence(
                    "recipe.error.optimizer",
                    "there is no optimizer {name!r}{near}",
                    name=self.name,
                    near=near,
                )
            )
        return self


class Schedule(Section):
    """One of timm's schedules of the learning rate, a value for each step."""

    name: Scheduler = "cosine"
    warmup_epochs: float = Field(default=1.0, ge=0)
    min_lr: float = Field(default=1e-5, ge=0)


class Distill(Section):
    """Learning from a teacher: any checkpoint written by `train`, or a timm name with weights."""

    teacher: str
    weights: str | None = None
    image_size: int | None = Field(default=None, gt=0, le=4096)
    kind: Literal["soft", "hard"] = "soft"
    temperature: Positive = 2.0
    weight: Share = 0.7  # of the teacher's term in the loss
    views: int = Field(default=2, ge=0, le=1000)  # of each picture, asked about once; 0: each step
    mirror: bool = False  # half of these views, with what was said of them, as mirror images
    layers: dict[int, int] = {}  # the student's block: the teacher's whose tokens it learns
    layer_weight: Positive = 1.0  # of the term for these tokens


class EarlyStop(Section):
    """When a run ends before its last epoch, and goes back to its best one."""

    patience: int = Field(default=10, ge=1)  # epochs without a gain
    min_gain: float = Field(default=0.0, ge=0)  # what a gain is more than: a share, or nats
    by: Literal["accuracy", "loss"] = "accuracy"  # of the pictures that measure the epochs
