"""Augmentation of a whole batch at once, on tensors."""

from __future__ import annotations

import math
import random

import numpy as np
import torch
import torch.nn.functional as F
from timm.data.random_erasing import RandomErasing
from torch import Tensor
from torchvision.transforms import v2

from vit_explorer.training.recipe_sections import Augment


def seed_step(*place: int) -> None:
    """Seed every generator from a place in the run, such as (seed, epoch, step, process).

    A resumed run therefore draws the numbers of an uninterrupted one, with no state to keep.
    """
    torch.manual_seed(_mixed(place))
    random.seed(_mixed(place))  # timm's random erasing draws from Python's generator


def epoch_order(seed: int, epoch: int, pictures: int) -> Tensor:
    """The order of an epoch's pictures, the same in every process."""
    generator = torch.Generator().manual_seed(_mixed((seed, epoch)))
    return torch.randperm(pictures, generator=generator)


def _mixed(place: tuple[int, ...]) -> int:
    """One seed from several numbers, so that neighbouring places share nothing."""
    return int(np.random.SeedSequence(place).generate_state(1)[0])


def standardise(
    x: Tensor, size: tuple[int, int], mean: tuple[float, ...], std: tuple[float, ...]
) -> Tensor:
    """Pictures (B, 3, h, w) from 0 to 1 as a model's input (B, 3, H, W), resized (bicubic)."""
    if tuple(x.shape[-2:]) != size:
        x = F.interpolate(x, size, mode="bicubic", antialias=True).clamp(0, 1)
    return (x - x.new_tensor(mean)[:, None, None]) / x.new_tensor(std)[:, None, None]


def draw(options: Augment, pictures: int) -> Tensor:
    """How each picture is varied, (n, 7) from torch's generator: mirrored (0 or 1), zoom, shift
    right and down in pixels, and factors of brightness, contrast and saturation."""
    mirrored = (torch.rand(pictures) < 0.5 * options.flip).float()
    low, high = (math.log(side) for side in options.zoom)
    zoomed = torch.rand(pictures) < options.zoom_share * (low != high or low != 0)
    zoom = torch.where(zoomed, torch.empty(pictures).uniform_(low, high).exp(), 1.0)
    shift = (torch.rand(pictures, 2) * 2 - 1) * options.shift
    # A whole number of pixels leaves a picture that is not zoomed as sharp as it was.
    shift = torch.where(zoomed[:, None], shift, shift.round())
    strength = options.colour * (torch.rand(pictures, 1) < 0.5)  # half of the pictures
    factors = 1 + strength * (torch.rand(pictures, 3) * 2 - 1)
    return torch.cat((mirrored[:, None], zoom[:, None], shift, factors), dim=1)


def mirror(drawn: Tensor, chosen: Tensor) -> Tensor:
    """What `draw` gave, so that `vary` makes the mirror images of the chosen (n,) pictures."""
    other = drawn * drawn.new_tensor((-1, 1, -1, 1, 1, 1, 1)) + drawn.new_tensor((1, *[0] * 6))
    return torch.where(chosen[:, None], other, drawn)


def vary(pixels: Tensor, drawn: Tensor) -> Tensor:
    """Bytes (B, 3, h, w), varied as `draw` says, to values from 0 to 1."""
    x, drawn = pixels.float() / 255, drawn.to(pixels.device)
    x = torch.where(drawn[:, 0].bool()[:, None, None, None], x.flip(3), x)
    if bool((drawn[:, 1] != 1).any() | (drawn[:, 2:4] != 0).any()):
        x = _move(x, drawn[:, 1], drawn[:, 2:4])
    if bool((drawn[:, 4:] != 1).any()):
        x = _recolour(x, drawn[:, 4:])
    return x


def erase(x: Tensor, options: Augment) -> Tensor:
    """Fill a random rectangle of a share of a model's input pictures with noise."""
    if not options.erase:
        return x
    return RandomErasing(options.erase, mode="pixel", device=str(x.device))(x)


def make_mixing(options: Augment, classes: int) -> v2.Transform | None:
    """Mixup, cutmix or one of both by chance for (pixels, labels); None where both are off."""
    kinds = ((v2.MixUp, options.mixup), (v2.CutMix, options.cutmix))
    chosen = [kind(alpha=alpha, num_classes=classes) for kind, alpha in kinds if alpha]
    return v2.RandomChoice(chosen) if chosen else None


def _move(x: Tensor, zoom: Tensor, shift: Tensor) -> Tensor:
    """Shift and zoom every picture, with what lies outside reflected."""
    B, _, H, W = x.shape
    theta = x.new_zeros(B, 2, 3)
    theta[:, 0, 0] = theta[:, 1, 1] = zoom
    theta[:, :, 2] = shift * shift.new_tensor((2 / W, 2 / H))
    grid = F.affine_grid(theta, list(x.shape), align_corners=False)
    return F.grid_sample(x, grid, padding_mode="reflection", align_corners=False)


def _recolour(x: Tensor, factors: Tensor) -> Tensor:
    """Change brightness, contrast and saturation by factors (B, 3)."""
    brightness, contrast, saturation = factors[:, :, None, None, None].unbind(1)
    x = x * brightness
    middle = x.mean((1, 2, 3), keepdim=True)
    x = (x - middle) * contrast + middle
    grey = x.mean(1, keepdim=True)
    return ((x - grey) * saturation + grey).clamp(0, 1)
