"""Addresses of the numbers that single views fetch when they need them."""

from __future__ import annotations

from collections.abc import Callable

from fastapi import APIRouter, HTTPException, Request
from fastapi.responses import Response

from vit_explorer.errors import ExplorerError
from vit_explorer.page.payloads import attention, layers, learn, positions
from vit_explorer.page.state.results import Result

BYTES = "application/octet-stream"
# What follows a result's address, and what answers with the numbers in it.
ADDRESSES: dict[str, Callable[..., bytes]] = {
    "heads": attention.measure_bytes,
    "rollouts/{query:int}": attention.rollout_bytes,
    "walk": learn.walk_bytes,
    "filters": learn.filter_bytes,
    "patches/{index:int}": learn.patch_bytes,
    "heads/{layer:int}/{head:int}/{token:int}": learn.head_bytes,
    "components": positions.component_bytes,
    "positions/{rows:int}/{columns:int}": positions.interpolated_bytes,
    "bias/{layer:int}": positions.bias_bytes,
    "depth": layers.depth_bytes,
    "tokens": layers.token_bytes,
    "similarities/{token:int}": layers.similarity_bytes,
}


def add_view_routes(router: APIRouter, held: Callable[[str], Result]) -> None:
    """Add them; `held` returns the result of a key or raises the answer that it is gone."""

    def sender(make: Callable[..., bytes]) -> Callable[[Request], Response]:
        def send(request: Request) -> Response:
            key, *numbers = request.path_params.values()
            try:
                return Response(make(held(key), *numbers), media_type=BYTES)
            except (IndexError, ExplorerError) as error:
                raise HTTPException(404, str(error)) from None

        return send

    for path, make in ADDRESSES.items():
        router.add_api_route(f"/results/{{key}}/{path}", sender(make), methods=["GET"])
