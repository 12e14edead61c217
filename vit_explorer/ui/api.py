"""The page's few named endpoints, for `gradio_client` and other programs."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import gradio as gr
from gradio.utils import get_upload_folder

from vit_explorer.errors import ExplorerError, OptionError
from vit_explorer.explain import Explanation, available_models, open_picture
from vit_explorer.explain import explain as explain_picture
from vit_explorer.ui.workbench import Workbench


def add_endpoints(workbench: Workbench) -> None:
    """Add `/explain` and `/models` to the Blocks that are being built."""

    def explain(
        picture: dict[str, Any], methods: list[str], target: str = "", model: str = ""
    ) -> dict[str, Any]:
        """Explain a picture: predictions, and a heatmap a method as rows of numbers.

        `picture` is a file sent with `handle_file`; `methods` are names such as "rollout", or
        ["all"]; an empty `target` is the top prediction, an empty `model` the page's own.
        """
        try:
            names: Any = "all" if methods == ["all"] else methods
            loaded = workbench.model(model or workbench.start_name)
            opened = open_picture(uploaded(picture))
            return describe(explain_picture(loaded, opened, methods=names, target=target or None))
        except ExplorerError as error:
            raise gr.Error(str(error), print_exception=False) from None

    def models() -> list[str]:
        """Names of the models that can be asked for, the page's own first."""
        return [workbench.start_name, *available_models()]

    gr.api(explain, api_name="explain", concurrency_id="model")
    gr.api(models, api_name="models")


def uploaded(picture: Any) -> Path:
    """The path of a file that was sent to this server; any other is refused.

    Raises:
        OptionError: no file was sent.
    """
    path = Path(str(picture.get("path"))).resolve() if isinstance(picture, dict) else None
    if path is None or not path.is_relative_to(Path(get_upload_folder()).resolve()):
        raise OptionError("The picture was not sent to this page; send it with handle_file.")
    return path


def describe(explanation: Explanation) -> dict[str, Any]:
    """What explanation.json holds, with the maps' values."""
    maps = {name: heatmap.values.tolist() for name, heatmap in explanation.heatmaps.items()}
    return {**explanation.to_dict(), "heatmaps": maps}
