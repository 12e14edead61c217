"""Options of every surface, checked in one place: the value that is meant, or an OptionError."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from numbers import Integral, Real
from typing import Any, TypeGuard, TypeVar

from vit_explorer.errors import OptionError, nearest
from vit_explorer.sentences import Sentence, either

Known = TypeVar("Known")


def is_whole(value: Any) -> TypeGuard[int]:
    """Whether a value is a whole number, as Python or NumPy have them; True and False are none."""
    return isinstance(value, Integral) and not isinstance(value, bool)


def whole_number(what: str, value: Any, low: int, high: int | None = None) -> int:
    """A whole number from `low` to `high`; None is without end."""
    if not is_whole(value) or value < low or (high is not None and value > high):
        to = "" if high is None else Sentence("part.to", " to {high}", high=high)
        raise OptionError(
            "error.option.whole",
            "The {what} was {value!r}, expected a whole number from {low}{to}.",
            what=what,
            value=value,
            low=low,
            to=to,
        )
    return int(value)


def share(what: str, value: Any, *, zero: bool) -> float:
    """A number below 1, and above 0 or, with `zero`, from 0."""
    real = isinstance(value, Real) and not isinstance(value, bool)
    if not real or not 0 <= value < 1 or (value == 0 and not zero):
        raise OptionError(
            "error.option.share",
            "The {what} was {value!r}, expected {low} to below 1.",
            what=what,
            value=value,
            low="0" if zero else Sentence("part.above", "above 0"),
        )
    return float(value)


def one_of(what: str, value: Any, names: Iterable[str]) -> str:
    """One of some names."""
    known = tuple(names)
    if not isinstance(value, str) or value not in known:
        raise OptionError(
            "error.option.expected",
            "The {what} was {value!r}, expected {expected}.",
            what=what,
            value=value,
            expected=either(known),
        )
    return value


def checked_index(what: str, value: Any, count: int, *, instead: str = "", of: str = "") -> int:
    """One of `count` things, from 0; negative ones count from the end, as in Python.

    `instead` is what else could have been given and `of` what is counted, for the sentence.
    """
    if not is_whole(value) or not -count <= value < count:
        raise OptionError(
            "error.option.index",
            "The {what} was {value!r}, expected {of}0 to {last}{instead}.",
            what=what,
            value=value,
            of=of,
            last=count - 1,
            instead=instead,
        )
    return int(value) % count


def index_from_text(what: str, text: str, count: int) -> int:
    """One of `count` things as an address or an endpoint names it: "0" to "11", say."""
    if not re.fullmatch(r"[0-9]{1,6}", text):
        raise OptionError(
            "error.option.place",
            "The {what} was {text!r}, expected 0 to {last}.",
            what=what,
            text=text,
            last=count - 1,
        )
    return whole_number(what, int(text), 0, count - 1)


def find(kind: str, name: Any, known: Mapping[str, Known]) -> Known:
    """What goes by a name, of a registry's things of some kind ("method")."""
    if not isinstance(name, str) or name not in known:
        raise OptionError(
            "error.unknown",
            "There is no {kind} {name!r}{near}; the {kind}s: {known}.",
            kind=kind,
            name=name,
            near=nearest(str(name), known),
            known=", ".join(known),
        )
    return known[name]
