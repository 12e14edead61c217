"""The numbers behind the walk from picture to prediction, for the Learn and the Patches view."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from vit_explorer.analysis.token_stages import Stages, stages
from vit_explorer.analysis.weights import patch_filters, patch_projection
from vit_explorer.errors import ExplorerError
from vit_explorer.models.loaded import LoadedModel
from vit_explorer.page.payloads.packing import pack
from vit_explorer.page.state.results import Result

# So many of a vector's numbers are shown; the others only enter its length.
SHOWN = 6
# What the parts that formulas name are called in timm and in transformers, as names' endings.
FUSED_BIASES = ("qkv.bias", "in_proj_bias")
BIASES = {
    "q": ("q_bias", "q_proj.bias", "query.bias"),
    "k": ("k_bias", "k_proj.bias", "key.bias"),
    "v": ("v_bias", "v_proj.bias", "value.bias"),
    "o": ("attn.proj.bias", "out_proj.bias", "o_proj.bias", "attention.output.dense.bias"),
}
MIXINGS = ("attn.proj.weight", "out_proj.weight", "o_proj.weight", "attention.output.dense.weight")
QUERY_NORMS = ("q_norm", "query_norm", "q_layernorm")
SCALES = ("ls1.gamma", "gamma_1", "lambda_1", "layer_scale1.lambda1")
SECOND_HEADS = ("head_dist", "distillation_classifier")


def walk_bytes(result: Result) -> bytes:
    """The stages of a picture's tokens, and what each block adds to each.

    `matrices` are whole: patches (N, D), of which prefix tokens' rows are 0, positions and tokens
    (N, D), each under its name with the largest size in it among the `limits`. `parts`
    (L, N, 3, 1 + 6) hold of every block's input, attention and MLP the length and the first
    numbers; `first` (3, N, 6) the first numbers of patches, positions and tokens. `logits` are
    those of the predictions, `total` the logarithm of the sum of all exponentials. What the
    formulas depend on is that of `describe_build`.
    """
    passed = result.explanation.trace
    found = stages(result.model, result.explanation.prepared)
    prefix = result.model.card.prefix_tokens
    patches = found.patches
    padded = (
        None
        if patches is None
        else torch.cat((patches.new_zeros(prefix, patches.shape[1]), patches))
    )
    named = {"patches": padded, "positions": found.positions, "tokens": found.tokens}
    arrays: dict[str, npt.NDArray[Any]] = {
        f"{name} matrix": _numbers(of) for name, of in named.items() if of is not None
    }
    limits = {name: float(of.abs().max()) for name, of in named.items() if of is not None}
    empty = torch.zeros_like(found.tokens)
    arrays["first"] = _numbers(
        torch.stack([(empty if of is None else of)[:, :SHOWN] for of in named.values()])
    )
    if found.attention is not None and found.mlp is not None:
        arrays["parts"] = _numbers(
            torch.stack(
                [_summary(part) for part in (found.inputs, found.attention, found.mlp)], dim=2
            )
        )
    logits = passed.logits.float()
    facts = {
        "limits": limits,
        "error": found.error,
        "normalised": found.normalised,
        "logits": [float(logits[each.index]) for each in result.explanation.predictions],
        "total": float(logits.logsumexp(dim=0)) if len(logits) else None,
        "apart": found.attention is not None,
        **describe_build(result, found),
    }
    return pack(facts, arrays)


def describe_build(result: Result, found: Stages) -> dict[str, Any]:
    """How a model is built where models differ, by what ran in its first block, or its names.

    `biases`: which of q, k, v and o, the heads' mixing, have one; `mixed`: there is such a mixing;
    `query_norm`: q and k are normalised; `rotary`: they are turned; `scaled`: learned factors scale
    what attention and MLP add; `bias`: something is added to scores, which are first multiplied
    with `scale`; `two_heads`: the logits are the mean of a class head's and a distillation head's.
    """
    block, layers = result.model.blocks[0], result.explanation.trace.layers
    named = [name for name, _ in block.named_parameters()]
    return {
        "biases": _biases(named, found),
        "mixed": found.maps[1] is not None or any(name.endswith(MIXINGS) for name in named),
        "query_norm": _has_part(block, QUERY_NORMS),
        "rotary": "rotary" in result.model.card.position,
        "scaled": any(name.endswith(SCALES) for name in named),
        "bias": any(layer.bias is not None for layer in layers),
        "scale": float(layers[0].scale),
        "two_heads": has_two_heads(result.model),
    }


def _biases(named: Sequence[str], found: Stages) -> list[str]:
    """Which of q, k, v and o have a bias: by the layers that ran where all have or none, else by
    names."""
    before, after = found.maps
    fused = any(name.endswith(FUSED_BIASES) for name in named)
    have = {
        part: (fused and part != "o") or any(name.endswith(endings) for name in named)
        for part, endings in BIASES.items()
    }
    own = {layer.bias is not None for layer in before}
    if len(own) == 1:
        have |= dict.fromkeys("qkv", own.pop())
    if after is not None:
        have["o"] = after.bias is not None
    return [part for part, there in have.items() if there]


def has_two_heads(model: LoadedModel) -> bool:
    """Whether the logits are the mean of a class head's and a distillation head's."""
    return _has_part(model.module, SECOND_HEADS)


def has_projection(model: LoadedModel) -> bool:
    """Whether patches become tokens by one convolution over the pixels."""
    try:
        patch_projection(model)
    except ExplorerError:
        return False
    return True


def _has_part(module: nn.Module, names: tuple[str, ...]) -> bool:
    """Whether a module has a part of one of these names that does something."""
    return any(
        name.rpartition(".")[2] in names and not isinstance(part, nn.Identity)
        for name, part in module.named_modules()
    )


def _summary(tokens: Tensor) -> Tensor:
    """Length and first numbers of vectors (…, D): (…, 1 + 6)."""
    return torch.cat((tokens.norm(dim=-1, keepdim=True), tokens[..., :SHOWN]), dim=-1)


def _numbers(values: Tensor) -> npt.NDArray[np.float32]:
    return values.float().cpu().numpy()


def head_bytes(result: Result, layer: int, head: int, token: int) -> bytes:
    """One query in one head: everything that its output can be worked out from by hand.

    `query` (d,), `key` and `value` (N, d), `bias` (N,) where there is one (-inf where attention
    is not allowed), and the model's own `attention` (N,) and `output` (d,). Where the network
    writes its softmax out, `attention` alone is seen.

    Raises:
        IndexError: no such layer, head or token.
    """
    passed = result.explanation.trace
    card = result.model.card
    if not (0 <= layer < card.depth and 0 <= head < card.heads and 0 <= token < card.tokens):
        raise IndexError(f"layer {layer}, head {head}, token {token}")
    of = passed.layers[layer]
    arrays = {"attention": _numbers(of.attention([token])[head, 0])}
    for name, tensor in (("key", of.key), ("value", of.value)):
        if tensor is not None:
            arrays[name] = _numbers(tensor[head])
    for name, tensor in (("query", of.query), ("output", of.output)):
        if tensor is not None:
            arrays[name] = _numbers(tensor[head, token])
    if of.bias is not None:
        bias = of.bias[min(head, len(of.bias) - 1), min(token, of.bias.shape[-2] - 1)]
        if bias.dtype == torch.bool:
            bias = torch.zeros(bias.shape).masked_fill(~bias.cpu(), -torch.inf)
        arrays["bias"] = _numbers(bias)
    return pack({"scale": float(of.scale)}, arrays)


def patch_bytes(result: Result, patch: int) -> bytes:
    """One patch as it enters the model, and the first filter it is multiplied with.

    `pixels` (C, h, w) are normalised; `filter` (C, h, w), its `bias` and the `value` that the
    model's convolution gives are there where it is one convolution.

    Raises:
        IndexError: no such patch.
    """
    card = result.model.card
    (rows, columns), (high, wide) = card.grid, card.patch_size
    if not 0 <= patch < rows * columns:
        raise IndexError(f"patch {patch}")
    row, column = divmod(patch, columns)
    pixels = result.explanation.prepared.pixels[0].float().cpu()
    cut = pixels[:, row * high : (row + 1) * high, column * wide : (column + 1) * wide]
    arrays = {"pixels": cut.numpy()}
    try:
        projection = patch_projection(result.model)
    except ExplorerError:
        return pack({}, arrays)
    if tuple(projection.kernel_size) != (high, wide):
        return pack({}, arrays)
    weight = projection.weight[0].detach().float().cpu()
    bias = 0.0 if projection.bias is None else float(projection.bias[0].detach())
    with torch.no_grad(), result.model.lock:  # a pass may have hooks on it
        value = float(projection(cut[None].to(projection.weight))[0, 0])
    return pack({"bias": bias, "value": value}, {**arrays, "filter": weight.numpy()})


def filter_bytes(result: Result) -> bytes:
    """The patch embedding's principal components as RGB: `filters` (n, h, w, 3), and shares."""
    try:
        found = patch_filters(result.model)
    except ExplorerError:
        return pack({"explained": []}, {})
    return pack({"explained": found.explained.tolist()}, {"filters": found.filters})
