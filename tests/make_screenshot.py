"""Pictures of the page: `python -m tests.make_screenshot [--all FOLDER] [options of the app]`.

Without --all the README's; with it every view in both languages and themes, into that folder.
"""

from __future__ import annotations

import sys
import tempfile
from itertools import product
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tests.browser import ROOT, open_explorer, running_app, running_browser, show, watched_page

if TYPE_CHECKING:
    from playwright.sync_api import Browser

SIZE = {"width": 1280, "height": 800}
LOCALES = {"en": "en-GB", "zh": "zh-CN"}


def main(arguments: list[str]) -> None:
    folder = None
    if arguments[:1] == ["--all"]:
        folder, arguments = Path(arguments[1]), arguments[2:]
    with (
        tempfile.TemporaryDirectory() as scratch,
        running_app(*arguments, scratch=Path(scratch)) as address,
        running_browser() as browser,
    ):
        if folder is None:
            shoot(browser, address, {"explain": ROOT / "assets" / "screenshot.png"})
            return
        folder.mkdir(parents=True, exist_ok=True)
        for language, scheme in product(LOCALES, ("light", "dark")):
            options = {"color_scheme": scheme, "locale": LOCALES[language]}
            names = views(browser, address)
            targets = {name: folder / f"{name}-{language}-{scheme}.png" for name in names}
            shoot(browser, address, targets, **options)


def views(browser: Browser, address: str) -> list[str]:
    """The views by the names of their tabs."""
    with watched_page(browser, address) as (page, _):
        open_explorer(page, address)
        ids = page.locator(".tabs [role=tab]").evaluate_all("(tabs) => tabs.map(({ id }) => id)")
        return [name.removeprefix("vx-tab-") for name in ids]


def shoot(browser: Browser, address: str, targets: dict[str, Path], **options: Any) -> None:
    """One picture a view; ends the script if anything went wrong on the page."""
    settings = {"viewport": SIZE, "color_scheme": "light", **options}
    with watched_page(browser, address, **settings) as (page, wrong):
        open_explorer(page, address)
        for name, target in targets.items():
            show(page, name)
            page.wait_for_load_state("networkidle")
            page.screenshot(path=target)
            print(f"written to {target}")
        if wrong:
            sys.exit("\n".join(wrong))


if __name__ == "__main__":
    main(sys.argv[1:])
