"""The Explain view: choosing maps, running slow ones, trust, agreement, and every layer."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest
from scipy.stats import spearmanr

import vit_explorer as vx
from tests.browser import open_explorer, pixels, settle, unexpected, watched_page
from vit_explorer.analysis.faithfulness import Protocol
from vit_explorer.methods import in_order
from vit_explorer.page.payloads.maps import shown_of

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

pytestmark = pytest.mark.browser


def card(name: str) -> str:
    return f'.gallery .card[data-method="{name}"]'


def tick(page: Page, name: str) -> None:
    page.click("#vx-choose")
    page.fill("#vx-method-search", name.replace("_", " ").split()[0])
    page.click(f"#vx-method-{name}")
    page.keyboard.press("Escape")
    settle(page)


def shown(page: Page) -> list[str]:
    cards = page.locator(".gallery .card[data-id]")
    return [str(name) for name in cards.evaluate_all("(all) => all.map((c) => c.dataset.id)")]


def test_any_method_is_chosen_remembered_and_linked(
    browser: Browser, address: str, page: Page
) -> None:
    assert shown(page) == shown_of(1)
    tick(page, "layer_cam")
    tick(page, "rollout")
    chosen = {*shown_of(1), "layer_cam"} - {"rollout"}
    expected = [method.name for method in in_order() if method.name in chosen]
    assert shown(page) == expected
    assert f"{len(chosen)} of" in page.inner_text("#vx-choose")
    page.wait_for_function("location.hash.includes('layer_cam')")
    with watched_page(browser, address) as (other, wrong):
        other.goto(page.url)
        other.wait_for_selector(card("layer_cam"))
        assert shown(other) == shown(page)
        assert unexpected(wrong) == []
    page.goto("about:blank")
    open_explorer(page, address)
    assert shown(page) == expected


def test_a_slow_method_runs_on_demand_and_stops(
    page: Page, silent: Callable[[], list[str]]
) -> None:
    tick(page, "rise")
    run = page.locator(f"{card('rise')} .card-work button")
    assert run.inner_text() == "Run"
    assert silent() == []
    # What was begun is stopped before it can end: the answer is held back.
    page.route("**/analyses", lambda route: None)
    run.click()
    page.locator(f"{card('rise')} .card-work button", has_text="Stop").wait_for()
    run.click()
    page.locator(f"{card('rise')} .card-work button", has_text="Run").wait_for()
    page.unroute("**/analyses")
    run.click()
    page.wait_for_selector(f"{card('rise')} .here, {card('rise')} .colour-bar", state="attached")
    assert page.locator(f"{card('rise')} .card-work").count() == 0
    assert page.locator(f"{card('rise')} canvas").get_attribute("aria-label", timeout=2000)
    asked = len(silent())
    page.click("#vx-tab-patches")
    page.click("#vx-tab-explain")
    settle(page)
    assert not any("analyses" in url for url in silent()[asked:])


def compared(page: Page, protocol: str) -> None:
    """Wait for verdicts by a protocol: unasked where that is quick, else by the button."""
    page.get_by_role("group", name="What is taken away").get_by_role(
        "button", name=protocol
    ).click()
    asked = page.locator("#vx-trust", has_text=re.compile("^Compare")).first
    asked.wait_for()
    asked.dispatch_event("click")  # also where there is nothing left to compare
    page.locator("#vx-trust", has_text="Compared").wait_for(timeout=60_000)


@pytest.mark.parametrize("protocol", ["tokens", "pixels"])
def test_trust_says_what_faithfulness_says(
    page: Page, small_checkpoint: Path, cat: Path, protocol: Protocol
) -> None:
    compared(page, protocol)
    model = vx.load_model(str(small_checkpoint))
    explained = vx.explain(model, cat, methods=shown_of(1))
    assert explained.target is not None
    maps, target = explained.heatmaps, explained.target.index
    trust = vx.faithfulness(model, cat, maps, target=target, protocol=protocol)
    for name in shown_of(1):
        verdict = page.inner_text(f"{card(name)} .verdict")
        numbers = page.inner_text(f"{card(name)} .verdict-numbers")
        assert ("than chance" in verdict) is not trust.beats_chance(name)
        assert verdict.startswith("worse") is trust.loses_to_chance(name)
        score = trust.scores[name]
        # Only a tie may fall either way: rounding differs with the threads of a process.
        ties = sum(abs(score.gain - chance.gain) < 1e-4 for chance in trust.random)
        beaten, of = (int(n) for n in re.findall(r"\d+", verdict))
        assert abs(beaten - trust.beaten(name)) <= ties, name
        assert of == len(trust.random) == 20
        found = [float(n) for n in re.findall(r"[\d.]+", numbers)]
        assert found == pytest.approx([score.insertion, score.deletion], abs=0.0051)
    page.click(f"{card('rollout')} .trust")
    page.get_by_role("dialog").wait_for()
    assert page.locator(".trust-dialog .own-curve").count() == 2
    assert page.locator(".trust-dialog .random-curve").count() == 40
    page.keyboard.press("Escape")
    page.get_by_role("dialog").wait_for(state="detached")


RANKED = """async (pairs) => {
  const { correlation, ranks } =
    await import(new URL("explorer/static/maps/rank_correlation.js", document.baseURI));
  return pairs.map(([one, other]) => correlation(ranks(one), ranks(other)));
}"""


def test_agreement_is_spearman_s_and_a_cell_links_its_maps(
    page: Page, small_checkpoint: Path, cat: Path
) -> None:
    rng = np.random.default_rng(0)
    tied = [np.round(rng.normal(size=(2, 50)), 1).tolist() for _ in range(5)]
    found = page.evaluate(RANKED, [*tied, [[1, 1, 1], [1, 2, 3]]])
    expected = [spearmanr(*pair).statistic for pair in tied]
    np.testing.assert_allclose(found[:-1], expected, atol=1e-12)
    assert found[-1] is None

    maps = vx.explain(vx.load_model(str(small_checkpoint)), cat, methods=shown_of(1)).heatmaps
    one, other = maps["rollout"].values.ravel(), maps["generic_attention"].values.ravel()
    value = f"{spearmanr(one, other).statistic:.2f}".replace("-", "−")
    cell = page.get_by_role("button", name=f"Generic attention and Attention rollout: {value}")
    cell.click()
    settle(page)
    assert page.locator(".card.paired").evaluate_all("(all) => all.map((c) => c.dataset.id)") == [
        "generic_attention",
        "rollout",
    ]
    assert value in page.inner_text(".agreement-says")
    page.keyboard.press("Escape")
    settle(page)
    assert page.locator(".card.paired").count() == 0


def test_a_thumbnail_sets_the_layer_of_its_method(
    page: Page, address: str, small_checkpoint: Path, cat: Path
) -> None:
    before = pixels(page, f"{card('grad_cam')} canvas")
    page.click(".layers-card summary")
    thumbnail = page.get_by_role("button", name="Grad-CAM, layer 2", exact=True)
    thumbnail.click()
    page.wait_for_selector('.card[data-id="grad_cam@1"]')
    assert pixels(page, f"{card('grad_cam')} canvas") != before
    assert "layer 2" in page.inner_text(f"{card('grad_cam')} h3")
    model = vx.load_model(str(small_checkpoint))
    options = {"grad_cam": {"layer": 1}}
    values = vx.explain(model, cat, methods="grad_cam", options=options).heatmaps["grad_cam"].values
    page.focus(".card-seen canvas")
    page.keyboard.press("ArrowRight")
    settle(page)
    here = float(page.inner_text(f"{card('grad_cam')} .here"))
    assert here == pytest.approx(float(values[4, 4]), rel=6e-3, abs=1e-6)
    page.wait_for_function("location.hash.includes('at=grad_cam')")
    page.reload()
    open_explorer(page, address, page.url.split("#")[1])
    page.wait_for_selector('.card[data-id="grad_cam@1"]:not(.card-waiting)')
