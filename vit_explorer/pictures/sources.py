"""A picture's bytes from what a person may hand over: a path, a stream, or bytes."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from vit_explorer.errors import PictureError
from vit_explorer.sentences import Sentence

GIVE = Sentence("part.picture", "give a JPEG, PNG, WebP, GIF, BMP, TIFF, AVIF or JPEG 2000 picture")


def read_source(source: Any, called: str | None, most: int) -> tuple[bytes, str]:
    """Bytes of a path, a stream or themselves, at most `most` of them, and what they are called.

    Raises:
        PictureError: no such file, empty, too many bytes, or nothing that has bytes.
    """
    if isinstance(source, (str, os.PathLike)):
        return _read_file(os.fspath(source), most)
    if isinstance(source, (bytes, bytearray, memoryview)):
        data, name = bytes(source), called or "picture"
    elif hasattr(source, "read"):
        data = source.read(most + 1)
        name = called or Path(str(getattr(source, "name", ""))).name or "picture"
        if not isinstance(data, bytes):
            raise PictureError(
                "error.picture.text",
                "{name!r} was opened as text; open it in binary mode ('rb').",
                name=name,
            )
    else:
        raise PictureError(
            "error.picture.kind",
            "A picture can't be made from {kind}; give a path, bytes, a binary file, a PIL "
            "image or a numpy array.",
            kind=type(source).__name__,
        )
    return _checked(data, name, most), name


def _read_file(path: str, most: int) -> tuple[bytes, str]:
    if not path:
        raise PictureError(
            "error.picture.path", "The picture's path is empty; give the path of a picture file."
        )
    if path.startswith(("http://", "https://")):
        raise PictureError(
            "error.picture.address",
            "{path!r} is a web address; download it and give the file's path.",
            path=path,
        )
    name = os.path.basename(path) or path
    try:
        if os.path.isdir(path):
            raise PictureError(
                "error.picture.folder",
                "{path!r} is a folder; give the path of one picture in it.",
                path=path,
            )
        if os.path.exists(path) and not os.path.isfile(path):
            raise PictureError(
                "error.picture.regular",
                "{path!r} is not a regular file; give the path of a picture file.",
                path=path,
            )
        with open(path, "rb") as file:
            data = file.read(most + 1)
    except FileNotFoundError:
        raise PictureError(
            "error.picture.missing", "There is no file {path!r}; check the path.", path=path
        ) from None
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise PictureError(
            "error.picture.unread",
            "{path!r} can't be read ({reason}); check the path.",
            path=path,
            reason=reason,
        ) from error
    return _checked(data, name, most), name


def _checked(data: bytes, name: str, most: int) -> bytes:
    if not data:
        raise PictureError(
            "error.picture.empty", "{name!r} is empty (0 bytes); {give}.", name=name, give=GIVE
        )
    if len(data) > most:
        raise PictureError(
            "error.picture.bytes",
            "{name!r} has more than {limit} MB; save it smaller, or as JPEG.",
            name=name,
            limit=most // 10**6,
        )
    return data
