"""An interactive figure without the page around it: its numbers, its words, and its one script.

It is drawn by the page's own modules, `page/client/alone` and what they import, joined into one
text: a file from a disk and a notebook's front end have no server to load modules from.
"""

from __future__ import annotations

import base64
import io
import json
import re
from functools import cache
from importlib import resources
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from vit_explorer.drawing.coloring import limits, tables
from vit_explorer.explaining.explanation import Explanation

# The picture's longer side, in pixels.
LARGEST_PICTURE = 800
CLIENT = Path(str(resources.files("vit_explorer"))) / "page" / "client"
IMPORT = re.compile(r'^import \{([^}]*)\} from "(\.[^"]+)";\n', re.MULTILINE)
EXPORT = re.compile(r"^export (?=(?:async )?(?:function|class|const|let)\s+(\w+))", re.MULTILINE)
# A sentence's key: written out, or the beginning of one that is put together.
KEY = re.compile(r'"([a-z]\w*(?:\.\w+)+|list|gap)"|`([a-z]\w*(?:\.\w+)*\.)\$\{')


def figure_facts(result: Explanation, heads: int | None = None) -> dict[str, Any]:
    """What `showFigure` of `alone/figure.js` draws, but for attention.

    A map's values are float32 in base64, as they are; the crop is a JPEG. `heads` is how many there
    are to choose from, None for all of the model's.
    """
    card = result.card
    return {
        "crop": _jpeg(result.prepared.crop),
        "model": {
            "grid": list(card.grid),
            "prefix": list(card.prefix_names),
            "depth": card.depth,
            "heads": card.heads if heads is None else heads,
        },
        "maps": [
            {
                "name": name,
                "title": heatmap.title,
                "note": result.caption(name),
                "grid": list(heatmap.values.shape),
                "values": in_base64(heatmap.values),
                "limits": list(limits(heatmap.values, signed=heatmap.signed)),
                "signed": heatmap.signed,
            }
            for name, heatmap in result.heatmaps.items()
        ],
    }


def has_attention(result: Explanation) -> bool:
    """Whether every layer's attention from all tokens to all tokens is at hand."""
    return result.card.tier == 1 and bool(result.trace.layers)


def in_base64(values: NDArray[Any]) -> str:
    """Numbers as float32, or as the steps of 16 bits that they are, in base64."""
    kind = "<u2" if values.dtype == np.uint16 else "<f4"
    return base64.b64encode(np.ascontiguousarray(values, kind).tobytes()).decode()


def _jpeg(crop: Image.Image) -> str:
    picture = crop.convert("RGB")
    picture.thumbnail((LARGEST_PICTURE, LARGEST_PICTURE), Image.Resampling.LANCZOS)
    buffer = io.BytesIO()
    picture.save(buffer, "JPEG", quality=88)
    return f"data:image/jpeg;base64,{base64.b64encode(buffer.getvalue()).decode()}"


@cache
def script(entry: str) -> str:
    """The module `entry` of the page's scripts with all that it imports as one text, which loads
    nothing: each module a function that runs once; the last one's exports are `entry`."""
    made: dict[Path, str] = {}
    parts: list[str] = []

    def add(file: Path) -> str:
        if file in made:
            return made[file]
        code = file.read_text(encoding="utf-8")
        taken = [
            f"const {{{names.replace(' as ', ': ').strip().rstrip(',')} }} = "
            f"{add((file.parent / path).resolve())};"
            for names, path in IMPORT.findall(code)
        ]
        given = ", ".join(EXPORT.findall(code))
        body = EXPORT.sub("", IMPORT.sub("", code))
        if left := re.search(r"^(?:import|export)\b.*", body, re.MULTILINE):
            raise ValueError(f"{file.name} has {left[0]!r}, which can't be joined with others.")
        made[file] = name = f"module{len(made)}"
        parts.append(
            f"const {name} = (() => {{\n{''.join(taken)}\n{body}\nreturn {{ {given} }};\n}})();\n"
        )
        return name

    last = add((CLIENT / entry).resolve())
    return f'"use strict";\n{"".join(parts)}const entry = {last};\n'


def look_and_words(entry: str) -> dict[str, Any]:
    """The colour tables, and the page's English sentences that a script's modules say."""
    words = json.loads((CLIENT / "lang/en.json").read_text(encoding="utf-8"))
    keys = {whole or start for whole, start in KEY.findall(script(entry))}
    starts = tuple(key for key in keys if key.endswith("."))
    said = {key: text for key, text in words.items() if key in keys or key.startswith(starts)}
    return {"look": tables(), "words": said}


@cache
def styles(*names: str) -> str:
    """Style sheets of `alone`, one after the other."""
    return "\n".join((CLIENT / f"alone/{name}.css").read_text(encoding="utf-8") for name in names)
