"""The Gradio side of the page: one component of our own, and the named endpoints."""

from __future__ import annotations

import gradio as gr

from vit_explorer.page.gradio_api import add_endpoints
from vit_explorer.page.state.session import Workbench
from vit_explorer.page.static_files import static_folder

TITLE = "ViT Explorer"
STYLES = (
    "base/tokens",
    "app/header",
    "app/sidebar",
    "app/layout",
    "app/dialogs",
    "controls/controls",
    "views/explain/explain",
    "views/explain/trust",
    "views/explain/agreement",
    "views/explain/narrow",
    "views/attention/attention",
    "views/training/training",
    "views/layers/layers",
    "views/layers/narrow",
    "views/whatif/whatif",
    "views/patches/patches",
    "views/learn/learn",
    "views/compare/compare",
)
HEAD = "\n".join(
    (
        *(f'<link rel="stylesheet" href="explorer/static/{name}.css">' for name in STYLES),
        '<meta name="color-scheme" content="light dark">',
    )
)
# Gradio runs this once.
LOAD = """
const root = element.querySelector(".vx");
import(new URL("explorer/static/app/main.js", document.baseURI).href)
  .then((page) => page.mount(root))
  .catch((error) => {
    root.querySelector(".busy").textContent = navigator.language.startsWith("zh")
      ? "页面未能启动，请刷新。"
      : "The page could not start. Reload it.";
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
            js_on_load=LOAD,
            apply_default_css=False,
            elem_id="explorer",
        )

        add_endpoints(workbench)
    return blocks
