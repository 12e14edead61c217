"""What happens to a prediction when heads are switched off or patches are taken away."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Any, get_args

import torch
from torch import Tensor, nn

from vit_explorer.analysis.intervention_result import Change, HeadsHow, How, Intervention, Pair
from vit_explorer.errors import ModelError, OptionError, UnsupportedModelError
from vit_explorer.models.cells import over_pixels
from vit_explorer.models.devices import enough_memory
from vit_explorer.models.interception import evaluating
from vit_explorer.models.loaded import LoadedModel
from vit_explorer.models.needs import require
from vit_explorer.models.outputs import answer, measured, no_classes
from vit_explorer.models.predictions import best, first_aims, predicted
from vit_explorer.models.readout import read_end
from vit_explorer.models.switching import switching
from vit_explorer.models.targets import Target, find_target
from vit_explorer.options import is_whole, one_of
from vit_explorer.pictures.preprocess import Prepared
from vit_explorer.sentences import Sentence

BATCH = 32


def intervene(
    model: LoadedModel,
    picture: Any,
    *,
    heads_off: Iterable[Pair] = (),
    patches_off: Iterable[Pair | int] = (),
    how: How = "drop",
    heads_how: HeadsHow = "zero",
    target: Target = None,
    top: int = 5,
) -> Intervention:
    """Predict with heads switched off and patches gone, beside the plain prediction.

    A head that is off puts zeros into its layer's output projection. The tokens of dropped patches
    are hidden from every query and from the pooling, which is the same as if they were not there;
    the other tokens keep their positions.

    Args:
        picture: anything `open_picture` takes, or a `Prepared`.
        heads_off: (layer, head) pairs from 0; a layer may be counted from the end, as -1.
        patches_off: (row, column) pairs, or indices row by row, from 0.
        how: "drop" the patches' tokens, or "grey": paint their pixels in the mean colour.
        heads_how: "zero": zeros in the place of the heads' output, or its "mean" over the tokens.
        target: class index or label to follow; None is the plain prediction.
        top: how many predictions to return.

    Raises:
        OptionError: no such head, patch or way; or every patch dropped from a model that pools
            patches.
        TargetError: no such class, or a model without a classifier.
        UnsupportedModelError: dropping patches where blocks mix tokens other than by attention, or
            of a model of tier 2, where they can be greyed; or a head of one.
    """
    heads, patches = Sentence("part.heads", "heads"), Sentence("part.patches", "patches")
    for what, off in ((heads, heads_off), (patches, patches_off)):
        if not isinstance(off, Iterable):
            raise OptionError(
                "error.off.list",
                "The {what} to switch off were {off!r}, expected a list of them.",
                what=what,
                off=off,
            )
    change = Change(tuple(heads_off), tuple(patches_off), how, heads_how)
    return intervene_many(model, picture, (change,), target=target, top=top)[0]


def intervene_many(
    model: LoadedModel,
    picture: Any,
    changes: Sequence[Change],
    *,
    target: Target = None,
    top: int = 5,
) -> tuple[Intervention, ...]:
    """Several changes of one picture, each apart, in shared batches; else as `intervene`."""
    if not isinstance(model, LoadedModel):
        raise OptionError(
            "error.intervene.model",
            "intervene received {kind} as its model; load it with load_model.",
            kind=type(model).__name__,
        )
    if not model.card.classes:
        raise no_classes(
            model.card, Sentence("part.noclass.change", "so there is no prediction to change")
        )
    aim = find_target(model, target)
    checked = [_check(model, change) for change in changes]
    prepared = model.prepare(picture)
    active = [change for change in checked if change.heads or change.patches]
    with model.lock, torch.inference_mode(), enough_memory(model.card.name):
        plain = _run(model, prepared, [_Checked()])
        alike = [list(own) for _, own in groupby(active, key=lambda change: change.heads_how)]
        batches = [
            _run(model, prepared, own[start : start + BATCH])
            for own in alike
            for start in range(0, len(own), BATCH)
        ]
    outputs = model.card.outputs
    raw = torch.cat((plain, *batches)).float().cpu()
    if not bool(torch.isfinite(raw).all()):
        raise ModelError(
            "error.notfinite",
            "{model} returned logits that are not finite; check its weights.",
            model=model.card.name,
        )
    if aim is None:
        (aim,) = first_aims(raw[:1], outputs)
    # A change of nothing is the plain prediction to the last bit.
    places = iter(range(1, len(raw)))
    rows = [next(places) if change.heads or change.patches else 0 for change in checked]
    predictions = [best(row, model.labels, top, outputs) for row in raw]
    aims = [predicted(row, model.labels, aim, outputs) for row in raw]
    shares = measured(raw, outputs)
    return tuple(
        Intervention(
            heads_off=change.heads,
            patches_off=change.patches,
            how=change.how,
            before=predictions[0],
            after=predictions[row],
            target_before=aims[0],
            target_after=aims[row],
            logits_before=raw[0].numpy(),
            logits_after=raw[row].numpy(),
            measured_before=shares[0].numpy(),
            measured_after=shares[row].numpy(),
            aim=aim,
        )
        for change, row in zip(checked, rows, strict=True)
    )


@dataclass(frozen=True)
class _Checked:
    heads: tuple[Pair, ...] = ()
    patches: tuple[Pair, ...] = ()
    how: How = "drop"
    heads_how: HeadsHow = "zero"


def _check(model: LoadedModel, change: Change) -> _Checked:
    one_of(Sentence("part.how", "way patches go"), change.how, get_args(How))
    one_of(Sentence("part.headshow", "way heads go"), change.heads_how, get_args(HeadsHow))
    if change.heads_off:
        require(model.card, "attention")
    heads = tuple(sorted({_head(model, pair) for pair in change.heads_off}))
    patches = tuple(sorted({_patch(model, place) for place in change.patches_off}))
    if patches and change.how == "drop":
        check_drop(model, len(patches))
    return _Checked(heads, patches, change.how, change.heads_how)


def check_drop(model: LoadedModel, count: int) -> None:
    """Raises UnsupportedModelError or OptionError where so many patches can't be dropped."""
    card = model.card
    require(card, "tokens")
    if card.read_blocks and pools_patches(model):
        raise UnsupportedModelError(
            "error.drop.several",
            "Patches can't be dropped from {model}: its head pools the patches of several "
            "blocks together; grey them instead.",
            model=card.name,
        )
    if count == card.grid[0] * card.grid[1] and pools_patches(model):
        raise OptionError(
            "error.drop.all",
            "All {count} patches were dropped, but {model} predicts from the patches ({pooling} "
            "pooling): leave at least one, or grey them.",
            count=count,
            model=card.name,
            pooling=card.pooling,
        )
    convolutions = (nn.Conv1d, nn.Conv2d, nn.Conv3d)
    for block in model.blocks:
        for child in block.modules():
            if isinstance(child, convolutions) and set(child.kernel_size) != {1}:
                raise UnsupportedModelError(
                    "error.drop.mixing",
                    "Patches can't be dropped from {model}: its blocks also mix neighbours by "
                    "convolution, which needs the whole grid; grey them instead.",
                    model=card.name,
                )


def _head(model: LoadedModel, pair: Any) -> Pair:
    depth, heads = model.card.depth, model.card.heads
    if _is_pair(pair) and -depth <= pair[0] < depth and 0 <= pair[1] < heads:
        return int(pair[0]) % depth, int(pair[1])
    raise OptionError(
        "error.off.head",
        "A head to switch off was {pair!r}, expected (layer, head): a layer from 0 to "
        "{last_layer} and a head from 0 to {last_head}.",
        pair=pair,
        last_layer=depth - 1,
        last_head=heads - 1,
    )


def _patch(model: LoadedModel, place: Any) -> Pair:
    rows, columns = model.card.grid
    if is_whole(place):
        row, column = divmod(int(place), columns)
        if 0 <= row < rows:
            return row, column
    elif _is_pair(place) and 0 <= place[0] < rows and 0 <= place[1] < columns:
        return int(place[0]), int(place[1])
    raise OptionError(
        "error.off.patch",
        "A patch to switch off was {place!r}, expected (row, column) below ({rows}, {columns}), "
        "or an index from 0 to {last}.",
        place=place,
        rows=rows,
        columns=columns,
        last=rows * columns - 1,
    )


def _is_pair(given: Any) -> bool:
    return isinstance(given, (tuple, list)) and len(given) == 2 and all(map(is_whole, given))


def pools_patches(model: LoadedModel) -> bool:
    """Whether a model's end reads patches, so that some have to be there."""
    return model.card.pooling != "class"


def _run(model: LoadedModel, prepared: Prepared, changes: Sequence[_Checked]) -> Tensor:
    """What the model returns (B, C), one row a change; heads go one way in all of them."""
    card = model.card
    parameter = next(model.module.parameters())
    pixels = prepared.pixels.to(parameter).expand(len(changes), -1, -1, -1)
    grey, dropped = (_patches_off(model, changes, how) for how in get_args(How)[::-1])
    if bool(grey.any()):
        cells = over_pixels(card, grey)
        pixels = pixels.masked_fill(cells[:, None], 0.0)  # the normalisation's mean colour
    if card.tier == 2:  # nothing else was asked for, or it was refused
        with evaluating(model.module):
            return answer(model, pixels).raw
    mean = changes[0].heads_how == "mean"
    return run_without(model, pixels, dropped, _heads_on(model, changes), mean=mean)


def run_without(
    model: LoadedModel,
    pixels: Tensor,
    dropped: Tensor,
    heads: Mapping[int, Tensor] | None = None,
    *,
    mean: bool = False,
) -> Tensor:
    """What the model returns (B, C) for pictures whose `dropped` (B, gh, gw) patches' tokens are
    hidden from every query and from the pooling; of `heads` by layer, (B, h), False are silent, or
    give their `mean` over the tokens."""
    card = model.card
    keys = None
    if bool(dropped.any()):
        prefix = dropped.new_ones(len(pixels), card.prefix_tokens)
        keys = torch.cat((prefix, ~dropped.flatten(1)), dim=1)  # (B, N)
        keys = keys[:, model.anatomy.place.argsort().to(keys.device)]
    last: list[Tensor] = []

    def leaving(index: int, tokens: Tensor) -> Tensor:
        if index == card.depth - 1:
            last.append(tokens.transpose(0, 1) if model.anatomy.tokens_first else tokens)
        return tokens

    switched = switching(
        model.module,
        model.anatomy,
        pictures=len(pixels),
        keys=keys,
        heads=heads or {},
        mean=mean,
        on_output=leaving,
    )
    with switched:
        raw = answer(model, pixels).raw
    if keys is None or not pools_patches(model):
        return raw
    return _pooled(model, last[0], keys)


def _pooled(model: LoadedModel, tokens: Tensor, keys: Tensor) -> Tensor:
    """What the model returns (B, C) for the kept tokens alone, in the network's order; pictures
    that keep as many go together."""
    counts = keys.sum(dim=1)
    rows: dict[int, Tensor] = {}
    for count in counts.unique().tolist():
        members = (counts == count).nonzero().flatten()
        kept = tokens[members][keys[members]].unflatten(0, (len(members), count))
        try:
            found = read_end(model, kept, arranged=False).raw
            rows.update(zip(members.tolist(), found, strict=True))
        except torch.cuda.OutOfMemoryError:
            raise
        except RuntimeError:
            raise UnsupportedModelError(
                "error.drop.grid",
                "Patches can't be dropped from {model}: what follows its blocks needs the whole "
                "grid; grey them instead.",
                model=model.card.name,
            ) from None
    return torch.stack([rows[row] for row in range(len(keys))])


def _patches_off(model: LoadedModel, changes: Sequence[_Checked], how: str) -> Tensor:
    """(B, gh, gw), True for patches that go this way."""
    off = torch.zeros(len(changes), *model.card.grid, dtype=torch.bool)
    for index, change in enumerate(changes):
        if change.how == how:
            for row, column in change.patches:
                off[index, row, column] = True
    return off.to(model.device)


def _heads_on(model: LoadedModel, changes: Sequence[_Checked]) -> dict[int, Tensor]:
    """By layer (B, h), False for heads that are off; layers with all heads on are left out."""
    layers = sorted({layer for change in changes for layer, _ in change.heads})
    on = {layer: torch.ones(len(changes), model.card.heads, dtype=torch.bool) for layer in layers}
    for index, change in enumerate(changes):
        for layer, head in change.heads:
            on[layer][index, head] = False
    return {layer: heads.to(model.device) for layer, heads in on.items()}
