"""A folder with planted trouble, and a model that is fed wrongly: all of it is named."""

from __future__ import annotations

import json
import tarfile
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

import vit_explorer as vx
from vit_explorer.cli import main
from vit_explorer.datasets.doctor import share_seen
from vit_explorer.errors import DataError
from vit_explorer.pictures.preprocess import Preprocess

A_CLASS = 6


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory, shared: Path) -> Path:
    """Test pictures of CIFAR-10, the first few of each class, with their class's name."""
    root = tmp_path_factory.mktemp("doctor") / "pictures"
    counts: Counter[str] = Counter()
    with tarfile.open(shared / "data/cifar10-jpeg.tar.xz") as archive:
        for member in archive:
            *_, split, name, file = ("", "", *member.name.split("/"))
            if member.isfile() and split == "test" and counts[name] < A_CLASS:
                counts[name] += 1
                (root / name).mkdir(parents=True, exist_ok=True)
                (root / name / file).write_bytes(archive.extractfile(member).read())  # type: ignore[union-attr]
            if counts.total() == 10 * A_CLASS:
                return root
    raise AssertionError(counts)


def kinds(found: vx.Diagnosis) -> dict[str, str]:
    return {one.kind: str(one.said) for one in found.findings}


def test_a_model_fed_the_wrong_mean_and_deviation_is_told_the_right_ones(folder: Path) -> None:
    right = vx.load_model("bundled-cifar10")
    wrong = vx.load_model("bundled-cifar10", preprocess={"mean": (0.0,), "std": (0.2,)})
    found = vx.doctor(wrong, folder, sample=60)
    (first, *_) = found.findings
    assert first.kind == "preparation"
    assert found.preparations is not None
    best = found.preparations.best
    # ImageNet's and CIFAR-10's are so near each other that so few pictures may not tell them apart.
    named = [best, *found.preparations.alike]
    own = {"mean": right.preprocess.mean, "std": right.preprocess.std}
    assert own in [one.config for one in named]
    assert "0.4914 0.4822 0.4465" in first.said
    assert not {one.name for one in named} & {"none (0 to 1)", "none (0 to 255)"}
    assert "--mean 0.4" in first.advice
    # What it claims is what `evaluate` finds.
    again = vx.load_model("bundled-cifar10", preprocess=best.config)
    tried = [one.accuracy for one in (found.preparations.own, best)]
    for model, accuracy in zip((wrong, again), tried, strict=True):
        images = sorted(folder.rglob("*.jpg"))
        hits = [
            vx.explain(model, path, methods=()).predictions[0].label == path.parent.name
            for path in images
        ]
        assert accuracy == pytest.approx(np.mean(hits))


def test_a_model_fed_rightly_is_left_alone(folder: Path) -> None:
    found = vx.doctor("bundled-cifar10", folder, sample=60)
    assert kinds(found) == {}
    assert (found.pictures, found.labelled) == (60, 60)
    assert found.right / 60 > 0.6


def test_what_is_planted_is_found(folder: Path, tmp_path: Path) -> None:
    root = tmp_path / "planted"
    for path in folder.rglob("*.jpg"):
        (root / path.parent.name).mkdir(parents=True, exist_ok=True)
        (root / path.parent.name / path.name).write_bytes(path.read_bytes())
    model = vx.load_model("bundled-cifar10")
    sure = max(
        (root / "ship").iterdir(),
        key=lambda path: vx.explain(model, path, methods=()).predictions[0].probability,
    )
    (root / "frog" / "not_a_frog.png").write_bytes(sure.read_bytes())
    (root / "cat" / "broken.png").write_bytes(sure.read_bytes()[:200])
    first, second, *_ = sorted((root / "dog").iterdir())
    Image.open(first).resize((200, 20)).save(root / "dog" / "wide.png")
    Image.open(second).resize((16, 16)).save(root / "dog" / "small.png")
    (root / "Thumbs.db").write_bytes(b"")
    found = vx.doctor(model, root, sample=60)
    by_kind = {one.kind: one for one in found.findings}
    assert [one.picture for one in by_kind["unreadable"].pictures] == ["cat/broken.png"]
    (twin,) = by_kind["twice"].pictures
    assert twin.picture == "frog/not_a_frog.png"
    assert "under the labels frog, ship" in twin.what
    assert "frog/not_a_frog.png" in {one.picture for one in by_kind["mislabelled"].pictures}
    assert [one.picture for one in by_kind["small"].pictures] == ["dog/small.png"]
    assert [one.picture for one in by_kind["cropped"].pictures] == ["dog/wide.png"]
    assert "Thumbs.db" in by_kind["left_out"].said
    assert "preparation" not in by_kind
    assert json.loads(json.dumps(found.to_dict()))["findings"][0]["kind"] == "unreadable"


def test_pictures_without_labels_are_looked_through_all_the_same(
    folder: Path, tmp_path: Path
) -> None:
    for place, path in enumerate(sorted(folder.rglob("*.jpg"))[:4]):
        (tmp_path / f"{'abcd'[place]}.png").write_bytes(path.read_bytes())
    found = vx.doctor("bundled-cifar10", tmp_path)
    assert found.labelled == 0
    assert "have no label" in kinds(found)["labels"]
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match="holds no pictures"):
        vx.doctor("bundled-cifar10", tmp_path / "empty")
    with pytest.raises(DataError, match="does not exist"):
        vx.doctor("bundled-cifar10", tmp_path / "nothing")


@given(st.integers(8, 300), st.integers(8, 300), st.sampled_from([0.6, 0.875, 0.95, 1.0]))
@settings(max_examples=40, deadline=None)
def test_the_share_that_is_seen_is_that_of_the_crop(width: int, height: int, crop: float) -> None:
    config = {"input_size": (3, 48, 48), "mean": (0.0,), "std": (1.0,), "crop_pct": crop}
    prepare = Preprocess.from_config(config)
    prepared = prepare(Image.new("RGB", (width, height)))
    left, top, right, bottom = prepared.box
    seen = (right - left) * (bottom - top) / (width * height)
    assert share_seen((width, height), (48, 48), crop) == pytest.approx(seen, rel=0.12)


def test_the_command_prints_and_writes_what_it_found(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    arguments = ["doctor", str(folder), "--model", "bundled-cifar10", "--mean", "0", "--std", "0.2"]
    with pytest.raises(SystemExit) as end:
        main([*arguments, "--out", str(out)])
    assert end.value.code == 0
    printed = " ".join(capsys.readouterr().out.split())
    assert "mean 0.4914 0.4822 0.4465, std 0.247 0.2435 0.2616" in printed
    page = (out / "doctor.html").read_text(encoding="utf-8")
    assert "&#39;s (best)" in page
    assert json.loads((out / "doctor.json").read_text(encoding="utf-8"))["labelled"] == 60
