"""The page's figures as Python: what may be chosen for each, and the lines that make it again.

The lines come after `model` and `picture` are there; what they call `values` are the numbers that
the page shows.
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from vit_explorer.errors import OptionError
from vit_explorer.models.card import ModelCard
from vit_explorer.page.payloads.code.figure import (
    TRACE,
    Colormap,
    Figure,
    Index,
    Method,
    Place,
    as_grid,
    cell_in,
    field_of,
    head_in,
    heads_in,
    layer_in,
    target_code,
    token_in,
)
from vit_explorer.page.payloads.code.layer_figures import (
    ComponentsFigure,
    ContributionsFigure,
    LensFigure,
    LikenessFigure,
    MatchesFigure,
    NormsFigure,
    PatchLensFigure,
)
from vit_explorer.page.payloads.whatif import ChangeOrder, removal_counts
from vit_explorer.page.state.results import Result

# How the heads of attention (h, N, N) become one.
FUSED = {"mean": ".mean(0)", "max": ".amax(0)"}
# Figures of which nothing is chosen.
PLAIN = {
    "patches": ("patches = vx.patch_grid(model, picture)  # (rows, columns, height, width, 3)",),
    "position-components": ("values = vx.position_components(model).values",),
    "distance": (TRACE, "values = vx.attention_distance(trace, renormalise=True)"),
    "entropy": (TRACE, "values = vx.attention_entropy(trace)"),
    "token-path": (
        TRACE,
        "path = vx.readout_path(trace)",
        "print(path.similarity.round(3), path.points, path.shares)",
    ),
}


class MapFigure(Figure):
    """A method's heatmap over the picture; `limits` where maps share a scale."""

    figure: Literal["map"]
    method: Method
    layer: Index | None
    opacity: Annotated[float, Field(ge=0, le=1)]
    colormap: Colormap
    smooth: bool
    whole: bool
    limits: tuple[float, float] | None

    def lines(self, result: Result) -> list[str]:
        name = self.method
        options = ""
        if self.layer is not None:
            chosen = {name: {"layer": layer_in(self.layer, result.model.card)}}
            options = f", options={chosen!r}"
        look = f"opacity={self.opacity!r}, colormap={self.colormap!r}"
        look += "" if self.smooth else ", smooth=False"
        look += ", on='whole'" if self.whole else ""
        look += "" if self.limits is None else f", limits={self.limits!r}"
        asked = f"methods=({name!r},){target_code(result)}{options}"
        return [
            f"result = vx.explain(model, picture, {asked})",
            f"values = result.heatmaps[{name!r}].values",
            f"overlay = result.overlay({name!r}, {look})",
        ]

    def words(self, result: Result) -> list[str]:
        aim = result.aim_name
        target = [] if aim is None else ["--target", str(aim)]
        layer = [] if self.layer is None else ["--option", f"{self.method}.layer={self.layer}"]
        return ["--method", self.method, *target, *layer]


class AttentionFigure(Figure):
    """What a token attends to ("from") or is attended to by ("to"), in a layer or `rolled` out up
    to it; `mass` below 1 keeps the patches that hold this share."""

    figure: Literal["attention"]
    layer: Index
    head: Literal["mean", "max"] | Index
    token: Index
    direction: Literal["from", "to"]
    rolled: bool
    mass: Annotated[float, Field(gt=0, le=1)]

    def lines(self, result: Result) -> list[str]:
        card = result.model.card
        layer_in(self.layer, card)
        token_in(self.token, card)
        head = self.head
        fused = FUSED[head] if isinstance(head, str) else f"[{head_in(head, card)}]"
        made = self._rolled(card, fused) if self.rolled else self._attended(card, fused)
        if self.mass == 1:
            return made
        # Sums are rounded: without the last factor an even row would keep a patch too many.
        return [
            *made,
            "order = (-values).ravel().argsort(kind='stable')",
            f"enough = {self.mass!r} * values.sum() * (1 - 1e-6)",
            "kept = int((values.ravel()[order].cumsum() < enough).sum()) + 1",
            "values.flat[order[kept:]] = 0",
        ]

    def _attended(self, card: ModelCard, fused: str) -> list[str]:
        ends = (f"{self.token}", f"{card.prefix_tokens}:")
        row, column = ends if self.direction == "from" else ends[::-1]
        return [
            f"attention = vx.trace(model, picture).attention({self.layer})"
            "  # (heads, tokens, tokens)",
            f"values = attention{fused}[{row}, {column}]{as_grid(card)}",
        ]

    def _rolled(self, card: ModelCard, fused: str) -> list[str]:
        outwards = self.direction == "from"
        return [
            TRACE,
            f"layers = range({self.layer + 1})",
            f"attentions = [trace.attention(layer){fused} for layer in layers]",
            "same = attentions[0].new_ones(len(attentions[0])).diag()",
            f"mix = same[{self.token}]",
            f"for attention in {'reversed(attentions)' if outwards else 'attentions'}:",
            "    mixing = (attention + same) / (attention + same).sum(-1, keepdim=True)",
            f"    mix = {'mix @ mixing' if outwards else 'mixing @ mix'}",
            f"values = mix[{card.prefix_tokens}:]{as_grid(card)}",
        ]

    def words(self, result: Result) -> list[str] | None:
        # The command knows the class token's whole row alone, and rollout through all layers.
        card = result.model.card
        of_class = card.prefix_names[self.token : self.token + 1] == ("class",)
        if self.mass < 1 or self.direction != "from" or not of_class or card.pooling != "class":
            return None
        if not self.rolled:
            layer, head = f"attention.layer={self.layer}", f"attention.head={self.head}"
            return ["--method", "attention", "--option", layer, "--option", head]
        if self.layer != card.depth - 1 or self.head not in FUSED:
            return None
        return ["--method", "rollout", "--option", f"rollout.fusion={self.head}"]


class ScoresFigure(Figure):
    """A head's scores of one query, before the softmax."""

    figure: Literal["scores"]
    layer: Index
    head: Index
    token: Index

    def lines(self, result: Result) -> list[str]:
        card = result.model.card
        layer = layer_in(self.layer, card)
        head, token = head_in(self.head, card), token_in(self.token, card)
        of = result.explanation.trace.layers[layer]
        if of.query is None or of.key is None:
            raise OptionError(
                "error.code.scores",
                "The scores of layer {layer} are not seen, its softmax alone is; copy the code of "
                "the attention instead.",
                layer=layer,
            )
        made = [
            f"layer = vx.trace(model, picture).layers[{layer}]",
            f"scores = layer.query[{head}, {token}] @ layer.key[{head}].T * layer.scale"
            "  # (tokens,)",
        ]
        if of.bias is not None:
            # One bias may serve all heads, or all queries.
            row = f"{min(head, len(of.bias) - 1)}, {min(token, of.bias.shape[-2] - 1)}"
            boolean = not of.bias.is_floating_point()
            made += [
                "# What the model adds before the softmax, such as relative positions.",
                f"scores = scores.masked_fill(~layer.bias[{row}], -float('inf'))"
                if boolean
                else f"scores = scores + layer.bias[{row}]",
            ]
        return [*made, f"values = scores[{card.prefix_tokens}:]{as_grid(card, '.float()')}"]


class PositionsFigure(Figure):
    """How alike positions are: to the one at `place`, or each to each; on another `grid`."""

    figure: Literal["positions"]
    place: Place | None = None
    grid: tuple[Annotated[int, Field(ge=1)], Annotated[int, Field(ge=1)]] | None = None

    def lines(self, result: Result) -> list[str]:
        sides = self.grid or result.model.card.grid
        moved = "" if self.grid is None else f", grid={self.grid!r}"
        at = "" if self.place is None else f"[{cell_in(self.place, sides)}]"
        return [f"values = vx.position_similarity(model{moved}){at}"]


class ProfileFigure(Figure):
    """How alike positions are to one, along its row and down its column."""

    figure: Literal["position-profile"]
    place: Place

    def lines(self, result: Result) -> list[str]:
        row, column = self.place
        place = cell_in(self.place, result.model.card.grid)
        return [
            f"similarity = vx.position_similarity(model)[{place}]",
            f"along, down = similarity[{row}], similarity[:, {column}]",
        ]


class PlainFigure(Figure):
    """A figure of which nothing is chosen."""

    figure: Literal["patches", "position-components", "distance", "entropy", "token-path"]

    def lines(self, result: Result) -> list[str]:
        return list(PLAIN[self.figure])


class LayerMapsFigure(Figure):
    """Maps of several methods, each of those layers that it has one of."""

    figure: Literal["layer-maps"]
    layers: dict[Method, list[Index]]

    def lines(self, result: Result) -> list[str]:
        card = result.model.card
        given = {name: [layer_in(each, card) for each in own] for name, own in self.layers.items()}
        every = list(range(card.depth))
        return [
            "layers = {",
            *(
                f"    {name!r}: {f'range({card.depth})' if own == every else repr(own)},"
                for name, own in given.items()
            ),
            "}",
            "maps = {",
            "    (name, layer): vx.explain(",
            f"        model, picture, methods=(name,){target_code(result)},"
            " options={name: {'layer': layer}}",
            "    ).heatmaps[name].values",
            "    for name, own in layers.items()",
            "    for layer in own",
            "}",
        ]


class ChangeFigure(ChangeOrder, Figure):
    """The prediction without some patches and heads."""

    figure: Literal["change"]

    def lines(self, result: Result) -> list[str]:
        card = result.model.card
        field = field_of(card)
        return [
            f"heads = {heads_in(self.heads, card)}",
            f"patches = {self.patches!r}",
            "found = vx.intervene(",
            "    model, picture, heads_off=heads, patches_off=patches,"
            f" how={self.how!r}{target_code(result)}",
            ")",
            f"print(found.target_before.{field}, found.target_after.{field})",
            f"print([(each.label, each.{field}) for each in found.after])",
        ]


class RemovalFigure(Figure):
    """The target as more and more of the patches that a map ranks highest go."""

    figure: Literal["removal"]
    method: Method
    heads: list[Place]
    how: Literal["drop", "grey"]

    def lines(self, result: Result) -> list[str]:
        card, aim = result.model.card, target_code(result)
        return [
            f"found = vx.explain(model, picture, methods={self.method!r}{aim})",
            f"ranked = found.heatmaps[{self.method!r}].values.ravel()",
            "ranking = (-ranked).argsort(kind='stable').tolist()",
            f"counts = {removal_counts(card, self.how)!r}",
            f"heads = {heads_in(self.heads, card)}",
            f"changes = [vx.Change(heads, tuple(ranking[:n]), {self.how!r}) for n in counts]",
            f"tried = vx.intervene_many(model, picture, changes{aim})",
            f"values = [each.target_after.{field_of(card)} for each in tried]",
            "print(list(zip(counts, values)))",
        ]


AnyFigure = Annotated[
    MapFigure | AttentionFigure | ScoresFigure | PositionsFigure | ProfileFigure | LensFigure
    | PatchLensFigure | ContributionsFigure | ComponentsFigure | MatchesFigure | LikenessFigure
    | NormsFigure
    | LayerMapsFigure | ChangeFigure | RemovalFigure | PlainFigure,
    Field(discriminator="figure"),
]  # fmt: skip
