"""Pictures for training: found, checked, decoded, exported."""

from __future__ import annotations

import hashlib
import io
import pickle
import shutil
import tarfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from timm.data import create_transform
from torchvision.datasets import CIFAR10

from vit_explorer.datasets.cifar import BINARY_ARCHIVE, BINARY_FOLDER, CLASSES
from vit_explorer.datasets.export import export_images
from vit_explorer.datasets.sources import (
    Source,
    find_pictures,
    find_splits,
    hold_out,
)
from vit_explorer.errors import DataError, OutputError
from vit_explorer.training import data, train
from vit_explorer.training.data import decode

Make = Callable[..., Path]


@pytest.fixture
def folders(tmp_path: Path) -> Make:
    """Class folders of noise: folders({"train": ["cat", "dog"]}, count=2)."""

    def make(splits: dict[str, list[str]], count: int = 2, size: tuple[int, int] = (8, 8)) -> Path:
        draw = np.random.default_rng(0)
        for split, classes in splits.items():
            for name in classes:
                place = tmp_path / "set" / split / name
                place.mkdir(parents=True)
                for index in range(count):
                    pixels = draw.integers(0, 256, (*size, 3), dtype=np.uint8)
                    Image.fromarray(pixels).save(place / f"{index}.png")
        return tmp_path / "set"

    return make


def test_splits_have_their_pictures_in_class_order(folders: Make) -> None:
    root = folders({"train": ["dog", "cat"], "val": ["cat", "dog"]})
    train, test = find_splits(root)
    assert train.classes == test.classes == ("cat", "dog")
    assert train.labels == (0, 0, 1, 1)
    pixels = decode(train, (8, 8)).pixels
    first = np.array(Image.open(root / "train/cat/0.png"))
    assert torch.equal(pixels[0], torch.from_numpy(first).permute(2, 0, 1))


def test_without_splits_every_tenth_picture_of_a_class_is_held_out(folders: Make) -> None:
    train, test = find_splits(folders({"": ["cat", "dog"]}, count=11))
    assert (len(train), len(test)) == (18, 4)
    assert not set(map(str, train.items)) & set(map(str, test.items))


def test_held_out_pictures_are_spread_over_their_class(folders: Make) -> None:
    source = find_pictures(folders({"train": ["cat", "dog"], "test": ["cat"]}, count=40), "train")
    kept, held = hold_out(source, 0.05)
    names = [[(item.parent.name, int(item.stem)) for item in part.items] for part in (kept, held)]
    assert len(kept) == 76 and not set(names[0]) & set(names[1])
    assert [source.classes[label] for label in held.labels] == [name for name, _ in names[1]]
    in_order = [int(item.stem) for item in source.items[:40]]
    # Two of 40: the first of either half, in the order of the folder.
    assert [at for name, at in names[1] if name == "cat"] == [in_order[0], in_order[20]]
    assert held.name.endswith("train (held out)") and held.classes == kept.classes


@pytest.mark.parametrize(("count", "share", "held"), [(30, 0.05, 2), (30, 0.5, 15), (3, 0.01, 1)])
def test_whole_numbers_of_pictures_are_held_out(
    folders: Make, count: int, share: float, held: int
) -> None:
    source = find_pictures(folders({"train": ["cat", "dog"]}, count=count), "train")
    parts = hold_out(source, share)
    assert [len(part) for part in parts] == [2 * (count - held), 2 * held]


def test_pictures_in_memory_are_held_out_too() -> None:
    pixels = np.arange(20, dtype=np.uint8)[:, None, None, None] * np.ones((1, 2, 2, 3), np.uint8)
    labels = tuple(index % 2 for index in range(20))
    kept, held = hold_out(Source("bytes", pixels, labels, ("even", "odd")), 0.2)
    assert held.items[:, 0, 0, 0].tolist() == [0, 1, 10, 11]
    assert held.labels == (0, 1, 0, 1) and len(kept) == 16


def test_a_class_with_a_single_picture_can_not_hold_one_out(folders: Make) -> None:
    source = find_pictures(folders({"train": ["cat", "dog"]}, count=1), "train")
    with pytest.raises(DataError, match="single picture of cat, dog, of which none can be held"):
        hold_out(source, 0.1)


def test_pictures_of_other_sizes_are_fitted_as_timm_does(folders: Make) -> None:
    root = folders({"train": ["cat", "dog"], "test": ["cat", "dog"]}, size=(20, 13))
    odd = np.random.default_rng(1).integers(0, 256, (40, 30, 3), dtype=np.uint8)
    Image.fromarray(odd).save(root / "train/dog/1.png")
    source = find_pictures(root, "train")
    assert decode(find_pictures(root, "test"), (60, 39)).pixels.shape == (4, 3, 20, 13)
    pixels = decode(source, (32, 32)).pixels
    transform = create_transform(
        (3, 32, 32), interpolation="bicubic", crop_pct=1.0, mean=(0,) * 3, std=(1,) * 3
    )
    for item, found in zip(source.items, pixels, strict=True):
        expected = transform(Image.open(item))
        assert torch.equal((expected * 255).round().byte(), found)


def test_oblong_pictures_are_cropped_in_training_as_they_are_afterwards(
    folders: Make, tmp_path: Path
) -> None:
    root = folders({"train": ["cat", "dog"], "test": ["cat", "dog"]}, size=(20, 13))
    overrides = ["epochs=1", "full_epochs=0", "schedule.warmup_epochs=0", "half_weights=false"]
    out = tmp_path / "run"
    result = train("smoke", data=root, out=out, overrides=overrides, precision="no", device="cpu")
    assert result.metrics is not None
    assert result.rows[-1]["test_loss"] == pytest.approx(result.metrics.nll, abs=1e-3)


def test_a_set_too_large_for_memory_is_refused(
    folders: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = find_pictures(folders({"train": ["cat", "dog"], "test": ["cat", "dog"]}), "train")
    monkeypatch.setattr(data, "_MAX_MEMORY", 4 * 3 * 8 * 8)
    assert decode(source, (64, 64)).pixels.shape == (4, 3, 8, 8)  # kept small, so it has room
    with pytest.raises(DataError, match="at 12x6 pixels, and 0 GB is the limit"):
        decode(source, (12, 6))


@pytest.mark.parametrize(
    ("splits", "message"),
    [
        ({"train": ["cat"], "test": ["cat"]}, "single class, 'cat'"),
        ({"train": ["cat", "dog"], "test": ["cat", "frog"]}, "dog only in set/train, frog only"),
        ({"train": ["cat", "dog"]}, "none of test, testing, val, valid"),
        ({"": []}, "does not exist"),
    ],
)
def test_a_set_that_can_not_be_trained_on_is_refused_by_name(
    folders: Make, splits: dict[str, list[str]], message: str
) -> None:
    with pytest.raises(DataError, match=message):
        find_splits(folders(splits))


def test_an_empty_class_is_refused_by_name(folders: Make) -> None:
    root = folders({"train": ["cat", "dog"], "test": ["cat", "dog"]})
    (root / "train/frog").mkdir()
    with pytest.raises(DataError, match=r"set/train has no pictures for frog; add some or remove"):
        find_splits(root)


def test_unreadable_pictures_are_all_listed(folders: Make) -> None:
    root = folders({"train": ["cat", "dog"], "test": ["cat", "dog"]})
    (root / "train/cat/text.png").write_text("not a picture")
    (root / "train/dog/empty.jpg").touch()
    with pytest.raises(
        DataError, match=r"2 unreadable pictures: train/cat/text.png, train/dog/empty.jpg;"
    ):
        decode(find_pictures(root, "train"), (8, 8))


@pytest.fixture
def official() -> dict[str, tuple[np.ndarray, list[int]]]:
    """Twelve pictures a file in place of CIFAR-10's ten thousand."""
    draw = np.random.default_rng(2)
    names = [f"data_batch_{n}" for n in range(1, 6)] + ["test_batch"]
    labels = [*range(10), 0, 1]
    return {name: (draw.integers(0, 256, (12, 3072), dtype=np.uint8), labels) for name in names}


def test_binary_and_python_archives_give_the_same_pictures(
    official: dict[str, tuple[np.ndarray, list[int]]],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    packed, unpacked, python = (tmp_path / name for name in ("packed", "unpacked", "python"))
    (unpacked / BINARY_FOLDER).mkdir(parents=True)
    for name, (pixels, labels) in official.items():
        records = np.column_stack([np.array(labels, np.uint8), pixels])
        (unpacked / BINARY_FOLDER / f"{name}.bin").write_bytes(records.tobytes())
    packed.mkdir()
    with tarfile.open(packed / BINARY_ARCHIVE, "w:gz") as archive:
        archive.add(unpacked / BINARY_FOLDER, BINARY_FOLDER)
    _write_python_form(official, python, monkeypatch)

    for split, names in (("train", list(official)[:5]), ("test", ["test_batch"])):
        expected = np.concatenate([official[name][0] for name in names]).reshape(-1, 3, 32, 32)
        for folder in (packed, packed / BINARY_ARCHIVE, unpacked, python):
            source = find_pictures(folder, split)  # type: ignore[arg-type]
            assert source.classes == CLASSES
            assert np.array_equal(decode(source, (32, 32)).pixels, expected)
            assert list(source.labels) == [*range(10), 0, 1] * len(names)


def _write_python_form(
    official: dict[str, tuple[np.ndarray, list[int]]], root: Path, patch: pytest.MonkeyPatch
) -> None:
    """The packed python form, whose sums torchvision is told to expect."""
    root.mkdir()
    sums = {}
    with tarfile.open(root / CIFAR10.filename, "w:gz") as archive:
        contents = {name: {"data": p, "labels": labels} for name, (p, labels) in official.items()}
        for name, content in {**contents, "batches.meta": {"label_names": list(CLASSES)}}.items():
            data = pickle.dumps(content)
            sums[name] = hashlib.md5(data).hexdigest()
            info = tarfile.TarInfo(f"{CIFAR10.base_folder}/{name}")
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))
    whole = hashlib.md5((root / CIFAR10.filename).read_bytes()).hexdigest()
    patch.setattr(CIFAR10, "tgz_md5", whole)
    patch.setattr(CIFAR10, "train_list", [[n, sums[n]] for n in list(official)[:5]])
    patch.setattr(CIFAR10, "test_list", [["test_batch", sums["test_batch"]]])
    patch.setattr(CIFAR10, "meta", {**CIFAR10.meta, "md5": sums["batches.meta"]})


def test_damaged_binary_files_are_refused(tmp_path: Path) -> None:
    (tmp_path / BINARY_FOLDER).mkdir()
    with pytest.raises(DataError, match="damaged or incomplete"):
        find_pictures(tmp_path, "test")
    (tmp_path / BINARY_FOLDER / "test_batch.bin").write_bytes(b"short")
    with pytest.raises(DataError, match="hold 5 bytes, expected a multiple of 3073"):
        find_pictures(tmp_path, "test")


def test_exported_pictures_come_back_the_same(folders: Make, tmp_path: Path) -> None:
    root = folders({"train": ["cat", "dog"], "test": ["cat", "dog"]})
    out = tmp_path / "out"
    assert export_images(root, out) == 8
    assert sorted(p.name for p in (out / "train/dog").iterdir()) == [
        "dog_00002.png",
        "dog_00003.png",
    ]
    for split in ("train", "test"):
        before, after = (decode(find_pictures(r, split), (8, 8)) for r in (root, out))  # type: ignore[arg-type]
        assert torch.equal(before.pixels, after.pixels)
        assert torch.equal(before.labels, after.labels)
    with pytest.raises(OutputError, match="not empty"):
        export_images(root, out)
    shutil.rmtree(out)
    out.touch()
    with pytest.raises(OutputError, match="can't be written"):
        export_images(root, out)
