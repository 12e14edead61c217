"""The few torch calls that compute attention, told apart from all others."""

from __future__ import annotations

import dataclasses
import inspect
import math
import threading
import types
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from vit_explorer.errors import UnsupportedModelError
from vit_explorer.models.capture import Functions

SOFTMAXES = (F.softmax, torch.softmax, Tensor.softmax, torch.special.softmax)
# What switches gradients off, and what cuts a graph: a frozen backbone under a new head has these.
_CUTS = (Tensor.detach, torch.detach)

Handler = Callable[[Any, tuple[Any, ...], dict[str, Any]], Any]
Run = Callable[[Tensor], Tensor]


@dataclass(frozen=True)
class Fused:
    """The arguments of one fused attention."""

    query: Tensor
    key: Tensor
    value: Tensor
    mask: Tensor | None = None
    dropout: float = 0.0
    causal: bool = False
    scale: float = 1.0

    @classmethod
    def of(
        cls,
        query: Tensor,
        key: Tensor,
        value: Tensor,
        attn_mask: Tensor | None = None,
        dropout_p: float = 0.0,
        is_causal: bool = False,
        scale: float | None = None,
        enable_gqa: bool = False,
    ) -> Fused:
        """As torch's call takes them; heads that share keys and values get copies of them."""
        if enable_gqa:
            repeats = query.shape[-3] // key.shape[-3]
            key, value = (x.repeat_interleave(repeats, -3) for x in (key, value))
        scale = 1 / math.sqrt(query.shape[-1]) if scale is None else float(scale)
        return cls(query, key, value, attn_mask, float(dropout_p), bool(is_causal), scale)

    @property
    def plain(self) -> bool:
        """Whether a softmax and a product give the same to rounding."""
        return not self.causal and not self.dropout and self.query.dtype == torch.float32

    def run(self) -> Tensor:
        return F.scaled_dot_product_attention(
            self.query,
            self.key,
            self.value,
            self.mask,
            self.dropout,
            self.causal,
            scale=self.scale,
        )

    def hiding(self, allowed: Tensor) -> Fused:
        """The same with only some keys allowed."""
        mask = self.mask
        if mask is None:
            mask = allowed
        elif mask.dtype == torch.bool:
            mask = mask & allowed
        else:
            mask = mask.masked_fill(~allowed, -torch.inf)
        return dataclasses.replace(self, mask=mask)


@dataclass
class _Awaited:
    shape: torch.Size
    steps: int
    then: Run


class Watch(Functions):
    """Hands attention to `fused` and `written`, and lets every other call run as it is."""

    def __init__(self) -> None:
        super().__init__()
        self.entered = 0
        self._awaited: _Awaited | None = None
        self._multihead_forward = _rewritten(self._attend, self._soften)
        self._handlers: dict[Any, Handler] = {
            F.scaled_dot_product_attention: lambda _, args, kwargs: self._attend(*args, **kwargs),
            F.multi_head_attention_forward: self._multihead,
            **dict.fromkeys(SOFTMAXES, self._softmax),
        }

    def fused(self, call: Fused) -> Tensor:
        """A fused attention: gives its output."""
        return call.run()

    def written(self, run: Run, scores: Tensor, axis: int) -> Tensor:
        """A softmax over an axis of some scores, which `run` computes: gives its output."""
        return run(scores)

    def keep_gradients(self) -> None:
        """From now on the module's own `no_grad` and `detach` are passed over."""
        self._handlers[torch._C._set_grad_enabled] = _only_on
        self._handlers.update(dict.fromkeys(_CUTS, lambda _, args, __: args[0]))

    def enter(self) -> None:
        """Begin to watch; `leave` ends it."""
        self.entered += 1
        self.__enter__()

    def leave(self) -> None:
        """End what `enter` began; does nothing where nothing was begun."""
        if self.entered:
            self.entered -= 1
            self.__exit__(None, None, None)

    def await_result(self, shape: torch.Size, steps: int, then: Run) -> None:
        """Hand the result of the so manieth call from now on whose result has this shape to `then`,
        and go on with what that gives."""
        self._awaited = _Awaited(shape, steps, then)

    def __torch_function__(
        self,
        func: Any,
        types: Any,
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> Any:
        # Every call of a watched pass comes through here, so nothing is put between.
        handler = self._handlers.get(func)
        if handler is not None:
            return handler(func, args, kwargs or {})
        output = func(*args, **kwargs) if kwargs else func(*args)
        awaited = self._awaited
        if awaited is not None and isinstance(output, Tensor) and output.shape == awaited.shape:
            awaited.steps -= 1
            if not awaited.steps:
                self._awaited = None
                return awaited.then(output)
        return output

    def _attend(self, *args: Any, **kwargs: Any) -> Tensor:
        return self.fused(Fused.of(*args, **kwargs))

    def _multihead(self, _: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        return self._multihead_forward(*args, **kwargs)

    def _softmax(self, func: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Tensor:
        given = dict(kwargs)
        scores = args[0] if args else given.pop("input")
        axis = args[1] if len(args) > 1 else given.get("dim")

        def run(scores: Tensor) -> Tensor:
            return func(scores, *args[1:], **given)

        if axis is None or scores.ndim < 3:
            return run(scores)
        return self.written(run, scores, axis % scores.ndim)

    def _soften(self, scores: Tensor, dim: int) -> Tensor:
        return self.written(lambda given: F.softmax(given, dim=dim), scores, dim % scores.ndim)


def detached(tensor: Tensor) -> Tensor:
    """A tensor cut from its graph, also under a watch that passes over the module's own cuts."""
    with torch._C.DisableTorchFunction():
        return tensor.detach()


def _only_on(func: Any, args: tuple[Any, ...], _: dict[str, Any]) -> None:
    if args[0]:
        func(*args)


def _rewritten(attend: Callable[..., Tensor], soften: Callable[..., Tensor]) -> Callable[..., Any]:
    """torch's own multi-head attention, of the version that runs, with other attention in it.

    Under a mode its inside is not seen; this copy of the function looks up other names, and
    nothing that others use is changed.
    """
    own = F.multi_head_attention_forward
    names = {
        **vars(F),
        "scaled_dot_product_attention": attend,
        "softmax": soften,
        "has_torch_function": lambda _: False,
    }
    made = types.FunctionType(own.__code__, names, own.__name__, own.__defaults__, own.__closure__)
    made.__kwdefaults__ = own.__kwdefaults__
    return made


# --- attention functions of other libraries, which no mode sees -----------------------------------


@dataclass(frozen=True)
class Foreign:
    """A name in a module's own file that stands for a library's attention function."""

    namespace: types.ModuleType
    name: str
    function: Callable[..., Any]
    kind: str


FOREIGN = {
    "memory_efficient_attention": "(query, key, value, attn_bias=None, p=0.0, scale=None)",
    "flash_attn_func": "(query, key, value, p=0.0, scale=None, causal=False)",
    "flash_attn_qkvpacked_func": "(packed, p=0.0, scale=None, causal=False)",
}
_LIBRARIES = ("xformers", "flash_attn", "flash_attn_interface")
_RENAMED = {"dropout_p": "p", "softmax_scale": "scale", "q": "query", "k": "key", "v": "value"}
_RENAMED |= {"qkv": "packed"}


def find_foreign(files: Sequence[types.ModuleType]) -> tuple[Foreign, ...]:
    """The libraries' attention functions that some files have imported, or their modules."""
    found = []
    for file in files:
        for name, value in list(vars(file).items()):
            library = _library(value)
            if library is None:
                continue
            if isinstance(value, types.ModuleType):
                own = ((value, key) for key in FOREIGN if callable(getattr(value, key, None)))
                found += [Foreign(space, key, getattr(space, key), key) for space, key in own]
            elif getattr(value, "__name__", "") in FOREIGN:
                found.append(Foreign(file, name, value, value.__name__))
    return tuple({(id(one.namespace), one.name): one for one in found}.values())


def _library(value: Any) -> str | None:
    named = isinstance(value, types.ModuleType)
    place = value.__name__ if named else getattr(value, "__module__", None)
    return next((lib for lib in _LIBRARIES if str(place).partition(".")[0] == lib), None)


_local = threading.local()
_lending = threading.Lock()
_lent: dict[tuple[int, str], int] = {}


@contextmanager
def answering(watch: Watch, foreign: Sequence[Foreign]) -> Iterator[None]:
    """Let a watch answer the libraries' functions, in this thread alone.

    The names are lent to a function that asks which thread calls, and given back by the last to
    leave.
    """
    if not foreign:
        yield
        return
    before = getattr(_local, "watch", None)
    _local.watch = watch
    try:
        with ExitStack() as lent:
            for one in foreign:
                _lend(one)
                lent.callback(_give_back, one)
            yield
    finally:
        _local.watch = before


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
    signature = _signature(FOREIGN[one.kind])

    def dispatch(*args: Any, **kwargs: Any) -> Any:
        watch = getattr(_local, "watch", None)
        if watch is None:
            return one.function(*args, **kwargs)
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


def probabilities(query: Tensor, key: Tensor, scale: float, bias: Tensor | None) -> Tensor:
    """softmax(scale·q kᵀ + bias) over keys; a boolean bias says where attention is allowed."""
    scores = (query * scale) @ key.transpose(-2, -1)
    if bias is None:
        return scores.softmax(dim=-1)
    if bias.dtype == torch.bool:
        return scores.masked_fill(~bias, -torch.inf).softmax(dim=-1)
    return (scores + bias).softmax(dim=-1)
