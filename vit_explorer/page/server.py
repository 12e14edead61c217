"""The page as a web application, and the server that runs it."""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import socket
import threading
import webbrowser
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

import gradio as gr
import uvicorn
from fastapi import FastAPI
from starlette.concurrency import run_in_threadpool
from starlette.middleware.cors import CORSMiddleware
from starlette.staticfiles import StaticFiles

from vit_explorer.ending import hangup
from vit_explorer.errors import OptionError
from vit_explorer.models.loaded import LoadedModel
from vit_explorer.page.admission import Gate, Login, OwnOrigin, is_beyond
from vit_explorer.page.front import Front
from vit_explorer.page.gradio_api import check_mcp, let_tools_ask
from vit_explorer.page.gradio_shell import HEAD, STYLES, build_blocks
from vit_explorer.page.gradio_uploads import GradioUploads
from vit_explorer.page.guard import Guard
from vit_explorer.page.last_resort import LastResort
from vit_explorer.page.preload import links
from vit_explorer.page.proxy import check_root_path
from vit_explorer.page.routes import (
    installable,
    interventions,
    jobs,
    labelled_sets,
    models,
    numbers,
    results,
    training,
)
from vit_explorer.page.routes.refusals import add_refusals
from vit_explorer.page.state import freed_memory
from vit_explorer.page.state.examples import EXAMPLES
from vit_explorer.page.state.session import Workbench
from vit_explorer.page.state.trainings import Trainings
from vit_explorer.page.static_files import static_folder
from vit_explorer.page.visitors import Visitors

ROUTES = (results, numbers, interventions, jobs, models, installable)


def build_app(
    workbench: Workbench,
    *,
    hosts: Sequence[str] = (),
    root_path: str = "",
    mcp: bool = False,
    own_address: str | None = None,
    login: Login | None = None,
) -> FastAPI:
    """Everything under one address: our own routes, and Gradio mounted at the root.

    `hosts` are names the page answers to, besides this machine's own and addresses of digits;
    `root_path` is the prefix it stands under at a proxy. With `mcp` the endpoints are tools by the
    Model Context Protocol too, at `/gradio_api/mcp/`, which asks the page at `own_address`. `login`
    is asked of all who come; None lets in whoever reaches the page.

    Raises:
        OptionError: `mcp` without its package, or a `root_path` that can't be.
    """
    prefix = check_root_path(root_path)
    if mcp:
        check_mcp()

    @asynccontextmanager
    async def life(_: FastAPI) -> AsyncIterator[None]:
        trimming = asyncio.create_task(freed_memory.give_back_now_and_then())
        yield
        trimming.cancel()
        await run_in_threadpool(workbench.close)

    app = FastAPI(docs_url=None, redoc_url=None, openapi_url=None, lifespan=life)
    # With this, Gradio leaves out its own CORS headers, which would let any site read answers.
    app.add_middleware(CORSMiddleware, allow_origins=[])
    # The last to be added is met first.
    app.add_middleware(GradioUploads)
    app.add_middleware(Front, links=links(static_folder(), STYLES))
    app.add_middleware(Visitors)
    if login is not None:
        app.add_middleware(Gate, login=login)
    app.add_middleware(OwnOrigin, hosts=hosts)
    app.add_middleware(Guard, hosts=hosts, root_path=prefix)
    app.add_middleware(LastResort)
    app.state.workbench = workbench
    add_refusals(app)
    for routes in ROUTES:
        app.include_router(routes.router)
    if workbench.trainings is not None:
        app.include_router(training.router)
        app.include_router(labelled_sets.router)
    app.mount("/explorer/static", StaticFiles(directory=static_folder()))
    blocks = build_blocks(workbench)
    gr.mount_gradio_app(
        app,
        blocks,
        path="/",
        head=HEAD,
        favicon_path=str(static_folder() / "favicon.svg"),
        footer_links=[],
        max_file_size="20mb",
        run_history=False,
        enable_monitoring=False,
        show_error=False,
        ssr_mode=False,
        mcp_server=mcp,
    )
    if own_address and blocks.mcp_server_obj:
        let_tools_ask(blocks.mcp_server_obj, own_address, {} if login is None else login.headers())
    return app


def serve(
    model: LoadedModel,
    *,
    host: str = "127.0.0.1",
    port: int = 7860,
    device: str = "auto",
    hosts: Sequence[str] = (),
    root_path: str = "",
    open_browser: bool = True,
    film: Path | None = None,
    runs: Path | None = None,
    mcp: bool = False,
    auth: str | None = None,
    no_login: bool = False,
) -> None:
    """Serve the page until interrupted.

    Args:
        model: what the page opens with; others are loaded by name when chosen.
        port: 0 takes any free one.
        device: where models chosen on the page are loaded.
        hosts: further names the page answers to, such as that of a proxy before it.
        root_path: the prefix that visitors see before the page's own path, where a proxy has one.
        open_browser: open the page in this machine's browser.
        film: the model's training film, as `find_film` finds it.
        runs: where the page keeps the runs it trains; None lets no page train.
        mcp: offer the endpoints as tools by MCP too.
        auth: "USER:FILE", the name and the file of the password that let in.
        no_login: let in whoever reaches a `host` beyond this machine, where else the link has a
            token in it.

    Raises:
        OptionError: the address is taken, `mcp` without its package, no possible `root_path`, or
            no password in the file of `auth`.
    """
    os.environ.setdefault("GRADIO_ANALYTICS_ENABLED", "False")
    freed_memory.keep_little()
    login = Login.by_file(auth) if auth else None
    if login is None and is_beyond(host) and not no_login:
        login = Login.by_token()
    listener = _listen(host, port)
    trainings = None if runs is None else Trainings(runs, device=device)
    workbench = Workbench(model, device=device, film=film, trainings=trainings)
    address = f"http://{_shown(host)}:{listener.getsockname()[1]}/"
    names = (host, *hosts)
    app = build_app(
        workbench,
        hosts=names,
        root_path=root_path,
        mcp=mcp,
        own_address=address,
        login=login,
    )
    link = address if login is None else login.link(address)
    print(f"ViT Explorer is at {link} (Ctrl-C stops it)", flush=True)  # noqa: T201
    # The first thing anyone sees is ready when they arrive.
    threading.Thread(
        target=workbench.analyse, args=(EXAMPLES[0], workbench.start_name, None), daemon=True
    ).start()
    if open_browser:
        threading.Timer(1.0, webbrowser.open, (link,)).start()
    _end_with_terminal()
    logging.getLogger("uvicorn.error").addFilter(_is_news)
    # An open page holds a connection for good, which must not keep Ctrl-C waiting.
    config = uvicorn.Config(app, log_config=None, log_level="warning", timeout_graceful_shutdown=1)
    uvicorn.Server(config).run(sockets=[listener])


def _is_news(record: logging.LogRecord) -> bool:
    """Whether the server's record is one: that it hangs up on open pages when it ends is none."""
    cancelled = record.exc_info is not None and record.exc_info[0] is asyncio.CancelledError
    return not (cancelled or "timeout graceful shutdown" in str(record.msg))


def _end_with_terminal() -> None:
    """A closed terminal ends the server as a polite kill does: what was sent is removed."""
    closed = hangup()
    if closed is not None and threading.current_thread() is threading.main_thread():
        signal.signal(closed, lambda *_: signal.raise_signal(signal.SIGTERM))


def _shown(host: str) -> str:
    """An address to open, for one to listen on."""
    everywhere = {"0.0.0.0": "127.0.0.1", "::": "[::1]"}  # noqa: S104
    return everywhere.get(host, f"[{host}]" if ":" in host else host)


def _listen(host: str, port: int) -> socket.socket:
    try:
        family = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0][0]
        listener = socket.socket(family, socket.SOCK_STREAM)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((host, port))
        listener.listen()  # whoever follows the address that is told waits, and is not refused
    except (OSError, OverflowError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise OptionError(
            "error.serve",
            "The page can't be served at {host}:{port} ({reason}); choose another --port, or 0 "
            "for any free one.",
            host=host,
            port=port,
            reason=reason,
        ) from None
    return listener
