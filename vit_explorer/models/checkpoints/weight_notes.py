"""What a card says of a weights file: what of it was taken, renamed or left aside."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from torch import nn

from vit_explorer.models.checkpoints.foreign_names import Program
from vit_explorer.models.checkpoints.heads import Head
from vit_explorer.sentences import Sentence, joined

MOST_NAMED = 6


def said_of_several(taken: str, others: Sequence[str]) -> Sentence:
    """On one of several models in a file; a name may be empty."""
    names = joined(name or Sentence("part.bare", "the one without a prefix") for name in others)
    return Sentence(
        "weights.several",
        "Of several models in the file, {taken} was taken, not {others}.",
        taken=taken,
        others=names,
    )


def said_of_rest(names: Sequence[str]) -> Sentence:
    """On tensors that no part of the model takes."""
    return Sentence("weights.aside", "Left aside: {names}.", names=_grouped(names))


def said_of_head(head: Head) -> list[Sentence]:
    """On a classifier that was built from a file."""
    classes = Sentence("part.class", "1 class")
    if head.classes != 1:
        classes = Sentence("part.count", "{count} classes", count=head.classes)
    said = [
        Sentence(
            "weights.classifier",
            "The classifier is the file's {place} of {classes}.",
            place=head.place,
            classes=classes,
        )
    ]
    if head.norm:
        said.append(
            Sentence(
                "weights.headnorm",
                "The {kind} before the classifier has PyTorch's own epsilon, which the file "
                "doesn't say.",
                kind=head.norm,
            )
        )
    if head.hidden:
        said.append(
            Sentence(
                "weights.hidden",
                "Something without weights stands before the classifier and is taken for a "
                "dropout.",
            )
        )
    return said


def said_of_program(
    program: Program | None, eps: float | None, module: nn.Module
) -> list[Sentence]:
    """On what another program's model does that timm's need not; `eps` is its norms'."""
    said: list[Sentence] = []
    if program is None:
        return []
    norms = [part.eps for part in module.modules() if isinstance(part, nn.LayerNorm)]
    if eps is not None and norms and norms[0] != eps:
        said.append(
            Sentence(
                "weights.eps",
                "Its layer norms have epsilon {eps:g}, as {program} has it.",
                eps=eps,
                program=program.name,
            )
        )
    if program.activation and not _has_quick_gelu(module):
        said.append(
            Sentence(
                "weights.activation",
                "The file doesn't say its activation: GELU was taken, as this architecture has "
                "it; {program} has {activation}, for which timm has names with quickgelu.",
                program=program.name,
                activation=program.activation,
            )
        )
    return said


def _has_quick_gelu(module: nn.Module) -> bool:
    return any("quick" in type(part).__name__.casefold() for part in module.modules())


def _grouped(names: Sequence[str]) -> str:
    """All names, or where they are many the modules that they are of."""
    if len(names) <= MOST_NAMED:
        return ", ".join(names)
    for depth in (2, 1):
        groups = Counter(".".join(name.split(".")[:depth]) for name in names)
        if len(groups) <= MOST_NAMED:
            break
    told = [
        name
        if count == 1
        else Sentence("part.tensors", "{name} ({count} tensors)", name=name, count=count)
        for name, count in groups.items()
    ]
    some, rest = joined(told[: 2 * MOST_NAMED]), len(told) - 2 * MOST_NAMED
    if rest <= 0:
        return some
    return Sentence("list.more", "{some} and {count} more", some=some, count=rest)
