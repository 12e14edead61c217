"""What tests read of the documents: pages, their links, and the examples in them."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
PAGES = (
    ROOT / "README.md",
    ROOT / "CONTRIBUTING.md",
    ROOT / "SECURITY.md",
    *sorted((ROOT / "docs").glob("*.md")),
)
LINK = re.compile(r"\]\(<?(?P<target>[^)\s>]+)>?\)")
FENCE = re.compile(
    r"(?P<before><!-- needs [^>]+ -->\n)?^```(?P<language>\w+)\n(?P<code>.*?)^```$",
    flags=re.MULTILINE | re.DOTALL,
)
PLACE = re.compile(r"^#+ .*?(?:\{ *#(?P<given>[\w-]+) *\})?$", flags=re.MULTILINE)


def links(page: Path) -> Iterator[str]:
    """Targets of a page's links and pictures that are files of the repository."""
    text = re.sub(r"^```.*?^```$", "", page.read_text(encoding="utf-8"), flags=re.M | re.S)
    for found in LINK.finditer(text):
        if not re.match(r"[a-z]+:", found["target"]):
            yield found["target"]


def places(text: str) -> set[str]:
    """The names by which the headings of a Markdown page are linked to."""
    names = set()
    for found in PLACE.finditer(re.sub(r"^```.*?^```$", "", text, flags=re.M | re.S)):
        title = found[0].lstrip("# ").lower()
        plain = re.sub(r"[^\w\s-]", "", re.sub(r"\{.*\}", "", title)).strip()
        names.add(found["given"] or re.sub(r"\s+", "-", plain))
    return names


def examples(page: Path, language: str) -> Iterator[tuple[str, bool]]:
    """The code of a page's blocks, and whether it runs with what is in the repository."""
    for found in FENCE.finditer(page.read_text(encoding="utf-8")):
        if found["language"] == language:
            yield found["code"], found["before"] is None
