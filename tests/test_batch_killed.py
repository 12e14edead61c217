"""`explain_folder` killed at any moment: nothing half made is taken for whole, and `resume` goes on
to what would have been."""

from __future__ import annotations

import csv
import json
import os
import random
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from filelock import FileLock

import vit_explorer as vx
from tests.killed import forked
from vit_explorer.errors import OutputError
from vit_explorer.explaining.pipeline import THREADS

NAMES = ("a.png", "b.png", "c.png", "sub/d.png")
METHODS = ("rollout", "grad_cam")
MOMENTS = 8


@pytest.fixture(scope="module")
def album(assets: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("album")
    (root / "sub").mkdir()
    for name, picture in zip(
        NAMES, ("cat.png", "coffee.png", "rocket.jpg", "cat.png"), strict=True
    ):
        shutil.copy(assets / picture, root / name)
    return root


def table(out: Path) -> dict[str, dict[str, str]]:
    with (out / "summary.csv").open(newline="", encoding="utf-8") as file:
        return {row["picture"]: row for row in csv.DictReader(file)}


def whole_folders(out: Path) -> set[str]:
    """Places whose manifest says that they are whole, all of which have to be."""
    found = set()
    for manifest in out.rglob("explanation.json"):
        told = json.loads(manifest.read_text(encoding="utf-8"))
        if manifest.is_relative_to(out / ".vit-explorer") or told.get("complete") is False:
            continue
        folder = manifest.parent
        assert {path.name for path in folder.iterdir()} == set(told["files"]), folder
        with np.load(folder / "heatmaps.npz") as maps:
            assert sorted(maps) == sorted(told["methods"]), folder
        found.add(folder.relative_to(out).as_posix())
    return found


def assert_same(out: Path, other: Path) -> None:
    names = [{p.relative_to(one).as_posix() for p in one.rglob("*")} for one in (out, other)]
    assert names[0] == names[1]
    assert list(table(out)) == list(table(other))
    for picture, row in table(out).items():
        expected = table(other)[picture]
        for number in ("probability", "score"):  # of other neighbours in a pass
            value = float(expected.pop(number))
            assert float(row.pop(number)) == pytest.approx(value, abs=1e-5)
        assert row == expected
        with (
            np.load(out / row["folder"] / "heatmaps.npz") as maps,
            np.load(other / row["folder"] / "heatmaps.npz") as others,
        ):
            for name in METHODS:
                np.testing.assert_allclose(maps[name], others[name], atol=1e-5)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
@pytest.mark.parametrize("before", [False, True], ids=["a new folder", "over earlier results"])
def test_killed_at_any_moment_it_resumes_to_the_uninterrupted_result(
    small: vx.LoadedModel, album: Path, tmp_path: Path, before: bool
) -> None:
    whole, earlier = tmp_path / "whole", tmp_path / "earlier"
    list(vx.explain_folder(small, album, whole, METHODS, batch_size=2))
    if before:  # other maps of the same pictures, which are removed with their results
        list(vx.explain_folder(small, album, earlier, ("rollout", "saliency"), batch_size=2))
    else:
        earlier.mkdir()

    def run(out: Path, resume: bool) -> Callable[[], Any]:
        return lambda: list(
            vx.explain_folder(small, album, out, METHODS, batch_size=2, resume=resume)
        )

    shutil.copytree(earlier, tmp_path / "counted")
    changes = forked(run(tmp_path / "counted", before), tmp_path / "counted", None)
    draw = random.Random(before)
    finished = []
    for moment in sorted(draw.sample(range(1, changes + 1), MOMENTS)):
        out = tmp_path / str(moment)
        shutil.copytree(earlier, out)
        assert forked(run(out, before), out, moment) == -1
        made = {
            place for place in whole_folders(out) if not (out / place / "saliency.png").exists()
        }
        begun = (out / "summary.csv").exists() and not (out / "summary.json").exists()
        rows = {row["folder"] for row in table(out).values()} if begun else set()
        assert rows <= made
        assert len(made - rows) <= THREADS  # those moved when the process was killed
        finished.append(len(made))
        run(out, True)()
        assert_same(out, whole)
        assert not (out / ".vit-explorer").exists()
    assert min(finished) < 2 < max(finished)  # moments of all kinds


def test_a_folder_that_another_process_writes_to_is_refused(
    small: vx.LoadedModel, album: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    (out / ".vit-explorer").mkdir(parents=True)
    with (
        FileLock(out / ".vit-explorer" / "lock"),
        pytest.raises(OutputError, match=r"Another process is writing results to .*out; wait"),
    ):
        next(vx.explain_folder(small, album, out, ()))
    first = vx.explain_folder(small, album, out, (), batch_size=1)
    next(first)
    with pytest.raises(OutputError, match="Another process"):
        next(vx.explain_folder(small, album, out, ()))
    first.close()
    assert len(list(vx.explain_folder(small, album, out, ()))) == len(NAMES)


def test_results_that_can_not_be_written_are_told(
    small: vx.LoadedModel, album: Path, tmp_path: Path
) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(OutputError, match=r"Results can't be written to .*file.*Not a directory"):
        next(vx.explain_folder(small, album, tmp_path / "file", ()))


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_a_full_disk_is_told_and_loses_nothing(
    small: vx.LoadedModel, album: Path, tmp_path: Path
) -> None:
    import resource

    out = tmp_path / "out"

    def run() -> None:
        outcomes = vx.explain_folder(small, album, out, METHODS, batch_size=1)
        next(outcomes)
        resource.setrlimit(resource.RLIMIT_FSIZE, (2000, 2000))  # no file may grow beyond
        with pytest.raises(OutputError, match="Results can't be written to"):
            list(outcomes)

    assert forked(run, out, None) > 0
    written = {row["folder"] for row in table(out).values()}
    assert "a" in written and len(written) < len(NAMES)  # one may have been written ahead
    assert whole_folders(out) == written
    assert len(list(vx.explain_folder(small, album, out, METHODS, resume=True))) == len(NAMES)
