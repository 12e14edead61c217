"""Run folders read back: what was asked of each run, how it went, and what it answers."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from vit_explorer.datasets.predictions import Predictions, read_predictions
from vit_explorer.errors import DataError
from vit_explorer.sentences import Sentence
from vit_explorer.training.recipe import Measured, Recipe, load_recipe
from vit_explorer.training.run_folder import Row, RunFolder, measured_on

# What differs from run to run whatever was asked of it, or stands in the recipe already.
_COUNTED = ("seed", "epochs", "seconds")
_CURVES = ("loss", "accuracy")


@dataclass(frozen=True, eq=False)
class RecordedRun:
    """A run as its folder has it.

    `facts` are those of run.json, `rows` the log's, a row an epoch, measured on the test or the
    held-out pictures. `metrics` and `predictions` are about the test pictures; without
    `predictions`, `lacks` says why there are none.
    """

    name: str
    folder: Path
    recipe: Recipe
    facts: Mapping[str, Any] = field(repr=False)
    rows: tuple[Row, ...] = field(repr=False)
    metrics: Mapping[str, Any] | None
    predictions: Predictions | None = field(repr=False)
    lacks: str = ""

    @property
    def measured(self) -> Measured:
        return measured_on(self.rows)

    @property
    def finished(self) -> bool:
        return self.metrics is not None

    @property
    def weights(self) -> Path:
        return self.folder / "last.safetensors"

    @property
    def best(self) -> float | None:
        """The highest accuracy that an epoch was measured as, 0 to 1."""
        column = f"{self.measured}_accuracy"
        return max((row[column] for row in self.rows), default=None)


def read_run(folder: str | Path, name: str | None = None) -> RecordedRun:
    """Read what `train` wrote so far into a run folder.

    Args:
        name: what the run is called; by default as its folder.

    Raises:
        DataError: no run, or a log that can't be read.
        RecipeError: a recipe that can't be.
    """
    place = RunFolder(folder)
    called = name or place.path.resolve().name
    if not (place / "recipe.yaml").is_file():
        raise DataError(
            "error.runs.none",
            "{folder} holds no run; give a folder that `vit-explorer train` wrote.",
            folder=folder,
        )
    recipe = load_recipe(place / "recipe.yaml")
    rows = _read_rows(place / "log.json")
    metrics = _read_json(place / "metrics.json")
    predictions, lacks = None, ""
    if isinstance(metrics, dict):
        try:
            predictions = read_predictions(place.path)
        except DataError as error:
            lacks = error.sentence
    else:
        lacks = _unfinished(place, called, len(rows), recipe.epochs)
    return RecordedRun(
        name=called,
        folder=place.path,
        recipe=recipe,
        facts=place.read_facts(),
        rows=rows,
        metrics=metrics if isinstance(metrics, dict) else None,
        predictions=predictions,
        lacks=lacks,
    )


def differing_settings(runs: Sequence[RecordedRun]) -> dict[str, tuple[Any, ...]]:
    """The settings that differ between the recipes, such as "model.dim", with each run's value in
    the order of the runs; None where a run's recipe has nothing of the kind."""
    recipes = [run.recipe.to_dict() for run in runs]
    return _differing([{k: v for k, v in one.items() if k != "description"} for one in recipes])


def differing_facts(runs: Sequence[RecordedRun]) -> dict[str, tuple[Any, ...]]:
    """What else the runs differ in: data, precision, machine, versions; as `differing_settings`."""
    facts = [{k: v for k, v in run.facts.items() if k not in _COUNTED} for run in runs]
    return _differing(facts)


def _differing(tables: Sequence[Mapping[str, Any]]) -> dict[str, tuple[Any, ...]]:
    flat = [flattened(table) for table in tables]
    keys = dict.fromkeys(key for one in flat for key in one)
    values = {key: tuple(one.get(key) for one in flat) for key in keys}
    return {key: own for key, own in values.items() if any(one != own[0] for one in own)}


def flattened(table: Mapping[str, Any], before: str = "") -> dict[str, Any]:
    """A table of tables as one, by keys such as "model.dim"; what is None is left out."""
    found: dict[str, Any] = {}
    for key, value in table.items():
        if isinstance(value, Mapping):
            found |= flattened(value, f"{before}{key}.")
        elif value is not None:
            found[f"{before}{key}"] = value
    return found


def _read_rows(file: Path) -> tuple[Row, ...]:
    """The log's rows; none where no epoch has ended."""
    if not file.exists():
        return ()
    rows = _read_json(file)
    if not isinstance(rows, list) or not rows or not all(map(_is_row, rows)):
        raise DataError(
            "error.runs.log",
            "{file} is damaged, expected a list of epochs as `vit-explorer train` writes it; "
            "compare another run, or train this one again.",
            file=file,
        )
    return tuple(rows)


def _is_row(row: Any) -> bool:
    """Whether it has the numbers that curves are drawn of."""
    if not isinstance(row, dict):
        return False
    columns = [f"{part}_{what}" for part in ("train", measured_on([row])) for what in _CURVES]
    return all(isinstance(row.get(name), (int, float)) for name in ("epoch", *columns))


def _read_json(file: Path) -> Any:
    try:
        return json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None


def _unfinished(place: RunFolder, name: str, done: int, epochs: int) -> Sentence:
    if place.is_training():
        return Sentence(
            "note.runs.training",
            "{name} is being trained ({done} of {epochs} epochs are done), so its answers about "
            "the test pictures are not known yet; wait for its end.",
            name=name,
            done=done,
            epochs=epochs,
        )
    return Sentence(
        "note.runs.unfinished",
        "{name} is not finished ({done} of {epochs} epochs are done), so its answers about the "
        "test pictures are not known; go on with `vit-explorer train {recipe} --out {folder} "
        "--resume`.",
        name=name,
        done=done,
        epochs=epochs,
        recipe=place / "recipe.yaml",
        folder=place.path,
    )
