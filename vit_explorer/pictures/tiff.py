"""TIFF files whose pixels have several bands each, which Pillow doesn't open.

Each is handed to Pillow as a grey picture that it does open: bands that lie apart one by one, bands
that lie pixel by pixel as one picture C times as wide. Compression and tiles stay Pillow's work.
"""

from __future__ import annotations

import io
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from PIL.TiffImagePlugin import ImageFileDirectory_v2, TiffImageFile

from vit_explorer.errors import PictureError
from vit_explorer.sentences import Sentence

WIDTH, HEIGHT, BITS, COMPRESSION, PHOTOMETRIC = 256, 257, 258, 259, 262
SAMPLES, ROWS, PLANAR, PREDICTOR, EXTRA, FORMAT = 277, 278, 284, 317, 338, 339
STRIPS, STRIP_BYTES, TILE_WIDTH, TILE_HEIGHT, TILES, TILE_BYTES = 273, 279, 322, 323, 324, 325
KEPT = (
    HEIGHT, COMPRESSION, ROWS, TILE_HEIGHT, STRIPS, STRIP_BYTES, TILES, TILE_BYTES,
)  # fmt: skip
LONG = 4
GREY = (0, 1)
ALPHA = (1, 2)
INTERLEAVED, APART = 1, 2
UNSIGNED, SIGNED = 1, 2
NO_PREDICTOR, DIFFERENCES = 1, 2

Directory = dict[int, Any]


def read_samples(data: bytes, name: str, most: int) -> NDArray[Any] | None:
    """The bands (H, W, C) of a TIFF file's first page; None of one that Pillow opens.

    Raises:
        PictureError: more than `most` values, bands of different depths, or damage.
    """
    if data[:4] not in (b"II*\0", b"MM\0*"):
        return None
    try:
        directory = _directory(data)
        bands = int(directory.get(SAMPLES, 1))
        grey = directory.get(PHOTOMETRIC) in GREY
        alpha = directory.get(EXTRA, (0,))[0] in ALPHA
        if bands == 1 or (bands <= 4 and not grey) or (bands == 2 and alpha):
            return None
        height, width = int(directory[HEIGHT]), int(directory[WIDTH])
        if bands * height * width > most:
            raise PictureError(
                "error.tiff.large",
                "{name!r} has {bands} bands of {width}x{height} pixels, more than {limit} "
                "million values; make it smaller.",
                name=name,
                bands=bands,
                width=width,
                height=height,
                limit=most // 10**6,
            )
        depths, predictor = directory[BITS], directory.get(PREDICTOR, NO_PREDICTOR)
        if len(set(depths)) > 1 or predictor not in (NO_PREDICTOR, DIFFERENCES):
            raise PictureError(
                "error.tiff.depths",
                "{name!r} holds bands of different depths, or floats as differences, which are "
                "not read; save it without predictor, or as a .npy file.",
                name=name,
            )
        if data[:2] == b"MM" and depths[0] > 16 and directory.get(COMPRESSION, 1) != 1:
            raise PictureError(
                "error.tiff.order",
                "{name!r} holds compressed 32-bit numbers, high byte first, which Pillow mixes "
                "up; save it uncompressed, or as a .npy file.",
                name=name,
            )
        read = _apart if directory.get(PLANAR, INTERLEAVED) == APART else _interleaved
        return read(data, directory, bands)
    except PictureError:
        raise
    except Exception as error:  # Pillow's readers raise a dozen kinds
        raise PictureError(
            "error.tiff.bands",
            "{name!r} is damaged, or holds its {count} bands in a way that is not read; save "
            "them as a .npy file or as pages.",
            name=name,
            count=_count(data),
        ) from error


def _count(data: bytes) -> str:
    try:
        return str(_directory(data).get(SAMPLES, 1))
    except Exception:  # as in read_samples
        return Sentence("part.few", "several")


def _directory(data: bytes) -> Directory:
    found = ImageFileDirectory_v2(data[:8])
    file = io.BytesIO(data)
    file.seek(found.next)
    found.load(file)
    return dict(found)


def _apart(data: bytes, directory: Directory, bands: int) -> NDArray[Any]:
    places, sizes = (TILES, TILE_BYTES) if TILES in directory else (STRIPS, STRIP_BYTES)
    count = len(directory[places]) // bands
    found = []
    for band in range(bands):
        own = slice(band * count, (band + 1) * count)
        parts = {places: directory[places][own], sizes: directory[sizes][own]}
        found.append(_grey(data, {**directory, **parts}, 1, directory.get(PREDICTOR, 1)))
    return np.stack(found, axis=2)


def _interleaved(data: bytes, directory: Directory, bands: int) -> NDArray[Any]:
    height, width = int(directory[HEIGHT]), int(directory[WIDTH])
    values = _grey(data, directory, bands, NO_PREDICTOR).reshape(height, width, bands)
    if directory.get(PREDICTOR, NO_PREDICTOR) == NO_PREDICTOR:
        return values
    # Each row of a tile, or the whole row, begins anew; sums wrap around as the type does.
    tile = int(directory.get(TILE_WIDTH, width))
    parts = [values[:, at : at + tile] for at in range(0, width, tile)]
    return np.concatenate([np.cumsum(part, axis=1, dtype=values.dtype) for part in parts], axis=1)


def _grey(data: bytes, directory: Directory, wide: int, predictor: int) -> NDArray[Any]:
    """Open a file's strips or tiles as one grey picture, `wide` times as wide."""
    grey = {tag: directory[tag] for tag in KEPT if tag in directory}
    for tag in (WIDTH, TILE_WIDTH):
        if tag in directory:
            grey[tag] = int(directory[tag]) * wide
    grey |= {PHOTOMETRIC: 1, SAMPLES: 1, PREDICTOR: predictor}
    bits, kind = directory[BITS][0], directory.get(FORMAT, (UNSIGNED,))[0]
    # Pillow reads signed bytes in some forms alone; unsigned ones are the same bits.
    signed = kind == SIGNED and bits < 32
    grey |= {BITS: bits, FORMAT: UNSIGNED if signed else kind}
    order: Literal["little", "big"] = "little" if data[:2] == b"II" else "big"
    at = len(data) + len(data) % 2
    padded = data[8:].ljust(at - 8, b"\0")
    file = data[:4] + at.to_bytes(4, order) + padded + _written(grey, at, order)
    image = TiffImageFile(io.BytesIO(file), "")
    image.load()
    values = np.asarray(image)
    values = values.astype(values.dtype.newbyteorder("="))
    return values.view(f"i{values.dtype.itemsize}") if signed else values


def _written(directory: Directory, at: int, order: Literal["little", "big"]) -> bytes:
    """A directory as a TIFF file has it at byte `at`: all numbers of 32 bits, long lists behind.

    Pillow's own writer would move the strips.
    """
    behind = at + 2 + 12 * len(directory) + 4
    entries, lists = b"", b""
    for tag, value in sorted(directory.items()):
        numbers = [int(one) for one in value] if isinstance(value, (tuple, list)) else [int(value)]
        packed = b"".join(number.to_bytes(4, order) for number in numbers)
        if len(numbers) > 1:
            place = (behind + len(lists)).to_bytes(4, order)
            lists += packed
            packed = place
        kind = LONG.to_bytes(2, order) + len(numbers).to_bytes(4, order)
        entries += tag.to_bytes(2, order) + kind + packed
    return len(directory).to_bytes(2, order) + entries + bytes(4) + lists
