# What the package offers; `__init__.py` imports each where it is first used.

from .recipe import Recipe, list_recipes, load_recipe
from .run import RunResult, train
from .ship import Shipment, ship

__all__ = [
    "Recipe",
    "RunResult",
    "Shipment",
    "list_recipes",
    "load_recipe",
    "ship",
    "train",
]
