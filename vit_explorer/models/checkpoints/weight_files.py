"""What a weights file is, by its content, and what it holds; nothing in it is ever run."""

from __future__ import annotations

import json
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from vit_explorer.errors import ModelError
from vit_explorer.models.checkpoints.pickled import read_pickled
from vit_explorer.sentences import Sentence, either

PICKLED = (".pth", ".pt", ".ckpt", ".bin", ".tar", ".pkl", ".pickle", ".model")
WEIGHT_ENDINGS = (".safetensors", ".pth", ".pt", ".ckpt", ".bin", ".tar", ".npz", ".pt2")
INDEX = ".index.json"
# An archive of weights, most of them zero as may be, is not packed by more, but for small ones.
PACKED = 50
SMALL = 50_000_000
# Weights in a folder, those first that can hold nothing but tensors.
FOLDER_FILES = (
    "model.safetensors", "model.safetensors.index.json", "open_clip_model.safetensors",
    "pytorch_model.bin", "pytorch_model.bin.index.json", "pytorch_model.pth", "model.pth",
    "model_best.pth.tar", "checkpoint.pth",
)  # fmt: skip
# First bytes of what is no PyTorch file, with what it is and what to do.
FOREIGN = (
    (b"\x89HDF\r\n", "a Keras file (HDF5)"),
    (b"GGUF", "a GGUF file"),
    (b"\x1f\x8b", "compressed with gzip"),
    (b"7z\xbc\xaf", "compressed with 7-Zip"),
    (b"Rar!", "compressed with RAR"),
    (b"BZh", "compressed with bzip2"),
    (b"\xfd7zXZ", "compressed with xz"),
)


def find_weights(path: Path) -> Path:
    """The file to read: the one given, or the one that a folder of weights holds.

    Raises:
        ModelError: neither is there.
    """
    if path.is_dir():
        for name in FOLDER_FILES:
            if (path / name).is_file():
                return path / name
        found = [one for one in sorted(path.iterdir()) if one.suffix in WEIGHT_ENDINGS]
        if len(found) == 1:
            return found[0]
        told = Sentence("part.files.none", "no weights file")
        if found:
            told = Sentence("part.files.several", "{count} weights files", count=len(found))
        raise ModelError(
            "error.file.folder",
            "The weights file {path} is a folder with {told}; give a .safetensors, .pth or .pt "
            "file.",
            path=path,
            told=told,
        )
    if not path.is_file():
        raise ModelError(
            "error.file.missing",
            "The weights file {path} does not exist; give a .safetensors, .pth or .pt file.",
            path=path,
        )
    return path


def read_content(path: Path) -> tuple[Any, dict[str, str], tuple[str, ...]]:
    """What a file holds, its text metadata, and the classes whose objects were left unread.

    An .npz gives a mapping of arrays; other files what was saved.

    Raises:
        ModelError: another kind of file, damaged, or one that only running its code would open.
    """
    if path.name.endswith(INDEX):
        return _read_shards(path), {}, ()
    kind = _kind(path)
    if kind == "safetensors":
        return *_read_safetensors(path), ()
    if kind == "npz":
        return _read_arrays(path), {}, ()
    if kind == "":
        content, unread = read_pickled(path)
        return content, {}, unread
    raise ModelError(
        "error.file.is", "The weights file {file} is {kind}.", file=path.name, kind=kind
    )


def _kind(path: Path) -> str:
    """What a file is and the way out; "safetensors", "npz", or "" for what PyTorch pickled."""
    with path.open("rb") as file:
        start = file.read(16)
        file.seek(257)
        tar = file.read(5) == b"ustar"
    if path.suffix == ".safetensors" or _is_safetensors(path, start):
        return "safetensors"
    if start[:4] == b"PK\x03\x04":
        return _kind_of_zip(path)
    for magic, told in FOREIGN:
        if start.startswith(magic):
            return Sentence(
                "part.kind.foreign",
                "{kind}, expected tensors of PyTorch; save the state_dict with torch.save",
                kind=told,
            )
    if tar:
        return Sentence("part.kind.tar", "a tar archive; unpack it and give the weights file in it")
    if path.suffix == ".onnx":
        return Sentence(
            "part.kind.onnx",
            "an ONNX graph without names of a model's parts; save the state_dict of its source",
        )
    if path.suffix.lower() not in PICKLED and start[:1] != b"\x80":
        raise ModelError(
            "error.file.ending",
            "The weights file {file} ends in {suffix!r}, expected {endings}, and "
            "holds nothing of these.",
            file=path.name,
            suffix=path.suffix,
            endings=either(WEIGHT_ENDINGS),
        )
    return ""


def _is_safetensors(path: Path, start: bytes) -> bool:
    length = int.from_bytes(start[:8], "little")
    return start[8:9] == b"{" and 0 < length < path.stat().st_size


def _kind_of_zip(path: Path) -> str:
    try:
        with zipfile.ZipFile(path) as archive:
            whole = archive.namelist()
            unpacked = sum(entry.file_size for entry in archive.infolist())
    except Exception:  # the reader of archives raises many things on damaged bytes
        raise ModelError(
            "error.file.cut",
            "The weights file {file} is damaged or no PyTorch checkpoint: it begins as one and "
            "its end is missing; download or copy it again.",
            file=path.name,
        ) from None
    if unpacked > PACKED * path.stat().st_size + SMALL:
        raise ModelError(
            "error.file.bomb",
            "The weights file {file} unpacks to {unpacked:,} MB from {size:,.1f} MB, which no "
            "weights do; it was not opened.",
            file=path.name,
            unpacked=unpacked // 10**6,
            size=path.stat().st_size / 10**6,
        )
    names = [name.partition("/")[2] or name for name in whole]
    if "constants.pkl" in names:
        return Sentence(
            "part.kind.script",
            "a TorchScript program, which would run when opened; save its weights alone, in "
            "Python: torch.save(torch.jit.load({file!r}).state_dict(), 'weights.pth')",
            file=path.name,
        )
    if any(name.startswith(("models/", "serialized_exported_program")) for name in names):
        return Sentence(
            "part.kind.export",
            "a program that torch.export wrote; save its weights alone, in Python: "
            "torch.save(torch.export.load({file!r}).state_dict, 'weights.pth')",
            file=path.name,
        )
    if "data.pkl" in names:
        return ""
    if whole and all(name.endswith(".npy") for name in whole):
        return "npz"
    if "model.weights.h5" in whole:
        return Sentence(
            "part.kind.keras",
            "a Keras file, expected tensors of PyTorch; save the state_dict with torch.save",
        )
    told = ", ".join(repr(name[:40]) for name in whole[:3]) or Sentence("part.nothing", "nothing")
    return Sentence(
        "part.kind.zip",
        "a zip archive of {names}; unpack it and give the weights file in it",
        names=told,
    )


def _read_safetensors(path: Path) -> tuple[dict[str, Tensor], dict[str, str]]:
    with opened_safetensors(path) as file:
        state = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        return state, dict(file.metadata() or {})


@contextmanager
def opened_safetensors(path: Path) -> Iterator[Any]:
    """A safetensors file to read from; raises ModelError where it can't be."""
    try:
        with safe_open(path, framework="pt") as file:
            yield file
    except Exception as error:  # the reader passes on what its numbers make PyTorch raise
        if not isinstance(error, (SafetensorError, OSError, ValueError, RuntimeError, TypeError)):
            raise
        raise ModelError(
            "error.file.safetensors",
            "The weights file {file} is not a readable safetensors file ({error}); download or "
            "export it again.",
            file=path.name,
            error=error,
        ) from None


def _read_arrays(path: Path) -> dict[str, np.ndarray[Any, Any]]:
    try:
        with np.load(path, allow_pickle=False) as file:
            return {name: file[name] for name in file.files}
    except Exception as error:  # as above
        raise ModelError(
            "error.file.more",
            "The weights file {file} is damaged or holds more than numbers ({error}); download "
            "it again.",
            file=path.name,
            error=type(error).__name__,
        ) from None


def _read_shards(path: Path) -> dict[str, Tensor]:
    """A model that was saved in several files, by the index that names them."""
    try:
        index = json.loads(path.read_text(encoding="utf-8"))
        names = sorted({str(name) for name in index["weight_map"].values()})
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError):
        raise ModelError(
            "error.index.damaged",
            "The index {file} is damaged, expected JSON with a weight_map; save the model again.",
            file=path.name,
        ) from None
    state: dict[str, Tensor] = {}
    for name in names:
        # The index may be anyone's: it names files beside it, and no place elsewhere.
        shard = path.parent / Path(name).name
        if Path(name).name != name or not shard.is_file() or name.endswith(INDEX):
            raise ModelError(
                "error.index.beside",
                "The index {file} names {name!r}, which is not beside it; copy all files of the "
                "model into one folder.",
                file=path.name,
                name=name,
            )
        content = read_content(shard)[0]
        if not isinstance(content, dict):
            raise ModelError(
                "error.index.empty",
                "The file {name} of {file} holds no tensors; save it again.",
                name=name,
                file=path.name,
            )
        state.update(content)
    return state


def to_tensor(value: Any) -> Tensor | None:
    """A tensor or a numeric array as a tensor; None for anything else."""
    if isinstance(value, Tensor):
        return value
    if isinstance(value, np.ndarray) and value.dtype.kind in "fiub":
        return torch.from_numpy(np.ascontiguousarray(value))
    return None
