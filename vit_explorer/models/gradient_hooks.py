"""Networks whose own code is about gradients: they hook them, or change what they need."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from weakref import WeakSet

from torch import Tensor, nn

from vit_explorer.errors import UnsupportedModelError
from vit_explorer.models.capture import Functions

# What torch says of a function without a derivative, by which words.
_NO_GRADIENT = (
    "derivative for",
    "support backward",
    "don't support automatic differentiation",
    "does not require grad",
    "appears to not have been used in the graph",
)
# Networks whose forward hooks a tensor's gradient, as explanation code does: by their classes, so
# that copies of them count too.
_hooking: WeakSet[type[nn.Module]] = WeakSet()


def hooks_gradients(module: nn.Module) -> None:
    """Note that a network's forward registers hooks on tensors: without gradients those are passed
    over while it is evaluated."""
    _hooking.add(type(module))


class NoHandle:
    """What `register_hook` gives where there is no gradient to hook."""

    def remove(self) -> None:
        """Nothing was registered."""


class _Unhooked(Functions):
    def called(self, func: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        if func is Tensor.register_hook and not args[0].requires_grad:
            return NoHandle()
        return func(*args, **kwargs)


@contextmanager
def unhooked(module: nn.Module) -> Iterator[None]:
    """Pass over the hooks of a network that was noted, where there is no gradient to hook."""
    if not _hooking or not any(type(child) in _hooking for child in module.modules()):
        yield
        return
    with _Unhooked():
        yield


@contextmanager
def differentiating(name: str) -> Iterator[None]:
    """Raises UnsupportedModelError where a network has no gradient: it has changed what that needs,
    or computes by a function that has none."""
    try:
        yield
    except RuntimeError as error:
        words = str(error).partition("\n")[0]
        if any(told in words for told in _NO_GRADIENT):
            raise UnsupportedModelError(
                "error.gradient",
                "{name} can't be differentiated: torch says {words!r}; choose methods without "
                "gradients, such as rollout or occlusion.",
                name=name,
                words=words,
            ) from error
        if "inplace operation" not in words:
            raise
        raise UnsupportedModelError(
            "error.in_place",
            "{name} can't be differentiated: it changes tensors in their place (as x += … does) "
            "that its gradient needs; write x = x + … there, or choose methods without "
            "gradients, such as rollout or occlusion.",
            name=name,
        ) from error
