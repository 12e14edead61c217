"""No answer is without words: what no handler foresaw is logged, and answered by its number."""

from __future__ import annotations

from fastapi.responses import JSONResponse
from starlette.requests import ClientDisconnect
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from vit_explorer.failures import unforeseen
from vit_explorer.sentences import keyed

FAILED = 500


class LastResort:
    """ASGI middleware around all others: Gradio's own routes fail behind it too."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        status = 0

        async def told(message: Message) -> None:
            nonlocal status
            status = message.get("status", status)
            if status != FAILED:
                await send(message)

        what = f"{scope['method']} {scope['path']}"
        try:
            await self.app(scope, receive, told)
            failure: Exception | None = None
        except ClientDisconnect:
            return
        except Exception as error:
            failure = error
        if failure is None and status != FAILED:
            return
        said = unforeseen(failure or RuntimeError(f"an answer of status {FAILED}"), what)
        if status in (0, FAILED):  # else the answer has begun: it ends here, cut off
            await JSONResponse({"error": keyed(said)}, FAILED)(scope, receive, send)
