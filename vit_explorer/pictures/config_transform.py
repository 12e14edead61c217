"""The evaluation transform that timm's data configs describe, of Pillow and torch alone.

timm's own needs torchvision, which takes seconds to import; the results are equal to the bit.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch
from PIL import Image

# A strip of 1x5000 pixels whose short side is resized to 248 would fill a gigabyte.
_MAX_RESIZED = 64_000_000

Box = tuple[float, float, float, float]
Size = tuple[int, int]


@dataclass(frozen=True)
class ConfigTransform:
    """A PIL picture (RGB, L, or F from 0 to 255) → a normalised (C, H, W) float32 tensor.

    `input_size` (C, H, W); `mean` and `std` a channel, for pixels from 0 to 1; `interpolation`,
    `crop_pct` and `crop_mode` ("center", "squash", "border") as timm names them.
    """

    input_size: tuple[int, int, int]
    mean: tuple[float, ...]
    std: tuple[float, ...]
    interpolation: str
    crop_pct: float
    crop_mode: str

    def __call__(self, image: Image.Image) -> torch.Tensor:
        return self.run(image)[0]

    def run(self, image: Image.Image) -> tuple[torch.Tensor, Box]:
        """The tensor, and where it lies in the picture: left, top, right, bottom in its pixels.

        The box reaches outside the picture where the picture was padded.
        """
        image, box = self._tamed(image)
        resized = image.resize(
            self._resized(image.size), Image.Resampling[self.interpolation.upper()]
        )
        height, width = self.input_size[1:]
        left, right = centered(box[0], box[2], resized.width, width)
        top, bottom = centered(box[1], box[3], resized.height, height)
        values = self._normalised(self._cropped(resized, (width, height)))
        return values, (left, top, right, bottom)

    @property
    def _scaled(self) -> Size:
        """Width and height that the picture is resized to fill, of which the crop is a part."""
        height, width = (math.floor(side / self.crop_pct) for side in self.input_size[1:])
        return width, height

    def _resized(self, size: Size) -> Size:
        if self.crop_mode == "squash":
            return self._scaled
        ratios = [side / wanted for side, wanted in zip(size, self._scaled, strict=True)]
        if self.crop_mode != "border" and self._scaled[0] == self._scaled[1]:
            # As torchvision does: the short side is met, the long one rounded down.
            short, long = min(size), max(size)
            far = int(self._scaled[0] * long / short)
            return (self._scaled[0], far) if size[0] <= size[1] else (far, self._scaled[0])
        ratio = max(ratios) if self.crop_mode == "border" else min(ratios)
        width, height = (max(1, round(side / ratio)) for side in size)
        return width, height

    def _cropped(self, image: Image.Image, size: Size) -> Image.Image:
        if image.size == size:
            return image
        left, top = (_start(side, wanted) for side, wanted in zip(image.size, size, strict=True))
        if image.width >= size[0] and image.height >= size[1]:
            return image.crop((left, top, left + size[0], top + size[1]))
        frame = Image.new(image.mode, size, self._fill(image.mode))
        frame.paste(image, (-left, -top))
        return frame

    def _fill(self, mode: str) -> float | tuple[int, ...]:
        """What padding is filled with: the mean's colour in a border, else black."""
        levels = [round(255 * mean) if self.crop_mode == "border" else 0 for mean in self.mean]
        return tuple(levels) if mode == "RGB" else float(levels[0]) if mode == "F" else levels[0]

    def _normalised(self, image: Image.Image) -> torch.Tensor:
        values = torch.from_numpy(np.array(image))
        values = values.reshape(image.height, image.width, -1).permute(2, 0, 1).contiguous()
        shares = values.float().div(255)
        if image.mode == "F":
            shares = shares.clamp(0, 1)  # as 8 bits are cut off where bicubic overshoots
        mean, std = (torch.tensor(each).view(-1, 1, 1) for each in (self.mean, self.std))
        return shares.sub_(mean).div_(std)

    def _tamed(self, image: Image.Image) -> tuple[Image.Image, Box]:
        """The middle of a strip so thin that resizing it whole would fill the memory, else all."""
        (width, height), whole = image.size, (0.0, 0.0, float(image.width), float(image.height))
        if self.crop_mode in ("squash", "border"):
            return image, whole
        ratio = min(width / self._scaled[0], height / self._scaled[1])
        if width * height / ratio**2 <= _MAX_RESIZED:
            return image, whole
        # Twice what the crop needs leaves room for the filter; an even cut keeps the centre.
        keep = [math.ceil(2 * side * ratio) + 8 for side in self._scaled]
        left, top = (max(0, (s - k) // 2) for s, k in zip(image.size, keep, strict=True))
        middle = (left, top, width - left, height - top)
        return image.crop(middle), (float(left), float(top), float(middle[2]), float(middle[3]))


def _start(before: int, after: int) -> int:
    """Where a centred crop begins; torchvision rounds half to even, and down where it pads."""
    return round((before - after) / 2) if before >= after else -((after - before) // 2)


def centered(low: float, high: float, before: int, after: int) -> tuple[float, float]:
    """Where a centred crop begins and ends, of `after` out of `before` steps from low to high."""
    start, pixel = _start(before, after), (high - low) / before
    return low + start * pixel, low + (start + after) * pixel
