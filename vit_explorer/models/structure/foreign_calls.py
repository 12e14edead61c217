"""Attention functions that no mode sees: of xformers and flash-attn, and torch's flex attention.

They are known by the names under which a module's files have imported them. A name is lent for a
pass to a function that hands the call to the watch of its own thread.
"""

from __future__ import annotations

import inspect
import sys
import threading
import types
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from vit_explorer.errors import UnsupportedModelError
from vit_explorer.models.structure.attention_calls import Fused, Watch


@dataclass(frozen=True)
class Foreign:
    """A name in a module's files that stands for a library's attention function."""

    namespace: types.ModuleType
    name: str
    function: Callable[..., Any]
    kind: str


FOREIGN = {
    "memory_efficient_attention": "(query, key, value, attn_bias=None, p=0.0, scale=None)",
    "flash_attn_func": "(query, key, value, p=0.0, scale=None, causal=False)",
    "flash_attn_qkvpacked_func": "(packed, p=0.0, scale=None, causal=False)",
}
FLEX = "flex_attention"
_LIBRARIES = ("xformers", "flash_attn", "flash_attn_interface")
_FLEX_FILE = "torch.nn.attention.flex_attention"
_RENAMED = {"dropout_p": "p", "softmax_scale": "scale", "q": "query", "k": "key", "v": "value"}
_RENAMED |= {"qkv": "packed"}


def find_foreign(names: set[str]) -> tuple[Foreign, ...]:
    """The libraries' attention functions that files have imported, or their modules: the files of
    these names, and those whose functions they import."""
    found = []
    for file in _files(names):
        for name, value in list(vars(file).items()):
            library = _library(value)
            if library is None:
                continue
            if isinstance(value, types.ModuleType):
                known = (*FOREIGN, FLEX)
                own = ((value, key) for key in known if callable(getattr(value, key, None)))
                found += [Foreign(space, key, getattr(space, key), key) for space, key in own]
            elif getattr(value, "__name__", "") in (*FOREIGN, FLEX):
                found.append(Foreign(file, name, value, value.__name__))
    return tuple({(id(one.namespace), one.name): one for one in found}.values())


def _files(names: set[str]) -> list[types.ModuleType]:
    own = [file for name in names if (file := sys.modules.get(name)) is not None]
    imported = {
        value.__module__
        for file in own
        for value in list(vars(file).values())
        if isinstance(value, types.FunctionType)
    }
    # A function's file may have no name, or be gone.
    further = (sys.modules.get(str(name)) for name in imported - names)
    files = [*own, *(file for file in further if file is not None)]
    return [file for file in files if not file.__name__.startswith("torch.")]


def _library(value: Any) -> str | None:
    named = isinstance(value, types.ModuleType)
    place = str(value.__name__ if named else getattr(value, "__module__", None))
    libraries = (lib for lib in _LIBRARIES if place.partition(".")[0] == lib)
    return _FLEX_FILE if place == _FLEX_FILE else next(libraries, None)


_local = threading.local()
_lending = threading.Lock()
_lent: dict[tuple[int, str], int] = {}


@contextmanager
def answering(watch: Watch, foreign: Sequence[Foreign]) -> Iterator[set[Foreign]]:
    """Let a watch answer the libraries' functions, in this thread alone; gives those it answered.

    The names are lent to a function that asks which thread calls, and given back by the last to
    leave.
    """
    answered: set[Foreign] = set()
    if not foreign:
        yield answered
        return
    before = getattr(_local, "watching", None)
    _local.watching = watch, answered
    try:
        with ExitStack() as lent:
            for one in foreign:
                _lend(one)
                lent.callback(_give_back, one)
            yield answered
    finally:
        _local.watching = before


def _lend(one: Foreign) -> None:
    with _lending:
        key = id(one.namespace), one.name
        _lent[key] = _lent.get(key, 0) + 1
        if _lent[key] == 1:
            setattr(one.namespace, one.name, _dispatching(one))


def _give_back(one: Foreign) -> None:
    with _lending:
        key = id(one.namespace), one.name
        _lent[key] -= 1
        if not _lent[key]:
            setattr(one.namespace, one.name, one.function)


def _dispatching(one: Foreign) -> Callable[..., Any]:
    signature = _signature(FOREIGN[one.kind]) if one.kind in FOREIGN else None

    def dispatch(*args: Any, **kwargs: Any) -> Any:
        watching = getattr(_local, "watching", None)
        if watching is None:
            return one.function(*args, **kwargs)
        watch, answered = watching
        answered.add(one)
        if signature is None:
            with torch._C.DisableTorchFunction():
                return _attend_flexibly(watch, *args, **kwargs)
        renamed = {_RENAMED.get(key, key): value for key, value in kwargs.items()}
        given = {key: value for key, value in renamed.items() if key in signature.parameters}
        return _attend_foreign(watch, signature.bind(*args, **given).arguments)

    return dispatch


def _signature(text: str) -> inspect.Signature:
    names = [part.partition("=")[0].strip() for part in text.strip("()").split(",")]
    kind = inspect.Parameter.POSITIONAL_OR_KEYWORD
    defaults = {"attn_bias": None, "p": 0.0, "scale": None, "causal": False}
    return inspect.Signature(
        [
            inspect.Parameter(name, kind, default=defaults.get(name, inspect.Parameter.empty))
            for name in names
        ]
    )


def _attend_foreign(watch: Watch, given: dict[str, Any]) -> Tensor:
    """Their tensors are (B, N, h, d), or (B, N, 3, h, d) packed."""
    if "packed" in given:
        query, key, value = given["packed"].unbind(2)
    else:
        query, key, value = given["query"], given["key"], given["value"]
    single = query.ndim == 3  # (B, N, d): one head
    query, key, value = (
        one[:, None] if single else one.transpose(1, 2) for one in (query, key, value)
    )
    mask = given.get("attn_bias")
    if mask is not None and not isinstance(mask, Tensor):
        raise UnsupportedModelError(
            "error.attention.bias",
            "The attention has a bias of the kind {kind}, which only its own library reads; let "
            "the module attend by torch's scaled_dot_product_attention.",
            kind=type(mask).__name__,
        )
    call = Fused.of(
        query,
        key,
        value,
        attn_mask=mask,
        is_causal=bool(given.get("causal", False)),
        scale=given.get("scale"),
    )
    with torch._C.DisableTorchFunction():  # the watch would see the call made here too
        output = watch.fused(call)
    return output[:, 0] if single else output.transpose(1, 2)


def _attend_flexibly(
    watch: Watch,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    score_mod: Callable[..., Tensor] | None = None,
    block_mask: Any = None,
    scale: float | None = None,
    enable_gqa: bool = False,
    return_lse: bool = False,
    kernel_options: Any = None,
    *,
    return_aux: Any = None,
) -> Tensor:
    """As torch's `flex_attention`: fused, or where scores are changed a softmax of them."""
    if return_lse or return_aux is not None:
        raise UnsupportedModelError(
            "error.attention.flex",
            "The module asks flex_attention for more than its output, which is not read; let it "
            "take the output alone.",
        )
    pictures, heads, queries = query.shape[:3]
    sizes = (pictures, heads, queries, key.shape[-2])
    # Index tensors that broadcast to (B, h, N, N), in the place of one index at a time.
    places = [
        torch.arange(size, device=query.device).unflatten(0, (*[1] * axis, -1, *[1] * (3 - axis)))
        for axis, size in enumerate(sizes)
    ]
    mask = None if block_mask is None else block_mask.mask_mod(*places)
    if mask is not None:
        # A mask over everything, as of a call without one, has no axes.
        mask = mask.broadcast_to((*mask.shape[:-2], *sizes[2:])) if mask.ndim else None
    call = Fused.of(query, key, value, attn_mask=mask, scale=scale, enable_gqa=enable_gqa)
    if score_mod is None:
        return watch.fused(call)
    scores = score_mod(call.query * call.scale @ call.key.transpose(-2, -1), *places)
    if mask is not None:
        scores = scores.masked_fill(~mask, -torch.inf)
    weights = watch.written(lambda given: given.softmax(dim=-1), scores, scores.ndim - 1)
    return weights @ call.value
