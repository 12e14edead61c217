"""The one record of a view that is no heatmap, and all of them by name."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, TypeVar

from vit_explorer.models.needs import NEEDS
from vit_explorer.tracing.trace import Trace

if TYPE_CHECKING:
    from matplotlib.figure import Figure

Drawn = tuple["Figure", dict[str, Any]]
Draw = TypeVar("Draw", bound=Callable[[Trace], Drawn])


@dataclass(frozen=True, kw_only=True)
class Facts:
    """What is known of a view besides its function."""

    title: str
    summary: str
    source: str
    requires: tuple[str, ...]  # names of `NEEDS`
    tab: str | None = None  # the page's tab that shows it, which then requires it too


@dataclass(frozen=True, kw_only=True)
class View(Facts):
    """What a view shows, and the function that draws it and gives its arrays."""

    draw: Callable[[Trace], Drawn]


_records: dict[str, View] = {}
VIEWS: Mapping[str, View] = MappingProxyType(_records)


class Registering(Facts):
    """Makes a function `draw_NAME` from a `Trace` to a figure and its arrays the view NAME.

    Raises:
        ValueError: a name that is taken, or something required that no model is asked for.
    """

    def __call__(self, draw: Draw) -> Draw:
        name = draw.__name__.removeprefix("draw_")
        if name in _records and _records[name].draw.__module__ != draw.__module__:
            raise ValueError(f"There is a view {name!r} already; choose another name.")
        for need in self.requires:
            if need not in NEEDS:
                known = ", ".join(NEEDS)
                raise ValueError(f"The view {name!r} requires {need!r}; what can be: {known}.")
        _records[name] = View(draw=draw, **vars(self))
        return draw


view = Registering
