"""What a model is trained to lower: sums over pictures, so that parts of a batch add up to it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from vit_explorer.errors import RecipeError, nearest
from vit_explorer.sentences import Sentence
from vit_explorer.training.recipe_sections import Distill


def class_weights(
    wanted: Mapping[str, float] | str | None, labels: Tensor, classes: Sequence[str]
) -> Tensor:
    """What the label of each class counts for: (classes,), above 0.

    Args:
        wanted: weights by class, where 1 is that of the others; "balanced" for n / (C · n_c) of n
            pictures of C classes, which is scikit-learn's `compute_class_weight`; None for 1 each.
        labels: (n,), those of the training pictures.

    Raises:
        RecipeError: a weight of a class that the data does not have.

    King & Zeng, "Logistic Regression in Rare Events Data", 2001.
    """
    if wanted == "balanced":
        return len(labels) / (len(classes) * torch.bincount(labels, minlength=len(classes)).float())
    weights = torch.ones(len(classes))
    for name, weight in (wanted if isinstance(wanted, Mapping) else {}).items():
        if name not in classes:
            listed = Sentence(
                "recipe.error.classes", "; its classes: {names}.", names=", ".join(classes[:10])
            )
            raise RecipeError(
                "error.loop.weights",
                "class_weights: the data has no class {name!r}{near}",
                name=name,
                near=nearest(name, classes) or listed,
            )
        weights[classes.index(name)] = weight
    return weights


def label_loss(logits: Tensor, targets: Tensor, weights: Tensor, smooth: float = 0.0) -> Tensor:
    """Cross-entropy with the labels, summed over pictures and weighed by class.

    Of a picture whose target is spread over classes, by smoothing or by mixing with another, each
    class's part of it has that class's weight. Divided by the sum of the weights of all pictures'
    labels it is the mean, as torch's `cross_entropy` has it for labels.

    Args:
        logits: (B, classes).
        targets: labels (B,), or shares (B, classes) where pictures are mixed.
        weights: (classes,).
        smooth: the share of a target that is spread evenly over all classes.
    """
    return F.cross_entropy(logits, targets, weight=weights, label_smoothing=smooth, reduction="sum")


def teacher_loss(taught: Tensor, teacher: Tensor, options: Distill) -> Tensor:
    """How far a head that follows the teacher is from it, summed over pictures; not weighed.

    Args:
        taught: logits (B, classes) of the distillation token's head, or of the class head.
        teacher: the teacher's (B, classes).

    Hinton et al., "Distilling the Knowledge in a Neural Network", 2015 (soft); Touvron et al.,
    "Training data-efficient image transformers & distillation through attention", 2021 (hard).
    """
    if options.kind == "hard":
        return F.cross_entropy(taught, teacher.argmax(dim=1), reduction="sum")
    T = options.temperature
    student, wanted = (taught / T).log_softmax(1), (teacher / T).log_softmax(1)
    return F.kl_div(student, wanted, reduction="sum", log_target=True) * T * T
