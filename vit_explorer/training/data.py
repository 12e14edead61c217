"""Pictures decoded for training: all of them at one size, in memory."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from PIL import Image
from timm.data import create_transform
from torch import Tensor
from torchvision.transforms import Compose

from vit_explorer.datasets.leakage import digest, find_leakage
from vit_explorer.datasets.sources import Source, find_splits, find_validation, hold_out
from vit_explorer.errors import DataError
from vit_explorer.sentences import Sentence

_MAX_MEMORY = 8_000_000_000


@dataclass(frozen=True)
class PictureSet:
    """Decoded pictures: `pixels` (n, 3, H, W) uint8, `labels` (n,) int64, and a digest of each as
    it was before it was fitted."""

    pixels: Tensor
    labels: Tensor
    classes: tuple[str, ...]
    digests: tuple[bytes, ...] = ()

    def __len__(self) -> int:
        return len(self.labels)


class Splits(NamedTuple):
    """The pictures of a run: those learned from, those that an epoch is measured on, and the test's
    where these are others."""

    train: Source
    measured: Source
    test: Source | None


def find_run_splits(data: str | Path, held_out: float) -> Splits:
    """The pictures of a run. Its epochs are measured on the data's own validation split where there
    is one beside the test's, else on a share of the training pictures that is held out, else on the
    test's.

    Raises:
        DataError: as `find_splits` and `hold_out`.
    """
    train, test = find_splits(data)
    validation = find_validation(data)
    if validation is not None:
        return Splits(train, validation, test)
    return Splits(*hold_out(train, held_out), test) if held_out else Splits(train, test, None)


def decode_splits(
    splits: Splits, image_size: tuple[int, int], allow_leakage: bool, progress: bool = False
) -> tuple[PictureSet, PictureSet, list[Sentence]]:
    """The pictures learned from and those measured on, decoded, and what is to be said of them.

    Raises:
        DataError: as `decode`, or the same picture in two splits, unless that is allowed.
    """
    train, measured = (decode(one, image_size, progress) for one in splits[:2])
    notes = dict.fromkeys(note for one in splits if one is not None for note in one.notes)
    learned = (splits.train, train.digests)
    leaks = [find_leakage(learned, (splits.measured, measured.digests), allowed=allow_leakage)]
    if splits.test is not None and not allow_leakage:
        tested = (splits.test, [digest(image) for image in splits.test.pictures(progress)])
        for one in (learned, (splits.measured, measured.digests)):
            find_leakage(one, tested, allowed=False)
    return train, measured, [*notes, *(leak for leak in leaks if leak is not None)]


def decode(source: Source, image_size: tuple[int, int], progress: bool = False) -> PictureSet:
    """Decode all pictures to one size and keep them as bytes.

    Pictures that all share one size, no larger than (H, W) and of its shape, keep it, to be
    enlarged a batch at a time; others are resized (bicubic, short side) and cropped at the centre
    to (H, W).

    Raises:
        DataError: unreadable pictures, or more than memory should hold.
    """
    height, width = image_size
    labels = torch.tensor(source.labels)
    if isinstance(source.items, np.ndarray) and _enlarges(source.items.shape[1:3], image_size):
        pixels = torch.from_numpy(source.items).permute(0, 3, 1, 2).contiguous()
        digests = tuple(map(digest, source.pictures()))
        return PictureSet(pixels, labels, source.classes, digests)
    # timm's evaluation transform up to the step that makes it a tensor.
    whole = create_transform((3, height, width), interpolation="bicubic", crop_pct=1.0)
    fit = Compose(whole.transforms[:2])
    pixels = torch.empty(0, 3, 0, 0)
    found: list[bytes] = []
    for index, image in enumerate(source.pictures(progress)):
        size = (image.height, image.width)
        found.append(digest(image))
        if index == 0:
            pixels = _room(source, size if _enlarges(size, image_size) else image_size)
        elif pixels.shape[2:] not in (size, image_size):
            # The first that breaks a common size: what came before is fitted after all.
            common, pixels = pixels, _room(source, image_size)
            for place, kept in enumerate(common[:index]):
                pixels[place] = _as_bytes(fit(Image.fromarray(kept.permute(1, 2, 0).numpy())))
        pixels[index] = _as_bytes(image if size == pixels.shape[2:] else fit(image))
    return PictureSet(pixels, labels, source.classes, tuple(found))


def _enlarges(size: tuple[int, ...], image_size: tuple[int, int]) -> bool:
    """Whether pictures of this size need no cropping to become (H, W)."""
    return size[0] <= image_size[0] and size[0] * image_size[1] == size[1] * image_size[0]


def _room(source: Source, size: tuple[int, int]) -> Tensor:
    """Memory for all pictures at one size."""
    needed = len(source) * size[0] * size[1] * 3
    if needed > _MAX_MEMORY:
        raise DataError(
            "error.data.memory",
            "{data} needs {needed:.0f} GB at {height}x{width} pixels, and {limit:.0f} GB is the "
            "limit; choose a smaller image size or fewer pictures.",
            data=source.name,
            needed=needed / 1e9,
            height=size[0],
            width=size[1],
            limit=_MAX_MEMORY / 1e9,
        )
    return torch.empty((len(source), 3, *size), dtype=torch.uint8)


def _as_bytes(image: Image.Image) -> Tensor:
    return torch.from_numpy(np.array(image)).permute(2, 0, 1)
