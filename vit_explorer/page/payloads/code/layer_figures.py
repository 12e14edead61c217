"""Figures of what tokens hold from layer to layer, and across two pictures, as Python."""

from __future__ import annotations

from typing import Literal

from vit_explorer.analysis.patch_matches import By
from vit_explorer.page.payloads.code.figure import (
    TRACE,
    Figure,
    Index,
    PairFigure,
    Place,
    cell_in,
    field_of,
    layer_in,
    target_code,
    token_in,
)
from vit_explorer.page.state.results import Result


class LensFigure(Figure):
    """What the model would predict after each block."""

    figure: Literal["logit-lens"]

    def lines(self, result: Result) -> list[str]:
        field = field_of(result.model.card)
        return [
            f"trace = vx.trace(model, picture{target_code(result)})",
            "lens = vx.logit_lens(trace)",
            "for depth, predictions in enumerate(lens.predictions):",
            f"    print(depth, [(each.label, round(each.{field}, 4)) for each in predictions])",
        ]


class ContributionsFigure(Figure):
    """What each head, MLP and bias adds to the logit by itself."""

    figure: Literal["contributions"]

    def lines(self, result: Result) -> list[str]:
        return [
            f"found = vx.contributions(vx.trace(model, picture{target_code(result)}))",
            "values = found.heads  # (layers, heads); also found.mlps, found.attention_biases",
            "print(found.ranked()[:10], found.embedding, found.end, found.logit)",
        ]


class LikenessFigure(Figure):
    """Patches that are like a token at one layer."""

    figure: Literal["token-similarity"]
    token: Index
    layer: Index

    def lines(self, result: Result) -> list[str]:
        card = result.model.card
        layer, token = layer_in(self.layer, card), token_in(self.token, card)
        return [TRACE, f"values = vx.token_similarity(trace, {token}, layer={layer})"]


class NormsFigure(Figure):
    """Token norms that stand out at one layer."""

    figure: Literal["token-norms"]
    layer: Index

    def lines(self, result: Result) -> list[str]:
        return [
            TRACE,
            f"found = vx.artifacts(trace, layer={layer_in(self.layer, result.model.card)})",
            "values = found.norms",
            "print(found.count, found.median, found.threshold)",
            "print(found.class_share, found.mean_share)",
        ]


class PatchLensFigure(Figure):
    """What every patch would be read as after one layer, or the explained class's own map."""

    figure: Literal["patch-lens"]
    layer: Index
    kind: Literal["target", "top"]

    def lines(self, result: Result) -> list[str]:
        depth = layer_in(self.layer, result.model.card) + 1
        values = {
            "target": [f"values = lens.target_map[{depth}]"],
            "top": [
                f"values = lens.classes[{depth}]",
                "print([[model.labels[one] for one in row] for row in values])",
            ],
        }
        return [
            f"lens = vx.patch_lens(vx.trace(model, picture{target_code(result)}))",
            *values[self.kind],
        ]


class ComponentsFigure(PairFigure):
    """Patches on their first principal components, with another picture's on the same ones."""

    figure: Literal["feature-components"]
    layer: Index

    def lines(self, result: Result) -> list[str]:
        layer = layer_in(self.layer, result.model.card)
        traces = "vx.trace(model, picture)"
        if self.other is not None:
            traces = f"[{traces}, vx.trace(model, other)]"
        return [
            f"found = vx.feature_components({traces}, layer={layer})",
            "values = found.scores[0]  # found.colours[0] from 0 to 1",
        ]


class MatchesFigure(PairFigure):
    """Where a patch of another picture has its like in this one."""

    figure: Literal["patch-matches"]
    by: By
    layer: Index
    place: Place

    def lines(self, result: Result) -> list[str]:
        card = result.model.card
        layer, place = layer_in(self.layer, card), cell_in(self.place, card.grid)
        return [
            "first, second = vx.trace(model, other), vx.trace(model, picture)",
            f"found = vx.patch_matches(first, second, by={self.by!r}, layer={layer})",
            f"values = found.similarity[{place}]",
            f"print(found.nearest[{place}])",
        ]
