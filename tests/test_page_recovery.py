"""What goes otherwise than planned on the page: lost answers, late uploads, second presses."""

from __future__ import annotations

import io
import shutil
import threading
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from tests.browser import (
    copied,
    has_command,
    open_explorer,
    running_app,
    saved,
    settle,
    show,
    unexpected,
    wait_for_picture,
    watched_page,
    write_checkpoint,
)

if TYPE_CHECKING:
    from pathlib import Path

    from playwright.sync_api import Browser, CDPSession, Page, Route

pytestmark = pytest.mark.browser

ATTENTION = "#vx-view-attention"
WHATIF = "#vx-view-whatif"


def test_numbers_that_were_lost_come_back_with_the_next_choice(
    browser: Browser, address: str
) -> None:
    with watched_page(browser, address) as (page, wrong):
        page.route("**/results/*/heads", lambda route: route.abort(), times=1)
        open_explorer(page, address, "attention")
        page.locator(f"{ATTENTION} .note", has_text="could not be fetched").first.wait_for()
        page.locator(".predictions button").first.click()
        page.wait_for_selector(f"{ATTENTION} .distance circle")
        assert page.locator(f"{ATTENTION} .note", has_text="could not be fetched").count() == 0
        assert [line for line in unexpected(wrong) if "ERR_FAILED" not in line] == []


def test_patches_come_back_with_another_picture_and_heads_stay_off(page: Page) -> None:
    show(page, "whatif")
    page.locator("#vx-removed").fill("3")
    page.locator(f"{WHATIF} .switches [role=switch]").first.click()
    page.wait_for_function("/without=p[^&]*_h/.test(location.hash)")
    show(page, "explain")
    page.get_by_role("button", name="Explain coffee.png").click()
    wait_for_picture(page, "coffee.png")
    page.wait_for_function("/without=h0(&|$)/.test(location.hash)")


def test_a_late_upload_leaves_the_newer_comparison(
    page: Page, coffee: Path, tmp_path: Path
) -> None:
    slow = tmp_path / "slow.png"
    slow.write_bytes(coffee.read_bytes())
    held: list[Route] = []
    here = threading.Event()

    def hold(route: Route) -> None:
        held.append(route)
        here.set()

    show(page, "compare")
    page.get_by_role("button", name="another picture").click()
    page.route("**/explorer/pictures*", hold)
    page.set_input_files("#vx-view-compare input[type=file]", slow)
    while not here.is_set():
        page.wait_for_timeout(20)
    page.get_by_role("button", name="Compare with astronaut.png").click()
    second = page.locator('[data-side="second"] h3')
    second.filter(has_text="astronaut.png").wait_for()
    with page.expect_response("**/explorer/pictures*"):
        held[0].continue_()
    settle(page)
    page.wait_for_timeout(300)
    assert "astronaut.png" in second.inner_text()
    assert "astronaut" in page.url


def test_a_file_dropped_on_a_dialog_is_not_a_picture(page: Page) -> None:
    sent: list[str] = []
    page.on("request", lambda request: sent.append(request.url))
    page.click("#vx-load-file")
    for selector in ("#vx-weights", "dialog h2"):
        page.evaluate(
            """(selector) => {
              const files = new DataTransfer();
              files.items.add(new File(["x"], "model.safetensors"));
              const options = { bubbles: true, cancelable: true, dataTransfer: files };
              document.querySelector(selector).dispatchEvent(new DragEvent("drop", options));
            }""",
            selector,
        )
    settle(page)
    assert not [url for url in sent if "/pictures" in url]
    assert page.locator(".problem:visible").count() == 0


def swipe(touch: CDPSession, start: tuple[float, float], way: tuple[float, float]) -> None:
    send = touch.send
    send("Input.dispatchTouchEvent", {"type": "touchStart", "touchPoints": [_point(start)]})
    for step in range(1, 11):
        place = (start[0] + way[0] * step / 10, start[1] + way[1] * step / 10)
        send("Input.dispatchTouchEvent", {"type": "touchMove", "touchPoints": [_point(place)]})
    send("Input.dispatchTouchEvent", {"type": "touchEnd", "touchPoints": []})


def _point(place: tuple[float, float]) -> dict[str, float]:
    return {"x": place[0], "y": place[1]}


def test_a_swipe_scrolls_and_a_tap_chooses(browser: Browser, address: str) -> None:
    options = {"viewport": {"width": 390, "height": 844}, "has_touch": True, "is_mobile": True}
    with watched_page(browser, address, **options) as (page, wrong):
        open_explorer(page, address, "attention")
        canvas = page.locator(f"{ATTENTION} .stage canvas").first
        canvas.scroll_into_view_if_needed()
        box = canvas.bounding_box()
        assert box is not None
        touch = page.context.new_cdp_session(page)
        before = page.evaluate("scrollY")
        swipe(touch, (box["x"] + box["width"] / 2, box["y"] + box["height"] / 2), (0, -150))
        page.wait_for_function(f"scrollY > {before} + 50")
        page.wait_for_timeout(500)  # the address is written once a change has come to rest
        assert "patch=" not in page.url
        box = canvas.bounding_box()
        assert box is not None
        page.touchscreen.tap(box["x"] + box["width"] * 0.9, box["y"] + box["height"] * 0.9)
        page.wait_for_function("location.hash.includes('patch=8%2C8')")

        show(page, "whatif")
        chart = page.locator(f"{WHATIF} .removal-chart svg")
        page.wait_for_selector(f"{WHATIF} .removal-chart .line-test")
        chart.evaluate("(node) => node.scrollIntoView({ block: 'center' })")
        settle(page)
        box = chart.bounding_box()
        assert box is not None
        middle = (box["x"] + box["width"] / 2, box["y"] + box["height"] / 2)
        swipe(touch, middle, (0, 120))
        page.wait_for_timeout(500)
        assert "without=" not in page.url
        chart.evaluate("(node) => node.scrollIntoView({ block: 'center' })")
        settle(page)
        box = chart.bounding_box()
        assert box is not None
        swipe(touch, (box["x"] + box["width"] / 3, box["y"] + box["height"] / 2), (90, 4))
        page.wait_for_function("location.hash.includes('without=p')")
        assert unexpected(wrong) == []


def test_a_second_press_closes_what_the_first_opened(page: Page) -> None:
    card = '#vx-view-explain .card[data-id="rollout"]'
    for button, box in ((".limits-button", ".limits"), (".figure-button", ".figure-menu")):
        page.click(f"{card} {button}")
        page.wait_for_selector(f"{box}:popover-open")
        page.click(f"{card} {button}")
        settle(page)
        assert page.locator(f"{box}:popover-open").count() == 0


def test_back_keeps_the_language(page: Page) -> None:
    tab = page.locator("#vx-tab-attention")
    page.select_option("#vx-language", "zh")
    tab.filter(has_text="注意力").wait_for()
    page.wait_for_function("location.hash.includes('lang=zh')")
    show(page, "attention")
    page.select_option("#vx-language", "en")
    tab.filter(has_text="Attention").wait_for()
    page.go_back()
    page.wait_for_selector("#vx-view-explain:visible")
    settle(page)
    assert tab.inner_text() == "Attention"


def test_what_is_saved_and_copied_is_what_is_shown(
    page: Page,
    small_checkpoint: Path,
    cat: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    show(page, "attention")
    page.get_by_role("button", name="rolled out up to it").click()
    page.wait_for_function("location.hash.includes('rolled=1')")
    name, content = saved(page, ATTENTION, "npz")
    shown = table_of(saved(page, ATTENTION, "csv")[1])
    assert name == "cat-rollout.npz"
    with np.load(io.BytesIO(content)) as arrays:
        assert list(arrays) == ["rollout", "metadata"]
        assert arrays["rollout"].shape == (8, 8)
        np.testing.assert_array_equal(arrays["rollout"].ravel(), np.float32(shown["rollout"]))

    page.get_by_role("button", name="this layer", exact=True).click()
    page.get_by_role("button", name="is looked at by").click()
    page.locator("#vx-mass").fill("30")
    settle(page)
    shown = table_of(saved(page, ATTENTION, "csv")[1])["attention"]
    assert 0 < np.count_nonzero(shown) < 64
    (tmp_path / "assets").mkdir()
    shutil.copy(cat, tmp_path / "assets")
    shutil.copy(small_checkpoint, tmp_path)
    monkeypatch.chdir(tmp_path)
    names: dict[str, Any] = {}
    exec(copied(page, ATTENTION, "python"), names)
    np.testing.assert_allclose(names["values"].ravel(), shown, rtol=1e-4)
    page.get_by_role("button", name="looks at", exact=True).click()
    assert not has_command(page, ATTENTION)


def test_layers_without_a_map_are_left_out_of_what_is_saved(
    browser: Browser, tmp_path: Path
) -> None:
    headless = write_checkpoint(tmp_path / "headless.safetensors", classes=0)
    with (
        running_app("--model", str(headless), scratch=tmp_path) as address,
        watched_page(browser, address) as (page, wrong),
    ):
        open_explorer(page, address)
        page.click(".layers-card summary")
        page.wait_for_selector(".layers-card .figure-button:visible")
        page.wait_for_selector(".layers-card .progress", state="hidden")  # every method's
        _, content = saved(page, ".layers-card", "csv")
        rows = [line.split(",") for line in content.decode().splitlines()]
        methods = {row[0] for row in rows[1:]}
        assert methods == {"attention", "eigen_cam"}
        assert {len(row) for row in rows} == {5}
        python = copied(page, ".layers-card", "python")
        assert "eigen_cam" in python
        assert "grad_cam" not in python
        assert unexpected(wrong) == []


def table_of(content: bytes) -> np.ndarray:
    return np.genfromtxt(io.BytesIO(content), delimiter=",", names=True)
