"""A figure that code is copied of: its choices, checked, and the pieces that code is made of."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Container
from typing import Annotated

from pydantic import AfterValidator, BaseModel, ConfigDict, Field

from vit_explorer.drawing.coloring import COLORMAPS
from vit_explorer.methods import METHODS
from vit_explorer.models.card import ModelCard
from vit_explorer.options import whole_number
from vit_explorer.page.state.results import Result
from vit_explorer.sentences import Sentence


def _of(known: Container[str]) -> AfterValidator:
    """Names of a registry, as it is when they are asked for."""

    def check(name: str) -> str:
        if name not in known:
            raise ValueError(name)
        return name

    return AfterValidator(check)


TRACE = "trace = vx.trace(model, picture)"

Method = Annotated[str, _of(METHODS)]
Colormap = Annotated[str, _of(COLORMAPS)]
Index = Annotated[int, Field(ge=0)]
Place = tuple[Index, Index]


class Figure(BaseModel, ABC):
    """A figure by its name, and what was chosen for it; all counts are from 0."""

    model_config = ConfigDict(extra="forbid")

    @abstractmethod
    def lines(self, result: Result) -> list[str]:
        """Python that makes it; raises OptionError for a choice that the model lacks."""

    def words(self, result: Result) -> list[str] | None:
        """Options of the command `explain` that makes it; None where there are none."""
        return None


class PairFigure(Figure):
    """A figure of two pictures; `other` is the key of the second one's result, which the lines
    find under that name."""

    other: str | None = None


def layer_in(given: int, card: ModelCard) -> int:
    """A layer that the model has, as the others below; else they raise OptionError."""
    return whole_number(Sentence("part.layer", "layer"), given, 0, card.depth - 1)


def head_in(given: int, card: ModelCard) -> int:
    return whole_number(Sentence("part.head", "head"), given, 0, card.heads - 1)


def token_in(given: int, card: ModelCard) -> int:
    return whole_number(Sentence("part.token", "token"), given, 0, card.tokens - 1)


def heads_in(given: list[tuple[int, int]], card: ModelCard) -> str:
    """Heads as Python writes them, (layer, head) each."""
    return repr(tuple((layer_in(layer, card), head_in(head, card)) for layer, head in given))


def cell_in(place: Place, grid: tuple[int, int]) -> str:
    """A row and column as an index of an array's first two sides."""
    names = (Sentence("part.row", "row"), Sentence("part.column", "column"))
    for name, given, count in zip(names, place, grid, strict=True):
        whole_number(name, given, 0, count - 1)
    return ", ".join(map(str, place))


def as_grid(card: ModelCard, more: str = "") -> str:
    """What makes NumPy's (rows, columns) of a tensor of patches."""
    rows, columns = card.grid
    return f".reshape({rows}, {columns}){more}.cpu().numpy()"


def target_code(result: Result) -> str:
    """What is explained, as a further argument; "" where there is no class."""
    return "" if result.aim_name is None else f", target={result.aim_name!r}"


def field_of(card: ModelCard) -> str:
    """What a prediction's number is called, which the page shows."""
    return "score" if card.outputs == "value" else "probability"
