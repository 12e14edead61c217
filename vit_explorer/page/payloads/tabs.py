"""What the page's views need of a model; what can't be had is said on them instead."""

from __future__ import annotations

from typing import Any

from vit_explorer.explaining.views import VIEWS
from vit_explorer.models.card import ModelCard
from vit_explorer.models.needs import NEEDS, lacking

# Tabs that show no view of `VIEWS`, and what they need; the others show of every model what it has.
OTHER_TABS = {"learn": ("tokens",)}


def needs_of_tabs() -> dict[str, tuple[str, ...]]:
    """Tabs by their names, and what all the views need that each shows, by names of `NEEDS`."""
    found: dict[str, tuple[str, ...]] = {}
    for view in VIEWS.values():
        if view.tab is not None:
            shared = found.get(view.tab, view.requires)
            found[view.tab] = tuple(need for need in shared if need in view.requires)
    return found | OTHER_TABS


def describe_lacks(card: ModelCard) -> dict[str, Any]:
    """The needs that a model doesn't meet, and of each tab that can't be shown the first one."""
    tabs = {tab: lacking(card, needs) for tab, needs in needs_of_tabs().items()}
    return {
        "lacks": [name for name, need in NEEDS.items() if not need.met(card)],
        "tabs": {tab: need for tab, need in tabs.items() if need is not None},
    }
