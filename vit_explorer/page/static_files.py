"""The page's own files: scripts, styles, words and icons, sent as they lie in the package."""

from __future__ import annotations

import json
import mimetypes
from dataclasses import dataclass
from importlib import resources
from pathlib import Path

# Some systems map .js to text/plain, which browsers refuse as a module.
mimetypes.add_type("text/javascript", ".js")


def static_folder() -> Path:
    """Where they lie; the server sends the folder at `/explorer/static`."""
    return Path(str(resources.files("vit_explorer.page"))) / "client"


@dataclass(frozen=True)
class Language:
    """A language that the page speaks: a file's name without its ending, and the words in it."""

    code: str
    words: dict[str, str]

    def describe(self) -> dict[str, str]:
        """What the page offers it by: its code, its tag for browsers, and its own name."""
        words = self.words
        return {
            "code": self.code,
            "tag": words.get("language.tag", self.code),
            "name": words.get("language.name", self.code),
        }


def languages() -> list[Language]:
    """Every language that there is a file of in `lang/`, by their codes."""
    files = sorted((static_folder() / "lang").glob("*.json"))
    return [Language(file.stem, json.loads(file.read_text(encoding="utf-8"))) for file in files]
