"""The pictures that ship with the page, what is in each, and which of them a model gets wrong."""

from __future__ import annotations

import hashlib
import re
from functools import cache
from typing import Any

import torch

from vit_explorer.models.loaded import LoadedModel
from vit_explorer.models.outputs import answer
from vit_explorer.models.predictions import Prediction, best
from vit_explorer.models.shipped import asset
from vit_explorer.pictures.decode import Picture, open_picture

# Words of which one is in the name of a class that is in the picture.
_HOLDS = {
    "cat.png": ("cat",),
    "cat_and_coffee.jpg": ("cat", "espresso", "coffee", "cup"),
    "coffee.png": ("espresso", "coffee", "cup"),
    "grace_hopper.jpg": ("uniform",),
    "rocket.jpg": ("rocket", "missile"),
    "astronaut.png": ("astronaut", "spacesuit"),
}
EXAMPLES = tuple(_HOLDS)


def is_example(picture: Picture) -> bool:
    """Whether a picture is an example, and not another of the same name."""
    return picture.name in EXAMPLES and picture.sha256 == _sha256(picture.name)


@cache
def _sha256(name: str) -> str:
    return hashlib.sha256(asset(name).read_bytes()).hexdigest()


def judge_examples(model: LoadedModel) -> dict[str, dict[str, Any]]:
    """What a model says of each example, `label`, and whether that is in the picture, `right`."""
    if not model.card.classes:
        return {}
    pixels = torch.cat([model.prepare(open_picture(asset(name))).pixels for name in EXAMPLES])
    with model.lock, torch.inference_mode():
        raw = answer(model, pixels.to(next(model.module.parameters()))).raw.float().cpu()
    first = [best(row, model.labels, 1, model.card.outputs)[0] for row in raw]
    return {name: _judged(name, said) for name, said in zip(EXAMPLES, first, strict=True)}


def _judged(name: str, said: Prediction) -> dict[str, Any]:
    words = re.findall(r"[a-z]+", said.label.casefold())
    return {"label": said.label, "right": any(word in words for word in _HOLDS[name])}
