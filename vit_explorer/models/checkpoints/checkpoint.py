"""A weights file → the sets of tensors in it, with what the file says about them."""

from __future__ import annotations

import argparse
import hashlib
import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from vit_explorer.errors import ModelError
from vit_explorer.models.checkpoints.pickled import module_state
from vit_explorer.models.checkpoints.quantised import PLAIN
from vit_explorer.models.checkpoints.weight_files import (
    INDEX,
    WEIGHT_ENDINGS,
    find_weights,
    read_content,
    to_tensor,
)
from vit_explorer.sentences import Sentence

__all__ = ["FORMAT", "WEIGHT_ENDINGS", "Checkpoint", "TensorSet", "read_checkpoint"]

FORMAT = "vit-explorer/1"

# Names of a model whose weights are averaged over training, which is the one meant to be used.
AVERAGED = (
    "state_dict_ema", "model_ema", "ema_state_dict", "ema_model", "ema", "teacher",
    "target_encoder", "momentum_encoder_ema", "averaged_model",
)  # fmt: skip
# Where training programs keep a model's tensors, the averaged ones first.
STATE_KEYS = (*AVERAGED, "state_dict", "model_state_dict", "model", "net", "network", "student")
# What the metadata of our own files says, as JSON: of the model, and of its training.
NEEDED = {"config": dict, "preprocess": dict, "labels": list}
FACTS = ("recipe", "metrics", "training")
# Where programs keep the arguments of a run, and what they call timm's name for the model.
ARGUMENTS = ("args", "hyper_parameters", "config", "cfg", "hparams", "opt")
ARCHITECTURES = ("arch", "architecture", "model", "model_name", "backbone", "timm_name", "encoder")
PREPARED = ("mean", "std", "crop_pct", "crop_mode", "interpolation")
SHARD = re.compile(r"(.+)-(\d{5})-of-(\d{5})(\..+)")

_WHOLE = Sentence(
    "weights.whole", "A whole module was saved; its tensors were read, and its code was not."
)


@dataclass(frozen=True)
class TensorSet:
    """One model's tensors; `key` is where they stand in a file of several, "" in one of one."""

    key: str
    state: dict[str, Tensor] = field(repr=False)


@dataclass(frozen=True)
class Checkpoint:
    """A file's tensors; `metadata` holds what `train` writes, decoded, and is empty otherwise.

    `sets`: the models in it, the one to be used first; `architecture`: the timm model that another
    program's metadata names, or ""; `image_size`: (height, width) that it was trained at, as far as
    its arguments say; `data`: how its pictures were prepared, in timm's words; `notes`: a sentence
    on each thing in the file that was not read.
    """

    path: Path
    sets: tuple[TensorSet, ...]
    sha256: str
    metadata: dict[str, Any] = field(default_factory=dict)
    architecture: str = ""
    image_size: tuple[int, int] | None = None
    data: dict[str, Any] = field(default_factory=dict)
    notes: tuple[str, ...] = ()

    @property
    def state(self) -> dict[str, Tensor]:
        return self.sets[0].state


def read_checkpoint(path: str | Path) -> Checkpoint:
    """Read a file's tensors; what it is is seen from its content, and no code in it is run.

    Also a folder that holds one model's weights, or the index of a model in several files.

    Raises:
        ModelError: no such file, another kind of file, damaged, or holding code.
    """
    path = _whole(find_weights(Path(path)))
    content, texts, unread = read_content(path)
    metadata: dict[str, Any] = {}
    facts: dict[str, Any] = {}
    notes: tuple[str, ...] = ()
    if texts.get("format") == FORMAT:
        metadata = _decoded(texts, path.name)
        facts["image_size"] = _size(metadata["preprocess"].get("input_size"))
    elif texts:
        facts["architecture"] = texts.get("model") or texts.get("architecture") or ""
    sets, notes = _sets(content, path.name)
    if not metadata:
        facts = {**_facts(content), **{key: value for key, value in facts.items() if value}}
    if unread and _WHOLE not in notes:
        notes = (
            *notes,
            Sentence(
                "weights.objects",
                "Objects of other programs in the file were not read: {names}.",
                names=_short(unread),
            ),
        )
    for one in sets:
        _check_numbers(one.state, path.name)
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    return Checkpoint(path, sets, digest, metadata, notes=notes, **facts)


def _whole(path: Path) -> Path:
    """The index of a model of which one part was given, or the file itself."""
    part = SHARD.fullmatch(path.name)
    if part is None or int(part[3]) <= 1:
        return path
    index = path.with_name(f"{part[1]}{part[4]}{INDEX}")
    if index.is_file():
        return index
    raise ModelError(
        "error.file.part",
        "The weights file {file} is part {part} of {parts}, and its index {index} is not beside "
        "it; copy all files of the model into one folder.",
        file=path.name,
        part=int(part[2]),
        parts=int(part[3]),
        index=index.name,
    )


def _check_numbers(state: Mapping[str, Tensor], name: str) -> None:
    for key, tensor in state.items():
        sparse = tensor.layout is not torch.strided
        if tensor.is_meta or sparse or tensor.is_quantized or type(tensor) not in PLAIN:
            told = Sentence("part.numbers.quantised", "quantised numbers")
            if tensor.is_meta:
                told = Sentence("part.numbers.no", "no numbers")
            elif sparse:
                told = Sentence("part.numbers.sparse", "a sparse matrix")
            raise ModelError(
                "error.file.kind",
                "The weights file {file} holds {told} in {key!r}; save the float weights of the "
                "model.",
                file=name,
                told=told,
                key=key,
            )
        if tensor.numel() * tensor.element_size() > tensor.untyped_storage().nbytes():
            raise ModelError(
                "error.file.views",
                "The weights file {file} holds {key!r} as {shape}, of which it has fewer numbers, "
                "seen many times; save the model's state_dict with every tensor whole.",
                file=name,
                key=key,
                shape=tuple(tensor.shape),
            )
        # Counters and masks may well be infinite; weights are more than one number.
        if not tensor.is_floating_point() or tensor.numel() < 2 or "mask" in key:
            continue
        numbers = tensor.float() if tensor.element_size() == 1 else tensor
        if not bool(torch.isfinite(numbers).all()):
            raise ModelError(
                "error.file.finite",
                "The weights file {file} holds NaN or infinite numbers in {key!r}; the training "
                "that wrote it diverged, use an earlier checkpoint.",
                file=name,
                key=key,
            )


def _decoded(metadata: Mapping[str, str], name: str) -> dict[str, Any]:
    """What `train` wrote, with what a model needs; facts of another kind are left out."""
    try:
        decoded = {
            key: value if key == "format" else json.loads(value) for key, value in metadata.items()
        }
    except (ValueError, RecursionError):
        raise ModelError(
            "error.file.metadata",
            "The metadata of {file} is damaged, expected JSON values; export it again.",
            file=name,
        ) from None
    for key, kind in NEEDED.items():
        if not isinstance(decoded.get(key), kind):
            told = (
                Sentence("part.object", "an object")
                if kind is dict
                else Sentence("part.list", "a list")
            )
            raise ModelError(
                "error.file.lacks",
                "The metadata of {file} has no {key!r}, expected {told} as `vit-explorer train` "
                "writes it; export the file again.",
                file=name,
                key=key,
                told=told,
            )
    decoded["labels"] = [str(label) for label in decoded["labels"]]
    return {
        key: value for key, value in decoded.items() if key not in FACTS or isinstance(value, dict)
    }


def _sets(content: Any, name: str) -> tuple[tuple[TensorSet, ...], tuple[str, ...]]:
    """The models in a file, the one to be used first, and what is to be said of them."""
    found = dict(_states(content))
    whole = not found
    if whole:
        found = dict(_modules(content))
    order = [place for key in STATE_KEYS for place in found if key in place]
    if not order and len(found) == 1:
        order = list(found)
    if not order:
        raise ModelError(
            "error.file.told",
            "The weights file {file} holds {told}, expected one state_dict (names to tensors); "
            "save that of the model.",
            file=name,
            told=_told(content, found),
        )
    order = list(dict.fromkeys(order))
    for place in order:
        _check_kind(found[place], content, name)
    sets = tuple(
        TensorSet(".".join(place) if len(found) > 1 else "", found[place]) for place in order
    )
    notes = []
    if whole:
        notes.append(_WHOLE)
    others = [".".join(place) for place in found if place not in order]
    if others:
        notes.append(Sentence("weights.aside", "Left aside: {names}.", names=", ".join(others)))
    return sets, tuple(notes)


def _states(content: Any, place: tuple[str, ...] = ()) -> Iterator[Any]:
    """(place, tensors) of each model in nested mappings; an optimizer's names have no dots."""
    if not isinstance(content, Mapping):
        return
    state = {}
    for name, value in content.items():
        tensor = to_tensor(value)
        # A count that torch's AveragedModel keeps beside the model.
        if tensor is not None and name != "n_averaged":
            state[str(name)] = tensor
    if any("." in name or "/" in name for name in state):
        yield place, state
    if len(place) < 2:  # a mapping may hold itself
        for name, value in content.items():
            yield from _states(value, (*place, str(name)))


def _modules(content: Any) -> Iterator[Any]:
    """(place, tensors) of each whole module that was pickled."""
    state = module_state(content)
    if state:
        yield (), state
    elif isinstance(content, Mapping):
        for name, value in content.items():
            state = module_state(value)
            if state:
                yield (str(name),), state


def _check_kind(state: Mapping[str, Tensor], content: Any, name: str) -> None:
    """Refuse weights that are not a float model's own, by what their names and types say."""
    keys = list(state) + (list(map(str, content)) if isinstance(content, Mapping) else [])
    if any("_packed_params" in key or key.endswith((".weight.absmax", ".qweight")) for key in keys):
        told = Sentence(
            "part.quantised",
            "layers of a quantised (int8 or int4) model, whose weights can't be read as floats",
        )
        way = Sentence(
            "part.quantised.way", "save the state_dict of the model before it was quantised"
        )
    elif any(".lora_A." in key or ".lora_B." in key for key in keys):
        told = Sentence("part.lora", "LoRA adapters apart from the weights that they change")
        way = Sentence(
            "part.lora.way",
            "merge them (merge_and_unload() in peft) and save that model's state_dict",
        )
    else:
        return
    raise ModelError(
        "error.file.way",
        "The weights file {file} holds {told}; {way}.",
        file=name,
        told=told,
        way=way,
    )


def _told(content: Any, found: Mapping[tuple[str, ...], Any]) -> str:
    if found:
        return Sentence(
            "part.several",
            "several models' tensors ({names})",
            names=", ".join(repr(".".join(place)) for place in found),
        )
    if not isinstance(content, Mapping):
        return Sentence("part.kind", "a {kind}", kind=type(content).__name__)
    keys = [repr(str(name)[:40]) for name in content]
    return Sentence(
        "part.keys",
        "no model's tensors, but {keys}",
        keys=", ".join(keys[:5]) + " …" * (len(keys) > 5),
    )


def _facts(content: Any) -> dict[str, Any]:
    """timm's name of the model, its picture size and preparation, as far as a file says them."""
    if not isinstance(content, Mapping):
        return {}
    said = [content]
    for key in ARGUMENTS:
        arguments = content.get(key)
        if isinstance(arguments, argparse.Namespace):
            arguments = vars(arguments)
        if isinstance(arguments, Mapping):
            said.append(arguments)
    facts: dict[str, Any] = {}
    names = [one.get(key) for key in ARCHITECTURES for one in said]
    named = [name for name in names if isinstance(name, str) and is_timm_name(name)]
    if named:
        facts["architecture"] = named[0]
    for one in said[1:]:
        size = _size(one.get("img_size")) or _size(one.get("input_size"))
        if size is not None:
            facts["image_size"] = size
        data = {key: one[key] for key in PREPARED if _is_plain(key, one.get(key))}
        if data:
            facts["data"] = {
                key: tuple(map(float, value)) if isinstance(value, (list, tuple)) else value
                for key, value in data.items()
            }
    return facts


def _is_plain(key: str, value: Any) -> bool:
    if key in ("mean", "std"):
        return (
            isinstance(value, (list, tuple))
            and bool(value)
            and all(isinstance(one, (int, float)) for one in value)
        )
    if key == "crop_pct":
        return isinstance(value, float)
    known = ("center", "squash", "border", "bicubic", "bilinear", "nearest", "lanczos")
    return isinstance(value, str) and value in known


def _size(value: Any) -> tuple[int, int] | None:
    """A picture size as timm's arguments give it: one side, or channels, height and width."""
    if isinstance(value, int) and not isinstance(value, bool) and 0 < value <= 4096:
        return value, value
    if isinstance(value, (list, tuple)) and len(value) in (2, 3):
        pair = tuple(value)[-2:]
        if all(isinstance(side, int) and 0 < side <= 4096 for side in pair):
            return pair[0], pair[1]
    return None


def is_timm_name(name: str) -> bool:
    """Whether a name that anyone may have written is one of timm's, and no address."""
    import timm

    return bool(re.fullmatch(r"[\w.]+", name)) and timm.is_model(name)


def _short(names: tuple[str, ...]) -> str:
    some = ", ".join(name[:60] for name in names[:4])
    if len(names) <= 4:
        return some
    return Sentence("list.more", "{some} and {count} more", some=some, count=len(names) - 4)
