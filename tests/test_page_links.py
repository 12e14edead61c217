"""Links: opened in a page that shows something else, reloaded, and with a picture of one's own."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.browser import open_explorer, said, settle, show, wait_for_picture, wait_idle

if TYPE_CHECKING:
    from playwright.sync_api import Page

pytestmark = pytest.mark.browser
ATTENTION = "#vx-view-attention"
CANVAS = f"{ATTENTION} .stage canvas"
LAYER = f"{ATTENTION} output >> nth=0"


def test_a_link_pasted_into_an_open_page_begins_anew(page: Page) -> None:
    show(page, "attention")
    first = said(page)
    page.get_by_role("button", name="Explain coffee.png").click()
    wait_for_picture(page, "coffee.png")
    page.focus(CANVAS)
    for key in ("ArrowRight", "PageUp"):
        page.keyboard.press(key)
    settle(page)
    assert page.inner_text(LAYER) == "3/4"
    page.evaluate("location.hash = 'attention'")
    wait_for_picture(page, "cat.png")
    page.locator(f"{ATTENTION} .says", has_text=first).wait_for()
    assert page.inner_text(LAYER) == "4/4"
    page.evaluate("location.hash = 'attention?layer=2'")
    page.wait_for_function(
        f"""document.querySelector("{ATTENTION} output").textContent === "2/4" """
    )
    page.evaluate("location.hash = 'attention?head=max'")
    page.locator(f"""{ATTENTION} [data-value="max"][aria-pressed="true"]""").wait_for()
    assert page.inner_text(LAYER) == "4/4"


def test_what_an_address_names_and_is_not_here_is_said(page: Page, address: str) -> None:
    problem = page.locator(".problem [role=alert]")
    page.goto("about:blank")
    open_explorer(page, address, "attention?layer=99&picture=nowhere.png&head=2")
    told = problem.inner_text()
    assert "layer “99”" in told
    assert "picture “nowhere.png”" in told
    assert "head" not in told
    assert page.inner_text(LAYER) == "4/4"
    page.locator(f"""{ATTENTION} [data-value="1"][aria-pressed="true"]""").wait_for()
    page.keyboard.press("Escape")
    page.evaluate("location.hash = 'atention?layer=2'")
    problem.filter(has_text="view “atention”").wait_for()
    page.evaluate("location.hash = 'explain?model=what is this'")
    problem.filter(has_text="model “what is this”").wait_for()


def test_another_tab_keeps_what_was_chosen_and_back_returns(page: Page) -> None:
    show(page, "attention")
    page.focus(CANVAS)
    page.keyboard.press("PageUp")
    show(page, "patches")
    show(page, "attention")
    assert page.inner_text(LAYER) == "3/4"
    page.go_back()
    page.wait_for_selector("#vx-view-patches:visible")
    page.go_back()
    page.wait_for_selector(f"{ATTENTION}:visible")
    assert page.inner_text(LAYER) == "3/4"


def test_a_link_and_a_reload_keep_an_own_picture_and_it_is_said_who_sees_it(
    page: Page, coffee: Path, tmp_path: Path
) -> None:
    page.context.grant_permissions(["clipboard-read", "clipboard-write"])
    page.click("#vx-link")
    page.locator(".told", has_text="The link is copied.").wait_for()
    assert "your picture" not in page.inner_text(".told")
    own = tmp_path / "mine.png"
    own.write_bytes(coffee.read_bytes())
    page.set_input_files(".sidebar input[type=file]", own)
    wait_for_picture(page, "mine.png")
    page.click("#vx-link")
    page.locator(".told", has_text="Whoever has it and can open this page").wait_for()
    link = str(page.evaluate("navigator.clipboard.readText()"))
    assert link == page.url
    key = hashlib.sha256(own.read_bytes()).hexdigest()
    assert f"picture={key}" in link
    page.reload()
    wait_for_picture(page, "mine.png")
    page.evaluate("location.hash = 'explain?picture=" + "0" * 64 + "'")
    page.locator(".problem [role=alert]:visible").wait_for()
    wait_idle(page)
    assert "mine.png" in page.inner_text(".sidebar-picture .note")


def test_the_look_is_in_a_link_where_it_is_not_the_usual_one(page: Page) -> None:
    assert "colours" not in page.url
    page.select_option("#vx-colormap", "viridis")
    page.wait_for_function("location.hash.includes('colours=viridis')")
    page.evaluate("location.hash = 'explain?colours=turbo&opacity=30&smooth=0&shared=1'")
    page.wait_for_function("document.querySelector('#vx-colormap').value === 'turbo'")
    for name in ("shared", "patches"):
        button = page.get_by_role("button", name=name, exact=True).first
        assert button.get_attribute("aria-pressed") == "true"
    page.evaluate("location.hash = 'explain?colours=gone&opacity=300'")
    settle(page)
    assert page.input_value("#vx-colormap") == "turbo"


def test_a_tab_on_a_phone_brings_its_view_to_sight(page: Page) -> None:
    page.set_viewport_size({"width": 390, "height": 844})
    for tab in ("attention", "learn", "explain"):
        page.evaluate("scrollTo(0, 0)")
        show(page, tab)
        settle(page)
        top = page.locator(".tabs").evaluate("(tabs) => tabs.getBoundingClientRect().top")
        assert abs(top) < 120, tab


def test_painting_moves_no_other_view_s_patch(page: Page) -> None:
    show(page, "attention")
    before = said(page)
    show(page, "whatif")
    box = page.locator("#vx-view-whatif canvas").first.bounding_box()
    assert box is not None
    page.mouse.click(box["x"] + 20, box["y"] + 20)
    page.keyboard.press("ArrowRight")
    page.keyboard.press(" ")
    page.mouse.move(1, 1)
    page.wait_for_function("location.hash.includes('without=')")
    assert "patch=" not in page.url
    show(page, "attention")
    assert said(page) == before


def test_a_step_of_learn_opens_the_head_it_shows(page: Page) -> None:
    show(page, "learn")
    page.locator(".learn-dots button").nth(4).click()
    page.locator(".learn-turn button").last.click()
    page.wait_for_selector(f"{ATTENTION}:visible")
    settle(page)
    assert (
        page.locator(f'{ATTENTION} .segmented [data-value="0"][aria-pressed="true"]').count() == 1
    )
