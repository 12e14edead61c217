"""Options of methods: a value of the right kind within its range, or an OptionError."""

from __future__ import annotations

from collections.abc import Sequence
from numbers import Integral, Real
from typing import Any

from vit_explorer.errors import OptionError


def whole_number(what: str, value: Any, low: int, high: int) -> int:
    """A whole number from `low` to `high`."""
    whole = isinstance(value, Integral) and not isinstance(value, bool)
    if not whole or not low <= value <= high:
        raise OptionError(
            f"The {what} was {value!r}, expected a whole number from {low} to {high}."
        )
    return int(value)


def share(what: str, value: Any, *, zero: bool) -> float:
    """A number below 1, and above 0 or, with `zero`, from 0."""
    real = isinstance(value, Real) and not isinstance(value, bool)
    if not real or not 0 <= value < 1 or (value == 0 and not zero):
        raise OptionError(
            f"The {what} was {value!r}, expected {'0' if zero else 'above 0'} to below 1."
        )
    return float(value)


def one_of(what: str, value: Any, names: Sequence[str]) -> str:
    """One of some names."""
    if not isinstance(value, str) or value not in names:
        expected = f"{', '.join(names[:-1])} or {names[-1]}"
        raise OptionError(f"The {what} was {value!r}, expected {expected}.")
    return value
