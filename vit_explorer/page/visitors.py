"""Who a request is of, and how much of the server one visitor has at once."""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import secrets
import time
from collections import OrderedDict
from dataclasses import dataclass, field

from fastapi.responses import JSONResponse
from starlette.datastructures import Headers, MutableHeaders
from starlette.requests import Request, cookie_parser
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from vit_explorer.page.proxy import path_below
from vit_explorer.sentences import Sentence, keyed

COOKIE = "vit-explorer-visitor"
VISITOR = "vit_explorer.visitor"  # where a request's scope has it
# Requests of one visitor that are worked on at once, and that wait: the server has 40 threads.
AT_ONCE = 12
WAITING = 200
# Writing requests a second that one visitor may go on sending, and how many may come at once.
RATE = 50.0
BURST = 1500.0
KNOWN = 10_000

BUSY = Sentence(
    "error.rate", "Too many requests came from you at once; wait a few seconds and try again."
)


def visitor_of(request: Request) -> str:
    """The visitor that a request is of."""
    return str(request.scope.get(VISITOR, ""))


@dataclass
class _Share:
    """What one visitor has of the server."""

    places: asyncio.Semaphore = field(default_factory=lambda: asyncio.Semaphore(AT_ONCE))
    waiting: int = 0
    left: float = BURST
    at: float = field(default_factory=time.monotonic)

    def may_write(self) -> bool:
        """Count a writing request; False where they come too fast."""
        now = time.monotonic()
        self.left = min(BURST, self.left + (now - self.at) * RATE)
        self.at = now
        if self.left < 1:
            return False
        self.left -= 1
        return True


class Visitors:
    """ASGI middleware: knows a visitor by a cookie of ours, else by address, and bounds each.

    A place is held until the answer begins: streams hold none, as they stand in lines of their own.
    """

    def __init__(self, app: ASGIApp) -> None:
        self.app = app
        self._key = secrets.token_bytes(32)
        self._shares: OrderedDict[str, _Share] = OrderedDict()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        known = self._known(scope)
        visitor = known or str((scope.get("client") or ("",))[0])
        scope = {**scope, VISITOR: visitor}
        share = self._share(visitor)
        writes = scope["method"] not in ("GET", "HEAD", "OPTIONS")
        if (writes and not share.may_write()) or share.waiting >= WAITING:
            answer = JSONResponse({"error": keyed(BUSY)}, 429, {"Retry-After": "3"})
            await answer(scope, receive, send)
            return
        share.waiting += 1
        try:
            await share.places.acquire()
        finally:
            share.waiting -= 1
        held = True

        def give_back() -> None:
            nonlocal held
            if held:
                held = False
                share.places.release()

        async def begun(message: Message) -> None:
            give_back()
            first = known is None and path_below(scope) == "/"
            if first and message["type"] == "http.response.start":
                MutableHeaders(scope=message).append("Set-Cookie", self._cookie(scope))
            await send(message)

        try:
            await self.app(scope, receive, begun)
        finally:
            give_back()

    def _known(self, scope: Scope) -> str | None:
        """The visitor of our cookie; None for none, or one of another server."""
        kept = cookie_parser(Headers(scope=scope).get("cookie", "")).get(COOKIE, "")
        visitor, _, signed = kept.partition(".")
        return visitor if visitor and hmac.compare_digest(signed, self._signed(visitor)) else None

    def _signed(self, visitor: str) -> str:
        return hmac.new(self._key, visitor.encode(), hashlib.sha256).hexdigest()[:32]

    def _cookie(self, scope: Scope) -> str:
        visitor = secrets.token_urlsafe(9)
        place = f"{scope.get('root_path', '')}/"
        return f"{COOKIE}={visitor}.{self._signed(visitor)}; Path={place}; HttpOnly; SameSite=Lax"

    def _share(self, visitor: str) -> _Share:
        share = self._shares.setdefault(visitor, _Share())
        self._shares.move_to_end(visitor)
        while len(self._shares) > KNOWN:
            self._shares.popitem(last=False)
        return share
