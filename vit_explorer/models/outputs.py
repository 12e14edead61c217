"""What the numbers that a model returns mean, and the probabilities and logits made of them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, get_args

import torch
import torch.nn.functional as F
from torch import Tensor

from vit_explorer.errors import OptionError, TargetError, nearest
from vit_explorer.models.capture import Functions
from vit_explorer.models.card import ModelCard, first_tensor
from vit_explorer.sentences import Sentence, either

if TYPE_CHECKING:
    from vit_explorer.models.loaded import LoadedModel

Outputs = Literal["classes", "labels", "probabilities", "value", "embedding"]
OUTPUTS: tuple[Outputs, ...] = get_args(Outputs)
GIVEN = Sentence("outputs.found.given", "given")

# What makes probabilities of logits, as torch's functions, modules and methods call it.
SQUASHES = {
    F.softmax: "softmax",
    torch.softmax: "softmax",
    Tensor.softmax: "softmax",
    F.log_softmax: "log_softmax",
    torch.log_softmax: "log_softmax",
    Tensor.log_softmax: "log_softmax",
    F.sigmoid: "sigmoid",
    torch.sigmoid: "sigmoid",
    Tensor.sigmoid: "sigmoid",
    torch.special.expit: "sigmoid",
}


@dataclass(frozen=True)
class Meaning:
    """What a model's numbers are: `count` of them a picture, 0 of an embedding.

    `found` says how that is known; `sums_to_one` whether probabilities do, None where there are
    none; `ends_in` names the softmax, log_softmax or sigmoid that the module itself ends in, or "".
    """

    outputs: Outputs
    count: int
    found: str
    sums_to_one: bool | None = None
    ends_in: str = ""

    def on_card(self) -> dict[str, Any]:
        """The card's fields that say it."""
        return {
            "outputs": self.outputs,
            "outputs_found": self.found,
            "sums_to_one": self.sums_to_one,
            "ends_in": self.ends_in,
        }


@dataclass(frozen=True)
class Answer:
    """What a model returned for B pictures, both (B, C).

    `raw` is what it returned, `logits` what explanations differentiate: the same, or where the
    module itself ends in a softmax or sigmoid what entered that.
    """

    raw: Tensor
    logits: Tensor


def answer(model: LoadedModel, pixels: Tensor) -> Answer:
    """Run a model as it is on prepared pictures (B, 3, H, W)."""
    ends_in, classes = model.card.ends_in, model.card.classes
    if not ends_in:
        raw = as_rows(first_tensor(model.module(pixels)), classes)
        return Answer(raw, raw)
    with _Watch(ends_in) as watch:
        raw = as_rows(first_tensor(model.module(pixels)), classes)
    return Answer(raw, raw if watch.entered is None else as_rows(watch.entered, classes))


def as_rows(output: Tensor, classes: int) -> Tensor:
    """(B, C), also where a module gave away the dimension of its single output."""
    return output.reshape(-1, classes) if output.ndim < 2 and classes else output


class _Watch(Functions):
    """Keeps what entered the last softmax or sigmoid of a pass."""

    def __init__(self, name: str) -> None:
        super().__init__()
        self.name = name
        self.entered: Tensor | None = None

    def called(self, func: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        if SQUASHES.get(func) == self.name:
            self.entered = args[0] if args else kwargs["input"]
        return func(*args, **kwargs)


def probabilities(raw: Tensor, outputs: str) -> Tensor | None:
    """Probabilities (…, C) of what a model returned, by what its outputs are; None of values.

    In float32, or float64 where that is what came.
    """
    wide = raw if raw.dtype == torch.float64 else raw.float()
    match outputs:
        case "classes":
            return wide.softmax(dim=-1)
        case "labels":
            return wide.sigmoid()
        case "probabilities":
            return wide
    return None


def measured(raw: Tensor, outputs: str) -> Tensor:
    """What masked pictures are compared by, (…, C): the probabilities, or the values themselves."""
    found = probabilities(raw, outputs)
    return raw.float() if found is None else found


def check_outputs(given: str | None) -> Outputs | None:
    """One of `OUTPUTS`, or None. Raises OptionError for anything else."""
    if given is None:
        return None
    for known in OUTPUTS:
        if given == known:
            return known
    raise OptionError(
        "error.outputs",
        "The outputs were {given!r}{near}; expected {known}.",
        given=given,
        near=nearest(str(given), OUTPUTS),
        known=either(OUTPUTS),
    )


def no_predictions(card: ModelCard) -> str:
    """What there is to say in the place of predictions."""
    return Sentence(
        "note.embedding",
        "{model} returns an embedding, no classes, so there are no predictions.",
        model=card.name,
    )


def no_classes(card: ModelCard, so: str) -> TargetError:
    """The one refusal of all that needs a class, of a model that returns an embedding."""
    if card.outputs_found == GIVEN:
        return TargetError(
            "error.embedding.given",
            "{model} was loaded with outputs='embedding', {so}; load it without that, or with "
            "what its numbers are.",
            model=card.name,
            so=so,
        )
    return TargetError(
        "error.embedding",
        "{model} returns an embedding and has no classifier, {so}; choose what needs no class, "
        "load weights with a head, or say by outputs= what its numbers are.",
        model=card.name,
        so=so,
    )
