"""What the page asks of a model that is changed: without patches, or with heads switched off."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter, Request
from pydantic import TypeAdapter
from starlette.concurrency import run_in_threadpool

from vit_explorer.page.payloads import whatif
from vit_explorer.page.routes.held import Held
from vit_explorer.page.routes.request_bodies import read_order

# Every patch of the largest grids, and every head.
LARGEST_ORDER = 100_000
CHANGE = TypeAdapter(whatif.ChangeOrder)
REMOVAL = TypeAdapter(whatif.RemovalOrder)

router = APIRouter(prefix="/explorer/results/{key}")


@router.post("/change")
async def change(result: Held, request: Request) -> dict[str, Any]:
    order = await read_order(request, CHANGE, LARGEST_ORDER)
    return await run_in_threadpool(whatif.describe_change, result, order)


@router.post("/removal")
async def removal(result: Held, request: Request) -> dict[str, Any]:
    order = await read_order(request, REMOVAL, LARGEST_ORDER)
    return await run_in_threadpool(whatif.describe_removal, result, order)
