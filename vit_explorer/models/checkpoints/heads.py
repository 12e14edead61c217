"""The classifier that a file holds: where it stands, how many classes it has, how it is rebuilt."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from torch import Tensor, nn

from vit_explorer.errors import ModelError
from vit_explorer.sentences import Sentence, joined

# What people call a classifier beside a backbone, and what is none though it may be linear.
CLASSIFIER = re.compile(
    r"(?:.*_)?(?:classifiers?|class|cls|clf|fc|heads?|linear|lin|logits|probe|outputs?|out)\d*"
    r"(?:_.*)?"
)
NO_CLASSIFIER = re.compile(
    r".*(?:proj|pred|decod|dino|ibot|mask|criterion|loss|cent(?:er|re)|prototype|queue|momentum|"
    r"text|logit_scale|aux|teacher|student|metric|acc).*"
)
# Inside a head: those of DINO and its like, which tell no classes.
PROJECTION = re.compile(r"(?:mlp|last_layer|projection|prototypes)\b.*")
WAY_OUT = Sentence(
    "part.head.way",
    "build the module in Python with that head, load the file into it, and pass it to "
    "load_model(module)",
)


@dataclass(frozen=True)
class Head:
    """A file's classifier. `tensors` are named from the model's own head; `used` are the file's.

    `norm`: "" or the kind of the norm before its linear layer; `hidden`: whether something without
    weights may stand before that layer.
    """

    classes: int
    tensors: dict[str, Tensor]
    used: frozenset[str]
    place: str
    norm: str = ""
    hidden: bool = False


@dataclass
class _Group:
    """What a file holds under one name: `tensors` by what follows the name."""

    place: str
    tensors: dict[str, Tensor] = field(default_factory=dict)

    @property
    def linears(self) -> list[str]:
        """Places, within the group, of layers with a matrix."""
        return [
            name.removesuffix("weight")
            for name, tensor in self.tensors.items()
            if tensor.ndim == 2 and (name == "weight" or name.endswith(".weight"))
        ]

    def fits(self, width: int) -> bool:
        """Whether it is one linear layer over `width` numbers, alone or after a norm."""
        linears = self.linears
        return (
            len(linears) == 1
            and self.tensors[f"{linears[0]}weight"].shape[1] == width
            and self.norm_kind(width) is not None
        )

    def norm_kind(self, width: int) -> str | None:
        """ "" without a norm before the linear layer, its kind, or None for anything else."""
        (linear,) = self.linears
        rest = {
            name: tensor
            for name, tensor in self.tensors.items()
            if name not in (f"{linear}weight", f"{linear}bias")
        }
        if not rest:
            return ""
        places = {name.rpartition(".")[0] for name in rest}
        before = linear.removesuffix(".")
        if not (before.isdecimal() and places == {str(int(before) - 1)}):
            return None
        kinds = {name.rpartition(".")[2] for name in rest}
        sizes = {tuple(tensor.shape) for tensor in rest.values() if tensor.ndim}
        if sizes != {(width,)}:
            return None
        if {"running_mean", "running_var"} <= kinds:
            return "BatchNorm1d"
        return "LayerNorm" if kinds == {"weight", "bias"} else None


def find_head(
    inside: Mapping[str, Tensor],
    outside: Mapping[str, Tensor],
    prefix: str,
    own: Sequence[str],
    width: int,
    file: str,
) -> Head | None:
    """The classifier among a model's tensors (`inside`) or beside them; None for a backbone alone.

    `own`: what the model itself calls its classifiers; `prefix`: where it stands in the file.

    Raises:
        ModelError: a classifier that can't be rebuilt from its tensors, or several.
    """
    for name in own:
        if f"{name}.weight" in inside:
            return None
    mine = [group for name in own[:1] for group in _groups(inside, name)]
    beside = _beside(outside, prefix)
    fitting = [group for group in [*mine, *beside] if group.fits(width) and _may_be(group)]
    named = [group for group in fitting if CLASSIFIER.fullmatch(group.place.rpartition(".")[2])]
    chosen = named or fitting
    if len(chosen) > 1:
        told = joined(
            Sentence(
                "part.classes",
                "{name} of {count} classes",
                name=group.place,
                count=group.tensors[f"{group.linears[0]}weight"].shape[0],
            )
            for group in chosen[:4]
        )
        raise ModelError(
            "error.head.several",
            "The weights file {file} holds several classifiers ({told}), and which one is meant "
            "is not in it; {way}.",
            file=file,
            told=told,
            way=WAY_OUT,
        )
    if chosen:
        return _made(chosen[0], width)
    for group in [*mine, *beside]:
        _check_rebuilt(group, width, file)
    return None


def _may_be(group: _Group) -> bool:
    names = [group.place.rpartition(".")[2], *group.linears]
    return not any(NO_CLASSIFIER.fullmatch(name) for name in names)


def _groups(tensors: Mapping[str, Tensor], name: str) -> list[_Group]:
    under = {
        key.removeprefix(f"{name}."): tensor
        for key, tensor in tensors.items()
        if key.startswith(f"{name}.")
    }
    if not under or any(PROJECTION.fullmatch(key) for key in under):
        return []
    return [_Group(name, under)]


def _beside(outside: Mapping[str, Tensor], prefix: str) -> list[_Group]:
    """What stands beside the backbone, by the first name below a module that holds both."""
    parts = prefix.removesuffix(".").split(".") if prefix else []
    above = [".".join([*parts[:count], ""]) for count in range(len(parts), -1, -1)]
    groups: dict[str, _Group] = {}
    for key, tensor in outside.items():
        holder = next((one for one in above if one and key.startswith(one)), "")
        first, _, rest = key.removeprefix(holder).partition(".")
        if rest:
            place = f"{holder}{first}"
            groups.setdefault(place, _Group(place)).tensors[rest] = tensor
    return [
        group
        for group in groups.values()
        if group.linears and not any(PROJECTION.fullmatch(name) for name in group.tensors)
    ]


def _made(group: _Group, width: int) -> Head:
    (linear,) = group.linears
    norm = group.norm_kind(width) or ""
    weight = group.tensors[f"{linear}weight"]
    bias = group.tensors.get(f"{linear}bias")
    bias = weight.new_zeros(weight.shape[0]) if bias is None else bias
    tensors = {"weight": weight, "bias": bias}
    if norm:
        tensors = {f"1.{name}": tensor for name, tensor in tensors.items()}
        before = f"{int(linear.removesuffix('.')) - 1}."
        for name, tensor in group.tensors.items():
            if name.startswith(before):
                tensors[f"0.{name.removeprefix(before)}"] = tensor
    first = linear.removesuffix(".")
    hidden = first.isdecimal() and int(first) > (1 if norm else 0)
    used = frozenset(f"{group.place}.{name}" for name in group.tensors)
    return Head(weight.shape[0], tensors, used, group.place, norm, hidden)


def _check_rebuilt(group: _Group, width: int, file: str) -> None:
    """Refuse a classifier that is no single linear layer over the backbone's numbers."""
    name = group.place.rpartition(".")[2]
    if not (group.linears and CLASSIFIER.fullmatch(name) and _may_be(group)):
        return
    layers = [
        f"{group.place}.{linear}".removesuffix(".")
        + " from {1} to {0}".format(*group.tensors[f"{linear}weight"].shape)
        for linear in group.linears
    ]
    if len(layers) == 1:
        raise ModelError(
            "error.head.width",
            "The classifier in {file} ({count} numbers) does not read the {width} numbers of "
            "this backbone alone, so it can't be rebuilt from its weights; {way}.",
            file=file,
            count=layers[0],
            width=width,
            way=WAY_OUT,
        )
    raise ModelError(
        "error.head.layers",
        "The head in {file} has {count} layers ({layers}), and what stands between them, such "
        "as GELU or ReLU, is not in the file; {way}.",
        file=file,
        count=len(layers),
        layers=", ".join(layers[:4]),
        way=WAY_OUT,
    )


def build_head(module: nn.Module, name: str, head: Head) -> None:
    """Put the norm of a file's head before the model's own linear classifier."""
    parent = module.get_submodule(name.rpartition(".")[0])
    last = name.rpartition(".")[2]
    linear = getattr(parent, last)
    width = linear.in_features
    affine = "0.weight" in head.tensors
    norm = (
        nn.BatchNorm1d(width, affine=affine) if head.norm == "BatchNorm1d" else nn.LayerNorm(width)
    )
    setattr(parent, last, nn.Sequential(norm, linear))
