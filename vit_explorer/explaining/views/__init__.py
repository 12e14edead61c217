"""The views that are no heatmaps, by name.

Each is a function with its record as a decorator, in a module of this folder; no other list names
them.
"""

from importlib import import_module
from pkgutil import iter_modules

from vit_explorer.explaining.views.registry import VIEWS, View, view
from vit_explorer.explaining.views.saving import save_views

__all__ = ["VIEWS", "View", "save_views", "view"]


def import_modules() -> None:
    """Import each module of this folder, which registers the views in it."""
    for module in iter_modules(__path__, f"{__name__}."):
        import_module(module.name)


import_modules()
