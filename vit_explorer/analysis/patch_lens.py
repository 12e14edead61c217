"""The logit lens of every patch: what the model would say if all tokens were this one."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from vit_explorer.analysis.logit_lens import check_end
from vit_explorer.models.loaded import LoadedModel
from vit_explorer.models.needs import require
from vit_explorer.models.outputs import measured
from vit_explorer.models.predictions import Prediction, first_aims, predicted
from vit_explorer.models.readout import embedded, read_end
from vit_explorer.tracing.trace import Trace

# So many numbers of tokens are read at a time.
NUMBERS_AT_ONCE = 2**23


@dataclass(frozen=True, eq=False)
class PatchLens:
    """What each patch's token would be read as at each depth: 0 is before the first block.

    `classes` (L + 1, gh, gw) are the most probable classes' indices and `probabilities` theirs, 0
    to 1; both None where the model returns values, of which none is first. `target_map`
    (L + 1, gh, gw) is the probability of the `target`, or its value.
    """

    target: Prediction
    target_map: npt.NDArray[np.float32] = field(repr=False)
    classes: npt.NDArray[np.int64] | None = field(repr=False)
    probabilities: npt.NDArray[np.float32] | None = field(repr=False)


@torch.no_grad()
def patch_lens(trace: Trace) -> PatchLens:
    """Read every patch's token after every block by the model's own norm and head.

    The head is given tokens that are all this patch's: whatever it reads (a class token, the mean
    of the patches, an attention pool), it reads this patch. At the last depth that is the model's
    own head on the token. In a model that reads its class token nothing in training asks patches
    to be readable: what they say is a hint, and no segmentation.

    Raises:
        TargetError: the model has no classifier.
        UnsupportedModelError: it keeps no tokens of patches, or its head reads more than the last
            block's output.

    Vilas et al., "Analyzing Vision Transformers for Image Classification in Class Embedding
    Space", NeurIPS 2023.
    """
    model, card = trace.model, trace.card
    require(card, "tokens", "end", "class")
    check_end(trace, read_end(model, trace.blocks[-1][None]).raw[0])
    outputs = card.outputs
    last = trace.raw.float().cpu()
    (aim,) = first_aims(last[None], outputs) if trace.aim is None else (trace.aim,)
    depths = (embedded(model, trace.prepared.pixels)[0], *trace.blocks)
    patches = torch.cat([tokens[card.prefix_tokens :] for tokens in depths])  # ((L + 1)·n, D)
    found: list[tuple[Tensor, Tensor, Tensor]] = []
    for raw in _read(model, patches):
        said = measured(raw, outputs)  # (some, C)
        most = said.max(dim=-1)
        own = aim.measured(said, probabilities=outputs != "value")
        found.append((own, most.indices, most.values))
    maps, classes, shares = (
        torch.cat(parts).unflatten(0, (len(depths), *card.grid)).cpu()
        for parts in zip(*found, strict=True)
    )
    ranked = outputs != "value"
    return PatchLens(
        target=predicted(last, model.labels, aim, outputs),
        target_map=maps.float().numpy(),
        classes=classes.numpy() if ranked else None,
        probabilities=shares.float().numpy() if ranked else None,
    )


def read_patches(model: LoadedModel, patches: Tensor) -> Tensor:
    """What the model's end returns (n, C) for each token (n, D), were all tokens this one."""
    return torch.cat(list(_read(model, patches)))


def _read(model: LoadedModel, patches: Tensor) -> Iterator[Tensor]:
    """The same, so many tokens at a time that their copies and answers are cheap to hold."""
    card = model.card
    count = card.prefix_tokens + 1 if _reads_few(model, patches[-1]) else card.tokens
    step = max(1, NUMBERS_AT_ONCE // max(count * card.dim, card.classes))
    for some in patches.split(step):
        yield _read_alike(model, some, count)


def _read_alike(model: LoadedModel, patches: Tensor, count: int) -> Tensor:
    """What the end returns (n, C) of `count` tokens that are all the same, for each of (n, D)."""
    alike = patches[:, None].expand(-1, count, -1)
    return read_end(model, alike, arranged=False).raw.float()


def _reads_few(model: LoadedModel, token: Tensor) -> bool:
    """Whether the head says the same of a single patch as of a whole grid of equal ones.

    Most do, which is some hundred times less to compute; one that needs its grid is given it.
    """
    whole = _read_alike(model, token[None], model.card.tokens)
    try:
        few = _read_alike(model, token[None], model.card.prefix_tokens + 1)
    except (RuntimeError, ValueError, IndexError, AssertionError):
        return False
    exact = 1e-4 * max(1.0, float(whole.abs().max()))
    return few.shape == whole.shape and float((few - whole).abs().max()) <= exact
