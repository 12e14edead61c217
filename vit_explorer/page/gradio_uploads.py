"""Files that Gradio's own route takes from programs: bounded in bytes, the oldest given up."""

from __future__ import annotations

import json
import shutil
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from fastapi.responses import JSONResponse
from gradio.utils import get_upload_folder
from starlette.datastructures import Headers
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from vit_explorer.page.proxy import path_below
from vit_explorer.page.visitors import VISITOR
from vit_explorer.sentences import Sentence, keyed

ROUTE = "/gradio_api/upload"
# A request's bytes, and those kept of one visitor and of all.
LARGEST = 64 * 10**6
OF_ONE = 200 * 10**6
OF_ALL = 10**9


@dataclass(frozen=True)
class _Sent:
    path: Path
    visitor: str
    bytes: int
    at: float


class GradioUploads:
    """ASGI middleware around Gradio's upload route."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app
        self._kept: list[_Sent] = []

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or not path_below(scope).startswith(ROUTE):
            await self.app(scope, receive, send)
            return
        length = Headers(scope=scope).get("content-length", "")
        if scope["method"] == "POST" and not (length.isdecimal() and int(length) <= LARGEST):
            said = Sentence(
                "error.upload.request",
                "A request of {length} bytes was sent, expected {limit:,} at most, told by "
                "Content-Length; send fewer or smaller files.",
                length=length or Sentence("part.untold", "an untold number of"),
                limit=LARGEST,
            )
            await JSONResponse({"error": keyed(said)}, 413)(scope, receive, send)
            return
        told = bytearray()

        async def heard(message: Message) -> None:
            if message["type"] == "http.response.body":
                told.extend(message.get("body", b""))
            await send(message)

        await self.app(scope, receive, heard)
        self._keep(scope, bytes(told))

    def _keep(self, scope: Mapping[str, object], told: bytes) -> None:
        """Note the files that an answer tells of, and give up the oldest beyond the bounds."""
        try:
            paths = [Path(one) for one in json.loads(told)]
        except (ValueError, TypeError):
            return
        folder = Path(get_upload_folder()).resolve()
        visitor = str(scope.get(VISITOR, ""))
        for path in paths:
            if path.is_file() and path.resolve().is_relative_to(folder):
                self._kept = [one for one in self._kept if one.path != path]
                size = path.stat().st_size
                self._kept.append(_Sent(path, visitor, size, time.monotonic()))
        self._bound([one for one in self._kept if one.visitor == visitor], OF_ONE)
        self._bound(self._kept, OF_ALL)

    def _bound(self, kept: list[_Sent], most: int) -> None:
        held = sum(one.bytes for one in kept)
        for one in sorted(kept, key=lambda one: one.at):
            if held <= most:
                return
            held -= one.bytes
            self._kept.remove(one)
            shutil.rmtree(one.path.parent, ignore_errors=True)
