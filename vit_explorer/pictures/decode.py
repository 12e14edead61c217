"""Open any picture a person may hand over; `pictures.py` is its public face."""

from __future__ import annotations

import dataclasses
import hashlib
import io
import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray
from PIL import ExifTags, Image, ImageCms

from vit_explorer.errors import ExplorerError, OptionError, PictureError
from vit_explorer.pictures.bands import NPY, Bands, check_shape, read_npy, read_stack, shown_bands
from vit_explorer.pictures.sources import GIVE, read_source
from vit_explorer.pictures.stretch import Stretch, Stretched, check_stretch, find_stretch
from vit_explorer.pictures.tiff import read_samples
from vit_explorer.sentences import Sentence

MAX_BYTES = 50_000_000
MAX_PIXELS = 100_000_000
# Of all bands together.
MAX_VALUES = 400_000_000

# Raster formats only: of the others Pillow knows, some start programs (EPS), some hold no pixels.
FORMATS = ("JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF", "AVIF", "JPEG2000", "PPM")
# Levels of these are stretched; a palette's and the inks of CMYK are none.
_LEVELS = ("L", "RGB")

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

    `bands` (H, W, C) are the values as they came, where RGB doesn't hold them: more bands or an
    alpha channel, or more than 8 bits of grey; None elsewhere. In a `stack` they are bands of their
    own, of which `image` shows those of `shown` as red, green and blue. `stretch` says which values
    became black and white, None where 8 bits or floats from 0 to 1 were taken as they are.
    """

    image: Image.Image
    name: str
    sha256: str
    bands: NDArray[Any] | None = field(default=None, repr=False)
    stack: bool = False
    shown: Bands = (0, 1, 2)
    stretch: Stretched | None = None

    def __post_init__(self) -> None:
        if self.image.mode != "RGB":
            raise PictureError(
                "error.picture.mode",
                "A Picture holds an RGB image and this one is {mode}; make it with open_picture().",
                mode=self.image.mode,
            )

    @property
    def bytes(self) -> int:
        """Memory that its pixels take."""
        own = 0 if self.bands is None else self.bands.nbytes
        return 3 * self.image.width * self.image.height + own

    def told(self) -> dict[str, Any]:
        """What was chosen when it was opened, as plain JSON values: `bands` of a stack, and
        `stretch`."""
        told: dict[str, Any] = {}
        if self.stack and self.bands is not None:
            told["bands"] = {"count": self.bands.shape[2], "shown": list(self.shown)}
        if self.stretch is not None:
            told["stretch"] = dataclasses.asdict(self.stretch)
        return told

    def chosen(self) -> dict[str, Any]:
        """The `bands` and `stretch` by which `open_picture` opens it so, where not by default."""
        chosen: dict[str, Any] = {}
        count = self.bands.shape[2] if self.stack and self.bands is not None else 0
        if count and self.shown != shown_bands(count):
            chosen["bands"] = list(self.shown)
        if self.stretch is not None and self.stretch.rule != "auto":
            ends = [self.stretch.low, self.stretch.high]
            chosen["stretch"] = ends if self.stretch.rule == "given" else self.stretch.rule
        return chosen

    def opened(self, *, bands: Any = None, stretch: Stretch = "auto") -> Picture:
        """The same picture with other bands shown, or its values stretched otherwise.

        Args: as `open_picture` takes them.

        Raises:
            OptionError: it holds 8-bit colours alone, bands that are not there, an unknown stretch.
            PictureError: values outside what the stretch takes.
        """
        rule = check_stretch(stretch)
        if self.bands is None:
            raise OptionError(
                "error.picture.levels",
                "{name!r} holds 8-bit colours, of which no bands or stretch can be chosen.",
                name=self.name,
            )
        one = self.bands.shape[2] == 1
        values = self.bands[:, :, 0] if one else self.bands
        return _from_array(
            values, self.name, repr(self.name), self.sha256, bands, rule, pages=self.stack
        )

    def shares(self, channels: int) -> NDArray[np.float32] | None:
        """Its bands (H, W, C) from 0 to 1, where they are what a model of C channels takes."""
        if self.bands is None or self.bands.shape[2] != channels:
            return None
        ends = self.stretch or find_stretch(self.bands, "full", repr(self.name))
        return ends.apply(self.bands)

    def frames(self, channels: int) -> list[Image.Image]:
        """What a model of so many channels is given: RGB; grey ("L", the luma of ITU-R 601) for
        one channel; or a float image ("F", 0 to 255) for each band.

        Raises:
            PictureError: it has another number of bands.
        """
        shares = self.shares(channels)
        if shares is not None:
            levels = np.moveaxis(shares * np.float32(255), 2, 0)
            return [Image.fromarray(np.ascontiguousarray(band)) for band in levels]
        if channels in (1, 3) and not self.stack:
            return [self.image if channels == 3 else self.image.convert("L")]
        has = 3 if self.bands is None else self.bands.shape[2]
        wanted = Sentence(
            "part.array",
            "an array (H, W, {channels}), a .npy file of it, or TIFF of {channels} grey pages",
            channels=channels,
        )
        if channels in (1, 3):
            wanted = Sentence("part.colour", "a picture in colour or grey")
        raise PictureError(
            "error.picture.channels",
            "{name!r} has {has} channels and the model takes {channels}; give {wanted}.",
            name=self.name,
            has=has,
            channels=channels,
            wanted=wanted,
        )


def open_picture(
    source: str | os.PathLike[str] | bytes | BinaryIO | Image.Image | NDArray[Any] | Picture,
    *,
    name: str | None = None,
    bands: Any = None,
    stretch: Stretch = "auto",
) -> Picture:
    """Open a path, bytes, binary stream, PIL image or array as an upright, opaque RGB picture.

    Orientation from EXIF is applied, transparency is laid over white, CMYK and Lab become RGB, an
    animation gives its first frame. Colour profiles are not applied, as in the pipelines that
    models are trained with.

    Arrays are (H, W) or (H, W, C) of numbers, C being grey, grey and alpha, RGB, RGB and alpha, or
    bands from 5 on. A .npy file holds such an array; several grey pages of one size in a TIFF file
    are its bands, in their order. A model of C channels is given all of them.

    Args:
        name: what bytes or a stream are called, in the result and in errors.
        bands: which of C bands to show as red, green and blue, counted from 0, or one for grey;
            None shows the first three. C may then be any number.
        stretch: which values become black and white. "auto" leaves 8 bits as they are, takes
            16-bit values by the smallest of 8, 10, 12, 14 and 16 bits that holds them, floats from
            0 to 1 as they are, and all else from its lowest to its highest value; "full" takes the
            range of the type, "minmax" lowest to highest, and (low, high) those two values.

    Raises PictureError for more than `MAX_BYTES` or `MAX_PIXELS` (checked before decoding), for
    anything cut off, damaged or not in `FORMATS`, and for values outside the ranges above;
    OptionError for bands that are not there and an unknown stretch.
    """
    rule = check_stretch(stretch)
    if isinstance(source, Picture):
        return source
    if isinstance(source, Image.Image):
        shown = Path(str(getattr(source, "filename", ""))).name or "picture"
        return _from_image(source, shown, None, bands, rule)
    if isinstance(source, np.ndarray):
        return _from_array(source, "picture", "The array", None, bands, rule)
    data, shown = read_source(source, name, MAX_BYTES)
    sha256 = hashlib.sha256(data).hexdigest()
    if data.startswith(NPY):
        array = read_npy(data, shown)
        return _from_array(array, shown, repr(shown), sha256, bands, rule)
    samples = read_samples(data, shown, MAX_VALUES)
    if samples is not None:
        return _from_array(samples, shown, repr(shown), sha256, bands, rule, pages=True)
    return _from_image(_identify(data, shown), shown, sha256, bands, rule)


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
            "error.picture.svg",
            "{name!r} is an SVG drawing, which has no pixels; export it as PNG and give that.",
            name=name,
        )
    if data[4:8] == b"ftyp" and data[8:12] in (b"heic", b"heix", b"hevc", b"mif1", b"msf1"):
        raise PictureError(
            "error.picture.heic",
            "{name!r} is a HEIC photograph; export it as JPEG and give that.",
            name=name,
        )
    raise PictureError(
        "error.picture.none",
        "{name!r} is not a picture that can be read here; {give}.",
        name=name,
        give=GIVE,
    )


def _damaged(name: str) -> PictureError:
    return PictureError(
        "error.picture.damaged",
        "{name!r} is damaged or cut off; copy or download the picture again.",
        name=name,
    )


def _check_pixels(width: int, height: int, name: str) -> None:
    if width < 1 or height < 1:
        raise PictureError(
            "error.picture.pixels",
            "{name!r} has no pixels ({width}x{height}); {give}.",
            name=name,
            width=width,
            height=height,
            give=GIVE,
        )
    if width * height > MAX_PIXELS:
        raise PictureError(
            "error.picture.large",
            "{name!r} has {width}x{height} pixels, more than {limit} megapixels; make it smaller.",
            name=name,
            width=width,
            height=height,
            limit=MAX_PIXELS // 10**6,
        )


def _from_image(
    image: Image.Image, name: str, sha256: str | None, chosen: Any, rule: Stretch
) -> Picture:
    _check_pixels(*image.size, name)
    try:
        stack = read_stack(image, name, MAX_VALUES, _upright)
        if stack is not None:
            return _from_array(stack, name, repr(name), sha256, chosen, rule, pages=True)
        image.load()
        upright = _upright(image)
        if upright.mode[0] == "I" or upright.mode == "F":
            return _from_grey(upright, name, sha256, chosen, rule)
        if chosen is not None or (upright.mode in _LEVELS and rule not in ("auto", "full")):
            return _from_array(np.asarray(upright), name, repr(name), sha256, chosen, rule)
        rgb = _opaque_rgb(upright)
        bands = np.asarray(upright) if upright.mode in ("LA", "RGBA") else None
    except ExplorerError:
        raise
    except Exception as error:  # as in _identify
        raise _damaged(name) from error
    # Left in place, the orientation would turn the picture again when it is opened a second time.
    rgb.info = {}
    return Picture(rgb, name, sha256 or _digest(rgb.size, rgb.tobytes()), bands)


def _from_grey(
    image: Image.Image, name: str, sha256: str | None, chosen: Any, rule: Stretch
) -> Picture:
    values = np.asarray(image)
    if image.mode == "I" and values.min() >= 0 and values.max() <= 65535:
        values = values.astype(np.uint16)  # Pillow reads 16 bits into 32
    picture = _from_array(values, name, repr(name), sha256, chosen, rule)
    if "transparency" in image.info:
        clear = Image.fromarray(values == image.info["transparency"])
        picture.image.paste("white", mask=clear)
    return picture


def _from_array(
    array: NDArray[Any],
    name: str,
    subject: str,
    sha256: str | None,
    chosen: Any,
    rule: Stretch,
    *,
    pages: bool = False,
) -> Picture:
    """A picture of (H, W) or (H, W, C) values; `pages`: two or four are no alpha."""
    check_shape(array, subject, chosen)
    values = array[:, :, None] if array.ndim == 2 else array
    height, width, count = values.shape
    _check_pixels(width, height, name)
    if values.size > MAX_VALUES:
        raise PictureError(
            "error.bands.large",
            "{subject} has {count} bands of {width}x{height} pixels, more than {limit} million "
            "values; make it smaller.",
            subject=subject,
            count=count,
            width=width,
            height=height,
            limit=MAX_VALUES // 10**6,
        )
    ends = find_stretch(values, rule, subject)
    stack = count > 1 and (count > 4 or pages or chosen is not None)
    shown = shown_bands(count, chosen)
    if stack or count == 1:
        rgb = Image.fromarray(np.ascontiguousarray(ends.levels(values[:, :, list(shown)])))
    else:
        rgb = _opaque_rgb(Image.fromarray(np.ascontiguousarray(ends.levels(values))))
    plain = ends.is_plain(values.dtype)
    kept = stack or count in (2, 4) or (count == 1 and not plain)
    if sha256 is None:
        data = values.tobytes() if stack else rgb.tobytes()
        sha256 = _digest(values.shape if stack else rgb.size, data)
    return Picture(
        rgb, name, sha256, values if kept else None, stack, shown, None if plain else ends
    )


def _digest(shape: Any, data: bytes) -> str:
    return hashlib.sha256(f"{shape}".encode() + data).hexdigest()


def _upright(image: Image.Image) -> Image.Image:
    try:
        orientation = image.getexif().get(ExifTags.Base.Orientation, 1)
    except Exception:  # a broken EXIF block says nothing about the pixels: show them as they lie
        orientation = 1
    turn = _UPRIGHT.get(orientation)
    return image if turn is None else image.transpose(turn)


def _opaque_rgb(image: Image.Image) -> Image.Image:
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
