"""Whether a map depends on what a model learned: Adebayo et al., "Sanity Checks for Saliency Maps",
NeurIPS 2018.
"""

from __future__ import annotations

import copy
import dataclasses
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from vit_explorer.methods import METHODS, find_method
from vit_explorer.models.loaded import LoadedModel
from vit_explorer.models.targets import Target
from vit_explorer.tracing.trace import trace

Grid = NDArray[np.float32]


def weight_randomisation(
    model: LoadedModel,
    picture: Any,
    methods: Mapping[str, Mapping[str, Any]] | tuple[str, ...],
    *,
    target: Target = None,
    seed: int = 0,
) -> dict[str, float]:
    """Rank correlation, -1 to 1, of each method's map with the one a ruined model gives.

    Every weight tensor is shuffled in a copy of the model, so each keeps its values but not what
    it learned. A method whose map stays alike (near 1) does not explain the model. A map that is
    the same everywhere correlates with nothing: 0.

    Raises:
        OptionError: an unknown method or option.
    """
    chosen = methods if isinstance(methods, Mapping) else {name: {} for name in methods}
    for name in chosen:
        find_method(name)
    prepared = model.prepare(picture)
    real = trace(model, prepared, target=target, gradients="all")
    ruined = trace(_shuffled(model, seed), prepared, target=real.aim, gradients="all")
    return {
        name: _rank_correlation(
            METHODS[name](real, **options).values, METHODS[name](ruined, **options).values
        )
        for name, options in chosen.items()
    }


def _shuffled(model: LoadedModel, seed: int) -> LoadedModel:
    """A copy of the model with each parameter's numbers in random places."""
    with model.lock:
        module = copy.deepcopy(model.module)
        anatomy = model.anatomy.in_copy(module, model.module)
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in module.parameters():
            order = torch.randperm(parameter.numel(), generator=generator).to(parameter.device)
            parameter.copy_(parameter.flatten()[order].reshape(parameter.shape))
    return dataclasses.replace(model, module=module, anatomy=anatomy)


def _rank_correlation(first: Grid, second: Grid) -> float:
    from scipy.stats import spearmanr

    if np.ptp(first) == 0 or np.ptp(second) == 0:
        return 0.0
    return float(spearmanr(first.ravel(), second.ravel()).statistic)
