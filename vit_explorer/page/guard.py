"""What every request and response passes: who may be addressed, and what the page may load."""

from __future__ import annotations

import ipaddress
import socket
from collections.abc import Iterable

from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

HEADERS = {
    "Content-Security-Policy": "; ".join(
        (
            "default-src 'self'",
            # Gradio compiles a component's script in the browser, which needs unsafe-eval.
            "script-src 'self' 'unsafe-inline' 'unsafe-eval'",
            "style-src 'self' 'unsafe-inline'",
            "img-src 'self' data: blob:",
            "media-src 'self' blob: mediastream:",
            "connect-src 'self' data: blob:",
            "font-src 'self' data:",
            "object-src 'none'",
            "base-uri 'self'",
            "frame-ancestors 'self'",
        )
    ),
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "same-origin",
}
OURS = "/explorer/"


class Guard:
    """ASGI middleware: answers only to known names, and adds the security headers.

    `link` goes with the page itself: what its browser should fetch at once.

    An address of digits is always answered: a foreign site that re-points its own name at this
    machine (DNS rebinding) still sends that name.
    """

    def __init__(self, app: ASGIApp, hosts: Iterable[str] = (), link: str = "") -> None:
        self.app = app
        self.link = link
        machine = socket.gethostname().casefold()
        self.hosts = {
            "localhost",
            machine,
            f"{machine}.local",
            *(host.casefold() for host in hosts),
        }

    def _knows(self, host: str) -> bool:
        name = host.rsplit(":", 1)[0] if not host.endswith("]") else host
        name = name.strip("[]").casefold()
        if name in self.hosts:
            return True
        try:
            ipaddress.ip_address(name)
        except ValueError:
            return False
        return True

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        host = Headers(scope=scope).get("host", "")
        if not self._knows(host):
            refusal = PlainTextResponse(
                "This page does not answer to that host name; allow it with --allow-host.", 400
            )
            await refusal(scope, receive, send)
            return

        async def send_guarded(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                for name, value in HEADERS.items():
                    headers.setdefault(name, value)
                if scope["path"] == "/" and self.link:
                    headers.setdefault("Link", self.link)
                if scope["path"].startswith(OURS):
                    # Asked for again each time: an update must not meet an old script.
                    headers.setdefault("Cache-Control", "no-cache")
            await send(message)

        await self.app(scope, receive, send_guarded)
