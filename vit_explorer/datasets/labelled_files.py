"""Labelled pictures of one folder: by a table, by class folders, or by the files' names."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from vit_explorer.datasets.label_tables import Entry, LabelTable, find_table, matched
from vit_explorer.errors import DataError
from vit_explorer.pictures.picture_files import (
    LeftOut,
    beside,
    find_picture_files,
    folders_in,
    merged,
)
from vit_explorer.sentences import Sentence

# "cat_0001", "cat.12", "cat (3)": a label, and the number of a picture.
_NUMBERED = re.compile(r"(?P<label>.*?)[\s._-]*\(?\d+\)?")
_SHOWN = 5


@dataclass(frozen=True)
class Labelled:
    """Pictures with the place of their label in `classes`; `splits` as a table says them, or ""."""

    files: tuple[Path, ...]
    labels: tuple[int, ...]
    classes: tuple[str, ...]
    left_out: LeftOut = field(default_factory=LeftOut)
    note: Sentence | None = None
    splits: tuple[str, ...] = ()


def read_labelled(folder: Path, table: LabelTable | None = None) -> Labelled:
    """The labelled pictures of a folder, by the first of these that it has: `table`, which it may
    be given, a table in it, class folders, names such as `cat_0001.jpg`.

    Raises:
        DataError: names without a label, or as `label_tables`.
    """
    table = table or find_table(folder)
    if table is not None:
        return _by_table(table)
    classes = folders_in(folder)
    return _by_folders(folder, classes) if classes else _by_names(folder)


def _by_table(table: LabelTable) -> Labelled:
    root = table.path.parent
    found = find_picture_files(root, known={table.path.name})
    entries = matched(table, found.files)
    classes = table.classes
    place = {label: index for index, label in enumerate(classes)}
    # A class's pictures together and by name, as in class folders.
    files = sorted(entries, key=lambda file: (place[entries[file].label], file))
    unlisted = [file for file in found.files if file not in entries]
    why = Sentence("part.left.unlisted", "that {table} doesn't list", table=table.path.name)
    return Labelled(
        tuple(files),
        tuple(place[entries[file].label] for file in files),
        classes,
        found.left_out + beside(why, unlisted),
        Sentence("note.labels.table", "labels from {table}", table=table.path.name),
        tuple(_split_of(entries[file]) for file in files),
    )


def _split_of(entry: Entry) -> str:
    """The split that a row says, or the folder that its picture lies in."""
    return entry.split or entry.picture.partition("/")[0].casefold()


def _by_folders(root: Path, folders: Sequence[Path]) -> Labelled:
    files: list[Path] = []
    labels: list[int] = []
    parts = []
    for index, folder in enumerate(folders):
        found = find_picture_files(folder)
        files += found.files
        labels += [index] * len(found.files)
        parts.append(found.left_out)
    top = find_picture_files(root, deep=False)
    why = Sentence("part.left.astray", "that lie beside the class folders")
    left = merged([*parts, top.left_out, beside(why, top.files)])
    return Labelled(tuple(files), tuple(labels), tuple(one.name for one in folders), left)


def _by_names(root: Path) -> Labelled:
    found = find_picture_files(root)
    numbered = {file: _NUMBERED.fullmatch(file.stem) for file in found.files}
    named = {file: match["label"] if match else "" for file, match in numbered.items()}
    known = {label for label in named.values() if _says(label)}
    # "cat.jpg" beside "cat (1).jpg" is the first of them.
    named = {file: file.stem if file.stem in known else label for file, label in named.items()}
    without = [file.name for file, label in named.items() if not _says(label)]
    if without:
        raise DataError(
            "error.data.names",
            "{folder} has no class folders, and {count:,} of {total:,} pictures have no label in "
            "their names, such as {names}; make one folder a class, name them like cat_0001.jpg, "
            "or add labels.csv with the columns picture and label.",
            folder=root,
            count=len(without),
            total=len(named),
            names=", ".join(without[:_SHOWN]),
        )
    classes = tuple(sorted(known))
    files = sorted(named, key=lambda file: (named[file], file))
    note = Sentence("note.labels.names", "labels from the files' names")
    labels = tuple(classes.index(named[file]) for file in files)
    return Labelled(tuple(files), labels, classes, found.left_out, note if files else None)


def _says(label: str) -> bool:
    return any(character.isalpha() for character in label)
