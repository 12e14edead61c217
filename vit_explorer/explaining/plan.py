"""What is asked of a model for each picture: methods and options, checked before it runs."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from vit_explorer.errors import OptionError
from vit_explorer.methods import METHODS, find_method
from vit_explorer.models.loaded import LoadedModel
from vit_explorer.models.needs import why_not
from vit_explorer.options import whole_number
from vit_explorer.sentences import Sentence
from vit_explorer.tracing.trace import Gradients

USUAL = ("rollout", "grad_cam")
# What a pass keeps of a token is some multiple of its width in each layer: query, key, value,
# attention and block output, and with gradients of all blocks what a backward pass reads.
_KEPT = {"none": 6, "last": 6, "all": 30}
_BATCH_BYTES = {"cpu": 256 * 2**20, "cuda": 4 * 2**30}
LARGEST_BATCH = {"cpu": 16, "cuda": 64}


@dataclass(frozen=True)
class Request:
    """Methods by name with all their options, and the gradients they need.

    `skipped` are methods left out, each with the reason; `forgiving` when one that fails is to be
    left out too, since it was not asked for by name.
    """

    options: Mapping[str, Mapping[str, Any]]
    skipped: Mapping[str, str]
    forgiving: bool
    gradients: Gradients

    @classmethod
    def check(
        cls,
        model: LoadedModel,
        methods: Sequence[str] | str | None,
        options: Mapping[str, Mapping[str, Any]] | None,
    ) -> Request:
        """Raises OptionError for an unknown model, method or option; None are `usual_methods`."""
        if not isinstance(model, LoadedModel):
            raise OptionError(
                "error.explain.model",
                "explain received {kind} as its model; load it first with load_model.",
                kind=type(model).__name__,
            )
        if methods is None:
            methods = usual_methods(model)
        single = isinstance(methods, str) or not isinstance(methods, Iterable)
        asked: tuple[Any, ...] = (methods,) if single else tuple(methods)
        if not all(isinstance(name, str) for name in asked):
            raise OptionError(
                "error.methods.names",
                "The methods were {methods!r}, expected names such as 'rollout', or () for "
                "predictions alone.",
                methods=methods,
            )
        every = "all" in asked or "fast" in asked
        chosen = _choose_options(_known(asked) if every else asked, options or {})
        skipped = {}
        if every:
            reasons = {name: why_not(model.card, METHODS[name].needed) for name in chosen}
            skipped = {name: reason for name, reason in reasons.items() if reason}
        chosen = {name: own for name, own in chosen.items() if name not in skipped}
        needs = [METHODS[name].needs(own, model.card.depth) for name, own in chosen.items()]
        if not model.card.classes and all(METHODS[n].gradients == "none" for n in chosen):
            needs = []  # such a model's trace keeps every layer's features without gradients
        if every and model.card.tier == 2 and model.card.classes:
            needs.append("all")  # as where attention of all layers is differentiated
        return cls(chosen, skipped, every, _furthest(needs))

    def batch_size(self, model: LoadedModel, given: int | None = None) -> int:
        """How many pictures to run at once: more are no faster, or keep too much memory.

        Raises:
            OptionError: a number was given that is none.
        """
        if given is None:
            card, device = model.card, model.device.type
            if card.tier == 2:
                numbers = sum(math.prod(stage.grid) * stage.channels for stage in card.stages)
            else:
                numbers = card.depth * card.tokens * card.dim
            kept = 4 * numbers * _KEPT[self.gradients]
            return max(1, min(LARGEST_BATCH[device], _BATCH_BYTES[device] // kept))
        return whole_number(Sentence("part.batch", "batch size"), given, 1)


def usual_methods(model: LoadedModel) -> tuple[str, ...]:
    """What is shown where no methods are named: those of `USUAL` that the model allows."""
    return tuple(name for name in USUAL if not why_not(model.card, METHODS[name].needed))


def _choose_options(
    names: Iterable[str], given: Mapping[str, Mapping[str, Any]]
) -> dict[str, dict[str, Any]]:
    names = tuple(names)
    for name in (*names, *given):
        find_method(name)
    unused = [name for name in given if name not in names]
    if unused:
        raise OptionError(
            "error.method.unused",
            "Options were given for {method!r}, which is not among the methods asked for; add "
            "it to methods or leave its options out.",
            method=unused[0],
        )
    return {name: METHODS[name].options(given.get(name, {})) for name in names}


def _known(asked: Sequence[str]) -> tuple[str, ...]:
    """The methods that "all" or "fast", with others named beside it, stand for."""
    return tuple(
        name
        for name, method in METHODS.items()
        if "all" in asked or not method.runs_model or name in asked
    )


def _furthest(needs: Iterable[Gradients]) -> Gradients:
    order: tuple[Gradients, ...] = ("none", "last", "all")
    return max(needs, key=order.index, default="none")
