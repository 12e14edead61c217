"""What a result is asked beyond its one pass: other layers, methods that run the model, trust.

Plain Python; whatever `progress` raises stops the work and passes through. Answers are kept, so
that coming back to a picture costs nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from vit_explorer.analysis.faithfulness import Faithfulness, Protocol
from vit_explorer.errors import ExplorerError, OptionError
from vit_explorer.explaining.explanation import Explanation
from vit_explorer.methods import METHODS, Heatmap, find_method, first_shown
from vit_explorer.options import index_from_text
from vit_explorer.page.state.cache import ByteCache
from vit_explorer.page.state.results import Result
from vit_explorer.page.state.verdicts import Verdicts
from vit_explorer.sentences import Sentence

Progress = Callable[[int, int], None]

MAP_CACHE_BYTES = 64 * 2**20


@dataclass(frozen=True)
class Named:
    """A map by the page's name for it: "grad_cam", or "grad_cam@7" of the layer 7 from 0."""

    method: str
    layer: int | None = None

    @classmethod
    def parse(cls, text: str, depth: int) -> Named:
        """Raises OptionError for a name that no map of a model of `depth` layers has."""
        method, at, layer = text.partition("@")
        found = find_method(method)
        if not at:
            return cls(method)
        if not found.takes_layer:
            raise OptionError(
                "error.map.layers",
                "The method {method!r} reads all layers; leave out {layer!r}.",
                method=method,
                layer=at + layer,
            )
        return cls(
            method,
            index_from_text(
                Sentence("part.layer.of", "layer of {method!r}", method=method), layer, depth
            ),
        )

    def __str__(self) -> str:
        return self.method if self.layer is None else f"{self.method}@{self.layer}"


class Analyses:
    """Further maps of results, and what they are worth; safe under threads."""

    def __init__(self) -> None:
        self._maps: ByteCache[Heatmap] = ByteCache(MAP_CACHE_BYTES, lambda m: m.values.nbytes)
        self.verdicts = Verdicts()

    def heatmap(self, result: Result, name: str, progress: Progress | None = None) -> Heatmap:
        """One map of a result, by a method and perhaps a layer.

        Raises:
            OptionError: no such method or layer.
            ExplorerError: the model has no classes, or not what the method reads.
        """
        named = Named.parse(name, result.model.card.depth)
        made = result.explanation.heatmaps.get(named.method)
        if made is not None and named.layer is None:
            return made
        key = f"{result.key} {named}"
        held = self._maps.get(key)
        if held is None:
            target = result.explanation.target
            options = {} if named.layer is None else {"layer": named.layer}
            held = METHODS[named.method](
                result.explanation.trace,
                label=target.label if target else None,
                progress=progress,
                **options,
            )
            self._maps.put(key, held)
        return held

    def with_first_shown(self, result: Result) -> Explanation:
        """The explanation with each map that the page shows before anyone chooses; what the model
        doesn't allow is named in `skipped`, with the reason."""
        explanation = result.explanation
        heatmaps, skipped = dict(explanation.heatmaps), dict(explanation.skipped)
        for name in (method.name for method in first_shown(result.model.card.tier)):
            if name not in heatmaps and name not in skipped:
                try:
                    heatmaps[name] = self.heatmap(result, name)
                except ExplorerError as error:
                    skipped[name] = error.sentence
        return replace(explanation, heatmaps=heatmaps, skipped=skipped)

    def layers(self, result: Result, method: str) -> list[Heatmap | None]:
        """A method's map of each layer; None where the model lacks what the method reads there."""
        found: list[Heatmap | None] = []
        for layer in range(result.model.card.depth):
            try:
                found.append(self.heatmap(result, f"{method}@{layer}"))
            except ExplorerError:
                found.append(None)
        return found

    def trust(
        self,
        result: Result,
        names: Sequence[str],
        protocol: Protocol = "pixels",
        progress: Progress | None = None,
    ) -> Faithfulness:
        """Insertion and deletion of maps, and of those scored before, beside random ones.

        Raises:
            OptionError: no maps, or no such method, layer or protocol.
            TargetError: a model without classes.
            UnsupportedModelError: tokens of a model that needs all of them.
        """
        fresh = {name: self.heatmap(result, name, progress) for name in names}
        return self.verdicts.judge(result, fresh, protocol, progress)
