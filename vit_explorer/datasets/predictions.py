"""What a model predicted of each of many labelled pictures, read from an evaluation's files."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from vit_explorer.datasets.evaluation import MANIFEST, Evaluation
from vit_explorer.datasets.sources import Source, find_pictures
from vit_explorer.errors import DataError, ExplorerError
from vit_explorer.sentences import Sentence

FILE = "predictions.parquet"
_COLUMNS = ("picture", "label", "predicted", "probability")


@dataclass(frozen=True, eq=False)
class Predictions:
    """n pictures of C classes with what a model predicted.

    `pictures` are their paths in the data folder; `labels` and `predicted` (n,) places in
    `classes`; `probability` (n,) that of the prediction, 0 to 1. `folder` is where the pictures
    lie, where that is known.
    """

    model: str
    data: str
    classes: tuple[str, ...]
    pictures: tuple[str, ...] = field(repr=False)
    labels: npt.NDArray[np.int32] = field(repr=False)
    predicted: npt.NDArray[np.int32] = field(repr=False)
    probability: npt.NDArray[np.float32] = field(repr=False)
    folder: str | None = None

    def __len__(self) -> int:
        return len(self.pictures)


def predictions_of(found: Evaluation) -> Predictions:
    """The predictions of an evaluation."""
    folder = found.source.folder
    return Predictions(
        found.model,
        found.source.name,
        found.classes,
        found.pictures,
        found.labels.astype(np.int32),
        found.predicted.astype(np.int32),
        found.probability,
        None if folder is None else str(folder),
    )


def read_predictions(place: str | Path) -> Predictions:
    """Read what `evaluate --out` or a training wrote.

    Args:
        place: the folder, or a Parquet file with the columns picture, label, predicted and
            probability.

    Raises:
        DataError: nothing there, or a file that is no such table.
    """
    file = Path(place)
    if file.is_dir():
        file /= FILE
    if not file.is_file():
        raise DataError(
            "error.predictions.none",
            "{place} holds no {file}; give the folder that `vit-explorer evaluate --out` or a "
            "finished training wrote.",
            place=place,
            file=FILE,
        )
    columns, probability, told = _read(file)
    label, predicted = (list(map(str, columns[name])) for name in ("label", "predicted"))
    named = told.get("classes")
    known = named if isinstance(named, list) else sorted({*label, *predicted})
    places = {str(name): place for place, name in enumerate(known)}
    if not {*label, *predicted} <= places.keys() or not np.isfinite(probability).all():
        raise _unreadable(file)
    return Predictions(
        str(told.get("model", "")),
        str(told.get("data", file.parent.name)),
        tuple(places),
        tuple(map(str, columns["picture"])),
        np.array([places[one] for one in label], np.int32),
        np.array([places[one] for one in predicted], np.int32),
        probability,
        _folder_of(file),
    )


def find_predicted(found: Predictions, data: str = "") -> tuple[Source | None, str]:
    """The pictures that predictions are about, in `data` or else where they were measured; None,
    and why, where they are not there."""
    folder = data or found.folder
    if not folder:
        return None, Sentence(
            "error.data.where",
            "The files don't say where their pictures lie; name the data folder too.",
        )
    try:
        source = find_pictures(folder, "test")
    except ExplorerError as error:
        return None, error.sentence
    if set(map(source.name_of, range(len(source)))).isdisjoint(found.pictures):
        return None, Sentence(
            "error.data.other",
            "None of the {count:,} pictures is in {folder}; name the data folder that the "
            "evaluation was made of.",
            count=len(found),
            folder=folder,
        )
    return source, ""


def _read(
    file: Path,
) -> tuple[dict[str, list[Any]], npt.NDArray[np.float32], dict[str, Any]]:
    """The table's columns, its probabilities (n,), and what its metadata say of it."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        table = pq.read_table(file, columns=list(_COLUMNS))
        metadata = (table.schema.metadata or {}).get(b"vit_explorer", b"{}")
        told = json.loads(metadata)
        columns = {name: table[name].to_pylist() for name in _COLUMNS}
        probability = np.asarray(columns["probability"], np.float32)
    except (pa.ArrowException, OSError, ValueError, TypeError, KeyError):
        raise _unreadable(file) from None
    if not table.num_rows:
        raise _unreadable(file)
    return columns, probability, told if isinstance(told, dict) else {}


def _folder_of(file: Path) -> str | None:
    """Where the pictures lie, by the manifest beside the file or by the run's own note."""
    for name, key in ((MANIFEST, "pictures"), ("run.json", "data")):
        try:
            told = json.loads((file.parent / name).read_text(encoding="utf-8"))
        except (OSError, ValueError):
            continue
        if isinstance(told, dict) and isinstance(told.get(key), str):
            return str(told[key])
    return None


def _unreadable(file: Path) -> DataError:
    return DataError(
        "error.predictions.file",
        "{file} is no table of predictions; expected Parquet with the columns picture, label, "
        "predicted and probability, a row a picture.",
        file=file.name,
    )
