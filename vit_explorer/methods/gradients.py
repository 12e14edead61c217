"""Class activation maps: token features and their gradients as a grid.

All read a block's `norm1`: features (D, gh, gw) of the patches, and ∂logit/∂features. They raise
UnsupportedModelError where a block has none.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from vit_explorer.errors import OptionError, UnsupportedModelError
from vit_explorer.methods.registry import method
from vit_explorer.sentences import Sentence
from vit_explorer.tracing.trace import Trace


@method(
    title="Grad-CAM",
    summary="Features of the last block or stage, weighted by their mean gradient.",
    formula="relu(Σ_D mean over patches(∂y/∂F)·F), F the features at a block's `norm1` or of a "
    "stage",
    source="Selvaraju et al. 2017",
    caveat="Made for convolutions: features of a ViT's patch need not be about that place.",
    requires=("features",),
    gradients="last",
    of_stages=True,
)
def grad_cam(trace: Trace, *, layer: int = -1) -> Tensor:
    """Grad-CAM: relu(Σ_D mean over patches(gradient)·feature): (gh, gw), 0 or more.

    Selvaraju et al., "Grad-CAM", ICCV 2017.
    """
    gradient = _gradient(trace, layer)
    return _weighted(gradient.mean(dim=(1, 2)), kept_features(trace, layer))


@method(
    title="HiResCAM",
    summary="Features times their own gradient, patch by patch.",
    formula="relu(Σ_D ∂y/∂F∘F)",
    source="Draelos & Carin 2020",
    caveat="Faithful to a linear head; a ViT's last block is not one.",
    requires=("features",),
    gradients="last",
    of_stages=True,
)
def hires_cam(trace: Trace, *, layer: int = -1) -> Tensor:
    """HiResCAM: relu(Σ_D gradient∘feature), each patch with its own gradient: (gh, gw), 0 or more.

    Draelos & Carin, "Use HiResCAM instead of Grad-CAM", 2020.
    """
    return (_gradient(trace, layer) * kept_features(trace, layer)).sum(dim=0).relu()


@method(
    title="Grad-CAM++",
    summary="Grad-CAM with weights that favour positive gradients.",
    formula="Grad-CAM with weights Σ α·relu(g), g = ∂y/∂F and α = g² / (2g² + ΣF·g³)",
    source="Chattopadhay et al. 2018",
    caveat="Its higher derivatives assume an exponential after the logit.",
    requires=("features",),
    gradients="last",
    of_stages=True,
)
def grad_cam_plus_plus(trace: Trace, *, layer: int = -1) -> Tensor:
    """Grad-CAM++: weights Σ α·relu(gradient), α from the gradient's powers: (gh, gw), 0 or more.

    α = g² / (2g² + Σ_patches(feature)·g³), with the powers standing in for higher derivatives.

    Chattopadhay et al., "Grad-CAM++", WACV 2018.
    """
    features, gradient = kept_features(trace, layer), _gradient(trace, layer)
    total = features.sum(dim=(1, 2), keepdim=True)
    alpha = gradient**2 / (2 * gradient**2 + total * gradient**3 + 1e-6)
    alpha = torch.where(gradient != 0, alpha, 0.0)
    return _weighted((alpha * gradient.relu()).sum(dim=(1, 2)), features)


@method(
    title="XGrad-CAM",
    summary="Grad-CAM with gradients weighted by where each feature is.",
    formula="Grad-CAM with ∂y/∂F weighted by each patch's share of its feature",
    source="Fu et al. 2020",
    caveat="Divides by feature sums that a layer norm brings near zero.",
    requires=("features",),
    gradients="last",
)
def xgrad_cam(trace: Trace, *, layer: int = -1) -> Tensor:
    """XGrad-CAM: gradients weighted by each patch's share of its feature: (gh, gw), 0 or more.

    Fu et al., "Axiom-based Grad-CAM", BMVC 2020.
    """
    features, gradient = kept_features(trace, layer), _gradient(trace, layer)
    share = features / (features.sum(dim=(1, 2), keepdim=True) + 1e-7)
    return _weighted((gradient * share).sum(dim=(1, 2)), features)


@method(
    title="LayerCAM",
    summary="Positive gradients times features, patch by patch.",
    formula="relu(Σ_D relu(∂y/∂F)∘F)",
    source="Jiang et al. 2021",
    caveat="Drops what speaks against the class.",
    requires=("features",),
    gradients="last",
)
def layer_cam(trace: Trace, *, layer: int = -1) -> Tensor:
    """LayerCAM: relu(Σ_D relu(gradient)∘feature): (gh, gw), 0 or more.

    Jiang et al., "LayerCAM", IEEE TIP 2021.
    """
    return (_gradient(trace, layer).relu() * kept_features(trace, layer)).sum(dim=0).relu()


@method(
    title="Eigen-CAM",
    summary="The strongest pattern in the last features, whatever the class.",
    formula="relu of the first principal component of F",
    source="Muhammad & Yeasin 2020",
    caveat="The same for every class; its sign is arbitrary.",
    requires=("features",),
    of_stages=True,
)
def eigen_cam(trace: Trace, *, layer: int = -1) -> Tensor:
    """Eigen-CAM: the features' first principal component, relu: (gh, gw), 0 or more.

    Muhammad & Yeasin, "Eigen-CAM", IJCNN 2020.
    """
    return _first_component(kept_features(trace, layer)).relu()


@method(
    title="Eigen-Grad-CAM",
    summary="The strongest pattern in features times gradients.",
    formula="relu of the first principal component of ∂y/∂F∘F",
    source="after Muhammad & Yeasin 2020",
    caveat="A component's sign is arbitrary: the strongest patch counts as positive.",
    requires=("features",),
    gradients="last",
)
def eigen_grad_cam(trace: Trace, *, layer: int = -1) -> Tensor:
    """Eigen-CAM of gradient∘feature: (gh, gw), 0 or more.

    The grad-cam package's variant of Muhammad & Yeasin, "Eigen-CAM", IJCNN 2020.
    """
    return _first_component(_gradient(trace, layer) * kept_features(trace, layer)).relu()


def _weighted(weights: Tensor, features: Tensor) -> Tensor:
    return (weights[:, None, None] * features).sum(dim=0).relu()


def _first_component(features: Tensor) -> Tensor:
    """Projection (gh, gw) of centred features on their first principal component.

    A component's sign is arbitrary: the strongest patch is taken as positive.
    """
    tokens = features.flatten(1).T.float()  # (n, D)
    tokens = tokens - tokens.mean(dim=0)
    _, _, directions = torch.linalg.svd(tokens, full_matrices=False)
    projection = tokens @ directions[0]
    projection = projection * projection[projection.abs().argmax()].sign()
    return projection.unflatten(0, features.shape[1:])


def kept_features(trace: Trace, layer: int) -> Tensor:
    """Features (D, gh, gw) of the patches at a block's `norm1`.

    Raises:
        OptionError: no such layer, or its features were not kept.
        UnsupportedModelError: no norm was seen in the block.
    """
    return _kept(trace, trace.features, layer, Sentence("part.features", "features"))


def _gradient(trace: Trace, layer: int) -> Tensor:
    """∂logit/∂features (D, gh, gw) of the patches at a block's `norm1`."""
    return _kept(trace, trace.feature_gradients, layer, Sentence("part.gradients", "gradients"))


def _kept(trace: Trace, tokens: Mapping[int, Tensor], layer: int, what: str) -> Tensor:
    index = trace.layer_index(layer)
    if index in tokens:
        return trace.feature_map(index, tokens[index])
    if trace.features and trace.gradients != "all":
        raise OptionError(
            "error.trace.kept",
            "This trace kept no {what} of layer {index}; trace with gradients='all'.",
            what=what,
            index=index,
        )
    raise UnsupportedModelError(
        "error.cam.norm",
        "No norm was seen in block {block} of {model}, where CAM methods read the features; "
        "choose a method based on attention.",
        block=index + 1,
        model=trace.card.name,
    )
