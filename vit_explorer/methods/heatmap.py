"""What a method returns: a grid of numbers, one a patch."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt
from torch import Tensor

from vit_explorer.errors import OptionError
from vit_explorer.models.targets import Aim

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
                "error.map.values",
                "The method {method!r} gave values of shape {shape} that are not all finite, "
                "expected one finite number a patch; check the model's weights.",
                method=self.method,
                shape=self.values.shape,
            )
        self.values.setflags(write=False)

    @property
    def range(self) -> tuple[float, float]:
        """Smallest and largest value."""
        return float(self.values.min()), float(self.values.max())
