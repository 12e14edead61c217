"""Principal components of the patches' tokens as colours: of one picture, or of several."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt
import torch

from vit_explorer.analysis.components import as_colours, principal_components
from vit_explorer.analysis.same_model import require_same_model
from vit_explorer.errors import OptionError
from vit_explorer.models.needs import require
from vit_explorer.tracing.trace import Trace


@dataclass(frozen=True, eq=False)
class FeatureComponents:
    """The first three principal components of the patches' tokens after one layer.

    `scores` (gh, gw, 3), an array a picture, are the tokens on the components, all pictures' on
    the same ones. `colours` (gh, gw, 3) are these from 0 to 1, each component on one scale for all
    pictures: equal colours mean alike patches. `explained` (3,) is each component's share of the
    variance of all patches, 0 to 1.
    """

    layer: int
    scores: tuple[npt.NDArray[np.float32], ...] = field(repr=False)
    colours: tuple[npt.NDArray[np.float32], ...] = field(repr=False)
    explained: npt.NDArray[np.float32]


@torch.no_grad()
def feature_components(traces: Trace | Sequence[Trace], *, layer: int = -1) -> FeatureComponents:
    """What the patches have in common after a layer, as colours; prefix tokens are left out.

    Args:
        traces: a trace, or several of one model, whose patches then share one basis.
        layer: the block whose outputs are compared.

    Raises:
        OptionError: no trace, traces of different models, or no such layer.
        UnsupportedModelError: the model keeps no tokens of patches.

    Oquab et al., "DINOv2: Learning Robust Visual Features without Supervision", TMLR 2024, Fig. 1.
    """
    given = (traces,) if not isinstance(traces, Sequence) else tuple(traces)
    if not given:
        raise OptionError(
            "error.components.none", "No traces were given, expected one or more of one model."
        )
    for one in given:
        require(one.card, "tokens")
        require_same_model(given[0], one)
    index = given[0].layer_index(layer)
    card = given[0].card
    rows = torch.cat([one.blocks[index][card.prefix_tokens :] for one in given])  # (pictures·n, D)
    scores, explained = principal_components(rows)

    def parted(values: torch.Tensor) -> tuple[npt.NDArray[np.float32], ...]:
        grids = values.float().unflatten(0, (len(given), *card.grid))
        return tuple(grid.numpy() for grid in grids)

    return FeatureComponents(
        layer=index,
        scores=parted(scores),
        colours=parted(as_colours(scores)),
        explained=explained.float().numpy(),
    )
