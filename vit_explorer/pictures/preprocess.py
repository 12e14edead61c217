"""Open a picture, and prepare it for a model."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

import numpy as np
import torch
from PIL import Image

from vit_explorer.errors import ExplorerError, OptionError, PictureError
from vit_explorer.pictures.bands import shown_bands
from vit_explorer.pictures.config_transform import Box, ConfigTransform
from vit_explorer.pictures.data_config import checked_config
from vit_explorer.pictures.decode import FORMATS, MAX_BYTES, MAX_PIXELS, Picture, open_picture
from vit_explorer.sentences import Sentence

__all__ = [
    "FORMATS",
    "MAX_BYTES",
    "MAX_PIXELS",
    "Picture",
    "Prepared",
    "Preprocess",
    "open_picture",
]

_MAX_CROP = 4_000_000


@dataclass(frozen=True, eq=False)
class Prepared:
    """What a model is given for a picture.

    `pixels` (1, C, H, W) float32, normalised; `shown`: PIL RGB, exactly what the model saw of them,
    without the rows and columns at the end that no patch covers, in grey for a model of one channel
    and three bands of more; `box` (left, top, right, bottom): where `shown` lies in
    `picture.image`, in its pixels, with fractions, reaching outside where the model saw padding.
    `box_known` is False when a user's own transform moves pixels in a way that can't be followed;
    `box` is then the whole picture and an overlay is right on `shown` only.
    """

    pixels: torch.Tensor
    shown: Image.Image
    box: Box
    picture: Picture
    box_known: bool = True

    @cached_property
    def whole(self) -> Image.Image:
        """The whole picture as the model is given it: in grey for one channel (PIL RGB)."""
        image = self.picture.image
        return image.convert("L").convert("RGB") if self.pixels.shape[1] == 1 else image

    def covering(self, size: tuple[int, int]) -> Prepared:
        """The same, `shown` and `box` being the first rows and columns, `size`, of the pixels."""
        height, width = size
        if self.shown.size == (width, height):
            return self
        left, top, right, bottom = self.box
        across, down = width / self.shown.width, height / self.shown.height
        box = (left, top, left + (right - left) * across, top + (bottom - top) * down)
        return replace(
            self,
            shown=self.shown.crop((0, 0, width, height)),
            box=box if self.box_known else self.box,
        )

    @cached_property
    def crop(self) -> Image.Image:
        """What the model saw at the original's own resolution, up to 4 megapixels (PIL RGB).

        `shown` if the box is not known.
        """
        if not self.box_known:
            return self.shown
        left, top, right, bottom = self.box
        size = self._crop_size()
        width, height = self.picture.image.size
        inside = (max(left, 0.0), max(top, 0.0), min(right, width), min(bottom, height))
        if inside == self.box:
            return self.whole.resize(size, Image.Resampling.BICUBIC, box=inside)
        across, down = size[0] / (right - left), size[1] / (bottom - top)
        corner = (round((inside[0] - left) * across), round((inside[1] - top) * down))
        part = (
            max(1, round((inside[2] - inside[0]) * across)),
            max(1, round((inside[3] - inside[1]) * down)),
        )
        padded = self.shown.resize(size, Image.Resampling.BICUBIC)
        padded.paste(self.whole.resize(part, Image.Resampling.BICUBIC, box=inside), corner)
        return padded

    def _crop_size(self) -> tuple[int, int]:
        left, top, right, bottom = self.box
        shrink = min(1.0, math.sqrt(_MAX_CROP / ((right - left) * (bottom - top))))
        return max(1, round((right - left) * shrink)), max(1, round((bottom - top) * shrink))

    @property
    def bytes(self) -> int:
        """Memory it takes beside the whole picture's, with the crop, made or not."""
        crop = math.prod(self._crop_size()) if self.box_known else 0
        shown = self.shown.width * self.shown.height
        return self.pixels.numel() * self.pixels.element_size() + 3 * (shown + crop)


@dataclass(frozen=True)
class Preprocess:
    """From a Picture to a model's input; make one with `from_config` or `from_transform`.

    `input_size` (C, H, W); `mean`, `std` a channel, for pixels from 0 to 1; `interpolation`,
    `crop_pct` and `crop_mode` as timm names them, None for a user's own transform.
    """

    transform: Callable[[Any], Any] = field(repr=False, compare=False)
    input_size: tuple[int, int, int]
    mean: tuple[float, ...]
    std: tuple[float, ...]
    interpolation: str | None = None
    crop_pct: float | None = None
    crop_mode: str | None = None

    @classmethod
    def from_config(cls, config: Mapping[str, Any]) -> Preprocess:
        """Make timm's evaluation transform from its data config.

        Keys: input_size (C, H, W), mean, std, and optionally interpolation ("bicubic"), crop_pct
        (0.875) and crop_mode ("center", "squash" or "border"). The result equals
        `timm.data.create_transform(**config, is_training=False)` to the bit. Bands beyond RGB and
        grey go through it one by one as floats. One channel takes three means' mean.

        Raises OptionError for a missing key or a value outside its range.
        """
        plain = checked_config(config)
        return cls(ConfigTransform(**plain), **plain)

    @classmethod
    def from_transform(
        cls, transform: Callable[[Any], Any], size: int | tuple[int, int], channels: int = 3
    ) -> Preprocess:
        """Use a user's own callable from PIL RGB to a float tensor (C, H, W); `size` is (H, W).

        A picture of C bands of its own is given to it as an array (H, W, C) float32, 0 to 1.

        Mean and standard deviation are those of the Normalize step in its `.transforms`, else those
        by which it makes numbers of plain colours, else 0 and 1. The box is followed through
        torchvision's (v1, v2) and timm's resizes and centre crops, through those that change values
        alone, and through a callable that leaves the colours as they are; any other step makes it
        unknown (`Prepared.box_known`).

        Raises OptionError for a transform that can't be called.
        """
        from vit_explorer.pictures.user_transforms import normalisation

        if not callable(transform):
            raise OptionError(
                "error.transform.kind",
                "The transform is {kind}; give a callable that turns a PIL picture into a "
                "tensor (3, H, W).",
                kind=type(transform).__name__,
            )
        height, width = (size, size) if isinstance(size, int) else size
        mean, std = normalisation(transform, (channels, int(height), int(width)))
        return cls(transform, (channels, int(height), int(width)), mean, std)

    def to_dict(self) -> dict[str, Any]:
        """Return timm's data config as plain JSON values; `from_config` takes it back."""
        return {
            "input_size": list(self.input_size),
            "mean": list(self.mean),
            "std": list(self.std),
            "interpolation": self.interpolation,
            "crop_pct": self.crop_pct,
            "crop_mode": self.crop_mode,
        }

    def __call__(self, source: Any) -> Prepared:
        """Prepare anything `open_picture` takes.

        Raises PictureError if it can't be opened, has another number of channels than the model
        takes, or the transform fails or gives another size.
        """
        picture = open_picture(source)
        try:
            values, boxes = zip(*self._run(picture), strict=True)
        except ExplorerError:
            raise
        except Exception as error:  # a user's transform may raise anything
            raise PictureError(
                "error.transform.failed",
                "{name!r} could not be prepared for the model ({error}: {words}); try another "
                "picture, or check the transform.",
                name=picture.name,
                error=type(error).__name__,
                words=str(error).partition("\n")[0],
            ) from error
        value, box = torch.cat(values) if len(values) > 1 else values[0], boxes[0]
        pixels = self._checked_pixels(value)
        width, height = picture.image.size
        whole = (0.0, 0.0, float(width), float(height))
        shown = self._shown(pixels, picture.shown if picture.stack else None)
        return Prepared(pixels, shown, box or whole, picture, box is not None)

    def _run(self, picture: Picture) -> Iterator[tuple[Any, Box | None]]:
        """What comes of a picture and its box, or of each of its bands."""
        channels = self.input_size[0]
        if not isinstance(self.transform, ConfigTransform):
            from vit_explorer.pictures.user_transforms import follow

            value = picture.shares(channels) if picture.stack else picture.image
            given = picture.frames(channels) if value is None else value  # the first raises
            yield follow(self.transform, given, picture.image.size)
            return
        frames = picture.frames(channels)
        if frames[0].mode != "F":
            yield self.transform.run(frames[0])
            return
        for frame, mean, std in zip(frames, self.mean, self.std, strict=True):
            size = (1, *self.input_size[1:])
            yield replace(self.transform, input_size=size, mean=(mean,), std=(std,)).run(frame)

    def _checked_pixels(self, value: Any) -> torch.Tensor:
        expected = "x".join(map(str, self.input_size))
        if not isinstance(value, torch.Tensor):
            raise PictureError(
                "error.transform.gave",
                "The transform gave {kind}; it should end in a float tensor of {expected}, as "
                "with ToTensor().",
                kind=type(value).__name__,
                expected=expected,
            )
        pixels = value.as_subclass(torch.Tensor).float()
        pixels = pixels.unsqueeze(0) if pixels.ndim == 3 else pixels
        if tuple(pixels.shape) != (1, *self.input_size):
            got = "x".join(map(str, value.shape))
            grey = self.input_size[0] == 1 and tuple(value.shape[-3:]) == (3, *self.input_size[1:])
            hint = Sentence("part.grayscale", "; add Grayscale() to it") if grey else ""
            raise PictureError(
                "error.transform.shape",
                "The transform gave {got} values; the model expects {expected}{hint}.",
                got=got,
                expected=expected,
                hint=hint,
            )
        if not torch.isfinite(pixels).all():
            raise PictureError(
                "error.transform.finite",
                "The transform gave NaN or infinite values; check its Normalize.",
            )
        return pixels

    def _shown(self, pixels: torch.Tensor, bands: tuple[int, int, int] | None) -> Image.Image:
        # Undoing the normalisation shows whatever steps a transform has, and is exact to the level.
        mean, std = (torch.tensor(each).view(-1, 1, 1) for each in (self.mean, self.std))
        levels = pixels[0].cpu() * std + mean
        if max(self.mean) <= 1:
            levels = levels * 255
        low, high = float(levels.min()), float(levels.max())
        if not any(self.mean) and not -64 <= low <= high <= 319:
            # Normalised by a step that can't be seen: stretch, rather than clip to black and white.
            levels = (levels - low) * (255 / max(high - low, 1e-6))
        levels = levels[list(bands or shown_bands(len(levels)))]
        array = levels.clamp(0, 255).round().to(torch.uint8).permute(1, 2, 0).numpy()
        return Image.fromarray(np.ascontiguousarray(array))
