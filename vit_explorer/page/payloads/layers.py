"""What happens from layer to layer: predictions read early, tokens compared, norms and outliers."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
import torch.nn.functional as F

from vit_explorer.analysis.contributions import contributions
from vit_explorer.analysis.logit_lens import logit_lens
from vit_explorer.analysis.readout_path import readout_path
from vit_explorer.analysis.tokens import Artifacts, artifacts, token_similarity
from vit_explorer.errors import ExplorerError
from vit_explorer.models.outputs import measured
from vit_explorer.page.payloads.packing import pack
from vit_explorer.page.payloads.result import describe_prediction
from vit_explorer.page.state.results import Result
from vit_explorer.sentences import keyed

# Larger ones are not sent whole; the page then asks for one token's similarities at a time.
MAX_TOKEN_NUMBERS = 8 * 2**20


def depth_bytes(result: Result) -> bytes:
    """Everything of the Layers view but the tokens.

    Facts are the logit lens by depth and each layer's norms in a few numbers. Arrays are the
    readout's path, `similarity` (L, L), `points` (L, 2) and `shares` (2,), and of each layer the
    patches' `norms` (L, n) and the prefix tokens' `prefix` (L, p), with their histogram: `counts`
    (L, b) and `edges` (L, b + 1).
    """
    trace, card = result.explanation.trace, result.model.card
    path = readout_path(trace)
    found = [artifacts(trace, layer=layer) for layer in range(card.depth)]
    facts = {
        "lens": _lens(result) if card.classes else None,
        "layers": [_norms(each) for each in found],
        "reads_patches": trace.reads_patches,
        "whole": card.depth * card.tokens * card.dim <= MAX_TOKEN_NUMBERS,
    }
    arrays = {
        "similarity": path.similarity,
        "points": path.points,
        "shares": path.shares,
        "norms": np.stack([each.norms.ravel() for each in found]),
        "prefix": np.stack([each.prefix_norms for each in found]),
        "counts": np.stack([each.histogram[0] for each in found]).astype(np.float32),
        "edges": np.stack([each.histogram[1] for each in found]),
    }
    return pack(facts, arrays)


def _lens(result: Result) -> dict[str, Any]:
    try:
        lens = logit_lens(result.explanation.trace)
    except ExplorerError as error:
        return {"error": keyed(error.sentence)}
    target, outputs = lens.target, result.model.card.outputs
    shares = measured(torch.from_numpy(lens.logits), outputs).numpy()
    final = {each.index: (each.label, shares[:, each.index]) for each in lens.predictions[-1]}
    final[target.index] = (target.label, lens.curve)
    # The other side of a class, or one of several values, is never first or last.
    ranked = outputs != "value" and lens.aim.plain
    return {
        "target": target.index,
        "settled": lens.settled if ranked else None,
        "predictions": [[describe_prediction(each) for each in d] for d in lens.predictions],
        "curves": [
            {"index": index, "label": label, "values": values.tolist()}
            for index, (label, values) in final.items()
        ],
    }


def _norms(found: Artifacts) -> dict[str, Any]:
    return {
        "outliers": np.flatnonzero(found.outliers).tolist(),
        "median": found.median,
        "threshold": found.threshold,
        "class_share": found.class_share,
        "mean_share": found.mean_share,
    }


def contribution_bytes(result: Result) -> bytes:
    """What each part adds to the logit: `heads` (L, h), `mlps` and `attention_biases` (L,), with
    `embedding`, `end` and the `logit` they add up to. An `error` where that can't be told.
    """
    try:
        found = contributions(result.explanation.trace)
    except ExplorerError as error:
        return pack({"error": keyed(error.sentence)}, {})
    facts = {"embedding": found.embedding, "end": found.end, "logit": found.logit}
    arrays = {"heads": found.heads, "mlps": found.mlps, "attention_biases": found.attention_biases}
    return pack(facts, arrays)


def token_bytes(result: Result) -> bytes:
    """Every block's output as directions of length 1: `tokens` (L, N, D)."""
    blocks = torch.stack(result.explanation.trace.blocks).float()
    return pack({}, {"tokens": F.normalize(blocks, dim=-1).cpu().numpy()})


def similarity_bytes(result: Result, token: int) -> bytes:
    """Cosine of one token to every patch: `similarity` (L, gh, gw). Raises IndexError."""
    if not 0 <= token < result.model.card.tokens:
        raise IndexError(f"There is no token {token}.")
    return pack({}, {"similarity": token_similarity(result.explanation.trace, token, layer=None)})
