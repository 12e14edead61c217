# What the package offers; `__init__.py` imports each where it is first used.

from .film_callback import TrainingFilm
from .recipe import Recipe, list_recipes, load_recipe
from .run import RunResult, train
from .ship import Shipment, ship

__all__ = [
    "Recipe",
    "RunResult",
    "Shipment",
    "TrainingFilm",
    "list_recipes",
    "load_recipe",
    "ship",
    "train",
]
