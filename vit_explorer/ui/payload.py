"""A result as the page takes it: small JSON, and packed bytes for what is large."""

from __future__ import annotations

import io
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from PIL import Image

from vit_explorer import render
from vit_explorer.errors import ExplorerError
from vit_explorer.explain import (
    METHODS,
    Explanation,
    LoadedModel,
    Prediction,
    check_patch_embedding,
    position_similarity,
)
from vit_explorer.ui.film import NO_FILM
from vit_explorer.ui.workbench import Result

# What the page shows, in its order.
SHOWN = (
    "rollout",
    "gradient_rollout",
    "generic_attention",
    "grad_cam",
    "attention_grad_cam",
    "attention",
)
# Maps whose numbers mean the same, and so may share a scale; every other method has its own.
SHARES = {"attention", "rollout"}
LONGEST_SIDE = 1280
# What is larger is not sent whole; the page then asks for single queries.
MAX_ATTENTION_BYTES = 64 * 2**20
MAX_POSITIONS = 1600


def describe_result(result: Result) -> dict[str, Any]:
    """Everything the page shows at once; addresses are relative to `/explorer/`."""
    explanation, card = result.explanation, result.model.card
    prepared = explanation.prepared
    base = f"results/{result.key}"
    target = explanation.target
    return {
        "key": result.key,
        "pass": result.pass_key,
        "download": f"{base}/explanation.zip",
        "picture": {
            "name": prepared.picture.name,
            "width": prepared.picture.image.width,
            "height": prepared.picture.image.height,
            "url": f"{base}/picture",
        },
        "box": list(prepared.box),
        "box_known": prepared.box_known,
        "seen": {
            "width": prepared.shown.width,
            "height": prepared.shown.height,
            "url": f"{base}/seen",
        },
        "model": _describe_model(result),
        "predictions": [_prediction(each) for each in explanation.predictions],
        "target": _prediction(target) if target else None,
        "maps": [_describe_map(explanation, name) for name in _in_order(explanation)],
        "skipped": {METHODS[name].title: why for name, why in explanation.skipped.items()},
        "attention": {
            "url": base,
            "depth": card.depth,
            "heads": card.heads,
            "tokens": card.tokens,
            "prefix": card.prefix_tokens,
            "whole": card.depth * card.heads * card.tokens**2 <= MAX_ATTENTION_BYTES,
        },
        "positions": describe_positions(result),
        "patches": _patch_check(result),
        "film": {"url": f"{base}/film", "note": ""} if result.film else {"note": NO_FILM},
        "seconds": sum(explanation.seconds.values()),
    }


def _in_order(explanation: Explanation) -> list[str]:
    return [name for name in SHOWN if name in explanation.heatmaps]


def _prediction(prediction: Prediction) -> dict[str, Any]:
    return {
        "index": prediction.index,
        "label": prediction.label,
        "probability": prediction.probability,
    }


def _describe_map(explanation: Explanation, name: str) -> dict[str, Any]:
    method, heatmap = METHODS[name], explanation.heatmaps[name]
    low, high = render.limits(heatmap.values, signed=heatmap.signed)
    return {
        "name": name,
        "title": heatmap.title,
        "caption": method.summary,
        "caveat": " ".join(filter(None, (method.caveat, heatmap.note))),
        "source": method.source,
        "signed": heatmap.signed,
        "class_specific": method.class_specific,
        "target_label": heatmap.target_label,
        "unit": "shares" if name in SHARES else name,
        "limits": [low, high],
        "values": heatmap.values.ravel().tolist(),
        "text": explanation.describe(name),
    }


def _describe_model(result: Result) -> dict[str, Any]:
    model, card = result.model, result.model.card
    return {
        "id": result.model_name,
        "key": f"{result.model_name} {model.sha256[:16]}",
        "name": card.name,
        "device": _device(model.device),
        "grid": list(card.grid),
        "patch": list(card.patch_size),
        "image": list(card.image_size),
        "channels": 3,
        "prefix": list(card.prefix_names),
        "depth": card.depth,
        "heads": card.heads,
        "dim": card.dim,
        "position": card.position,
        "labels": f"results/{result.key}/labels" if card.classes else None,
        "summary": f"{card.summary()} · {_device(model.device)}",
        "facts": facts(model),
    }


def _device(device: torch.device) -> str:
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    return device.type.upper()


def facts(model: LoadedModel) -> list[tuple[str, str]]:
    """What was detected, a term and its value a line."""
    card = model.card
    by = "{0[0]}×{0[1]}".format
    lines = [
        ("Source", card.source),
        ("Parameters", f"{card.parameters:,}"),
        ("Device", _device(model.device)),
        ("Picture", f"{by(card.image_size)} pixels"),
        ("Patches", f"{by(card.grid)} of {by(card.patch_size)} pixels"),
        ("Tokens before the patches", ", ".join(card.prefix_names) or "none"),
        ("Tokens in all", f"{card.tokens:,}"),
        ("Layers", str(card.depth)),
        ("Heads", f"{card.heads} of width {card.head_width}"),
        ("Width of a token", str(card.dim)),
        ("Position embedding", card.position),
        ("Prediction from", _POOLING.get(card.pooling, card.pooling)),
        ("Classes", f"{card.classes:,}"),
        ("Class names from", card.labels_source),
        ("Mean subtracted", ", ".join(f"{value:.3f}" for value in card.mean)),
        ("Divided by", ", ".join(f"{value:.3f}" for value in card.std)),
        ("Resizing", f"{card.interpolation}, the middle {card.crop_pct:.0%} kept"),
    ]
    accuracy = model.metadata.get("metrics", {}).get("accuracy")
    if isinstance(accuracy, float):
        lines.insert(1, ("Measured accuracy", f"{accuracy:.1%}"))
    return [(term, value) for term, value in lines if value]


_POOLING = {
    "class": "the class token",
    "mean": "the mean of the patches",
    "attention": "an attention pool",
}


def describe_positions(result: Result) -> dict[str, Any]:
    """Where the position similarities are, or why there are none."""
    rows, columns = result.model.card.grid
    if rows * columns > MAX_POSITIONS:
        return {
            "note": f"A grid of {rows}×{columns} has too many pairs of positions to show; choose "
            "a smaller image size."
        }
    try:
        position_similarity(result.model)
    except ExplorerError as error:
        return {"note": str(error)}
    return {"url": f"results/{result.key}/positions", "note": ""}


def position_bytes(result: Result) -> bytes:
    """Cosine similarities of every position to every other, float32 (gh, gw, gh, gw)."""
    return position_similarity(result.model).astype("<f4").tobytes()


def _patch_check(result: Result) -> dict[str, float] | None:
    try:
        check = check_patch_embedding(result.model, result.explanation.prepared)
    except ExplorerError:
        return None  # The page says that there is nothing to compare.
    return {"error": check.error, "largest": check.largest}


def pack_rows(attention: torch.Tensor, prefix: int) -> bytes:
    """Rows (…, N) of probabilities, small enough to send and exact where it matters.

    For each row, in float32: its largest patch value, then its `prefix` tokens' values; after
    them all rows' patches as uint8 shares of that largest value. Rows have scales of their own,
    and prefix tokens none: or rows that spread thin, or that give nearly all to the class token,
    would become zeros.
    """
    rows: npt.NDArray[np.float32] = attention.float().flatten(0, -2).cpu().numpy()
    patches = rows[:, prefix:]
    largest = patches.max(axis=1, keepdims=True)
    exact = np.concatenate([largest, rows[:, :prefix]], axis=1)
    shares = patches / np.where(largest > 0, largest, 1)
    levels = np.rint(shares * 255).astype(np.uint8)
    return exact.astype("<f4").tobytes() + levels.tobytes()


def layer_bytes(result: Result, layer: int) -> bytes:
    """All heads' attention (h, N, N) of one layer, packed."""
    prefix = result.model.card.prefix_tokens
    return pack_rows(result.explanation.trace.attention(layer), prefix)


def query_bytes(result: Result, query: int) -> bytes:
    """One query's row in every layer and head (L, h, N), packed."""
    trace, card = result.explanation.trace, result.model.card
    rows = [trace.attention_rows(layer, [query])[:, 0] for layer in range(card.depth)]
    return pack_rows(torch.stack(rows), card.prefix_tokens)


def picture_bytes(image: Image.Image) -> bytes:
    """The whole picture as JPEG, small enough for a screen."""
    small = image.copy()
    small.thumbnail((LONGEST_SIDE, LONGEST_SIDE), Image.Resampling.LANCZOS)
    return _encoded(small, "JPEG", quality=92)


def seen_bytes(image: Image.Image) -> bytes:
    """The pixels the model saw, without loss."""
    return _encoded(image, "PNG")


def _encoded(image: Image.Image, kind: str, **options: Any) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()
