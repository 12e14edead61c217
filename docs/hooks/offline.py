"""The built site asks no other host for scripts, styles, fonts or pictures."""

from __future__ import annotations

import re
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.exceptions import PluginError

ELSEWHERE = re.compile(r"^\s*(?:[a-z]+:)?//", flags=re.IGNORECASE)
IN_STYLES = re.compile(r"(?:url\(|@import\s+)\s*['\"]?((?:[a-z]+:)?//[^'\")\s]+)", re.IGNORECASE)
# Links that a reader may follow, and what only names the page.
QUIET = {("a", "href"), ("form", "action")}
QUIET_LINKS = {"canonical", "license", "me", "next", "prev"}


class Requests(HTMLParser):
    """What a page has fetched from another host as it is opened."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = dict(attrs)
        if tag == "link" and given.get("rel") in QUIET_LINKS:
            return
        for name, value in attrs:
            if name in {"src", "href", "data", "poster"} and (tag, name) not in QUIET:
                self.found += [value] if ELSEWHERE.match(value or "") and value else []
            if name == "srcset":
                self.found += [one for one in (value or "").split(",") if ELSEWHERE.match(one)]


def requests(text: str, ending: str) -> Iterator[str]:
    """Addresses of other hosts that a file of the site asks for; `ending` is .html or .css."""
    if ending == ".css":
        yield from IN_STYLES.findall(text)
        return
    parser = Requests()
    parser.feed(text)
    yield from parser.found


def on_post_build(*, config: MkDocsConfig) -> None:
    """MkDocs calls this when all is written.

    Raises:
        PluginError: a page or a style asks another host.
    """
    site = Path(config.site_dir)
    for file in sorted(site.rglob("*")):
        if file.suffix in {".html", ".css"}:
            found = list(requests(file.read_text(encoding="utf-8"), file.suffix))
            if found:
                raise PluginError(
                    f"{file.relative_to(site)} asks other hosts ({', '.join(found[:3])}), expected "
                    "none; keep what it needs in docs/."
                )
