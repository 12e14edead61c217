"""What the page sends and asks of its server: files of models, and how much memory is used."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

import psutil
from fastapi import APIRouter, Request

from vit_explorer.models.checkpoints.hub import unreachable
from vit_explorer.models.gallery import GALLERY, facts_of
from vit_explorer.page.routes.held import BYTES, Bench
from vit_explorer.page.routes.request_bodies import check_type
from vit_explorer.page.visitors import visitor_of

router = APIRouter(prefix="/explorer")


@router.get("/memory")
def memory(workbench: Bench) -> dict[str, int]:
    """Bytes: of the whole process, and of the pictures and results it keeps to be quick."""
    return {
        "process": psutil.Process().memory_info().rss,
        "kept": workbench.kept_bytes,
    }


@router.get("/models/gallery")
def gallery() -> list[dict[str, Any]]:
    """The models that are shown as cards, and what of them is on this machine now."""
    return [{"name": one.name, "title": one.title, **asdict(facts_of(one))} for one in GALLERY]


@router.get("/models/hub")
def hub() -> dict[str, bool]:
    """Whether weights can be had from elsewhere at all."""
    return {"reachable": not unreachable()}


@router.post("/uploads/{kind}")
async def receive(workbench: Bench, request: Request, kind: str, name: str = "") -> dict[str, str]:
    """Keep a checkpoint or class names, and tell the key to ask for it by."""
    check_type(request, BYTES)
    sent = workbench.uploads.receive(kind, name, request.stream(), visitor_of(request))
    return {"upload": await sent}
