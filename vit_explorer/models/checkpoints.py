"""Weights and labels from files, without ever unpickling code."""

from __future__ import annotations

import hashlib
import json
import pickle
import sys
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor, nn

from vit_explorer.errors import ModelError

FORMAT = "vit-explorer/1"


@dataclass(frozen=True)
class Checkpoint:
    """A file's tensors; `metadata` holds what `train` writes, decoded, and is empty otherwise."""

    path: Path
    state: dict[str, Tensor]
    sha256: str
    metadata: dict[str, Any] = field(default_factory=dict)


def read_checkpoint(path: str | Path) -> Checkpoint:
    """Read `.safetensors`, or `.pth`, `.pt` and `.bin` as tensors only.

    Raises:
        ModelError: no such file, another kind of file, damaged, or holding code.
    """
    path = Path(path)
    if not path.is_file():
        found = "is a folder" if path.is_dir() else "does not exist"
        raise ModelError(f"The weights file {path} {found}; give a .safetensors, .pth or .pt file.")
    if path.suffix == ".safetensors":
        state, metadata = _read_safetensors(path)
    elif path.suffix in (".pth", ".pt", ".bin"):
        state, metadata = _read_pickled_tensors(path), {}
    else:
        raise ModelError(
            f"The weights file {path.name} ends in {path.suffix!r}, expected .safetensors, .pth, "
            ".pt or .bin."
        )
    for name, tensor in state.items():
        if tensor.is_floating_point() and not bool(torch.isfinite(tensor).all()):
            raise ModelError(
                f"The weights file {path.name} holds NaN or infinite numbers in {name!r}; "
                "the training that wrote it diverged, use an earlier checkpoint."
            )
    with path.open("rb") as file:
        return Checkpoint(path, state, hashlib.file_digest(file, "sha256").hexdigest(), metadata)


def _read_safetensors(path: Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
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
        return state, {}
    try:
        return state, {
            key: value if key == "format" else json.loads(value) for key, value in metadata.items()
        }
    except ValueError:
        raise ModelError(
            f"The metadata of {path.name} is damaged, expected JSON values; export it again."
        ) from None


def _read_pickled_tensors(path: Path) -> dict[str, Tensor]:
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError:
        raise ModelError(
            f"The weights file {path.name} holds Python objects other than tensors, which could "
            "run code when opened, so it was not read; save the state_dict as .safetensors."
        ) from None
    except (RuntimeError, OSError, EOFError, ValueError, KeyError, zipfile.BadZipFile):
        raise ModelError(
            f"The weights file {path.name} is damaged or no PyTorch checkpoint; save the "
            "state_dict again with torch.save or as .safetensors."
        ) from None
    for key in ("state_dict_ema", "model_ema", "state_dict", "model"):
        if isinstance(content, Mapping) and isinstance(content.get(key), Mapping):
            content = content[key]
            break
    if not isinstance(content, Mapping):
        raise ModelError(
            f"The weights file {path.name} holds a {type(content).__name__}, expected a state_dict "
            "(names to tensors)."
        )
    state = {
        str(name).removeprefix("module."): value
        for name, value in content.items()
        if isinstance(value, Tensor)
    }
    if not state:
        raise ModelError(f"The weights file {path.name} holds no tensors, expected a state_dict.")
    return state


def count_classes(state: Mapping[str, Tensor]) -> int | None:
    """Number of classes of a timm-style head, None where there is no head."""
    for name in ("head.weight", "head.fc2.weight", "head.fc.weight", "classifier.weight"):
        if name in state:
            return int(state[name].shape[0])
    return None


def load_state(module: nn.Module, checkpoint: Checkpoint, name: str) -> None:
    """Load strictly, through timm's own conversion where the model's family has one.

    Raises:
        ModelError: keys or shapes are another architecture's.
    """
    state = checkpoint.state
    convert = getattr(sys.modules[type(module).__module__], "checkpoint_filter_fn", None)
    problem = _mismatch(module, state)
    if problem and convert is not None:
        try:
            state = convert(dict(state), module)
        except (RuntimeError, KeyError, ValueError, AttributeError, AssertionError):
            # Another architecture's keys: the mismatch found above says it best.
            state = checkpoint.state
        problem = _mismatch(module, state)
    if problem:
        raise ModelError(
            f"The weights in {checkpoint.path.name} don't fit {name}: {problem}; give the "
            "architecture they were trained with."
        )
    module.load_state_dict(state)


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


def read_labels(path: str | Path) -> tuple[str, ...]:
    """Class names from a text file (one a line), a JSON list, or a JSON object of index to name.

    Raises:
        ModelError: no such file, not text, or not one of these forms.
    """
    path = Path(path)
    try:
        text = path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError):
        raise ModelError(
            f"The label file {path.name} can't be read as text; give one class name a line, "
            "or JSON."
        ) from None
    if path.suffix != ".json":
        return tuple(line.strip() for line in text.splitlines() if line.strip())
    try:
        content = json.loads(text)
        if isinstance(content, dict):
            content = [content[str(index)] for index in range(len(content))]
    except (ValueError, KeyError):
        content = None
    if not isinstance(content, list):
        raise ModelError(
            f"The label file {path.name} is no JSON list of names, nor an object with the keys "
            '"0", "1", and so on.'
        )
    return tuple(str(label) for label in content)
