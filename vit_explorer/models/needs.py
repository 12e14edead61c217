"""What a method or view needs of a model, and the one sentence that says why it can't be had.

Methods and views declare what they need by these names; whether a model has it, and what is said
where it hasn't, is decided here alone.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from types import MappingProxyType

from vit_explorer.errors import ExplorerError, UnsupportedModelError
from vit_explorer.models.card import ModelCard
from vit_explorer.models.outputs import no_classes
from vit_explorer.sentences import Sentence

CLASS = Sentence("part.need.class", "A class")
END = Sentence("part.need.end", "What the head reads off the tokens of one layer")
INSTEAD = Sentence(
    "part.instead",
    "CAM methods, occlusion, RISE, saliency, integrated gradients, greying patches and the "
    "comparison with chance work on it",
)


@dataclass(frozen=True)
class Need:
    """Something of a model, in words, and whether a card says that it is there."""

    words: str
    met: Callable[[ModelCard], bool]

    def refusal(self, card: ModelCard) -> ExplorerError:
        """What is raised for a model that lacks it."""
        if self.words == CLASS:
            return no_classes(
                card, Sentence("part.noclass.explain", "so there is no class to explain")
            )
        if self.words == END:
            return UnsupportedModelError(
                "error.need.end",
                "{what} can't be shown of {model}: its head reads the tokens of block {blocks} and "
                "of the last one together; choose what runs the whole model.",
                what=self.words,
                model=card.name,
                blocks=", ".join(str(block + 1) for block in card.read_blocks),
            )
        return UnsupportedModelError(
            "error.need",
            "{what} can't be shown of {model}: {reason}; {instead}.",
            what=self.words,
            model=card.name,
            reason=card.tier_reason,
            instead=INSTEAD,
        )

    def why_not(self, card: ModelCard) -> str:
        """The sentence for a model that lacks it."""
        return self.refusal(card).sentence


def _attends(card: ModelCard) -> bool:
    return card.tier == 1


NEEDS: Mapping[str, Need] = MappingProxyType(
    {
        "attention": Need(
            Sentence("part.need.attention", "Attention from all patches to all patches"), _attends
        ),
        "tokens": Need(
            Sentence("part.need.tokens", "The tokens of patches from block to block"), _attends
        ),
        "embedding": Need(Sentence("part.need.embedding", "The embedding of patches"), _attends),
        "positions": Need(Sentence("part.need.positions", "The positions of patches"), _attends),
        # Of a ViT at the norm before attention, else at a stage.
        "features": Need(
            Sentence("part.need.features", "Features on a grid"), lambda card: bool(card.depth)
        ),
        "end": Need(END, lambda card: not card.read_blocks),
        "class": Need(CLASS, lambda card: card.classes > 0),
    }
)


def lacking(card: ModelCard, needs: Iterable[str]) -> str | None:
    """The first of some needs that a model doesn't meet, by its name."""
    return next((name for name in needs if not NEEDS[name].met(card)), None)


def why_not(card: ModelCard, needs: Iterable[str]) -> str:
    """Why a model can't be shown by what has these needs, "" where it can."""
    name = lacking(card, needs)
    return "" if name is None else NEEDS[name].why_not(card)


def require(card: ModelCard, *needs: str) -> None:
    """Raises UnsupportedModelError, or TargetError for a class, where a model lacks one of them."""
    name = lacking(card, needs)
    if name is not None:
        raise NEEDS[name].refusal(card)
