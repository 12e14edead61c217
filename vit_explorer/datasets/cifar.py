"""CIFAR-10 in its official forms: the python and the binary one, packed or unpacked.

Krizhevsky, "Learning Multiple Layers of Features from Tiny Images", 2009.
"""

from __future__ import annotations

import tarfile
from collections.abc import Iterator
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from vit_explorer.errors import DataError

CLASSES = (
    "airplane",
    "automobile",
    "bird",
    "cat",
    "deer",
    "dog",
    "frog",
    "horse",
    "ship",
    "truck",
)
PYTHON_FOLDER = "cifar-10-batches-py"
PYTHON_ARCHIVE = "cifar-10-python.tar.gz"
BINARY_FOLDER = "cifar-10-batches-bin"
BINARY_ARCHIVE = "cifar-10-binary.tar.gz"
_RECORD = 1 + 3 * 32 * 32

Arrays = tuple[NDArray[np.uint8], list[int], tuple[str, ...]]


def find_cifar10(data: str | Path) -> Path | None:
    """The folder or archive that holds CIFAR-10's official files, None if `data` is none."""
    if str(data) == "cifar10":
        return Path.home() / ".cache" / "vit-explorer" / "cifar10"
    place = Path(data)
    names = (BINARY_FOLDER, BINARY_ARCHIVE, PYTHON_FOLDER, PYTHON_ARCHIVE)
    if place.name in names and place.exists():
        return place.parent
    return place if any((place / name).exists() for name in names) else None


def read_cifar10(folder: Path, split: Literal["train", "test"]) -> Arrays:
    """Pixels (n, 32, 32, 3) uint8, labels and class names of one split.

    The python form is read, and where nothing is there downloaded, by torchvision, which checks its
    files against the official sums before it unpickles them.

    Raises:
        DataError: damaged files, or no network for the download.
    """
    if (folder / BINARY_FOLDER).is_dir() or (folder / BINARY_ARCHIVE).is_file():
        return _read_binary(folder, split)
    from torchvision.datasets import CIFAR10

    try:
        official = CIFAR10(str(folder), train=split == "train", download=True)
    except (OSError, RuntimeError, tarfile.TarError, EOFError) as error:
        raise DataError(
            "error.cifar.get",
            "CIFAR-10 can't be read from {folder} nor downloaded ({error}); put the official "
            "{file} or {archive} there.",
            folder=folder,
            error=error,
            file=PYTHON_ARCHIVE,
            archive=BINARY_ARCHIVE,
        ) from None
    return official.data, list(official.targets), tuple(official.classes)


def _read_binary(folder: Path, split: Literal["train", "test"]) -> Arrays:
    names = [f"data_batch_{n}.bin" for n in range(1, 6)] if split == "train" else ["test_batch.bin"]
    try:
        content = b"".join(_parts(folder, names))
    except (OSError, KeyError, tarfile.TarError, EOFError) as error:
        raise DataError(
            "error.cifar.damaged",
            "CIFAR-10's binary files in {folder} are damaged or incomplete ({error}); get the "
            "official {archive} again.",
            folder=folder,
            error=error,
            archive=BINARY_ARCHIVE,
        ) from None
    records = np.frombuffer(content, np.uint8)
    if not len(records) or len(records) % _RECORD:
        raise DataError(
            "error.cifar.bytes",
            "CIFAR-10's binary files in {folder} hold {count} bytes, expected a multiple of "
            "{record}; get the official {archive} again.",
            folder=folder,
            count=len(content),
            record=_RECORD,
            archive=BINARY_ARCHIVE,
        )
    records = records.reshape(-1, _RECORD)
    pixels = records[:, 1:].reshape(-1, 3, 32, 32).transpose(0, 2, 3, 1)
    if records[:, 0].max() >= len(CLASSES):
        raise DataError(
            "error.cifar.label",
            "CIFAR-10's binary files in {folder} hold the label {label}, expected 0 to 9; get "
            "the official {archive} again.",
            folder=folder,
            label=records[:, 0].max(),
            archive=BINARY_ARCHIVE,
        )
    return np.ascontiguousarray(pixels), records[:, 0].tolist(), CLASSES


def _parts(folder: Path, names: list[str]) -> Iterator[bytes]:
    if (folder / BINARY_FOLDER).is_dir():
        yield from ((folder / BINARY_FOLDER / name).read_bytes() for name in names)
        return
    with tarfile.open(folder / BINARY_ARCHIVE) as archive:
        for name in names:
            member = archive.extractfile(f"{BINARY_FOLDER}/{name}")
            if member is None:
                raise KeyError(name)
            yield member.read()
