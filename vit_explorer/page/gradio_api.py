"""The page's few named endpoints, for `gradio_client` and other programs, and as tools by MCP."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Callable, Mapping
from functools import wraps
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import gradio as gr
from gradio.utils import get_upload_folder

from vit_explorer.errors import ExplorerError, OptionError, PictureError
from vit_explorer.explaining.explain import explain as explain_picture
from vit_explorer.explaining.explanation import Explanation
from vit_explorer.failures import unforeseen
from vit_explorer.methods.attention import one_or_fused
from vit_explorer.models.zoo import available_models
from vit_explorer.page.state.examples import EXAMPLES
from vit_explorer.page.state.session import MAX_UPLOAD_BYTES, Workbench
from vit_explorer.pictures.decode import Picture, open_picture
from vit_explorer.tracing.trace import trace

DATA_ADDRESS = "data:image/"


def check_mcp() -> None:
    """Raises OptionError where MCP's own package is not installed."""
    if find_spec("mcp") is None:
        raise OptionError(
            "error.mcp",
            "The tools by MCP need a package that is not installed; install it with pip install "
            "'vit-explorer[mcp]'.",
        )


def add_endpoints(workbench: Workbench) -> None:
    """Add `/explain`, `/attention` and `/models` to the Blocks that are being built."""

    def explain(
        picture: dict[str, Any] | str,
        methods: list[str],
        target: str | int = "",
        model: str = "",
    ) -> dict[str, Any]:
        """Explain what a Vision Transformer sees in a picture: predictions, and heatmaps.

        Each heatmap is rows of numbers, one a patch, unscaled.

        Args:
            picture: sent with handle_file, a data:image/png;base64,… address, or "cat.png".
            methods: names such as "rollout" or "grad_cam", or ["all"]; [] for predictions alone.
            target: class label or index to explain, "not" and one of these for what speaks
                against it, or "A - B" for what speaks for A rather than B; empty is the top
                prediction.
            model: a name that /models lists; empty is the page's own.
        """
        names: Any = "all" if methods == ["all"] else methods
        aim = None if target in ("", None) else target
        loaded = workbench.model(str(model or workbench.start_name))
        opened = picture_of(workbench, picture)
        # One target: a list of them would be answered by a list.
        (found,) = explain_picture(loaded, [opened], methods=names, target=[aim])
        return describe(found)

    def attention(
        picture: dict[str, Any] | str,
        layer: int = -1,
        head: str | int = "mean",
        query: str = "",
        model: str = "",
    ) -> dict[str, Any]:
        """Where one token of a Vision Transformer looks: one row of one layer's attention.

        `patches` are rows of probabilities, one a patch; `prefix` those of the tokens before the
        patches, by name. All together add up to 1 where heads are not fused by max or min.

        Args:
            picture: as in /explain.
            layer: counted from 0; negative from the end.
            head: counted from 0, or "mean", "max" or "min" over all heads.
            query: the patch that looks, as "row,column" from 1; empty is the class token.
            model: as in /explain.
        """
        loaded = workbench.model(str(model or workbench.start_name))
        passed = trace(loaded, picture_of(workbench, picture))
        card = loaded.card
        number = passed.layer_index(layer)
        token = 0 if query in ("", None) else _token(str(query), card.grid, card.prefix_tokens)
        rows = passed.attention_rows(number, [token])[:, 0]
        chosen = int(head) if str(head).isdecimal() else str(head)
        row = one_or_fused(chosen, len(rows))(rows)
        return {
            "model": card.name,
            "layer": number,
            "head": head,
            "query": query or (card.prefix_names[0] if card.prefix_names else "1,1"),
            "prefix": dict(zip(card.prefix_names, row.tolist(), strict=False)),
            "patches": passed.grid(row).tolist(),
        }

    def models(pattern: str = "") -> list[str]:
        """Names of the models that can be asked for, the page's own first.

        Args:
            pattern: part of a name; empty for all of them.
        """
        names = dict.fromkeys((workbench.start_name, *available_models()))
        part = str(pattern or "").casefold()
        return [name for name in names if part in name.casefold()]

    # A line of their own: a program that asks a lot must not keep the page's readers waiting.
    gr.api(_refusing(explain), api_name="explain", concurrency_id="programs")
    gr.api(_refusing(attention), api_name="attention", concurrency_id="programs")
    gr.api(_refusing(models), api_name="models")


def let_tools_ask(server: Any, address: str, headers: Mapping[str, str]) -> None:
    """Let MCP's tools, which ask the page's endpoints as programs do, ask at its own address.

    Gradio's own way is to ask wherever the first caller's headers say, and without a login.
    """
    from gradio_client import Client

    made: list[Client] = []

    def client() -> Client:
        if not made:
            told = {"x-gradio-user": "mcp", **headers}
            options = {"download_files": False, "verbose": False, "analytics_enabled": False}
            made.append(Client(address, headers=told, **options))
        return made[0]

    server._local_url = address
    server._get_or_create_client = client


def _refusing(endpoint: Callable[..., Any]) -> Callable[..., Any]:
    """The endpoint, with its refusals and what nobody foresaw as Gradio sends them."""

    @wraps(endpoint)
    def call(*given: Any, **named: Any) -> Any:
        try:
            return endpoint(*given, **named)
        except ExplorerError as error:
            said = error.sentence
        except Exception as error:
            said = unforeseen(error, f"the endpoint /{endpoint.__name__}")
        raise gr.Error(said, print_exception=False)

    return call


def _token(query: str, grid: tuple[int, int], prefix: int) -> int:
    parts = [int(part) if part.strip().isdecimal() else 0 for part in query.split(",")]
    if len(parts) != 2 or not (1 <= parts[0] <= grid[0] and 1 <= parts[1] <= grid[1]):
        raise OptionError(
            "error.api.query",
            "The query was {query!r}, expected row,column from 1,1 to {rows},{columns}, or "
            "nothing for the first token.",
            query=query,
            rows=grid[0],
            columns=grid[1],
        )
    return prefix + (parts[0] - 1) * grid[1] + parts[1] - 1


def picture_of(workbench: Workbench, given: Any) -> Picture:
    """The picture an endpoint was given: an example's name, a data address, or a sent file.

    Raises:
        OptionError: none of these.
        PictureError: no picture that can be opened.
    """
    if isinstance(given, str) and given in EXAMPLES:
        return workbench.picture(given)
    if isinstance(given, str) and given.startswith(DATA_ADDRESS):
        return open_picture(_decoded(given), name="picture")
    return open_picture(uploaded(given))


def _decoded(address: str) -> bytes:
    _, _, content = address.partition(";base64,")
    if len(content) > MAX_UPLOAD_BYTES * 4 // 3 + 4:
        raise PictureError(
            "error.picture.limit",
            "The picture has more than {limit} MB; make it smaller and send it again.",
            limit=MAX_UPLOAD_BYTES // 10**6,
        )
    try:
        return base64.b64decode(content, validate=True)
    except binascii.Error:
        raise PictureError(
            "error.api.base64",
            "The picture's data address is no base64; send data:image/png;base64,…",
        ) from None


def uploaded(picture: Any) -> Path:
    """The path of a file that was sent to this server; any other is refused.

    Raises:
        OptionError: no file was sent.
    """
    path = Path(str(picture.get("path"))).resolve() if isinstance(picture, dict) else None
    if path is None or not path.is_relative_to(Path(get_upload_folder()).resolve()):
        raise OptionError(
            "error.api.picture",
            "The picture was not sent to this page; send it with handle_file, or name an "
            "example: {examples}.",
            examples=", ".join(EXAMPLES),
        )
    return path


def describe(explanation: Explanation) -> dict[str, Any]:
    """What explanation.json holds, with the maps' values."""
    maps = {name: heatmap.values.tolist() for name, heatmap in explanation.heatmaps.items()}
    return {**explanation.to_dict(), "heatmaps": maps}
