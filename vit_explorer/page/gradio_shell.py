"""The Gradio side of the page: one component of our own, and the named endpoints."""

from __future__ import annotations

import json

import gradio as gr

from vit_explorer.page.gradio_api import add_endpoints
from vit_explorer.page.state.session import Workbench
from vit_explorer.page.static_files import languages, static_folder

TITLE = "ViT Explorer"
PROGRAMS_WAITING = 100
# Of the rooms that all views share; a view's own come after them.
STYLES = (
    "base/tokens",
    "app/header",
    "app/sidebar",
    "app/layout",
    "app/dialogs",
    "app/gallery",
    "app/presenting",
    "controls/controls",
    "charts/charts",
)


def _head() -> str:
    folder = static_folder()
    # What a view changes on narrow screens comes after what it changes.
    own = sorted(
        folder.glob("views/*/*.css"),
        key=lambda file: (file.parent.name, file.stem == "narrow", file.stem),
    )
    styles = [f"{name}.css" for name in STYLES]
    styles += [file.relative_to(folder).as_posix() for file in own]
    styles.append("app/phone.css")  # what a phone changes, it changes of all that stands above
    links = [f'<link rel="stylesheet" href="explorer/static/{name}">' for name in styles]
    return "\n".join((*links, '<meta name="color-scheme" content="light dark">'))


HEAD = _head()
# Gradio runs this once.
LOAD = """
const broken = {{broken}};
const root = element.querySelector(".vx");
import(new URL("explorer/static/app/main.js", document.baseURI).href)
  .then((page) => page.mount(root))
  .catch((error) => {
    const spoken = navigator.language;
    root.querySelector(".busy").textContent =
      broken[spoken] ?? broken[spoken.split("-")[0]] ?? broken.en;
    throw error;
  });
"""


def build_blocks(workbench: Workbench) -> gr.Blocks:
    """The page's Blocks; styles and scripts come from `/explorer/static`."""
    skeleton = (static_folder() / "app/page.html").read_text(encoding="utf-8")
    with gr.Blocks(title=TITLE, analytics_enabled=False, delete_cache=(3600, 3600)) as blocks:
        # The whole page is one component, which asks the page's own addresses.
        gr.HTML(
            html_template=skeleton,
            js_on_load=LOAD.replace("{{broken}}", json.dumps(_broken())),
            apply_default_css=False,
            elem_id="explorer",
        )

        add_endpoints(workbench)
    # Who asks by programs waits in a line, which has an end.
    blocks.queue(max_size=PROGRAMS_WAITING)
    return blocks


def _broken() -> dict[str, str]:
    """What is said where not even the page's own scripts can be had, in every language."""
    told = {language.code: language.words.get("state.broken") for language in languages()}
    return {code: text for code, text in told.items() if text}
