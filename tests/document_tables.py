"""Tables of the documents that the records of methods and views make.

    python -m tests.document_tables

fills them in anew wherever a document has the pair of markers `<!-- methods -->` and
`<!-- end of methods -->`, or the same of views.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from pathlib import Path

import vit_explorer as vx
from vit_explorer.methods import in_order

ROOT = Path(__file__).parents[1]


def written(heads: Iterable[str], rows: Iterable[Iterable[str]]) -> str:
    """A table in Markdown; a stroke in a cell would end it."""
    heads = list(heads)
    lines = [heads, ["---"] * len(heads), *(list(row) for row in rows)]
    assert not any("|" in cell for line in lines for cell in line)
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def methods_table() -> str:
    heads = (
        "method",
        "what it shows",
        "formula",
        "takes",
        "options",
        "source",
        "what to beware of",
    )
    return written(
        heads,
        (
            (
                f"`{method.name}`",
                method.summary,
                method.formula,
                method.costs,
                ", ".join(f"`{name}={value}`" for name, value in method.defaults.items()),
                method.source,
                method.caveat,
            )
            for method in in_order()
        ),
    )


def views_table() -> str:
    rows = ((f"`{name}`", view.summary, view.source) for name, view in vx.VIEWS.items())
    return written(("view", "what it shows", "source"), rows)


TABLES: dict[str, Callable[[], str]] = {"methods": methods_table, "views": views_table}


def documents() -> list[Path]:
    """The documents that hold a table."""
    found = (ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md")))
    return [file for file in found if "<!-- end of " in file.read_text(encoding="utf-8")]


def filled(text: str) -> str:
    """A document with its tables as the records make them."""
    for name, make in TABLES.items():
        marked = re.compile(f"(<!-- {name} -->\n).*?(\n<!-- end of {name} -->)", flags=re.DOTALL)
        text = marked.sub(lambda found, make=make: found[1] + make() + found[2], text)
    return text


if __name__ == "__main__":
    for file in documents():
        file.write_text(filled(file.read_text(encoding="utf-8")), encoding="utf-8")
