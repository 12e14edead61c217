"""Where two ways of taking a map's cells away judge it differently, and the likely reason."""

from __future__ import annotations

import numpy as np

from vit_explorer.analysis.faithfulness import Faithfulness
from vit_explorer.sentences import Sentence

# Of the random maps: fewer than so many between two counts are no disagreement but a near thing.
NEAR = 0.15
# Of the whole picture's probability: what is more than a detail.
MUCH = 0.1


def disagreements(pixels: Faithfulness, tokens: Faithfulness) -> dict[str, str]:
    """A sentence for each map that beats chance by one protocol and not by the other.

    The reason is the likeliest of those that the curves show: a near thing, a blurred picture that
    says nearly all, grey that misleads, tokens that are not missed; else the outline of what is
    covered, which no curve shows.

    Args:
        pixels, tokens: the same maps of the same picture and target by either protocol.
    """
    return {
        name: Sentence(
            "trust.differ",
            "Covering pixels says that it {pixels}, taking tokens out that it {tokens}: {reason}.",
            pixels=_said(pixels, name),
            tokens=_said(tokens, name),
            reason=_reason(name, pixels, tokens),
        )
        for name in pixels.scores
        if name in tokens.scores and pixels.beats_chance(name) != tokens.beats_chance(name)
    }


def _said(trust: Faithfulness, name: str) -> str:
    counts = {"beats": trust.beaten(name), "of": len(trust.random)}
    if trust.beats_chance(name):
        return Sentence("trust.differ.beats", "beats {beats} of {of} random maps", **counts)
    return Sentence("trust.differ.only", "beats only {beats} of {of}", **counts)


def _reason(name: str, pixels: Faithfulness, tokens: Faithfulness) -> str:
    apart = abs(pixels.percentile(name) - tokens.percentile(name))
    if apart < NEAR or name in pixels.unsettled | tokens.unsettled:
        return Sentence(
            "trust.differ.near", "it stands near the border, where a few random maps decide"
        )
    score = pixels.scores[name]
    whole, blurred = float(score.deletion_curve[0]), float(score.insertion_curve[0])
    grey, fewer = (
        float(np.mean([chance.deletion for chance in trust.random])) for trust in (pixels, tokens)
    )
    much = MUCH * abs(whole)
    if tokens.beats_chance(name) and blurred >= whole / 2 > 0:
        return Sentence(
            "trust.differ.blur",
            "blurred as a whole the picture still gives {blurred:.2g} of {whole:.2g}, so that "
            "uncovering it can show little",
            blurred=blurred,
            whole=whole,
        )
    if tokens.beats_chance(name) and grey < fewer - much:
        return Sentence(
            "trust.differ.grey",
            "grey itself misleads the model, which gives {grey:.2g} where patches are covered at "
            "random and {fewer:.2g} where their tokens are out",
            grey=grey,
            fewer=fewer,
        )
    if pixels.beats_chance(name) and fewer > grey + much:
        return Sentence(
            "trust.differ.spare",
            "the model hardly misses tokens, which taken out at random leave {fewer:.2g}, so that "
            "it matters little which ones go; grey leaves {grey:.2g}",
            fewer=fewer,
            grey=grey,
        )
    return Sentence(
        "trust.differ.outline",
        "the outline of what is covered is itself something to see, which tokens that are out "
        "don't leave",
    )
