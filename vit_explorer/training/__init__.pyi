# What the package offers; `__init__.py` imports each where it is first used.

from .film_callback import TrainingFilm
from .preview import Preview, preview
from .recipe import Recipe, list_recipes, load_recipe
from .run import RunResult, train
from .ship import Shipment, ship
from .study import STUDIES, Study, StudyResult, run_study

__all__ = [
    "STUDIES",
    "Preview",
    "Recipe",
    "RunResult",
    "Shipment",
    "Study",
    "StudyResult",
    "TrainingFilm",
    "list_recipes",
    "load_recipe",
    "preview",
    "run_study",
    "ship",
    "train",
]
