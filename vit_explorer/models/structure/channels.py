"""How many channels of pixels a module takes, measured where the pixels first meet weights."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils._pytree import tree_leaves

from vit_explorer.models.capture import Functions, following
from vit_explorer.models.interception import evaluating

RGB = 3
# Radar has 2, RGB with depth 4, aerial pictures 5, satellites up to 13, tried where nothing tells.
MOST_TRIED = 16

# Hints beyond these are of deeper layers.
MOST_DECLARED = 4

_CONVOLUTIONS = (torch.conv2d, F.conv2d)
_PRODUCTS = (torch.matmul, Tensor.matmul, Tensor.__matmul__)


def input_channels(module: nn.Module, image_size: tuple[int, int]) -> int:
    """Channels C of the pictures (B, C, H, W) that a module takes; 3 where nothing tells.

    The module runs on black pictures, 3 channels first, only as far as the first convolution,
    linear layer or norm that the pixels reach, whatever it is called and whether or not it is a
    module. Where 3 do not fit there, its weight says how many do: a convolution's depth, or the
    inputs of a linear layer over flattened patches, C·h·w. Where the module refuses by itself, the
    convolutions within it are asked.

    The module may be on the meta device, where this takes no memory.
    """
    first = _attempt(module, RGB, image_size)
    if first.fits:
        return RGB
    hints = [first.needed, *first.declared]
    single = _attempt(module, 1, image_size)
    # One channel fits any normalisation of several, by broadcasting: only the weight knows.
    if single.fits and single.met in (1, None):
        return 1
    hints += [single.met, single.needed, *single.declared]
    rest = () if single.fits else range(2, MOST_TRIED + 1)
    tried = {RGB, 1}
    for count in (*hints, *rest):
        if count is None or count in tried:
            continue
        tried.add(count)
        if _attempt(module, count, image_size).fits:
            return count
    return 1 if single.fits else RGB


@dataclass
class _Attempt:
    """What came of one attempt. `met` are the channels that the first weight received, `needed`
    those that it has, `declared` those that convolutions within the failing module have."""

    fits: bool = False
    met: int | None = None
    needed: int | None = None
    declared: tuple[int, ...] = ()


def _attempt(module: nn.Module, channels: int, image_size: tuple[int, int]) -> _Attempt:
    like = next((each for each in module.parameters() if each.is_floating_point()), None)
    pixels = torch.zeros(1, channels, *image_size)
    pixels = pixels if like is None else pixels.to(like.device, like.dtype)
    watch = _FirstWeight(pixels)
    running: list[nn.Module] = []
    try:
        with torch.no_grad(), evaluating(module), _following(module, running), watch:
            module(pixels)
        watch.found.fits = True
    except _Reached:
        watch.found.fits = True
    except Exception:  # a module of anyone's may raise anything about pictures that it can't take
        inside = running[-1] if running else module
        convolutions = (one for one in inside.modules() if isinstance(one, nn.Conv2d))
        declared = dict.fromkeys(one.in_channels for one in convolutions)
        watch.found.declared = tuple(declared)[:MOST_DECLARED]
    return watch.found


class _Reached(BaseException):
    """The pixels have passed the first weight."""


@contextmanager
def _following(module: nn.Module, running: list[nn.Module]) -> Iterator[None]:
    """Keep in `running` the modules at work, outermost first; one that fails stays."""

    def enter(child: nn.Module, *_: Any) -> None:
        running.append(child)

    def leave(*_: Any) -> None:
        running.pop()

    with following(module, enter, leave):
        yield


class _FirstWeight(Functions):
    """Follow pixels through whatever is done to them, up to the first function with weights."""

    def __init__(self, pixels: Tensor) -> None:
        super().__init__()
        self.channels = pixels.shape[1]
        self.found = _Attempt()
        # All that was made of the pixels; held, or another tensor could take an id over.
        self.made: dict[int, Tensor] = {id(pixels): pixels}

    def called(self, func: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        given = [each for each in tree_leaves((args, kwargs)) if isinstance(each, Tensor)]
        if not any(id(each) in self.made for each in given):
            return func(*args, **kwargs)
        weighs = self._look(func, args, kwargs)
        output = func(*args, **kwargs)
        if weighs:
            raise _Reached
        self.made |= {id(one): one for one in tree_leaves(output) if isinstance(one, Tensor)}
        return output

    def _look(self, func: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> bool:
        """Note what the function's weight expects; whether it has one."""
        source = args[0] if args else kwargs.get("input")
        if not isinstance(source, Tensor) or id(source) not in self.made:
            return False
        if func in _CONVOLUTIONS:
            weight = args[1] if len(args) > 1 else kwargs["weight"]
            groups = args[6] if len(args) > 6 else kwargs.get("groups", 1)
            self.found.met = source.shape[-3]
            self.found.needed = weight.shape[1] * groups
            return True
        if func is F.batch_norm:
            mean = args[1] if len(args) > 1 else kwargs.get("running_mean")
            self.found.met = source.shape[1]
            self.found.needed = None if mean is None else len(mean)
            return mean is not None
        inputs = _inputs(func, args, kwargs)
        return inputs is not None and self._over_last(source, inputs)

    def _over_last(self, source: Tensor, inputs: int) -> bool:
        """A weight over the last dimension, of flattened patches C·h·w or of channels."""
        share, rest = divmod(inputs * self.channels, source.shape[-1])
        self.found.needed = share if rest == 0 else None
        self.found.met = self.channels
        return True


def _inputs(func: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> int | None:
    """The size that a function with weights expects of its input's last dimension."""

    def second(name: str) -> Any:
        return args[1] if len(args) > 1 else kwargs[name]

    if func in _PRODUCTS:
        weight = second("other")
        return int(weight.shape[0]) if weight.ndim == 2 else None
    if func is F.linear:
        return int(second("weight").shape[-1])
    if func is F.layer_norm:
        return int(second("normalized_shape")[-1])
    return None
