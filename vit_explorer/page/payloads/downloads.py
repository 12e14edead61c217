"""A figure of the page as NumPy's file: the numbers of its CSV, and what it shows of what."""

from __future__ import annotations

import io
import json
import zipfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

import numpy as np
import numpy.typing as npt

from vit_explorer.analysis.weights import position_similarity
from vit_explorer.errors import OptionError
from vit_explorer.options import index_from_text
from vit_explorer.page.state.results import Result
from vit_explorer.sentences import Sentence

LONGEST_NAME = 1000
METADATA = "metadata"
# Of a grid's table, the value's column comes after its row and its column.
GRID_COLUMNS = 3
# What JSON has no number for: missing ones, and those that are not finite by their names.
BESIDE_NUMBERS = ("", "Infinity", "-Infinity", "NaN")

Arrays = dict[str, npt.NDArray[Any]]
Cell = float | str | None


@dataclass(frozen=True)
class Saved:
    """What the page shows and saves: rows of numbers and names as its CSV has them.

    Of a `grid` (rows, columns) a line holds a cell's row, column and value, cells row by row.
    `whole` names what the result holds besides, such as "attention/3".
    """

    figure: str
    title: str
    shows: str
    targeted: bool
    columns: list[str]
    rows: list[list[Cell]]
    grid: tuple[int, int] | None = None
    whole: str = ""


def npz_bytes(result: Result, saved: Saved) -> bytes:
    """A figure's arrays, in NumPy's format: of a grid one float32 array of its shape, else one a
    column, what is missing being not a number; and `metadata`, what it shows as JSON.

    Raises:
        OptionError: a row is not as long as there are columns, names that are long or repeated, a
            grid of other cells, or `whole` that is not there.
    """
    _check_names(saved.columns)
    width = len(saved.columns)
    if any(len(row) != width for row in saved.rows):
        raise OptionError(
            "error.table.rows",
            "The table's rows should have {width} different columns.",
            width=width,
        )
    arrays = _columns(saved) if saved.grid is None else {saved.columns[-1]: _grid(saved)}
    if saved.whole:
        arrays |= _whole(result, saved.whole)
    arrays[METADATA] = np.array(json.dumps(_metadata(result, saved), ensure_ascii=False))
    return _packed(arrays)


def _check_names(columns: Sequence[str]) -> None:
    names = {*columns, METADATA}
    if len(names) <= len(columns):
        raise OptionError(
            "error.table.rows",
            "The table's rows should have {width} different columns.",
            width=len(columns),
        )
    if any(len(name) > LONGEST_NAME for name in columns):
        raise OptionError(
            "error.table.name",
            "A column's name has more than {most} characters; shorten it.",
            most=LONGEST_NAME,
        )


def _columns(saved: Saved) -> Arrays:
    columns = zip(*saved.rows, strict=True) if saved.rows else ((),) * len(saved.columns)
    return {name: _column(cells) for name, cells in zip(saved.columns, columns, strict=True)}


def _column(cells: Sequence[Cell]) -> npt.NDArray[Any]:
    """Names as they are, counts as integers, and everything measured as float32."""
    if any(isinstance(cell, str) and cell not in BESIDE_NUMBERS for cell in cells):
        return np.array(["" if cell is None else str(cell) for cell in cells])
    numbers = np.array([_number(cell) for cell in cells])
    counts = bool(np.all(np.isfinite(numbers) & (numbers == np.rint(numbers))))
    return numbers.astype(np.int64 if counts else np.float32)


def _number(cell: Cell) -> float:
    return np.nan if cell is None or cell == "" else float(cell)


def _grid(saved: Saved) -> npt.NDArray[np.float32]:
    rows, columns = saved.grid or (0, 0)
    if rows * columns != len(saved.rows) or len(saved.columns) != GRID_COLUMNS:
        raise OptionError(
            "error.table.grid",
            "The table has {given} rows, expected a row, a column and a value for each of the "
            "{rows}×{columns} cells.",
            given=len(saved.rows),
            rows=rows,
            columns=columns,
        )
    if any(isinstance(cell, str) and cell not in BESIDE_NUMBERS for *_, cell in saved.rows):
        raise OptionError(
            "error.table.number", "The table of a grid has words for values; send numbers."
        )
    values = [_number(cell) for *_, cell in saved.rows]
    return np.array(values, np.float32).reshape(rows, columns)


def _metadata(result: Result, saved: Saved) -> dict[str, Any]:
    """Where a figure's numbers come from."""
    explanation = result.explanation
    target = explanation.target if saved.targeted else None
    return {
        "figure": saved.figure,
        "title": saved.title,
        "shows": saved.shows,
        "target": None if target is None else {"name": result.aim_name, "label": target.label},
        "picture": {"name": result.picture.name, "sha256": result.picture.sha256},
        "model": result.model.card.name,
        "weights_sha256": result.model.sha256,
        "versions": dict(explanation.versions),
    }


def _packed(arrays: Arrays) -> bytes:
    """Arrays in NumPy's format; `np.savez` takes no array called "file" or "allow_pickle"."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, array in arrays.items():
            with archive.open(f"{name}.npy", "w", force_zip64=True) as file:
                np.lib.format.write_array(file, np.asanyarray(array), allow_pickle=False)
    return buffer.getvalue()


def _whole(result: Result, path: str) -> Arrays:
    name, _, item = path.partition("/")
    if name not in WHOLE:
        raise OptionError(
            "error.numbers.unknown",
            "There are no numbers called {name!r}; choose one of {known}.",
            name=name,
            known=", ".join(WHOLE),
        )
    return WHOLE[name](result, item)


def _attention(result: Result, layer: str) -> Arrays:
    number = index_from_text(Sentence("part.layer", "layer"), layer, result.model.card.depth)
    attention = result.explanation.trace.attention(number).float()
    return {"attention_of_all_heads": attention.cpu().numpy()}


def _positions(result: Result, item: str) -> Arrays:
    if item:
        raise OptionError(
            "error.numbers.part", "The positions have no part {item!r}; leave it out.", item=item
        )
    return {"similarity": position_similarity(result.model)}


# What is too large to be sent back by the page, which has it from here.
WHOLE: Mapping[str, Callable[[Result, str], Arrays]] = MappingProxyType(
    {"attention": _attention, "positions": _positions}
)
