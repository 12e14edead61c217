"""A backward pass that conserves: what tokens and biases contribute adds up to the logit.

In a pass under `balancing`, norms' scales, attention weights and the gates of activations count as
constants. What is left of the network is linear in its tokens and in the biases added on the way,
so that Σ token·gradient + Σ bias·gradient is the logit at every depth. It holds for the steps that
are known here; `Balance.gap` measures whether these were all.

Mehri et al., "LibraGrad", CVPR 2025; Ali et al., "XAI for Transformers", ICML 2022.
"""

from __future__ import annotations

import dataclasses
import weakref
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from vit_explorer.models import balanced_norms
from vit_explorer.models.capture import capture
from vit_explorer.models.interception import AttentionCall, Recorder, watching
from vit_explorer.models.structure.anatomy import Anatomy, tokens_in
from vit_explorer.models.structure.attention_calls import (
    Fused,
    Run,
    detached,
)

# Elementwise functions: f(x) = f(0) + x·gate(x).
_ACTIVATIONS = (
    F.gelu, F.silu, F.mish, F.hardswish, F.softplus, F.elu, F.celu, F.selu, F.leaky_relu,
    F.relu, torch.relu, Tensor.relu, torch.relu_, Tensor.relu_, F.relu6, F.hardtanh,
    F.sigmoid, torch.sigmoid, Tensor.sigmoid, Tensor.sigmoid_, torch.special.expit, F.hardsigmoid,
    F.tanh, torch.tanh, Tensor.tanh, Tensor.tanh_, F.logsigmoid, F.softsign,
    torch.erf, Tensor.erf, torch.special.erf, torch.square, Tensor.square,
)  # fmt: skip
_POWERS = (torch.pow, Tensor.pow, Tensor.__pow__, Tensor.pow_)
# What tokens are divided by, or multiplied with, to bring them to one scale.
_SCALES = (
    torch.rsqrt, Tensor.rsqrt, torch.sqrt, Tensor.sqrt, torch.reciprocal, Tensor.reciprocal,
    torch.norm, Tensor.norm, torch.linalg.vector_norm, torch.linalg.norm, torch.std, Tensor.std,
)  # fmt: skip
_PRODUCTS = (torch.mul, Tensor.mul, Tensor.mul_, torch.multiply, Tensor.multiply)
_QUOTIENTS = (torch.div, Tensor.div, Tensor.div_, torch.true_divide, Tensor.true_divide)
_SUMS = (
    torch.add, Tensor.add, Tensor.add_, torch.sub, Tensor.sub, Tensor.sub_,
    torch.subtract, Tensor.subtract, torch.rsub, Tensor.__rsub__,
)  # fmt: skip
# Of what is given, these change the form alone.
_FORMS = (
    Tensor.to, Tensor.float, Tensor.half, Tensor.bfloat16, Tensor.type_as, Tensor.contiguous,
    Tensor.view, Tensor.reshape, Tensor.permute, Tensor.transpose, Tensor.flatten, Tensor.unflatten,
    Tensor.squeeze, Tensor.unsqueeze, Tensor.expand, Tensor.neg, torch.neg, F.dropout,
)  # fmt: skip
# Linear functions, by the argument that is their bias.
_BIASED: dict[Any, tuple[int, str]] = {
    **dict.fromkeys((F.linear, F.conv1d, torch.conv1d, F.conv2d, torch.conv2d), (2, "bias")),
    **dict.fromkeys((torch.addmm, torch.baddbmm), (0, "input")),
}
_NORMS: dict[Any, balanced_norms.Norm] = {
    **dict.fromkeys((F.layer_norm, torch.layer_norm), balanced_norms.layer_norm),
    F.rms_norm: balanced_norms.rms_norm,
    F.group_norm: balanced_norms.group_norm,
    F.batch_norm: balanced_norms.batch_norm,
    F.normalize: balanced_norms.unit,
}
_HANDLERS: dict[Any, str] = {
    **dict.fromkeys(_ACTIVATIONS, "_activation"),
    **dict.fromkeys(_POWERS, "_power"),
    **dict.fromkeys(_SCALES, "_scale"),
    **dict.fromkeys(_PRODUCTS, "_product"),
    **dict.fromkeys(_QUOTIENTS, "_ratio"),
    Tensor.__rdiv__: "_divided",
    **dict.fromkeys(_SUMS, "_sum"),
    **dict.fromkeys(_FORMS, "_form"),
    **dict.fromkeys((torch.cat, torch.concat), "_joined"),
    **dict.fromkeys(_BIASED, "_linear"),
    F.glu: "_glu",
    **dict.fromkeys(_NORMS, "_norm"),
}


@dataclass(frozen=True, eq=False)
class Balance:
    """What a logit is made of, by depth: L blocks, N tokens in the network's one order.

    `tokens` (L, N) are the contributions of what each block receives, `biases` (L,) those of all
    biases added since; at every depth both add up to `logit`. All in units of the logit.
    `slopes` are the logit's balanced gradients at the anchors of the pass's attention `calls`.
    """

    logit: float
    tokens: Tensor
    biases: Tensor
    calls: Sequence[AttentionCall] = field(repr=False)
    slopes: Sequence[Tensor] = field(repr=False)

    @property
    def gap(self) -> float:
        """By how much of all contributions the sums miss the logit, at the worst depth: rounding
        alone where every step was balanced."""
        missing = (self.tokens.sum(dim=1) + self.biases - self.logit).abs()
        size = self.tokens.abs().sum(dim=1) + self.biases.abs() + abs(self.logit)
        return float((missing / size.clamp(min=1e-12)).max())


class Balancing(Recorder):
    """Holds scales, weights and gates constant, and keeps what `balance` needs."""

    def __init__(self, anatomy: Anatomy) -> None:
        super().__init__(anatomy, 1)
        self._received: list[tuple[Any, Tensor]] = []  # gradient edge and value, by block
        self._biases: list[tuple[int, Tensor]] = []  # blocks entered so far, and the leaf
        # What activations made, by its id while it lives: the gate of what it is multiplied with.
        self._gates: dict[int, weakref.ref[Tensor]] = {}
        self._handlers.update(_HANDLERS)

    def called(self, func: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        # What doesn't depend on tokens is no concern of the backward pass.
        if func in _HANDLERS and not _depends((args, kwargs)):
            return self._plain(func, args, kwargs)
        return super().called(func, args, kwargs)

    def fused(self, call: Fused) -> Tensor:
        held = dataclasses.replace(
            call,
            query=detached(call.query),
            key=detached(call.key),
            mask=None if call.mask is None else detached(call.mask),
        )
        with torch._C.DisableTorchFunction():  # this watch would see the call made here too
            return super().fused(held)

    def written(self, run: Run, scores: Tensor, axis: int) -> Tensor:
        # A leaf: it passes no gradient on, and has one of its own.
        with torch._C.DisableTorchFunction():
            return super().written(lambda given: run(given).detach().requires_grad_(), scores, axis)

    def receive(self, tokens: Tensor) -> None:
        """Tokens enter the next block."""
        value = detached(tokens)
        kept = value.clone() if self.anatomy.in_place else value
        self._received.append((torch.autograd.graph.get_gradient_edge(tokens), kept))

    def balance(self, logit: Tensor) -> Balance:
        """Differentiate a logit (one number) of the pass: one backward pass."""
        edges = [edge for edge, _ in self._received]
        leaves = [leaf for _, leaf in self._biases]
        anchors = [call.anchor for call in self.calls]
        found = torch.autograd.grad(logit, [*edges, *leaves, *anchors], allow_unused=True)
        depth, before = len(edges), len(edges) + len(leaves)
        of_anchors = [
            torch.zeros_like(anchor) if slope is None else slope
            for anchor, slope in zip(anchors, found[before:], strict=True)
        ]
        tokens = []
        for (_, value), slope in zip(self._received, found[:depth], strict=True):
            whole = torch.zeros_like(value) if slope is None else value.float() * slope.float()
            tokens.append(self.anatomy.arrange(whole)[0].sum(dim=-1))
        biases = torch.zeros(depth, dtype=torch.float64)
        for (entered, leaf), slope in zip(self._biases, found[depth:before], strict=True):
            if slope is not None:
                # Added in a block, it belongs to all that was received up to there.
                biases[:entered] += float((leaf.detach().double() * slope.double()).sum())
        return Balance(
            logit=float(logit.detach()),
            tokens=torch.stack(tokens).float().cpu(),
            biases=biases.float(),
            calls=self.calls,
            slopes=of_anchors,
        )

    def _multihead(self, _: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        with self:  # its inside has biases too
            return self._multihead_forward(*args, **kwargs)

    def _added(self, constant: Any, to: Tensor) -> Tensor:
        """A constant that joins the tokens, as a leaf of the graph."""
        made = constant if isinstance(constant, Tensor) else torch.tensor(constant).to(to)
        leaf = detached(made)
        if self._received and leaf.is_floating_point():
            leaf = leaf.requires_grad_(True)
            self._biases.append((len(self._received), leaf))
        return leaf

    def _gate(self, output: Any) -> Any:
        if isinstance(output, Tensor):
            self._gates[id(output)] = weakref.ref(output)
        return output

    def _is_gate(self, tensor: Any) -> bool:
        known = self._gates.get(id(tensor))
        return known is not None and known() is tensor

    def _activation(self, func: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Tensor:
        given, *others = args if args else (kwargs.pop("input"),)
        kwargs = {key: value for key, value in kwargs.items() if key not in ("inplace", "out")}

        in_place = func.__name__.endswith("_")

        def run(x: Tensor) -> Tensor:
            return func(x.clone() if in_place else x, *others, **kwargs)

        x = detached(given)
        with torch._C.DisableTorchFunction():
            at_zero = run(x.new_zeros(()))
            # At 0 the gate is 0/0, and multiplies nothing.
            output = given * ((run(x) - at_zero) / x).nan_to_num_(0.0)
            if bool(at_zero != 0):
                output = output + self._added(at_zero, output)
        return self._gate(output)

    def _power(self, func: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Tensor:
        exponent = args[1] if len(args) > 1 else kwargs.get("exponent")
        if isinstance(exponent, (int, float)) and exponent >= 1:
            return self._activation(func, args, kwargs)
        return self._scale(func, args, kwargs)

    def _scale(self, func: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        return detached(func(*args, **kwargs))

    def _plain(self, func: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """A call as it is, which may be an attention written by hand."""
        output = func(*args, **kwargs)
        return self._as_softmax(output) if self.anatomy.by_hand else output

    def _product(self, func: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        first, second, rest = _two(args, kwargs)
        gates = self._is_gate(first), self._is_gate(second)
        if _depends(first) and _depends(second):
            if gates == (False, True) or first is second:
                second = detached(second)
            elif gates == (True, False):
                first = detached(first)
            return self._plain(func, (first, second), rest)
        output = self._plain(func, args, kwargs)
        return self._gate(output) if any(gates) else output

    def _ratio(self, func: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        first, second, rest = _two(args, kwargs)
        output = self._plain(func, (first, _constant(second)), rest)
        return self._gate(output) if self._is_gate(first) else output

    def _divided(self, func: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        return func(detached(args[0]), *args[1:], **kwargs)

    def _sum(self, func: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        first, second, rest = _two(args, kwargs)
        gated = self._is_gate(first) or self._is_gate(second)
        if not _depends(second):
            second = self._added(second, first)
        elif not _depends(first):
            first = self._added(first, second)
            first = first.clone() if func in (Tensor.add_, Tensor.sub_) else first
        else:
            return func(first, second, **rest)
        output = func(first, second, **rest)
        return self._gate(output) if gated else output

    def _form(self, func: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        output = func(*args, **kwargs)
        return self._gate(output) if args and self._is_gate(args[0]) else output

    def _joined(self, func: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        parts, *others = args if args else (kwargs.pop("tensors"),)
        like = next(part for part in parts if _depends(part))
        given = [part if _depends(part) else self._added(part, like) for part in parts]
        return func(given, *others, **kwargs)

    def _linear(self, func: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        (place, name), given = _BIASED[func], list(args)
        if len(given) > place and given[place] is not None and not _depends(given[place]):
            given[place] = self._added(given[place], given[0])
        elif kwargs.get(name) is not None and not _depends(kwargs[name]):
            kwargs = {**kwargs, name: self._added(kwargs[name], given[0])}
        return func(*given, **kwargs)

    def _glu(self, func: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Tensor:
        axis = args[1] if len(args) > 1 else kwargs.get("dim", -1)
        value, gate = args[0].chunk(2, dim=axis)
        return value * detached(gate.sigmoid())

    def _norm(self, func: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Tensor:
        with torch._C.DisableTorchFunction():
            tokens, weight, bias = _NORMS[func](*args, **kwargs)
            tokens = tokens if weight is None else tokens * weight
            output = tokens if bias is None else tokens + self._added(bias, tokens)
            return output.to(args[0].dtype)


def _depends(value: Any) -> bool:
    """Whether anything in it depends on the tokens."""
    if isinstance(value, Tensor):
        return value.requires_grad
    if isinstance(value, dict):
        value = tuple(value.values())
    return isinstance(value, (tuple, list)) and any(map(_depends, value))


def _constant(value: Any) -> Any:
    return detached(value) if isinstance(value, Tensor) else value


def _two(args: tuple[Any, ...], kwargs: dict[str, Any]) -> tuple[Any, Any, dict[str, Any]]:
    """The two operands of a sum, product or quotient, and all else that it is given."""
    rest = dict(kwargs)
    first = args[0] if args else rest.pop("input")
    second = args[1] if len(args) > 1 else rest.pop("other")
    return first, second, rest


@contextmanager
def balancing(module: nn.Module, anatomy: Anatomy) -> Iterator[Balancing]:
    """Run the forward passes made meanwhile, with gradients enabled from the pixels on, so that
    `Balancing.balance` can differentiate what comes of them.

    Borrowed and given back on leaving, also after an error, as by `recording`.
    """
    watch = Balancing(anatomy)

    def entering(_: nn.Module, args: Any, kwargs: Any) -> None:
        tokens = tokens_in((args, kwargs), anatomy.tokens)
        if tokens is not None:
            watch.receive(tokens)

    with capture() as hooks, watching(module, watch, whole=True):
        for block in anatomy.blocks:
            hooks.entering(block.first, entering)
        yield watch
