"""Gradients with respect to the picture's pixels, by captum; a grid cell is its patch's sum."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

import torch
from torch import Tensor

from vit_explorer.methods.heatmap import Noted, Progress
from vit_explorer.methods.model_queries import Asked, asking
from vit_explorer.methods.registry import method
from vit_explorer.models.card import ModelCard
from vit_explorer.models.cells import cell_sums
from vit_explorer.options import one_of, whole_number
from vit_explorer.sentences import Sentence
from vit_explorer.tracing.trace import Trace

Baseline = Literal["mean", "black", "white"]

# A backward pass holds about this many times what a forward pass does.
BACKWARD = 4


@method(
    title="Saliency",
    summary="How strongly the logit reacts to small changes of a patch's pixels.",
    formula="Σ over a patch of abs(∂y/∂pixel) (captum)",
    source="Simonyan et al. 2013",
    caveat="Noisy; reaction to a change is not what the prediction rests on.",
    passes="few",
    of_stages=True,
)
def saliency(trace: Trace, *, progress: Progress | None = None) -> Tensor:
    """Saliency: |∂logit/∂pixel|, summed over a patch's pixels and colours: (gh, gw), 0 or more.

    Raises TargetError for a model without classes.

    Simonyan, Vedaldi & Zisserman, "Deep Inside Convolutional Networks", 2013.
    """
    from captum.attr import Saliency

    with asking(trace, 1, progress) as model:
        return _patch_sums(trace.card, Saliency(model.aimed).attribute(_leaf(model)))


@method(
    title="Input × gradient",
    summary="What a patch's pixels add to the logit, to first order.",
    formula="Σ over a patch of pixel·∂y/∂pixel (captum)",
    source="Shrikumar et al. 2016",
    caveat="A straight line laid on a curved function; pixels of the mean colour count for "
    "nothing.",
    passes="few",
    unit="logit",
    signed=True,
    of_stages=True,
)
def input_x_gradient(trace: Trace, *, progress: Progress | None = None) -> Tensor:
    """Pixel times ∂logit/∂pixel, summed over a patch: (gh, gw), signed, in units of the logit.

    Pixels count from the mean colour of the model's normalisation. Raises TargetError for a model
    without classes.

    Shrikumar et al., "Not Just a Black Box", 2016.
    """
    from captum.attr import InputXGradient

    with asking(trace, 1, progress) as model:
        return _patch_sums(trace.card, InputXGradient(model.aimed).attribute(_leaf(model)))


@method(
    title="Integrated gradients",
    summary="What a patch adds to the logit on the way from a plain picture to this.",
    formula="Σ over a patch of (pixel − plain)·mean of ∂y/∂pixel on the line from a plain picture "
    "(captum); the note gives the completeness residual",
    source="Sundararajan et al. 2017",
    caveat="Depends on the plain picture; pixels of its colour count for nothing.",
    passes="many",
    unit="logit",
    signed=True,
)
def integrated_gradients(
    trace: Trace,
    *,
    steps: int = 50,
    baseline: Baseline = "mean",
    progress: Progress | None = None,
) -> Noted:
    """Gradients along the line from a plain picture to this one, times the way: (gh, gw), signed.

    Values are in units of the logit and add up to its rise over the baseline's, but for the error
    of a finite number of steps, which the note tells.

    Args:
        steps: points of the Gauss-Legendre rule, 1 to 1000.
        baseline: the plain picture's colour: the normalisation's "mean", "black" or "white".

    Raises:
        OptionError: an option outside its range.
        TargetError: a model without classes.

    Sundararajan, Taly & Yan, "Axiomatic Attribution for Deep Networks", ICML 2017.
    """
    from captum.attr import IntegratedGradients

    steps = whole_number(Sentence("part.steps", "number of steps"), steps, 1, 1000)
    colour = _COLOURS[one_of(Sentence("part.baseline", "baseline"), baseline, tuple(_COLOURS))](
        trace.card
    )
    with asking(trace, steps + 2, progress) as model:  # and the two ends, for the error
        found, error = IntegratedGradients(model.aimed).attribute(
            model.pixels,
            colour.to(model.pixels).expand_as(model.pixels),
            n_steps=steps,
            internal_batch_size=max(1, model.batch // BACKWARD),
            return_convergence_delta=True,
        )
    total = float(found.sum())
    return Noted(
        _patch_sums(trace.card, found),
        Sentence(
            "note.completeness",
            "The map sums to {sum:.3f}; the logit rises by {rise:.3f} over the baseline's "
            "({steps} steps).",
            sum=total,
            rise=total - float(error),
            steps=steps,
        ),
    )


def _normalised(card: ModelCard, level: float) -> Tensor:
    mean, std = torch.tensor(card.mean), torch.tensor(card.std)
    if max(card.mean) > 1:
        level *= 255  # such a transform normalises bytes
    return ((level - mean) / std)[:, None, None]


_COLOURS: dict[str, Callable[[ModelCard], Tensor]] = {
    "mean": lambda card: torch.zeros(card.channels, 1, 1),
    "black": lambda card: _normalised(card, 0.0),
    "white": lambda card: _normalised(card, 1.0),
}


def _leaf(model: Asked) -> Tensor:
    return model.pixels.requires_grad_()


def _patch_sums(card: ModelCard, attributions: Tensor) -> Tensor:
    """Attributions (1, C, H, W) to their sums over channels and each patch's pixels, (gh, gw)."""
    return cell_sums(card, attributions.detach()[0].sum(dim=0))
