"""The Attention view: rollout up to a layer, the strongest patches alone, and the two plots."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest

import vit_explorer as vx
from tests.browser import open_explorer, pixels, settle, show, wait_quiet
from vit_explorer.methods.attention import rollout_by_layer

if TYPE_CHECKING:
    from playwright.sync_api import Locator, Page

pytestmark = pytest.mark.browser

CANVAS = "#vx-view-attention .stage canvas"

ROLLED = """async ([url, card, asked]) => {
  const { Attention } =
    await import(new URL("explorer/static/server/attention_data.js", document.baseURI));
  const data = new Attention({ url, ...card });
  await data.loadAll();
  return asked.map((one) => [...data.rollout(one)]);
}"""


def test_rollout_in_the_browser_is_the_library_s(
    page: Page, small_checkpoint: Path, cat: Path
) -> None:
    url = page.get_attribute("#vx-download", "href")
    assert url is not None
    card = {"depth": 4, "heads": 3, "tokens": 65, "prefix": 1}
    rolled = {"layer": 3, "fusion": "mean", "query": 0, "direction": "from"}
    asked = [
        rolled,
        {**rolled, "fusion": "max"},
        {**rolled, "layer": 1, "query": 9},
        {**rolled, "layer": 2, "query": 9, "direction": "to"},
    ]
    found = page.evaluate(ROLLED, [url.rsplit("/", 1)[0], card, asked])
    model = vx.load_model(str(small_checkpoint))
    trace = vx.trace(model, cat)
    for values, fusion in zip(found, ("mean", "max"), strict=False):
        options = {"rollout": {"fusion": fusion}}
        whole = vx.explain(model, cat, methods="rollout", options=options).heatmaps["rollout"]
        _is_close(values[1:], whole.values.ravel())
    _is_close(found[2], rollout_by_layer(trace, 9)[1].numpy())
    columns = [float(rollout_by_layer(trace, token)[2, 9]) for token in range(65)]
    _is_close(found[3], np.array(columns))


def _is_close(found: list[float], expected: np.ndarray) -> None:
    """To what float32 can hold."""
    np.testing.assert_allclose(found, expected, rtol=1e-5)


def test_rolling_out_and_keeping_the_strongest_need_no_server(
    page: Page, silent: Callable[[], list[str]]
) -> None:
    show(page, "attention")
    wait_quiet(page)
    asked = len(silent())
    one = pixels(page, CANVAS)
    page.get_by_role("button", name="rolled out up to it").click()
    rolled = pixels(page, CANVAS)
    assert rolled != one
    assert "residuals" in page.inner_text(".says")
    assert page.get_by_role("button", name="1", exact=True).is_disabled()
    page.locator("#vx-mass").fill("30")
    assert pixels(page, CANVAS) != rolled
    share, count = page.inner_text("output.mass").replace("\xa0", " ").split(": ")
    assert share == "30 %"
    assert 1 <= int(count.split()[0]) < 64
    assert silent()[asked:] == []


def points_at_each_dot(page: Page, plot: Locator, values: np.ndarray, written: str) -> None:
    """Whichever of overlapping dots lies on top, the nearest to the pointer is told at once."""
    dots = plot.locator(".dot")
    for at, value in enumerate(values.ravel()):
        box = dots.nth(at).bounding_box()
        assert box is not None
        page.mouse.move(box["x"] + box["width"] / 2, box["y"] + box["height"] / 2)
        layer, head = np.unravel_index(at, values.shape)
        said = f"Layer {layer + 1}, head {head + 1}: " + written.format(value)
        assert plot.locator(".head-here").inner_text() == said


KEPT = """async ([values, share]) => {
  const { keepMass } =
    await import(new URL("explorer/static/controls/attention_tools.js", document.baseURI));
  const { values: kept, count } = keepMass(values, share);
  return [[...kept], count];
}"""


def test_kept_cells_are_the_fewest_that_hold_the_share(page: Page) -> None:
    kept, count = page.evaluate(KEPT, [[0.1, 0.4, 0.2, 0.3], 0.7])
    assert count == 2
    np.testing.assert_allclose(kept, [0, 0.4, 0, 0.3], atol=1e-7)
    assert page.evaluate(KEPT, [[0.25] * 4, 1])[1] == 4
    assert page.evaluate(KEPT, [[0.0] * 4, 0.5])[1] == 0


def test_plots_show_the_library_s_numbers_and_choose_heads(
    page: Page, address: str, small_checkpoint: Path, cat: Path
) -> None:
    show(page, "attention")
    trace = vx.trace(vx.load_model(str(small_checkpoint)), cat)
    entropy = vx.attention_entropy(trace)
    dots = page.locator('[data-measure="entropy"] .dot')
    dots.first.wait_for(state="attached")
    assert dots.count() == entropy.size
    distance = vx.attention_distance(trace, renormalise=True)
    written = {"entropy": "entropy {:.2g}", "distance": "{:.0f} pixels"}
    for measure, values in (("entropy", entropy), ("distance", distance)):
        plot = page.locator(f'[data-measure="{measure}"]')
        plot.scroll_into_view_if_needed()
        points_at_each_dot(page, plot, values, written[measure])
        for end, at in (("least", values.argmin()), ("most", values.argmax())):
            layer, head = np.unravel_index(at, values.shape)
            named = plot.locator(f'[data-end="{end}"]').inner_text()
            assert named == f"Layer {layer + 1}, head {head + 1}: " + written[measure].format(
                values[layer, head]
            )
    box = dots.nth(5).bounding_box()
    assert box is not None
    page.mouse.click(box["x"] + box["width"] / 2, box["y"] + box["height"] / 2)
    settle(page)
    assert page.inner_text('output[for="vx-layer"]') == "2/4"
    page.click('[data-measure="entropy"] [data-end="least"]')
    settle(page)
    layer, head = np.unravel_index(entropy.argmin(), entropy.shape)
    assert page.locator(".matrix [aria-pressed=true]").get_attribute("aria-label") == (
        f"Layer {layer + 1}, head {head + 1}"
    )
    page.get_by_role("button", name="is looked at by").click()
    page.locator("#vx-mass").fill("50")
    page.wait_for_function("location.hash.includes('mass=50')")
    before = pixels(page, CANVAS)
    page.reload()
    open_explorer(page, address, page.url.split("#")[1])
    wait_quiet(page)
    assert pixels(page, CANVAS) == before
