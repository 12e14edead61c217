"""Pickled checkpoints, by PyTorch's restricted reader: nothing of theirs is imported or run."""

from __future__ import annotations

import argparse
import datetime
import decimal
import io
import pathlib
import pickle
import pickletools
import sys
import threading
import types
import uuid
import warnings
import zipfile
from _compat_pickle import IMPORT_MAPPING, NAME_MAPPING
from collections import OrderedDict
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, _weights_only_unpickler

from vit_explorer.errors import ModelError
from vit_explorer.sentences import Sentence

# Pickle protocols that PyTorch's restricted reader knows.
READ_PROTOCOL = 2
# A module holds modules a dozen deep; a damaged file might hold itself.
DEEPEST = 40


class _Row(list[Any]):
    """What is read of a deque."""


class _Opaque:
    """What is read of an object whose class is not known: nothing."""

    def __init__(self, *_: Any, **__: Any) -> None:
        pass

    def __setstate__(self, state: Any) -> None:
        pass


def _mapping(*_: Any, **__: Any) -> OrderedDict[Any, Any]:
    return OrderedDict()


def _kinds_of_numpy() -> Iterator[tuple[Any, str]]:
    """Numbers and arrays, under the names that numpy 1 and 2 give the functions that make them."""
    core = getattr(np, "_core", None) or np.core
    for package in ("numpy.core", "numpy._core"):
        yield core.multiarray.scalar, f"{package}.multiarray.scalar"
        yield core.multiarray._reconstruct, f"{package}.multiarray._reconstruct"
    yield np.ndarray, "numpy.ndarray"
    yield np.dtype, "numpy.dtype"
    for name in np.dtypes.__all__:
        yield getattr(np.dtypes, name), f"numpy.dtypes.{name}"


def _harmless() -> list[tuple[Any, str]]:
    """Plain data that training programs keep beside the tensors; making it has no effects."""
    plain = [
        argparse.Namespace, types.SimpleNamespace, datetime.datetime, datetime.date,
        datetime.time, datetime.timedelta, datetime.timezone, decimal.Decimal, uuid.UUID, frozenset,
    ]  # fmt: skip
    known: list[tuple[Any, str]] = [(kind, f"{kind.__module__}.{kind.__name__}") for kind in plain]
    for place in ("pathlib", "pathlib._local"):
        here = ("Path", "PosixPath", "PurePath", "PurePosixPath")
        known += [(pathlib.PurePosixPath, f"{place}.{name}") for name in here]
        there = ("WindowsPath", "PureWindowsPath")
        known += [(pathlib.PureWindowsPath, f"{place}.{name}") for name in there]
    known.append((_mapping, "collections.defaultdict"))
    known.append((_Row, "collections.deque"))
    # Types named as data, such as the list of a defaultdict, are not called on anything.
    names = ("bool", "bytes", "dict", "float", "int", "list", "object", "str", "tuple", "type")
    known += [(_Opaque, f"builtins.{name}") for name in names]
    return [*known, *_kinds_of_numpy()]


HARMLESS = _harmless()
# PyTorch keeps what is allowed in one place for all threads.
_reading = threading.Lock()


def read_pickled(path: Path) -> tuple[Any, tuple[str, ...]]:
    """A file's content, and the names of the classes whose objects in it were left unread.

    Raises:
        ModelError: damaged, of a newer pickle protocol, or built by calling Python's own functions.
    """
    try:
        wanted = _globals(path)
    except Exception:  # bytes that are no pickle may make the reader of archives raise anything
        raise _damaged(path) from None
    unknown = tuple(sorted(wanted - {name for _, name in HARMLESS} - _allowed_by_torch()))
    calls = [name for name in unknown if name.partition(".")[0] in sys.stdlib_module_names]
    calls = [name for name in calls if not name.startswith("typing.")]
    if calls:
        raise ModelError(
            "error.pickle.calls",
            "The weights file {file} holds Python objects other than tensors, made by {calls}, "
            "which could run code when opened, so it was not read; save the state_dict as "
            ".safetensors.",
            file=path.name,
            calls=_listed(calls),
        )
    reasons = []
    # An object of unknown class may be filled as a dict is or by its state: no reader takes both.
    for stand_in in (_mapping, _Opaque):
        allowed: list[Any] = [*HARMLESS, *((_named(stand_in), name) for name in unknown)]
        try:
            with _reading, warnings.catch_warnings():
                warnings.simplefilter("ignore")
                with torch.serialization.safe_globals(allowed):
                    return torch.load(path, map_location="cpu", weights_only=True), unknown
        except MemoryError:
            raise ModelError(
                "error.pickle.memory",
                "The weights file {file} claims more numbers than there is memory for; if it is "
                "that large, open it where more is free, else save the state_dict again.",
                file=path.name,
            ) from None
        except Exception as error:  # a file of anyone's may make the reader raise anything
            reasons.append(error)
        if not unknown:
            break
    if isinstance(reasons[0], pickle.UnpicklingError) or unknown:
        raise ModelError(
            "error.pickle.why",
            "The weights file {file} {why}.",
            file=path.name,
            why=_why_not(path, unknown),
        ) from None
    raise _damaged(path) from None


def module_state(content: Any) -> dict[str, Tensor]:
    """The tensors of a whole module that was pickled, from its parts; empty for other things."""
    return dict(_module_tensors(content, "", 0))


def _module_tensors(part: Any, prefix: str, depth: int) -> Iterator[tuple[str, Tensor]]:
    facts = getattr(part, "__dict__", {})
    if depth > DEEPEST or not isinstance(facts.get("_modules"), Mapping):
        return
    passing = facts.get("_non_persistent_buffers_set", ())
    for kind in ("_parameters", "_buffers"):
        for name, tensor in dict(facts.get(kind) or {}).items():
            if isinstance(tensor, Tensor) and not (kind == "_buffers" and name in passing):
                yield f"{prefix}{name}", tensor.detach()
    for name, child in facts["_modules"].items():
        yield from _module_tensors(child, f"{prefix}{name}.", depth + 1)


def _named(stand_in: Any) -> Any:
    """A class of its own for each name: PyTorch makes objects of the classes it was told of."""
    if stand_in is _Opaque:
        return type("Unread", (_Opaque,), {})
    return type("Unread", (), {"__new__": lambda _, *args, **given: _mapping()})


def _allowed_by_torch() -> set[str]:
    return set(_weights_only_unpickler._get_allowed_globals())


def _globals(path: Path) -> set[str]:
    """Names that a file's pickles ask for; its bytes are looked through and nothing is built."""
    if zipfile.is_zipfile(path):
        with zipfile.ZipFile(path) as archive:
            name = next(one for one in archive.namelist() if one.endswith("data.pkl"))
            return _globals_of(io.BytesIO(archive.read(name)), pickles=1)
    with path.open("rb") as file:
        # Before 1.6, torch.save wrote a magic number, a version, facts of the system, the content.
        return _globals_of(file, pickles=4)


def _globals_of(file: Any, pickles: int) -> set[str]:
    found = set()
    for _ in range(pickles):
        try:
            for opcode, argument, _place in pickletools.genops(file):
                if opcode.name == "GLOBAL":
                    module, _, name = str(argument).partition(" ")
                    module, name = NAME_MAPPING.get((module, name), (module, name))
                    found.add(f"{IMPORT_MAPPING.get(module, module)}.{name}")
        except ValueError:
            # What is no pickle will not be read as one either.
            break
    return found


def _why_not(path: Path, unknown: tuple[str, ...]) -> str:
    with path.open("rb") as file:
        start = file.read(16).decode("latin-1")
    if zipfile.is_zipfile(path):
        with zipfile.ZipFile(path) as archive:
            name = next(one for one in archive.namelist() if one.endswith("data.pkl"))
            start = archive.read(name)[:16].decode("latin-1")
    if start[:1] not in {known.code for known in pickletools.opcodes}:
        return Sentence(
            "part.pickle.start",
            "is no PyTorch file, as it begins with {start!r}; a web page or a link may have been "
            "saved in its place, so download the file itself",
            start=start,
        )
    protocol = ord(start[1]) if start[:1] == "\x80" and len(start) > 1 else 0
    if protocol > READ_PROTOCOL:
        return Sentence(
            "part.pickle.protocol",
            "is a pickle of protocol {protocol}, which may hold Python objects other than tensors "
            "and which PyTorch's safe reader does not read; save the state_dict by torch.save "
            "without pickle_protocol, or as .safetensors",
            protocol=protocol,
        )
    made = f" ({_listed(unknown)})" if unknown else ""
    return Sentence(
        "part.pickle.objects",
        "holds Python objects other than tensors{made}, which could run code when opened, so it "
        "was not read; save the state_dict as .safetensors",
        made=made,
    )


def _listed(names: Any) -> str:
    shown = [name[:60] for name in names]
    first = ", ".join(shown[:3])
    if len(shown) <= 3:
        return first
    return Sentence("list.more", "{some} and {count} more", some=first, count=len(shown) - 3)


def _damaged(path: Path) -> ModelError:
    return ModelError(
        "error.pickle.damaged",
        "The weights file {file} is damaged or no PyTorch checkpoint; save the state_dict again "
        "with torch.save or as .safetensors.",
        file=path.name,
    )
