"""A JupyterLab on this machine, for the widget's test and its picture: `python -m tests.notebooks`
makes docs/images/widget.jpg."""

from __future__ import annotations

import io
import json
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from PIL import Image

from tests.browser import ROOT, running_app, running_browser, watched_page

if TYPE_CHECKING:
    from playwright.sync_api import Page

# It asks nobody for news, updates or extensions.
LAB = (
    "-m",
    "jupyterlab",
    "--no-browser",
    "--allow-root",
    "--IdentityProvider.token=",
    "--LabApp.news_url=None",
    "--LabApp.check_for_updates_class=jupyterlab.NeverCheckForUpdate",
    "--LabApp.extension_manager=readonly",
)
OWN = ("JUPYTER_CONFIG_DIR", "JUPYTER_DATA_DIR", "JUPYTER_RUNTIME_DIR", "IPYTHONDIR")
NAME = "made.ipynb"
SHOWN = """import vit_explorer as vx

model = vx.load_model("bundled")
methods = ("rollout", "generic_attention", "legrad", "grad_cam")
result = vx.explain(model, "cat.png", methods=methods)
result.widget()"""


@contextmanager
def running_lab(folder: Path, cells: Sequence[str]) -> Iterator[str]:
    """A JupyterLab over `folder` with a notebook of these cells; yields its address."""
    (folder / NAME).write_text(json.dumps(_notebook(cells)), encoding="utf-8")
    root = f"--ServerApp.root_dir={folder}"
    settings = {name: str(folder / name.lower()) for name in OWN}
    with (
        running_app(root, scratch=folder, program=LAB, variables=settings, ready="api") as address,
    ):
        yield address


def _notebook(cells: Sequence[str]) -> dict[str, Any]:
    code = {"cell_type": "code", "metadata": {}, "outputs": [], "execution_count": None}
    kernel = {"kernelspec": {"name": "python3", "display_name": "Python 3", "language": "python"}}
    made = [{**code, "id": f"cell-{at}", "source": source} for at, source in enumerate(cells)]
    return {"nbformat": 4, "nbformat_minor": 5, "metadata": kernel, "cells": made}


def open_notebook(page: Page, address: str) -> None:
    """Open the notebook and wait for its kernel: a cell run before that is not run."""
    page.goto(f"{address}lab/tree/{NAME}?reset")
    page.locator("#jp-main-statusbar", has_text="| Idle").wait_for(timeout=60_000)


def run(page: Page, cell: int) -> None:
    page.locator(".jp-CodeCell .cm-content").nth(cell).click()
    page.keyboard.press("Shift+Enter")


def main() -> None:
    """The widget over the README's cat, a patch of it looking."""
    with tempfile.TemporaryDirectory() as made, running_browser() as browser:
        folder = Path(made)
        (folder / "cat.png").write_bytes((ROOT / "assets/cat.png").read_bytes())
        size = {"width": 1280, "height": 900}
        with (
            running_lab(folder, [SHOWN]) as address,
            watched_page(browser, address, viewport=size) as (page, _),
        ):
            open_notebook(page, address)
            page.get_by_role("button", name="No", exact=True).click()  # to news
            page.keyboard.press("Control+b")  # the folder's list away
            run(page, 0)
            says = page.locator(".vx-figure [role=status]")
            says.filter(has_text="looks most").wait_for(timeout=60_000)
            page.get_by_label("Layer").fill("4")
            canvas = page.get_by_role("application")
            canvas.focus()
            canvas.press("ArrowUp")
            says.filter(has_text="Patch").wait_for()
            shown = Image.open(io.BytesIO(page.locator(".jp-Notebook").screenshot()))
    target = ROOT / "docs/images/widget.jpg"
    shown.convert("RGB").save(target, quality=82, optimize=True)
    print(f"written to {target}")


if __name__ == "__main__":
    main()
