"""A class by its index or its label."""

from __future__ import annotations

import re
from collections.abc import Sequence
from numbers import Integral

from vit_explorer.errors import TargetError, nearest
from vit_explorer.models.loaded import LoadedModel

Target = int | str | None


def find_target(model: LoadedModel, target: Target) -> int | None:
    """Class index of an index or a label; None stays None (the top prediction).

    Raises:
        TargetError: no such class, a label that two classes share, or a model without classes.
    """
    if target is None:
        return None
    if isinstance(target, bool) or not isinstance(target, (str, Integral)):
        raise TargetError(
            f"The target was {target!r}, expected a class label or a whole number as its index."
        )
    classes = model.card.classes
    if classes == 0:
        raise TargetError(
            f"{model.card.name} has no classifier, so no class can be its target; leave the "
            "target out, or load weights with a head."
        )
    if isinstance(target, str):
        indices = _named(model.labels, target)
        if len(indices) > 1:
            raise TargetError(
                f"The label {target!r} names {len(indices)} classes of {model.card.name}; give the "
                f"index, one of {', '.join(map(str, indices))}."
            )
        number = re.fullmatch(r"-?[0-9]+", target)
        if not indices and not number:
            near = _near(target, model.labels)
            raise TargetError(
                f"{model.card.name} has no class {target!r}{near}; give one of its labels or an "
                f"index from 0 to {classes - 1}."
            )
        target = indices[0] if indices else int(target)
    if not 0 <= int(target) < classes:
        raise TargetError(
            f"{model.card.name} has no class {target}; give a label or an index from 0 to "
            f"{classes - 1}."
        )
    return int(target)


def _near(name: str, labels: Sequence[str]) -> str:
    """Labels that hold the name as a word, else those spelled like it."""
    word = re.compile(rf"\b{re.escape(name)}\b", re.IGNORECASE)
    holding = [label for label in labels if word.search(label)][:3]
    if holding:
        return f", did you mean {' or '.join(map(repr, holding))}?"
    return nearest(name, [part for label in labels for part in (label, *label.split(", "))])


def _named(labels: Sequence[str], name: str) -> list[int]:
    """Classes of a label: the exact one, else by any of its synonyms ("tabby, tabby cat")."""
    exact = [index for index, label in enumerate(labels) if label == name]
    if exact:
        return exact
    folded = name.casefold()
    return [
        index
        for index, label in enumerate(labels)
        if folded in (label.casefold(), *label.casefold().split(", "))
    ]
