"""A model too large for its attention and tokens to be sent whole: what is chosen is fetched."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest

import vit_explorer as vx
from tests.browser import pixels, running_app, said, settle, show
from vit_explorer.methods.attention import rollout_by_layer

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

pytestmark = pytest.mark.browser

# Nothing is small enough to be sent whole.
PROGRAM = """
import sys
from vit_explorer import cli
from vit_explorer.page.payloads import layers
from vit_explorer.page.payloads import result as payload
payload.MAX_ATTENTION_BYTES = layers.MAX_TOKEN_NUMBERS = 0
cli.main(["app", *sys.argv[1:]])
"""
ATTENTION = "#vx-view-attention"
CANVAS = f"{ATTENTION} .stage canvas"
LAYERS = "#vx-view-layers"
LIKENESS = f'{LAYERS} [data-part="likeness"]'
PLACE = re.compile(r"row (\d+), column (\d+) \(([\d.]+)\s%\)")


@pytest.fixture(scope="module")
def address(
    browser: Browser, small_checkpoint: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[str]:
    options = ("--model", str(small_checkpoint))
    scratch = tmp_path_factory.mktemp("app")
    with running_app(*options, scratch=scratch, program=("-c", PROGRAM)) as started:
        yield started


@pytest.fixture(scope="module")
def trace(small_checkpoint: Path, cat: Path) -> vx.Trace:
    return vx.trace(vx.load_model(str(small_checkpoint)), cat)


def check_said(text: str, row: np.ndarray) -> None:
    """What is said of a query's row (N,): its largest patch, and the class token's share."""
    patches = row[1:].reshape(8, 8)
    found = PLACE.search(text)
    assert found is not None, text
    row_said, column_said, share = int(found[1]) - 1, int(found[2]) - 1, float(found[3])
    assert patches[row_said, column_said] == patches.max()
    assert share == pytest.approx(100 * patches.max(), abs=0.051)
    prefix = re.search(r"Besides the patches: class token ([\d.]+)\s%", text)
    assert prefix is not None, text
    assert float(prefix[1]) == pytest.approx(100 * row[0], abs=0.051)


def test_a_query_is_fetched_when_it_is_chosen(page: Page, trace: vx.Trace) -> None:
    whole: list[str] = []
    layer = re.compile(r"/results/\w+/layers/")
    page.on("request", lambda request: layer.search(request.url) and whole.append(request.url))
    show(page, "attention")
    last = trace.attention(3).mean(dim=0).cpu().numpy()  # (N, N)
    check_said(said(page), last[0])
    start = pixels(page, CANVAS)
    page.focus(CANVAS)
    with page.expect_response("**/queries/37/from"):
        page.keyboard.press("ArrowRight")  # from the middle: row 5, column 5
    page.locator(f"{ATTENTION} .says", has_text="row 5, column 5 looks most").wait_for()
    check_said(said(page).split("looks most")[1], last[37])
    assert pixels(page, CANVAS) != start
    page.focus("#vx-layer")
    page.keyboard.press("ArrowLeft")
    settle(page)
    check_said(said(page).split("looks most")[1], trace.attention(2).mean(dim=0)[37].cpu().numpy())
    assert whole == []


def test_rollout_is_the_server_s(page: Page, trace: vx.Trace) -> None:
    show(page, "attention")
    one = pixels(page, CANVAS)
    page.get_by_role("button", name="rolled out up to it").click()
    page.locator(f"{ATTENTION} .says", has_text="residuals").wait_for()
    check_said(said(page), rollout_by_layer(trace, 0)[3].cpu().numpy())
    rolled = pixels(page, CANVAS)
    assert rolled != one
    box = page.locator(CANVAS).bounding_box()
    assert box is not None
    with page.expect_response("**/rollouts/1"):
        page.mouse.move(box["x"] + box["width"] / 16, box["y"] + box["height"] / 16)
    page.locator(f"{ATTENTION} .says", has_text="row 1, column 1, after this layer").wait_for()
    check_said(said(page).split("after this layer")[1], rollout_by_layer(trace, 1)[3].cpu().numpy())
    page.mouse.move(1, 1)
    page.locator(f"{ATTENTION} .says", has_text="Class token, after this layer").wait_for()
    assert pixels(page, CANVAS) == rolled


def test_layers_show_one_token_s_likeness(page: Page, trace: vx.Trace) -> None:
    show(page, "layers")
    strip = f"{LIKENESS} .layer-strip canvas"
    page.wait_for_selector(strip)
    start = pixels(page, strip)
    canvas = page.locator(f"{LIKENESS} .stage canvas").first
    canvas.focus()
    with page.expect_response("**/similarities/37"):
        page.keyboard.press("ArrowRight")
    page.wait_for_function(
        "([selector, start]) => document.querySelector(selector).toDataURL() !== start",
        arg=[strip, start],
    )
    alike = vx.token_similarity(trace, 37, layer=None)  # (L, gh, gw)
    others = np.delete(alike[3].ravel(), 36)
    text = page.locator(f"{LIKENESS} .depth-side .says").first.inner_text()
    numbers = [float(each.replace("−", "-")) for each in re.findall(r"−?\d\.\d+", text)]
    expected = [others.max(), alike[0].mean(), alike[3].mean()]
    assert numbers == pytest.approx(expected, abs=0.006), text
