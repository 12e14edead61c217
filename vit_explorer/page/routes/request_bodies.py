"""What is asked by POST as JSON: read within bounds and checked, or refused in a sentence."""

from __future__ import annotations

from typing import TypeVar

from fastapi import Request
from fastapi.responses import JSONResponse
from pydantic import TypeAdapter, ValidationError

Order = TypeVar("Order")


class RefusedOrder(Exception):  # noqa: N818
    """An order that can't be read; `answer` says why."""

    def __init__(self, status: int, error: str) -> None:
        super().__init__(error)
        self.answer = JSONResponse({"error": error}, status)


async def read_order(request: Request, adapter: TypeAdapter[Order], largest: int) -> Order:
    """The order in a request's body, of at most `largest` bytes.

    Raises:
        RefusedOrder: another content type, too long, or not what the adapter expects.
    """
    # A form of another site can't send this type without asking first, and is then refused.
    if request.headers.get("content-type") != "application/json":
        raise RefusedOrder(415, "Send the order as application/json.")
    body = bytearray()
    async for chunk in request.stream():
        body += chunk
        if len(body) > largest:
            raise RefusedOrder(413, "The order is too long.")
    try:
        return adapter.validate_json(bytes(body))
    except ValidationError as error:
        place = ".".join(map(str, error.errors()[0]["loc"])) or "order"
        raise RefusedOrder(422, f"The order's {place} is missing or wrong.") from None
