"""The widget in a notebook: exact numbers, refusals, the picture instead, a real JupyterLab."""

from __future__ import annotations

import base64
import io
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from PIL import Image

import vit_explorer as vx
from tests.browser import watched_page
from tests.notebooks import open_notebook, run, running_lab
from vit_explorer.errors import OptionError
from vit_explorer.explaining import explanation, figure

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Locator

attention_widget = pytest.importorskip(
    "vit_explorer.explaining.attention_widget", reason="the extra notebook is not installed"
)


@pytest.fixture(scope="module")
def explained(small: vx.LoadedModel, cat: Path) -> vx.Explanation:
    return vx.explain(small, cat, methods=("rollout", "input_x_gradient"))


def test_the_widget_s_numbers_are_the_explanation_s(explained: vx.Explanation) -> None:
    widget = explained.widget()
    told = widget._told
    for one, heatmap in zip(told["maps"], explained.heatmaps.values(), strict=True):
        values = np.frombuffer(base64.b64decode(one["values"]), "<f4").reshape(one["grid"])
        np.testing.assert_array_equal(values, heatmap.values)
    sent: list[tuple[Any, ...]] = []
    widget.send = lambda *message: sent.append(message)
    tokens, heads = explained.card.tokens, explained.card.heads
    for ask in ("layers/1", "queries/3/from", "layers/3"):
        widget._handle_custom_msg({"ask": ask, "to": ask}, [])
    layer = np.frombuffer(sent[0][1][0], "<f4").reshape(heads, tokens, tokens)
    np.testing.assert_array_equal(layer, explained.trace.attention(1).numpy())
    rows = np.frombuffer(sent[1][1][0], "<f4").reshape(-1, heads, tokens)
    for depth, row in enumerate(rows):
        # A row alone is another product than all rows at once.
        whole = explained.trace.attention(depth)[:, 3].numpy()
        np.testing.assert_allclose(row, whole, rtol=1e-5)
    assert sent[2] == (
        {"to": "layers/3", "said": "The layer was 3, expected a whole number from 0 to 2."},
    )


def test_a_choice_that_is_not_there_is_refused(explained: vx.Explanation) -> None:
    widget = explained.widget()
    assert (widget.layer, widget.head, widget.token) == (2, "mean", 0)
    widget.layer, widget.head = -3, 1
    assert (widget.layer, widget.head) == (0, 1)
    for name, value, words in (
        ("layer", 3, "layer was 3, expected 0 to 2"),
        ("head", "min", "head was 'min', expected 0 to 1, or mean or max"),
        ("token", 13, "token was 13, expected 0 to 12"),
    ):
        with pytest.raises(OptionError, match=words):
            setattr(widget, name, value)


def test_without_a_front_end_there_is_a_picture(explained: vx.Explanation) -> None:
    bundle, _ = explained.widget()._repr_mimebundle_()
    assert "application/vnd.jupyter.widget-view+json" in bundle
    expected = io.BytesIO()
    explained.figure().savefig(expected, format="png", dpi=attention_widget.STATIC_DPI)
    shown = [Image.open(io.BytesIO(png)) for png in (bundle["image/png"], expected.getvalue())]
    np.testing.assert_array_equal(*map(np.asarray, shown))


def test_without_anywidget_it_says_what_to_install(
    explained: vx.Explanation, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(explanation, "find_spec", lambda _: None)
    with pytest.raises(OptionError, match=r"pip install 'vit-explorer\[notebook\]'"):
        explained.widget()


def test_a_figure_s_script_is_one_text_with_its_words() -> None:
    for entry in ("alone/widget.js", "alone/report.js"):
        text = figure.script(entry)
        assert text.count("function overlay(") == 1  # the page's own, once
        assert not figure.IMPORT.search(text)
        words = figure.look_and_words(entry)["words"]
        assert {"heads.says.from", "token.register", "map.place.middle", "list"} <= set(words)


@pytest.mark.long
@pytest.mark.browser
def test_a_notebook_in_jupyterlab(
    browser: Browser,
    small_checkpoint: Path,
    cat: Path,
    tmp_path: Path,
) -> None:
    pytest.importorskip("jupyterlab", reason="jupyterlab is not installed")
    made = vx.explain(vx.load_model(small_checkpoint), cat, methods=("rollout",))
    cells = (
        "import vit_explorer as vx\n"
        f"made = vx.explain(vx.load_model({str(small_checkpoint)!r}), {str(cat)!r}, "
        "methods=('rollout',))\n"
        "one, other = made.widget(), made.widget()\ndisplay(one, other)",
        "print('chosen', one.token, one.layer, one.head)\none.close()\nother.layer = 0",
    )
    with (
        running_lab(tmp_path, cells) as address,
        watched_page(browser, address) as (page, wrong),
    ):
        open_notebook(page, address)
        run(page, 0)
        figures = page.locator(".vx-figure")
        figures.nth(1).locator(".figure-says").filter(has_text="looks most").wait_for(
            timeout=60_000
        )
        one, other = figures.nth(0), figures.nth(1)
        unmoved = other.locator(".figure-says").inner_text()
        one.get_by_label("Layer").fill("2")
        one.get_by_label("Head").select_option(index=3)  # mean, max, 1, 2
        token = choose(one, made, row=1, column=2)
        expect_attention(one, made, layer=1, head=1, token=token)
        assert other.locator(".figure-says").inner_text() == unmoved
        run(page, 1)
        page.get_by_text(f"chosen {token} 1 1", exact=True).wait_for()
        figures.nth(1).wait_for(state="detached")
        figures.nth(0).get_by_text("1/4").wait_for()
        assert wrong == []


def choose(shown: Locator, made: vx.Explanation, *, row: int, column: int) -> int:
    """Click a patch; returns its token."""
    rows, columns = made.card.grid
    canvas = shown.get_by_role("application")
    box = canvas.bounding_box()
    assert box is not None
    across, down = (column + 0.5) / columns, (row + 0.5) / rows
    canvas.click(position={"x": across * box["width"], "y": down * box["height"]})
    return made.card.prefix_tokens + row * columns + column


def expect_attention(
    shown: Locator, made: vx.Explanation, *, layer: int, head: int, token: int
) -> None:
    """What the widget says of a token is what the pass gave."""
    prefix, (_, columns) = made.card.prefix_tokens, made.card.grid
    looks = made.trace.attention(layer)[head, token, prefix:].numpy()
    best = int(looks.argmax())
    place = (
        f"row {best // columns + 1}, column {best % columns + 1} ({100 * looks.max():.1f}\u00a0%)"
    )
    own = f"row {(token - prefix) // columns + 1}, column {(token - prefix) % columns + 1}"
    shown.locator(".figure-says").filter(has_text=f"Patch {own} looks most at {place}").wait_for()
