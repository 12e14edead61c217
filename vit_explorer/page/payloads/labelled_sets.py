"""A data set as the page takes it: what it is as JSON, and its table as packed bytes."""

from __future__ import annotations

import io
from typing import Any

from vit_explorer.page.payloads.many_pictures import MOST_MAPS
from vit_explorer.page.payloads.packing import pack
from vit_explorer.page.state.labelled_sets import LabelledSet
from vit_explorer.sentences import keyed


def describe_set(opened: LabelledSet) -> dict[str, Any]:
    """What a set is, and where its table is fetched."""
    predictions = opened.predictions
    return {
        "key": opened.key,
        "model": opened.model,
        "of": predictions.model,
        "data": predictions.data,
        "count": len(predictions),
        "pictures": opened.pictures_found,
        "most": MOST_MAPS,
        "note": keyed(opened.note),
    }


def table_bytes(opened: LabelledSet) -> bytes:
    """Names of classes and pictures, and a number a picture in each array."""
    predictions = opened.predictions
    facts = {"classes": list(predictions.classes), "pictures": list(predictions.pictures)}
    arrays = {
        "labels": predictions.labels,
        "predicted": predictions.predicted,
        "probability": predictions.probability,
    }
    return pack(facts, arrays)


def picture_file(opened: LabelledSet, place: int) -> tuple[bytes, str]:
    """A picture without loss, and its name."""
    content = io.BytesIO()
    opened.picture(place).save(content, "PNG")
    name = opened.predictions.pictures[place].rpartition("/")[2]
    return content.getvalue(), f"{name.rpartition('.')[0] or name}.png"
