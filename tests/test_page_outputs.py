"""The page with models whose outputs are labels, values, probabilities or an embedding."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest

import vit_explorer as vx
from tests.browser import (
    LABELS,
    copied,
    open_explorer,
    running_app,
    show,
    unexpected,
    wait_idle,
    wait_quiet,
    watched_page,
)

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

pytestmark = pytest.mark.browser

ROWS = ".predictions button"


@contextmanager
def page_with(
    browser: Browser, checkpoint: Path, scratch: Path, *options: str
) -> Iterator[tuple[Page, str]]:
    with (
        running_app("--model", str(checkpoint), *options, scratch=scratch) as address,
        watched_page(browser, address) as (page, wrong),
    ):
        open_explorer(page, address)
        yield page, address
        wait_quiet(page)
        assert unexpected(wrong) == []


@pytest.fixture
def raw(small_checkpoint: Path, cat: Path) -> dict[str, float]:
    """What the model returns for each label, by itself."""
    found = vx.explain(vx.load_model(str(small_checkpoint)), cat, (), top=100)
    return {each.label: each.score for each in found.predictions}


def rows(page: Page) -> list[tuple[str, str]]:
    return [
        (
            row.locator(".label").inner_text(),
            row.locator(".share").inner_text().replace("\u00a0", " ").replace("\u2212", "-"),
        )
        for row in page.locator(ROWS).all()
    ]


def test_labels_have_bars_of_their_own(
    browser: Browser, small_checkpoint: Path, tmp_path: Path, raw: dict[str, float]
) -> None:
    with page_with(browser, small_checkpoint, tmp_path, "--outputs", "labels") as (page, address):
        shares = {label: 1 / (1 + np.exp(-score)) for label, score in raw.items()}
        best = sorted(shares, key=shares.__getitem__, reverse=True)[:5]
        shown = rows(page)
        assert [label for label, _ in shown] == best
        for label, text in shown:
            assert float(text.rstrip(" %")) == pytest.approx(100 * shares[label], abs=0.06)
        bars = page.locator(f"{ROWS} .share-bar").evaluate_all(
            "(bars) => bars.map((bar) => Number(bar.style.getPropertyValue('--share')))"
        )
        assert bars == pytest.approx([shares[label] for label in best], abs=1e-4)
        assert sum(bars) != pytest.approx(1, abs=0.05)
        page.locator(
            ".sidebar .note", has_text="Each label has a probability of its own"
        ).wait_for()

        turn = page.locator(".other-side")
        assert turn.inner_text() == f"Explain what speaks against {best[0]}"
        turn.click()
        page.locator(".tool-target strong", has_text=f"not {best[0]}").wait_for()
        wait_idle(page)
        share = 100 * (1 - shares[best[0]])
        told = page.locator(".tool-target span").last.inner_text()
        assert float(told.rstrip(" %\u00a0")) == pytest.approx(share, abs=0.06)
        index = list(LABELS).index(best[0])
        assert f"target=not+{index}" in page.url
        assert page.locator(f'{ROWS}[aria-pressed="true"]').count() == 0
        code = copied(page, '#vx-view-explain [data-method="grad_cam"]', "python")
        assert f"target='not {index}'" in code
        assert "outputs='labels'" in code
        command = copied(page, '#vx-view-explain [data-method="grad_cam"]', "command")
        assert f"--target 'not {index}'" in command
        assert "--outputs labels" in command

        page.goto("about:blank")
        page.goto(f"{address}#explain?target=not+{index}")  # the link opens the same
        page.locator(".tool-target strong", has_text=f"not {best[0]}").wait_for()

        search = page.locator("#vx-class")
        search.fill(f"not {best[1]}")
        search.press("Enter")
        page.locator(".tool-target strong", has_text=f"not {best[1]}").wait_for()
        wait_idle(page)
        show(page, "whatif")
        page.locator("#vx-removed").fill("5")
        page.locator("#vx-view-whatif .says", has_text=f"not {best[1]}").wait_for()
        show(page, "layers")
        page.locator(".lens-says", has_text=f"not {best[1]}").wait_for()


def test_values_are_numbers_without_bars(
    browser: Browser, small_checkpoint: Path, tmp_path: Path, raw: dict[str, float]
) -> None:
    with page_with(browser, small_checkpoint, tmp_path, "--outputs", "value") as (page, _):
        shown = rows(page)
        assert [label for label, _ in shown] == list(LABELS)[:5]
        for label, text in shown:
            assert float(text) == pytest.approx(raw[label], rel=0.01, abs=1e-3)
        assert page.locator(f"{ROWS} .share-bar").count() == 0
        page.locator(".sidebar .note", has_text="which are no probabilities").wait_for()
        show(page, "whatif")
        page.locator("#vx-removed").fill("5")
        says = page.locator("#vx-view-whatif .says", has_text=LABELS[0])
        says.filter(has_text=re.compile("falls|rises|stays")).wait_for()
        assert "%" not in says.inner_text()
        page.locator("#vx-view-whatif .line-test").wait_for()
        ticks = page.locator("#vx-view-whatif .line-chart .tick-y").all_text_contents()
        assert ticks
        assert not any("%" in tick for tick in ticks)
        show(page, "layers")
        says = page.locator(".lens-says", has_text="the model returns")
        says.wait_for()
        assert "%" not in says.inner_text()
        show(page, "learn")
        show(page, "model")
        page.locator("#vx-view-model", has_text="values, no probabilities").wait_for()


def test_an_embedding_has_a_sentence_in_the_place_of_predictions(
    browser: Browser, small_checkpoint: Path, tmp_path: Path
) -> None:
    with page_with(browser, small_checkpoint, tmp_path, "--outputs", "embedding") as (page, _):
        assert page.locator(ROWS).count() == 0
        page.locator(".sidebar .note", has_text="returns an embedding of the picture").wait_for()
        assert page.locator(".other-side:visible").count() == 0
        for tab in ("whatif", "layers", "learn", "model", "compare"):
            show(page, tab)


def test_what_numbers_mean_can_be_chosen_in_the_dialog(page: Page) -> None:
    page.click("#vx-load-file")
    page.select_option("#vx-outputs", "labels")
    page.locator(".load-form button.primary").click()
    page.locator(".sidebar .note", has_text="Each label has a probability of its own").wait_for()
    wait_idle(page)
    show(page, "model")
    page.locator("#vx-view-model", has_text="labels, of which several may hold").wait_for()
