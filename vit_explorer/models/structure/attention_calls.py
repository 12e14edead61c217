"""The few torch calls that compute attention, told apart from all others."""

from __future__ import annotations

import dataclasses
import math
import types
import weakref
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from vit_explorer.models.capture import Functions

SOFTMAXES = (F.softmax, torch.softmax, Tensor.softmax, torch.special.softmax)
# What a softmax that is written by hand ends in.
QUOTIENTS = (
    torch.div, Tensor.div, Tensor.div_, Tensor.__truediv__, Tensor.__itruediv__,
    torch.mul, Tensor.mul, Tensor.mul_, Tensor.__mul__, Tensor.__imul__,
    torch.exp, Tensor.exp, Tensor.exp_,
)  # fmt: skip
# What switches gradients off, and what cuts a graph: a frozen backbone under a new head has these.
_CUTS = (Tensor.detach, torch.detach)

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
        self._multihead_forward = _rewritten(_weakly(self._attend), _weakly(self._soften))
        # By their names: a watch that held its own methods, and with them what it has seen, would
        # stay in memory until the collector of cycles runs.
        self._handlers: dict[Any, str] = {
            F.scaled_dot_product_attention: "_fused",
            F.multi_head_attention_forward: "_multihead",
            **dict.fromkeys(SOFTMAXES, "_softmax"),
        }

    def fused(self, call: Fused) -> Tensor:
        """A fused attention: gives its output."""
        return call.run()

    def written(self, run: Run, scores: Tensor, axis: int) -> Tensor:
        """A softmax over an axis of some scores, which `run` computes: gives its output."""
        return run(scores)

    def read_quotients(self) -> None:
        """From now on a quotient or an exponential counts as a softmax, where it is as one."""
        self._handlers.update(dict.fromkeys(QUOTIENTS, "_quotient"))

    def keep_gradients(self) -> None:
        """From now on the module's own `no_grad` and `detach` are passed over."""
        self._handlers[torch._C._set_grad_enabled] = "_only_on"
        self._handlers.update(dict.fromkeys(_CUTS, "_uncut"))

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

    def called(self, func: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        handler = self._handlers.get(func)
        if handler is not None:
            return getattr(self, handler)(func, args, kwargs)
        output = func(*args, **kwargs)
        awaited = self._awaited
        if awaited is not None and isinstance(output, Tensor) and output.shape == awaited.shape:
            awaited.steps -= 1
            if not awaited.steps:
                self._awaited = None
                return awaited.then(output)
        return output

    def _fused(self, _: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Tensor:
        return self._attend(*args, **kwargs)

    def _only_on(self, func: Any, args: tuple[Any, ...], _: dict[str, Any]) -> None:
        if args[0]:
            func(*args)

    def _uncut(self, _: Any, args: tuple[Any, ...], __: dict[str, Any]) -> Any:
        return args[0]

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

    def _quotient(self, func: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        return self._as_softmax(func(*args, **kwargs))

    def _as_softmax(self, output: Any) -> Any:
        """What was made, which is attention where it is shares."""
        axis = axis_of_shares(output)
        if axis is None:
            return output
        # A softmax of its logarithm is what it is, also where keys are hidden in that.
        scores = output.log()
        return self.written(
            lambda given: output if given is scores else given.softmax(axis), scores, axis
        )

    def _soften(self, scores: Tensor, dim: int) -> Tensor:
        return self.written(lambda given: F.softmax(given, dim=dim), scores, dim % scores.ndim)


def axis_of_shares(output: Any) -> int | None:
    """The axis over which a tensor of queries and keys sums to 1, with no number below 0; None of
    any other."""
    if not isinstance(output, Tensor) or output.ndim < 3 or output.is_meta:
        return None
    if not output.is_floating_point():
        return None
    with torch._C.DisableTorchFunction():
        made = output.detach().float()
        for axis in range(output.ndim - 1, 0, -1):
            size = output.shape[axis]
            if size > 1 and list(output.shape).count(size) > 1:
                sums = made.sum(dim=axis)
                if bool((made >= 0).all()) and torch.allclose(sums, sums.new_ones(()), atol=1e-3):
                    return axis
    return None


def detached(tensor: Tensor) -> Tensor:
    """A tensor cut from its graph, also under a watch that passes over the module's own cuts."""
    with torch._C.DisableTorchFunction():
        return tensor.detach()


def _weakly(method: Callable[..., Tensor]) -> Callable[..., Tensor]:
    """A method that does not keep the object it belongs to."""
    found = weakref.WeakMethod(method)

    def call(*args: Any, **kwargs: Any) -> Tensor:
        own = found()
        assert own is not None  # noqa: S101 - the watch is at work
        return own(*args, **kwargs)

    return call


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


def probabilities(query: Tensor, key: Tensor, scale: float, bias: Tensor | None) -> Tensor:
    """softmax(scale·q kᵀ + bias) over keys; a boolean bias says where attention is allowed."""
    scores = (query * scale) @ key.transpose(-2, -1)
    if bias is None:
        return scores.softmax(dim=-1)
    if bias.dtype == torch.bool:
        return scores.masked_fill(~bias, -torch.inf).softmax(dim=-1)
    return (scores + bias).softmax(dim=-1)
