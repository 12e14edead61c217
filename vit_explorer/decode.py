"""Open any picture a person may hand over; `pictures.py` is its public face."""

from __future__ import annotations

import hashlib
import io
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray
from PIL import ExifTags, Image, ImageCms

from vit_explorer.errors import ExplorerError, PictureError

MAX_BYTES = 50_000_000
MAX_PIXELS = 100_000_000

# Raster formats only: of the others Pillow knows, some start programs (EPS), some hold no pixels.
FORMATS = ("JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF", "AVIF", "JPEG2000", "PPM")
_GIVE = "give a JPEG, PNG, WebP, GIF, BMP, TIFF, AVIF or JPEG 2000 picture"

_UPRIGHT = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}


@dataclass(frozen=True, eq=False)
class Picture:
    """A picture, upright and opaque.

    `image` is PIL RGB with the EXIF orientation applied and transparency laid over white; `name` is
    a file name without folder, or "picture"; `sha256` is of the file's bytes, or of size and pixels
    for a picture that was never a file.
    """

    image: Image.Image
    name: str
    sha256: str

    def __post_init__(self) -> None:
        if self.image.mode != "RGB":
            raise PictureError(
                f"A Picture holds an RGB image and this one is {self.image.mode}; "
                "make it with open_picture()."
            )


def open_picture(
    source: str | os.PathLike[str] | bytes | BinaryIO | Image.Image | NDArray[Any] | Picture,
    *,
    name: str | None = None,
) -> Picture:
    """Open a path, bytes, binary stream, PIL image or array as an upright, opaque RGB picture.

    Orientation from EXIF is applied, transparency is laid over white, 16-bit grey is scaled (0 to
    65535 becomes 0 to 255; Pillow's mode I counts as 16-bit), CMYK and Lab become RGB, an animation
    gives its first frame. Arrays are (H, W) or (H, W, 1 to 4) with alpha last: uint8, uint16,
    booleans, other integers from 0 to 255, or floats from 0 to 1. Colour profiles are not applied,
    as in the pipelines that models are trained with. `name` is what bytes or a stream are called,
    in the result and in errors.

    Raises PictureError for more than `MAX_BYTES` or `MAX_PIXELS` (checked before decoding), for
    anything cut off, damaged or not in `FORMATS`, and for arrays outside the ranges above.
    """
    if isinstance(source, Picture):
        return source
    if isinstance(source, Image.Image):
        shown = Path(str(getattr(source, "filename", ""))).name or "picture"
        return _from_image(source, shown)
    if isinstance(source, np.ndarray):
        return _from_image(_array_image(source), "picture")
    data, shown = _read(source, name)
    return _from_image(_identify(data, shown), shown, hashlib.sha256(data).hexdigest())


def _read(source: Any, called: str | None) -> tuple[bytes, str]:
    if isinstance(source, (str, os.PathLike)):
        return _read_file(os.fspath(source))
    if isinstance(source, (bytes, bytearray, memoryview)):
        data, name = bytes(source), called or "picture"
    elif hasattr(source, "read"):
        data = source.read(MAX_BYTES + 1)
        name = called or Path(str(getattr(source, "name", ""))).name or "picture"
        if not isinstance(data, bytes):
            raise PictureError(f"{name!r} was opened as text; open it in binary mode ('rb').")
    else:
        raise PictureError(
            f"A picture can't be made from {type(source).__name__}; "
            "give a path, bytes, a binary file, a PIL image or a numpy array."
        )
    return _checked(data, name), name


def _read_file(path: str) -> tuple[bytes, str]:
    if not path:
        raise PictureError("The picture's path is empty; give the path of a picture file.")
    if path.startswith(("http://", "https://")):
        raise PictureError(f"{path!r} is a web address; download it and give the file's path.")
    name = os.path.basename(path) or path
    try:
        if os.path.isdir(path):
            raise PictureError(f"{path!r} is a folder; give the path of one picture in it.")
        if os.path.exists(path) and not os.path.isfile(path):
            raise PictureError(f"{path!r} is not a regular file; give the path of a picture file.")
        with open(path, "rb") as file:
            data = file.read(MAX_BYTES + 1)
    except FileNotFoundError:
        raise PictureError(f"There is no file {path!r}; check the path.") from None
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise PictureError(f"{path!r} can't be read ({reason}); check the path.") from error
    return _checked(data, name), name


def _checked(data: bytes, name: str) -> bytes:
    if not data:
        raise PictureError(f"{name!r} is empty (0 bytes); {_GIVE}.")
    if len(data) > MAX_BYTES:
        raise PictureError(
            f"{name!r} has more than {MAX_BYTES // 10**6} MB; save it smaller, or as JPEG."
        )
    return data


def _identify(data: bytes, name: str) -> Image.Image:
    """Read the header alone: `Image.open` would warn on stderr, or refuse without naming a size."""
    Image.init()
    for kind in FORMATS:
        factory, accept = Image.OPEN.get(kind, (None, None))
        if factory and accept and accept(data[:16]) is True:
            try:
                return factory(io.BytesIO(data), "")
            except Exception as error:  # decoders raise a dozen kinds, struct.error to SyntaxError
                raise _damaged(name) from error
    start = data[:4096].lstrip(b"\xef\xbb\xbf \t\r\n").lower()
    if start.startswith(b"<") and b"<svg" in start:
        raise PictureError(
            f"{name!r} is an SVG drawing, which has no pixels; export it as PNG and give that."
        )
    if data[4:8] == b"ftyp" and data[8:12] in (b"heic", b"heix", b"hevc", b"mif1", b"msf1"):
        raise PictureError(f"{name!r} is a HEIC photograph; export it as JPEG and give that.")
    raise PictureError(f"{name!r} is not a picture that can be read here; {_GIVE}.")


def _damaged(name: str) -> PictureError:
    return PictureError(f"{name!r} is damaged or cut off; copy or download the picture again.")


def _from_image(image: Image.Image, name: str, sha256: str | None = None) -> Picture:
    width, height = image.size
    if width < 1 or height < 1:
        raise PictureError(f"{name!r} has no pixels ({width}x{height}); {_GIVE}.")
    if width * height > MAX_PIXELS:
        raise PictureError(
            f"{name!r} has {width}x{height} pixels, more than {MAX_PIXELS // 10**6} megapixels; "
            "make it smaller."
        )
    try:
        image.load()
        upright = _upright(image)
        rgb = _opaque_rgb(upright, name)
    except ExplorerError:
        raise
    except Exception as error:  # as in _identify
        raise _damaged(name) from error
    # Left in place, the orientation would turn the picture again when it is opened a second time.
    rgb.info = {}
    if sha256 is None:
        sha256 = hashlib.sha256(f"{rgb.size}".encode() + rgb.tobytes()).hexdigest()
    return Picture(rgb, name, sha256)


def _upright(image: Image.Image) -> Image.Image:
    try:
        orientation = image.getexif().get(ExifTags.Base.Orientation, 1)
    except Exception:  # a broken EXIF block says nothing about the pixels: show them as they lie
        orientation = 1
    turn = _UPRIGHT.get(orientation)
    return image if turn is None else image.transpose(turn)


def _opaque_rgb(image: Image.Image, name: str) -> Image.Image:
    if image.mode[0] == "I" or image.mode == "F":
        values = np.asarray(image)
        if image.mode == "I":
            if values.min() < 0 or values.max() > 65535:
                raise PictureError(
                    f"{name!r} holds values from {values.min()} to {values.max()}, outside 16-bit "
                    "grey (0 to 65535); save it as 8-bit or 16-bit."
                )
            values = values.astype(np.uint16)
        grey = _eight_bit(values, name)
        if "transparency" in image.info:
            grey = np.where(values == image.info["transparency"], np.uint8(255), grey)
        return Image.fromarray(grey).convert("RGB")
    if image.mode == "LAB":
        lab = ImageCms.ImageCmsProfile(ImageCms.createProfile("LAB"))
        srgb = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB"))
        return ImageCms.ImageCmsTransform(lab, srgb, "LAB", "RGB").apply(image)
    if image.mode == "La":
        image = image.convert("LA")
    if image.has_transparency_data:
        rgba = image.convert("RGBA")
        white = Image.new("RGBA", rgba.size, "white")
        return Image.alpha_composite(white, rgba).convert("RGB")
    return image.convert("RGB")


def _array_image(array: NDArray[Any]) -> Image.Image:
    shape = "x".join(map(str, array.shape))
    if array.size == 0:
        raise PictureError(f"The array has no pixels (shape {shape}); give at least one.")
    if array.ndim == 3 and array.shape[2] not in (1, 2, 3, 4) and array.shape[0] in (1, 3, 4):
        raise PictureError(
            f"The array has its channels first ({shape}); "
            "move them last, as in array.transpose(1, 2, 0)."
        )
    if array.ndim != 2 and not (array.ndim == 3 and array.shape[2] in (1, 2, 3, 4)):
        raise PictureError(
            f"The array has shape {shape or '()'}; a picture is (H, W), (H, W, 3) or (H, W, 4)."
        )
    levels = _eight_bit(array, "The array")
    if levels.ndim == 3 and levels.shape[2] == 1:
        levels = levels[:, :, 0]
    return Image.fromarray(np.ascontiguousarray(levels))


def _eight_bit(values: NDArray[Any], name: str) -> NDArray[np.uint8]:
    """Scale by the range the type stands for, never by the values found."""
    subject = name if name == "The array" else repr(name)
    if values.dtype == np.uint8:
        return values
    if values.dtype == bool:
        return values.astype(np.uint8) * np.uint8(255)
    if values.dtype.kind == "u" and values.dtype.itemsize == 2:
        return ((values.astype(np.uint32) + 128) // 257).astype(np.uint8)
    if values.dtype.kind not in "iuf":
        raise PictureError(
            f"{subject} holds {values.dtype}; a picture holds uint8, uint16 or floats from 0 to 1."
        )
    if not np.isfinite(values).all():
        raise PictureError(f"{subject} holds NaN or infinite values; replace them first.")
    low, high = float(values.min()), float(values.max())
    if values.dtype.kind == "f":
        # A quarter of a level of slack: resampled pictures end a rounding error outside 0 to 1.
        if low < -1e-3 or high > 1 + 1e-3:
            raise PictureError(
                f"{subject} holds floats from {low:.4g} to {high:.4g}; scale them to 0 to 1."
            )
        return np.rint(np.clip(values.astype(np.float64), 0, 1) * 255).astype(np.uint8)
    if low < 0 or high > 255:
        raise PictureError(
            f"{subject} holds {values.dtype} from {low:.0f} to {high:.0f}; "
            "scale it to 0 to 255, or convert it to uint16."
        )
    return values.astype(np.uint8)
