"""What every patch holds, for the Layers and the Compare view."""

from __future__ import annotations

import numpy as np

from vit_explorer.analysis.feature_components import feature_components
from vit_explorer.analysis.patch_lens import patch_lens
from vit_explorer.analysis.patch_matches import By, patch_matches
from vit_explorer.errors import ExplorerError
from vit_explorer.page.payloads.packing import pack
from vit_explorer.page.state.results import Result
from vit_explorer.sentences import keyed


def lens_bytes(result: Result) -> bytes:
    """The lens of every patch: `target` (L + 1, n), and where outputs are ranked `classes` and
    their `probabilities`, alike; `labels` names those classes. An `error` where none can be read.
    """
    try:
        lens = patch_lens(result.explanation.trace)
    except ExplorerError as error:
        return pack({"error": keyed(error.sentence)}, {})
    depths = len(lens.target_map)
    arrays = {"target": lens.target_map.reshape(depths, -1)}
    labels: dict[int, str] = {}
    if lens.classes is not None and lens.probabilities is not None:
        # An index is exact in float32 up to 2**24, more than any model has classes.
        arrays["classes"] = lens.classes.reshape(depths, -1).astype(np.float32)
        arrays["probabilities"] = lens.probabilities.reshape(depths, -1)
        labels = {int(one): result.model.labels[one] for one in np.unique(lens.classes)}
    return pack({"labels": labels}, arrays)


def feature_bytes(result: Result, other: Result | None = None) -> bytes:
    """Patches on each layer's first three principal components: `scores` (L, n, 3).

    With `other` the basis is that of both pictures' patches, and the `limits` (L, 2, 3), the lowest
    and the highest score of each component, are those of both; `explained` tells the shares.

    Raises:
        OptionError: the other result is of another model.
    """
    traces = [one.explanation.trace for one in (result, other) if one is not None]
    found = [feature_components(traces, layer=layer) for layer in range(result.model.card.depth)]
    scores = np.stack([np.stack(one.scores) for one in found])  # (L, pictures, gh, gw, 3)
    scores = scores.reshape(*scores.shape[:2], -1, 3)
    limits = np.stack([scores.min(axis=(1, 2)), scores.max(axis=(1, 2))], axis=1)
    facts = {"explained": [one.explained.tolist() for one in found]}
    return pack(facts, {"scores": scores[:, 0], "limits": limits})


def match_bytes(result: Result, by: By, layer: int, token: int, other: Result) -> bytes:
    """How a patch of `result`, by its token, matches each patch of `other`: `similarity` (n,).

    Raises:
        IndexError: no such layer, or a token that is no patch.
        OptionError, UnsupportedModelError: pictures that can't be compared so.
    """
    _check_layer(result, layer)
    card = result.model.card
    if not card.prefix_tokens <= token < card.tokens:
        raise IndexError(f"token {token}")
    traces = (result.explanation.trace, other.explanation.trace)
    found = patch_matches(*traces, by=by, layer=layer)
    row, column = divmod(token - card.prefix_tokens, card.grid[1])
    return pack({}, {"similarity": found.similarity[row, column].ravel()})


def _check_layer(result: Result, layer: int) -> None:
    if not 0 <= layer < result.model.card.depth:
        raise IndexError(f"layer {layer}")
