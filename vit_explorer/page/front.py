"""The page's own document: Gradio's frame, made to stand at any address and to begin at once."""

from __future__ import annotations

import gzip
import re

from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import RedirectResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from vit_explorer.page.proxy import path_below

# Gradio writes the address that the request was sent to, which behind a proxy may be another than
# the browser's.
ROOT = re.compile(rb'("root":|const root = )"https?://[^"]*"')
HERE = rb'\1new URL(".",location.href).href.replace(/\\/$/,"")'
BASE = re.compile(rb"<base [^>]*>")
# A proxy may show the page at /prefix too, where every relative address would go astray.
SLASH = b"""<script>
if (!location.pathname.endsWith("/"))
  history.replaceState(null, "", location.pathname + "/" + location.search + location.hash);
</script>"""
MANIFEST = b'<link rel="manifest" href="/manifest.json" />'


class Front:
    """ASGI middleware: the page's document with `links`, and with no address from the root."""

    def __init__(self, app: ASGIApp, links: str = "") -> None:
        self.app = app
        self.links = links.encode()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        path = path_below(scope) if scope["type"] == "http" and scope["method"] == "GET" else None
        if path == "":
            asked = scope["query_string"].decode("latin-1")
            place = f"{scope['root_path']}/" + (f"?{asked}" if asked else "")
            await RedirectResponse(place)(scope, receive, send)
        elif path == "/":
            await self._answer(scope, receive, send)
        else:
            await self.app(scope, receive, send)

    async def _answer(self, scope: Scope, receive: Receive, send: Send) -> None:
        zipped = "gzip" in Headers(scope=scope).get("accept-encoding", "")
        plain = [(name, value) for name, value in scope["headers"] if name != b"accept-encoding"]
        start: Message = {}
        body = bytearray()

        async def edit(message: Message) -> None:
            if message["type"] == "http.response.start":
                start.update(message)
            elif message["type"] == "http.response.body":
                body.extend(message.get("body", b""))
                if not message.get("more_body", False):
                    content = self._edited(MutableHeaders(scope=start), bytes(body), zipped)
                    await send(start)
                    await send({"type": "http.response.body", "body": content})
            else:
                await send(message)

        await self.app({**scope, "headers": plain}, receive, edit)

    def _edited(self, headers: MutableHeaders, content: bytes, zipped: bool) -> bytes:
        """The content to send, and headers that are true of it."""
        if headers.get("content-type", "").startswith("text/html"):
            content = at_any_address(content, self.links)
            headers.add_vary_header("Accept-Encoding")
            if zipped:
                content = gzip.compress(content, 5)
                headers["Content-Encoding"] = "gzip"
            headers["Content-Length"] = str(len(content))
        return content


def at_any_address(html: bytes, links: bytes) -> bytes:
    """Gradio's document, which then learns from the browser where it stands."""
    html = ROOT.sub(HERE, html)
    html = html.replace(MANIFEST, b'<link rel="manifest" href="manifest.json" />')
    return BASE.sub(lambda base: SLASH + base[0] + links, html, count=1)
