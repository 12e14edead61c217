"""What tells a class from those that are most like it."""

from __future__ import annotations

from numbers import Real

import torch

from vit_explorer.errors import OptionError
from vit_explorer.methods.gradients import grad_cam
from vit_explorer.methods.heatmap import Noted, Progress
from vit_explorer.methods.registry import method
from vit_explorer.models.needs import NEEDS
from vit_explorer.models.targets import Aim
from vit_explorer.options import whole_number
from vit_explorer.sentences import Sentence
from vit_explorer.tracing.trace import Trace
from vit_explorer.tracing.trace import trace as traced


@method(
    title="Finer-CAM",
    summary="Grad-CAM of what tells the class from those that score most like it.",
    formula="Grad-CAM of Σ_d p_d·(y − α·y_d) / Σ_d p_d over the classes d whose logits are nearest "
    "to y (grad-cam package)",
    source="Zhang et al. 2025",
    caveat="What it is set against changes with the picture: the note names it. Features of a "
    "ViT's patch need not be about that place.",
    requires=("features",),
    passes="few",
)
def finer_cam(
    trace: Trace,
    *,
    layer: int = -1,
    others: int = 3,
    alpha: float = 1.0,
    progress: Progress | None = None,
) -> Noted:
    """Grad-CAM of a class's logit less those of the most similar classes: (gh, gw), 0 or more.

    Of a target "A - B" it is B that A is set against.

    Args:
        others: how many classes of the nearest logits, 1 or more.
        alpha: how much of theirs is taken off, 0 (Grad-CAM) or more.

    Raises:
        OptionError: an option outside its range.
        TargetError: a model without classes, or of one class.

    Zhang et al., "Finer-CAM: Spotting the Difference Reveals Finer Details for Visual
    Explanation", CVPR 2025.
    """
    from pytorch_grad_cam.utils.model_targets import FinerWeightedTarget

    if trace.aim is None or trace.target is None or trace.card.classes < 2:
        raise NEEDS["class"].refusal(trace.card)
    count = min(
        whole_number(Sentence("part.others", "number of others"), others, 1), trace.card.classes - 1
    )
    if not isinstance(alpha, Real) or isinstance(alpha, bool) or not 0 <= alpha < torch.inf:
        raise OptionError(
            "error.option.expected",
            "The {what} was {value!r}, expected {expected}.",
            what="alpha",
            value=alpha,
            expected=Sentence("part.zero", "a number from 0"),
        )
    index, sign = trace.aim.index, -1.0 if trace.aim.negated else 1.0
    logits = trace.logits.detach().clone().requires_grad_(True)
    distances = (logits.detach() - logits.detach()[index]).abs()
    distances[index] = torch.inf
    rivals = (
        [trace.aim.other] if trace.aim.other is not None else distances.argsort()[:count].tolist()
    )
    with torch.enable_grad():
        value = sign * FinerWeightedTarget(index, rivals, float(alpha))(logits)
    # A function of the logits has the gradient of a sum of them, weighted by its own.
    (weights,) = torch.autograd.grad(value, logits)
    first = [index, *(i for i in weights.nonzero().flatten().tolist() if i != index)]
    aim = Aim(tuple((i, float(weights[i])) for i in first))
    deep = "last" if layer in (-1, trace.card.depth - 1) else "all"
    found = traced(trace.model, trace.prepared, target=aim, gradients=deep)
    if progress is not None:
        progress(1, 1)
    return Noted(
        grad_cam(found, layer=layer),
        Sentence(
            "note.finer",
            "Set against {classes}.",
            classes=", ".join(trace.model.labels[i] for i in rivals),
        ),
    )
