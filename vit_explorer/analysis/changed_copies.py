"""Two ways of taking cells of a picture away from a model: covering their pixels, and taking their
tokens out.

Pixels: Petsiuk, Das & Saenko, "RISE", BMVC 2018. Tokens: what a transformer reads is a set, so a
token that is not there leaves no trace, where a covered patch is one more thing to look at.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from weakref import WeakKeyDictionary

import numpy as np
import torch
from torch import Tensor, nn

from vit_explorer.analysis.curves import Copy, Kind, Numbers
from vit_explorer.analysis.interventions import check_drop, pools_patches, run_without
from vit_explorer.errors import UnsupportedModelError
from vit_explorer.methods.model_queries import pictures_at_once
from vit_explorer.models.capture import capture
from vit_explorer.models.cells import over_pixels
from vit_explorer.models.devices import enough_memory
from vit_explorer.models.interception import running
from vit_explorer.models.loaded import LoadedModel
from vit_explorer.models.outputs import answer, measured
from vit_explorer.models.structure.anatomy import replaced, tokens_in
from vit_explorer.models.targets import Aim
from vit_explorer.pictures.preprocess import Prepared

# RISE blurs 224 pixels by a Gaussian of 5: 5/16 of a patch of 16.
BLUR_IN_PATCHES = 5 / 16
BATCH = 64


class _Changed(ABC):
    """A model asked about copies of one picture, for the aim's probability or value."""

    least = 0
    share = 1.0  # of a pass that a copy takes

    def __init__(self, model: LoadedModel, prepared: Prepared, aim: Aim) -> None:
        parameter = next(model.module.parameters())
        self.model, self.aim = model, aim
        self.pixels = prepared.pixels.to(parameter.device, parameter.dtype)
        self.cells = model.card.grid[0] * model.card.grid[1]

    def measure(self, copies: Sequence[Copy], told: Callable[[int], None]) -> Numbers:
        """The aim's value on each copy, in float32's precision; `told` how many more are done."""
        card = self.model.card
        found = np.empty(len(copies))
        with ExitStack() as borrowed:
            borrowed.enter_context(self.model.lock)
            borrowed.enter_context(torch.inference_mode())
            borrowed.enter_context(enough_memory(card.name))
            for places in self._batches(copies):
                kept = np.stack([copies[place].cells(self.cells) for place in places])
                cells = torch.from_numpy(kept).to(self.pixels.device)  # (B, cells)
                raw = self._run(cells, [copies[place] for place in places])
                values = measured(raw, card.outputs)
                follows = self.aim.measured(values, probabilities=card.outputs != "value")
                found[places] = follows.float().cpu().numpy()
                told(len(places))
        return found

    @abstractmethod
    def fill(self, kind: Kind) -> str:
        """What a curve of this kind puts in the place of what it takes away."""

    def _batches(self, copies: Sequence[Copy]) -> Iterator[list[int]]:
        """Places of copies that go together."""
        size = min(BATCH, pictures_at_once(self.model.device, self.model.card.work))
        yield from _split(list(range(len(copies))), size)

    @abstractmethod
    def _run(self, kept: Tensor, copies: Sequence[Copy]) -> Tensor:
        """What the model returns, (B, C), for cells that are left, (B, cells)."""


class CoveredPixels(_Changed):
    """Insertion uncovers a blurred picture, deletion covers with the mean colour of the model's
    normalisation."""

    def __init__(self, model: LoadedModel, prepared: Prepared, aim: Aim) -> None:
        from torchvision.transforms.v2.functional import gaussian_blur

        super().__init__(model, prepared, aim)
        h, w = model.card.patch_size
        sigma = [BLUR_IN_PATCHES * w, BLUR_IN_PATCHES * h]
        kernel = [2 * round(3 * value) + 1 for value in sigma]
        self.fills = {
            "": self.pixels,
            "blur": gaussian_blur(self.pixels, kernel, sigma),
            "mean": torch.zeros_like(self.pixels),
        }

    def fill(self, kind: Kind) -> str:
        return "blur" if kind == "insertion" else "mean"

    def _run(self, kept: Tensor, copies: Sequence[Copy]) -> Tensor:
        card = self.model.card
        gone = over_pixels(card, (~kept).unflatten(1, card.grid).float())[:, None] > 0
        fills = torch.cat([self.fills[copy.fill] for copy in copies])
        with running(self.model.module, self.model.anatomy):
            return answer(self.model, torch.where(gone, fills, self.pixels)).raw


class RemovedTokens(_Changed):
    """Tokens of patches leave the sequence before the first block; the others keep their positions.

    A model that reads the patches keeps one at least.

    Raises:
        UnsupportedModelError: a model whose tokens can't be taken out.
    """

    def __init__(self, model: LoadedModel, prepared: Prepared, aim: Aim) -> None:
        super().__init__(model, prepared, aim)
        if model.card.tier == 2:
            raise UnsupportedModelError(
                "error.trust.tokens",
                "Tokens can't be taken out of {model}: {reason}; compare by covered pixels.",
                model=model.card.name,
                reason=model.card.tier_reason,
            )
        check_drop(model, 1)
        self.least = int(pools_patches(model))
        with model.lock, torch.inference_mode(), enough_memory(model.card.name):
            self.shorter = _runs_shorter(model, self.pixels)
        # As often more than half of the tokens stay as less.
        self.share = 0.5 if self.shorter else 1.0

    def fill(self, kind: Kind) -> str:
        return "out"

    def _batches(self, copies: Sequence[Copy]) -> Iterator[list[int]]:
        """Sequences of one length go together."""
        card = self.model.card
        lengths: dict[int, list[int]] = {}
        for place, copy in enumerate(copies):
            length = int(copy.cells(self.cells).sum()) if self.shorter else self.cells
            lengths.setdefault(length, []).append(place)
        for length, places in sorted(lengths.items()):
            size = pictures_at_once(self.model.device, card.prefix_tokens + length)
            yield from _split(places, min(BATCH, size))

    def _run(self, kept: Tensor, copies: Sequence[Copy]) -> Tensor:
        run = _run_shorter if self.shorter else _run_hidden
        return run(self.model, self.pixels, kept)


WAYS = {"pixels": CoveredPixels, "tokens": RemovedTokens}

_SHORTER: WeakKeyDictionary[nn.Module, bool] = WeakKeyDictionary()


def _runs_shorter(model: LoadedModel, pixels: Tensor) -> bool:
    """Whether a network runs on fewer tokens, and says what it says where the others are hidden.

    Seen once a network: one that knows its tokens' number, as by a table of relative positions,
    fails or says something else, and then runs with all of them at its usual cost.
    """
    if model.module not in _SHORTER:
        cells = model.card.grid[0] * model.card.grid[1]
        generator = torch.Generator().manual_seed(0)
        kept = torch.zeros(1, cells, dtype=torch.bool)
        kept[0, torch.randperm(cells, generator=generator)[: (cells + 1) // 2]] = True
        kept = kept.to(pixels.device)
        _SHORTER[model.module] = model.anatomy.blocks[0].whole and _agree(model, pixels, kept)
    return _SHORTER[model.module]


def _agree(model: LoadedModel, pixels: Tensor, kept: Tensor) -> bool:
    try:
        shorter = _run_shorter(model, pixels, kept).float()
    except torch.OutOfMemoryError:
        raise
    except (RuntimeError, ValueError, IndexError, AssertionError):
        return False  # whatever a network says of a number of tokens that it was not made for
    hidden = _run_hidden(model, pixels, kept).float()
    rounding = 1e-3 if pixels.dtype == torch.float32 else 3e-2
    off = (shorter - hidden).abs().max()
    return bool(off <= rounding * hidden.abs().max().clamp(min=1.0))


def _run_hidden(model: LoadedModel, pixels: Tensor, kept: Tensor) -> Tensor:
    """(B, C) with the tokens that are not kept hidden from all others."""
    dropped = (~kept).unflatten(1, model.card.grid)
    return run_without(model, pixels.expand(len(kept), -1, -1, -1), dropped)


def _run_shorter(model: LoadedModel, pixels: Tensor, kept: Tensor) -> Tensor:
    """(B, C) with the kept tokens alone, as many of each picture, from the first block on."""
    anatomy = model.anatomy
    prefix = kept.new_ones(len(kept), model.card.prefix_tokens)
    own = torch.cat((prefix, kept), dim=1)[:, anatomy.place.argsort().to(kept.device)]
    places = own.nonzero()[:, 1].unflatten(0, (len(kept), -1))[..., None]  # (B, N', 1)

    def take(_: nn.Module, args: object, kwargs: object) -> object:
        tokens = tokens_in((args, kwargs), anatomy.tokens)
        if tokens is None:
            return None
        rows = tokens.transpose(0, 1) if anatomy.tokens_first else tokens
        some = rows.gather(1, places.expand(-1, -1, rows.shape[-1]))  # (B, N', D)
        given = some.transpose(0, 1) if anatomy.tokens_first else some
        return replaced((args, kwargs), tokens, lambda _: given)

    with running(model.module, anatomy), capture() as hooks:
        hooks.entering(anatomy.blocks[0].first, take)
        return answer(model, pixels.expand(len(kept), -1, -1, -1)).raw


def _split(places: list[int], size: int) -> Iterator[list[int]]:
    for start in range(0, len(places), size):
        yield places[start : start + size]
