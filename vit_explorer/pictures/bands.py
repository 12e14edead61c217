"""Pictures of any number of bands: arrays (H, W, C), .npy files, TIFF files of several pages."""

from __future__ import annotations

import io
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from vit_explorer.errors import OptionError, PictureError

NPY = b"\x93NUMPY"
# A page of one of these is a band; a page in colour is a picture of its own.
BAND_MODES = ("L", "I", "F", "I;16", "I;16B", "I;16L", "I;16N")

Bands = tuple[int, int, int]


def read_npy(data: bytes, name: str) -> NDArray[Any]:
    """The array in a .npy file's bytes; nothing in it is ever run. Raises PictureError."""
    try:
        array = np.load(io.BytesIO(data), allow_pickle=False)
    except Exception as error:  # numpy raises ValueError, EOFError, SyntaxError and more
        if "allow_pickle" in str(error):
            raise PictureError(
                "error.npy.objects",
                "{name!r} holds Python objects, which are never loaded; save an array of "
                "numbers (H, W, C).",
                name=name,
            ) from None
        raise PictureError(
            "error.npy.damaged", "{name!r} is damaged or cut off; save the array again.", name=name
        ) from error
    if not isinstance(array, np.ndarray):
        raise PictureError(
            "error.npy.several",
            "{name!r} holds no single array; save one (H, W, C) with numpy.save.",
            name=name,
        )
    return array


def read_stack(
    image: Image.Image, name: str, most: int, turn: Callable[[Image.Image], Image.Image]
) -> NDArray[Any] | None:
    """The pages of a TIFF file as bands (H, W, C), each made upright; None for another picture.

    Pages are bands where there are several, all grey and of one size. Others may be a scan's pages
    or small copies of the first, which alone is then the picture.

    Raises:
        PictureError: more than `most` values.
    """
    if image.format != "TIFF" or image.mode not in BAND_MODES:
        return None
    pages, size, mode = getattr(image, "n_frames", 1), image.size, image.mode
    alike = pages > 1
    for page in range(1, pages):
        image.seek(page)
        alike = alike and image.size == size and image.mode == mode
    image.seek(0)
    if not alike:
        return None
    if pages * size[0] * size[1] > most:
        raise PictureError(
            "error.pages.large",
            "{name!r} has {pages} pages of {height}x{width} pixels, more than {limit} million "
            "values; make it smaller.",
            name=name,
            pages=pages,
            height=size[0],
            width=size[1],
            limit=most // 10**6,
        )
    bands = []
    for page in range(pages):
        image.seek(page)
        bands.append(np.asarray(turn(image)))
    return np.stack(bands, axis=2)


def check_shape(array: NDArray[Any], subject: str, chosen: Any = None) -> None:
    """Refuse what is not (H, W) or (H, W, C); `chosen` bands say that C is last.

    Raises:
        PictureError: no pixels, another number of dimensions, or the channels first.
    """
    shape = "x".join(map(str, array.shape)) or "()"
    if array.size == 0:
        raise PictureError(
            "error.array.empty",
            "{subject} has no pixels (shape {shape}); give at least one.",
            subject=subject,
            shape=shape,
        )
    if array.ndim not in (2, 3):
        raise PictureError(
            "error.array.shape",
            "{subject} has shape {shape}; a picture is (H, W) or (H, W, C).",
            subject=subject,
            shape=shape,
        )
    if array.ndim == 2 or array.shape[2] <= 4 or chosen is not None:
        return
    first = array.shape[0]
    if first in (1, 3, 4) or first < min(array.shape[1:]):
        raise PictureError(
            "error.array.first",
            "{subject} has its channels first ({shape}); move them last, as in "
            "array.transpose(1, 2, 0).",
            subject=subject,
            shape=shape,
        )


def shown_bands(count: int, chosen: Any = None) -> Bands:
    """Which of C bands are shown as red, green and blue: those chosen, else the first three, or
    the first as grey where there are fewer. Raises OptionError."""
    if chosen is None:
        return (0, 1, 2) if count >= 3 else (0, 0, 0)
    whole = isinstance(chosen, (tuple, list)) and all(type(band) is int for band in chosen)
    if not whole or len(chosen) not in (1, 3) or not all(0 <= band < count for band in chosen):
        raise OptionError(
            "error.bands.chosen",
            "The bands to show were {chosen!r}, expected three of 0 to {last} for red, green "
            "and blue, or one for grey.",
            chosen=chosen,
            last=count - 1,
        )
    red, green, blue = chosen if len(chosen) == 3 else chosen * 3
    return red, green, blue
