"""Tiny ImageNet in its official folder and as class folders, and what its classes are called."""

from __future__ import annotations

import csv
import dataclasses
import shutil
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from timm.data import ImageNetInfo
from torchvision.datasets import ImageFolder

import vit_explorer as vx
from tests.tiny_imagenet import TRAINING, VALIDATION, WNIDS, unpack_test, write_official
from vit_explorer.datasets.evaluate import class_columns
from vit_explorer.datasets.sources import find_pictures, find_splits
from vit_explorer.datasets.tiny_imagenet import in_chinese, named, names
from vit_explorer.errors import DataError
from vit_explorer.training.data import decode


@pytest.fixture
def official(tmp_path: Path) -> Path:
    return write_official(tmp_path)


def test_the_official_folder_is_read_in_the_order_of_its_wnids(official: Path) -> None:
    for data in (official, official.parent):
        train, test = find_splits(data)
        assert train.classes == test.classes == ("goldfish", "tabby cat", "espresso")
        assert Counter(train.labels) == dict.fromkeys(range(3), TRAINING)
        assert Counter(test.labels) == dict.fromkeys(range(3), VALIDATION)
    place = {wnid: label for label, wnid in enumerate(sorted(WNIDS))}
    for item, label in zip(train.items, train.labels, strict=True):
        assert place[item.name.partition("_")[0]] == label
    true = dict(
        line.split("\t")[:2]
        for line in (official / "val/val_annotations.txt").read_text().splitlines()
    )
    assert {
        item.name: sorted(WNIDS)[label] for item, label in zip(test.items, test.labels, strict=True)
    } == true
    first = np.array(Image.open(train.items[0]))
    assert torch.equal(decode(train, (64, 64)).pixels[0], torch.from_numpy(first).permute(2, 0, 1))


def test_class_folders_named_by_wnids_are_the_same_set(official: Path, tmp_path: Path) -> None:
    folders = tmp_path / "folders"
    for wnid in WNIDS:
        shutil.copytree(official / "train" / wnid / "images", folders / "train" / wnid)
        (folders / "val" / wnid).mkdir(parents=True)
    for line in (official / "val/val_annotations.txt").read_text().splitlines():
        name, wnid = line.split("\t")[:2]
        shutil.copy(official / "val/images" / name, folders / "val" / wnid)
    for split in ("train", "test"):
        one, other = (find_pictures(data, split) for data in (official, folders))
        assert one.classes == other.classes and one.labels == other.labels
        assert [item.name for item in one.items] == [item.name for item in other.items]
    # torchvision reads the same folders independently.
    theirs = ImageFolder(str(folders / "val"))
    assert [Path(path).name for path, _ in theirs.samples] == [item.name for item in other.items]
    assert named(theirs.classes) == other.classes


def _lose(root: Path, name: str) -> None:
    place = root / name
    shutil.rmtree(place) if place.is_dir() else place.unlink()


@pytest.mark.parametrize(
    ("lost", "message"),
    [
        ("val/val_annotations.txt", "no val/val_annotations.txt that can be read; unpack the off"),
        ("wnids.txt", "no wnids.txt that can be read"),
        ("train/n02123045", "no training pictures of n02123045, which wnids.txt lists"),
        (
            "train/n02123045/images/n02123045_1.JPEG",
            r"4 train pictures .*, but not of n02123045 \(3",
        ),
        ("val/images/val_3.JPEG", "lists 6 pictures and .*images has 5: val_3.JPEG only in one"),
        ("val/images", "lists 6 pictures and .*images has 0"),
    ],
)
def test_what_the_official_folder_lacks_is_named(official: Path, lost: str, message: str) -> None:
    _lose(official, lost)
    with pytest.raises(DataError, match=message) as error:
        find_splits(official)
    assert "\n" not in str(
        error.value
    ) and "unpack the official tiny-imagenet-200.zip again" in str(error.value)


def test_annotations_of_unknown_classes_and_unequal_counts_are_named(official: Path) -> None:
    lines = (official / "val/val_annotations.txt").read_text()
    (official / "val/val_annotations.txt").write_text(lines.replace("n02123045", "n99999999", 1))
    with pytest.raises(DataError, match="names no class of wnids.txt for val_1.JPEG"):
        find_pictures(official, "test")
    (official / "val/val_annotations.txt").write_text(lines.replace("n02123045", "n01443537", 1))
    with pytest.raises(DataError, match=r"not of n02123045 \(1\), n07920052 \(2\)"):
        find_pictures(official, "test")


def test_a_packed_archive_is_to_be_unpacked(tmp_path: Path) -> None:
    archive = tmp_path / "tiny-imagenet-200.zip"
    archive.touch()
    for data in (tmp_path, archive):
        with pytest.raises(DataError, match="is still packed; unzip"):
            find_pictures(data, "train")


def test_an_empty_folder_is_called_by_its_own_name(official: Path) -> None:
    root = official / "train"
    folders = official.parent / "folders"
    for wnid in WNIDS:
        shutil.copytree(root / wnid, folders / "train" / wnid)
    for file in (folders / "train" / WNIDS[0]).rglob("*.JPEG"):
        file.unlink()
    with pytest.raises(DataError, match="no pictures for n07920052"):
        find_pictures(folders, "train")


def test_every_class_has_its_own_short_names() -> None:
    table = names()
    assert len(table) == 200 and list(table) == sorted(table)
    english, chinese = zip(*table.values(), strict=True)
    for one in (english, chinese):
        assert len({name.casefold() for name in one}) == 200
        assert all(name == name.strip() and "," not in name for name in one)
    assert max(map(len, english)) <= 20 and max(map(len, chinese)) <= 9
    assert all(any("\u4e00" <= letter <= "\u9fff" for letter in name) for name in chinese)
    assert all(name.isascii() for name in english)
    assert table["n02123045"] == ("tabby cat", "虎斑猫")
    assert table["n03126707"] == ("construction crane", "起重机")  # not the bird


def test_names_are_those_of_wordnet_or_its_words() -> None:
    """Each name shares a word with WordNet's lemmas or its definition."""
    info = ImageNetInfo()
    astray = []
    for wnid, (english, _) in names().items():
        told = info.label_name_to_description(wnid, detailed=True).casefold()
        told = told.replace("-", "").replace(" ", "")
        if not any(
            word.rstrip("s") in told for word in english.casefold().replace("-", "").split()
        ):
            astray.append(english)
    assert astray == []


def test_the_shared_classes_are_these(shared: Path) -> None:
    text = (shared / "data/tiny-imagenet-200/classes.csv").read_text(encoding="utf-8")
    assert [row["wnid"] for row in csv.DictReader(text.splitlines())] == list(names())


def test_labels_are_named_only_where_all_are_tiny_imagenets() -> None:
    assert named(["n02123045", "n00000000"]) == ("n02123045", "n00000000")
    assert in_chinese(["tabby cat", "espresso"]) == ("虎斑猫", "浓缩咖啡")
    assert in_chinese(["n07920052", "n02123045"]) == ("浓缩咖啡", "虎斑猫")
    assert in_chinese(["tabby cat", "cat"]) is None


def test_a_model_labelled_by_wnids_knows_the_named_classes(small: vx.LoadedModel) -> None:
    wnids = list(names())[:5]
    model = dataclasses.replace(small, labels=tuple(wnids))
    assert class_columns(model, ("bullfrog", "goldfish")) == [2, 0]


def test_all_real_test_pictures_are_found(shared: Path, tmp_path: Path) -> None:
    source = find_pictures(unpack_test(shared, tmp_path), "test")
    assert len(source) == 10_000 and len(source.classes) == 200
    assert set(Counter(source.labels).values()) == {50}
    assert source.classes == tuple(one.english for one in names().values())
    few = [source.items[index] for index in range(0, 10_000, 500)]
    assert all(Image.open(item).size == (64, 64) for item in few)
