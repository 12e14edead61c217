"""Weights from files, without ever unpickling code."""

from __future__ import annotations

import hashlib
import json
import pickle
import pickletools
import sys
import zipfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor, nn

from vit_explorer.errors import ModelError

FORMAT = "vit-explorer/1"
PICKLED = (".pth", ".pt", ".ckpt", ".bin")
WEIGHT_ENDINGS = (".safetensors", *PICKLED)

# Where training programs keep a model's tensors, the averaged ones first.
STATE_KEYS = (
    "state_dict_ema", "model_ema", "ema_state_dict", "ema",
    "state_dict", "model_state_dict", "model", "net",
)  # fmt: skip
# What the metadata of our own files says, as JSON: of the model, and of its training.
NEEDED = {"config": dict, "preprocess": dict, "labels": list}
FACTS = ("recipe", "metrics", "training")
PATCHES = "patch_embed.proj.weight"


@dataclass(frozen=True)
class Checkpoint:
    """A file's tensors; `metadata` holds what `train` writes, decoded, and is empty otherwise.

    `key` is that of the tensors where the file holds several sets of them, `architecture` the model
    that another program's metadata names; both are "" otherwise.
    """

    path: Path
    state: dict[str, Tensor]
    sha256: str
    metadata: dict[str, Any] = field(default_factory=dict)
    key: str = ""
    architecture: str = ""


def read_checkpoint(path: str | Path) -> Checkpoint:
    """Read `.safetensors`, or `.pth`, `.pt`, `.ckpt` and `.bin` as tensors only.

    Raises:
        ModelError: no such file, another kind of file, damaged, or holding code.
    """
    path = Path(path)
    if not path.is_file():
        found = "is a folder" if path.is_dir() else "does not exist"
        raise ModelError(f"The weights file {path} {found}; give a .safetensors, .pth or .pt file.")
    metadata: dict[str, Any] = {}
    key = architecture = ""
    if path.suffix == ".safetensors":
        state, metadata, architecture = _read_safetensors(path)
    elif path.suffix in PICKLED:
        state, key = _read_pickled_tensors(path)
    else:
        raise ModelError(
            f"The weights file {path.name} ends in {path.suffix!r}, expected "
            f"{', '.join(WEIGHT_ENDINGS[:-1])} or {WEIGHT_ENDINGS[-1]}."
        )
    for name, tensor in state.items():
        if tensor.is_floating_point() and not bool(torch.isfinite(tensor).all()):
            raise ModelError(
                f"The weights file {path.name} holds NaN or infinite numbers in {name!r}; "
                "the training that wrote it diverged, use an earlier checkpoint."
            )
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    return Checkpoint(path, state, digest, metadata, key, architecture)


def _read_safetensors(path: Path) -> tuple[dict[str, Tensor], dict[str, Any], str]:
    """The tensors, the metadata of a file of `train`, and the model that another file's names."""
    try:
        with safe_open(path, framework="pt") as file:
            metadata = file.metadata() or {}
            state = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except (SafetensorError, OSError) as error:
        raise ModelError(
            f"The weights file {path.name} is not a readable safetensors file ({error}); "
            "download or export it again."
        ) from None
    if metadata.get("format") != FORMAT:
        return state, {}, metadata.get("model") or metadata.get("architecture") or ""
    return state, _decoded(metadata, path.name), ""


def _decoded(metadata: Mapping[str, str], name: str) -> dict[str, Any]:
    """What `train` wrote, with what a model needs; facts of another kind are left out."""
    try:
        decoded = {
            key: value if key == "format" else json.loads(value) for key, value in metadata.items()
        }
    except (ValueError, RecursionError):
        raise ModelError(
            f"The metadata of {name} is damaged, expected JSON values; export it again."
        ) from None
    for key, kind in NEEDED.items():
        if not isinstance(decoded.get(key), kind):
            told = "an object" if kind is dict else "a list"
            raise ModelError(
                f"The metadata of {name} has no {key!r}, expected {told} as `vit-explorer train` "
                "writes it; export the file again."
            )
    decoded["labels"] = [str(label) for label in decoded["labels"]]
    return {
        key: value for key, value in decoded.items() if key not in FACTS or isinstance(value, dict)
    }


def _read_pickled_tensors(path: Path) -> tuple[dict[str, Tensor], str]:
    """One model's tensors, and their key where the file holds several models'."""
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError:
        raise ModelError(f"The weights file {path.name} {_why_not_unpickled(path)}.") from None
    except (RuntimeError, OSError, EOFError, ValueError, KeyError, zipfile.BadZipFile):
        raise ModelError(
            f"The weights file {path.name} is damaged or no PyTorch checkpoint; save the "
            "state_dict again with torch.save or as .safetensors."
        ) from None
    found = dict(_states(content))
    place = next((place for key in STATE_KEYS for place in found if key in place), None)
    if place is None and len(found) == 1:
        place = next(iter(found))
    if place is None:
        raise ModelError(
            f"The weights file {path.name} holds {_told(content, found)}, expected one state_dict "
            "(names to tensors); save that of the model."
        )
    return found[place], ".".join(place) if len(found) > 1 else ""


def _why_not_unpickled(path: Path) -> str:
    with path.open("rb") as file:
        start = file.read(16).decode("latin-1")
    if start[:1] not in {known.code for known in pickletools.opcodes}:
        return (
            f"is no PyTorch file, as it begins with {start!r}; a web page or a link may have been "
            "saved in its place, so download the file itself"
        )
    return (
        "holds Python objects other than tensors, which could run code when opened, so it was not "
        "read; save the state_dict as .safetensors"
    )


def _states(content: Any, place: tuple[str, ...] = ()) -> Iterator[Any]:
    """(place, tensors) of each model in nested mappings; an optimizer's names have no dots."""
    if not isinstance(content, Mapping):
        return
    state = {
        str(name): value
        for name, value in content.items()
        # A count that torch's AveragedModel keeps beside the model.
        if isinstance(value, Tensor) and name != "n_averaged"
    }
    if any("." in name for name in state):
        yield place, state
    if len(place) < 2:  # a mapping may hold itself
        for name, value in content.items():
            yield from _states(value, (*place, str(name)))


def _told(content: Any, found: Mapping[tuple[str, ...], Any]) -> str:
    if found:
        return f"several models' tensors ({', '.join(repr('.'.join(place)) for place in found)})"
    if not isinstance(content, Mapping):
        return f"a {type(content).__name__}"
    keys = [repr(str(name)[:40]) for name in content]
    return f"no model's tensors, but {', '.join(keys[:5])}{' …' * (len(keys) > 5)}"


def count_classes(state: Mapping[str, Tensor]) -> int | None:
    """Number of classes of a timm-style head, None where there is no head."""
    for name in ("head.weight", "head.fc2.weight", "head.fc.weight", "classifier.weight"):
        for key, tensor in state.items():
            if key == name or key.endswith(f".{name}"):
                return int(tensor.shape[0])
    return None


def unwrapped(state: dict[str, Tensor], module: nn.Module) -> dict[str, Tensor]:
    """The tensors without the names of modules around the model, such as "module._orig_mod."."""
    own = {key.partition(".")[0] for key in module.state_dict()}
    while True:
        first = {key.partition(".")[0] for key in state}
        if len(first) != 1 or first <= own or not all("." in key for key in state):
            return state
        state = {key.partition(".")[2]: tensor for key, tensor in state.items()}


def load_state(module: nn.Module, checkpoint: Checkpoint, name: str) -> None:
    """Load strictly, through timm's own conversion where the model's family has one.

    Raises:
        ModelError: keys or shapes are another architecture's.
    """
    plain = unwrapped(checkpoint.state, module)
    _check_patches(module, plain, checkpoint.path.name, name)
    problem = ""
    # Some of timm's conversions know a file by a name around its model.
    for given in (checkpoint.state, plain):
        for state in (given, _converted(given, module)):
            problem = _mismatch(module, state)
            if not problem:
                module.load_state_dict(state)
                return
    raise ModelError(
        f"The weights in {checkpoint.path.name} don't fit {name}: {problem}; give the "
        "architecture they were trained with, or build the module in Python and pass it to "
        "load_model(module)."
    )


def _check_patches(module: nn.Module, state: Mapping[str, Tensor], file: str, name: str) -> None:
    """Refuse another patch size, which timm's conversion would resample into another model."""
    given, own = state.get(PATCHES), module.state_dict().get(PATCHES)
    if given is None or own is None or given.ndim != 4 or given.shape[:2] != own.shape[:2]:
        return
    sizes = [f"{height}×{width}" for *_, height, width in (given.shape, own.shape)]
    if sizes[0] != sizes[1]:
        raise ModelError(
            f"The weights in {file} have {sizes[0]} patches, {name} has {sizes[1]}; give the "
            "architecture they were trained with, or build the module in Python and pass it to "
            "load_model(module)."
        )


def _converted(state: dict[str, Tensor], module: nn.Module) -> dict[str, Tensor]:
    convert = getattr(sys.modules[type(module).__module__], "checkpoint_filter_fn", None)
    if convert is None:
        return state
    try:
        return convert(dict(state), module)
    except (RuntimeError, KeyError, ValueError, AttributeError, AssertionError):
        # Another architecture's keys: the mismatch says it best.
        return state


def _mismatch(module: nn.Module, state: Mapping[str, Tensor]) -> str:
    own = module.state_dict()
    missing = [key for key in own if key not in state]
    unexpected = [key for key in state if key not in own]
    shapes = [key for key in own if key in state and own[key].shape != state[key].shape]
    parts = []
    if missing:
        parts.append(f"{len(missing)} of {len(own)} tensors are missing, such as {missing[0]!r}")
    if unexpected:
        parts.append(f"{len(unexpected)} are unknown, such as {unexpected[0]!r}")
    if shapes:
        key = shapes[0]
        parts.append(
            f"{key!r} is {tuple(state[key].shape)}, expected {tuple(own[key].shape)}"
            + (f" ({len(shapes)} such)" if len(shapes) > 1 else "")
        )
    return ", ".join(parts)
