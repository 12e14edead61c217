"""What a method returns, and what the registry knows of a method."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt
from torch import Tensor

from vit_explorer.errors import OptionError, nearest
from vit_explorer.models.needs import require
from vit_explorer.models.targets import Aim
from vit_explorer.tracing.trace import Gradients, Trace

Progress = Callable[[int, int], None]


@dataclass(frozen=True, eq=False)
class Noted:
    """A method's grid (gh, gw) with a sentence on how it came out."""

    values: Tensor
    note: str


@dataclass(frozen=True, eq=False)
class Heatmap:
    """One number a patch: `values` (gh, gw) float32, finite and unscaled.

    `target` is the index of the output that `aim` is about, `target_label` what the aim is called;
    None where the map is the same for all.
    """

    values: npt.NDArray[np.float32]
    method: str
    title: str
    target: int | None
    target_label: str | None
    signed: bool
    options: dict[str, Any] = field(default_factory=dict)
    note: str = ""
    aim: Aim | None = None

    def __post_init__(self) -> None:
        if self.values.ndim != 2 or not np.isfinite(self.values).all():
            raise OptionError(
                f"The method {self.method!r} gave values of shape {self.values.shape} that are not "
                "all finite, expected one finite number a patch; check the model's weights."
            )
        self.values.setflags(write=False)

    @property
    def range(self) -> tuple[float, float]:
        """Smallest and largest value."""
        return float(self.values.min()), float(self.values.max())


@dataclass(frozen=True)
class Method:
    """A pure function from a trace to a grid, with what a user needs to know of it."""

    function: Callable[..., Tensor | Noted]
    title: str
    summary: str
    source: str
    caveat: str
    gradients: Gradients = "none"
    signed: bool = False
    requires: tuple[str, ...] = ()  # names of `NEEDS`; of a class, `class_specific` says it
    follows_row: bool = False  # a row of attention: the class token's, or the patches' mean
    runs_model: bool = False  # asks the model again; takes `progress`

    @property
    def name(self) -> str:
        return self.function.__name__

    @property
    def class_specific(self) -> bool:
        """Whether the map is another one for another target class."""
        return self.gradients != "none" or self.runs_model

    @property
    def differentiates(self) -> bool:
        """Whether it follows the target's logit, rather than its probability."""
        return self.class_specific and self.name != "rise"

    @property
    def features(self) -> bool:
        """Whether it reads token features, which are kept where gradients are."""
        return "features" in self.requires

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
                known = ", ".join(defaults) or "none"
                raise OptionError(
                    f"The method {self.name!r} has no option {name!r}{nearest(name, defaults)}; "
                    f"its options: {known}."
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
            return "The module returns probabilities: the map is of these, not of logits."
        if self.features and card.tier == 1 and trace.model.anatomy.blocks[-1].norm_after:
            return (
                "The blocks norm after attention and the features are read there: in the last "
                "block, only tokens that the head reads have a gradient."
            )
        if not self.follows_row:
            return ""
        first, patches = card.readout
        if first and patches:
            return (
                f"The head reads the class token ({first:.0%}) and the patches ({patches:.0%}): "
                "the map holds their rows in these shares."
            )
        if not patches:
            return ""
        why = "reads the patches" if card.has_class_token else "has no class token"
        return f"The model {why}: the map is the mean of the patches' rows."
