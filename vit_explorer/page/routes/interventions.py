"""What the page asks of a model that is changed: without patches, or with heads switched off."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from fastapi import APIRouter, Request
from fastapi.responses import JSONResponse, Response
from pydantic import TypeAdapter
from starlette.concurrency import run_in_threadpool

from vit_explorer.errors import ExplorerError
from vit_explorer.page.payloads import whatif
from vit_explorer.page.routes.request_bodies import RefusedOrder, read_order
from vit_explorer.page.state.results import Result

# Every patch of the largest grids, and every head.
LARGEST_ORDER = 100_000


def add_change_routes(router: APIRouter, held: Callable[[str], Result]) -> None:
    """Add them; `held` returns the result of a key or raises the answer that it is gone."""
    _add(router, held, "change", whatif.ChangeOrder, whatif.describe_change)
    _add(router, held, "removal", whatif.RemovalOrder, whatif.describe_removal)


def _add(
    router: APIRouter,
    held: Callable[[str], Result],
    path: str,
    kind: type[Any],
    describe: Callable[[Result, Any], dict[str, Any]],
) -> None:
    adapter = TypeAdapter(kind)

    async def receive(key: str, request: Request) -> Response:
        try:
            order = await read_order(request, adapter, LARGEST_ORDER)
            answer = await run_in_threadpool(describe, held(key), order)
        except RefusedOrder as refused:
            return refused.answer
        except ExplorerError as error:
            return JSONResponse({"error": str(error)}, 422)
        return JSONResponse(answer)

    router.add_api_route(f"/results/{{key}}/{path}", receive, methods=["POST"])
