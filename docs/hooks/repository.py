"""Files of the repository that the site shows too, and links to them that work in both places.

In the repository a page in `docs/` links to `../assets/cat.png` and to `../CONTRIBUTING.md`; on the
site these lie beside the pages.
"""

from __future__ import annotations

import re
from pathlib import Path

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

ROOT = Path(__file__).resolve().parents[2]
PAGES = ("CONTRIBUTING.md", "CHANGELOG.md", "SECURITY.md")
PICTURES = ("screenshot.png", "views.jpg")
FAVICON = "vit_explorer/page/client/favicon.svg"
# Up to the target of a Markdown link; an address with a scheme is not matched.
LINK = re.compile(r"(?<=\]\()(?P<up>(?:\.\./)*)(?P<path>[\w./-]+)(?P<place>#[\w-]+)?(?=\))")


def on_files(files: Files, *, config: MkDocsConfig) -> Files:
    """The repository's files that are pages and pictures of the site."""
    copied = {name: ROOT / name for name in PAGES}
    copied |= {f"assets/{name}": ROOT / "assets" / name for name in PICTURES}
    copied["assets/favicon.svg"] = ROOT / FAVICON
    for where, source in copied.items():
        files.append(File.generated(config, where, abs_src_path=str(source)))
    return files


def moved(markdown: str, page: str, shown: set[str]) -> str:
    """The links of a page, as they are on the site; to a file that it has not, plain words.

    `page` is the page's place on the site, and `shown` what lies there, by `/`.
    """
    at_root = page in PAGES

    def target(found: re.Match[str]) -> str:
        if at_root:
            inside = found["path"].removeprefix("docs/")
        elif found["up"]:
            inside = found["path"]
        else:
            return found[0]
        return f"{inside}{found['place'] or ''}" if inside in shown else f"{MISSING}{found[0]}"

    marked = LINK.sub(target, markdown)
    return re.sub(rf"\[([^\]]+)\]\({MISSING}[^)]*\)", r"\1", marked)


MISSING = "only-in-the-repository:"


def on_page_markdown(markdown: str, *, page: Page, files: Files, **_: object) -> str:
    """MkDocs calls this for each page."""
    return moved(markdown, page.file.src_uri, set(files.src_uris))
