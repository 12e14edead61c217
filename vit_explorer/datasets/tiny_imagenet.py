"""Tiny ImageNet: its official folder, and short names for its classes in English and Chinese.

200 classes of ImageNet (Deng et al., CVPR 2009), named by WordNet's numbers (WNIDs), with 500
training and 50 validation pictures each, 64×64 pixels; the test pictures have no public labels, so
the validation pictures are measured on, as everyone does. For non-commercial research.
"""

from __future__ import annotations

import csv
from collections import Counter
from collections.abc import Sequence
from functools import cache
from importlib import resources
from pathlib import Path
from typing import Literal, NamedTuple

from vit_explorer.errors import DataError
from vit_explorer.models.provenance import ABOUT_TINY_IMAGENET
from vit_explorer.pictures.picture_files import find_picture_files
from vit_explorer.sentences import Sentence

FOLDER = "tiny-imagenet-200"
_ARCHIVE = f"{FOLDER}.zip"
_WNIDS, _ANNOTATIONS = "wnids.txt", "val/val_annotations.txt"
_AGAIN = Sentence("part.unpack", "unpack the official {file} again", file=_ARCHIVE)


class Names(NamedTuple):
    """What a class is called."""

    english: str
    chinese: str


@cache
def names() -> dict[str, Names]:
    """The 200 classes' names by their WNIDs, in the WNIDs' order."""
    text = (resources.files(__package__) / "tiny_imagenet.csv").read_text(encoding="utf-8")
    return {row["wnid"]: Names(row["english"], row["chinese"]) for row in _rows(text)}


def _rows(text: str) -> list[dict[str, str]]:
    return list(csv.DictReader(text.splitlines()))


def named(classes: Sequence[str]) -> tuple[str, ...]:
    """Classes by their English names where all are WNIDs of Tiny ImageNet; else as they are.

    >>> named(["n02123045", "n07920052"])
    ('tabby cat', 'espresso')
    """
    known = names()
    if all(name in known for name in classes):
        return tuple(known[name].english for name in classes)
    return tuple(classes)


def in_chinese(labels: Sequence[str]) -> tuple[str, ...] | None:
    """The Chinese names of labels that are all Tiny ImageNet's, English or WNIDs; else None."""
    known = {one.english: one.chinese for one in names().values()}
    labels = named(labels)
    return tuple(known[label] for label in labels) if all(map(known.__contains__, labels)) else None


def about(classes: Sequence[str]) -> str:
    """What to say of pictures with these classes, in a model's card; "" where nothing is known."""
    return "" if in_chinese(classes) is None else ABOUT_TINY_IMAGENET


def find_tiny_imagenet(data: str | Path) -> Path | None:
    """The official folder that `data` is or holds; None if there is none.

    Raises:
        DataError: it is still packed.
    """
    place = Path(data)
    for root in (place, place / FOLDER):
        if (root / _WNIDS).is_file() or (root / _ANNOTATIONS).is_file() or _is_half(root):
            return root
    packed = place if place.name == _ARCHIVE else place / _ARCHIVE
    if packed.is_file():
        raise DataError(
            "error.tiny.packed",
            "Tiny ImageNet is still packed; unzip {packed} and give its {folder}/.",
            packed=packed,
            folder=FOLDER,
        )
    return None


def _is_half(root: Path) -> bool:
    """Whether a folder without its lists is the official one all the same, by its pictures."""
    return (root / "val" / "images").is_dir() and not (root / "train" / "images").is_dir()


def read_tiny_imagenet(
    root: Path, split: Literal["train", "test"]
) -> tuple[list[Path], tuple[int, ...], tuple[str, ...]]:
    """Picture files, labels and class names of one split; the validation pictures are the test.

    Classes are in the order of their WNIDs, which is also that of class folders.

    Raises:
        DataError: a list, a class or pictures are missing.
    """
    wnids = sorted(_lines(root, _WNIDS))
    found = _training(root, wnids) if split == "train" else _validation(root, wnids)
    counts = Counter(label for _, label in found)
    usual = max(counts.values(), default=0)
    short = [f"{wnids[i]} ({counts[i]})" for i in range(len(wnids)) if counts[i] != usual]
    if short:
        raise DataError(
            "error.tiny.short",
            "Tiny ImageNet in {root} has {usual} {split} pictures a class, but not of {names}; "
            "{again}.",
            root=root,
            usual=usual,
            split=split,
            names=", ".join(short[:5]),
            again=_AGAIN,
        )
    return [path for path, _ in found], tuple(label for _, label in found), named(wnids)


def _training(root: Path, wnids: Sequence[str]) -> list[tuple[Path, int]]:
    folders = [root / "train" / wnid / "images" for wnid in wnids]
    missing = [folder.parent.name for folder in folders if not folder.is_dir()]
    if missing:
        raise DataError(
            "error.tiny.missing",
            "Tiny ImageNet in {root} has no training pictures of {names}, which {file} lists; "
            "{again}.",
            root=root,
            names=", ".join(missing[:5]),
            file=_WNIDS,
            again=_AGAIN,
        )
    return [(file, label) for label, folder in enumerate(folders) for file in _pictures(folder)]


def _validation(root: Path, wnids: Sequence[str]) -> list[tuple[Path, int]]:
    place = {wnid: label for label, wnid in enumerate(wnids)}
    rows = [line.split("\t") for line in _lines(root, _ANNOTATIONS)]
    odd = [row[0] for row in rows if len(row) < 2 or row[1] not in place]
    if odd:
        raise DataError(
            "error.tiny.odd",
            "{annotations} names no class of {file} for {names}; {again}.",
            annotations=root / _ANNOTATIONS,
            file=_WNIDS,
            names=", ".join(odd[:5]),
            again=_AGAIN,
        )
    folder = root / "val" / "images"
    files = {file.name: file for file in _pictures(folder)}
    listed = {name for name, *_ in rows}
    astray = sorted(listed ^ set(files))
    if astray:
        raise DataError(
            "error.tiny.astray",
            "{annotations} lists {count} pictures and {folder} has {files}: {names} only in one "
            "of them; {again}.",
            annotations=root / _ANNOTATIONS,
            count=len(listed),
            folder=folder,
            files=len(files),
            names=", ".join(astray[:5]),
            again=_AGAIN,
        )
    # A class's pictures together and by name, as in class folders.
    return sorted(((files[name], place[wnid]) for name, wnid, *_ in rows), key=_by_class)


def _by_class(found: tuple[Path, int]) -> tuple[int, str]:
    return found[1], found[0].name


def _pictures(folder: Path) -> list[Path]:
    return list(find_picture_files(folder, deep=False).files) if folder.is_dir() else []


def _lines(root: Path, name: str) -> list[str]:
    try:
        text = (root / name).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError):
        raise DataError(
            "error.tiny.read",
            "Tiny ImageNet in {root} has no {name} that can be read; {again}.",
            root=root,
            name=name,
            again=_AGAIN,
        ) from None
    return [line for line in text.splitlines() if line.strip()]
