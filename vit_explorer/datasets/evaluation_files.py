"""An evaluation as files: tables for any program, and a report for a browser."""

from __future__ import annotations

import base64
import csv
import io
import json
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
from PIL import Image

from vit_explorer.datasets.evaluation import Evaluation
from vit_explorer.datasets.html import render
from vit_explorer.datasets.metrics import reliability
from vit_explorer.sentences import cell

# How much a report shows: pictures, confusions, and classes of which a whole matrix can be read.
_MISTAKES, _CONFUSIONS, _MATRIX = 60, 30, 40
_SIDE = 96


def contents(found: Evaluation) -> dict[str, bytes]:
    """The files of an evaluation, by their names."""
    return {
        "predictions.parquet": _parquet(found),
        "predictions.csv": csv_table(("picture", *_COLUMNS), _rows(found)),
        "classes.csv": _classes(found),
        "confusion.csv": _confusion(found),
        "report.html": _report(found),
    }


_COLUMNS = ("label", "predicted", "probability", "rank", "correct")


def _rows(found: Evaluation) -> Iterable[Sequence[Any]]:
    names = found.classes
    columns = (found.labels, found.predicted, found.probability, found.rank, found.correct)
    lists = zip(found.pictures, *(column.tolist() for column in columns), strict=True)
    for picture, label, predicted, probability, rank, correct in lists:
        said = "true" if correct else "false"
        yield picture, names[label], names[predicted], f"{probability:.8g}", rank, said


def _parquet(found: Evaluation) -> bytes:
    import pyarrow as pa
    import pyarrow.parquet as pq

    names = pa.array(found.classes, pa.string())
    table = pa.table(
        {
            "picture": pa.array(found.pictures, pa.string()),
            "label": names.take(pa.array(found.labels)),
            "predicted": names.take(pa.array(found.predicted)),
            "probability": pa.array(found.probability, pa.float32()),
            "rank": pa.array(found.rank, pa.int32()),
            "correct": pa.array(found.correct, pa.bool_()),
        }
    ).replace_schema_metadata({"vit_explorer": json.dumps(found.told(), ensure_ascii=False)})
    content = io.BytesIO()
    pq.write_table(table, content)
    return content.getvalue()


def _classes(found: Evaluation) -> bytes:
    own = found.by_class
    header = (
        "class",
        "pictures",
        "predicted",
        "precision",
        "recall",
        "f1",
        "calibration_error",
    )
    columns = (
        own.pictures,
        own.predicted,
        own.precision,
        own.recall,
        own.f1,
        own.calibration_error,
    )
    return csv_table(header, zip(own.classes, *(one.tolist() for one in columns), strict=True))


def _confusion(found: Evaluation) -> bytes:
    """A row a true class, a column a predicted one."""
    rows = ((name, *row) for name, row in zip(found.classes, found.confusion.tolist(), strict=True))
    return csv_table(("label", *found.classes), rows)


def csv_table(header: Sequence[str], rows: Iterable[Sequence[Any]]) -> bytes:
    """A CSV file in which no text is a formula."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(map(cell, header))
    writer.writerows(map(cell, row) for row in rows)
    return text.getvalue().encode("utf-8", "backslashreplace")


def _report(found: Evaluation) -> bytes:
    own = found.by_class
    shares = found.confusion / np.maximum(found.confusion.sum(axis=1, keepdims=True), 1)
    mistakes = found.mistakes()
    return render(
        __package__,
        "report.html.jinja",
        found=found,
        wrong=len(mistakes),
        per_class=[
            {
                "name": name,
                "pictures": int(own.pictures[i]),
                "predicted": int(own.predicted[i]),
                "precision": own.precision[i],
                "recall": own.recall[i],
                "f1": own.f1[i],
                "calibration": own.calibration_error[i],
            }
            for i, name in enumerate(own.classes)
        ],
        matrix=None if len(own.classes) > _MATRIX else shares,
        confusions=_confusions(found),
        mistakes=[_mistake(found, int(place)) for place in mistakes[:_MISTAKES]],
        bins=reliability(found.probability, found.correct),
    )


def _confusions(found: Evaluation) -> list[dict[str, Any]]:
    """The commonest pairs of a true and another predicted class."""
    counts = found.confusion.copy()
    np.fill_diagonal(counts, 0)
    order = np.argsort(-counts, axis=None, kind="stable")[:_CONFUSIONS]
    pairs = [divmod(int(place), len(found.classes)) for place in order]
    return [
        {
            "label": found.classes[true],
            "predicted": found.classes[predicted],
            "count": int(counts[true, predicted]),
            "share": counts[true, predicted] / found.confusion[true].sum(),
        }
        for true, predicted in pairs
        if counts[true, predicted]
    ]


def _mistake(found: Evaluation, place: int) -> dict[str, Any]:
    return {
        "picture": found.pictures[place],
        "label": found.classes[found.labels[place]],
        "predicted": found.classes[found.predicted[place]],
        "probability": float(found.probability[place]),
        "rank": int(found.rank[place]),
        "image": jpeg_text(found.source.picture(place)),
    }


def jpeg_text(image: Image.Image, side: int = _SIDE) -> str:
    """A picture, at most so many pixels high and wide, as text that a page holds in itself."""
    small = image.copy()
    small.thumbnail((side, side))
    content = io.BytesIO()
    small.save(content, "JPEG", quality=85)
    return base64.b64encode(content.getvalue()).decode()
