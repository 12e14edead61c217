"""What the maps of results are worth: kept, and asked for unasked where that is quick."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from weakref import WeakKeyDictionary

import torch
from torch import nn

from vit_explorer.analysis.curves import Copy
from vit_explorer.analysis.disagreement import disagreements
from vit_explorer.analysis.faithfulness import (
    PROTOCOLS,
    Faithfulness,
    Protocol,
    faithfulness,
    most_copies,
)
from vit_explorer.methods import Heatmap
from vit_explorer.methods.model_queries import pictures_at_once
from vit_explorer.models.interception import running
from vit_explorer.models.loaded import LoadedModel
from vit_explorer.models.outputs import answer
from vit_explorer.page.state.cache import ByteCache
from vit_explorer.page.state.results import Result

Progress = Callable[[int, int], None]

# Some hundred copies each, of some hundred bytes.
KEPT = 200
TIMED = 4


@dataclass
class _Judged:
    """The maps of a result that were scored, and every copy of its picture that was measured."""

    maps: dict[str, Heatmap] = field(default_factory=dict)
    known: dict[Copy, float] = field(default_factory=dict)
    trust: Faithfulness | None = None


class Verdicts:
    """Comparisons with chance by result and protocol; for one thread at a time."""

    def __init__(self) -> None:
        self._judged: ByteCache[_Judged] = ByteCache(KEPT, lambda _: 1)
        self._seconds: WeakKeyDictionary[nn.Module, float] = WeakKeyDictionary()

    def judge(
        self,
        result: Result,
        maps: Mapping[str, Heatmap],
        protocol: Protocol,
        progress: Progress | None = None,
    ) -> Faithfulness:
        """The comparison of these maps and of all that were judged before; no copy of the picture
        is measured twice.

        Raises:
            ExplorerError: as `faithfulness` does.
        """
        held = self._held(result, protocol)
        if held.trust is not None and maps.keys() <= held.maps.keys():
            return held.trust
        together = held.maps | dict(maps)
        found = faithfulness(
            result.model,
            result.explanation.prepared,
            together,
            target=result.explanation.trace.aim,
            protocol=protocol,
            known=held.known,
            progress=progress,
        )
        held.maps, held.trust = together, found
        return found

    def seconds(self, result: Result, maps: Mapping[str, Heatmap], protocol: Protocol) -> float:
        """How long `judge` takes at most, by how long this model's passes take on this machine.

        Raises:
            ExplorerError: as `faithfulness` does.
        """
        held = self._held(result, protocol)
        if held.trust is not None and maps.keys() <= held.maps.keys():
            return 0.0
        _, passes = most_copies(
            result.model,
            result.explanation.prepared,
            held.maps | dict(maps),
            target=result.explanation.trace.aim,
            protocol=protocol,
            known=held.known,
        )
        return passes * self._pass_seconds(result.model) if passes else 0.0

    def differing(self, result: Result) -> dict[str, str]:
        """A sentence for each map that the protocols judge differently, where both have judged."""
        pixels, tokens = (self._held(result, protocol).trust for protocol in PROTOCOLS)
        return disagreements(pixels, tokens) if pixels and tokens else {}

    def _held(self, result: Result, protocol: Protocol) -> _Judged:
        key = f"{result.key} {protocol}"
        held = self._judged.get(key)
        if held is None:
            held = _Judged()
            self._judged.put(key, held)
        return held

    def _pass_seconds(self, model: LoadedModel) -> float:
        """What a picture takes in a batch, timed once a model."""
        if model.module not in self._seconds:
            parameter = next(model.module.parameters())
            count = min(TIMED, pictures_at_once(model.device, model.card.work))
            size = (count, model.card.channels, *model.card.image_size)
            pixels = torch.zeros(size).to(parameter)
            with model.lock, torch.inference_mode(), running(model.module, model.anatomy):
                taken = []
                for _ in range(2):  # the first pass of a size may set things up
                    start = time.perf_counter()
                    answer(model, pixels).raw.cpu()
                    taken.append(time.perf_counter() - start)
            self._seconds[model.module] = min(taken) / count
        return self._seconds[model.module]
