"""What a page may change of a shipped recipe, as `train` takes changes."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, get_args

from vit_explorer.errors import OptionError
from vit_explorer.models.shipped import SHIPPED
from vit_explorer.models.vit import Position
from vit_explorer.training.recipe import Recipe

# What the weights of a run are called on the page begins so.
RUN = "run:"


@dataclass(frozen=True)
class Changes:
    """Settings in place of a recipe's own; None leaves them as they are.

    `position`, `lr` and `batch_size` are the recipe's `model.position`, `optimizer.lr` and
    `batch_size`; `weights` is what it begins with, the name of a shipped model or a run's
    ("run:NAME"); `class_weights` is "balanced", or "none" where the recipe has some.
    """

    epochs: int | None = None
    position: str | None = None
    lr: float | None = None
    batch_size: int | None = None
    weights: str | None = None
    class_weights: str | None = None

    def overrides(self, recipe: Recipe, weights_of: Callable[[str], Path]) -> list[str]:
        """The changes as `load_recipe` takes them, `weights_of` a run's name being its file.

        Raises:
            OptionError: weights that are no shipped model's and no run's.
            ModelError: as `weights_of`.
        """
        values: dict[str, Any] = {
            "model.position": self.position,
            "optimizer.lr": self.lr,
            "batch_size": self.batch_size,
        }
        if self.epochs is not None:
            values |= {"epochs": self.epochs}
            values |= {"full_epochs": min(recipe.full_epochs, max(self.epochs, 0))}
        if self.position == "relative":
            values["model.patch_dropout"] = 0.0  # these positions need every patch
        if self.weights is not None:
            values["initial_weights"] = self._place(weights_of)
        found = [f"{key}={json.dumps(value)}" for key, value in values.items() if value is not None]
        if self.class_weights is not None:
            chosen = None if self.class_weights == "none" else self.class_weights
            found.append(f"class_weights={json.dumps(chosen)}")
        return found

    def _place(self, weights_of: Callable[[str], Path]) -> str:
        """The weights as a recipe names them: what a page sends never becomes a path."""
        name = self.weights or ""
        if name in SHIPPED:
            return name
        if not name.startswith(RUN):
            raise OptionError(
                "error.train.begin",
                "There are no weights {name!r} to begin with; choose {names}, or a run of the "
                "list.",
                name=name,
                names=", ".join(SHIPPED),
            )
        return str(weights_of(name.removeprefix(RUN)).absolute())


def offered(recipe: Recipe) -> dict[str, Any]:
    """A recipe as the form shows it: what it has where nothing is changed; a timm model's positions
    are its own."""
    return {
        "name": recipe.name,
        "epochs": recipe.epochs,
        "position": None if recipe.model is None else recipe.model.position,
        "lr": recipe.optimizer.lr,
        "batch_size": recipe.batch_size,
        "class_weights": recipe.class_weights is not None,
    }


def choices() -> dict[str, Any]:
    """What can be chosen of: kinds of positions, and shipped weights to begin with."""
    return {"positions": list(get_args(Position)), "weights": list(SHIPPED)}
