"""Errors whose message is one sentence that is safe and useful to show to a user."""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from typing import Any, Self

from vit_explorer.sentences import Sentence, either


class SaidError(Exception):
    """An error that is a sentence, which can be said in any language.

    Raised with a key, the sentence's English and the values in it; or with a sentence that was
    made elsewhere. The page says it in its reader's language by the key.

    >>> error = SaidError("error.size", "The size was {size}, expected 1 or more.", size=0)
    >>> str(error)
    'The size was 0, expected 1 or more.'
    """

    def __init__(self, said: str, english: str | None = None, /, **values: Any) -> None:
        self.sentence = said if english is None else Sentence(said, english, **values)
        super().__init__(self.sentence)


class ExplorerError(SaidError):
    """Base of all errors a user can cause; `str(error)` says what was wrong and what to do."""


class PictureError(ExplorerError):
    """A picture that can't be opened."""


class ModelError(ExplorerError):
    """A model, checkpoint or label file that can't be loaded; `instead` are models that can be."""

    instead: tuple[str, ...] = ()

    def offering(self, *names: str) -> Self:
        """This error, with models by name that a reader may take instead."""
        self.instead = names
        return self


class UnsupportedModelError(ModelError):
    """A model whose attention can't be read faithfully; the message says what was found."""


class TargetError(ExplorerError):
    """A target class the model does not have."""


class OptionError(ExplorerError):
    """An unknown method or option, or a value outside its range."""


class OutputError(ExplorerError):
    """A place that can't be written to."""


class DataError(ExplorerError):
    """A data set that can't be trained or evaluated on."""


class RecipeError(ExplorerError):
    """A training recipe with an unknown key or a wrong value."""


def nearest(name: str, names: Iterable[str], n: int = 3) -> str:
    """Return `", did you mean 'a' or 'b'?"` for the names closest to `name`, or `""` for none.

    >>> nearest("rolout", ["rollout", "grad_cam"])
    ", did you mean 'rollout'?"
    """
    return did_you_mean(closest(name, names, n))


def closest(name: str, names: Iterable[str], n: int = 3) -> list[str]:
    """The names most like `name`, the nearest first: `n` at most, none where none is like it."""
    by_folded = {candidate.casefold(): candidate for candidate in names}
    close = difflib.get_close_matches(name.casefold(), by_folded, n=n, cutoff=0.6)
    return [by_folded[key] for key in close]


def did_you_mean(names: Iterable[str]) -> str:
    """The end of a sentence that asks for one of these names; "" of none."""
    meant = [repr(name) for name in names]
    return Sentence("error.near", ", did you mean {names}?", names=either(meant)) if meant else ""
