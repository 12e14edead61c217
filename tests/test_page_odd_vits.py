"""The page with ViTs built in Python: tokens in an order of their own, a softmax written out."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

import vit_explorer as vx
from tests.browser import (
    copied,
    has_command,
    open_explorer,
    running_app,
    settle,
    show,
    tabs_of,
    unexpected,
    wait_quiet,
    watched_page,
)
from tests.odd_page import load

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

pytestmark = pytest.mark.browser


@contextmanager
def page_with(
    browser: Browser, scratch: Path, habits: dict[str, Any], **options: Any
) -> Iterator[tuple[Page, str]]:
    program = ("-m", "tests.odd_page", json.dumps(habits))
    with (
        running_app(scratch=scratch, program=program) as address,
        watched_page(browser, address, **options) as (page, wrong),
    ):
        open_explorer(page, address)
        yield page, address
        wait_quiet(page)
        assert unexpected(wrong) == []


def learn(page: Page, step: int) -> str:
    page.click(f".learn-dots button:nth-child({step})")
    wait_quiet(page)
    return page.locator("#vx-view-learn").inner_text()


def test_what_a_written_softmax_hides_is_said(browser: Browser, tmp_path: Path, cat: Path) -> None:
    habits = {"way": "keys_before_queries", "shuffle": 5, "order": "rows+c"}
    model = load(**habits)
    with page_with(browser, tmp_path, habits) as (page, _):
        for tab in tabs_of(page):
            show(page, tab)
            wait_quiet(page)
        show(page, "learn")
        assert "Beside the patches there are tokens with no pixels" in learn(page, 3)
        scores = learn(page, 4)
        assert "q, k and the scores can't be told apart" in scores
        assert "The q, k and scores of this model are not known" in scores
        assert page.locator(".learn-formula math").count() == 0
        shares = learn(page, 5)
        assert "These shares are the model's own" in shares
        assert page.locator(".learn-formula math").count() == 1
        own = vx.trace(model, cat).attention(2)[0, 0]
        rows = page.locator('[data-step="softmax"] tbody tr').all()
        shown = [float(row.locator("td").inner_text().rstrip(" %\u00a0")) for row in rows[:4]]
        assert shown == pytest.approx(
            (100 * own.sort(descending=True).values[:4]).tolist(), abs=0.06
        )
        code = copied(page, ".learn-picture", "python")
        found: dict[str, Any] = {"model": model}
        exec(code, found)
        np.testing.assert_allclose(found["values"].ravel(), own[1:], atol=1e-6)
        assert "each head with shares of its own" in learn(page, 6)
        assert page.locator(".learn-formula math").count() == 0
        show(page, "model")
        told = page.locator("#vx-view-model").inner_text()
        assert "the network has one of its own; it was measured" in told
        assert "0.500, 0.500, 0.500" in told
        assert "by the transform that the module came with" in told
        assert "of width 8" not in told


def test_code_and_layout_of_a_model_of_ones_own(
    browser: Browser, tmp_path: Path, cat: Path
) -> None:
    habits = {"shuffle": 3}
    model = load(**habits)
    with page_with(browser, tmp_path, habits) as (page, _):
        card = '#vx-view-explain [data-method="rollout"]'
        found: dict[str, Any] = {"model": model}
        exec(copied(page, card, "python"), found)
        expected = vx.explain(model, cat, ("rollout",)).heatmaps["rollout"].values
        np.testing.assert_array_equal(found["values"], expected)
        assert not has_command(page, card)
        turn, below = page.locator(".other-side"), page.locator(".few-classes")
        box, under = turn.bounding_box(), below.bounding_box()
        assert box and under
        assert under["y"] - (box["y"] + box["height"]) >= 6
        turn.evaluate("(button) => { button.textContent = 'Explain what speaks '.repeat(9); }")
        settle(page)
        assert turn.evaluate("(button) => button.getBoundingClientRect().right") <= 284
        show(page, "learn")
        learn(page, 3)
        assert page.locator('[data-step="positions"] tbody tr').count() == 3
        menu = page.locator(".learn-picture .figure-button").bounding_box()
        assert menu
        assert menu["x"] + menu["width"] <= 1280
        learn(page, 6)
        assert page.locator(".learn-formula math").all_text_contents() == ["A=WO[o1;…;o4]+bO"]


def test_notes_of_maps_in_chinese(browser: Browser, tmp_path: Path) -> None:
    with page_with(browser, tmp_path, {"post": True}, locale="zh-CN") as (page, _):
        card = page.locator('#vx-view-explain [data-method="grad_cam"]')
        text = card.evaluate("(card) => card.textContent")
        assert "这些块在注意力之后归一化" in text
        assert "norm after attention" not in text
