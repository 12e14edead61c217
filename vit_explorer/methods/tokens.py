"""From picture to tokens: the patch grid, and the patch embedding worked out by hand."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import nn

from vit_explorer.errors import UnsupportedModelError
from vit_explorer.models.card import find_core
from vit_explorer.models.vit import embed_patches_by_hand
from vit_explorer.models.zoo import LoadedModel


def patch_grid(model: LoadedModel, picture: Any) -> npt.NDArray[np.uint8]:
    """The crop the model saw, cut into patches: (gh, gw, h, w, 3), values 0 to 255.

    `picture` is anything `open_picture` takes, or a `Prepared`. Raises PictureError.
    """
    prepared = model.prepare(picture)
    gh, gw = model.card.grid
    h, w = model.card.patch_size
    pixels = np.asarray(prepared.shown, dtype=np.uint8)  # (gh·h, gw·w, 3)
    return pixels.reshape(gh, h, gw, w, 3).swapaxes(1, 2).copy()


@dataclass(frozen=True)
class PatchEmbeddingCheck:
    """How far unfold-and-multiply is from the model's convolution: `error` beside the `largest`."""

    patches: int
    inputs: int
    dim: int
    error: float
    largest: float


@torch.no_grad()
def check_patch_embedding(model: LoadedModel, picture: Any) -> PatchEmbeddingCheck:
    """Embed the patches by the model's convolution and by hand, and compare.

    Raises:
        UnsupportedModelError: the model embeds patches by something other than one convolution.
    """
    prepared = model.prepare(picture)
    core = find_core(model.module)
    projection = getattr(getattr(core, "patch_embed", None), "proj", None)
    if not isinstance(projection, nn.Conv2d) or projection.stride != projection.kernel_size:
        raise UnsupportedModelError(
            f"{model.card.name} doesn't embed its patches by one convolution whose stride is the "
            "patch, so there is nothing to compare."
        )
    pixels = prepared.pixels.to(projection.weight)
    convolved = projection(pixels).flatten(2).transpose(1, 2)  # (1, n, D)
    by_hand = embed_patches_by_hand(pixels, projection)
    return PatchEmbeddingCheck(
        patches=convolved.shape[1],
        inputs=projection.weight[0].numel(),
        dim=convolved.shape[2],
        error=float((convolved - by_hand).abs().max()),
        largest=float(convolved.abs().max()),
    )
