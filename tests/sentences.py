"""The sentences that Python says: their English, read from the code, and a reader's language."""

from __future__ import annotations

import ast
import json
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import vit_explorer
from vit_explorer.models.provenance import ENGLISH
from vit_explorer.page.static_files import static_folder

PACKAGE = Path(vit_explorer.__file__).parent
KEY = re.compile(r"[a-z]+(\.\w+)+")


def words_of(language: str) -> dict[str, str]:
    """The words of one of the page's languages."""
    text = (static_folder() / "lang" / f"{language}.json").read_text(encoding="utf-8")
    words: dict[str, str] = json.loads(text)
    return words


def places(sentence: str) -> set[str]:
    """The names in braces, without their formats."""
    return set(re.findall(r"\{(\w+)", sentence.replace("{{", "")))


def calls() -> Iterator[tuple[str, ast.Call]]:
    """Every call by a plain name in the package, with its file and line."""
    for file in sorted(PACKAGE.rglob("*.py")):
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
                yield f"{file.relative_to(PACKAGE)}:{node.lineno}", node


def said_in(call: ast.Call) -> tuple[str, str] | None:
    """The key and the English of a call that makes a sentence, None of another."""
    match call.args:
        case [ast.Constant(value=str(key)), ast.Constant(value=str(english)), *_]:
            return (key, english) if KEY.fullmatch(key) else None
    return None


def sentences() -> dict[str, set[str]]:
    """All English by key: one for each, or its language could not know which is meant."""
    found: dict[str, set[str]] = {f"source.{kind}": {text} for kind, text in ENGLISH.items()}
    for _, call in calls():
        said = said_in(call)
        if said is not None:
            found.setdefault(said[0], set()).add(said[1])
    return found


def translated(told: Mapping[str, Any], words: Mapping[str, str], *, inside: bool = False) -> str:
    """What the page makes of a sentence of the server's in a language: `said` of its words.js."""
    text, template = told["text"], words.get(told.get("key", ""))
    if not text:
        return ""
    if template is None:
        return text if inside else words["state.english"].replace("{text}", text)
    values = {
        name: value if isinstance(value, str) else translated(value, words, inside=True)
        for name, value in told["values"].items()
    }
    return re.sub(r"\{(\w+)\}", lambda place: values[place[1]], template)
