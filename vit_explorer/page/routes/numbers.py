"""Addresses of the numbers that single views fetch when they need them, all in one layout."""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from typing import Any, Literal

from fastapi import APIRouter, HTTPException, Request, Response
from fastapi.routing import APIRoute

from vit_explorer.analysis.patch_matches import By
from vit_explorer.errors import OptionError
from vit_explorer.page.payloads import attention, layers, learn, maps, patches, positions
from vit_explorer.page.payloads import result as payload
from vit_explorer.page.payloads.film import film_bytes
from vit_explorer.page.payloads.packing import MEDIA_TYPE
from vit_explorer.page.routes.held import Bench, Held, held_result
from vit_explorer.sentences import Sentence, keyed

NOWHERE = Sentence("error.nowhere", "There is nothing at this address; explain the picture again.")
NO_FILM = Sentence("error.film.none", "The model has no training film; train it here to make one.")


class NumbersRoute(APIRoute):
    """An address whose numbers may be out of range: then they are not there."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        handle = super().get_route_handler()

        async def answer(request: Request) -> Response:
            try:
                return await handle(request)
            except IndexError:
                raise HTTPException(404, keyed(NOWHERE)) from None

        return answer


router = APIRouter(prefix="/explorer/results/{key}", route_class=NumbersRoute)


class Packed(Response):
    """Packed facts and arrays."""

    media_type = MEDIA_TYPE


@router.get("/layers/{layer:int}")
def layer(result: Held, layer: int) -> Packed:
    return Packed(payload.layer_bytes(result, layer))


@router.get("/queries/{query:int}/{direction}")
def query(result: Held, query: int, direction: Literal["from", "to"]) -> Packed:
    return Packed(payload.query_bytes(result, query, direction))


@router.get("/heads")
def heads(result: Held) -> Packed:
    return Packed(attention.measure_bytes(result))


@router.get("/rollouts/{query:int}")
def rollout(result: Held, query: int) -> Packed:
    return Packed(attention.rollout_bytes(result, query))


@router.get("/walk")
def walk(result: Held) -> Packed:
    return Packed(learn.walk_bytes(result))


@router.get("/filters")
def filters(result: Held) -> Packed:
    return Packed(learn.filter_bytes(result))


@router.get("/patches/{patch:int}")
def patch(result: Held, patch: int) -> Packed:
    return Packed(learn.patch_bytes(result, patch))


@router.get("/heads/{layer:int}/{head:int}/{token:int}")
def head(result: Held, layer: int, head: int, token: int) -> Packed:
    return Packed(learn.head_bytes(result, layer, head, token))


@router.get("/positions")
def position_similarity(result: Held) -> Packed:
    return Packed(payload.position_bytes(result))


@router.get("/positions/{rows:int}/{columns:int}")
def moved_positions(result: Held, rows: int, columns: int) -> Packed:
    return Packed(positions.interpolated_bytes(result, rows, columns))


@router.get("/components")
def position_components(result: Held) -> Packed:
    return Packed(positions.component_bytes(result))


@router.get("/bias/{layer:int}")
def position_bias(result: Held, layer: int) -> Packed:
    return Packed(positions.bias_bytes(result, layer))


@router.get("/depth")
def depth(result: Held) -> Packed:
    return Packed(layers.depth_bytes(result))


@router.get("/contributions")
def contributions(result: Held) -> Packed:
    return Packed(layers.contribution_bytes(result))


@router.get("/tokens")
def tokens(result: Held) -> Packed:
    return Packed(layers.token_bytes(result))


@router.get("/similarities/{token:int}")
def similarities(result: Held, token: int) -> Packed:
    return Packed(layers.similarity_bytes(result, token))


@router.get("/patch-lens")
def patch_lens(result: Held) -> Packed:
    return Packed(patches.lens_bytes(result))


@router.get("/features")
def features(result: Held) -> Packed:
    return Packed(patches.feature_bytes(result))


@router.get("/features/{other}")
def shared_features(result: Held, workbench: Bench, other: str) -> Packed:
    return Packed(patches.feature_bytes(result, held_result(other, workbench)))


@router.get("/matches/{by}/{layer:int}/{token:int}/{other}")
def matches(result: Held, workbench: Bench, by: By, layer: int, token: int, other: str) -> Packed:
    return Packed(patches.match_bytes(result, by, layer, token, held_result(other, workbench)))


@router.get("/methods/{method}/layers")
def method_layers(result: Held, workbench: Bench, method: str) -> Packed:
    if method not in maps.layered():
        raise OptionError(
            "error.map.each", "The method {method!r} has no map of each layer.", method=method
        )
    return Packed(maps.layers_bytes(method, workbench.analyses.layers(result, method)))


@router.get("/film")
def film(result: Held) -> Packed:
    if result.film is None:
        raise HTTPException(404, keyed(NO_FILM))
    return Packed(film_bytes(result.film, result.model))
