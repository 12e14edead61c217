"""How a refusal is answered: the status, and the sentence as JSON."""

from __future__ import annotations

from fastapi import FastAPI, Request
from fastapi.responses import JSONResponse, Response

from vit_explorer.errors import ExplorerError
from vit_explorer.page.routes.request_bodies import RefusedOrder
from vit_explorer.sentences import keyed

# What is asked for by GET is not there; what is sent by POST is not as it should be.
STATUS = {"GET": 404}


def add_refusals(app: FastAPI) -> None:
    """Answer the errors that any handler may raise."""
    app.add_exception_handler(ExplorerError, refuse)
    app.add_exception_handler(RefusedOrder, refuse_order)


def refuse(request: Request, error: Exception) -> Response:
    """What can't be had, in the error's own sentence."""
    assert isinstance(error, ExplorerError)  # noqa: S101 - it is registered for these alone
    return JSONResponse({"error": keyed(error.sentence)}, STATUS.get(request.method, 422))


def refuse_order(_: Request, refused: Exception) -> Response:
    """An order that can't be read."""
    assert isinstance(refused, RefusedOrder)  # noqa: S101 - it is registered for these alone
    return JSONResponse({"error": keyed(refused.sentence)}, refused.status)
