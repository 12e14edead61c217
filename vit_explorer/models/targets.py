"""What a map explains: a class by its index or its label, what speaks against it, or what speaks
for it rather than for another."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from numbers import Integral

import torch
from torch import Tensor

from vit_explorer.errors import TargetError, nearest
from vit_explorer.models.loaded import LoadedModel
from vit_explorer.models.outputs import no_classes
from vit_explorer.sentences import Sentence

# "not cat" is the other side of cat: the same output, with the opposite sign.
NOT = re.compile(r"not\s+(?=\S)", re.IGNORECASE)
# "cat - dog" is what speaks for cat rather than for dog: the difference of their outputs.
RATHER = re.compile(r"(?<=\S)\s+[-−–]\s+(?=\S)")


@dataclass(frozen=True)
class Aim:
    """A weighted sum of a model's outputs, which methods differentiate: (index, weight) pairs."""

    weights: tuple[tuple[int, float], ...]

    @classmethod
    def at(cls, index: int, sign: int = 1) -> Aim:
        """One output, or with the sign -1 its other side."""
        return cls(((int(index), float(sign)),))

    @classmethod
    def between(cls, index: int, other: int) -> Aim:
        """What speaks for one output rather than for another."""
        return cls(((int(index), 1.0), (int(other), -1.0)))

    @property
    def index(self) -> int:
        """The output it is about, the first of several."""
        return self.weights[0][0]

    @property
    def plain(self) -> bool:
        """Whether it is one output itself."""
        return len(self.weights) == 1 and not self.negated

    @property
    def negated(self) -> bool:
        """Whether it is the other side of one output."""
        return len(self.weights) == 1 and self.weights[0][1] < 0

    @property
    def other(self) -> int | None:
        """The output that it is set against, where it is a difference of two."""
        return self.weights[1][0] if len(self.weights) == 2 else None

    @property
    def name(self) -> int | str:
        """What `find_target` finds it by, whatever the labels: 3, "not 3" or "3 - 5"."""
        named = self._in_words([str(index) for index, _ in self.weights])
        return self.index if self.plain else named

    def label(self, labels: Sequence[str]) -> str:
        """Its name by the model's labels, such as "cat", "not cat" or "cat - dog"."""
        return self._in_words([labels[index] for index, _ in self.weights])

    def _in_words(self, names: Sequence[str]) -> str:
        if self.negated:
            return f"not {names[0]}"
        return " - ".join(names)

    def of(self, outputs: Tensor) -> Tensor:
        """Its value in outputs (…, C): (…)."""
        first, *others = (outputs[..., index] * weight for index, weight in self.weights)
        return sum(others, first)

    def measured(self, outputs: Tensor, *, probabilities: bool) -> Tensor:
        """Its value in outputs (…, C) that may be probabilities: of the other side what is left; of
        a difference the first one's share of both, which of a softmax is what it would say if these
        two were all classes.

        Returns:
            (…), 0 to 1 for probabilities.
        """
        value = self.of(outputs)
        if not probabilities or self.plain:
            return value
        if self.negated:
            return 1 + value
        both = outputs[..., [index for index, _ in self.weights]].sum(dim=-1)
        tiny = torch.finfo(value.dtype).tiny
        return torch.where(both > tiny, outputs[..., self.index] / both.clamp(min=tiny), 0.5)


Target = int | str | Aim | None


def find_target(model: LoadedModel, target: Target) -> Aim | None:
    """What a target means: an index, a label, "not" and one of these, or two with " - " between
    them; None stays None.

    Raises:
        TargetError: no such class, a label that two classes share, one class set against itself, or
            a model without classes.
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
    # A class may itself be called "not something", or "a - b".
    if not _classes_named(model, target):
        without = NOT.sub("", target, count=1) if NOT.match(target) else None
        parts = _two_classes(model, target)
        if without is not None and (parts is None or _classes_named(model, without)):
            return Aim.at(_by_name(model, without), -1)
        if parts is not None:
            return _between(model, *parts)
    return Aim.at(_by_name(model, target))


def _two_classes(model: LoadedModel, target: str) -> tuple[str, str] | None:
    """The two sides of a difference: where both name classes, else at its first stroke."""
    splits = [(target[: at.start()], target[at.end() :]) for at in RATHER.finditer(target)]

    def known(name: str) -> bool:
        return bool(_classes_named(model, name)) or name.isdecimal()

    return next((one for one in splits if all(map(known, one))), next(iter(splits), None))


def _between(model: LoadedModel, name: str, other: str) -> Aim:
    aim = Aim.between(_by_name(model, name), _by_name(model, other))
    if aim.index == aim.other:
        raise TargetError(
            "error.target.same",
            "The target sets {label!r} against itself; name two different classes.",
            label=model.labels[aim.index],
        )
    return aim


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
