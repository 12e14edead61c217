"""Which state decides: activations of one picture put into the pass of another, and heads whose
output is replaced by its mean."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from vit_explorer.analysis.intervention_result import Change, HeadsHow
from vit_explorer.analysis.interventions import intervene_many
from vit_explorer.errors import ModelError, OptionError, UnsupportedModelError
from vit_explorer.models.devices import enough_memory
from vit_explorer.models.interception import BlockWatch, watching
from vit_explorer.models.loaded import LoadedModel
from vit_explorer.models.needs import require
from vit_explorer.models.outputs import answer
from vit_explorer.models.predictions import first_aims
from vit_explorer.models.targets import Aim, Target, find_target
from vit_explorer.options import checked_index
from vit_explorer.sentences import Sentence

# Copies of the tokens that go through the later blocks at once.
_BATCH = 32


@dataclass(frozen=True, eq=False)
class Patched:
    """What a logit becomes when one state of a pass is that of another picture.

    `logits` (L, N) are by block and token in the one order, of passes in which this token, as it
    leaves this block, is the source's; NaN for those not asked for. `before` is the logit of the
    picture as it is, `source` that of the source.
    """

    label: str
    logits: npt.NDArray[np.float32] = field(repr=False)
    before: float
    source: float
    grid: tuple[int, int]
    prefix_tokens: int
    aim: Aim = field(repr=False)

    @property
    def restored(self) -> npt.NDArray[np.float32]:
        """(L, N): how much of the way from the picture's logit to the source's: 0 for none, 1 for
        all; below 0 or above 1 where it goes beyond. NaN where the two are equal."""
        way = self.source - self.before
        with np.errstate(divide="ignore", invalid="ignore"):
            found: npt.NDArray[np.float32] = (self.logits - np.float32(self.before)) / way
        return found if way else np.full_like(found, np.nan)

    @property
    def maps(self) -> npt.NDArray[np.float32]:
        """`restored` of the patches, (L, gh, gw)."""
        patches = self.restored[:, self.prefix_tokens :]
        return patches.reshape(len(patches), *self.grid)


def patch_activations(
    model: LoadedModel,
    source: Any,
    picture: Any,
    *,
    target: Target = None,
    layers: list[int] | tuple[int, ...] | None = None,
    tokens: list[int] | tuple[int, ...] | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> Patched:
    """Put each token's state after each block of one picture into the pass of another, one at a
    time, and follow a logit: which block's and which token's state turns the one into the other.

    Takes a pass of the later blocks for each layer and token; those before run once a batch.

    Args:
        source: the picture whose states are put in; anything `open_picture` takes.
        picture: the picture whose pass they are put into.
        target: class index, label or "A - B" to follow; None is the source's top prediction.
        layers: blocks after which to patch, from 0 or from the end; None is all.
        tokens: token indices to patch, prefix tokens first; None is all.
        progress: called with (passes done, passes in all).

    Raises:
        OptionError: no such layer or token, or none of them.
        TargetError: no such class, or a model without classes.
        UnsupportedModelError: a model of tier 2, or one that reads several blocks' tokens.

    Meng et al., "Locating and Editing Factual Associations in GPT", NeurIPS 2022 (causal tracing);
    Zhang & Nanda, "Towards Best Practices of Activation Patching", ICLR 2024.
    """
    _check_model(model, "patch_activations")
    card = model.card
    require(card, "tokens", "class", "end")
    aim = find_target(model, target)
    what = Sentence("part.layer", "layer"), Sentence("part.token", "token")
    of_layers = _indices(what[0], layers, card.depth)
    of_tokens = _indices(what[1], tokens, card.tokens)
    prepared = [model.prepare(one) for one in (source, picture)]
    logits = np.full((card.depth, card.tokens), np.nan, np.float32)
    total = len(of_layers) * len(of_tokens)
    with model.lock, torch.inference_mode(), enough_memory(card.name):
        (own_raw, own_logits), states = _states(model, prepared[0].pixels)
        if aim is None:
            (aim,) = first_aims(own_raw, card.outputs)
        _, plain = _run(model, prepared[1].pixels, lambda _, tokens: tokens)
        done = 0
        for layer in of_layers:
            for start in range(0, len(of_tokens), _BATCH):
                chosen = of_tokens[start : start + _BATCH]
                put = _putting(model, layer, chosen, states[layer])
                _, found = _run(model, prepared[1].pixels, put)
                if len(found) != len(chosen):
                    raise UnsupportedModelError(
                        "error.patch.copies",
                        "States can't be put into {model}: its later blocks don't take several "
                        "copies of the tokens.",
                        model=card.name,
                    )
                logits[layer, chosen] = aim.of(found.float()).cpu().numpy()
                done += len(chosen)
                if progress is not None:
                    progress(done, total)
    before, after = (float(aim.of(one.float())[0]) for one in (plain, own_logits))
    if not np.isfinite([before, after]).all():
        raise ModelError(
            "error.notfinite",
            "{model} returned logits that are not finite; check its weights.",
            model=card.name,
        )
    return Patched(
        label=aim.label(model.labels),
        logits=logits,
        before=before,
        source=after,
        grid=card.grid,
        prefix_tokens=card.prefix_tokens,
        aim=aim,
    )


def _check_model(model: Any, of: str) -> None:
    if not isinstance(model, LoadedModel):
        raise OptionError(
            "error.patch.model",
            "{of} received {kind} as its model; load it with load_model.",
            of=of,
            kind=type(model).__name__,
        )


def _indices(what: str, given: Any, count: int) -> list[int]:
    if given is None:
        return list(range(count))
    if not isinstance(given, (list, tuple)) or not given:
        raise OptionError(
            "error.patch.list",
            "The {what}s to patch were {given!r}, expected a list of indices from 0 to {last}.",
            what=what,
            given=given,
            last=count - 1,
        )
    return sorted({checked_index(what, one, count) for one in given})


def _states(model: LoadedModel, pixels: Tensor) -> tuple[tuple[Tensor, Tensor], dict[int, Tensor]]:
    """A picture's answer, and the tokens that leave each block, (N, D) in the one order."""
    states: dict[int, Tensor] = {}

    def keep(index: int, tokens: Tensor) -> Tensor:
        states[index] = model.anatomy.arrange(tokens)[0].clone()
        return tokens

    return _run(model, pixels, keep), states


def _putting(
    model: LoadedModel, layer: int, chosen: list[int], state: Tensor
) -> Callable[[int, Tensor], Tensor]:
    """After one block, a copy of the tokens for each of some, which is the state's in it."""

    def put(index: int, tokens: Tensor) -> Tensor:
        if index != layer:
            return tokens
        copies = model.anatomy.arrange(tokens).repeat(len(chosen), 1, 1)  # (B, N, D)
        copies[range(len(chosen)), chosen] = state[chosen]
        return model.anatomy.restore(copies)

    return put


def _run(
    model: LoadedModel, pixels: Tensor, told: Callable[[int, Tensor], Tensor]
) -> tuple[Tensor, Tensor]:
    """What a model returns and its logits, (B, C) each, with something put into it."""
    watch = BlockWatch(model.anatomy, 1)
    with watching(model.module, watch, told):
        found = answer(model, pixels.to(next(model.module.parameters())))
    return found.raw, found.logits


@dataclass(frozen=True, eq=False)
class HeadAblation:
    """What a prediction loses without each head: (L, h).

    `drops` are of the target's probability, or of its value where the model returns values: above 0
    where the head spoke for the target. `before` is that of the whole model.
    """

    label: str
    drops: npt.NDArray[np.float32] = field(repr=False)
    how: HeadsHow
    before: float

    def ranked(self) -> list[tuple[int, int, float]]:
        """(layer, head, drop) from the largest drop to the smallest, from 0."""
        depth, heads = self.drops.shape
        pairs = [(layer, head) for layer in range(depth) for head in range(heads)]
        found = [(layer, head, float(self.drops[layer, head])) for layer, head in pairs]
        return sorted(found, key=lambda one: -one[2])


def ablate_heads(
    model: LoadedModel, picture: Any, *, target: Target = None, how: HeadsHow = "mean"
) -> HeadAblation:
    """Switch off each head alone, and rank them by what the target's probability loses.

    A pass for each head, in batches.

    Args:
        picture: anything `open_picture` takes, or a `Prepared`.
        target: class index, label or "A - B" to follow; None is the top prediction.
        how: "mean": the head's output is its mean over the picture's tokens; "zero": 0.

    Raises:
        ExplorerError: as `intervene` does.

    Michel et al., "Are Sixteen Heads Really Better than One?", NeurIPS 2019; Wang et al.,
    "Interpretability in the Wild", ICLR 2023 (mean ablation).
    """
    _check_model(model, "ablate_heads")
    require(model.card, "attention", "class")
    depth, heads = model.card.depth, model.card.heads
    pairs = [(layer, head) for layer in range(depth) for head in range(heads)]
    changes = [Change(heads_off=(pair,), heads_how=how) for pair in pairs]
    found = intervene_many(model, picture, changes, target=target)
    drops = np.array([-one.difference for one in found], np.float32).reshape(depth, heads)
    first = found[0].target_before
    return HeadAblation(first.label, drops, how, first.measured)
