"""Explanations as one HTML file that opens without a server and without a network."""

from __future__ import annotations

import base64
import hashlib
import html
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from vit_explorer.drawing.coloring import FLOOR
from vit_explorer.errors import OptionError
from vit_explorer.explaining.explanation import Explanation
from vit_explorer.explaining.figure import (
    figure_facts,
    has_attention,
    in_base64,
    look_and_words,
    script,
    styles,
)
from vit_explorer.result_folder import write_file
from vit_explorer.tracing.trace import Trace

ENTRY = "alone/report.js"
STEPS = 65_535  # as alone/report.js knows them
# Up to how many bytes attention is kept head by head.
MOST_ATTENTION = 12_000_000
ABOUT = (
    "Each map lies over the crop that the model saw: with level i from 0 to 255 between the limits "
    f"shown, its colour covers opacity × ({FLOOR} + {1 - FLOOR} · i/255) of the picture. No map is "
    "proof of why the model decided: what a map is worth beside random maps stands below it."
)


def save_report(results: Explanation | Sequence[Explanation], file: str | Path) -> Path:
    """Write explanations as one HTML file, with attention and maps to look into by hand.

    The file asks nothing of any machine and opens from a disk or a mail: pictures, numbers and its
    one script are in it, and its own policy allows nothing else. It holds the crop of each picture.
    Attention is kept in 65,535 steps of each row's largest, head by head up to 12 MB a picture,
    else as the mean of each layer's heads; a model without such attention has maps alone.

    Returns:
        The file written.

    Raises:
        OptionError: no explanation was given.
        OutputError: the file can't be written.
    """
    given = [results] if isinstance(results, Explanation) else list(results)
    return write_file(Path(file), report_html(given).encode())


def report_html(results: Sequence[Explanation]) -> str:
    """The report's text.

    Raises:
        OptionError: no explanation was given.
    """
    if not results:
        raise OptionError("error.report.none", "A report needs an explanation; give at least one.")
    code = f"{script(ENTRY)}entry.start();\n"
    style = styles("report", "figure")
    data = {**look_and_words(ENTRY), "results": [_numbers(result) for result in results]}
    # "<" ends a script's text wherever it stands in it.
    held = json.dumps(data).replace("<", "\\u003c")
    allowed = base64.b64encode(hashlib.sha256(code.encode()).digest()).decode()
    policy = (
        "default-src 'none'; img-src data:; style-src 'unsafe-inline'; "
        f"script-src 'sha256-{allowed}'"
    )
    names = ", ".join(dict.fromkeys(result.picture.name for result in results))
    return (
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        f'<meta http-equiv="Content-Security-Policy" content="{html.escape(policy)}">\n'
        '<meta name="viewport" content="width=device-width">\n'
        f"<title>{html.escape(names)} · ViT Explorer</title>\n<style>\n{style}</style>\n</head>\n"
        f"<body>\n<h1>How {html.escape(results[0].card.name)} reads {html.escape(names)}</h1>\n"
        f"<p>{html.escape(ABOUT)}</p>\n"
        + "".join(map(_section, results))
        + f'<script type="application/json" id="data">{held}</script>\n'
        f"<script>{code}</script>\n</body>\n</html>\n"
    )


def _numbers(result: Explanation) -> dict[str, Any]:
    """What the script draws of one picture."""
    if not has_attention(result):
        return {**figure_facts(result), "attention": None}
    attention = _attention(result.trace)
    return {**figure_facts(result, attention["heads"]), "attention": attention}


def _attention(trace: Trace) -> dict[str, Any]:
    """Every layer's attention (L, h, N, N) in steps of each row's largest, which are the scales."""
    card = trace.card
    apart = 2 * card.depth * card.heads * card.tokens**2 <= MOST_ATTENTION
    layers = (trace.attention(layer).float().cpu() for layer in range(card.depth))
    rows = np.stack([(one if apart else one.mean(0, keepdim=True)).numpy() for one in layers])
    scales = rows.max(axis=-1, keepdims=True)
    # Finer than any number that is said of it.
    shares = rows / np.maximum(scales, np.finfo(np.float32).tiny)
    levels = np.rint(STEPS * shares).astype(np.uint16)
    return {
        "depth": card.depth,
        "heads": rows.shape[1],
        "tokens": card.tokens,
        "apart": apart,
        "whole": True,
        "levels": in_base64(levels),
        "scales": in_base64(scales),
    }


def _section(result: Explanation) -> str:
    """A picture's heading, its predictions, what its maps are worth, and how all was made."""
    aim = f", explaining {result.target.label}" if result.target else ""
    predictions = [(one.label, one.shown) for one in result.predictions]
    verdicts = [
        (heatmap.title, f"{trust.verdict(name)} (by {protocol})")
        for protocol, trust in result.trust.items()
        for name, heatmap in result.heatmaps.items()
        if name in trust.scores
    ]
    worth = (
        _table("What each map is worth", verdicts)
        if verdicts
        else ("<p>The maps were not compared with chance.</p>")
    )
    beware = "".join(
        f"<p>{html.escape(result.heatmaps[name].title)}: {html.escape(one)}</p>"
        for name, one in result.protocols_differ.items()
    )
    made = json.dumps(result.to_dict(), indent=1, ensure_ascii=False)
    return (
        f"<section>\n<h2>{html.escape(result.picture.name)}{html.escape(aim)}</h2>\n"
        '<div class="figure"><noscript>The figures need JavaScript.</noscript></div>\n<div>\n'
        f"{_table('Predictions', predictions, numbers=True) if predictions else ''}"
        f"{worth}{beware}</div>\n"
        "<details><summary>How this was made: model, methods, options, versions, checksums"
        "</summary>"
        f"<pre>{html.escape(made)}</pre></details>\n</section>\n"
    )


def _table(title: str, rows: Sequence[tuple[str, str]], *, numbers: bool = False) -> str:
    kind = ' data-kind="number"' if numbers else ""
    lines = "".join(
        f'<tr><th scope="row">{html.escape(name)}</th><td{kind}>{html.escape(value)}</td></tr>'
        for name, value in rows
    )
    return f"<h3>{html.escape(title)}</h3><table>{lines}</table>\n"
