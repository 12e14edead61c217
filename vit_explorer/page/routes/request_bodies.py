"""What is sent by POST: read within bounds and checked, or refused in a sentence."""

from __future__ import annotations

from typing import TypeVar

from fastapi import Request
from pydantic import TypeAdapter, ValidationError

from vit_explorer.errors import SaidError
from vit_explorer.sentences import Sentence

Order = TypeVar("Order")
JSON = "application/json"


class RefusedOrder(SaidError):  # noqa: N818
    """An order that can't be read, and the status to say so with."""

    def __init__(self, status: int, said: Sentence) -> None:
        super().__init__(said)
        self.status = status


def check_type(request: Request, kind: str) -> None:
    """Raises RefusedOrder for another content type than `kind`."""
    # A form of another site can't send these types without asking first, and is then refused.
    if request.headers.get("content-type") != kind:
        raise RefusedOrder(415, Sentence("error.type", "Send this as {kind}.", kind=kind))


async def read_body(request: Request, largest: int, too_long: Sentence) -> bytes:
    """A body of at most `largest` bytes; raises RefusedOrder with `too_long` for a longer one."""
    body = bytearray()
    async for chunk in request.stream():
        body += chunk
        if len(body) > largest:
            raise RefusedOrder(413, too_long)
    return bytes(body)


async def read_order(request: Request, adapter: TypeAdapter[Order], largest: int) -> Order:
    """The order in a request's body, of at most `largest` bytes.

    Raises:
        RefusedOrder: another content type, too long, or not what the adapter expects.
    """
    check_type(request, JSON)
    too_long = Sentence("error.order.long", "The order is too long.")
    body = await read_body(request, largest, too_long)
    try:
        return adapter.validate_json(body)
    except ValidationError as error:
        place = ".".join(map(str, error.errors()[0]["loc"])) or "order"
        raise RefusedOrder(
            422,
            Sentence("error.order.place", "The order's {place} is missing or wrong.", place=place),
        ) from None
