"""Class names from files, as many as a model has classes."""

from __future__ import annotations

import csv
import json
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from vit_explorer.errors import ModelError
from vit_explorer.sentences import Sentence, escaped

LABEL_ENDINGS = (".txt", ".csv", ".json")
HEADINGS = {"name", "names", "label", "labels", "class", "classes", "class_name"}


def read_labels(path: str | Path, classes: int, model: str) -> tuple[str, ...]:
    """A model's class names from a file.

    Text holds one name a line; CSV rows of index and name, or a name a line under a heading; JSON
    a list, or an object of index to name or of name to index.

    Raises:
        ModelError: no such file, none of these forms, or not one name a class.
    """
    names, hint = names_in(path)
    return check_labels(names, classes, model, hint)


def names_in(path: str | Path) -> tuple[tuple[str, ...], str]:
    """The names that a file holds, and what may be wrong with their number.

    Raises:
        ModelError: no such file, or none of the forms of `read_labels`.
    """
    path = Path(path)
    try:
        text = path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError):
        raise ModelError(
            "error.labels.text",
            "The label file {file} can't be read as text; give one class name a line, CSV or JSON.",
            file=path.name,
        ) from None
    if path.suffix == ".json":
        return tuple(map(str, _from_json(text, path.name))), ""
    lines = [line.strip() for line in text.rstrip().splitlines()]
    named = _from_csv(text, path.name) if path.suffix == ".csv" else filter(None, lines)
    hint = (
        Sentence(
            "part.blank",
            " (line {line} of {file} is blank)",
            line=lines.index("") + 1,
            file=path.name,
        )
        if "" in lines
        else ""
    )
    return tuple(named), hint


def check_labels(names: Iterable[Any], classes: int, model: str, hint: str = "") -> tuple[str, ...]:
    """The names as texts without control characters.

    Raises:
        ModelError: they are not one a class; `hint` says why.
    """
    labels = tuple(escaped(str(name)) for name in names)
    if len(labels) != classes:
        raise ModelError(
            "error.labels.count",
            "{count} labels were given for {model}, which has {classes} classes{hint}; give one "
            "label a class.",
            count=len(labels),
            model=model,
            classes=classes,
            hint=hint,
        )
    return labels


def _from_json(text: str, file: str) -> list[Any]:
    try:
        content = json.loads(text)
        if isinstance(content, list):
            return content
        if all(type(value) is int for value in content.values()):
            return _ordered((index, name) for name, index in content.items())
        return _ordered((int(index), name) for index, name in content.items())
    except (ValueError, AttributeError, RecursionError):
        raise ModelError(
            "error.labels.json",
            'The label file {file} is no JSON list of names, nor an object of the indices "0", '
            '"1" and so on to names, or of names to them.',
            file=file,
        ) from None


def _from_csv(text: str, file: str) -> list[str]:
    try:
        rows = [[cell.strip() for cell in row] for row in csv.reader(text.splitlines())]
        rows = [row for row in rows if any(row)]
        if len({len(row) for row in rows}) != 1:
            raise ValueError("rows of several lengths")
        return _named(rows)
    except (ValueError, csv.Error):
        raise ModelError(
            "error.labels.csv",
            "The label file {file} is no CSV of index and name, each index from 0 once, nor of "
            "one name a line under a heading; quote names that hold commas.",
            file=file,
        ) from None


def _named(rows: Sequence[Sequence[str]]) -> list[str]:
    head, *body = rows
    columns = range(len(head))
    index = next(
        (at for at in columns if len(head) > 1 and all(row[at].isdecimal() for row in body)), None
    )
    named = [at for at in columns if head[at].casefold() in HEADINGS]
    if not named and (index is None or head[index].isdecimal()):
        body = list(rows)
    name = next(at for at in (*named, *columns) if at != index)
    if index is None:
        return [row[name] for row in body]
    return _ordered((int(row[index]), row[name]) for row in body)


def _ordered(pairs: Iterable[tuple[int, Any]]) -> list[Any]:
    ordered = sorted(pairs, key=lambda pair: pair[0])
    if [index for index, _ in ordered] != list(range(len(ordered))):
        raise ValueError("the indices are not 0, 1 and so on, each once")
    return [name for _, name in ordered]
