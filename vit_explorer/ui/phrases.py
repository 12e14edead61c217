"""Sentences that Python makes, as keys and values that the page says in its reader's language."""

from __future__ import annotations

import re
from typing import Any

# Where weights and labels come from (as cards say it), and notes of heatmaps.
PHRASES = {
    r"file (?P<name>.+)": "source.file",
    r"timm, weights from (?P<name>.+)": "source.weights",
    r"timm, pretrained": "source.pretrained",
    r"timm, random weights": "source.random",
    r"transformers (?P<kind>\w+), folder (?P<name>.+)": "source.folder",
    r"the checkpoint": "source.checkpoint",
    r"ImageNet, by the number of classes \((?P<count>.+)\)": "source.imagenet",
    r"given": "source.given",
    r"none: numbered": "source.numbered",
    r"The model reads the patches: .+": "note.patches",
    r"The model has no class token: .+": "note.noclass",
    r"The map sums to (?P<sum>.+); the logit rises by (?P<rise>.+) over the baseline's "
    r"\((?P<steps>\d+) steps\)\.": "note.completeness",
}


def keyed(text: str) -> dict[str, Any]:
    """The page's key for a sentence and the values in it; the sentence itself if it has none."""
    for pattern, key in PHRASES.items():
        found = re.fullmatch(pattern, text)
        if found:
            return {"key": key, "values": found.groupdict()}
    return {"text": text}
