"""A training recipe: YAML in, a checked and frozen object out."""

from __future__ import annotations

import json
from collections.abc import Sequence
from importlib import resources
from pathlib import Path
from typing import Any, Literal

import yaml
from pydantic import (
    ConfigDict,
    Field,
    TypeAdapter,
    ValidationError,
    field_validator,
    model_validator,
)

from vit_explorer.errors import ModelError, RecipeError, nearest
from vit_explorer.models.vit import ViTConfig
from vit_explorer.sentences import Sentence
from vit_explorer.training.recipe_sections import (
    Augment,
    Distill,
    EarlyStop,
    Optimizer,
    Positive,
    Schedule,
    Section,
    TimmModel,
)
from vit_explorer.training.wrong_settings import explain

Measured = Literal["test", "held_out"]

_Weights = TypeAdapter(dict[str, Positive], config=ConfigDict(allow_inf_nan=False))


class Recipe(Section):
    """Everything that decides a run, apart from the data and the machine."""

    name: str
    description: str = ""
    seed: int = Field(default=0, ge=0, lt=2**31)
    epochs: int = Field(default=30, ge=1, le=10_000)
    # Share of the training pictures that only measure the epochs; the test pictures are then
    # measured once, at the end. A validation split of the data's own takes their place.
    hold_out: float = Field(default=0.0, ge=0, le=0.5)
    allow_leakage: bool = False  # train although a picture is in two splits
    full_epochs: int = Field(default=0, ge=0)  # last epochs without patch dropout
    batch_size: int = Field(default=128, ge=1)  # pictures a pass, over all processes
    accumulate: int = Field(default=1, ge=1)  # passes whose gradients make one step
    mean: tuple[float, float, float] = (0.4914, 0.4822, 0.4465)
    std: tuple[Positive, Positive, Positive] = (0.247, 0.2435, 0.2616)
    model: ViTConfig | None = None
    timm: TimmModel | None = None
    augment: Augment = Augment()
    optimizer: Optimizer = Field(default_factory=Optimizer)
    schedule: Schedule = Schedule()
    label_smoothing: float = Field(default=0.0, ge=0, lt=1)
    # What a picture's label counts for in training, by its class; those not named count as 1.
    # "balanced": inversely to the class's share of the training pictures.
    class_weights: Literal["balanced"] | dict[str, Positive] | None = None
    early_stop: EarlyStop | None = None
    distill: Distill | None = None
    initial_weights: str | None = None  # a checkpoint to begin with, or a shipped model's name
    ema: float | None = Field(default=None, gt=0, lt=1)
    film: bool = True
    probes: Literal["data", "shipped"] = "data"  # the film's pictures
    half_weights: bool = False  # the checkpoint as float16: half the size

    @field_validator("class_weights", mode="before")
    @classmethod
    def _weighed(cls, value: Any) -> Any:
        """One sentence on what is wrong: pydantic's own would tell of one kind of value alone."""
        if value is None or value == "balanced":
            return value
        try:
            # YAML reads a class called 7 as a number.
            return _Weights.validate_python({str(key): one for key, one in dict(value).items()})
        except (ValidationError, ValueError, TypeError):
            raise ValueError(
                Sentence(
                    "recipe.error.weights",
                    'was {given}; expected "balanced", or numbers above 0 by class.',
                    given=json.dumps(value, default=str)[:80],
                )
            ) from None

    @field_validator("model", mode="before")
    @classmethod
    def _known(cls, value: Any) -> Any:
        # pydantic passes over a dataclass's unknown keys; the config itself names them.
        if isinstance(value, dict):
            unknown = {key: None for key in value if key not in ViTConfig.__dataclass_fields__}
            ViTConfig.from_dict(unknown)
        return value

    @model_validator(mode="after")
    def _consistent(self) -> Recipe:
        if (self.model is None) == (self.timm is None):
            raise ValueError(
                Sentence(
                    "recipe.error.either",
                    "give either model (the ViT from scratch) or timm, and not both.",
                )
            )
        if self.timm:
            _check_timm_name(self.timm.name)
        if self.model and self.optimizer.layer_decay is not None:
            raise ValueError(
                Sentence(
                    "recipe.error.decay",
                    "optimizer.layer_decay: only a timm model has layer groups.",
                )
            )
        if self.model and self.model.channels != 3:
            raise ValueError(
                Sentence(
                    "recipe.error.channels",
                    "model.channels: was {count}, pictures have 3.",
                    count=self.model.channels,
                )
            )
        if self.full_epochs > self.epochs:
            raise ValueError(
                Sentence(
                    "recipe.error.full",
                    "full_epochs: {full} is more than the {epochs} epochs; set it too.",
                    full=self.full_epochs,
                    epochs=self.epochs,
                )
            )
        if self.schedule.min_lr > self.optimizer.lr:
            raise ValueError(
                Sentence(
                    "recipe.error.min_lr",
                    "schedule.min_lr: {least} is more than optimizer.lr, {lr}; lower it.",
                    least=self.schedule.min_lr,
                    lr=self.optimizer.lr,
                )
            )
        return self

    @model_validator(mode="after")
    def _teachable(self) -> Recipe:
        taught = self.distill
        if taught is None:
            if self.model and self.model.distillation_token:
                raise ValueError(
                    Sentence(
                        "recipe.error.token",
                        "model.distillation_token: needs a teacher; add distill.",
                    )
                )
            return self
        if taught.views and (self.augment.mixup or self.augment.cutmix):
            raise ValueError(
                Sentence("recipe.error.views", "distill.views: mixed pictures need views: 0.")
            )
        if taught.mirror and not taught.views:
            raise ValueError(
                Sentence(
                    "recipe.error.mirror",
                    "distill.mirror: mirrors stored answers; set views to 1 or more.",
                )
            )
        if taught.layers:
            if not taught.views:
                raise ValueError(
                    Sentence(
                        "recipe.error.stored",
                        "distill.layers: tokens are stored; set views to 1 or more.",
                    )
                )
            if self.model is None:
                raise ValueError(
                    Sentence(
                        "recipe.error.scratch",
                        "distill.layers: only the ViT from scratch learns tokens.",
                    )
                )
            if not all(0 <= block < self.model.depth for block in taught.layers):
                raise ValueError(
                    Sentence(
                        "recipe.error.blocks",
                        "distill.layers: the model has blocks 0 to {last}.",
                        last=self.model.depth - 1,
                    )
                )
        return self

    def to_dict(self) -> dict[str, Any]:
        return self.model_dump(mode="json")


def _check_timm_name(name: str) -> None:
    import timm

    if not timm.is_model(name.partition(".")[0]):
        near = nearest(name, timm.list_models()) or Sentence(
            "recipe.error.unknown", "; timm knows none like it."
        )
        raise ValueError(
            Sentence(
                "recipe.error.timm",
                "timm.name: there is no model {name!r}{near}",
                name=name,
                near=near,
            )
        )


def list_recipes() -> tuple[str, ...]:
    """Names of the recipes in the package."""
    folder = resources.files(__package__) / "recipes"
    return tuple(sorted(f.name[:-5] for f in folder.iterdir() if f.name.endswith(".yaml")))


def describe_recipes() -> dict[str, str]:
    """What each recipe of the package trains, by its name, without checking the rest of it."""
    return {name: str(_read(name)[0]["description"]) for name in list_recipes()}


def load_recipe(recipe: str | Path | Recipe, overrides: Sequence[str] = ()) -> Recipe:
    """Read a recipe by name or file, and apply overrides such as "optimizer.lr=1e-3".

    Raises:
        RecipeError: no such recipe, not YAML, an unknown key (the nearest one is named), or a
            value outside its range.
    """
    if isinstance(recipe, Recipe):
        values, name = recipe.to_dict(), recipe.name
    else:
        values, name = _read(recipe)
    for override in overrides:
        _override(values, override)
    try:
        return Recipe.model_validate(values)
    except ValidationError as error:
        raise RecipeError(
            "error.recipe.why", "Recipe {name}: {why}", name=name, why=explain(error, Recipe)
        ) from None
    except ModelError as error:
        raise RecipeError(
            "error.recipe.model", "Recipe {name}: model: {why}", name=name, why=error.sentence
        ) from None


def _read(recipe: str | Path) -> tuple[dict[str, Any], str]:
    path = Path(recipe)
    if str(recipe) in list_recipes():
        text = (resources.files(__package__) / "recipes" / f"{recipe}.yaml").read_text("utf-8")
    elif path.suffix in (".yaml", ".yml") or path.exists():
        try:
            text = path.read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            reason = getattr(error, "strerror", None) or Sentence("part.text", "not text")
            raise RecipeError(
                "error.recipe.read",
                "The recipe {path} can't be read: {reason}.",
                path=path,
                reason=reason,
            ) from None
    else:
        names = list_recipes()
        raise RecipeError(
            "error.recipe.unknown",
            "There is no recipe {recipe!r}{near}; give a YAML file or one of {names}.",
            recipe=str(recipe),
            near=nearest(str(recipe), names),
            names=", ".join(names),
        )
    try:
        values = _parsed(text)
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        mark = getattr(error, "problem_mark", None)
        where = Sentence("part.line", " at line {line}", line=mark.line + 1) if mark else ""
        raise RecipeError(
            "error.recipe.yaml",
            "The recipe {recipe} is not valid YAML{where}; check it.",
            recipe=recipe,
            where=where,
        ) from None
    if not isinstance(values, dict):
        raise RecipeError(
            "error.recipe.empty",
            "The recipe {recipe} holds no settings, expected lines of key: value.",
            recipe=recipe,
        )
    return {"name": path.stem, **values}, str(recipe)


def _override(values: dict[str, Any], override: str) -> None:
    key, equals, text = override.partition("=")
    if not equals or not key.strip():
        raise RecipeError(
            "error.recipe.setting",
            "The setting {override!r} has no '='; write it as key=value.",
            override=override,
        )
    *sections, last = key.strip().split(".")
    for section in sections:
        if not isinstance(values.get(section), dict):
            values[section] = {}
        values = values[section]
    try:
        values[last] = _parsed(text)
    except (yaml.YAMLError, ValueError, RecursionError):
        values[last] = text


class _Plain(yaml.SafeLoader):
    """YAML without aliases: a few of them make more than any memory holds, or a list in itself."""

    def compose_node(self, parent: Any, index: Any) -> Any:
        if self.check_event(yaml.AliasEvent):
            raise yaml.MarkedYAMLError("an alias", problem_mark=self.peek_event().start_mark)
        return super().compose_node(parent, index)


def _parsed(text: str) -> Any:
    """What a YAML text holds."""
    return yaml.load(text, _Plain)  # noqa: S506 - it makes plain values alone
