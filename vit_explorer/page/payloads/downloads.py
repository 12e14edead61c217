"""The exact numbers behind the page's figures, as named arrays."""

from __future__ import annotations

import io
import zipfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

import numpy as np
import numpy.typing as npt

from vit_explorer.analysis.weights import position_similarity
from vit_explorer.errors import OptionError
from vit_explorer.methods import METHODS
from vit_explorer.options import index_from_text
from vit_explorer.page.state.results import Result
from vit_explorer.sentences import Sentence

LONGEST_NAME = 1000

Arrays = dict[str, npt.NDArray[Any]]


def npz_bytes(result: Result, name: str, item: str = "") -> bytes:
    """Arrays of a figure, in NumPy's format.

    Raises:
        OptionError: no such figure, or no such part of it.
    """
    if name not in DATA:
        raise OptionError(
            "error.numbers.unknown",
            "There are no numbers called {name!r}; choose one of {known}.",
            name=name,
            known=", ".join(DATA),
        )
    return _packed(DATA[name](result, item))


def _packed(arrays: Arrays) -> bytes:
    """Arrays in NumPy's format; `np.savez` takes no array called "file" or "allow_pickle"."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, array in arrays.items():
            with archive.open(f"{name}.npy", "w", force_zip64=True) as file:
                np.lib.format.write_array(file, np.asanyarray(array), allow_pickle=False)
    return buffer.getvalue()


@dataclass(frozen=True)
class Table:
    """Rows of a figure's numbers and names, as the page's CSV has them."""

    columns: list[str]
    rows: list[list[float | str | None]]


def table_bytes(table: Table) -> bytes:
    """A table in NumPy's format, an array a column; what is missing is not a number.

    Raises:
        OptionError: a row is not as long as there are columns, or names that are long or repeated.
    """
    width = len(table.columns)
    if len(set(table.columns)) < width or any(len(row) != width for row in table.rows):
        raise OptionError(
            "error.table.rows",
            "The table's rows should have {width} different columns.",
            width=width,
        )
    if any(len(name) > LONGEST_NAME for name in table.columns):
        raise OptionError(
            "error.table.name",
            "A column's name has more than {most} characters; shorten it.",
            most=LONGEST_NAME,
        )
    found: Arrays = {}
    for name, *cells in zip(table.columns, *table.rows, strict=True):
        given = ["" if cell is None else cell for cell in cells]
        words = any(isinstance(cell, str) and cell for cell in given)
        found[name] = np.array(
            [str(cell) for cell in given]
            if words
            else [np.nan if cell == "" else cell for cell in given]
        )
    return _packed(found)


def _maps(result: Result, name: str) -> Arrays:
    """A map of the one pass, or with "METHOD@LAYER" the method's map of another layer."""
    explanation = result.explanation
    method, _, layer = name.partition("@")
    if method not in explanation.heatmaps:
        raise OptionError(
            "error.numbers.map",
            "There is no map of the method {method!r}; show it on the page first.",
            method=method,
        )
    heatmap = explanation.heatmaps[method]
    if layer:
        index = index_from_text(Sentence("part.layer", "layer"), layer, result.model.card.depth)
        heatmap = METHODS[method](explanation.trace, layer=index)
    return {method: heatmap.values}


def _attention(result: Result, layer: str) -> Arrays:
    number = index_from_text(Sentence("part.layer", "layer"), layer, result.model.card.depth)
    return {"attention": result.explanation.trace.attention(number).cpu().numpy()}


def _positions(result: Result, item: str) -> Arrays:
    if item:
        raise OptionError(
            "error.numbers.part", "The positions have no part {item!r}; leave it out.", item=item
        )
    return {"similarity": position_similarity(result.model)}


# By the first part of the address; the second part says which of them.
DATA: Mapping[str, Callable[[Result, str], Arrays]] = MappingProxyType(
    {"maps": _maps, "attention": _attention, "positions": _positions}
)
