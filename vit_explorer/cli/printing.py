"""What a terminal is shown: texts of files and models with their control characters escaped."""

from __future__ import annotations

import json
import re
import sys
from typing import Any

from rich.markup import escape

from vit_explorer.sentences import CONTROLS, escaped


def say(text: str) -> None:
    """Print one line."""
    print(escaped(text))


def say_json(content: Any) -> None:
    """Print JSON that no name in it can break out of."""
    text = json.dumps(content, indent=1, ensure_ascii=False)
    lines = re.split("(\n)", text)
    print("".join(line if line == "\n" else CONTROLS.sub(_coded, line) for line in lines))


def _coded(found: re.Match[str]) -> str:
    return f"\\u{ord(found[0]):04x}"


def marked(text: str) -> str:
    """A text for rich, in which brackets and control characters are what they are."""
    return escape(escaped(text))


def line(message: str) -> str:
    """A message as one line of stderr."""
    return f"vit-explorer: {escaped(' '.join(message.split()))}"


def tell(note: str) -> None:
    """Say something beside the results."""
    print(line(note), file=sys.stderr)
