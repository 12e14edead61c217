"""What every request and response passes: who may be addressed, and what the page may load."""

from __future__ import annotations

import ipaddress
import socket
from collections.abc import Iterable

from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from vit_explorer.page.proxy import as_visited, asked_hosts, path_below

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

    What follows gets the request as its visitor sent it, to the prefix `root_path` if that is set.

    An address of digits is always answered: a foreign site that re-points its own name at this
    machine (DNS rebinding) still sends that name.
    """

    def __init__(self, app: ASGIApp, hosts: Iterable[str] = (), root_path: str = "") -> None:
        self.app = app
        self.root_path = root_path
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
        for host in asked_hosts(Headers(scope=scope)):
            if not self._knows(host):
                refusal = PlainTextResponse(
                    f"This page does not answer to the host name {host!a}; allow it with "
                    "--allow-host NAME.",
                    400,
                )
                await refusal(scope, receive, send)
                return
        scope = as_visited(scope, self.root_path)

        async def send_guarded(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                for name, value in HEADERS.items():
                    headers.setdefault(name, value)
                if path_below(scope).startswith(OURS):
                    # Asked for again each time: an update must not meet an old script.
                    headers.setdefault("Cache-Control", "no-cache")
            await send(message)

        await self.app(scope, receive, send_guarded)
