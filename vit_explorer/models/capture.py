"""What a network does while it runs: hooks on its parts, and the functions that it calls.

All that is registered is gone when the block ends, also where the network fails.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

from torch import nn
from torch.overrides import TorchFunctionMode

from vit_explorer.stopping import look

# (part, args, kwargs) → None, or the (args, kwargs) that the part runs with instead.
Entering = Callable[[nn.Module, Any, Any], Any]
# (part, args, output) → None, or the output that goes on instead.
Leaving = Callable[[nn.Module, Any, Any], Any]


class Hooks:
    """Where hooks are registered, by `capture`."""

    def __init__(self, borrowed: ExitStack) -> None:
        self._borrowed = borrowed

    def entering(self, part: nn.Module, told: Entering) -> None:
        """Call `told` before the part runs."""

        def enter(part: nn.Module, args: Any, kwargs: Any) -> Any:
            look()
            return told(part, args, kwargs)

        hook = part.register_forward_pre_hook(enter, with_kwargs=True)
        self._borrowed.callback(hook.remove)

    def leaving(self, part: nn.Module, told: Leaving) -> None:
        """Call `told` after the part ran; not where it failed."""

        def leave(part: nn.Module, args: Any, output: Any) -> Any:
            look()
            return told(part, args, output)

        self._borrowed.callback(part.register_forward_hook(leave).remove)


@contextmanager
def capture() -> Iterator[Hooks]:
    """Hooks on parts of a network for as long as the block runs.

    >>> with capture() as hooks:
    ...     hooks.leaving(model.blocks[3], lambda part, args, output: kept.append(output))
    ...     model(pixels)
    """
    with ExitStack() as borrowed:
        yield Hooks(borrowed)


@contextmanager
def following(
    module: nn.Module, enter: Callable[..., Any], leave: Callable[..., Any]
) -> Iterator[None]:
    """`enter` and `leave` as hooks on a network and all its parts."""
    with capture() as hooks:
        for part in module.modules():
            hooks.entering(part, enter)
            hooks.leaving(part, leave)
        yield


class Functions(TorchFunctionMode):
    """Is told of each call of a torch function while it is entered, and gives its result."""

    def called(self, function: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """A call; by itself it runs as it is."""
        return function(*args, **kwargs)

    def __torch_function__(
        self,
        func: Any,
        types: Any,
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> Any:
        look()
        return self.called(func, args, kwargs or {})
