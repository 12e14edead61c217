"""A comparison of runs as files: tables for any program, and a report for a browser."""

from __future__ import annotations

import base64
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import yaml

from vit_explorer.datasets.evaluation_files import csv_table, jpeg_text
from vit_explorer.datasets.html import render
from vit_explorer.errors import OptionError
from vit_explorer.methods import METHODS
from vit_explorer.result_folder import fill_folder
from vit_explorer.training.compared_runs import Contested, LookedAt, RunComparison, RunPair
from vit_explorer.training.recorded_runs import RecordedRun
from vit_explorer.training.report import MEASURED_NAMES, png_of

MANIFEST = "comparison.json"
_SIDE = 160
_CLASSES = (
    "class", "pictures", "only_first", "only_second",
    "recall_first", "recall_second", "recall_difference", "recall_low", "recall_high",
    "p", "p_adjusted",
    "f1_first", "f1_second", "f1_difference", "f1_low", "f1_high",
)  # fmt: skip


def write_comparison(found: RunComparison, directory: Path) -> Path:
    """Write a comparison's files into a folder, complete or not at all.

    Raises:
        OutputError: it can't be made or written to.
        OptionError: no folder is named.
    """
    folder = directory.absolute()
    if not folder.name:
        raise OptionError(
            "error.runs.out",
            "The folder for the comparison was {folder}; name one in it.",
            folder=folder,
        )

    def write(place: Path) -> dict[str, Any]:
        curves = png_of(found.figure())
        for name, content in {
            "curves.png": curves,
            "runs.csv": csv_table(RUN_COLUMNS, map(run_row, found.runs)),
            "settings.csv": _settings(found),
            "classes.csv": csv_table(("first", "second", *_CLASSES), _class_rows(found)),
            "pictures.csv": csv_table(_PICTURES, _picture_rows(found)),
            "report.html": _report(found, curves),
        }.items():
            (place / name).write_bytes(content)
        return told(found)

    return fill_folder(folder.parent, folder.name, write, manifest=MANIFEST)


def told(found: RunComparison) -> dict[str, Any]:
    """The numbers of a comparison, for a file or a program."""
    return {
        "format": 1,
        "runs": [dict(zip(RUN_COLUMNS, run_row(run), strict=True)) for run in found.runs],
        "settings": found.settings,
        "facts": found.facts,
        "pairs": [_pair_told(one) for one in found.pairs],
        "notes": list(map(str, found.notes)),
    }


def _pair_told(one: RunPair) -> dict[str, Any]:
    low, high = one.answers.interval
    first, second = one.answers.accuracy
    return {
        "first": one.first,
        "second": one.second,
        "pictures": len(one.answers),
        "accuracy": [first, second],
        "difference": second - first,
        "interval": [low, high],
        "only_first": len(one.answers.only_first),
        "only_second": len(one.answers.only_second),
        "p": one.answers.p,
    }


RUN_COLUMNS = (
    "run", "recipe", "seed", "epochs", "of_epochs", "measured_on", "best_accuracy", "finished",
    "test_accuracy", "test_cross_entropy", "test_calibration_error", "seconds",
)  # fmt: skip


def run_row(run: RecordedRun) -> tuple[Any, ...]:
    """A run's row of a table with `RUN_COLUMNS`."""
    metrics = run.metrics or {}
    return (
        run.name,
        run.recipe.name,
        run.recipe.seed,
        len(run.rows),
        run.recipe.epochs,
        MEASURED_NAMES[run.measured],
        run.best,
        run.finished,
        *(metrics.get(name) for name in ("accuracy", "nll", "ece")),
        sum(row.get("seconds", 0.0) for row in run.rows),
    )


def _settings(found: RunComparison) -> bytes:
    """What differs, a row a setting: of the recipes first, then all else."""
    both = (("recipe", found.settings), ("run", found.facts))
    rows = ((of, key, *map(shown, own)) for of, table in both for key, own in table.items())
    return csv_table(("of", "setting", *(run.name for run in found.runs)), rows)


def shown(value: Any) -> str:
    """A setting's value as a recipe would have it; "–" where there is none.

    >>> shown(0.001), shown([1.0, 0.5]), shown(None), shown(True)
    ('0.001', '[1.0, 0.5]', '–', 'true')
    """
    if value is None:
        return "–"
    if isinstance(value, str):
        return value
    text = yaml.safe_dump(value, default_flow_style=True, width=10**6)
    return text.removesuffix("\n").removesuffix("\n...")


def _class_rows(found: RunComparison) -> Iterator[Sequence[Any]]:
    for one in found.pairs:
        for row in class_table(one):
            yield one.first, one.second, *row.values()


def class_table(one: RunPair) -> list[dict[str, Any]]:
    """A row a class, from where the second gained most to where it lost most."""
    own = one.answers.by_class
    columns = (
        own.pictures, own.only_first, own.only_second,
        *own.recall, own.recall_difference, own.recall_low, own.recall_high,
        own.p, own.p_adjusted,
        *own.f1, own.f1_difference, own.f1_low, own.f1_high,
    )  # fmt: skip
    lists = zip(own.classes, *(column.tolist() for column in columns), strict=True)
    rows = [dict(zip(_CLASSES, row, strict=True)) for row in lists]
    return sorted(rows, key=lambda row: -row["recall_difference"])


_PICTURES = (
    "picture", "label", "right", "wrong",
    "predicted_right", "probability_right", "predicted_wrong", "probability_wrong",
)  # fmt: skip


def _picture_rows(found: RunComparison) -> Iterator[Sequence[Any]]:
    """Every picture that one of a pair gets right and the other wrong."""
    for one in found.pairs:
        answers = one.answers
        sides = ((answers.only_first, 0), (answers.only_second, 1))
        for places, right in sides:
            names = (one.first, one.second) if right == 0 else (one.second, one.first)
            for place in places.tolist():
                said = _said(one, place)
                yield (
                    answers.pictures[place], answers.classes[answers.labels[place]], *names,
                    *said[right], *said[1 - right],
                )  # fmt: skip


def _said(one: RunPair, place: int) -> list[tuple[str, float]]:
    """What the first and the second say of a picture, and how sure they are."""
    answers = one.answers
    said = zip((answers.first, answers.second), answers.probability, strict=True)
    return [(answers.classes[own[place]], float(share[place])) for own, share in said]


def _report(found: RunComparison, curves: bytes) -> bytes:
    return render(
        __package__,
        "comparison.html.jinja",
        found=found,
        runs=[dict(zip(RUN_COLUMNS, run_row(run), strict=True)) for run in found.runs],
        curves=base64.b64encode(curves).decode(),
        differing=[
            ("What differs between the recipes", _as_text(found.settings)),
            ("What else differs", _as_text(found.facts)),
        ],
        pairs=[
            {
                **_pair_told(one),
                "verdict": one.verdict,
                "measured": one.measured,
                "classes": class_table(one),
                "shown": [
                    (one.first, one.second, list(_shown_pictures(one, one.only_first))),
                    (one.second, one.first, list(_shown_pictures(one, one.only_second))),
                ],
                "method": METHODS[one.method].title if one.method else None,
            }
            for one in found.pairs
        ],
    )


def _as_text(table: dict[str, tuple[Any, ...]]) -> dict[str, list[str]]:
    return {key: list(map(shown, own)) for key, own in table.items()}


def _shown_pictures(one: RunPair, contested: Iterable[Contested]) -> Iterator[dict[str, Any]]:
    for picture in contested:
        image = picture.image
        yield {
            "picture": one.answers.pictures[picture.place],
            "label": one.answers.classes[one.answers.labels[picture.place]],
            "image": None if image is None else jpeg_text(image, _SIDE),
            "said": [
                {"run": run, "predicted": predicted, "probability": share, **_map(looked)}
                for run, (predicted, share), looked in zip(
                    (one.first, one.second),
                    _said(one, picture.place),
                    picture.maps or (None, None),
                    strict=True,
                )
            ],
        }


def _map(looked: LookedAt | None) -> dict[str, Any]:
    if looked is None:
        return {"map": None}
    return {"map": jpeg_text(looked.image, _SIDE), "low": looked.scale[0], "high": looked.scale[1]}
