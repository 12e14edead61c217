"""The page with a model that has no attention between all patches."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.browser import (
    open_explorer,
    pixels,
    running_app,
    saved,
    show,
    tabs_of,
    unexpected,
    wait_idle,
    wait_quiet,
    watched_page,
)
from tests.stage_models import write_resnet
from vit_explorer.page.payloads.tabs import needs_of_tabs

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

pytestmark = pytest.mark.browser


@pytest.fixture(scope="module")
def address(browser: Browser, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    scratch = tmp_path_factory.mktemp("stages")
    checkpoint = write_resnet(scratch / "resnet.safetensors")
    with running_app("--model", str(checkpoint), scratch=scratch) as started:
        yield started


def test_every_tab_shows_something_or_says_why_not(page: Page) -> None:
    for tab in tabs_of(page):
        show(page, tab)
        wait_quiet(page)
        view = page.locator(f"#vx-view-{tab}")
        lack = view.locator(".lack")
        if tab in needs_of_tabs():
            assert "no softmax attention between patches" in lack.inner_text()
            assert view.locator(".view:visible").count() == 0
        else:
            assert view.locator(".view:visible").count() == 1
            assert lack.count() == 0 or not lack.is_visible()
    show(page, "attention")
    page.locator(".lack button", has_text="What if").click()
    page.wait_for_selector("#vx-view-whatif .view-whatif:visible")


def test_maps_at_stages(page: Page) -> None:
    cards = page.locator(".gallery [data-method]")
    assert {card.get_attribute("data-method") for card in cards.all()} >= {"grad_cam", "saliency"}
    page.click(".layers-card summary")
    stage = page.get_by_role("button", name="Grad-CAM, layer 2", exact=True)
    stage.and_(page.locator(":enabled")).wait_for()
    assert page.locator(".layer-matrix canvas").evaluate_all(
        "(all) => [...new Set(all.map(({ width }) => width))]"
    ) == [80, 40, 20, 10, 5]
    before = pixels(page, '.card[data-method="grad_cam"] canvas')
    stage.click()
    card = page.locator('.card[data-id="grad_cam@1"]')
    card.wait_for()
    assert pixels(page, '.card[data-method="grad_cam"] canvas') != before
    name, content = saved(page, '.card[data-id="grad_cam@1"]', "csv")
    assert name.endswith(".csv") and len(content.splitlines()) >= 40 * 40
    trust = page.locator("#vx-trust")
    if trust.get_attribute("aria-disabled") != "true":  # a quick machine compares unasked
        trust.click()
    page.locator('.card[data-id="hires_cam"] .verdict:visible').wait_for(timeout=60_000)
    assert not card.locator(".verdict").is_visible()  # of another grid than the random maps


def test_methods_that_need_attention_are_greyed(page: Page) -> None:
    page.click("#vx-choose")
    rollout = page.locator("#vx-method-rollout")
    assert rollout.is_disabled()
    row = page.locator("label", has=rollout)
    assert "attention from every patch to every patch" in row.get_attribute("title")
    page.locator(".chooser-actions button", has_text="All").last.click()
    assert not rollout.is_checked() and page.locator("#vx-method-occlusion").is_checked()
    page.keyboard.press("Escape")


def test_greying_and_what_needs_heads(page: Page) -> None:
    show(page, "whatif")
    page.locator("#vx-view-whatif canvas").first.focus()
    before = page.locator("#vx-view-whatif .says").first.inner_text()
    page.keyboard.press("ArrowDown")
    page.keyboard.press("Space")
    page.wait_for_function(
        "(before) => document.querySelector('#vx-view-whatif .says').innerText !== before",
        arg=before,
    )
    view = page.locator("#vx-view-whatif")
    assert not view.locator(".switches").is_visible()
    assert (
        "no softmax attention"
        in view.locator(".whatif-part:visible", has_text="Heads").inner_text()
    )
    assert view.get_by_text("mean colour").first.is_visible()


def test_beside_a_vit(page: Page) -> None:
    show(page, "compare")
    page.fill("#vx-other-model", "bundled")
    page.locator(".view-compare .model-form button").click()
    page.locator('[data-side="second"]:visible').wait_for(timeout=60_000)
    page.locator(".compare-tools button", has_text="attention").click()
    wait_idle(page)
    first = page.locator('[data-side="first"] .compare-missing')
    assert "no softmax attention between patches" in first.inner_text()
    page.locator('[data-side="second"] .compare-missing').wait_for(state="hidden")


def test_turning_to_a_vit_and_back(page: Page) -> None:
    show(page, "layers")
    start = page.input_value(".header input, header input")
    for name, lacking in (("bundled", False), (start, True)):
        page.locator("header input").first.fill(name)
        page.keyboard.press("Enter")
        state = "visible" if lacking else "hidden"
        page.locator("#vx-view-layers .lack").wait_for(state=state, timeout=60_000)
        wait_quiet(page)
        assert page.locator("#vx-view-layers .view-layers").is_visible() is not lacking


def test_in_chinese_and_from_a_link(browser: Browser, address: str, tmp_path: Path) -> None:
    with watched_page(browser, address, locale="zh-CN") as (page, wrong):
        open_explorer(page, address, "attention")
        lack = page.locator("#vx-view-attention .lack")
        lack.wait_for()
        assert "softmax 注意力" in lack.inner_text() and "it has" not in lack.inner_text()
        assert unexpected(wrong) == []
