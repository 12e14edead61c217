"""Folders that Hugging Face's `datasets` saved (`save_to_disk`), read by pyarrow.

Such a folder is Arrow streams with a description as JSON. pyarrow is here anyway and maps them into
memory; the package itself would bring pandas, multiprocess and a cache for what is one read.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any

from vit_explorer.errors import DataError, PictureError
from vit_explorer.pictures.decode import Picture, open_picture
from vit_explorer.sentences import Sentence

if TYPE_CHECKING:
    import pyarrow as pa

_DICT, _INFO, _STATE = "dataset_dict.json", "dataset_info.json", "state.json"
# What columns are called where there are several, the likeliest first.
_PICTURES = ("image", "img", "picture", "pixel_values")
_LABELS = ("label", "labels", "class", "target", "fine_label", "category")
_WORDS = ("string", "large_string", "int64", "int32", "int16", "int8", "uint8", "bool")


@dataclass(frozen=True, eq=False)
class StoredPicture:
    """A picture within a data file; its bytes are read when it is opened."""

    name: str
    row: int
    _column: pa.ChunkedArray = field(repr=False)

    def open(self) -> Picture:
        """The picture.

        Raises:
            PictureError: it can't be opened, or the row holds none.
        """
        value = self._column[self.row].as_py() or {}
        content = value.get("bytes")
        if content is not None:
            return open_picture(content, name=self.name)
        if value.get("path"):  # saved by reference
            return open_picture(value["path"])
        raise PictureError("error.saved.nothing", "{name} holds no picture.", name=self.name)


@dataclass(frozen=True)
class Saved:
    """The labelled pictures of one split, by class; `note` says where labels come from."""

    pictures: tuple[StoredPicture, ...]
    labels: tuple[int, ...]
    classes: tuple[str, ...]
    note: Sentence


def find_saved(place: str | Path) -> dict[str, Path] | None:
    """The splits of a saved data set by name in lower case, {"": folder} of one without; None for
    any other folder.

    Raises:
        DataError: a description that can't be read.
    """
    folder = Path(place)
    if (folder / _STATE).is_file() and (folder / _INFO).is_file():
        return {"": folder}
    if not (folder / _DICT).is_file():
        return None
    names = _read(folder / _DICT).get("splits")
    # A description from elsewhere names folders of this one alone.
    if not isinstance(names, list) or not all(_is_name(name) for name in names):
        raise _damaged(folder / _DICT)
    return {name.casefold(): folder / name for name in names}


def read_saved(folder: Path) -> Saved:
    """The labelled pictures of one split's folder.

    Raises:
        DataError: no column of pictures or of labels, a row without a label, or damaged files.
    """
    features = _read(folder / _INFO).get("features")
    if not isinstance(features, dict):
        raise _damaged(folder / _INFO)
    picture = _column(features, "Image", _PICTURES)
    label = _column(features, "ClassLabel", _LABELS) or _plain_label(features)
    if picture is None or label is None:
        raise DataError(
            "error.saved.columns",
            "{data} has the columns {columns}; it needs one of pictures (Image) and one of labels "
            "(ClassLabel, or one called label).",
            data=folder,
            columns=", ".join(features) or Sentence("part.none", "none"),
        )
    table = _table(folder, [picture, label])
    values = table[label].to_pylist()
    names = features[label].get("names")
    classes = _classes(values, names)
    places = {one: place for place, one in enumerate(classes)}
    if names is not None:
        values = [names[one] if isinstance(one, int) and 0 <= one < len(names) else None
                  for one in values]  # fmt: skip
    missing = [row for row, one in enumerate(values) if one is None]
    if missing:
        raise DataError(
            "error.saved.label",
            "{count:,} of {total:,} rows of {data} have no label, the first of them row {row}; "
            "leave them out, or give labels.",
            count=len(missing),
            total=len(values),
            data=folder,
            row=missing[0],
        )
    labels = [places[str(one)] for one in values]
    order = sorted(range(len(labels)), key=lambda row: (labels[row], row))
    width, column = len(str(max(len(labels) - 1, 0))), table[picture]
    paths = column.combine_chunks().field("path").to_pylist() if labels else []
    pictures = tuple(
        StoredPicture(_name(folder.name, f"{row:0{width}}", paths[row]), row, column)
        for row in order
    )
    said = Sentence("note.labels.table", "labels from {table}", table=f"{folder.name}: {label}")
    return Saved(pictures, tuple(labels[row] for row in order), classes, said)


def _name(split: str, row: str, path: str | None) -> str:
    """What a picture is called: its row tells it from others of its file's name."""
    own = PurePosixPath((path or "").replace("\\", "/")).name
    return f"{split}/{row}_{own}" if own else f"{split}/{row}"


def _classes(values: Sequence[Any], names: Sequence[str] | None) -> tuple[str, ...]:
    """All classes: those that the column names, else its values, numbers in their order."""
    if names is not None:
        return tuple(map(str, names))
    found = {one for one in values if one is not None}
    numbers = all(isinstance(one, int) for one in found)
    return tuple(map(str, sorted(found) if numbers else sorted(map(str, found))))


def _column(features: Mapping[str, Any], kind: str, likely: Sequence[str]) -> str | None:
    """The column of a kind; of several the likeliest by name, else the first."""
    own = [
        name
        for name, feature in features.items()
        if isinstance(feature, dict) and feature.get("_type") == kind
    ]
    return next((name for name in likely if name in own), own[0] if own else None)


def _plain_label(features: Mapping[str, Any]) -> str | None:
    """A column of words or whole numbers that is called as labels are."""
    return next(
        (
            name
            for name in _LABELS
            if isinstance(features.get(name), dict) and features[name].get("dtype") in _WORDS
        ),
        None,
    )


def _table(folder: Path, columns: list[str]) -> pa.Table:
    """Columns of a split's Arrow files, mapped into memory."""
    import pyarrow as pa

    files = _read(folder / _STATE).get("_data_files")
    names = [str(one.get("filename", "")) for one in files] if isinstance(files, list) else [""]
    if not all(_is_name(name) for name in names):
        raise _damaged(folder / _STATE)
    try:
        parts = [
            pa.ipc.open_stream(pa.memory_map(str(folder / name))).read_all().select(columns)
            for name in names
        ]
        return pa.concat_tables(parts)
    except (OSError, KeyError, ValueError, pa.ArrowException):
        raise _damaged(folder) from None


def _read(file: Path) -> dict[str, Any]:
    try:
        content = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        raise _damaged(file) from None
    if not isinstance(content, dict):
        raise _damaged(file)
    return content


def _is_name(name: Any) -> bool:
    return isinstance(name, str) and name not in ("", ".", "..") and Path(name).name == name


def _damaged(place: Path) -> DataError:
    return DataError(
        "error.saved.damaged",
        "{place} is not as `save_to_disk` of Hugging Face's datasets writes it; save the data set "
        "anew.",
        place=place,
    )
