"""Data sets of Hugging Face's `datasets`, as that package itself writes and reads them."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import datasets
import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image

import vit_explorer as vx
from tests.noise import write_noise
from vit_explorer.datasets.export import export_images
from vit_explorer.datasets.sources import Source, find_pictures, find_splits, find_validation
from vit_explorer.datasets.spread_evaluation import SpreadEvaluation
from vit_explorer.errors import DataError
from vit_explorer.training import train

NAMES = ["zebra", "ant", "猫"]  # a ClassLabel's own order
FEATURES = datasets.Features(
    {
        "id": datasets.Value("int32"),
        "image": datasets.Image(),
        "label": datasets.ClassLabel(names=NAMES),
    }
)


@pytest.fixture(scope="module", autouse=True)
def offline() -> None:
    datasets.disable_progress_bars()


def rows(seed: int, count: int) -> dict[str, list[Any]]:
    draw = np.random.default_rng(seed)
    images = [Image.fromarray(draw.integers(0, 256, (16, 16, 3), np.uint8)) for _ in range(count)]
    return {"id": list(range(count)), "image": images, "label": [n % 3 for n in range(count)]}


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three splits, the first of them in two Arrow files."""
    folder = tmp_path_factory.mktemp("saved") / "insects"
    counts = {"train": 30, "validation": 6, "test": 9}
    splits = {
        name: datasets.Dataset.from_dict(rows(seed, count), features=FEATURES)
        for seed, (name, count) in enumerate(counts.items())
    }
    shards = {"train": 2, "validation": 1, "test": 1}
    datasets.DatasetDict(splits).save_to_disk(folder, num_shards=shards)
    return folder


def pixels_by_class(source: Source) -> list[tuple[str, bytes]]:
    pictures = zip(source.labels, source.pictures(), strict=True)
    return sorted((source.classes[label], image.tobytes()) for label, image in pictures)


def theirs(part: Any) -> list[tuple[str, bytes]]:
    names = part.features["label"].names
    return sorted((names[row["label"]], row["image"].convert("RGB").tobytes()) for row in part)


def test_the_splits_are_those_that_datasets_loads(saved: Path) -> None:
    loaded = datasets.load_from_disk(str(saved))
    train_set, test_set = find_splits(saved)
    validation = find_validation(saved)
    assert validation is not None
    for source, name in ((train_set, "train"), (test_set, "test"), (validation, "validation")):
        assert source.classes == tuple(NAMES)
        assert pixels_by_class(source) == theirs(loaded[name])
    names = [test_set.name_of(index) for index in range(len(test_set))]
    assert len(set(names)) == 9 and names[0] == "test/0"
    assert test_set.notes[0] == "insects/test: labels from test: label"


def test_one_split_saved_alone_gives_every_tenth_of_a_class(tmp_path: Path) -> None:
    part = datasets.Dataset.from_dict(rows(5, 30), features=FEATURES)
    part.save_to_disk(tmp_path / "one")
    train_set, test_set = find_splits(tmp_path / "one")
    assert (len(train_set), len(test_set)) == (27, 3)
    assert sorted(pixels_by_class(train_set) + pixels_by_class(test_set)) == theirs(part)


def test_it_is_trained_on_evaluated_and_looked_through(saved: Path, tmp_path: Path) -> None:
    recipe = tmp_path / "tiny.yaml"
    recipe.write_text("""
epochs: 1
batch_size: 16
model: {image_size: [16, 16], patch_size: [8, 8], dim: 16, depth: 1, heads: 2}
early_stop: {patience: 3}
film: false
""")
    run = train(recipe, data=saved, out=tmp_path / "run", device="cpu", precision="no")
    assert "held_out_accuracy" in run.rows[0]  # its own validation split
    model = vx.load_model(run.weights)
    assert model.labels == tuple(NAMES)
    table = pd.read_parquet(run.folder / "predictions.parquet")
    loaded = datasets.load_from_disk(str(saved))["test"]
    for name, predicted in zip(table["picture"], table["predicted"], strict=True):
        image = loaded[int(name.removeprefix("test/"))]["image"]
        with torch.no_grad():
            best = model.module(model.prepare(image).pixels)[0].argmax()
        assert predicted == NAMES[best]
    found = vx.doctor(model, saved, sample=5)
    assert (found.pictures, found.labelled) == (45, 45)


def test_pictures_saved_by_reference_and_labels_in_words(tmp_path: Path, cat: Path) -> None:
    content = {
        "picture": [
            {"bytes": None, "path": str(cat)},
            {"bytes": cat.read_bytes(), "path": "a/b.png"},
        ],
        "category": ["dog", "ant"],
    }
    features = datasets.Features(
        {"picture": datasets.Image(), "category": datasets.Value("string")}
    )
    datasets.Dataset.from_dict(content, features=features).save_to_disk(tmp_path / "two")
    source = find_pictures(tmp_path / "two", "test")
    assert source.classes == ("ant", "dog") and source.labels == (0, 1)
    assert [image.size for image in source.pictures()] == [Image.open(cat).size] * 2
    assert source.name_of(0) == "two/1_b.png"


def test_what_can_not_be_read_is_one_sentence(saved: Path, tmp_path: Path) -> None:
    def spoil(file: str, change: Any) -> str:
        place = tmp_path / "spoilt"
        shutil.rmtree(place, ignore_errors=True)
        shutil.copytree(saved, place)
        described = json.loads((place / file).read_text())
        (place / file).write_text(json.dumps(change(described)))
        with pytest.raises(DataError) as error:
            find_pictures(place, "test")
        assert "\n" not in str(error.value)
        return str(error.value)

    outside = spoil("test/state.json", lambda _: {"_data_files": [{"filename": "../../x.arrow"}]})
    assert "not as `save_to_disk` of Hugging Face's datasets writes it" in outside
    assert "writes it" in spoil("dataset_dict.json", lambda _: {"splits": ["../other"]})
    assert "writes it" in spoil("test/state.json", lambda _: {"_data_files": []})
    assert "writes it" in spoil("test/dataset_info.json", lambda _: [])
    few = spoil("test/dataset_info.json", lambda d: {"features": {"id": d["features"]["id"]}})
    assert "has the columns id; it needs one of pictures (Image) and one of labels" in few
    missing = datasets.Dataset.from_dict({**rows(1, 3), "label": [0, -1, 1]}, features=FEATURES)
    missing.save_to_disk(tmp_path / "missing")
    with pytest.raises(DataError, match="1 of 3 rows of .* have no label, the first of them row 1"):
        find_pictures(tmp_path / "missing", "test")
    datasets.DatasetDict(unsupervised=missing).save_to_disk(tmp_path / "other")
    with pytest.raises(DataError, match="has unsupervised but none of test, testing, val"):
        find_pictures(tmp_path / "other", "test")


@pytest.mark.parametrize("name", ["metadata.csv", "metadata.jsonl"])
def test_an_image_folder_has_the_labels_that_datasets_reads(tmp_path: Path, name: str) -> None:
    """With a metadata file in each split, as the documents of `datasets` lay it out."""
    root = write_noise(tmp_path / "set", ("a", "b"))
    for split in ("train", "test"):
        files = sorted((root / split).rglob("*.png"))
        told = [{"file_name": str(file.relative_to(root / split)),
                 "label": ("first", "second")[n % 2]} for n, file in enumerate(files)]  # fmt: skip
        frame = pd.DataFrame(told)
        if name.endswith(".csv"):
            frame.to_csv(root / split / name, index=False)
        else:
            frame.to_json(root / split / name, orient="records", lines=True)
    loaded = datasets.load_dataset(
        "imagefolder", data_dir=str(root), cache_dir=str(tmp_path / "cache")
    )
    for split in ("train", "test"):
        pairs = ((row["label"], row["image"].convert("RGB").tobytes()) for row in loaded[split])
        wanted = sorted(pairs)
        assert pixels_by_class(find_pictures(root, split)) == wanted


def test_it_is_written_as_class_folders_for_a_cluster(saved: Path, tmp_path: Path) -> None:
    class Unasked:
        pass

    source = find_pictures(saved, "test")
    spread = SpreadEvaluation(vx.load_model("bundled-cifar10"), source, "no", 8, False)
    with pytest.raises(DataError, match=r"leave --engine ray out, or .*export-images OUT --data"):
        spread.run(Unasked(), None, resume=False)
    export_images(saved, tmp_path / "out")
    assert pixels_by_class(find_pictures(tmp_path / "out", "test")) == pixels_by_class(source)
