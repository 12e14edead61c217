"""Names in any script: in the installed fonts that have their letters, else as numbers."""

from __future__ import annotations

import textwrap
import threading
import unicodedata
from collections.abc import Iterable
from functools import lru_cache
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from matplotlib.figure import Figure

NOTE = (
    "No installed font has the letters of some names: their classes stand as numbers from 0. "
    "A font such as Noto Sans shows them."
)
_LOCK = threading.Lock()
_known: dict[str, str | None] = {}  # a character: a family that has it


def families_for(text: str) -> list[str]:
    """Families of installed fonts for the characters of a text that matplotlib's own lacks."""
    needed = set() if text.isascii() else {c for c in text if _is_drawn(c)} - _own_letters()
    with _LOCK:
        _look_up(needed - _known.keys())
        return sorted({family for c in needed if (family := _known[c]) is not None})


def can_draw(text: str) -> bool:
    """Whether the machine's fonts have all the characters of a text."""
    families_for(text)
    own = _own_letters()
    return all(c in own or not _is_drawn(c) or _known.get(c) for c in text)


def class_name(label: str, number: int | None, longest: int | None = None) -> str:
    """A class's name as a figure can show it, up to `longest` columns of letters; where no font has
    its letters "class 7", or without a `number` "the target".

    >>> class_name("tabby, tabby cat", 281), class_name("golden retriever", 207, longest=10)
    ('tabby, tabby cat', 'golden…')
    """
    if not can_draw(label):
        return "the target" if number is None else f"class {number}"
    return label if longest is None else _shortened(label.partition(",")[0], longest)


def note_numbers(figure: Figure, labels: Iterable[str]) -> None:
    """Say in a figure that numbers stand for some of its names, where they do."""
    if not all(map(can_draw, labels)):
        wide = int(14 * figure.get_size_inches()[0])
        said = "\n".join(textwrap.wrap(NOTE, wide))
        figure.supxlabel(said, fontsize=7, x=0.01, ha="left")


def _shortened(label: str, longest: int) -> str:
    """Whole words of a label, or as much of its one word as there is room for."""
    if _columns(label) <= longest:
        return label
    if _columns(label) == len(label):
        words = textwrap.shorten(label, longest, placeholder="…")
        if len(words) > 1:
            return words
    while label and _columns(label) >= longest:
        label = label[:-1]
    return f"{label}…"


def _columns(text: str) -> int:
    """The room that a text takes: letters such as Chinese ones take that of two."""
    return sum(2 if unicodedata.east_asian_width(c) in "WF" else 1 for c in text)


def _is_drawn(character: str) -> bool:
    """Whether a character has a shape: spaces and marks of direction have none."""
    return not character.isspace() and unicodedata.category(character) not in ("Cf", "Cc")


def _own_letters() -> frozenset[str]:
    """What the fonts have that matplotlib is set to draw with."""
    import matplotlib

    return _letters_of(tuple(matplotlib.rcParams["font.family"]))


@lru_cache(maxsize=4)
def _letters_of(families: tuple[str, ...]) -> frozenset[str]:
    from matplotlib import font_manager

    files = [font_manager.findfont(font_manager.FontProperties(family=[one])) for one in families]
    return frozenset().union(*map(_letters_in, files))


def _letters_in(file: str) -> frozenset[str]:
    from matplotlib.ft2font import FT2Font

    return frozenset(map(chr, FT2Font(file).get_charmap()))


def _look_up(characters: set[str]) -> None:
    """Find a family for each of the characters, opening fonts until all have one."""
    left = set(characters)
    for file in _font_files() if left else ():
        found = left & _letters_of_file(file)
        family = _family(file) if found else None
        if family is not None:
            _known.update(dict.fromkeys(found, family))
            left -= found
        if not left:
            break
    _known.update(dict.fromkeys(left))


def _letters_of_file(file: str) -> frozenset[str]:
    """A font's characters; none where it can't be read."""
    try:
        return _letters_in(file)
    except (RuntimeError, OSError):
        return frozenset()


def _font_files() -> list[str]:
    """The machine's fonts, as they are now: matplotlib remembers those of an earlier day. Plain
    ones come before slanted and bold ones."""
    from matplotlib import font_manager

    special = ("bold", "italic", "oblique", "black", "light", "thin", "mono", "serif")
    files = font_manager.findSystemFonts()
    return sorted(files, key=lambda file: (sum(one in file.lower() for one in special), file))


def _family(file: str) -> str | None:
    """The family by which matplotlib finds a font; None where that name leads to another font."""
    from matplotlib import font_manager

    fonts = font_manager.fontManager
    if all(font.fname != file for font in fonts.ttflist):
        fonts.addfont(file)
    name = next(font.name for font in fonts.ttflist if font.fname == file)
    return name if font_manager.findfont(name) == file else None
