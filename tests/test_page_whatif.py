"""The What if view: the server answers what Python does, and the page asks it once a change."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from fastapi.testclient import TestClient

import vit_explorer as vx
from tests.browser import clipboard, empty_clipboard, pixels, settle, show, unexpected, watched_page
from vit_explorer.page import Workbench
from vit_explorer.page.payloads import whatif
from vit_explorer.page.state.results import Result

if TYPE_CHECKING:
    from pathlib import Path

    from playwright.sync_api import Browser, Page

VIEW = "#vx-view-whatif"
NOTHING = {"patches": [], "heads": [], "how": "drop"}


def test_a_change_tells_what_python_does(result: Result) -> None:
    order = whatif.ChangeOrder(patches=[0, 5, 6], heads=[(1, 0)], how="drop")
    told = whatif.describe_change(result, order)
    found = vx.intervene(
        result.model, "assets/cat.png", patches_off=[0, 5, 6], heads_off=[(1, 0)], how="drop"
    )
    after = {each.index: each.probability for each in found.after}
    before = {each.index: each.probability for each in found.before}
    assert {row["index"] for row in told["rows"]} == set(before)
    for row in told["rows"]:
        assert row["before"] == pytest.approx(before[row["index"]], abs=1e-5)
        assert row["after"] == pytest.approx(after[row["index"]], abs=1e-5)
    assert told["target"] == found.before[0].index
    assert told["first"] == found.after[0].index


def test_newcomers_and_a_far_target_are_told(deit_tiny: vx.LoadedModel) -> None:
    workbench = Workbench(deit_tiny)
    result = workbench.analyse("cat.png", workbench.start_name, 7)
    order = whatif.ChangeOrder(patches=list(range(20, 190)), heads=[], how="grey")
    rows = whatif.describe_change(result, order)["rows"]
    before = {each.index for each in result.explanation.predictions}
    told = [row["index"] for row in rows]
    assert before | {7} < set(told)
    assert len(set(told)) == len(told) <= whatif.MOST_ROWS
    assert [row["before"] for row in rows] == sorted((row["before"] for row in rows), reverse=True)


def test_a_removal_takes_the_first_of_the_ranking(result: Result) -> None:
    ranking = np.random.default_rng(0).permutation(12).tolist()
    order = whatif.RemovalOrder(ranking=ranking, heads=[(0, 1)], how="grey")
    told = whatif.describe_removal(result, order)
    assert told["counts"] == list(range(13))
    for count in (0, 4, 12):
        for name, gone in (("most", ranking[:count]), ("least", ranking[::-1][:count])):
            alone = vx.intervene(
                result.model,
                "assets/cat.png",
                patches_off=gone,
                heads_off=[(0, 1)],
                how="grey",
                target=told["target"],
            )
            assert told[name][count] == pytest.approx(alone.target_after.probability, abs=1e-5)


def test_a_model_that_reads_its_patches_keeps_one() -> None:
    from tests.conftest import load_small
    from vit_explorer.models.vit import VisionTransformer, ViTConfig

    size = {"image_size": (24, 32), "patch_size": (8, 8), "dim": 32, "depth": 2, "heads": 2}
    module = VisionTransformer(ViTConfig(**size, classes=5, pooling="mean"))
    workbench = Workbench(load_small(module))
    result = workbench.analyse("cat.png", workbench.start_name, None)
    for how, last in (("drop", 11), ("grey", 12)):
        order = whatif.RemovalOrder(ranking=list(range(12)), heads=[], how=how)
        assert whatif.describe_removal(result, order)["counts"][-1] == last


@pytest.mark.parametrize(
    ("path", "order", "status"),
    [
        ("change", {**NOTHING, "patches": [12]}, 422),
        ("change", {**NOTHING, "heads": [[9, 0]]}, 422),
        ("change", {**NOTHING, "how": "melt"}, 422),
        ("change", {**NOTHING, "weights": "/etc/passwd"}, 422),
        ("change", {}, 422),
        ("change", {**NOTHING, "patches": [0] * 60_000}, 413),
        ("removal", {"ranking": [0, 0], "heads": [], "how": "drop"}, 422),
    ],
)
def test_bad_orders_get_one_sentence(
    client: TestClient, result: Result, path: str, order: dict[str, object], status: int
) -> None:
    answer = client.post(f"/explorer/results/{result.key}/{path}", json=order)
    assert answer.status_code == status
    assert answer.json()["error"]["text"].endswith(".")


def test_another_content_type_and_a_lost_result_are_refused(
    client: TestClient, result: Result
) -> None:
    words = {"content-type": "text/plain"}
    path = f"/explorer/results/{result.key}/change"
    assert client.post(path, content=b"{}", headers=words).status_code == 415
    assert client.post("/explorer/results/0123/change", json=NOTHING).status_code == 404


CANVAS = f"{VIEW} .paint-canvas"


def ready(page: Page) -> None:
    show(page, "whatif")
    page.wait_for_selector(f"{VIEW} .shift")
    settle(page)


def wait_for_words(page: Page, words: str) -> None:
    page.locator(f"{VIEW} .says", has_text=words).wait_for()


def shares(page: Page) -> dict[str, tuple[float, float]]:
    """By label, the percentages before and after that the page shows."""
    settle(page)  # a change is asked about in the next frame
    page.wait_for_selector(f"{VIEW} .shifts:not(.waiting)")
    settle(page)
    rows: dict[str, tuple[float, float]] = {}
    for row in page.locator(f"{VIEW} .shift").all():
        numbers = row.locator(".shift-numbers").inner_text().replace("%", "").split("→")
        rows[row.locator(".label").inner_text()] = (float(numbers[0]), float(numbers[1]))
    return rows


def run_copied(page: Page, menu: int) -> dict[str, Any]:
    """Run what a figure's "Copy as Python" gives; returns its names."""
    empty_clipboard(page)
    page.locator(f"{VIEW} .figure-button").nth(menu).click()
    page.click('.figure-menu:popover-open [data-save="python"]')
    names: dict[str, Any] = {}
    exec(clipboard(page), names)
    return names


def drag(page: Page, start: tuple[int, int], end: tuple[int, int]) -> None:
    """Drag from one cell (row, column) of the 8×8 grid to another, in one move."""
    bounds = page.locator(CANVAS).bounding_box()
    assert bounds is not None

    def place(cell: tuple[int, int]) -> tuple[float, float]:
        assert bounds is not None
        across = bounds["x"] + (cell[1] + 0.5) * bounds["width"] / 8
        return across, bounds["y"] + (cell[0] + 0.5) * bounds["height"] / 8

    page.mouse.move(*place(start))
    page.mouse.down()
    page.mouse.move(*place(end))
    page.mouse.up()
    page.mouse.move(1, 1)


@pytest.mark.browser
def test_painting_and_switching_change_the_prediction_and_undo_restores_it(
    page: Page,
    small_checkpoint: Path,
    cat: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    # Copied code names files as a reader has them: the page tells no folders of its server.
    (tmp_path / small_checkpoint.name).symlink_to(small_checkpoint)
    (tmp_path / "assets").symlink_to(cat.parent)
    monkeypatch.chdir(tmp_path)
    ready(page)
    plain, untouched = shares(page), pixels(page, CANVAS)
    assert all(before == after for before, after in plain.values())
    model = vx.load_model(str(small_checkpoint))

    drag(page, (2, 1), (2, 5))
    painted = shares(page)
    gone = [2 * 8 + column for column in range(1, 6)]
    found = vx.intervene(model, cat, patches_off=gone)
    for each in found.after:
        assert painted[each.label][1] == pytest.approx(100 * each.probability, abs=0.06)
    for each in found.before:
        assert painted[each.label][0] == pytest.approx(100 * each.probability, abs=0.06)
    wait_for_words(page, "Without these 5 patches")
    assert pixels(page, CANVAS) != untouched

    switch = page.locator(f'{VIEW} .switches [data-layer="1"][data-head="2"]')
    switch.click()
    both = shares(page)
    assert switch.get_attribute("aria-checked") == "false"
    found = vx.intervene(model, cat, patches_off=gone, heads_off=[(1, 2)])
    for each in found.after:
        assert both[each.label][1] == pytest.approx(100 * each.probability, abs=0.06)

    ran = run_copied(page, 0)
    assert ran["found"].after == found.after
    page.wait_for_selector(f"{VIEW} .removal-chart .line-test")
    curve = run_copied(page, 1)["tried"]
    alone = vx.intervene(model, cat, heads_off=[(1, 2)]).target_after
    assert curve[0].target_after.probability == pytest.approx(alone.probability, abs=1e-5)
    assert len(curve[-1].patches_off) == 64

    asked: list[str] = []
    page.on("request", lambda request: "/change" in request.url and asked.append(request.url))
    page.click(f'{VIEW} [data-act="undo"]')
    assert shares(page) == painted
    page.click(f'{VIEW} [data-act="undo"]')
    assert shares(page) == plain
    page.focus(CANVAS)
    page.keyboard.press("Escape")  # the marker goes back to where it was
    assert pixels(page, CANVAS) == untouched
    page.click(f'{VIEW} [data-act="redo"]')
    page.click(f'{VIEW} [data-act="redo"]')
    assert shares(page) == both
    page.click(f'{VIEW} [data-act="reset"]')
    assert shares(page) == plain
    assert asked == []


@pytest.mark.browser
def test_the_keyboard_paints_and_the_slider_removes_by_a_method(
    page: Page, small_checkpoint: Path, cat: Path
) -> None:
    ready(page)
    page.focus(CANVAS)
    for key in ("ArrowDown", "Space", "Shift+ArrowRight", "Shift+ArrowRight"):
        page.keyboard.press(key)
    wait_for_words(page, "Without these 3 patches")
    page.keyboard.press("Control+z")
    page.wait_for_function(
        "document.querySelector('#vx-view-whatif .says').innerText.includes('2 patches')"
    )

    page.select_option("#vx-ranking", "rollout")
    page.focus("#vx-removed")
    page.keyboard.press("Home")
    for _ in range(4):
        page.keyboard.press("ArrowRight")
    settle(page)
    assert page.inner_text(f"{VIEW} .removal output") == "4/64"
    model = vx.load_model(str(small_checkpoint))
    values = vx.explain(model, cat, methods="rollout").heatmaps["rollout"].values.ravel()
    gone = np.argsort(-values, kind="stable")[:4].tolist()
    shown = shares(page)
    for each in vx.intervene(model, cat, patches_off=gone).after:
        assert shown[each.label][1] == pytest.approx(100 * each.probability, abs=0.06)
    page.wait_for_selector(f"{VIEW} .removal-chart .line-test")


@pytest.mark.browser
def test_a_map_s_claim_is_tested_by_a_press_and_every_method_can_rank(
    page: Page, small_checkpoint: Path, cat: Path
) -> None:
    model = vx.load_model(small_checkpoint)
    result = vx.explain(model, cat, methods=("grad_cam", "occlusion"))
    card = page.locator('.card[data-method="grad_cam"]')
    best = int(result.heatmaps["grad_cam"].values.argmax())
    row, column = (int(at) + 1 for at in np.unravel_index(best, model.card.grid))
    assert f"Peak: row {row}, column {column}." in card.inner_text()
    card.get_by_role("button", name="Test it").click()
    page.wait_for_selector(f"{VIEW} .shift")
    page.locator(f"{VIEW} .says", has_text="Without this patch").wait_for()
    page.wait_for_function(f"location.hash.includes('without=p{best}&')")
    pinned = page.locator(f"{VIEW} .whatif-pinned")
    assert f"patch row {row}, column {column}" in pinned.inner_text()
    pinned.get_by_role("button", name="Bring it back").click()
    page.wait_for_function("!location.hash.includes('without=')")
    pinned.get_by_role("button", name="Take it away").click()
    page.wait_for_function(f"location.hash.includes('without=p{best}&')")
    page.click(f'{VIEW} [data-act="reset"]')
    page.select_option("#vx-ranking", "occlusion")
    page.wait_for_selector("#vx-removed:not([disabled])")
    page.fill("#vx-removed", "1")
    first = int(result.heatmaps["occlusion"].values.argmax())
    page.wait_for_function(f"location.hash.includes('without=p{first}&')")
    page.go_back()
    page.wait_for_selector("#vx-view-explain:visible")


def test_a_link_gives_back_what_was_taken_away(browser: Browser, address: str) -> None:
    with watched_page(browser, address) as (page, wrong):
        page.goto(f"{address}#whatif?without=p3-5.9_h4_grey&ranking=grad_cam")
        page.wait_for_selector(f"{VIEW} .shift")
        page.wait_for_function(
            "document.querySelector('#vx-view-whatif .says').innerText.includes('4 patches')"
        )
        off = page.locator(f'{VIEW} .switches [aria-checked="false"]')
        assert (off.get_attribute("data-layer"), off.get_attribute("data-head")) == ("1", "1")
        assert page.input_value("#vx-ranking") == "grad_cam"
        page.click(f'{VIEW} [data-act="reset"]')
        page.wait_for_url("**/#whatif?without=grey**")
        assert unexpected(wrong) == []
