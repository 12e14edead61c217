"""Runs side by side as the page takes them."""

from __future__ import annotations

from typing import Any

from vit_explorer.sentences import keyed
from vit_explorer.training.compared_runs import RunComparison
from vit_explorer.training.comparison_files import shown
from vit_explorer.training.recorded_runs import RecordedRun

_MEASURES = ("loss", "accuracy")


def told_runs(found: RunComparison) -> dict[str, Any]:
    """Each run's curves, what differs between the runs as text, and which is better."""
    return {
        "runs": [_curves(run) for run in found.runs],
        "differs": [
            {"of": of, "setting": key, "values": list(map(shown, own))}
            for of, table in (("recipe", found.settings), ("run", found.facts))
            for key, own in table.items()
        ],
        "said": [keyed(said) for one in found.pairs for said in (one.verdict, one.measured)],
        "notes": [keyed(note) for note in found.notes],
    }


def _curves(run: RecordedRun) -> dict[str, Any]:
    parts = {"train": "train", "test": run.measured}
    return {
        "name": run.name,
        "measured": run.measured,
        "epochs": [int(row["epoch"]) for row in run.rows],
        **{
            f"{part}_{measure}": [row[f"{column}_{measure}"] for row in run.rows]
            for part, column in parts.items()
            for measure in _MEASURES
        },
    }
