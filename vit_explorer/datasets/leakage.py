"""The same picture in two splits: found by its pixels, whatever its file is called."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

from PIL import Image

from vit_explorer.datasets.sources import Source
from vit_explorer.errors import DataError
from vit_explorer.sentences import Sentence

_SHOWN = 3


def digest(image: Image.Image) -> bytes:
    """16 bytes that tell an RGB picture by its size and pixels, as it was opened: another name, a
    lossless format or other metadata change nothing; saved anew as JPEG it is another picture."""
    size = image.width.to_bytes(4, "big") + image.height.to_bytes(4, "big")
    return hashlib.blake2b(size + image.tobytes(), digest_size=16).digest()


def find_leakage(
    one: tuple[Source, Sequence[bytes]], other: tuple[Source, Sequence[bytes]], *, allowed: bool
) -> Sentence | None:
    """What to say of pictures that are in both of two splits, each with its pictures' digests.

    A model knows the answers about such pictures: it is measured as better than it is.

    Raises:
        DataError: there are some and that is not allowed.
    """
    place = {found: index for index, found in enumerate(one[1])}
    both = [(index, place[found]) for index, found in enumerate(other[1]) if found in place]
    if not both:
        return None
    pairs = [f"{other[0].name_of(index)} = {one[0].name_of(twin)}" for index, twin in both[:_SHOWN]]
    said = Sentence(
        "note.leakage",
        "{count:,} of {total:,} pictures of {test} are also in {train} ({names})",
        count=len(both),
        total=len(other[1]),
        test=other[0].name,
        train=one[0].name,
        names=", ".join(pairs),
    )
    if allowed:
        return said
    raise DataError(
        "error.data.leakage",
        "{said}; remove them from one of the two, or train with allow_leakage=true.",
        said=said,
    )
