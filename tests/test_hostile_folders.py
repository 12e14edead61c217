"""Folders of transformers whose config asks for much: one sentence, before anything is made."""

from __future__ import annotations

import json
import random
from pathlib import Path
from typing import Any

import pytest

import vit_explorer as vx
from tests.test_hostile_files import ODD_VALUES, bounded
from tests.test_transformers import SIZE, TINY, saved

pytest.importorskip("transformers")
KINDS = (
    ("ViTForImageClassification", {}),
    ("Dinov2Model", {}),
    ("SiglipForImageClassification", {"vision_config": TINY}),
)


@pytest.fixture(scope="module", params=KINDS, ids=[kind for kind, _ in KINDS])
def folder(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    kind, config = request.param
    path = tmp_path_factory.mktemp(kind)
    saved(path, kind, config, ("ViTImageProcessor", {"size": SIZE}))
    vx.load_model(path)  # what a first load imports is no file's doing
    return path


def opened(folder: Path, settings: dict[str, Any]) -> str:
    """The sentence that a folder gets whose config says something else, "" where it loads."""
    place = folder / "config.json"
    said = place.read_text(encoding="utf-8")
    config = json.loads(said)
    inner = config.get("vision_config")
    for name, value in settings.items():
        (inner if inner and name in inner else config)[name] = value
    try:
        place.write_text(json.dumps(config), encoding="utf-8")
        with bounded():
            vx.load_model(folder)
        sentence = ""
    except vx.ExplorerError as error:
        sentence = str(error)
    finally:
        place.write_text(said, encoding="utf-8")
    assert (sentence + " ").isprintable() and len(sentence) < 2000, sentence
    return sentence


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        ({"num_hidden_layers": 900_000}, "describes a model of more parts, and its files hold"),
        ({"num_hidden_layers": 10**9}, "describes num_hidden_layers = 1,000,000,000, and its"),
        ({"num_labels": 10**9}, "describes num_labels = 1,000,000,000, and its"),
        ({"hidden_size": 40_000, "num_attention_heads": 1}, "numbers, and its files hold"),
        ({"intermediate_size": 900_000, "mlp_ratio": 90_000}, "numbers, and its files hold"),
        ({"image_size": 900_000}, "numbers, and its files hold"),
        ({"image_size": [10**12, 10**12]}, "describes image_size = 1,000,000,000,000, and its"),
        ({"patch_size": 0}, "can't be loaded as"),
    ],
)
def test_a_config_is_held_against_the_files(
    folder: Path, settings: dict[str, Any], says: str
) -> None:
    assert says in opened(folder, settings)


def test_any_config_loads_or_gets_a_sentence(folder: Path) -> None:
    draw = random.Random(f"configs of {folder.name}")
    config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    names = sorted({*config, *config.get("vision_config", {})})
    refused = 0
    for _ in range(25):
        refused += bool(opened(folder, {draw.choice(names): draw.choice(ODD_VALUES)}))
    assert refused > 5
