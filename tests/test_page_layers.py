"""The Layers view: what the server sends agrees with Python, and the page shows what it sends."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np
import pytest
import torch
import torch.nn.functional as F

import vit_explorer as vx
from tests.browser import (
    open_explorer,
    pixels,
    settle,
    show,
    unexpected,
    wait_for_picture,
    wait_quiet,
    watched_page,
)
from tests.packed import unpack
from vit_explorer.page import Workbench
from vit_explorer.page.payloads import layers
from vit_explorer.page.state.results import Result

if TYPE_CHECKING:
    from pathlib import Path

    from playwright.sync_api import Browser, Page, Route


def states(result: Result) -> torch.Tensor:
    """Block outputs by hooks of our own, (L, N, D)."""
    kept: list[torch.Tensor] = []
    hooks = [
        block.register_forward_hook(lambda _, __, output: kept.append(output[0]))
        for block in result.model.blocks
    ]
    with torch.no_grad():
        result.model.module(result.explanation.prepared.pixels)
    for hook in hooks:
        hook.remove()
    return torch.stack(kept)


def test_the_path_is_that_of_the_class_token(result: Result) -> None:
    token = states(result)[:, 0].double().numpy()
    path = vx.readout_path(result.explanation.trace)
    unit = token / np.linalg.norm(token, axis=1, keepdims=True)
    np.testing.assert_allclose(path.similarity, unit @ unit.T, atol=1e-5)
    variance, directions = np.linalg.eigh(np.cov(token.T, bias=True))
    order = variance.argsort()[::-1][:2]
    points = (token - token.mean(axis=0)) @ directions[:, order]
    points *= np.where(points[-1] < 0, -1, 1)
    np.testing.assert_allclose(path.points, points, atol=1e-3)
    np.testing.assert_allclose(path.shares, variance[order] / variance.sum(), atol=1e-5)


def test_the_path_of_a_model_of_one_layer_is_a_point() -> None:
    from tests.conftest import load_small
    from vit_explorer.models.vit import VisionTransformer, ViTConfig

    module = VisionTransformer(
        ViTConfig(image_size=(16, 16), patch_size=(8, 8), dim=8, depth=1, heads=2, classes=3)
    )
    path = vx.readout_path(vx.trace(load_small(module), np.zeros((16, 16, 3), np.uint8)))
    assert path.points.tolist() == [[0, 0]]
    assert path.shares.tolist() == [0, 0]


def test_the_sent_tokens_give_the_similarities(result: Result) -> None:
    card = result.model.card
    unit = unpack(layers.token_bytes(result))[1]["tokens"].astype(np.float64)
    assert unit.shape == (card.depth, card.tokens, card.dim)
    token = card.prefix_tokens + 5
    cosines = np.einsum("lnd,ld->ln", unit, unit[:, token])[:, card.prefix_tokens :]
    alone = unpack(layers.similarity_bytes(result, token))[1]["similarity"]
    expected = F.cosine_similarity(states(result), states(result)[:, token, None], dim=-1)
    expected = expected[:, card.prefix_tokens :].numpy()
    np.testing.assert_allclose(cosines, expected, atol=1e-6)
    np.testing.assert_allclose(alone.reshape(card.depth, -1), expected, atol=1e-5)
    for missing in (-1, card.tokens):
        with pytest.raises(IndexError):
            layers.similarity_bytes(result, missing)


def test_the_sent_numbers_are_python_s(result: Result) -> None:
    sent, arrays = unpack(layers.depth_bytes(result))
    depth, target = result.model.card.depth, result.explanation.target
    assert target is not None
    assert len(sent["lens"]["predictions"]) == depth + 1
    last = sent["lens"]["predictions"][-1]
    assert [row["index"] for row in last] == [p.index for p in result.explanation.predictions]
    assert last[0]["probability"] == pytest.approx(target.probability, abs=1e-6)
    aim = next(curve for curve in sent["lens"]["curves"] if curve["index"] == target.index)
    assert aim["values"][-1] == pytest.approx(target.probability, abs=1e-6)
    norms = states(result).norm(dim=-1)[:, result.model.card.prefix_tokens :].numpy()
    for layer, each in enumerate(sent["layers"]):
        np.testing.assert_allclose(arrays["norms"][layer], norms[layer], rtol=1e-4)
        assert arrays["counts"][layer].sum() == norms.shape[1]
        assert each["outliers"] == np.flatnonzero(norms[layer] > each["threshold"]).tolist()
    assert sent["whole"]


def test_a_model_without_classes_has_all_but_the_lens() -> None:
    from tests.conftest import load_small
    from vit_explorer.models.vit import VisionTransformer, ViTConfig

    torch.manual_seed(0)
    module = VisionTransformer(
        ViTConfig(image_size=(24, 32), patch_size=(8, 8), dim=32, depth=3, heads=2, classes=0)
    )
    workbench = Workbench(load_small(module))
    found = workbench.analyse("cat.png", workbench.start_name, None)
    sent, arrays = unpack(layers.depth_bytes(found))
    assert sent["lens"] is None
    assert len(sent["layers"]) == len(arrays["points"]) == 3


VIEW = "#vx-view-layers"
PARTS = f"{VIEW} [data-part=contributions]"
LIKENESS = f'{VIEW} [data-part="likeness"]'


@pytest.mark.browser
def test_the_page_shows_the_lens_and_links_the_layer(
    page: Page, small_checkpoint: Path, cat: Path
) -> None:
    show(page, "layers")
    page.wait_for_selector(f"{VIEW} .lens-table tbody tr")
    model = vx.load_model(str(small_checkpoint))
    lens = vx.logit_lens(vx.trace(model, cat))
    rows = page.locator(f"{VIEW} .lens-table tbody tr")
    assert rows.count() == len(lens.predictions)
    for depth, best in enumerate(lens.predictions):
        cells = rows.nth(depth).locator("td").all_inner_texts()
        assert [cell.split()[0] for cell in cells] == [each.label for each in best]
        shares = [float(cell.split()[1]) for cell in cells]
        assert shares == pytest.approx([100 * each.probability for each in best], abs=0.06)
    _check_parts(page, vx.contributions(vx.trace(model, cat)))
    show(page, "layers")
    rows.nth(2).locator("button").click()
    settle(page)
    assert page.input_value("#vx-depth") == "2"
    assert "after layer 2" in page.inner_text(f"{VIEW} .lens-says")
    assert "chosen" in (rows.nth(2).get_attribute("class") or "")
    chosen = page.locator(f'{VIEW} .layer-strip button[aria-pressed="true"]')
    assert [button.get_attribute("data-layer") for button in chosen.all()] == ["1", "1", "1"]


def _check_parts(page: Page, expected: vx.Contributions) -> None:
    """What each part adds is what Python says, and a head opens what it looks at."""
    heads = page.locator(f"{PARTS} button.parts-cell")
    heads.first.wait_for()
    assert heads.count() == expected.heads.size
    told = [str(cell.get_attribute("aria-label")) for cell in heads.all()]
    values = [float(words.rpartition(": ")[2].replace("−", "-")) for words in told]
    np.testing.assert_allclose(values, expected.heads.ravel(), rtol=0.06, atol=1e-9)
    assert told[1].startswith("layer 1, head 2: ")
    shown = page.inner_text(PARTS)
    best = max(expected.ranked(), key=lambda one: one[1] * (one[0][0] in "hMa"))
    kind, _, place = best[0].rpartition(" ")
    layer, _, head = place.partition(".")
    named = {
        "head": f"layer {int(layer) + 1}, head {int(head or 0) + 1}: ",
        "MLP": f"layer {int(layer) + 1}, MLP: ",
        "attention bias": f"layer {int(layer) + 1}, attention's biases: ",
    }
    assert f"Most for it: {named[kind]}" in shown
    heads.nth(1).click()
    page.wait_for_selector("#vx-view-attention:visible")
    page.wait_for_function("location.hash.includes('layer=1') && location.hash.includes('head=2')")


@pytest.mark.browser
def test_similarity_follows_pointer_and_keys_without_the_server(
    page: Page, silent: Callable[[], list[str]]
) -> None:
    show(page, "layers")
    for strip in (0, 1, 2):
        page.wait_for_selector(f"{VIEW} .layer-strip >> nth={strip} >> button >> nth=0")
    wait_quiet(page)
    asked = len(silent())
    canvas = f"{LIKENESS} .stage canvas"
    strip = f"{LIKENESS} .layer-strip canvas"
    start = pixels(page, strip)
    page.locator(canvas).first.scroll_into_view_if_needed()
    bounds = page.locator(canvas).first.bounding_box()
    assert bounds is not None
    page.mouse.move(bounds["x"] + 5, bounds["y"] + 5)
    hovered = pixels(page, strip)
    assert hovered != start
    assert "row 1, column 1" in page.inner_text(f"{VIEW} h3 >> nth=-2")
    page.mouse.move(1, 1)
    assert pixels(page, strip) == start
    page.locator(canvas).first.focus()
    page.keyboard.press("ArrowRight")
    assert pixels(page, strip) not in (start, hovered)
    page.keyboard.press("PageUp")
    settle(page)
    assert page.input_value("#vx-depth") == "3"
    assert silent()[asked:] == []


@pytest.mark.browser
def test_a_link_gives_back_the_layer_and_the_patch(browser: Browser, address: str) -> None:
    with watched_page(browser, address) as (page, wrong):
        page.goto(f"{address}#layers?layer=2&patch=3,4")
        page.wait_for_selector(f"{VIEW} .layer-strip button")
        settle(page)
        assert page.input_value("#vx-depth") == "2"
        assert "row 3, column 4" in page.inner_text(f"{VIEW} h3 >> nth=-2")
        assert unexpected(wrong) == []
        open_explorer(page, address)


LENS = """async () => {
  const load = (name) => import(new URL(`explorer/static/${name}`, document.baseURI).href);
  const { createLens } = await load("views/layers/lens.js");
  const says = (leaders) => {
    const settled = leaders.lastIndexOf(1) + 1;
    const lens = {
      target: 0,
      settled,
      predictions: leaders.map((index) => [{ index, label: `${index}`, probability: 1 }]),
      curves: [{ index: 0, label: "cat", values: leaders.map(() => 0.5) }],
    };
    const { node, draw } = createLens({ store: { set() {} } });
    const result = { model: { outputs: "classes" }, target: { index: 0, label: "cat", of: "cat" } };
    draw({ layer: 0, result }, lens);
    return node.querySelector(".lens-says").textContent;
  };
  return [[1, 0, 0], [0, 0, 1], [1, 1, 1]].map(says);
}"""


@pytest.mark.browser
def test_the_lens_tells_a_class_that_led_before_from_one_that_never_did(page: Page) -> None:
    leads, lost, never = page.evaluate(LENS)
    assert leads.endswith("From layer 1 on, cat stays first.")
    assert lost.endswith("cat is first at earlier layers, but not at the end.")
    assert never.endswith("cat is never first.")


@pytest.mark.browser
def test_numbers_of_the_picture_before_are_not_shown_as_this_one_s(page: Page) -> None:
    show(page, "layers")
    page.wait_for_selector(f"{VIEW} .lens-table tbody tr")
    menu = page.locator(f"{VIEW} .figure-button").first
    assert menu.is_visible()
    held: list[Route] = []

    def hold(route: Route) -> None:
        held.append(route)

    page.route("**/depth", hold)
    page.get_by_role("button", name="Explain rocket.jpg").click()
    wait_for_picture(page, "rocket.jpg")
    page.locator(f"{VIEW} .depth-waits", has_text="Fetching").wait_for()
    assert not page.locator(f"{VIEW} .depth-card:visible").count()
    assert not menu.is_visible()
    held[0].fulfill(body="no JSON")
    page.locator(f"{VIEW} .depth-waits", has_text="did not arrive").wait_for()
    assert not menu.is_visible()
    page.unroute("**/depth")
    page.locator("#vx-depth").fill("2")
    page.wait_for_selector(f"{VIEW} .lens-table tbody tr >> visible=true")
    assert page.locator(f"{VIEW} .depth-waits").inner_text() == ""
