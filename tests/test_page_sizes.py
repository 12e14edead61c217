"""The page on a projector and on a phone: what is read from afar, and what a finger can do."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import pytest

from tests.browser import open_explorer, settle, show, tabs_of, unexpected, wait_quiet, watched_page

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

pytestmark = pytest.mark.browser

# The smallest text that is seen, in pixels of the screen, and what it is.
SMALLEST = """() => {
  const seen = [...document.querySelectorAll(".vx *")].filter((node) =>
    [...node.childNodes].some((one) => one.nodeType === 3 && one.data.trim()) &&
    node.checkVisibility({ visibilityProperty: true }) && !node.closest("math, .visually-hidden"));
  const sizes = seen.map((node) => {
    const plot = node.ownerSVGElement;
    const drawn = plot ? plot.clientWidth / (plot.viewBox.baseVal.width || plot.clientWidth) : 1;
    return [parseFloat(getComputedStyle(node).fontSize) * drawn, node.className + node.textContent];
  });
  return sizes.sort((one, other) => one[0] - other[0])[0];
}"""
# What can be pressed and is smaller than 24 pixels, unless nothing else lies within that circle.
CROWDED = """() => {
  const all = [...document.querySelectorAll(".vx :is(button, a, select, summary, input)")]
    .filter((node) => node.checkVisibility({ visibilityProperty: true }) && !node.disabled
      && !node.closest(".visually-hidden") && getComputedStyle(node).display !== "inline");
  const boxes = all.map((node) => node.getBoundingClientRect()).map((box) =>
    ({ x: box.x + box.width / 2, y: box.y + box.height / 2, w: box.width, h: box.height }));
  return all.filter((node, at) => {
    const one = boxes[at];
    if (!one.w || Math.min(one.w, one.h) >= 23.5) return false;
    return boxes.some((other, place) => place !== at && other.w
      && Math.hypot(other.x - one.x, other.y - one.y) < 23.5);
  }).map((node) => `${node.className} ${node.textContent} ${node.closest("[id]")?.id}`);
}"""
KEYS = re.compile(r"\b(arrow keys?|Esc|Ctrl|Page up|Shift)\b")


def test_text_is_read_from_the_last_row(browser: Browser, address: str) -> None:
    with watched_page(browser, address, viewport={"width": 1920, "height": 1080}) as (page, wrong):
        open_explorer(page, address)
        small = {}
        for tab in tabs_of(page):
            show(page, tab)
            wait_quiet(page)
            size, text = page.evaluate(SMALLEST)
            if size < 14:
                small[tab] = (size, text)
        assert small == {}
        page.set_viewport_size({"width": 1280, "height": 720})
        assert page.evaluate("getComputedStyle(document.documentElement).fontSize") == "16px"
        assert unexpected(wrong) == []


def test_a_laptop_has_one_row_of_tools_and_what_matters_above_the_maps(
    browser: Browser, address: str
) -> None:
    for locale, words in (("en-GB", "cuts the picture into 64 patches"), ("zh-CN", "64 个图像块")):
        laptop = {"viewport": {"width": 1280, "height": 720}, "locale": locale}
        with watched_page(browser, address, **laptop) as (page, wrong):
            open_explorer(page, address)
            lead = page.locator(".lead", has_text=words)
            first = page.locator(".predictions button").first.inner_text().split("\n")
            assert all(part.strip() in lead.inner_text() for part in first if part.strip())
            below = page.locator(".card[data-method]").first.bounding_box()
            box = lead.bounding_box()
            assert below is not None and box is not None
            assert box["y"] + box["height"] < below["y"]
            for tab in ("explain", "attention"):
                show(page, tab)
                middles = page.locator(f"#vx-view-{tab} .toolbar > *:visible").evaluate_all(
                    "(all) => all.map((n) => n.getBoundingClientRect())"
                    ".map((box) => box.y + box.height / 2)"
                )
                assert max(middles) - min(middles) < 4, (locale, tab, middles)
            assert unexpected(wrong) == []


def test_a_phone_shows_a_map_at_once_and_tabs_that_stay(browser: Browser, address: str) -> None:
    phone = {"viewport": {"width": 390, "height": 844}, "has_touch": True, "is_mobile": True}
    with watched_page(browser, address, **phone) as (page, wrong):
        open_explorer(page, address)
        first = page.locator(".card[data-method] canvas").first.bounding_box()
        assert first is not None
        assert first["y"] + first["height"] / 2 < 800
        crowded, told = {}, {}
        for tab in tabs_of(page):
            show(page, tab)
            wait_quiet(page)
            page.evaluate("scrollBy(0, 300)")
            settle(page)
            bar = page.locator(".tabs").bounding_box()
            chosen = page.locator(f"#vx-tab-{tab}").bounding_box()
            assert bar is not None
            assert chosen is not None
            assert -1 <= bar["y"] < 844, tab
            assert bar["height"] < 60, tab
            assert chosen["x"] >= -1 and chosen["x"] + chosen["width"] <= 391, tab
            found = page.evaluate(CROWDED)
            if found:
                crowded[tab] = found
            keys = KEYS.findall(page.inner_text(f"#vx-view-{tab}"))
            if keys:
                told[tab] = keys
        assert told == {}
        assert crowded == {}
        assert unexpected(wrong) == []


def shown_figures(page: Page) -> list[str]:
    settle(page)
    names = page.locator(".gallery > :visible h3").all_inner_texts()
    return [name.strip() for name in names]


def test_presenting_shows_one_figure_and_steps_by_a_clicker(page: Page) -> None:
    page.keyboard.press("p")
    page.wait_for_selector(".header", state="hidden")
    assert shown_figures(page) == ["What the model sees"]
    page.keyboard.press("PageDown")
    assert shown_figures(page) == ["LibraGrad"]
    picture = page.locator(".gallery > :visible canvas").bounding_box()
    assert picture is not None
    assert picture["height"] > 0.8 * 720
    page.keyboard.press("ArrowLeft")
    assert shown_figures(page) == ["What the model sees"]
    page.keyboard.press("Escape")
    page.wait_for_selector(".header")
    assert len(shown_figures(page)) > 4
    show(page, "learn")
    page.click("#vx-present")
    page.locator(".eyebrow", has_text="Step 1 of").wait_for()
    page.keyboard.press("PageDown")
    page.locator(".eyebrow", has_text="Step 2 of").wait_for()
    page.keyboard.press("Backspace")
    page.locator(".eyebrow", has_text="Step 1 of").wait_for()
    page.keyboard.press("p")
    page.wait_for_selector(".header")
