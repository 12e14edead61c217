"""The views of what every patch holds."""

from __future__ import annotations

import numpy as np

from vit_explorer.analysis.feature_components import feature_components
from vit_explorer.analysis.patch_lens import patch_lens
from vit_explorer.drawing import patch_figures
from vit_explorer.explaining.views.registry import Drawn, view
from vit_explorer.tracing.trace import Trace


@view(
    title="Patch lens",
    summary="What every patch would be read as after each layer, and the class's own probability.",
    source="Vilas et al. 2023",
    requires=("tokens", "end", "class"),
    tab="layers",
)
def draw_patch_lens(passed: Trace) -> Drawn:
    lens = patch_lens(passed)
    drawn = patch_figures.patch_lens_figure(passed.prepared.crop, lens, passed.model.labels)
    arrays = {"target": lens.target_map, "target_index": np.array(lens.target.index)}
    if lens.classes is not None and lens.probabilities is not None:
        arrays |= {"classes": lens.classes, "probabilities": lens.probabilities}
    return drawn, arrays


@view(
    title="Components",
    summary="Principal components of the patches' tokens as colours, after each layer.",
    source="Oquab et al. 2024, Fig. 1",
    requires=("tokens",),
    tab="layers",
)
def draw_components(passed: Trace) -> Drawn:
    found = [feature_components(passed, layer=layer) for layer in range(passed.card.depth)]
    drawn = patch_figures.components_figure(passed.prepared.crop, [one.colours[0] for one in found])
    return drawn, {
        "scores": np.stack([one.scores[0] for one in found]),
        "explained": np.stack([one.explained for one in found]),
    }
