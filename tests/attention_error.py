"""How far an attention that was read is from what the model went on with."""

from __future__ import annotations

import torch

from vit_explorer.models.interception import AttentionCall
from vit_explorer.models.structure.attention_calls import probabilities


@torch.no_grad()
def attention_error(call: AttentionCall) -> float:
    """Largest |softmax(scale·q kᵀ + bias)·v - output|: rounding alone if a call is read right.

    0 for a softmax written out, whose probabilities are its own.
    """
    if call.query is None or call.key is None or call.value is None or call.output is None:
        return 0.0
    rebuilt = probabilities(call.query, call.key, call.scale, call.bias) @ call.value
    return float((rebuilt - call.output).abs().max())
