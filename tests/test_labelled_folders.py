"""Folders of labelled pictures as people have them: what is read, what is left out, what is
refused."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import vit_explorer as vx
from tests.noise import write_noise
from vit_explorer import cli
from vit_explorer.datasets.export import export_images
from vit_explorer.datasets.leakage import digest
from vit_explorer.datasets.sources import Source, find_pictures, find_splits, find_validation
from vit_explorer.errors import DataError
from vit_explorer.pictures.decode import FORMATS
from vit_explorer.pictures.picture_files import LeftOut, endings, find_picture_files
from vit_explorer.training import train


def put(root: Path, *names: str, seed: int = 0) -> Path:
    """Small pictures of noise, each another, in the format that its name's ending says."""
    draw = np.random.default_rng(seed)
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        pixels = draw.integers(0, 256, (8, 8, 3), dtype=np.uint8)
        if name.endswith(".npy"):
            np.save(root / name, pixels)
        else:
            Image.fromarray(pixels).save(root / name)
    return root


def counts(source: Source) -> dict[str, int]:
    found = Counter(source.labels)
    return {name: found[index] for index, name in enumerate(source.classes)}


def said(source: Source) -> str:
    return " | ".join(source.notes)


def numbered(label: str, count: int, ending: str = "png") -> list[str]:
    return [f"{label}{index:04}.{ending}" for index in range(count)]


def test_what_editors_and_archives_leave_is_counted_and_not_read(tmp_path: Path) -> None:
    root = put(tmp_path / "set", *numbered("train/cat/", 3), *numbered("train/dog/", 2))
    put(root, *numbered("test/cat/", 1), *numbered("test/dog/", 1), "train/astray.png", seed=1)
    put(root, *numbered("train/cat/.ipynb_checkpoints/", 3), seed=2)
    (root / "train/__MACOSX/cat").mkdir(parents=True)
    (root / "train/__MACOSX/cat/._0001.png").write_bytes(b"\0" * 176)
    for name in ("train/dog/Thumbs.db", "train/dog/._x.png", "train/dog/notes.txt", "train/x.heic"):
        (root / name).write_bytes(b"x")
    train, test = find_splits(root)
    assert counts(train) == {"cat": 3, "dog": 2} and counts(test) == {"cat": 1, "dog": 1}
    left = train.left_out
    assert left.hidden == {".ipynb_checkpoints": 3, "__MACOSX": 1, "Thumbs.db": 1, "._x.png": 1}
    assert left.others == {".txt": 1, ".heic": 1}
    assert left.beside == {"that lie beside the class folders": 1}
    assert said(train) == (
        "set/train: left out: 6 hidden or left behind by a program (.ipynb_checkpoints ×3, "
        "._x.png, Thumbs.db, __MACOSX), 2 that are no pictures (.heic, .txt), "
        "1 that lie beside the class folders"
    )
    assert said(test) == ""


def test_every_ending_that_a_picture_may_have_is_learned_from(tmp_path: Path) -> None:
    names = ["a.JPG", "b.jfif", "c.webp", "d.avif", "e.jp2", "f.tif", "g.npy", "h.apng", "i.pgm"]
    root = put(tmp_path / "set", *(f"{label}/{name}" for label in "xy" for name in names))
    assert {Path(name).suffix.casefold() for name in names} <= endings()
    source = find_pictures(root, "train")
    assert {path.name for path in source.items} == set(names[1:])  # the tenth, the first, is tested
    assert len(list(source.pictures())) == 2 * len(names) - 2
    # The rule is the decoder's: each format's usual ending is among them.
    assert {Image.registered_extensions()[end] for end in endings() - {".npy"}} == set(FORMATS)


def test_what_is_left_out_is_named_by_its_commonest() -> None:
    left = LeftOut(others=Counter({".b": 2, ".a": 2, ".z": 1000, ".d": 1, ".e": 1, ".f": 1}))
    assert left.sentence() == (
        "left out: 1,007 that are no pictures (.z ×1,000, .a ×2, .b ×2, .d and 2 more)"
    )
    assert LeftOut().sentence() is None and LeftOut().parenthesis() == ""


def test_a_stack_of_many_bands_is_no_picture_to_learn_from(tmp_path: Path) -> None:
    root = put(tmp_path / "set", *numbered("train/cat/", 2), *numbered("train/dog/", 2))
    np.save(root / "train/dog/bands.npy", np.zeros((8, 8, 7), np.uint8))
    with pytest.raises(DataError, match=r"1 unreadable pictures: train/dog/bands.npy;"):
        list(with_test(root).pictures())


def with_test(root: Path) -> Source:
    put(root, *numbered("test/cat/", 1), *numbered("test/dog/", 1), seed=9)
    return find_pictures(root, "train")


@pytest.mark.parametrize(
    ("names", "expected"),
    [
        (["cat_0001.png", "cat_0002.png", "dog_0001.png"], {"cat": 2, "dog": 1}),
        (["cat.0.png", "cat.1.png", "dog.0.png"], {"cat": 2, "dog": 1}),
        (["cat.png", "cat (1).png", "dog (7).png"], {"cat": 2, "dog": 1}),
        (["american_bulldog_1.png", "Sphynx-12.png"], {"Sphynx": 1, "american_bulldog": 1}),
        (["n02123045_9.png", "n01443537_1.png"], {"goldfish": 1, "tabby cat": 1}),
        (["猫_1.png", "猫2.png", "狗 3.png"], {"狗": 1, "猫": 2}),
    ],
)
def test_labels_are_read_from_file_names(
    tmp_path: Path, names: list[str], expected: dict[str, int]
) -> None:
    put(tmp_path / "set/train", *names)
    put(tmp_path / "set/val", *names, seed=1)
    train, test = find_splits(tmp_path / "set")
    assert counts(train) == counts(test) == expected
    assert said(train) == "set/train: labels from the files' names"


def test_names_without_labels_are_refused_with_what_to_do(tmp_path: Path) -> None:
    root = put(tmp_path / "set", "0001.png", "0002.png", "cat_1.png")
    with pytest.raises(DataError, match=r"2 of 3 pictures have no label .* 0001.png, 0002.png;"):
        find_pictures(root, "train")
    (root / "cat_1.png").unlink()
    for name in ("0001.png", "0002.png"):
        (root / name).rename(root / name.replace(".png", ".heic"))
    with pytest.raises(DataError, match=r"no labelled pictures \(left out: 2 .*\.heic ×2\)\)"):
        find_pictures(root, "train")


TABLES: dict[str, tuple[str, str]] = {
    "commas": ("labels.csv", "picture,label\na.png,cat\nb.png,dog\nsub/c.png,cat\n"),
    "excel": ("labels.csv", "\ufeffPicture;Label\na.png;cat\nb.png;dog\nsub\\c.png;cat\n"),
    "tabs": ("labels.tsv", "file\tclass\na.png\tcat\nb.png\tdog\nsub/c.png\tcat\n"),
    "no header": ("labels.csv", "a.png,cat\nb.png,dog\nsub/c.png,cat\n"),
    "no endings": ("labels.csv", "id,category,score\na,cat,1\nb,dog,2\nsub/c,cat,3\n"),
    "hugging face": ("metadata.csv", "file_name,label\na.png,cat\nb.png,dog\nsub/c.png,cat\n"),
    "lines": (
        "metadata.jsonl",
        "\n".join(
            json.dumps({"file_name": name, "label": label})
            for name, label in {"a.png": "cat", "b.png": "dog", "sub/c.png": "cat"}.items()
        ),
    ),
}


@pytest.mark.parametrize("kind", TABLES)
def test_labels_are_read_from_a_table(tmp_path: Path, kind: str) -> None:
    root = put(tmp_path / "set/train", "a.png", "b.png", "sub/c.png", "other.png")
    name, text = TABLES[kind]
    (root / name).write_text(text, encoding="utf-8")
    put(tmp_path / "set/test", *numbered("cat/", 1), *numbered("dog/", 1), seed=1)
    train, _ = find_splits(tmp_path / "set")
    assert [(train.name_of(i), train.classes[one]) for i, one in enumerate(train.labels)] == [
        ("train/a.png", "cat"), ("train/sub/c.png", "cat"), ("train/b.png", "dog"),
    ]  # fmt: skip
    assert said(train) == (
        f"set/train: labels from {name} | set/train: left out: 1 that {name} doesn't list"
    )


@pytest.mark.parametrize("column", [True, False])
def test_a_table_says_splits_by_a_column_or_by_folders(tmp_path: Path, column: bool) -> None:
    files = {"train/a.png": "10", "train/b.png": "9", "Val/c.png": "10", "Val/d.png": "9"}
    root = put(tmp_path / "set", *files)
    rows = [f"{name},{label}{',' + name.split('/')[0] if column else ''}"
            for name, label in files.items()]  # fmt: skip
    (root / "labels.csv").write_text("\n".join(["path,label,split" if column else "path,label",
                                                *rows]))  # fmt: skip
    for data in (root, root / "labels.csv"):
        train, test = find_splits(data)
        assert train.classes == test.classes == ("9", "10")
        assert [train.name_of(index) for index in range(2)] == ["train/b.png", "train/a.png"]
        assert [test.name_of(index) for index in range(2)] == ["Val/d.png", "Val/c.png"]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("name,size\na.png,1\n", r"has the columns 'name', 'size'; it needs one"),
        ("", "has the columns none"),
        ("picture,label\na.png,\n", "Row 2 of .*labels.csv lacks a picture or a label"),
        ("picture,label\na.png,cat\na.png,dog\n", "has a.png twice, as 'cat' and as 'dog'"),
        ("picture,label\nz.png,cat\na.png,dog\n", "lists 1 pictures that aren't .* as z.png;"),
        ("picture,label\n../../etc/passwd,cat\na.png,dog\n", r"aren't .* as \.\./\.\./etc"),
        (b"picture,label\n\xff\xfe,1\n", r"can't be read \(UnicodeDecodeError\); save it as CSV"),
    ],
)
def test_tables_that_do_not_say_labels_are_refused(
    tmp_path: Path, text: str | bytes, message: str
) -> None:
    root = put(tmp_path / "set", "a.png", "b.png")
    (root / "labels.csv").write_bytes(text.encode() if isinstance(text, str) else text)
    with pytest.raises(DataError, match=message):
        find_pictures(root, "train")


def test_a_table_about_other_things_leaves_class_folders_as_they_are(tmp_path: Path) -> None:
    root = put(tmp_path / "set", *numbered("cat/", 2), *numbered("dog/", 2))
    (root / "metadata.csv").write_text("file_name,text\ncat/0000.png,a cat\n")
    assert counts(find_pictures(root, "train")) == {"cat": 1, "dog": 1}


def test_an_archive_in_a_folder_of_its_name_and_other_names_of_splits(tmp_path: Path) -> None:
    for index, split in enumerate(("Train", "VALID")):
        put(tmp_path / f"set/set/{split}", "cat/1.png", "dog/1.png", seed=index)
    (tmp_path / "set/__MACOSX").mkdir()
    train, test = find_splits(tmp_path / "set")
    assert (train.name, test.name) == ("set/Train", "set/VALID")


def test_links_are_followed_once(tmp_path: Path) -> None:
    root = put(tmp_path / "set", "a/1.png", "a/deep/2.png")
    (root / "a/loop").symlink_to(root / "a")
    put(tmp_path / "elsewhere", "3.png")
    (root / "b").symlink_to(tmp_path / "elsewhere")
    names = [path.relative_to(root).as_posix() for path in find_picture_files(root).files]
    assert names == ["a/1.png", "a/deep/2.png", "b/3.png"]


def test_a_label_that_is_no_folder_s_name_is_not_exported(tmp_path: Path) -> None:
    root = put(tmp_path / "set", *numbered("", 4))
    rows = [
        f"{name},{label}" for name, label in zip(numbered("", 4), ["../x", "b"] * 2, strict=True)
    ]
    (root / "labels.csv").write_text("\n".join(["picture,label", *rows]))
    with pytest.raises(DataError, match=r"The label '\.\./x' can't be the name of a folder"):
        export_images(root, tmp_path / "out")
    assert not (tmp_path / "out").exists() and not (tmp_path / "x").exists()


# --- the same picture in two splits --------------------------------------------------------------

TINY = """
epochs: 1
batch_size: 16
model: {image_size: [16, 16], patch_size: [8, 8], dim: 16, depth: 1, heads: 2}
film: false
schedule: {warmup_epochs: 0}
"""


@pytest.fixture
def recipe(tmp_path: Path) -> Path:
    (tmp_path / "tiny.yaml").write_text(TINY)
    return tmp_path / "tiny.yaml"


def test_a_picture_is_known_by_its_pixels() -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (6, 4, 3), dtype=np.uint8)
    one = digest(Image.fromarray(pixels))
    assert one == digest(Image.fromarray(pixels.copy())) != digest(Image.fromarray(pixels ^ 1))
    assert digest(Image.new("RGB", (4, 6))) != digest(Image.new("RGB", (6, 4)))


def test_the_same_picture_in_two_splits_is_refused_unless_allowed(
    tmp_path: Path, recipe: Path
) -> None:
    data = write_noise(tmp_path / "set", ("cat", "dog"))
    twin = Image.open(data / "train/dog/03.png")
    twin.save(data / "test/dog/another name.bmp")  # not a byte alike
    options = {"data": data, "device": "cpu", "precision": "no"}
    expected = r"1 of 33 pictures of set/test are also in set/train \(test/dog/another name.bmp = "
    with pytest.raises(DataError, match=expected + r"train/dog/03.png\); .* allow_leakage=true"):
        train(recipe, **options, out=tmp_path / "run")
    assert not (tmp_path / "run").exists()
    # Held-out pictures are measured on in the epochs, those of the test at the end.
    with pytest.raises(DataError, match="of set/test are also in set/train"):
        train(recipe, **options, out=tmp_path / "run", overrides=["hold_out=0.2"])
    told: list[str] = []
    allowed = ["allow_leakage=true"]
    train(recipe, **options, out=tmp_path / "run", overrides=allowed, tell=told.append)
    assert [note[:33] for note in told] == ["1 of 33 pictures of set/test are "]


def test_a_copy_within_the_training_pictures_is_not_held_out(tmp_path: Path, recipe: Path) -> None:
    data = write_noise(tmp_path / "set", ("cat", "dog"))
    (data / "train/cat/00 copy.png").write_bytes((data / "train/cat/00.png").read_bytes())
    options = {"data": data, "device": "cpu", "precision": "no", "out": tmp_path / "run"}
    with pytest.raises(DataError, match=r"of set/train \(held out\) are also in set/train"):
        train(recipe, **options, overrides=["hold_out=0.1"])


def test_a_validation_split_of_its_own_measures_the_epochs_and_the_test_once(
    tmp_path: Path, recipe: Path
) -> None:
    data = tmp_path / "set"
    for seed, (split, count) in enumerate({"train": 8, "valid": 3, "test": 5}.items()):
        names = (f"{split}/{label}/{i}.png" for label in ("cat", "dog") for i in range(count))
        put(data, *names, seed=seed)
    out = tmp_path / "run"
    # hold_out is of no use here: nothing is held out.
    change = ["hold_out=0.25", "model.image_size=[8, 8]", "model.patch_size=[4, 4]"]
    run = train(recipe, data=data, out=out, overrides=change, device="cpu", precision="no")
    alone = tmp_path / "alone"
    alone.mkdir()
    (alone / "test").symlink_to(data / "valid")
    (alone / "train").symlink_to(data / "train")
    validation, test = (vx.evaluate(run.weights, one) for one in (alone, data))
    assert (validation.samples, test.samples) == (6, 10)
    assert run.rows[-1]["held_out_loss"] == pytest.approx(validation.nll, abs=1e-5)
    assert run.rows[-1]["images"] == 16 and "test_loss" not in run.rows[-1]
    assert run.metrics == test and abs(test.nll - validation.nll) > 1e-4
    facts = json.loads((out / "run.json").read_text())
    assert (facts["pictures"], facts["held_out"]) == (16, 6)
    # The same pictures in the validation split are as wrong as in the test's.
    (data / "valid/cat/9.png").write_bytes((data / "train/cat/0.png").read_bytes())
    with pytest.raises(DataError, match="1 of 7 pictures of set/valid are also in set/train"):
        train(recipe, data=data, out=tmp_path / "other", device="cpu")


def test_a_validation_split_of_a_table_is_found(tmp_path: Path) -> None:
    root = put(tmp_path / "set", *numbered("", 6))
    splits = ["train", "train", "val", "val", "test", "test"]
    rows = [f"{index:04}.png,{'ab'[index % 2]},{split}" for index, split in enumerate(splits)]
    (root / "labels.csv").write_text("\n".join(["picture,label,split", *rows]))
    found = find_validation(root)
    assert found is not None and [found.name_of(i) for i in range(2)] == ["0002.png", "0003.png"]
    (root / "labels.csv").write_text("\n".join(["picture,label,split", *rows[:4]]))
    assert find_validation(root) is None  # it is the test
    assert len(find_pictures(root, "test")) == 2


# --- every surface says it -----------------------------------------------------------------------


def test_commands_say_what_is_left_out(
    tmp_path: Path, recipe: Path, capsys: pytest.CaptureFixture[str], small: vx.LoadedModel,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    data = write_noise(tmp_path / "set", ("cat", "dog"))
    (data / "train/cat/.DS_Store").write_bytes(b"x")
    cli.app(
        ["train", str(recipe), "--data", str(data), "--out", str(tmp_path / "run"),
         "--device", "cpu"],
        standalone_mode=False,
    )  # fmt: skip
    left = "left out: 1 hidden or left behind by a program (.DS_Store)"
    assert f"vit-explorer: set/train: {left}\n" in capsys.readouterr().err
    monkeypatch.setattr(vx, "load_model", lambda *_args, **_options: small)
    with pytest.raises(SystemExit) as stopped:
        cli.main(
            ["batch", str(data / "train"), "--out", str(tmp_path / "out"), "--method", "rollout"]
        )
    assert stopped.value.code == 0
    assert capsys.readouterr().out.endswith(f"{left}\n")
