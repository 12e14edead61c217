"""Measures at load what the numbers that a module returns are: classes, labels, values, …"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from vit_explorer.errors import OptionError
from vit_explorer.models.capture import Functions, capture
from vit_explorer.models.card import Pair, Stage, find_core, first_tensor
from vit_explorer.models.interception import evaluating
from vit_explorer.models.outputs import GIVEN, SQUASHES, Meaning, Outputs, as_rows
from vit_explorer.models.structure.anatomy import Anatomy

LINEAR = (
    F.linear,
    F.conv1d,
    F.conv2d,
    torch.matmul,
    torch.mm,
    torch.addmm,
    torch.einsum,
    Tensor.matmul,
    Tensor.mm,
    Tensor.__matmul__,
    Tensor.__rmatmul__,
)
PROBLEMS: dict[str, Outputs] = {
    "single_label_classification": "classes",
    "multi_label_classification": "labels",
    "regression": "value",
}
# A bias-free map called so makes classes all the same, one called otherwise an embedding.
HEAD = re.compile(r"(^|[._])(heads?|classifier|cls|fc|logits?)([._]|\d|$)")
PROJECTION = re.compile("proj")


@dataclass(frozen=True)
class _Map:
    """A linear map that ran after the last block: its output, its weight's name, its bias."""

    output: Tensor
    weight: str
    bias: Tensor | None


@dataclass(frozen=True)
class _Ending:
    """The end of one pass over noise: the output (1, C), as what it came, and what made it.

    `count` is that of all linear maps of the pass.
    """

    output: Tensor
    named_logits: bool
    maps: tuple[_Map, ...]
    squash: tuple[str, Tensor, Tensor] | None
    count: int


def before_head(
    module: nn.Module, anatomy: Anatomy, stages: Sequence[Stage], width: int
) -> tuple[list[nn.Module], int]:
    """What of a module runs before its head, and how many features it gives: blocks, or stages.

    A head may itself work on a grid, as that of a SqueezeNet does: then it is the last stage.
    """
    if not stages:
        return [block.module for block in anatomy.blocks], width
    own = [stage for stage in stages if not HEAD.search(stage.name)]
    modules = [module.get_submodule(stage.name) for stage in own]
    return modules, own[-1].channels if own else 0


def find_meaning(
    module: nn.Module,
    blocks: Sequence[nn.Module],
    image_size: Pair,
    *,
    width: int,
    given: Outputs | None = None,
    labels: Sequence[str] = (),
    channels: int = 3,
) -> Meaning:
    """What a module's outputs are: as `given`, as its config says, or as measured on noise.

    Args:
        blocks: what of it ran before its head, () where that is not known.
        width: of a token, which is an embedding's where it is not projected.
        labels: names that are given or known of its outputs, () for none.

    Raises:
        OptionError: outputs that a module can't have which returns tokens.
    """
    probe = _Probe(module, blocks, (1, channels, *image_size))
    first = probe.end(0)
    # Two other pictures tell, and the first again with other numbers from its last linear map.
    further = ((1, None), (2, None), (0, first.count))
    endings = [first, *(() if _is_plain(first) else (probe.end(*one) for one in further))]
    count = first.output.shape[-1] if first.output.ndim == 2 else 0
    if given == "embedding":
        return Meaning("embedding", 0, GIVEN)
    if count == 0:
        if given is not None:
            raise OptionError(
                f"The outputs were given as {given}, but {type(module).__name__} returns "
                f"{tuple(first.output.shape)} a picture, expected one row of numbers; leave "
                "outputs out."
            )
        return Meaning("embedding", 0, "it returns tokens or features, not one row of numbers")
    ends_in = _ends_in(first)
    outputs, found = (given, GIVEN) if given else _find(module, endings, width, labels, ends_in)
    count = 0 if outputs == "embedding" else count
    return Meaning(outputs, count, found, _sums_to_one(outputs, endings), ends_in)


def _find(
    module: nn.Module,
    endings: Sequence[_Ending],
    width: int,
    labels: Sequence[str],
    ends_in: str,
) -> tuple[Outputs, str]:
    first = endings[0]
    problem = _problem(module)
    if ends_in:
        # What log_softmax gives is logits of the same softmax.
        kind: Outputs = "classes" if ends_in == "log_softmax" else "probabilities"
        return kind, f"measured: the module ends in {ends_in}"
    if problem in PROBLEMS:
        kind = PROBLEMS[problem]
        # One softmax is always 1; transformers' own pipeline takes the sigmoid.
        alone = kind == "classes" and first.output.shape[-1] == 1
        return "labels" if alone else kind, f"the config's problem_type {problem}"
    why = "" if first.named_logits else _why_embedding(module, endings, width, labels)
    if why:
        return "embedding", f"measured: {why}"
    linear = _head(endings) is not None or bool(_heads(first))
    if not linear and (found := _as_probabilities(endings)):
        return "probabilities", f"measured: {found}"
    return _of_logits(first.output.shape[-1], linear or first.named_logits, labels)


def _of_logits(count: int, linear: bool, labels: Sequence[str]) -> tuple[Outputs, str]:
    if count > 1 and linear:
        return "classes", "measured: a linear head, so logits of classes"
    if count > 1:
        return "classes", "assumed: what made the numbers could not be measured"
    if labels:
        return "labels", "one output with a name, so a yes or no; outputs='value' if it is a number"
    return "value", "one output without a name; outputs='labels' if it is a yes or no"


def _problem(module: nn.Module) -> str:
    """`problem_type` of a transformers config, its own or that of what it wraps."""
    configs = (getattr(child, "config", None) for child in module.modules())
    return next((found for c in configs if (found := getattr(c, "problem_type", None))), "")


def _ends_in(ending: _Ending) -> str:
    """The softmax or sigmoid whose output the module returns."""
    if ending.squash is None:
        return ""
    name, entered, left = ending.squash
    return name if _same(left, ending.output) and entered.numel() == left.numel() else ""


def _sums_to_one(outputs: Outputs, endings: Sequence[_Ending]) -> bool | None:
    if outputs in ("value", "embedding"):
        return None
    if outputs == "probabilities":
        return all(map(_is_distribution, endings))
    return outputs == "classes"


def _as_probabilities(endings: Sequence[_Ending]) -> str:
    """What shows that outputs no linear map returned are probabilities, "" where they are none."""
    if all(map(_is_distribution, endings)):
        return "non-negative numbers that sum to 1"
    if all(bool(((e.output >= 0) & (e.output <= 1)).all()) for e in endings):
        return "numbers within 0 and 1, whatever the last layer's are"
    return ""


def _is_distribution(ending: _Ending) -> bool:
    output = ending.output.float()
    loose = 1e-4 if ending.output.dtype in (torch.float32, torch.float64) else 2e-2
    return bool((output >= 0).all()) and abs(float(output.sum()) - 1) < loose


def _is_plain(ending: _Ending) -> bool:
    """Whether one pass tells all: tokens, a linear map's own output, or a known function's."""
    if ending.output.ndim != 2 or _ends_in(ending):
        return True
    if not ending.maps:
        return bool((ending.output < 0).any())
    return any(_same(one.output, ending.output) for one in ending.maps) and not _is_unit(
        ending.output
    )


def _why_embedding(
    module: nn.Module, endings: Sequence[_Ending], width: int, labels: Sequence[str]
) -> str:
    """What shows that the output is an embedding, "" where a classifier's head made it."""
    first = endings[0]
    core, count = find_core(module), first.output.shape[-1]
    declared = getattr(core, "num_classes", None)
    head = _head(endings)
    if declared == 0 and module is core:
        return "the module says it has no classes"
    if count > 1 and all(_is_unit(ending.output) for ending in endings):
        return "its rows have length 1"
    if not first.maps:
        return "" if len(labels) == count else "no linear map follows the last block"
    if head is None:
        pooled = count == width and declared != count and not _heads(first)
        return "a sum, and no linear map's own output, as wide as a token" if pooled else ""
    return _why_projection(core, head, count, labels)


def _why_projection(core: nn.Module, head: _Map, count: int, labels: Sequence[str]) -> str:
    """What shows that a last linear map is a projection, "" where it is a classifier."""
    declared = getattr(core, "num_classes", None)
    if len(labels) == count or count == 1:
        return ""
    if _is_kept_projection(core, head, count):
        return "a projection, which timm keeps as a head whose bias is 0"
    named = HEAD.search(head.weight) and not PROJECTION.search(head.weight)
    if head.bias is not None or declared == count or named:
        return ""
    return "its last linear map has no bias, as a projection has none"


def _is_kept_projection(core: nn.Module, head: _Map, count: int) -> bool:
    """Whether a timm model's head is the projection of a CLIP, whose width timm counts as classes.

    A trained classifier's bias is not 0 for every class.
    """
    config = getattr(core, "pretrained_cfg", None)
    counted = isinstance(config, dict) and config.get("num_classes") == count
    return counted and (head.bias is None or not bool(head.bias.any()))


def _is_unit(output: Tensor) -> bool:
    return abs(float(output.float().norm()) - 1) < 1e-3


def _head(endings: Sequence[_Ending]) -> _Map | None:
    """The linear map that returned the output, or the output less a constant or times a number."""
    first, *others = endings
    for place, made in reversed(list(enumerate(first.maps))):
        if made.output.numel() != first.output.numel():
            continue
        if _same(made.output, first.output):
            return made
        if any(len(other.maps) != len(first.maps) for other in others):
            return None
        shift = first.output.flatten() - made.output.flatten()
        constant = all(
            _same(other.output.flatten() - other.maps[place].output.flatten(), shift)
            for other in others
        )
        if constant:
            return _Map(made.output, made.weight, shift)
        if all(_proportional(one.maps[place].output, one.output) for one in endings):
            return made
    return None


def _heads(ending: _Ending) -> list[_Map]:
    """Several linear maps whose mean or sum is the output: a head and a distillation head."""
    own = [one for one in ending.maps if one.output.numel() == ending.output.numel()]
    for count in range(2, len(own) + 1):
        total = torch.stack([one.output.flatten() for one in own[-count:]]).sum(dim=0)
        if _same(total, ending.output) or _same(total / count, ending.output):
            return own[-count:]
    return []


def _same(one: Tensor, other: Tensor) -> bool:
    if one.numel() != other.numel():
        return False
    one, other = one.flatten().float(), other.flatten().float()
    return torch.allclose(one, other, rtol=1e-4, atol=1e-6 + 1e-4 * float(other.abs().max()))


def _proportional(made: Tensor, output: Tensor) -> bool:
    made, output = made.flatten().float(), output.flatten().float()
    if len(made) < 2 or not bool(made.any()):
        return False
    factor = float(made @ output) / float(made @ made)
    return factor != 0 and _same(made * factor, output)


@dataclass(frozen=True)
class _Probe:
    """Runs a module on noise of a shape (1, C, H, W) and watches how it ends."""

    module: nn.Module
    blocks: Sequence[nn.Module]
    shape: tuple[int, ...]

    def end(self, seed: int, replaced: int | None = None) -> _Ending:
        """One pass; a `replaced` linear map answers with large numbers of both signs instead.

        Small logits may lie within 0 and 1 by chance: such a strain shows what follows them.
        """
        parameter = next(self.module.parameters())
        noise = torch.randn(self.shape, generator=torch.Generator().manual_seed(seed))
        names = {id(value): name for name, value in self.module.named_parameters()}
        observer = _Observer(names, replaced)
        with (
            torch.inference_mode(False),
            torch.no_grad(),
            evaluating(self.module),
            _leaving(self.blocks, observer),
            observer,
        ):
            returned = self.module(noise.to(parameter))
        return observer.ending(returned)


class _Observer(Functions):
    """Notes each linear map after the last block, and the last softmax or sigmoid."""

    def __init__(self, names: dict[int, str], replaced: int | None) -> None:
        super().__init__()
        self.names = names
        self.replaced = replaced
        self.count = 0
        self.maps: list[_Map] = []
        self.squash: tuple[str, Tensor, Tensor] | None = None

    def called(self, func: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        output = func(*args, **kwargs)
        if func in LINEAR and isinstance(output, Tensor):
            return self._note(func, args, kwargs, output)
        if func in SQUASHES and isinstance(output, Tensor):
            entered = args[0] if args else kwargs["input"]
            self.squash = SQUASHES[func], entered.detach(), output.detach()
        return output

    def _note(self, func: Any, args: tuple[Any, ...], kwargs: Any, output: Tensor) -> Tensor:
        given = [*args, *kwargs.values()]
        names = [self.names[id(value)] for value in given if id(value) in self.names]
        layer = func in (F.linear, F.conv1d, F.conv2d)
        # A product of two tensors that are no parameters may be anything, such as attention.
        if not names and not layer:
            return output
        bias = args[0] if func is torch.addmm else kwargs.get("bias")
        if layer and len(args) > 2:
            bias = args[2]
        weight = next((name for name in names if not name.endswith("bias")), "")
        self.count += 1
        if self.count == self.replaced:
            strain = torch.randn(output.shape, generator=torch.Generator().manual_seed(0))
            output = 50 * strain.to(output)
        # A copy, or what changes the output in its place would change this too.
        self.maps.append(_Map(output.detach().clone(), weight, bias))
        return output

    def ending(self, returned: Any) -> _Ending:
        """What was seen of a whole pass."""
        output = first_tensor(returned).detach()
        # A single output may have come without its dimension.
        output = as_rows(output, 1) if output.ndim == 0 or output.shape == (1,) else output
        named = hasattr(returned, "logits")
        return _Ending(output, named, tuple(self.maps), self.squash, self.count)


@contextmanager
def _leaving(blocks: Sequence[nn.Module], observer: _Observer) -> Iterator[None]:
    """Forget the linear maps before the end of the last block."""
    # A list of parts that a network loops over is never called itself: its parts are.
    parts = [part for block in blocks for part in block.modules()]
    with capture() as hooks:
        for part in parts:
            hooks.leaving(part, lambda *_: observer.maps.clear())
        yield
