"""What compares two pictures' passes needs them to be of one model."""

from __future__ import annotations

from vit_explorer.errors import OptionError
from vit_explorer.tracing.trace import Trace


def require_same_model(first: Trace, second: Trace) -> None:
    """Raises OptionError for traces of different models, or of one at different picture sizes."""
    one, other = first.model, second.model
    same = one is other or (bool(one.sha256) and one.sha256 == other.sha256)
    if not same or one.card.grid != other.card.grid:
        raise OptionError(
            "error.traces.models",
            "The traces are of {first} with {rows}×{columns} patches and of {second} with "
            "{high}×{wide}, expected one model at one size; trace both pictures with the same.",
            first=one.card.name,
            rows=one.card.grid[0],
            columns=one.card.grid[1],
            second=other.card.name,
            high=other.card.grid[0],
            wide=other.card.grid[1],
        )
