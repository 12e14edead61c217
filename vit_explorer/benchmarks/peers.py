"""What others do for the same maps, restated or called: the peers beside which ours are timed."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

import numpy as np
import torch
from captum.attr import LayerActivation, LayerGradientXActivation
from numpy.typing import NDArray
from pytorch_grad_cam import GradCAM
from pytorch_grad_cam.utils.model_targets import ClassifierOutputTarget
from timm.utils import AttentionExtract
from torch import Tensor

import vit_explorer as vx
from vit_explorer.models.capture import capture


class ExplicitRollout:
    """Rollout as its much-copied script does it: fused attention off, every matrix kept."""

    def __init__(self, model: vx.LoadedModel) -> None:
        self.model = model

    def __call__(self, pixels: Tensor) -> NDArray[np.float32]:
        kept: list[Tensor] = []
        with capture() as hooks, _explicit(self.model), torch.no_grad():
            for block in self.model.blocks:
                hooks.leaving(block.attn.attn_drop, lambda _, __, a: kept.append(a))  # type: ignore[union-attr,arg-type]
            self.model.module(pixels)
        return multiply(kept, self.model.card.prefix_tokens)


class ExtractedRollout:
    """The same through timm's AttentionExtract, its graph made once."""

    def __init__(self, model: vx.LoadedModel) -> None:
        self.prefix = model.card.prefix_tokens
        with _explicit(model):
            self.extract = AttentionExtract(model.module, method="fx")

    def __call__(self, pixels: Tensor) -> NDArray[np.float32]:
        with torch.no_grad():
            return multiply(list(self.extract(pixels).values()), self.prefix)


def multiply(attentions: Sequence[Tensor], prefix: int) -> NDArray[np.float32]:
    """Class row of the product of all layers' mean attention with the residual, (n,)."""
    product = identity = torch.eye(attentions[0].shape[-1], device=attentions[0].device)
    for attention in attentions:
        mixed = attention.mean(dim=1)[0] + identity
        product = mixed / mixed.sum(dim=-1, keepdim=True) @ product
    return product[0, prefix:].cpu().numpy()


def grad_cam_package(model: vx.LoadedModel) -> Callable[[Tensor], NDArray[np.float32]]:
    """Grad-CAM of the grad-cam package at the last block's `norm1`, for the top class."""
    module, card = model.module, model.card

    def as_grid(tokens: Tensor) -> Tensor:
        return tokens[:, card.prefix_tokens :].unflatten(1, card.grid).permute(0, 3, 1, 2)

    def explain(pixels: Tensor) -> NDArray[np.float32]:
        layer = [model.blocks[-1].norm1]
        with _trainable(model), GradCAM(module, layer, reshape_transform=as_grid) as peer:
            found: NDArray[np.float32] = peer(
                pixels, [ClassifierOutputTarget(int(module(pixels).argmax()))]
            )
        return found

    return explain


def captum_grad_cam(model: vx.LoadedModel) -> Callable[[Tensor], Tensor]:
    """Gradients and activations of captum at the last block's `norm1`, summed as Grad-CAM does."""
    module, card = model.module, model.card
    layer = model.blocks[-1].norm1
    products = LayerGradientXActivation(module, layer, multiply_by_inputs=False)
    values = LayerActivation(module, layer)

    def explain(pixels: Tensor) -> Tensor:
        with _trainable(model):
            target = int(module(pixels).argmax())
            gradient = products.attribute(pixels, target=target)[0, card.prefix_tokens :]
            features = values.attribute(pixels)[0, card.prefix_tokens :]
        return (features @ gradient.mean(dim=0)).relu().unflatten(0, card.grid).detach()

    return explain


@contextmanager
def _explicit(model: vx.LoadedModel) -> Iterator[None]:
    """Fused attention off, and on again."""
    for block in model.blocks:
        block.attn.fused_attn = False  # type: ignore[union-attr]
    try:
        yield
    finally:
        for block in model.blocks:
            block.attn.fused_attn = True  # type: ignore[union-attr]


@contextmanager
def _trainable(model: vx.LoadedModel) -> Iterator[None]:
    """Both packages differentiate through parameters, as a model fresh from timm has them."""
    model.module.requires_grad_(True)
    try:
        yield
    finally:
        model.module.requires_grad_(False)
