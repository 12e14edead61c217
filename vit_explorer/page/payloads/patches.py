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


def feature_bytes(result: Result, layer: int, other: Result | None = None) -> bytes:
    """Patches on the first three principal components, `scores` (n, 3), and each one's share.

    With `other` the basis is that of both pictures' patches, and the `limits` (2, 3), the lowest
    and the highest score of each component, are those of both.

    Raises:
        IndexError: no such layer.
        OptionError: the other result is of another model.
    """
    _check_layer(result, layer)
    both = [result, *([] if other is None else [other])]
    found = feature_components([one.explanation.trace for one in both], layer=layer)
    everywhere = np.concatenate([scores.reshape(-1, 3) for scores in found.scores])
    return pack(
        {"explained": found.explained.tolist()},
        {
            "scores": found.scores[0].reshape(-1, 3),
            "limits": np.stack([everywhere.min(axis=0), everywhere.max(axis=0)]),
        },
    )


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
