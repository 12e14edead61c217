"""The methods by name.

Each is a function with its record as a decorator, in a module of this folder; no other list names
them. `registry` says what a record holds, CONTRIBUTING how to add one.
"""

from importlib import import_module
from pkgutil import iter_modules

from vit_explorer.methods.heatmap import Heatmap, Noted
from vit_explorer.methods.registry import (
    METHODS,
    Method,
    find_method,
    first_shown,
    in_order,
    method,
    place,
)

__all__ = [
    "METHODS",
    "Heatmap",
    "Method",
    "Noted",
    "find_method",
    "first_shown",
    "in_order",
    "method",
    "place",
]


def import_modules() -> None:
    """Import each module of this folder, which registers the methods in it."""
    for module in iter_modules(__path__, f"{__name__}."):
        import_module(module.name)


import_modules()
