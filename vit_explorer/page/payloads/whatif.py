"""What the prediction becomes when patches are taken away or heads are switched off."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Literal

import numpy as np
from pydantic import BaseModel, ConfigDict

from vit_explorer.analysis.intervention_result import Change, Intervention
from vit_explorer.analysis.interventions import intervene_many
from vit_explorer.errors import OptionError
from vit_explorer.models.card import ModelCard
from vit_explorer.page.state.results import Result

# Classes that are told, at most: the target, the best before, then those that rose among them.
MOST_ROWS = 7
# Points of a removal curve after the first; two curves share one batch.
POINTS = 16


class ChangeOrder(BaseModel):
    """Heads as (layer, head) and patches row by row, from 0, that are to go."""

    model_config = ConfigDict(extra="forbid")

    patches: list[int]
    heads: list[tuple[int, int]]
    how: Literal["drop", "grey"]


class RemovalOrder(BaseModel):
    """Every patch, the one to go first first; `heads` are off all the time."""

    model_config = ConfigDict(extra="forbid")

    ranking: list[int]
    heads: list[tuple[int, int]]
    how: Literal["drop", "grey"]


def describe_change(result: Result, order: ChangeOrder) -> dict[str, Any]:
    """Probabilities (0 to 1) or values before and after, of the best of both and of the target.

    Raises:
        ExplorerError: as `intervene`.
    """
    change = Change(tuple(order.heads), tuple(order.patches), order.how)
    (found,) = _tried(result, (change,))
    target = found.target_before
    told = {each.index: each.label for each in (*found.before, *found.after)}
    others = [index for index in told if index != target.index][: MOST_ROWS - 1]
    rows = [(target.index, target.label, target.measured, found.target_after.measured)]
    rows += [
        (
            index,
            told[index],
            float(found.measured_before[index]),
            float(found.measured_after[index]),
        )
        for index in others
    ]
    valued = target.probability is None
    rows.sort(key=lambda row: row[0] if valued else -float(found.measured_before[row[0]]))
    return {
        "rows": [
            dict(zip(("index", "label", "before", "after"), row, strict=True)) for row in rows
        ],
        "target": target.index,
        # Of values none is likelier than another.
        "first": target.index if valued else found.after[0].index,
    }


def describe_removal(result: Result, order: RemovalOrder) -> dict[str, Any]:
    """The target's probability or value, count by count of a ranking's first and last gone.

    Raises:
        OptionError: a ranking that is not every patch once, or as `intervene`.
    """
    card = result.model.card
    patches = card.grid[0] * card.grid[1]
    if sorted(order.ranking) != list(range(patches)):
        raise OptionError(
            "error.ranking",
            "The ranking has {count} entries, expected every patch of 0 to {last} once.",
            count=len(order.ranking),
            last=patches - 1,
        )
    counts = removal_counts(card, order.how)
    heads = tuple(order.heads)

    def without(ranking: list[int]) -> Iterator[Change]:
        for count in counts:
            yield Change(heads, tuple(ranking[:count]), order.how)

    found = _tried(result, (*without(order.ranking), *without(order.ranking[::-1])))
    shares = [each.target_after.measured for each in found]
    return {
        "counts": counts,
        "most": shares[: len(counts)],
        "least": shares[len(counts) :],
        "target": found[0].target_after.index,
    }


def removal_counts(card: ModelCard, how: str) -> list[int]:
    """How many patches are gone at each point of a removal curve."""
    patches = card.grid[0] * card.grid[1]
    # What predicts from the patches needs one of them.
    most = patches - 1 if how == "drop" and card.pooling != "class" else patches
    points: list[int] = np.unique(np.linspace(0, most, POINTS + 1).round().astype(int)).tolist()
    return points


def _tried(result: Result, changes: tuple[Change, ...]) -> tuple[Intervention, ...]:
    aim = result.explanation.trace.aim
    return intervene_many(result.model, result.explanation.prepared, changes, target=aim)
