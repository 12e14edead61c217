"""Labels from a table beside the pictures: labels.csv, or Hugging Face's metadata.csv or .jsonl."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any, NamedTuple

from vit_explorer.errors import DataError
from vit_explorer.pictures.picture_files import endings
from vit_explorer.sentences import Sentence

# The first that is there is read. Hugging Face's describe pictures, which need not have labels.
NAMES = ("labels.csv", "labels.tsv", "metadata.csv", "metadata.jsonl")
_OWN = ("labels.csv", "labels.tsv")
TABLES = (".csv", ".tsv", ".jsonl", ".parquet")
# What columns are called, in lower case and with "_" for spaces, the likeliest first.
_PICTURES = ("picture", "file_name", "filename", "file", "path", "image", "image_path", "img", "id")
_LABELS = ("label", "class", "class_name", "category", "target", "label_name")
_SPLITS = ("split", "subset", "set", "partition")
_SHOWN = 5


class Entry(NamedTuple):
    """A row: a picture's path in the table's folder, its label, and its split if it says one."""

    picture: str
    label: str
    split: str


@dataclass(frozen=True)
class LabelTable:
    """What a table says of the pictures in its folder; `pictures` are its rows in their order."""

    path: Path
    entries: tuple[Entry, ...]

    @property
    def classes(self) -> tuple[str, ...]:
        """All labels, in the order of their numbers where all are numbers, else by name."""
        labels = {entry.label for entry in self.entries}
        if all(label.isdecimal() for label in labels):
            return tuple(sorted(labels, key=int))
        return tuple(sorted(labels))


def find_table(folder: Path) -> LabelTable | None:
    """The table of a folder, None where there is none or it has no labels.

    Raises:
        DataError: as `read_table`.
    """
    for name in NAMES:
        if (folder / name).is_file():
            table = read_table(folder / name, must=name in _OWN)
            if table is not None:
                return table
    return None


def read_table(path: Path, must: bool = True) -> LabelTable | None:
    """Read a table; without `must`, one that has no labels is None.

    Raises:
        DataError: not text, no columns of pictures and labels, a row without one of them, or a
            picture with two labels.
    """
    rows = _rows(path)
    columns = [_column(rows, names) for names in (_PICTURES, _LABELS, _SPLITS)]
    picture, label, split = columns
    if picture is None or label is None:
        if not must:
            return None
        raise _without_columns(path, rows)
    entries: dict[str, Entry] = {}
    for number, row in enumerate(rows, start=2):
        entry = Entry(
            str(PurePosixPath(_text(row, picture).replace("\\", "/"))),
            _text(row, label),
            _text(row, split).casefold(),
        )
        if not entry.label or entry.picture in ("", "."):
            raise DataError(
                "error.table.row",
                "Row {number} of {table} lacks a picture or a label; fill it in or remove the row.",
                number=number,
                table=path,
            )
        before = entries.setdefault(entry.picture, entry)
        if before != entry:
            raise DataError(
                "error.table.twice",
                "{table} has {picture} twice, as {one!r} and as {other!r}; keep one of the rows.",
                table=path,
                picture=entry.picture,
                one=before.label,
                other=entry.label,
            )
    return LabelTable(path, tuple(entries.values()))


def read_list(path: Path) -> list[tuple[str, str]]:
    """The paths that a table lists, each once, with its label, or "" where it has none.

    Raises:
        DataError: not a table, or none of pictures.
    """
    rows = _rows(path)
    picture, label = (_column(rows, names) for names in (_PICTURES, _LABELS))
    if picture is None:
        raise _without_columns(path, rows)
    found = {_text(row, picture): _text(row, label) for row in rows if _text(row, picture)}
    return list(found.items())


def _without_columns(path: Path, rows: Sequence[Mapping[str, Any]]) -> DataError:
    return DataError(
        "error.table.columns",
        "{table} has the columns {columns}; it needs one of the pictures' paths, called "
        "picture or file_name, and one called label.",
        table=path,
        columns=", ".join(map(repr, rows[0] if rows else ())) or Sentence("part.none", "none"),
    )


def matched(table: LabelTable, files: Sequence[Path]) -> dict[Path, Entry]:
    """The row of each picture in the table's folder; names may lack their endings.

    Raises:
        DataError: pictures of the table that aren't there.
    """
    root = table.path.parent
    whole = {file.relative_to(root).as_posix(): file for file in files}
    short: dict[str, Path | None] = {}
    for name, file in whole.items():
        bare = name[: -len(file.suffix)]
        short[bare] = None if bare in short else file  # two files of one name: not told apart
    found: dict[Path, Entry] = {}
    missing = []
    for entry in table.entries:
        place = whole.get(entry.picture) or short.get(entry.picture)
        if place is None:
            missing.append(entry.picture)
        else:
            found[place] = entry
    if missing:
        raise DataError(
            "error.table.missing",
            "{table} lists {count:,} pictures that aren't in its folder, such as {names}; add them "
            "or remove their rows.",
            table=table.path,
            count=len(missing),
            names=", ".join(missing[:_SHOWN]),
        )
    return found


def _rows(path: Path) -> list[dict[str, Any]]:
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        if path.suffix.casefold() == ".parquet":
            return pq.read_table(path).to_pylist()
        text = path.read_text(encoding="utf-8-sig")
        if path.suffix == ".jsonl":
            rows = [json.loads(line) for line in text.splitlines() if line.strip()]
            if not all(isinstance(row, dict) for row in rows):
                raise ValueError("a line is no object")
            return rows
        return _separated(text)
    except (OSError, ValueError, RecursionError, csv.Error, pa.ArrowException) as error:
        raise DataError(
            "error.table.read",
            "The table {table} can't be read ({reason}); save it as CSV in UTF-8.",
            table=path,
            reason=getattr(error, "strerror", None) or type(error).__name__,
        ) from None


def _separated(text: str) -> list[dict[str, Any]]:
    """Rows of CSV by commas, semicolons or tabs, whichever its first line has most of; without a
    header a picture comes first and its label second."""
    first = text.partition("\n")[0]
    delimiter = max(",;\t", key=first.count)
    rows = [
        row for row in csv.reader(io.StringIO(text, newline=""), delimiter=delimiter) if any(row)
    ]
    if rows and len(rows[0]) > 1 and Path(rows[0][0]).suffix.casefold() in endings():
        rows.insert(0, [_PICTURES[0], _LABELS[0]])
    header, *others = rows or [[]]
    return [dict(zip(header, row, strict=False)) for row in others]


def _column(rows: Sequence[Mapping[str, Any]], names: Sequence[str]) -> str | None:
    """The first column that is called one of the names."""
    called = {str(key).strip().casefold().replace(" ", "_"): key for key in (rows or [{}])[0]}
    return next((called[name] for name in names if name in called), None)


def _text(row: Mapping[str, Any], column: str | None) -> str:
    value = row.get(column) if column is not None else None
    return "" if value is None else str(value).strip()
