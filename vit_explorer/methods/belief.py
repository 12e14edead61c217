"""How far each method is to be believed, as measured: the order in which methods are offered.

`measured.json` holds by model and protocol each method's mean gain (insertion - deletion) over some
pictures. `python -m tests.faithfulness_table` writes it; docs/faithfulness.md has the whole.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from functools import cache
from importlib import resources
from typing import Any

import numpy as np


@cache
def measured() -> Mapping[str, Any]:
    """By model and protocol `gains` by method, and over how many `pictures` each is a mean."""
    file = resources.files(__package__).joinpath("measured.json")
    found: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))
    return found


def standing(table: Mapping[str, Any]) -> dict[str, float]:
    """Each method's mean place in the tables that have it: 0 is first of all, 1 the last.

    Gains of different models and protocols are of different sizes, so places are averaged, not
    gains; a method that a table lacks is judged by the others.
    """
    places: dict[str, list[float]] = {}
    for protocols in table.values():
        for one in protocols.values():
            names = sorted(one["gains"], key=lambda name: -one["gains"][name])
            for name, place in zip(names, np.linspace(0, 1, len(names)), strict=True):
                places.setdefault(name, []).append(float(place))
    return {name: sum(found) / len(found) for name, found in places.items()}


def believed(names: Iterable[str]) -> list[str]:
    """Names from the most to the least believed; those never measured come last, in their order."""
    known = standing(measured())
    return sorted(names, key=lambda name: known.get(name, np.inf))
