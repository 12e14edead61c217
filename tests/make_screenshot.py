"""Make the README's picture of the page: `python -m tests.make_screenshot [options of the app]`."""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

from tests.browser import ROOT, open_explorer, running_app, running_browser, watched_page

SIZE = {"width": 1280, "height": 800}


def main(arguments: list[str]) -> None:
    target = ROOT / "assets" / "screenshot.png"
    with (
        tempfile.TemporaryDirectory() as scratch,
        running_app(*arguments, scratch=Path(scratch)) as address,
        running_browser() as browser,
        watched_page(browser, address, viewport=SIZE, color_scheme="light") as (page, wrong),
    ):
        open_explorer(page, address)
        page.wait_for_load_state("networkidle")
        page.screenshot(path=target)
        if wrong:
            sys.exit("\n".join(wrong))
    print(f"written to {target.relative_to(ROOT)}")


if __name__ == "__main__":
    main(sys.argv[1:])
