"""Class activation maps: token features and their gradients as a grid."""

from __future__ import annotations

from torch import Tensor

from vit_explorer.errors import OptionError, UnsupportedModelError
from vit_explorer.trace import Trace


def grad_cam(trace: Trace, *, layer: int = -1) -> Tensor:
    """Grad-CAM at a block's `norm1`: relu(Σ_D mean(∂logit/∂feature)·feature): (gh, gw), 0 or more.

    Raises:
        UnsupportedModelError: the block has no `norm1`.

    Selvaraju et al., "Grad-CAM", ICCV 2017.
    """
    features, gradient = _features(trace, layer)
    weights = gradient.mean(dim=(1, 2))  # (D,)
    return (weights[:, None, None] * features).sum(dim=0).relu()


def _features(trace: Trace, layer: int) -> tuple[Tensor, Tensor]:
    """Features and ∂logit/∂features of the patches at a block's `norm1`, each (D, gh, gw)."""
    index = trace.layer_index(layer)
    if trace.layers[index].output_gradient is None:
        raise OptionError(
            f"This trace kept no gradients of layer {index}; trace with gradients='all'."
        )
    if index not in trace.features:
        raise UnsupportedModelError(
            f"{trace.card.name} has no `norm1` in block {index + 1}, where CAM methods read the "
            "features; choose a method based on attention."
        )
    features, gradient = trace.features[index], trace.feature_gradients[index]
    return trace.grid(features.T), trace.grid(gradient.T)
