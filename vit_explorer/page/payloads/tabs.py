"""What the page's views need of a model; what can't be had is said on them instead."""

from __future__ import annotations

from typing import Any

from vit_explorer.models.card import ModelCard
from vit_explorer.models.needs import NEEDS, lacking

# Tabs by their names, and names of `NEEDS`; the others show of every model what it has.
TABS = {
    "attention": ("attention",),
    "patches": ("embedding",),
    "positions": ("positions",),
    "layers": ("tokens",),
    "learn": ("tokens",),
}


def describe_lacks(card: ModelCard) -> dict[str, Any]:
    """The needs that a model doesn't meet, and of each tab that can't be shown the first one."""
    tabs = {tab: lacking(card, needs) for tab, needs in TABS.items()}
    return {
        "lacks": [name for name, need in NEEDS.items() if not need.met(card)],
        "tabs": {tab: need for tab, need in tabs.items() if need is not None},
    }
