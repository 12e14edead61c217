"""The one record of a method, and all methods by name.

A function becomes a method by its decorator, and all that speaks of methods derives from the record
that this makes: the registry, what the page offers, the command's help, the documents' table.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, Literal, TypeVar, get_args

import numpy as np
from torch import Tensor

from vit_explorer.errors import OptionError, nearest
from vit_explorer.methods.belief import believed, measured, standing
from vit_explorer.methods.heatmap import Heatmap, Noted, Progress
from vit_explorer.models.card import ModelCard
from vit_explorer.models.needs import NEEDS, require
from vit_explorer.options import find
from vit_explorer.sentences import Sentence
from vit_explorer.tracing.trace import Gradients, Trace

# How often a method asks the model again: never, once or twice, or up to some hundred times.
Passes = Literal["none", "few", "many"]
Cost = Literal["forward", "backward", "few", "many"]
Unit = Literal["share", "logit", "probability", "own"]

COSTS: Mapping[Cost, str] = MappingProxyType(
    {
        "forward": "the one forward pass",
        "backward": "one backward pass more",
        "few": "a pass or two more",
        "many": "many passes more",
    }
)
UNITS: Mapping[Unit, str] = MappingProxyType(
    {
        "share": "shares of what a token takes in",
        "logit": "the target's logit",
        "probability": "the target's probability",
        "own": "its own",
    }
)

# How many of the best are shown before anyone chooses.
BEST = 6

Function = TypeVar("Function", bound=Callable[..., Tensor | Noted])


@dataclass(frozen=True, kw_only=True)
class Facts:
    """What is known of a method besides its function."""

    title: str
    summary: str
    formula: str  # one line of Markdown, for documents
    source: str
    caveat: str
    requires: tuple[str, ...] = ()  # names of `NEEDS`; of a class, `class_specific` says it
    gradients: Gradients = "none"
    passes: Passes = "none"  # where others: asks the model again, and takes `progress`
    unit: Unit = "own"  # of its numbers; maps of shares may stand on one scale
    signed: bool = False
    follows_row: bool = False  # a row of attention: the class token's, or the patches' mean
    taught: bool = False  # what people learn first: shown unasked, wherever it stands
    of_stages: bool = False  # shown unasked of models in stages


@dataclass(frozen=True, kw_only=True)
class Method(Facts):
    """A pure function from a trace to a grid, with what a user needs to know of it."""

    function: Callable[..., Tensor | Noted]

    @property
    def name(self) -> str:
        return self.function.__name__

    @property
    def runs_model(self) -> bool:
        """Whether it asks the model again; it then takes `progress`."""
        return self.passes != "none"

    @property
    def cost(self) -> Cost:
        """What it costs beyond the views of the same picture: one of `COSTS`."""
        if self.passes != "none":
            return self.passes
        return "forward" if self.gradients == "none" else "backward"

    @property
    def costs(self) -> str:
        """The cost in words."""
        return COSTS[self.cost]

    @property
    def class_specific(self) -> bool:
        """Whether the map is another one for another target class."""
        return self.gradients != "none" or self.runs_model

    @property
    def differentiates(self) -> bool:
        """Whether it follows the target's logit, rather than its probability."""
        return self.class_specific and self.unit != "probability"

    @property
    def features(self) -> bool:
        """Whether it reads token features, which are kept where gradients are."""
        return "features" in self.requires

    @property
    def takes_layer(self) -> bool:
        """Whether it reads one layer, which can be chosen."""
        return "layer" in self.defaults

    @property
    def needed(self) -> tuple[str, ...]:
        """All that a model must have, by names of `NEEDS`."""
        return (*self.requires, *(("class",) if self.class_specific else ()))

    @property
    def defaults(self) -> dict[str, Any]:
        """The method's options with their defaults."""
        parameters = inspect.signature(self.function).parameters.values()
        options = {p.name: p.default for p in parameters if p.kind is p.KEYWORD_ONLY}
        options.pop("progress", None)
        return options

    def options(self, given: Mapping[str, Any]) -> dict[str, Any]:
        """All options, the given ones replacing defaults. Raises OptionError for unknown names."""
        defaults = self.defaults
        for name in given:
            if name not in defaults:
                known = ", ".join(defaults) or Sentence("part.none", "none")
                raise OptionError(
                    "error.method.option",
                    "The method {method!r} has no option {option!r}{near}; its options: {known}.",
                    method=self.name,
                    option=name,
                    near=nearest(name, defaults),
                    known=known,
                )
        plain = {k: v.item() if isinstance(v, np.generic) else v for k, v in given.items()}
        return {**defaults, **plain}

    def needs(self, options: Mapping[str, Any], depth: int) -> Gradients:
        """How far back gradients are needed: an earlier layer needs those of all blocks."""
        layer = options.get("layer")
        earlier = isinstance(layer, int) and layer not in (-1, depth - 1)
        if earlier and (self.gradients == "last" or self.features):
            return "all"
        return self.gradients

    def __call__(
        self,
        trace: Trace,
        *,
        label: str | None = None,
        progress: Progress | None = None,
        **given: Any,
    ) -> Heatmap:
        """Compute the map of a trace; `label` names its target class.

        `progress` is called with (passes done, passes in all) by methods that run the model
        again; what it raises stops them.

        Raises:
            OptionError: an unknown option or a value outside its range.
            UnsupportedModelError, TargetError: the model has not what the method needs.
        """
        options = self.options(given)
        require(trace.card, *self.needed)
        passing = {"progress": progress} if self.runs_model else {}
        found = self.function(trace, **options, **passing)
        noted = found if isinstance(found, Noted) else Noted(found, self._note(trace))
        return Heatmap(
            values=np.array(noted.values.detach().float().cpu().numpy(), dtype=np.float32),
            method=self.name,
            title=self.title,
            target=trace.target if self.class_specific else None,
            target_label=label if self.class_specific else None,
            signed=self.signed,
            options=options,
            note=noted.note,
            aim=trace.aim if self.class_specific else None,
        )

    def _note(self, trace: Trace) -> str:
        card = trace.card
        if self.differentiates and card.outputs == "probabilities" and not card.ends_in:
            return Sentence(
                "note.probabilities",
                "The module returns probabilities: the map is of these, not of logits.",
            )
        if self.features and card.tier == 1 and trace.model.anatomy.blocks[-1].norm_after:
            return Sentence(
                "note.normafter",
                "The blocks norm after attention and the features are read there: in the last "
                "block, only tokens that the head reads have a gradient.",
            )
        return _note_of_rows(card) if self.follows_row else ""


def _note_of_rows(card: ModelCard) -> str:
    """Whose rows of attention a map is of, where they are not the class token's alone."""
    first, patches = card.readout
    if first and patches:
        return Sentence(
            "note.shares",
            "The head reads the class token ({first:.0%}) and the patches ({patches:.0%}): "
            "the map holds their rows in these shares.",
            first=first,
            patches=patches,
        )
    if not patches:
        return ""
    if card.has_class_token:
        return Sentence(
            "note.patches",
            "The model reads the patches: the map is the mean of the patches' rows.",
        )
    return Sentence(
        "note.noclass",
        "The model has no class token: the map is the mean of the patches' rows.",
    )


_records: dict[str, Method] = {}
METHODS: Mapping[str, Method] = MappingProxyType(_records)


class Registering(Facts):
    """Makes a function from a `Trace` to (gh, gw) a method, by the function's own name.

    Options of the method are the function's keyword-only parameters. The function stays as it is.

    Raises:
        ValueError: a name that is taken, or facts that don't fit the function.
    """

    def __call__(self, function: Function) -> Function:
        record = Method(function=function, **vars(self))
        _check(record)
        _records[record.name] = record
        return function


method = Registering


def _check(record: Method) -> None:
    """Raises ValueError where a record is wrong, which is its author's to mend."""
    name, place = record.name, f"{record.function.__module__}.{record.name}"
    if name in _records and _records[name].function.__module__ != record.function.__module__:
        other = _records[name].function.__module__
        raise ValueError(f"{place}: {other} has a method of this name; choose another name.")
    for need in record.requires:
        if need not in NEEDS:
            raise ValueError(
                f"{place} requires {need!r}; what can be required: {', '.join(NEEDS)}."
            )
    for what, given, known in (
        ("gradients", record.gradients, get_args(Gradients)),
        ("passes", record.passes, get_args(Passes)),
        ("unit", record.unit, get_args(Unit)),
    ):
        if given not in known:
            raise ValueError(f"{place} has {what} {given!r}, expected one of {', '.join(known)}.")
    takes = "progress" in inspect.signature(record.function).parameters
    if takes != record.runs_model:
        raise ValueError(
            f"{place} {'takes' if takes else 'takes no'} progress, and its passes are "
            f"{record.passes!r}; methods that ask the model again take it, and the others don't."
        )
    for what, text in (("docstring", record.function.__doc__), ("caveat", record.caveat)):
        if not text:
            raise ValueError(f"{place} has no {what}; write what its reader should know.")


def find_method(name: Any) -> Method:
    """The method of a name. Raises OptionError, naming them all, where there is none."""
    return find(Sentence("part.method", "method"), name, METHODS)


def in_order() -> tuple[Method, ...]:
    """All methods as they are offered: the most believed first, as `belief` has measured it."""
    return tuple(_records[name] for name in believed(_records))


def place(name: str) -> int | None:
    """A method's place among those measured, from 1; None of one that never was."""
    known = [one for one in believed(_records) if one in standing(measured())]
    return known.index(name) + 1 if name in known else None


def first_shown(tier: int) -> tuple[Method, ...]:
    """What is shown of a model of this tier before anyone chooses, in order: of tier 1 the best
    that don't run the model many times, and what people learn first; of stages their own."""
    ordered = in_order()
    if tier == 2:
        return tuple(one for one in ordered if one.of_stages)
    best = [one for one in ordered if one.passes != "many" and place(one.name)][:BEST]
    return tuple(one for one in ordered if one in best or one.taught)
