"""The results behind the page's addresses, bounded in what they hold."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

from torch import nn

from vit_explorer.explaining.explanation import Explanation
from vit_explorer.models.loaded import LoadedModel
from vit_explorer.page.state.cache import ByteCache
from vit_explorer.pictures.decode import Picture
from vit_explorer.sentences import Sentence

RESULT_BYTES = 600 * 2**20
# Small ones too come to an end: nobody goes back further.
RESULTS_KEPT = 300
# Weights of models that nothing but results holds: enough for some ViT-B, and a page that still
# shows one of a model let go asks again.
WEIGHT_BYTES = 2 * 2**30
# Keys of results that were asked for without a target.
ASKED_KEPT = 10_000

GONE = Sentence(
    "error.result.gone", "The page no longer holds this result; explain the picture again."
)


@dataclass(frozen=True)
class Result:
    """One explained (picture, model, target); `weights` is the file of a run's model."""

    key: str
    pass_key: str
    model_name: str
    model: LoadedModel = field(repr=False)
    explanation: Explanation = field(repr=False)
    film: Path | None = None
    weights: Path | None = None

    @property
    def picture(self) -> Picture:
        """The whole picture, which other results may share."""
        return self.explanation.picture

    @property
    def aim_name(self) -> int | str | None:
        """What to ask for what is explained by: 3 or "not 3"; None without classes."""
        aim, target = self.explanation.trace.aim, self.explanation.target
        if aim is not None:
            return aim.name
        return None if target is None else target.index

    @cached_property
    def bytes(self) -> int:
        """Memory the result holds, the model's aside, to the nearest few percent."""
        trace = self.explanation.trace
        tensors = [trace.logits, *trace.features.values(), *trace.feature_gradients.values()]
        attends = self.model.card.tier == 1
        tensors += trace.blocks if attends else ()
        for layer in trace.layers if attends else ():
            tensors += layer.tensors
        stored = {tensor.untyped_storage().data_ptr(): tensor for tensor in tensors}
        held = sum(tensor.untyped_storage().nbytes() for tensor in stored.values())
        return held + self.explanation.prepared.bytes + picture_bytes(self.picture)


class Results:
    """Results by their key, and by what was asked for; safe under threads."""

    def __init__(self) -> None:
        self._held: ByteCache[Result] = ByteCache(
            RESULT_BYTES, lambda held: max(held.bytes, RESULT_BYTES // RESULTS_KEPT)
        )
        self._asked: ByteCache[str] = ByteCache(ASKED_KEPT, lambda _: 1)

    def get(self, key: str) -> Result | None:
        return self._held.get(key)

    def find(self, asked: str) -> Result | None:
        """The result of a question, or of a key."""
        return self._held.get(self._asked.get(asked) or asked)

    def put(self, asked: str, result: Result, models: Iterable[LoadedModel]) -> None:
        """Hold a result; those of models beside `models` go where their weights are too much."""
        self._held.put(result.key, result)
        self._asked.put(asked, result.key)
        free = {id(model.module) for model in models}
        weights = 0
        seen = set(free)
        for one in reversed(self._held.values()):
            module = one.model.module
            if id(module) not in seen:
                seen.add(id(module))
                weights += weight_bytes(module)
                if weights <= WEIGHT_BYTES:
                    free.add(id(module))
            if id(module) not in free:
                self._held.drop(one.key)

    def values(self) -> list[Result]:
        """All that are held, the newest last."""
        return self._held.values()


def picture_bytes(picture: Picture) -> int:
    """Memory of a picture's pixels."""
    return picture.bytes


def weight_bytes(module: nn.Module) -> int:
    """Memory of a module's parameters and buffers."""
    tensors = (*module.parameters(), *module.buffers())
    return sum(tensor.numel() * tensor.element_size() for tensor in tensors)
