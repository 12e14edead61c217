"""When a run has gained nothing for long enough, and which of its epochs was the best.

Both are read off the log's rows, so a resumed run counts as an uninterrupted one does.
"""

from __future__ import annotations

from collections.abc import Sequence

from vit_explorer.sentences import Sentence
from vit_explorer.training.recipe import Measured, Recipe
from vit_explorer.training.run_folder import Row

COUNT = "epochs_without_gain"  # the log's column


def epochs_without_gain(values: Sequence[float], min_gain: float) -> int:
    """How many epochs ago the last gain was: a value that exceeds that of the gain before it, or
    is the first, by more than `min_gain`.

    >>> epochs_without_gain([0.5, 0.6, 0.6, 0.605], min_gain=0.01)
    2
    """
    best, last = values[0], 0
    for epoch, value in enumerate(values):
        if value - min_gain > best:
            best, last = value, epoch
    return len(values) - 1 - last


def quality(recipe: Recipe, rows: Sequence[Row], measured: Measured) -> list[float]:
    """What each epoch is judged by, more being better: accuracy, or minus the loss."""
    if recipe.early_stop and recipe.early_stop.by == "loss":
        return [-row[f"{measured}_loss"] for row in rows]
    return [row[f"{measured}_accuracy"] for row in rows]


def best_epoch(values: Sequence[float]) -> int:
    """The best epoch, counted from 1; of equals the last."""
    return max(range(len(values)), key=lambda epoch: (values[epoch], epoch)) + 1


def is_over(recipe: Recipe, rows: Sequence[Row]) -> bool:
    """Whether a run has come to its end: its last epoch, or the end of its patience."""
    stop = recipe.early_stop
    out_of_patience = stop is not None and bool(rows) and rows[-1][COUNT] >= stop.patience
    return out_of_patience or len(rows) >= recipe.epochs


def ending(recipe: Recipe, rows: Sequence[Row], measured: Measured) -> Sentence | None:
    """How a run with early stopping ended; None of one without."""
    stop = recipe.early_stop
    if stop is None:
        return None
    best = best_epoch(quality(recipe, rows, measured))
    by = (
        Sentence("part.heldout.loss", "loss on the held-out pictures")
        if stop.by == "loss"
        else Sentence("part.heldout.accuracy", "accuracy on the held-out pictures")
    )
    if rows[-1][COUNT] < stop.patience:
        return Sentence(
            "note.early.whole",
            "all {epochs} epochs were trained; the model is that of epoch {best}, the best by {by}",
            epochs=recipe.epochs,
            best=best,
            by=by,
        )
    return Sentence(
        "note.early.stopped",
        "ended after epoch {last} of {epochs}: no gain of more than {gain:g} in {by} "
        "for {count} epochs; the model is that of epoch {best}, the best",
        last=len(rows),
        epochs=recipe.epochs,
        count=int(rows[-1][COUNT]),
        gain=stop.min_gain,
        by=by,
        best=best,
    )
