"""What a map explains: a class by its index or its label, or what speaks against it."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from numbers import Integral

from torch import Tensor

from vit_explorer.errors import TargetError, nearest
from vit_explorer.models.loaded import LoadedModel
from vit_explorer.models.outputs import no_classes
from vit_explorer.sentences import Sentence

# "not cat" is the other side of cat: the same output, with the opposite sign.
NOT = re.compile(r"not\s+(?=\S)", re.IGNORECASE)


@dataclass(frozen=True)
class Aim:
    """A weighted sum of a model's outputs, which methods differentiate: (index, weight) pairs."""

    weights: tuple[tuple[int, float], ...]

    @classmethod
    def at(cls, index: int, sign: int = 1) -> Aim:
        """One output, or with the sign -1 its other side."""
        return cls(((int(index), float(sign)),))

    @property
    def index(self) -> int:
        """The output it is about, the first of several."""
        return self.weights[0][0]

    @property
    def negated(self) -> bool:
        """Whether it is the other side of that output."""
        return self.weights[0][1] < 0

    @property
    def name(self) -> int | str:
        """What `find_target` finds it by, whatever the labels: 3 or "not 3"."""
        return f"not {self.index}" if self.negated else self.index

    def label(self, labels: Sequence[str]) -> str:
        """Its name by the model's labels, such as "cat" or "not cat"."""
        return f"not {labels[self.index]}" if self.negated else labels[self.index]

    def of(self, outputs: Tensor) -> Tensor:
        """Its value in outputs (…, C): (…)."""
        first, *others = (outputs[..., index] * weight for index, weight in self.weights)
        return sum(others, first)

    def measured(self, outputs: Tensor, *, probabilities: bool) -> Tensor:
        """Its value in outputs (…, C) that may be probabilities: of the other side, what is left.

        Returns:
            (…), 0 to 1 for probabilities.
        """
        value = self.of(outputs)
        return 1 + value if probabilities and self.negated else value


Target = int | str | Aim | None


def find_target(model: LoadedModel, target: Target) -> Aim | None:
    """What a target means: an index, a label, or "not" and one of these; None stays None.

    Raises:
        TargetError: no such class, a label that two classes share, or a model without classes.
    """
    if target is None:
        return None
    if isinstance(target, bool) or not isinstance(target, (str, Integral, Aim)):
        raise TargetError(
            "error.target.kind",
            "The target was {target!r}, expected a class label or a whole number as its index.",
            target=target,
        )
    if model.card.classes == 0:
        raise no_classes(
            model.card, Sentence("part.noclass.target", "so no class can be its target")
        )
    if isinstance(target, Aim):
        return Aim(tuple((_known(model, index), weight) for index, weight in target.weights))
    if isinstance(target, Integral):
        return Aim.at(_known(model, int(target)))
    # A class may itself be called "not something".
    without = NOT.sub("", target, count=1) if NOT.match(target) else None
    if without is not None and not _classes_named(model, target):
        return Aim.at(_by_name(model, without), -1)
    return Aim.at(_by_name(model, target))


def _by_name(model: LoadedModel, target: str) -> int:
    indices = _classes_named(model, target)
    if len(indices) > 1:
        raise TargetError(
            "error.target.several",
            "The label {target!r} names {count} classes of {model}; give the index, one of "
            "{indices}.",
            target=target,
            count=len(indices),
            model=model.card.name,
            indices=", ".join(map(str, indices)),
        )
    if indices:
        return indices[0]
    if re.fullmatch(r"-?[0-9]+", target):
        return _known(model, int(target))
    near = _near(target, model.labels)
    raise TargetError(
        "error.target.unknown",
        "{model} has no class {target!r}{near}; give one of its labels or an index from 0 to "
        "{last}.",
        model=model.card.name,
        target=target,
        near=near,
        last=model.card.classes - 1,
    )


def _known(model: LoadedModel, index: int) -> int:
    if not 0 <= index < model.card.classes:
        raise TargetError(
            "error.target.index",
            "{model} has no class {index}; give a label or an index from 0 to {last}.",
            model=model.card.name,
            index=index,
            last=model.card.classes - 1,
        )
    return int(index)


def _near(name: str, labels: Sequence[str]) -> str:
    """Labels that hold the name as a word, else those spelled like it."""
    word = re.compile(rf"\b{re.escape(name)}\b", re.IGNORECASE)
    holding = [label for label in labels if word.search(label)][:3]
    if holding:
        return f", did you mean {' or '.join(map(repr, holding))}?"
    return nearest(name, [part for label in labels for part in (label, *label.split(", "))])


def _classes_named(model: LoadedModel, name: str) -> list[int]:
    """Classes of an English label, else of a Chinese one."""
    return _named(model.labels, name) or _named(model.labels_zh, name)


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
