"""Every figure of every view: saved with a caption, its numbers twice the same, its code runs."""

from __future__ import annotations

import csv
import io
import json
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest
from fastapi.testclient import TestClient

import vit_explorer as vx
from tests.browser import ROOT, clipboard, empty_clipboard, settle, show, wait_idle, wait_quiet
from vit_explorer.page import Workbench, build_app

if TYPE_CHECKING:
    from playwright.sync_api import Locator, Page

# Files named after these figures; "cat-" and what the map methods are called come on top.
FIGURES = {
    "rollout", "agreement", "attention", "distance", "entropy", "patches", "embedding-sums",
    "positions", "all-positions", "position-components", "position-profile",
    "positions-other-grid", "logit-lens", "layer-similarity", "token-path", "token-similarity",
    "token-norms", "patch-lens-target", "feature-components", "contributions",
    "what-if", "removal", "compare-first", "compare-second", "learn", "embedding",
    "scores", "softmax", "weighted-sum", "residual", "prediction",
}  # fmt: skip


# Counted from 0; their numbers are fetched when the step is opened.
STEPS_WITH_TABLES = (1, 2, 3, 4, 6, 8)


@pytest.fixture
def gathered() -> dict[str, tuple[str, list[list[str]]]]:
    return {}


def _columns(rows: list[list[str]]) -> dict[str, list[str]]:
    return {name: [row[at] for row in rows[1:]] for at, name in enumerate(rows[0])}


def _look(page: Page, button: Locator, found: dict[str, tuple[str, list[list[str]]]]) -> str:
    """Use every entry of a menu; notes its code and its table, returns the figure's name."""
    name, kept = "", {}
    button.click()
    page.wait_for_selector(".figure-menu:popover-open:not([aria-busy])")
    offered = [
        str(entry.get_attribute("data-save"))
        for entry in page.locator(".figure-menu:popover-open [data-save]:visible").all()
    ]
    page.keyboard.press("Escape")
    for entry in offered:
        button.click()
        chosen = page.locator(f'.figure-menu:popover-open [data-save="{entry}"]')
        if entry in ("python", "command"):
            empty_clipboard(page)
            chosen.click()
            kept[entry] = clipboard(page).encode()
            continue
        with page.expect_download() as caught:
            chosen.click()
        kept[entry] = Path(caught.value.path()).read_bytes()
        stem = (
            caught.value.suggested_filename.rpartition(".")[0]
            .removeprefix("cat-")
            .removeprefix("coffee-")
        )
        if entry != "npz" or "csv" not in kept:
            name = stem
    if "svg" in kept:
        assert f"ViT Explorer {vx.__version__}" in kept["svg"].decode(), name
        assert kept["png"].startswith(b"\x89PNG"), name
    table: list[list[str]] = []
    if "csv" in kept:
        assert "npz" in kept, name
        table = list(csv.reader(io.StringIO(kept["csv"].decode())))
        assert len(table) > 1, name
        assert len({len(row) for row in table}) == 1, name
        with np.load(io.BytesIO(kept["npz"])) as arrays:
            _assert_same_numbers(name, table, dict(arrays))
    if "python" in kept:
        found[f"{name} {len(found)}"] = (kept["python"].decode(), table)
    return name


def _assert_same_numbers(name: str, table: list[list[str]], arrays: dict[str, np.ndarray]) -> None:
    """A file's arrays are the table's columns, or of a grid its values in the grid's shape."""
    told = json.loads(str(arrays.pop("metadata")))
    assert told["figure"] == name and told["title"] and told["model"] and told["picture"]["sha256"]
    columns = _columns(table)
    if set(arrays) == set(table[0]):
        for column, cells in columns.items():
            _assert_equal(arrays[column], cells, f"{name}: {column}")
        return
    value = table[0][-1]
    array = arrays["similarity" if name == "all-positions" else value]
    assert array.dtype == np.float32, name
    _assert_equal(array.ravel(), columns[value], name)
    if name != "all-positions":
        assert array.shape == tuple(int(columns[side][-1]) for side in ("row", "column")), name
    assert name not in vx.METHODS or value == name


def _assert_equal(array: np.ndarray, cells: list[str], name: str) -> None:
    if array.dtype.kind == "U":
        assert array.tolist() == cells, name
    else:
        expected = [float(cell) if cell not in ("", "null") else np.nan for cell in cells]
        # Digits for digits: what a file has are float32, or counts.
        exact = np.array(expected, array.dtype if array.dtype.kind == "f" else float)
        np.testing.assert_array_equal(array, exact, err_msg=name)


def _look_at_all(page: Page, view: str, found: dict[str, tuple[str, list[list[str]]]]) -> set[str]:
    wait_quiet(page)
    buttons = page.locator(f"#vx-view-{view} .figure-button:visible")
    assert buttons.count(), view
    return {_look(page, buttons.nth(at), found) for at in range(buttons.count())}


@pytest.mark.browser
def test_every_figure_is_saved_and_its_code_runs(
    page: Page,
    small_checkpoint: Path,
    tmp_path: Path,
    gathered: dict[str, tuple[str, list[list[str]]]],
) -> None:
    seen: set[str] = _look_at_all(page, "explain", gathered)
    for view in ("attention", "patches", "layers"):
        show(page, view)
        seen |= _look_at_all(page, view, gathered)
    show(page, "positions")
    for part in ("all", "components", "profile", "grid"):
        page.click(f'#vx-view-positions .segmented [data-value="{part}"]')
        settle(page)
        page.wait_for_selector(".position-part:visible .figure-button:visible")
        seen |= _look_at_all(page, "positions", gathered)
    show(page, "whatif")
    page.locator("#vx-removed").fill("7")
    page.locator("#vx-view-whatif .says", has_text="7 patches").wait_for()
    page.wait_for_selector("#vx-view-whatif .removal-chart .line-test")
    seen |= _look_at_all(page, "whatif", gathered)
    show(page, "compare")
    page.click('#vx-view-compare .segmented [data-value="picture"]')
    page.click('#vx-view-compare [data-picture="coffee.png"]')
    page.wait_for_selector('[data-side="second"] canvas:visible')
    for part in ("map", "attention", "positions", "components", "features", "query_key"):
        page.click(f'#vx-view-compare .segmented [data-value="{part}"]')
        wait_idle(page)
        seen |= _look_at_all(page, "compare", gathered)
    show(page, "learn")
    for step in range(10):
        page.locator(".learn-dots button").nth(step).click()
        settle(page)
        if step in STEPS_WITH_TABLES:
            page.wait_for_selector(".learn-figure:visible .numbers-part .figure-button:visible")
        seen |= _look_at_all(page, "learn", gathered)
    assert seen >= FIGURES, FIGURES - seen
    _run_all(gathered, small_checkpoint, tmp_path)


# What copied code calls the numbers of a figure's table, and the columns that hold them.
NUMBERS = {
    "layer-similarity": ("path.similarity", ("cosine",)),
    "token-path": ("path.points", ("component 1", "component 2")),
    "position-profile": ("[*along, *down]", ("cosine",)),
    "logit-lens": (
        "[[each.probability for each in row] for row in lens.predictions]",
        ("p 1", "p 2", "p 3", "p 4", "p 5"),
    ),
    "what-if": (
        "[[b.probability, a.probability] for a in found.after for b in found.before"
        " if a.index == b.index]",
        ("before", "after"),
    ),
    "removal": ("values", ("most important first",)),
}


def _run_all(found: dict[str, tuple[str, list[list[str]]]], checkpoint: Path, place: Path) -> None:
    """Run all copied code as a reader would; its numbers are those of the table."""
    (place / "assets").symlink_to(ROOT / "assets")
    (place / checkpoint.name).symlink_to(checkpoint)
    named = {at: NUMBERS.get(name.split()[0], ("values", ()))[0] for at, name in enumerate(found)}
    for at, (code, _) in enumerate(found.values()):
        (place / f"{at}.py").write_text(code)
    (place / "run.py").write_text(
        "import numpy, runpy\n"
        f"for at, name in {named!r}.items():\n"
        "    made = runpy.run_path(f'{at}.py')\n"
        "    if name != 'values' or 'values' in made:\n"
        "        numpy.save(f'{at}.npy', numpy.array(eval(name, made)))\n"
    )
    words = [sys.executable, "run.py"]
    done = subprocess.run(words, cwd=place, check=False, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    compared = set()
    for at, (numbered, (_, table)) in enumerate(found.items()):
        path = place / f"{at}.npy"
        name = numbered.split()[0]
        if not path.exists() or not table:
            continue
        parts = tuple(column for column in table[0] if column.startswith(("component ", "head_")))
        _, columns = NUMBERS.get(name, ("", parts or (table[0][-1],)))
        held = _columns(table)
        shown = np.array([[float(cell) for cell in held[column]] for column in columns]).T
        # The page adds up heads and cosines in float64, Python in float32.
        np.testing.assert_allclose(
            np.load(path).ravel(), shown.ravel(), rtol=2e-5, atol=2e-6, err_msg=name
        )
        compared.add(name)
    coded = {name.split()[0] for name in found}
    assert compared >= coded - {"patches"}, coded - compared


def test_a_table_s_columns_become_arrays(small: vx.LoadedModel) -> None:
    workbench = Workbench(small)
    client = TestClient(build_app(workbench), base_url="http://localhost")
    key = workbench.analyse("cat.png", workbench.start_name, None).key
    address = f"/explorer/results/{key}/figure.npz"
    about = {"figure": "lens", "title": "Lens", "shows": "", "targeted": False}
    rows = [[1, "cat", 0.25, "-Infinity"], [2, "dog", None, ""]]
    asked = {**about, "columns": ["k", "name", "p", "score"], "rows": rows}
    answer = client.post(address, json=asked)
    with np.load(io.BytesIO(answer.content)) as arrays:
        assert arrays["k"].tolist() == [1, 2] and arrays["k"].dtype == np.int64
        assert arrays["name"].tolist() == ["cat", "dog"]
        assert arrays["p"][0] == 0.25 and arrays["p"].dtype == np.float32
        assert np.isnan(arrays["p"][1])
        assert arrays["score"][0] == -np.inf and np.isnan(arrays["score"][1])
    for columns in (["k", "k", "p", "q"], ["k"]):
        refused = client.post(address, json={**asked, "columns": columns})
        assert refused.status_code == 422
        assert refused.json()["error"]["text"].startswith("The table's rows should have")
    form = {"content-type": "application/x-www-form-urlencoded"}
    assert client.post(address, content="{}", headers=form).status_code == 415
