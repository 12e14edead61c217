"""Serve the page with a ViT of an odd habit: `python -m tests.odd_page '{"way": "written"}'`."""

from __future__ import annotations

import argparse
import json
from typing import Any

import vit_explorer as vx
from tests.odd_vits import SIZE, OddViT, transform
from vit_explorer import page

LABELS = ("ant", "bee", "cat", "dog", "eel", "fox", "gnu")


def load(**habits: Any) -> vx.LoadedModel:
    return vx.load_model(
        OddViT(**habits).eval(), transform=transform, image_size=SIZE, labels=LABELS
    )


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("habits", type=json.loads)
    parser.add_argument("--port", type=int)
    given = parser.parse_args()
    page.serve(load(**given.habits), port=given.port, device="cpu", open_browser=False)
