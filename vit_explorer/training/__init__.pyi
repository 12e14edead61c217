# What the package offers; `__init__.py` imports each where it is first used.

from .data import export_images
from .evaluate import Metrics, evaluate
from .recipe import Recipe, list_recipes, load_recipe
from .run import RunResult, train
from .ship import Shipment, ship

__all__ = [
    "Metrics",
    "Recipe",
    "RunResult",
    "Shipment",
    "evaluate",
    "export_images",
    "list_recipes",
    "load_recipe",
    "ship",
    "train",
]
