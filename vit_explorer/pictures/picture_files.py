"""The pictures in a folder as people have it, and a count of what is left out."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Collection, Iterable
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path

from PIL import Image

from vit_explorer.pictures.decode import FORMATS
from vit_explorer.sentences import Sentence, joined

# What archives and systems leave in folders without a dot before its name, in lower case.
LEFTOVERS = frozenset(
    {
        "__macosx",
        "thumbs.db",
        "ehthumbs.db",
        "desktop.ini",
        "$recycle.bin",
        "system volume information",
        "lost+found",
        "@eadir",
    }
)
_NAMED = 4


@cache
def endings() -> frozenset[str]:
    """Endings, in lower case, of the files that `open_picture` opens."""
    Image.init()
    known = {end for end, kind in Image.registered_extensions().items() if kind in FORMATS}
    return frozenset({*known, ".npy"})


def is_hidden(name: str) -> bool:
    """Whether a file or folder is none of its owner's: `.x`, `._x`, and what systems leave."""
    return name.startswith(".") or name.casefold() in LEFTOVERS


@dataclass(frozen=True)
class LeftOut:
    """Files of a folder that are not read, counted by what they are called.

    `hidden` by the name of the hidden folder or file, `others` by the ending of what is no picture,
    `closed` by the name of a folder that can't be opened, and `beside` by why a picture has no
    place among the others.
    """

    hidden: Counter[str] = field(default_factory=Counter)
    others: Counter[str] = field(default_factory=Counter)
    closed: Counter[str] = field(default_factory=Counter)
    beside: Counter[str] = field(default_factory=Counter)

    def __add__(self, other: LeftOut) -> LeftOut:
        return LeftOut(
            self.hidden + other.hidden,
            self.others + other.others,
            self.closed + other.closed,
            self.beside + other.beside,
        )

    def sentence(self) -> Sentence | None:
        """What was left out, with counts and names; None where nothing was."""
        parts: list[str] = []
        if self.hidden:
            parts.append(
                Sentence(
                    "part.left.hidden",
                    "{count:,} hidden or left behind by a program ({names})",
                    count=self.hidden.total(),
                    names=_named(self.hidden),
                )
            )
        if self.others:
            parts.append(
                Sentence(
                    "part.left.others",
                    "{count:,} that are no pictures ({names})",
                    count=self.others.total(),
                    names=_named(self.others),
                )
            )
        if self.closed:
            parts.append(
                Sentence(
                    "part.left.closed",
                    "{count:,} folders that can't be opened ({names})",
                    count=self.closed.total(),
                    names=_named(self.closed),
                )
            )
        parts += [
            Sentence("part.left.beside", "{count:,} {why}", count=count, why=why)
            for why, count in self.beside.items()
        ]
        if not parts:
            return None
        return Sentence("note.left_out", "left out: {parts}", parts=joined(parts))

    def parenthesis(self) -> str:
        """The same within another sentence, "" where nothing was left out."""
        said = self.sentence()
        return "" if said is None else Sentence("part.parenthesis", " ({said})", said=said)


@dataclass(frozen=True)
class PictureFiles:
    """Pictures of a folder and its subfolders, in the order of their paths, and the rest."""

    files: tuple[Path, ...]
    left_out: LeftOut


def find_picture_files(
    root: Path, *, skipped: Path | None = None, known: Collection[str] = (), deep: bool = True
) -> PictureFiles:
    """Pictures in a folder and, if `deep`, its subfolders by their endings.

    Hidden ones, what archives and editors leave, and what is no picture are counted. A link to a
    folder is followed; a folder that is reached twice is read once.

    Args:
        skipped: a folder that is not searched, such as one for results.
        known: names of files at the root that are read otherwise, and so not left out.
    """
    left, seen = LeftOut(), {_identity(root)}
    avoided = None if skipped is None else _identity(skipped)
    files: list[Path] = []

    def closed(error: OSError) -> None:
        left.closed[Path(str(error.filename)).name] += 1

    for place, folders, names in os.walk(root, followlinks=True, onerror=closed):
        here, inner = Path(place), []
        for name in folders:
            folder = here / name
            same = _identity(folder)
            if is_hidden(name):
                left.hidden[name] += _files_in(folder)
            elif deep and same not in seen and same != avoided:
                seen.add(same)
                inner.append(name)
        folders[:] = inner
        for name in names:
            if is_hidden(name):
                left.hidden[name] += 1
            elif Path(name).suffix.casefold() in endings():
                files.append(here / name)
            elif here != root or name not in known:
                left.others[Path(name).suffix.casefold() or name] += 1
    return PictureFiles(tuple(sorted(files)), left)


def folders_in(root: Path) -> list[Path]:
    """The folders right in a folder that are its owner's, by name."""
    return sorted(path for path in root.iterdir() if path.is_dir() and not is_hidden(path.name))


def merged(parts: Iterable[LeftOut]) -> LeftOut:
    """All that was left out of several folders."""
    return sum(parts, LeftOut())


def beside(why: str, files: Collection[Path]) -> LeftOut:
    """Pictures that have no place among the others, and why."""
    return LeftOut(beside=Counter({why: len(files)} if files else {}))


def _identity(folder: Path) -> str:
    return os.path.realpath(folder)


def _files_in(folder: Path) -> int:
    return sum(len(names) for _, _, names in os.walk(folder))


def _named(counts: Counter[str]) -> str:
    """The commonest names with their counts: ".ipynb_checkpoints ×40, .DS_Store and 2 more"."""
    ordered = sorted(counts.items(), key=lambda one: (-one[1], one[0]))
    shown = [name if count == 1 else f"{name} ×{count:,}" for name, count in ordered]
    if len(shown) <= _NAMED:
        return ", ".join(shown)
    more = Sentence("part.more.count", "{count:,} more", count=len(shown) - _NAMED)
    return Sentence("list.and", "{others} and {last}", others=", ".join(shown[:_NAMED]), last=more)
