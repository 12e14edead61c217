"""Pictures of the page: `python -m tests.make_screenshot [--tour | --all FOLDER] [app's options]`.

Alone the README's two, with --tour those of docs/tour.md; with --all every view in both languages
and themes, into that folder.
"""

from __future__ import annotations

import io
import sys
import tempfile
from itertools import product
from pathlib import Path
from typing import TYPE_CHECKING, Any

from PIL import Image

from tests.browser import (
    ROOT,
    open_explorer,
    running_app,
    running_browser,
    show,
    wait_quiet,
    watched_page,
)

if TYPE_CHECKING:
    from playwright.sync_api import Browser

SIZE = {"width": 1280, "height": 800}
# What the README begins with: a picture that the bundled model is sure of.
FRONT = "explain?picture=coffee.png"
LOCALES = {"en": "en-GB", "zh": "zh-CN"}
# The README's sheet: links and themes, two a row.
SHEET = (
    ("attention?patch=5,3&layer=4", "light"),
    ("whatif?without=p19-21.27-29.35-37&ranking=generic_attention", "light"),
    ("layers", "dark"),
    ("compare?beside=picture%3Acoffee.png", "light"),
    ("training?epoch=6", "light"),
    ("learn?step=5&lang=zh", "dark"),
)
# The tour's pictures by their views.
TOUR = {
    "attention": "attention?patch=5,3&layer=4",
    "patches": "patches",
    "positions": "positions",
    "layers": "layers",
    "whatif": "whatif?without=p19-21.27-29.35-37&ranking=generic_attention",
    "compare": "compare?beside=picture%3Acoffee.png",
    "learn": "learn?step=5",
    "training": "training?epoch=6",
    "model": "model",
}
WIDTH = 960


def main(arguments: list[str]) -> None:
    folder, tour = None, arguments[:1] == ["--tour"]
    if tour:
        arguments = arguments[1:]
    elif arguments[:1] == ["--all"]:
        folder, arguments = Path(arguments[1]), arguments[2:]
    with (
        tempfile.TemporaryDirectory() as scratch,
        running_app(*arguments, scratch=Path(scratch)) as address,
        running_browser() as browser,
    ):
        if tour:
            make_tour(browser, address, ROOT / "docs" / "images")
            return
        if folder is None:
            shoot(browser, address, {"explain": ROOT / "assets" / "screenshot.png"}, link=FRONT)
            make_sheet(browser, address, ROOT / "assets" / "views.jpg")
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


def shoot(
    browser: Browser,
    address: str,
    targets: dict[str, Path],
    link: str = "explain",
    **options: Any,
) -> None:
    """One picture a view, of what a link opens; ends the script if anything goes wrong."""
    settings = {"viewport": SIZE, "color_scheme": "light", **options}
    with watched_page(browser, address, **settings) as (page, wrong):
        open_explorer(page, address, link)
        for name, target in targets.items():
            show(page, name)
            wait_quiet(page)
            page.screenshot(path=target)
            print(f"written to {target}")
        if wrong:
            sys.exit("\n".join(wrong))


def make_tour(browser: Browser, address: str, folder: Path) -> None:
    """The views of `TOUR`, one picture each."""
    folder.mkdir(exist_ok=True)
    for name, link in TOUR.items():
        save(shoot_link(browser, address, link, "light"), folder / f"tour_{name}.jpg")


def make_sheet(browser: Browser, address: str, target: Path) -> None:
    """The views of `SHEET` in one picture."""
    views = [shoot_link(browser, address, link, scheme) for link, scheme in SHEET]
    width, height = views[0].size
    sheet = Image.new("RGB", (2 * width, len(SHEET) // 2 * height))
    for at, view in enumerate(views):
        sheet.paste(view, (at % 2 * width, at // 2 * height))
    save(sheet, target)


def shoot_link(browser: Browser, address: str, link: str, scheme: str) -> Image.Image:
    """What a link opens; ends the script if anything went wrong on the page."""
    size = (WIDTH, WIDTH * SIZE["height"] // SIZE["width"])
    options: dict[str, Any] = {"viewport": SIZE, "color_scheme": scheme}
    with watched_page(browser, address, **options) as (page, wrong):
        open_explorer(page, address, link)
        wait_quiet(page)
        page.wait_for_timeout(500)  # charts are drawn anew once their place is known
        view = Image.open(io.BytesIO(page.screenshot())).convert("RGB").resize(size)
        if wrong:
            sys.exit("\n".join(wrong))
    return view


def save(picture: Image.Image, target: Path) -> None:
    """As a JPEG."""
    picture.save(target, quality=82, optimize=True)
    print(f"written to {target}")


if __name__ == "__main__":
    main(sys.argv[1:])
