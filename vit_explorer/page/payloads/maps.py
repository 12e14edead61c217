"""Maps as the page takes them, and what it offers to choose from."""

from __future__ import annotations

from typing import Any

import numpy as np

from vit_explorer.drawing import overlays as render
from vit_explorer.methods import METHODS, Heatmap, Method, first_shown, in_order, place
from vit_explorer.models.card import ModelCard
from vit_explorer.page.payloads.packing import pack
from vit_explorer.sentences import keyed


def shown_of(tier: int) -> list[str]:
    """What the page shows of a model of this tier before anyone chooses, in its order."""
    return [method.name for method in first_shown(tier)]


def usual(card: ModelCard) -> list[str]:
    """What the page shows of a model before anyone chooses."""
    return shown_of(card.tier)


def layered() -> list[str]:
    """Methods that read one layer of the pass, and so can read another at once."""
    return [one.name for one in METHODS.values() if one.takes_layer and not one.runs_model]


def describe_methods() -> list[dict[str, Any]]:
    """What the page lets choose from, in its order."""
    first, at_once = shown_of(1), layered()
    return [
        {
            "name": method.name,
            "shown": method.name in first,
            "place": place(method.name),
            "taught": method.taught,
            "slow": method.runs_model,
            # Done at once when chosen, as those of the one pass are.
            "brief": method.passes == "few",
            "layered": method.name in at_once,
            "needs": method.needed,
        }
        for method in in_order()
    ]


def describe_map(name: str, heatmap: Heatmap) -> dict[str, Any]:
    """A map by the page's name for it, its method's facts, and its values row by row."""
    return {
        **describe_method_map(METHODS[heatmap.method]),
        **describe_scale(heatmap),
        "id": name,
        "target_label": heatmap.target_label,
        "grid": list(heatmap.values.shape),
        "values": heatmap.values.ravel().tolist(),
    }


def describe_method_map(method: Method) -> dict[str, Any]:
    """What all maps of a method share."""
    return {
        "name": method.name,
        "source": method.source,
        "signed": method.signed,
        "class_specific": method.class_specific,
        # Shares mean the same and so may stand on one scale; every other method has its own.
        "unit": "share" if method.unit == "share" else method.name,
    }


def describe_scale(heatmap: Heatmap) -> dict[str, Any]:
    """The values at the ends of a map's colours, and what there is to note of it."""
    low, high = render.limits(heatmap.values, signed=heatmap.signed)
    return {"limits": [low, high], "note": keyed(heatmap.note)}


def layers_bytes(name: str, heatmaps: list[Heatmap | None]) -> bytes:
    """A method's maps of all layers: what they share, and each layer's scale and grid, or null.

    The values of those that are there lie one after the other in `values`, row by row.
    """
    facts = {
        **describe_method_map(METHODS[name]),
        "layers": [
            None if one is None else {**describe_scale(one), "grid": list(one.values.shape)}
            for one in heatmaps
        ],
    }
    values = [one.values.ravel() for one in heatmaps if one is not None]
    return pack(facts, {"values": np.concatenate([np.zeros(0, np.float32), *values])})
