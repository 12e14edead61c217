"""How alike every patch is to words, or to other pictures."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import torch

from vit_explorer.analysis.patch_lens import read_patches
from vit_explorer.errors import ModelError
from vit_explorer.models.compared import Compared
from vit_explorer.models.needs import require
from vit_explorer.tracing.trace import Trace


@torch.no_grad()
def patch_words(trace: Trace, *, layer: int = -1) -> npt.NDArray[np.float32]:
    """Cosine similarity of every patch's embedding to each class: (C, gh, gw), -1 to 1.

    The classes are those of a model loaded with `words=` or turned by `with_pictures`. A patch's
    embedding is what the model's own last norm, pooling and projection make of its token, as
    `patch_lens` reads it.

    Raises:
        ModelError: the model's classes are no words or pictures.
        OptionError: no such layer.
        UnsupportedModelError: it keeps no tokens of patches, or its head reads several layers.

    Zhou et al., "Extract Free Dense Labels from CLIP", ECCV 2022.
    """
    module, card = trace.model.module, trace.card
    if not isinstance(module, Compared):
        raise ModelError(
            "error.words.classes",
            "The classes of {model} are no words; load a CLIP or SigLIP with words=.",
            model=card.name,
        )
    require(card, "tokens", "end", "class")
    tokens = trace.blocks[trace.layer_index(layer)][card.prefix_tokens :]
    logits = read_patches(trace.model, tokens)  # (n, C)
    cosines = ((logits - module.bias) / module.scale).clamp(-1, 1)
    return cosines.T.unflatten(1, card.grid).cpu().numpy()
