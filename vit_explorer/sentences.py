"""Sentences that are English here, and any language where a person reads them."""

from __future__ import annotations

import re
from collections.abc import Iterable
from string import Formatter
from typing import Any

# How much of a value a sentence shows; and characters that would move a terminal's cursor, end the
# line, or turn the direction of what follows.
LONGEST = 600
FORMULA = ("=", "+", "-", "@", "\t", "\r")
NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)(e[+-]?\d+)?", re.IGNORECASE)
CONTROLS = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069\ud800-\udfff]")


class Sentence(str):
    """English text that keeps its key and values, so that another language can say it.

    The English stands where it is said, as a template of `str.format`; a language file has its own
    by the same key, with the same places. Values are kept as the English shows them, and those that
    are sentences stay sentences.

    >>> said = Sentence("error.layer", "The layer was {layer!r}, up to {last}.", layer="a", last=3)
    >>> said
    "The layer was 'a', up to 3."
    >>> said.key, said.values
    ('error.layer', {'layer': "'a'", 'last': '3'})
    """

    key: str
    values: dict[str, str]

    def __new__(cls, key: str, template: str, /, **values: Any) -> Sentence:
        shown = {name: _shown(template, name, value) for name, value in values.items()}
        return cls._of(cls._fill(template, shown), key, shown)

    @classmethod
    def _of(cls, text: str, key: str, values: dict[str, str]) -> Sentence:
        sentence = super().__new__(cls, text)
        sentence.key, sentence.values = key, values
        return sentence

    @staticmethod
    def _fill(template: str, shown: dict[str, str]) -> str:
        parts = Formatter().parse(template)
        return "".join(text + (shown[name] if name else "") for text, name, _, _ in parts)

    def __reduce__(self) -> tuple[Any, ...]:
        return Sentence._of, (str(self), self.key, self.values)


def _shown(template: str, name: str, value: Any) -> str:
    """A value as the template's place for it has it, such as `{name!r}` or `{share:.1f}`."""
    if isinstance(value, Sentence):
        return value
    for _, place, form, conversion in Formatter().parse(template):
        if place == name:
            return tidied(format(Formatter().convert_field(value, conversion), form or ""))
    raise KeyError(f"no place {{{name}}} in {template!r}")


def tidied(text: str) -> str:
    """Anyone's words, safe to show in a line: control characters escaped, a long middle left out.

    >>> tidied("a\x1b[31m")
    'a\\x1b[31m'
    """
    if len(text) > LONGEST:
        text = f"{text[: LONGEST // 2]} … {text[-LONGEST // 2 :]}"
    return escaped(text)


def escaped(text: str) -> str:
    """Anyone's words with control characters escaped, whole: a path must stay one.

    >>> escaped("a\x1b[31m")
    'a\\x1b[31m'
    """
    return CONTROLS.sub(lambda found: repr(found[0])[1:-1], text)


def cell(value: Any) -> Any:
    """A value for a cell of a CSV: a text that a spreadsheet would run as a formula is quoted, as
    OWASP has it, and its control characters are escaped. Numbers stay numbers.

    >>> [cell(value) for value in ("=1+1", "-0.5", "a\n", 3, None)]
    ["'=1+1", '-0.5', 'a\\\\n', 3, None]
    """
    if not isinstance(value, str):
        return value
    formula = value.startswith(FORMULA) and not NUMBER.fullmatch(value)
    return ("'" if formula else "") + escaped(value)


def either(names: Iterable[str]) -> str:
    """Names of which one is meant: "a", "a or b", "a, b or c"; "" of none."""
    *others, last = list(names) or [""]
    if not others:
        return last
    return Sentence("list.or", "{others} or {last}", others=", ".join(others), last=last)


def joined(parts: Iterable[str]) -> str:
    """Sentences with commas between them, which stay sentences; "" of none."""
    first, *rest = list(parts) or [""]
    if not rest:
        return first
    return Sentence("part.and", "{first}, {rest}", first=first, rest=joined(rest))


def keyed(text: str) -> dict[str, Any]:
    """A text as the page takes it: in English, and where it is a sentence by its key and values."""
    if not isinstance(text, Sentence):
        return {"text": text}
    values = {
        name: keyed(value) if isinstance(value, Sentence) else value
        for name, value in text.values.items()
    }
    return {"text": str(text), "key": text.key, "values": values}
