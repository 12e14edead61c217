"""The Gradio side of the page: one component of our own, and the one event that needs the model."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator
from concurrent.futures import wait
from typing import Any

import gradio as gr

from vit_explorer.errors import UNEXPECTED, ExplorerError, ModelError, PictureError, TargetError
from vit_explorer.page.gradio_api import add_endpoints
from vit_explorer.page.payloads import result as payload
from vit_explorer.page.state.session import Workbench
from vit_explorer.page.state.stopped_requests import Key, Stopped
from vit_explorer.page.static_files import static_folder

logger = logging.getLogger(__name__)

TITLE = "ViT Explorer"
NEWS_EVERY = 1.0
# Most of these wait, for a download or for their turn; each holds one of the server's 40 threads.
ANSWERS_AT_ONCE = 16
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
# Which of the page's choices an error is about, so that the others are kept.
PARTS = {PictureError: "picture", ModelError: "model", TargetError: "target"}
# Gradio runs this once; the words 'analyze' and 'value' are the event and the prop it may use.
LOAD = """
const root = element.querySelector(".vx");
import(new URL("explorer/static/app/main.js", document.baseURI).href)
  .then((page) => page.mount(root, { props, trigger, watch }))
  .catch((error) => {
    root.querySelector(".busy").textContent = navigator.language.startsWith("zh")
      ? "页面未能启动，请刷新。"
      : "The page could not start. Reload it.";
    throw error;
  });
// trigger('analyze', { request, picture, model, target })
"""


def build_blocks(workbench: Workbench) -> gr.Blocks:
    """The page's Blocks; styles and scripts come from `/explorer/static`."""
    skeleton = (static_folder() / "app/page.html").read_text(encoding="utf-8")
    with gr.Blocks(title=TITLE, analytics_enabled=False, delete_cache=(3600, 3600)) as blocks:
        # The whole page is one component; its value is the newest answer of the `analyze` event.
        explorer = gr.HTML(
            html_template=skeleton,
            js_on_load=LOAD,
            apply_default_css=False,
            elem_id="explorer",
        )

        def analyse(event: gr.EventData) -> Iterator[dict[str, Any]]:
            yield from answers(workbench, event._data)

        explorer.analyze(
            analyse,
            None,
            explorer,
            show_progress="hidden",
            trigger_mode="multiple",
            concurrency_limit=ANSWERS_AT_ONCE,
            api_visibility="private",
        )
        add_endpoints(workbench)
    return blocks


def answers(workbench: Workbench, asked: Any) -> Iterator[dict[str, Any]]:
    """Answers to one request: what is being done, then the result or one sentence of refusal."""
    asked = asked if isinstance(asked, dict) else {}  # anyone may send an event
    request = asked.get("request")
    key = (str(asked.get("page")), request if isinstance(request, int) else 0)
    model, target = str(asked.get("model")), asked.get("target")
    try:
        if not workbench.is_loaded(model):
            yield from _loading(workbench, model, key, request)
        aim = target if isinstance(target, (int, str)) else None
        result = workbench.analyse(str(asked.get("picture")), model, aim)
        yield {"request": request, "result": payload.describe_result(result)}
    except Stopped:
        return
    except ExplorerError as error:
        part = next((part for kind, part in PARTS.items() if isinstance(error, kind)), None)
        yield {"request": request, "error": str(error), "part": part}
    except Exception:
        logger.exception("the analysis of %r failed", asked)
        yield {"request": request, "error": UNEXPECTED}


def _loading(workbench: Workbench, model: str, key: Key, request: Any) -> Iterator[dict[str, Any]]:
    """Say how long the loading has taken, until it is done; one that was stopped goes on alone."""
    loading = workbench.begin_loading(model)
    start = time.monotonic()
    while not loading.done():
        yield {"request": request, "loading": model, "seconds": int(time.monotonic() - start)}
        wait([loading], NEWS_EVERY)
        workbench.stops.check(key)
    loading.result()
