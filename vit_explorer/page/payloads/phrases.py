"""Sentences that Python makes, as keys and values that the page says in its reader's language."""

from __future__ import annotations

import re
from typing import Any

# Where weights and labels come from and why attention can't be shown (as cards say it), and notes
# of heatmaps.
PHRASES = {
    r"file (?P<name>.+)": "source.file",
    r"timm, weights from (?P<name>.+)": "source.weights",
    r"timm, pretrained": "source.pretrained",
    r"timm, random weights": "source.random",
    r"transformers (?P<kind>\w+), folder (?P<name>.+)": "source.folder",
    r"timm (?P<kind>[\w.]+), folder (?P<name>.+)": "source.timmfolder",
    r"the checkpoint": "source.checkpoint",
    r"config\.json": "source.config",
    r"the module's config": "source.module",
    r"ImageNet, by the number of classes \((?P<count>.+)\)": "source.imagenet",
    r"given": "source.given",
    r"none: numbered": "source.numbered",
    r"the config's problem_type (?P<type>\w+)": "outputs.found.config",
    r"measured: the module ends in (?P<name>\w+)": "outputs.found.ends",
    r"measured: a linear head, so logits of classes": "outputs.found.head",
    r"measured: non-negative numbers that sum to 1": "outputs.found.sum",
    r"measured: numbers within 0 and 1, .+": "outputs.found.within",
    r"measured: the module says it has no classes": "outputs.found.none",
    r"measured: its rows have length 1": "outputs.found.unit",
    r"measured: no linear map follows the last block": "outputs.found.bare",
    r"measured: a sum, .+": "outputs.found.added",
    r"measured: a projection, which timm .+": "outputs.found.kept",
    r"measured: its last linear map has no bias, .+": "outputs.found.unbiased",
    r"it returns tokens or features, .+": "outputs.found.tokens",
    r"assumed: what made the numbers .+": "outputs.found.assumed",
    r"one output with a name, .+": "outputs.found.named",
    r"one output without a name; .+": "outputs.found.unnamed",
    r"The module returns probabilities: .+": "note.probabilities",
    r"Tiny ImageNet: .+": "trained.tiny",
    r"it attends within windows or groups \((?P<count>\d+) tokens at a time\)": "reason.windows",
    r"it attends over (?P<count>\d+) channels a head, not over tokens": "reason.channels",
    r"it attends from (?P<queries>\d+) tokens to (?P<keys>\d+) others, not to themselves": (
        "reason.others"
    ),
    r"it attends over (?P<count>\d+) tokens, pooled from those of its blocks": "reason.pooled",
    r"its stages attend over different numbers of tokens \((?P<counts>.+)\)": "reason.uneven",
    r"only (?P<some>\d+) of its (?P<all>\d+) stages or blocks attend": "reason.some",
    r"it has no softmax attention between patches \(it mixes them in another way\)": "reason.none",
    r"The blocks norm after attention and .+": "note.normafter",
    r"The head reads the class token \((?P<token>.+)\) and the patches \((?P<patches>.+)\): .+": (
        "note.shares"
    ),
    r"The model reads the patches: .+": "note.patches",
    r"The model has no class token: .+": "note.noclass",
    r"(?P<name>.+) can't be read at each depth: .+": "lens.unread",
    r"The map sums to (?P<sum>.+); the logit rises by (?P<rise>.+) over the baseline's "
    r"\((?P<steps>\d+) steps\)\.": "note.completeness",
}

# What was taken, renamed or left aside of a weights file.
WEIGHTS_NOTES = {
    r"Of several models in the file, (?P<taken>.+) was taken, not (?P<others>.+)\.": "several",
    r"Its tensors are named as (?P<program>.+) names them; they were renamed\.": "renamed",
    r"Its arrays are named as Google's JAX code names them; timm read them\.": "google",
    r"The classifier is the file's (?P<place>.+) of (?P<count>\d+) class(?:es)?\.": "classifier",
    r"The (?P<kind>\w+) before the classifier has PyTorch's own epsilon, which the file doesn't "
    r"say\.": "headnorm",
    r"Something without weights stands before the classifier and is taken for a "
    r"dropout\.": "hidden",
    r"Left aside: (?P<names>.+)\.": "aside",
    r"Its classifier reads a representation layer that timm's model doesn't "
    r"have\.": "representation",
    r"It is pooled by the patches' mean, as the norm after pooling \(fc_norm\) says\.": "mean",
    r"It is pooled by the class token, as the norm before pooling says\.": "token",
    r"Its patch embedding reads (?P<count>\d+) channels?\.": "channels",
    r"Its layer norms have epsilon (?P<eps>\S+), as (?P<program>.+) has it\.": "eps",
    r"The file doesn't say its activation: GELU was taken, as this architecture has it; "
    r"(?P<program>.+) has quick GELU, for which timm has names with quickgelu\.": "activation",
    r"A whole module was saved; its tensors were read, and its code was not\.": "whole",
    r"Objects of other programs in the file were not read: (?P<names>.+)\.": "objects",
    r"The grid of (?P<grid>\S+) patches was read from its position embeddings\.": "grid",
    r"Positions were interpolated from (?P<old>\S+) to (?P<new>\S+) patches\.": "positions",
    r"How pictures are prepared \((?P<names>.+)\) is what the file says of its "
    r"training\.": "prepared",
    r"Pictures are prepared as transformers' (?P<kind>\w+) does by default; give preprocess or "
    r"transform if this model was trained on others\.": "processor",
}
PHRASES |= {pattern: f"weights.{key}" for pattern, key in WEIGHTS_NOTES.items()}

# Why a model has no attention between all patches that can be shown.
REASONS = {
    r"its attention is causal: a token sees only those before it": "causal",
    r"some of its blocks attend by the fused call and some by a softmax": "mixed",
    r"no attention between tokens was seen in it": "unseen",
    r"its blocks make between (?P<least>\d+) and (?P<most>\d+) attentions each": "counts",
    r"in its part (?P<part>'.*') one token attends to (?P<count>\d+), so its blocks don't "
    r"all attend from all tokens": "single",
    r"its part (?P<part>'.*') attends more than once": "again",
    r"its part (?P<part>'.*') is run (?P<count>\d+) times in a pass": "repeated",
    r"its blocks attend over different numbers of tokens \((?P<counts>.+)\)": "lengths",
    r"its blocks have different numbers of heads \((?P<counts>.+)\)": "heads",
    r"what enters its part (?P<part>'.*') is not made of what leaves (?P<before>'.*') "
    r"alone": "between",
    r"its attention keeps pictures and heads in no order that was found "
    r"\((?P<shapes>.+)\)": "layout",
    r"no token follows the picture": "nothing",
    r"what enters its blocks is no sequence of tokens \((?P<shape>.+)\)": "shape",
    r"it attends over (?P<tokens>\d+) tokens, and (?P<count>\d+) enter its blocks": "entering",
    r"(?P<count>\d+) of its (?P<tokens>\d+) tokens follow the picture, and no grid of "
    r"patches was found in which each of them is one patch": "grid",
    r"what enters (?P<part>'.*') is more than what leaves (?P<before>'.*'), and its blocks "
    r"are lists of parts, so their outputs can't be told": "parts",
    r"its blocks don't follow one another, as (?P<part>'.*') doesn't read what "
    r"(?P<before>'.*') gives": "apart",
}
PHRASES |= {pattern: f"reason.{key}" for pattern, key in REASONS.items()}


def keyed(text: str) -> dict[str, Any]:
    """The page's key for a sentence and the values in it; the sentence itself if it has none."""
    for pattern, key in PHRASES.items():
        found = re.fullmatch(pattern, text)
        if found:
            return {"key": key, "values": found.groupdict()}
    return {"text": text}
