"""A result as the page takes it: small JSON, and packed bytes for what is large."""

from __future__ import annotations

import io
from typing import Any, Literal

import torch
from PIL import Image

from vit_explorer.analysis.faithfulness import protocols_of
from vit_explorer.analysis.tokens import check_patch_embedding
from vit_explorer.analysis.weights import position_similarity
from vit_explorer.errors import ExplorerError
from vit_explorer.explaining.explanation import Explanation
from vit_explorer.methods import in_order
from vit_explorer.models.calibration import read_calibration
from vit_explorer.models.card import ModelCard
from vit_explorer.models.compared import reads_words
from vit_explorer.models.loaded import LoadedModel
from vit_explorer.models.predictions import Prediction
from vit_explorer.models.shipped import SHIPPED
from vit_explorer.page.payloads.learn import has_projection, has_two_heads
from vit_explorer.page.payloads.maps import describe_map, usual
from vit_explorer.page.payloads.packing import pack
from vit_explorer.page.payloads.tabs import describe_lacks
from vit_explorer.page.state.results import Result
from vit_explorer.sentences import keyed
from vit_explorer.training.recipe import Measured
from vit_explorer.version import __version__

LONGEST_SIDE = 1280
# What is larger is not sent whole; the page then asks for single queries.
MAX_ATTENTION_BYTES = 100 * 2**20
MAX_POSITIONS = 1600
# So many classes are named under the predictions: what else a picture could have been.
FEW_CLASSES = 20


def describe_result(result: Result) -> dict[str, Any]:
    """Everything the page shows at once; addresses are relative to `/explorer/`."""
    explanation, card = result.explanation, result.model.card
    prepared = explanation.prepared
    base = f"results/{result.key}"
    target = explanation.target
    return {
        "key": result.key,
        "pass": result.pass_key,
        "version": __version__,
        "download": f"{base}/explanation.zip",
        "picture": {
            "name": prepared.picture.name,
            "width": prepared.picture.image.width,
            "height": prepared.picture.image.height,
            "url": f"{base}/picture",
            **prepared.picture.told(),
            "opened": prepared.picture.chosen(),
        },
        "box": list(prepared.box),
        "box_known": prepared.box_known,
        "seen": {
            "width": prepared.shown.width,
            "height": prepared.shown.height,
            "url": f"{base}/seen",
        },
        "model": _describe_model(result),
        "predictions": [describe_prediction(each) for each in explanation.predictions],
        "target": _target(result, target) if target else None,
        "unsure": bool(explanation.unsure),
        "maps": [describe_map(name, explanation.heatmaps[name]) for name in _ordered(explanation)],
        "skipped": {name: keyed(why) for name, why in explanation.skipped.items()},
        "attention": {
            "url": base,
            "depth": card.depth if card.tier == 1 else 0,
            "heads": card.heads,
            "tokens": card.tokens,
            "prefix": card.prefix_tokens,
            "whole": 4 * card.depth * card.heads * card.tokens**2 <= MAX_ATTENTION_BYTES,
        },
        "positions": describe_positions(result),
        "patches": _patch_check(result),
        "film": {"url": f"{base}/film"} if result.film else {},
        "seconds": sum(explanation.seconds.values()),
    }


def _ordered(explanation: Explanation) -> list[str]:
    return [one.name for one in in_order() if one.name in explanation.heatmaps]


def describe_prediction(prediction: Prediction) -> dict[str, Any]:
    """A prediction; its probability is null where the model returns values."""
    return {
        "index": prediction.index,
        "label": prediction.label,
        "probability": prediction.probability,
        "score": prediction.score,
    }


def _target(result: Result, target: Prediction) -> dict[str, Any]:
    """What is explained: `name` is what to ask for it by, `of` the label without a "not", and
    `rather` the class which it is set against, null for none."""
    aim = result.explanation.trace.aim
    other = None if aim is None else aim.other
    return {
        **describe_prediction(target),
        "name": result.aim_name,
        "negated": aim is not None and aim.negated,
        "of": result.model.labels[target.index],
        "rather": None if other is None else {"index": other, "label": result.model.labels[other]},
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
        "channels": card.channels,
        "left_over": list(card.left_over),
        "overlap": card.overlap,
        "attends": card.attends,
        "protocols": protocols_of(model),
        "convolution": has_projection(model),
        "own_order": model.anatomy.places is not None,
        "own_transform": model.preprocess.crop_pct is None,
        "means_of_three": card.preprocess_note != "",
        "prefix": list(card.prefix_names),
        "depth": card.depth,
        "heads": card.heads,
        "dim": card.dim,
        "position": card.position,
        "labels": f"results/{result.key}/labels" if card.classes else None,
        "source": keyed(card.source.sentence),
        "weights_notes": [keyed(note) for note in card.weights_notes],
        "parameters": card.parameters,
        "judged": f"judged/{result.model_name}" if result.model_name in SHIPPED else None,
        "accuracy": _accuracy(model),
        "measured": _measured(model),
        "calibration": _calibration(model),
        "trained_on": keyed(model.trained_on),
        "tokens": card.tokens,
        "head_width": card.head_width,
        "pooling": card.pooling,
        "two_heads": has_two_heads(model),
        "classes": card.classes,
        "outputs": card.outputs,
        "outputs_found": keyed(card.outputs_found),
        "sums_to_one": card.sums_to_one,
        "ends_in": card.ends_in,
        "activation": _activation(card),
        "few_labels": list(model.labels) if 0 < card.classes <= FEW_CLASSES else [],
        "reads_words": reads_words(model),
        "labels_zh": dict(zip(model.labels, model.labels_zh, strict=False)),
        "labels_source": keyed(card.labels_source.sentence),
        "mean": card.mean,
        "std": card.std,
        "interpolation": card.interpolation,
        "crop": card.crop_pct,
        "tier": card.tier,
        "reason": keyed(card.tier_reason),
        "stages": [{"name": stage.name, "grid": list(stage.grid)} for stage in card.stages],
        "usual": usual(card),
        **describe_lacks(card),
    }


def _activation(card: ModelCard) -> str | None:
    """What makes probabilities of logits, in the module or after it; None where nothing does."""
    after = {"classes": "softmax", "labels": "sigmoid"}
    return after.get(card.outputs) or card.ends_in or None


def _device(device: torch.device) -> str:
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    return device.type.upper()


def _measured(model: LoadedModel) -> Measured:
    """The pictures that the accuracy is of."""
    held_out = model.metadata.get("training", {}).get("measured") == "held_out"
    return "held_out" if held_out else "test"


def _calibration(model: LoadedModel) -> dict[str, Any] | None:
    found = read_calibration(model.metadata)
    if found is None:
        return None
    return {"temperature": found.temperature, "pictures": found.held_out}


def _accuracy(model: LoadedModel) -> float | None:
    accuracy = model.metadata.get("metrics", {}).get("accuracy")
    return accuracy if isinstance(accuracy, float) else None


def describe_positions(result: Result) -> dict[str, Any]:
    """Where the position similarities are, if the model has any that can be shown."""
    rows, columns = result.model.card.grid
    if rows * columns > MAX_POSITIONS:
        return {"large": True}
    try:
        position_similarity(result.model)
    except ExplorerError:
        return {}
    return {"url": f"results/{result.key}/positions"}


def position_bytes(result: Result) -> bytes:
    """Cosine similarities of every position to every other: `similarity` (gh, gw, gh, gw)."""
    return pack({}, {"similarity": position_similarity(result.model)})


def _patch_check(result: Result) -> dict[str, float] | None:
    try:
        check = check_patch_embedding(result.model, result.explanation.prepared)
    except ExplorerError:
        return None  # The page says that there is nothing to compare.
    return {"error": check.error, "largest": check.largest}


def layer_bytes(result: Result, layer: int) -> bytes:
    """All heads' `attention` (h, N, N) of one layer. Raises IndexError."""
    if not 0 <= layer < result.model.card.depth:
        raise IndexError(f"There is no layer {layer}.")
    return _pack_attention(result.explanation.trace.attention(layer))


def query_bytes(result: Result, query: int, direction: Literal["from", "to"] = "from") -> bytes:
    """`attention` (L, h, N) of one token to all, or of all to it. Raises IndexError."""
    trace, card = result.explanation.trace, result.model.card
    if not 0 <= query < card.tokens:
        raise IndexError(f"There is no token {query}.")
    if direction == "from":
        rows = [trace.attention_rows(layer, [query])[:, 0] for layer in range(card.depth)]
    else:
        rows = [trace.attention(layer)[:, :, query] for layer in range(card.depth)]
    return _pack_attention(torch.stack(rows))


def _pack_attention(attention: torch.Tensor) -> bytes:
    return pack({}, {"attention": attention.float().cpu().numpy()})


def picture_bytes(image: Image.Image, longest: int = LONGEST_SIDE) -> bytes:
    """The whole picture as JPEG, small enough for a screen."""
    small = image.copy()
    small.thumbnail((longest, longest), Image.Resampling.LANCZOS)
    return _encoded(small, "JPEG", quality=92)


def seen_bytes(image: Image.Image) -> bytes:
    """The pixels the model saw, without loss."""
    return _encoded(image, "PNG")


def _encoded(image: Image.Image, kind: str, **options: Any) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()
