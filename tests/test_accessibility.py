"""Every view by axe-core in both themes, and what it can't see: keyboard, motion, words."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from tests.browser import open_explorer, show, tabs_of, unexpected, wait_quiet, watched_page

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

pytestmark = pytest.mark.browser

# The frame around the page is Gradio's own.
OPTIONS = {"resultTypes": ["violations"]}
# A theme is colours alone: what else is wrong in the dark one is wrong in the light one too.
OF_COLOURS = {**OPTIONS, "runOnly": ["color-contrast"]}
GRAVE = {"serious", "critical"}


def violations(page: Page, options: dict[str, Any] = OPTIONS) -> list[str]:
    axe = pytest.importorskip(
        "axe_playwright_python.sync_playwright", reason="axe is not installed"
    )
    found = axe.Axe().run(page, context=".vx", options=options).response["violations"]
    return [
        f"{one['id']} ({one['impact']}): {node['html'][:160]}"
        for one in found
        if one["impact"] in GRAVE
        for node in one["nodes"][:3]
    ]


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_no_view_has_serious_violations(browser: Browser, address: str, scheme: Any) -> None:
    with watched_page(browser, address, color_scheme=scheme, reduced_motion="reduce") as (
        page,
        wrong,
    ):
        open_explorer(page, address)
        bad, options = {}, OF_COLOURS if scheme == "dark" else OPTIONS
        for tab in tabs_of(page):
            show(page, tab)
            wait_quiet(page)
            found = violations(page, options)
            if found:
                bad[tab] = found
        assert bad == {}
        page.click("#vx-load-file")
        assert violations(page, options) == []
        assert unexpected(wrong) == []


def test_axe_would_find_a_violation(page: Page) -> None:
    page.evaluate("document.querySelector('.vx').append(document.createElement('img'))")
    page.evaluate("document.querySelector('.vx > img').src = '/favicon.ico'")
    assert any(line.startswith("image-alt") for line in violations(page))


def test_every_drawing_has_words(page: Page) -> None:
    for tab in tabs_of(page):
        show(page, tab)
        wait_quiet(page)
        silent = page.locator(f"#vx-view-{tab} canvas:visible").evaluate_all(
            "(all) => all.filter((one) => !one.getAttribute('aria-label')"
            " && !one.closest('[aria-label], [aria-hidden=true], button'))"
            ".map((one) => one.className)"
        )
        assert silent == [], tab


def test_the_page_is_walked_by_keyboard(page: Page) -> None:
    reached = set()
    for _ in range(60):
        page.keyboard.press("Tab")
        reached.add(page.evaluate("document.activeElement.id || document.activeElement.className"))
    assert {"vx-model", "vx-language", "vx-class", "vx-tab-explain", "vx-opacity"} <= reached
    page.focus("#vx-tab-explain")
    page.keyboard.press("ArrowRight")
    assert page.evaluate("document.activeElement.id") == "vx-tab-attention"
    page.wait_for_selector("#vx-view-attention", state="visible")


@pytest.mark.parametrize("motion", ["reduce", "no-preference"])
def test_nothing_moves_for_those_who_asked_for_that(
    browser: Browser, address: str, motion: Any
) -> None:
    moving = """() => document.getAnimations()
      .filter((one) => one.effect.getComputedTiming().duration > 0).length"""
    with watched_page(browser, address, reduced_motion=motion) as (page, wrong):
        open_explorer(page, address)
        wait_quiet(page)
        page.evaluate("document.querySelector('.vx .busy').dataset.busy = 'true'")
        assert (page.evaluate(moving) > 0) == (motion == "no-preference")
        assert unexpected(wrong) == []
