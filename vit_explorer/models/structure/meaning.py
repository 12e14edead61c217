"""Measures at load what the numbers that a module returns are: classes, labels, values, …"""

from __future__ import annotations

import re
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from vit_explorer.errors import OptionError
from vit_explorer.models.card import Pair, Stage, find_core
from vit_explorer.models.outputs import GIVEN, Meaning, Outputs
from vit_explorer.models.structure.anatomy import Anatomy
from vit_explorer.models.structure.endings import Ending, LinearMap, Probe
from vit_explorer.sentences import Sentence

PROBLEMS: dict[str, Outputs] = {
    "single_label_classification": "classes",
    "multi_label_classification": "labels",
    "regression": "value",
}
# A bias-free map called so makes classes all the same, one called otherwise an embedding.
HEAD = re.compile(r"(^|[._])(heads?|classifier|cls|fc|logits?)([._]|\d|$)")
PROJECTION = re.compile("proj")


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
    probe = Probe(module, blocks, (1, channels, *image_size))
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
                "error.outputs.row",
                "The outputs were given as {given}, but {kind} returns {shape} a picture, "
                "expected one row of numbers; leave outputs out.",
                given=given,
                kind=type(module).__name__,
                shape=tuple(first.output.shape),
            )
        return Meaning(
            "embedding",
            0,
            Sentence(
                "outputs.found.tokens", "it returns tokens or features, not one row of numbers"
            ),
        )
    ends_in = _ends_in(first)
    outputs, found = (given, GIVEN) if given else _find(module, endings, width, labels, ends_in)
    count = 0 if outputs == "embedding" else count
    return Meaning(outputs, count, found, _sums_to_one(outputs, endings), ends_in)


def _find(
    module: nn.Module,
    endings: Sequence[Ending],
    width: int,
    labels: Sequence[str],
    ends_in: str,
) -> tuple[Outputs, str]:
    first = endings[0]
    problem = _problem(module)
    if ends_in:
        # What log_softmax gives is logits of the same softmax.
        kind: Outputs = "classes" if ends_in == "log_softmax" else "probabilities"
        return kind, Sentence(
            "outputs.found.ends", "measured: the module ends in {name}", name=ends_in
        )
    if problem in PROBLEMS:
        kind = PROBLEMS[problem]
        # One softmax is always 1; transformers' own pipeline takes the sigmoid.
        alone = kind == "classes" and first.output.shape[-1] == 1
        return "labels" if alone else kind, Sentence(
            "outputs.found.config", "the config's problem_type {type}", type=problem
        )
    why = "" if first.named_logits else _why_embedding(module, endings, width, labels)
    if why:
        return "embedding", why
    linear = _head(endings) is not None or bool(_heads(first))
    if not linear and (found := _as_probabilities(endings)):
        return "probabilities", found
    return _of_logits(first.output.shape[-1], linear or first.named_logits, labels)


def _of_logits(count: int, linear: bool, labels: Sequence[str]) -> tuple[Outputs, str]:
    if count > 1 and linear:
        return "classes", Sentence(
            "outputs.found.head", "measured: a linear head, so logits of classes"
        )
    if count > 1:
        return "classes", Sentence(
            "outputs.found.assumed", "assumed: what made the numbers could not be measured"
        )
    if labels:
        return "labels", Sentence(
            "outputs.found.named",
            "one output with a name, so a yes or no; outputs='value' if it is a number",
        )
    return "value", Sentence(
        "outputs.found.unnamed", "one output without a name; outputs='labels' if it is a yes or no"
    )


def _problem(module: nn.Module) -> str:
    """`problem_type` of a transformers config, its own or that of what it wraps."""
    configs = (getattr(child, "config", None) for child in module.modules())
    return next((found for c in configs if (found := getattr(c, "problem_type", None))), "")


def _ends_in(ending: Ending) -> str:
    """The softmax or sigmoid whose output the module returns."""
    if ending.squash is None:
        return ""
    name, entered, left = ending.squash
    return name if _same(left, ending.output) and entered.numel() == left.numel() else ""


def _sums_to_one(outputs: Outputs, endings: Sequence[Ending]) -> bool | None:
    if outputs in ("value", "embedding"):
        return None
    if outputs == "probabilities":
        return all(map(_is_distribution, endings))
    return outputs == "classes"


def _as_probabilities(endings: Sequence[Ending]) -> str:
    """What shows that outputs no linear map returned are probabilities, "" where they are none."""
    if all(map(_is_distribution, endings)):
        return Sentence("outputs.found.sum", "measured: non-negative numbers that sum to 1")
    if all(bool(((e.output >= 0) & (e.output <= 1)).all()) for e in endings):
        return Sentence(
            "outputs.found.within",
            "measured: numbers within 0 and 1, whatever the last layer's are",
        )
    return ""


def _is_distribution(ending: Ending) -> bool:
    output = ending.output.float()
    loose = 1e-4 if ending.output.dtype in (torch.float32, torch.float64) else 2e-2
    return bool((output >= 0).all()) and abs(float(output.sum()) - 1) < loose


def _is_plain(ending: Ending) -> bool:
    """Whether one pass tells all: tokens, a linear map's own output, or a known function's."""
    if ending.output.ndim != 2 or _ends_in(ending):
        return True
    if not ending.maps:
        return bool((ending.output < 0).any())
    return any(_same(one.output, ending.output) for one in ending.maps) and not _is_unit(
        ending.output
    )


def _why_embedding(
    module: nn.Module, endings: Sequence[Ending], width: int, labels: Sequence[str]
) -> str:
    """What shows that the output is an embedding, "" where a classifier's head made it."""
    first = endings[0]
    core, count = find_core(module), first.output.shape[-1]
    declared = getattr(core, "num_classes", None)
    head = _head(endings)
    if declared == 0 and module is core:
        return Sentence("outputs.found.none", "measured: the module says it has no classes")
    if count > 1 and all(_is_unit(ending.output) for ending in endings):
        return Sentence("outputs.found.unit", "measured: its rows have length 1")
    if not first.maps:
        return (
            ""
            if len(labels) == count
            else Sentence("outputs.found.bare", "measured: no linear map follows the last block")
        )
    if head is None:
        pooled = count == width and declared != count and not _heads(first)
        return (
            Sentence(
                "outputs.found.added",
                "measured: a sum, and no linear map's own output, as wide as a token",
            )
            if pooled
            else ""
        )
    return _why_projection(core, head, count, labels)


def _why_projection(core: nn.Module, head: LinearMap, count: int, labels: Sequence[str]) -> str:
    """What shows that a last linear map is a projection, "" where it is a classifier."""
    declared = getattr(core, "num_classes", None)
    if len(labels) == count or count == 1:
        return ""
    if _is_kept_projection(core, head, count):
        return Sentence(
            "outputs.found.kept",
            "measured: a projection, which timm keeps as a head whose bias is 0",
        )
    named = HEAD.search(head.weight) and not PROJECTION.search(head.weight)
    if head.bias is not None or declared == count or named:
        return ""
    return Sentence(
        "outputs.found.unbiased",
        "measured: its last linear map has no bias, as a projection has none",
    )


def _is_kept_projection(core: nn.Module, head: LinearMap, count: int) -> bool:
    """Whether a timm model's head is the projection of a CLIP, whose width timm counts as classes.

    A trained classifier's bias is not 0 for every class.
    """
    config = getattr(core, "pretrained_cfg", None)
    counted = isinstance(config, dict) and config.get("num_classes") == count
    return counted and (head.bias is None or not bool(head.bias.any()))


def _is_unit(output: Tensor) -> bool:
    return abs(float(output.float().norm()) - 1) < 1e-3


def _head(endings: Sequence[Ending]) -> LinearMap | None:
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
            return LinearMap(made.output, made.weight, shift)
        if all(_proportional(one.maps[place].output, one.output) for one in endings):
            return made
    return None


def _heads(ending: Ending) -> list[LinearMap]:
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
