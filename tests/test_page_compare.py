"""The Compare view: a second result beside the first, and one pointer for both."""

from __future__ import annotations

import math
import re
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest

import vit_explorer as vx
from tests.browser import open_explorer, pixels, said, settle, show

if TYPE_CHECKING:
    from playwright.sync_api import Page

pytestmark = pytest.mark.browser

FIRST = '.compare-side[data-side="first"]'
SECOND = '.compare-side[data-side="second"]'
DIFFERENCE = '.compare-side[data-side="difference"]'


def wait_for_maps(page: Page) -> None:
    """Wait until both sides show what they are asked for."""
    settle(page)
    for side in (FIRST, SECOND):
        page.wait_for_selector(f"{side} .compare-missing", state="hidden")


def labels(page: Page, side: str) -> list[str]:
    return list(page.locator(f"{side} .label").all_inner_texts())


def test_two_classes_stand_on_one_scale_beside_their_difference(
    page: Page, address: str, small_checkpoint: Path, cat: Path
) -> None:
    show(page, "compare")
    page.get_by_role("button", name="another class").click()
    model = vx.load_model(small_checkpoint)
    first, second = vx.explain(model, cat, methods=()).predictions[:2]
    page.select_option("#vx-other-class", str(second.index))
    page.locator(f"{SECOND} h3", has_text=second.label).wait_for()
    page.locator(".compare-tools select").first.select_option("grad_cam")
    wait_for_maps(page)
    maps = [
        vx.explain(model, cat, "grad_cam", one.index).heatmaps["grad_cam"].values
        for one in (first, second)
    ]
    difference = maps[0] - maps[1]
    assert page.inner_text(f"{DIFFERENCE} h3") == f"{first.label} − {second.label}"
    words = page.inner_text(f"{DIFFERENCE} .says")
    for label, extreme in ((first.label, difference.max()), (second.label, difference.min())):
        row, column = np.argwhere(difference == extreme)[0] + 1
        found = re.search(
            rf"More for {re.escape(label)}: row {row}, column {column} \(([^)]+)\)", words
        )
        assert found and float(found[1].replace("−", "-")) == pytest.approx(extreme, rel=0.02)
    highs = page.locator(".compare-side:visible .bar-high").all_inner_texts()
    assert highs[0] == highs[1]  # one scale
    lows = page.locator(f"{DIFFERENCE} .bar-low").inner_text()
    assert lows == f"−{highs[2]}"
    page.locator(".compare-tools select").first.select_option("rollout")
    page.locator(f"{DIFFERENCE} .compare-missing", has_text="the same for every class").wait_for()
    page.wait_for_function(f"location.hash.includes('beside=class%3A{second.index}')")


def test_a_second_picture_is_shown_beside_the_first(
    page: Page, address: str, small_checkpoint: Path, cat: Path, coffee: Path
) -> None:
    show(page, "compare")
    assert page.locator(".compare-empty").is_visible()
    page.get_by_role("button", name="another picture").click()
    page.get_by_role("button", name="Compare with coffee.png").click()
    page.wait_for_selector(f"{SECOND} canvas")
    settle(page)
    model = vx.load_model(small_checkpoint)
    for side, picture in ((FIRST, cat), (SECOND, coffee)):
        expected = [each.label for each in vx.explain(model, picture, methods=()).predictions]
        assert labels(page, side) == expected

    bounds = page.locator(f"{FIRST} canvas").bounding_box()
    assert bounds is not None
    before = pixels(page, f"{SECOND} canvas")
    page.mouse.move(
        bounds["x"] + 6.5 * bounds["width"] / 8, bounds["y"] + 1.5 * bounds["height"] / 8
    )
    settle(page)
    assert "patch row 2, column 7" in page.inner_text(f"{FIRST} .says")
    assert "patch row 2, column 7" in page.inner_text(f"{SECOND} .says")
    assert pixels(page, f"{SECOND} canvas") != before
    other = page.locator(f"{SECOND} canvas").bounding_box()
    assert other is not None
    page.mouse.move(other["x"] + other["width"] / 16, other["y"] + other["height"] / 16)
    page.locator(f"{FIRST} .says", has_text="patch row 1, column 1").wait_for()

    page.get_by_role("button", name="attention", exact=True).click()
    wait_for_maps(page)
    highs = page.locator(".compare-side:visible .bar-high").all_inner_texts()
    assert len(highs) == 2
    assert highs[0] == highs[1]
    head = page.locator("#vx-view-compare .chooser select")
    assert head.input_value() == "mean"
    mean = pixels(page, f"{FIRST} canvas")
    head.select_option("0")
    assert pixels(page, f"{FIRST} canvas") != mean
    head.select_option("mean")
    assert pixels(page, f"{FIRST} canvas") == mean
    page.wait_for_function("location.hash.includes('beside=picture%3Acoffee.png')")
    link = page.url.split("#")[1]
    page.goto("about:blank")
    open_explorer(page, address, link)
    page.wait_for_selector(f"{SECOND} canvas")


def test_two_models_are_shown_on_one_picture(page: Page, small_checkpoint: Path, cat: Path) -> None:
    show(page, "compare")
    page.fill("#vx-other-model", "bundled")
    page.keyboard.press("Enter")
    page.wait_for_selector(f"{SECOND} canvas:visible")
    first, second = vx.load_model(small_checkpoint), vx.load_model("bundled")
    assert second.card.depth != first.card.depth
    for side, model in ((FIRST, first), (SECOND, second)):
        expected = [each.label for each in vx.explain(model, cat, methods=()).predictions]
        assert labels(page, side) == expected
        assert page.inner_text(f"{side} h3") == f"{model.card.name} · cat.png"

    page.get_by_role("button", name="attention", exact=True).click()
    wait_for_maps(page)
    assert page.inner_text(f"{FIRST} .compare-place") == "Layer 4 of 4, mean of the heads"
    assert page.inner_text(f"{SECOND} .compare-place") == "Layer 9 of 9, mean of the heads"
    assert page.inner_text("#vx-view-compare .chooser output") == "4/4 · 9/9"
    highs = page.locator(".compare-side:visible .bar-high")
    shared = highs.all_inner_texts()
    assert shared[0] == shared[1]
    assert shared[0].endswith("×")
    page.get_by_role("button", name="each its own").click()
    highs.filter(has_text=shared[0]).first.wait_for(state="detached")
    own = [float(high) for high in highs.all_inner_texts()]
    for high, model in zip(own, (first, second), strict=True):
        row = vx.trace(model, cat).attention(model.card.depth - 1).mean(dim=0)[0]
        largest = float(row[model.card.prefix_tokens :].max())
        assert high == pytest.approx(largest, rel=0.04)  # a bar says two digits of it
    times = max(
        high * math.prod(model.card.grid) for high, model in zip(own, (first, second), strict=True)
    )
    assert float(shared[0].removesuffix("×")) == pytest.approx(times, rel=0.05)
    for side, model in ((FIRST, first), (SECOND, second)):  # the last layer of each
        row = vx.trace(model, cat).attention(model.card.depth - 1).mean(dim=0)[0]
        grid = row[model.card.prefix_tokens :].reshape(model.card.grid)
        found = re.search(r"row (\d+), column (\d+) \((.+?)\s%\)", said(page, side))
        assert found is not None
        at, share = (int(found[1]) - 1, int(found[2]) - 1), float(found[3])
        # The page holds attention in 255 steps of each row's largest.
        assert share == pytest.approx(100 * float(grid.max()), rel=0.01, abs=0.06)
        assert float(grid[at]) == pytest.approx(float(grid.max()), rel=0.01)


def test_a_wrong_model_is_refused_in_its_place(page: Page) -> None:
    show(page, "compare")
    page.fill("#vx-other-model", "no such model")
    page.keyboard.press("Enter")
    page.wait_for_selector('.compare-empty[data-kind="problem"]')
    assert "no such model" in page.inner_text(".compare-empty")
    assert page.locator(f"{FIRST} .label").count() == 5
