"""The views that are no heatmaps: each draws a figure, and gives the numbers behind it."""

from __future__ import annotations

import numpy as np

from vit_explorer.analysis.contributions import contributions
from vit_explorer.analysis.head_statistics import attention_distance, attention_entropy
from vit_explorer.analysis.logit_lens import logit_lens
from vit_explorer.analysis.tokens import artifacts, token_similarity
from vit_explorer.analysis.weights import patch_filters, position_similarity
from vit_explorer.drawing import figures
from vit_explorer.drawing import overlays as render
from vit_explorer.drawing.contribution_figures import contribution_figure
from vit_explorer.errors import UnsupportedModelError
from vit_explorer.explaining.views.registry import Drawn, view
from vit_explorer.models.card import LARGEST_DRAWN_GRID
from vit_explorer.tracing.trace import Trace


@view(
    title="Heads",
    summary="How far each head looks, in pixels, and how widely it spreads.",
    source="Dosovitskiy et al. 2021, Fig. 7 (right)",
    requires=("attention",),
    tab="attention",
)
def draw_heads(passed: Trace) -> Drawn:
    arrays = {
        "distance": attention_distance(passed),
        "distance_renormalised": attention_distance(passed, renormalise=True),
        "entropy": attention_entropy(passed),
    }
    drawn = figures.head_figure(
        arrays["distance"], arrays["entropy"], renormalised=arrays["distance_renormalised"]
    )
    return drawn, arrays


@view(
    title="Logit lens",
    summary="What the model would say if it ended after each layer.",
    source="nostalgebraist 2020; Vilas et al. 2023",
    requires=("tokens", "class"),
    tab="layers",
)
def draw_lens(passed: Trace) -> Drawn:
    lens = logit_lens(passed)
    classes = np.array([[p.index for p in row] for row in lens.predictions])
    arrays = {"logits": lens.logits, "target_probability": lens.curve, "top_classes": classes}
    return figures.lens_figure(lens), arrays


@view(
    title="Contributions",
    summary="What each head, MLP, the embedding and the biases add to the logit by themselves.",
    source="Elhage et al. 2021; Gandelsman et al. 2024",
    requires=("attention", "class"),
)
def draw_contributions(passed: Trace) -> Drawn:
    found = contributions(passed)
    arrays = {
        "heads": found.heads,
        "mlps": found.mlps,
        "attention_biases": found.attention_biases,
        "embedding_and_end": np.array([found.embedding, found.end], np.float32),
    }
    return contribution_figure(found), arrays


@view(
    title="Artifacts",
    summary="Patch tokens of high norm after the last layer, and the attention they take.",
    source="Darcet et al. 2024",
    requires=("tokens", "attention"),
    tab="layers",
)
def draw_artifacts(passed: Trace) -> Drawn:
    layers = [artifacts(passed, layer=layer) for layer in range(passed.card.depth)]
    class_shares = [one.class_share for one in layers if one.class_share is not None]
    arrays = {
        "norms": np.stack([one.norms for one in layers]),
        "prefix_norms": np.stack([one.prefix_norms for one in layers]),
        "outliers": np.stack([one.outliers for one in layers]),
        "thresholds": np.array([one.threshold for one in layers], np.float32),
        "attention_share": np.array([one.mean_share for one in layers], np.float32),
        "class_attention_share": np.array(class_shares, np.float32),
    }
    return figures.artifact_figure(passed.prepared.crop, layers[-1]), arrays


@view(
    title="Patch filters",
    summary="Principal components of the patch embedding.",
    source="Dosovitskiy et al. 2021, Fig. 7 (left)",
    requires=("embedding",),
    tab="patches",
)
def draw_filters(passed: Trace) -> Drawn:
    found = patch_filters(passed.model)
    return figures.filter_sheet(found), {"filters": found.filters, "explained": found.explained}


@view(
    title="Token similarity",
    summary="Cosine similarity of the middle patch's token to every patch, after each layer.",
    source="Amir et al. 2022",
    requires=("tokens",),
    tab="layers",
)
def draw_tokens(passed: Trace) -> Drawn:
    patch = (passed.card.grid[0] // 2, passed.card.grid[1] // 2)
    maps = token_similarity(passed, patch, layer=None)
    return figures.similarity_figure(passed.prepared.crop, maps, patch=patch), {
        "similarity": maps,
        "patch": np.array(patch),
    }


@view(
    title="Position similarity",
    summary="Cosine similarity of every position embedding to every other.",
    source="Dosovitskiy et al. 2021, Fig. 7 (middle)",
    requires=("positions",),
    tab="positions",
)
def draw_positions(passed: Trace) -> Drawn:
    card = passed.card
    if not card.position_maps:
        raise UnsupportedModelError(
            "error.view.positions",
            "{model} has no position maps: its positions are {position} on a grid of "
            "{rows}×{columns}, and they are drawn for learned and sin-cos ones on at most "
            "{most} patches.",
            model=card.name,
            position=card.position,
            rows=card.grid[0],
            columns=card.grid[1],
            most=LARGEST_DRAWN_GRID,
        )
    similarity = position_similarity(passed.model)
    return render.position_maps(similarity), {"similarity": similarity}
