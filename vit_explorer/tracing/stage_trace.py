"""The one pass of a model without attention between all patches: its stages' features."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import Tensor

from vit_explorer.models.interception import evaluating, frozen
from vit_explorer.models.loaded import LoadedModel
from vit_explorer.models.needs import require
from vit_explorer.models.outputs import answer
from vit_explorer.models.predictions import first_aims
from vit_explorer.models.structure.stage_outputs import as_grid, keeping
from vit_explorer.models.targets import Aim
from vit_explorer.options import checked_index
from vit_explorer.pictures.preprocess import Prepared
from vit_explorer.sentences import Sentence
from vit_explorer.tracing.attention_layer import Layer
from vit_explorer.tracing.trace import Gradients, Trace, finite, slopes_of


@dataclass(frozen=True, eq=False)
class StageTrace(Trace):
    """One picture's way through a model of tier 2.

    `features` and `feature_gradients` are by stage, (N, D) row by row over its own grid. What a
    trace of a ViT has beside them is not there: asking for it raises UnsupportedModelError.
    """

    layers: tuple[Layer, ...] = field(init=False, repr=False)
    blocks: tuple[Tensor, ...] = field(init=False, repr=False)

    def __getattr__(self, name: str) -> Any:
        if name in ("layers", "blocks"):
            require(self.card, "attention" if name == "layers" else "tokens")
        raise AttributeError(f"{type(self).__name__!r} has no attribute {name!r}")

    def without_tensors(self) -> Trace:
        return replace(self, features={}, feature_gradients={})

    def layer_index(self, layer: int) -> int:
        """Index from 0 of a stage that may be counted from the end. Raises OptionError."""
        of = Sentence("part.stage", "a stage of {model}, ", model=self.card.name)
        instead = Sentence("part.last", ", or -1 for the last")
        return checked_index(
            Sentence("part.layer", "layer"), layer, self.card.depth, of=of, instead=instead
        )

    def attention(self, layer: int) -> Tensor:
        """Raises UnsupportedModelError: there is no attention between all patches."""
        return self.layers[layer].attention(slice(None))

    def attention_rows(self, layer: int, queries: Sequence[int]) -> Tensor:
        """Raises UnsupportedModelError: there is no attention between all patches."""
        return self.layers[layer].attention(list(queries))

    def feature_map(self, layer: int, tokens: Tensor) -> Tensor:
        """A stage's (N, D) as (D, gh, gw) on its own grid."""
        return tokens.T.unflatten(-1, self.card.stages[layer].grid)


def trace_stages(
    model: LoadedModel,
    prepared: Sequence[Prepared],
    targets: Sequence[Aim | None],
    gradients: Gradients,
) -> list[Trace]:
    """Run a model of tier 2 once over several pictures; `trace_batch` checks what it is given."""
    stages = model.card.stages
    depth = len(stages)
    first = {"none": depth, "last": depth - 1, "all": 0}[gradients]
    # As for a ViT, the last features are always there, and all of a model without classes.
    since = min(first, depth - 1) if model.card.classes else 0
    with ExitStack() as borrowed:
        borrowed.enter_context(torch.inference_mode(False))
        borrowed.enter_context(torch.no_grad())
        borrowed.enter_context(frozen(model.module))
        borrowed.enter_context(evaluating(model.module))
        kept = borrowed.enter_context(keeping(model.module, stages, since=since, graph_from=first))
        pixels = torch.cat([picture.pixels for picture in prepared])
        answered = answer(model, pixels.to(next(model.module.parameters())))
        raw, logits = finite(model, answered.raw), finite(model, answered.logits)
        if model.card.classes:
            best = first_aims(raw, model.card.outputs)
            targets = [b if t is None else t for b, t in zip(best, targets, strict=True)]
        graph = [index for index in kept if index >= first]
        slopes = (
            slopes_of(answered.logits, targets, [kept[index] for index in graph]) if graph else []
        )
    features = {index: as_grid(stages[index], tensor.detach()) for index, tensor in kept.items()}
    sloped = {
        index: as_grid(stages[index], slope) for index, slope in zip(graph, slopes, strict=True)
    }
    return [
        StageTrace(
            model=model,
            prepared=picture,
            logits=logits[own],
            target=None if aim is None else aim.index,
            features={index: _cells(grid[own]) for index, grid in features.items()},
            feature_gradients={index: _cells(grid[own]) for index, grid in sloped.items()},
            gradients=gradients,
            raw=raw[own],
            aim=aim,
        )
        for own, (picture, aim) in enumerate(zip(prepared, targets, strict=True))
    ]


def _cells(grid: Tensor) -> Tensor:
    """(D, gh, gw) as (N, D), float32."""
    return grid.flatten(1).T.float()
