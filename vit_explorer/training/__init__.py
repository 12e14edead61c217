"""Training: recipes, data, the loop, and measuring what came out."""

from vit_explorer.training.data import export_images
from vit_explorer.training.evaluate import Metrics, evaluate
from vit_explorer.training.recipe import Recipe, list_recipes, load_recipe
from vit_explorer.training.run import RunResult, train
from vit_explorer.training.ship import Shipment, ship

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
