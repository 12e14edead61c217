"""The command that starts the page."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from vit_explorer.cli.options import SourceOrRandom


def serve(
    source: SourceOrRandom,
    host: Annotated[str, typer.Option(help="Address to listen on.")] = "127.0.0.1",
    port: Annotated[
        int, typer.Option(help="Port to listen on; 0 takes a free one.", min=0, max=65535)
    ] = 7860,
    allow_host: Annotated[
        list[str] | None,
        typer.Option(help="A further name the page answers to, such as a proxy's."),
    ] = None,
    root_path: Annotated[
        str,
        typer.Option(
            help="The prefix at a proxy, such as /vit, where the proxy doesn't send it as "
            "X-Forwarded-Prefix."
        ),
    ] = "",
    open_browser: Annotated[
        bool, typer.Option("--open/--no-open", help="Open the page in a browser.")
    ] = False,
    allow_training: Annotated[
        bool,
        typer.Option(
            "--allow-training",
            help="Let the page train models and open data sets. With a --host that others reach, "
            "they can then have this machine read any folder of pictures, compute, and write "
            "under --runs.",
        ),
    ] = False,
    runs: Annotated[Path, typer.Option(help="Folder for what --allow-training trains.")] = Path(
        "runs"
    ),
    auth: Annotated[
        str | None,
        typer.Option(
            help="Let in who knows this user's password, the first line of the file.",
            metavar="USER:FILE",
        ),
    ] = None,
    no_login: Annotated[
        bool,
        typer.Option(
            "--no-login",
            help="Let in whoever reaches a --host beyond this machine; else the link that is "
            "printed has a token in it, that of VIT_EXPLORER_TOKEN if it is set.",
        ),
    ] = False,
    mcp: Annotated[
        bool, typer.Option("--mcp", help="Offer the page's endpoints as tools by MCP too.")
    ] = False,
) -> None:
    """Start the page."""
    from vit_explorer import page as ui

    loaded = source.load()
    ui.serve(
        loaded,
        host=host,
        port=port,
        device=source.device,
        hosts=allow_host or (),
        root_path=root_path,
        open_browser=open_browser,
        film=ui.find_film(source.model, source.weights),
        runs=runs if allow_training else None,
        mcp=mcp,
        auth=auth,
        no_login=no_login,
    )
