"""Maps as the page takes them, and what it offers to choose from."""

from __future__ import annotations

from typing import Any

from vit_explorer.drawing import overlays as render
from vit_explorer.explaining.explain import METHODS, Heatmap, Method
from vit_explorer.models.card import ModelCard
from vit_explorer.page.payloads.phrases import keyed

# What the page shows before anyone chooses, in its order.
SHOWN = (
    "rollout",
    "gradient_rollout",
    "generic_attention",
    "grad_cam",
    "attention_grad_cam",
    "attention",
)
# Of a model without attention between all patches.
SHOWN_OF_STAGES = (
    "grad_cam",
    "hires_cam",
    "grad_cam_plus_plus",
    "eigen_cam",
    "saliency",
    "input_x_gradient",
)
# Methods that run the model once or twice: done at once when chosen, as those of the one pass are.
BRIEF = ("legrad", "saliency", "input_x_gradient")
# Methods that read one layer of the pass, and so can read another.
LAYERED = tuple(n for n, m in METHODS.items() if "layer" in m.defaults and not m.runs_model)
# Maps whose numbers mean the same, and so may share a scale; every other method has its own.
SHARES = {"attention", "rollout"}


def in_order() -> list[str]:
    """All methods by name, those that the page shows by itself first."""
    return list(dict.fromkeys((*SHOWN, *METHODS)))


def usual(card: ModelCard) -> list[str]:
    """What the page shows of a model before anyone chooses."""
    return list(SHOWN if card.tier == 1 else SHOWN_OF_STAGES)


def describe_methods() -> list[dict[str, Any]]:
    """What the page lets choose from, in its order."""
    return [
        {
            "name": name,
            "shown": name in SHOWN,
            "slow": METHODS[name].runs_model,
            "brief": name in BRIEF,
            "layered": name in LAYERED,
            "needs": METHODS[name].needed,
        }
        for name in in_order()
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
        "unit": "shares" if method.name in SHARES else method.name,
    }


def describe_scale(heatmap: Heatmap) -> dict[str, Any]:
    """The values at the ends of a map's colours, and what there is to note of it."""
    low, high = render.limits(heatmap.values, signed=heatmap.signed)
    return {"limits": [low, high], "note": keyed(heatmap.note)}
