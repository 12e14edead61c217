"""The Patches and Positions views: every stage with its shape, and the numbers of one pixel."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from timm.layers import resample_abs_pos_embed

import vit_explorer as vx
from tests.browser import open_explorer, pixels, saved, settle, show, wait_quiet
from tests.conftest import load_small
from tests.packed import unpack
from vit_explorer.analysis.position_components import position_components
from vit_explorer.models.vit import VisionTransformer, ViTConfig
from vit_explorer.page.payloads.positions import bias_bytes, component_bytes, interpolated_bytes
from vit_explorer.page.state.results import Result
from vit_explorer.page.state.session import Workbench

if TYPE_CHECKING:
    from playwright.sync_api import Page


def result_of(model: vx.LoadedModel) -> Result:
    bench = Workbench(model)
    return bench.analyse("cat.png", bench.start_name, None)


@pytest.fixture(scope="module")
def relative() -> Result:
    torch.manual_seed(2)
    config = ViTConfig(
        image_size=(16, 24), patch_size=(8, 8), dim=16, depth=2, heads=2, position="relative"
    )
    module = VisionTransformer(config)
    for parameter in module.parameters():
        torch.nn.init.normal_(parameter, std=0.4)
    return result_of(load_small(module))


def test_components_are_those_of_the_covariance(small: vx.LoadedModel) -> None:
    found = position_components(small)
    positions = small.module.pos_embed.detach().double().numpy()[0, 1:]  # type: ignore[union-attr, operator]
    centred = positions - positions.mean(axis=0)
    sizes, vectors = np.linalg.eigh(centred.T @ centred)
    np.testing.assert_allclose(found.explained, sizes[::-1][:3] / sizes.sum(), rtol=1e-4)
    assert found.values.shape == (3, 4, 3)
    for index in range(3):
        scores = centred @ vectors[:, -1 - index]
        unit = (scores - scores.min()) / (scores.max() - scores.min())
        values = found.values[..., index].ravel()
        error = min(np.abs(values - unit).max(), np.abs(values - (1 - unit)).max())
        assert error < 1e-4


def test_positions_move_to_another_grid(small: vx.LoadedModel, relative: Result) -> None:
    held = result_of(small)
    _, read = unpack(interpolated_bytes(held, 6, 5))
    positions: torch.Tensor = small.module.pos_embed.detach()[:, 1:]  # type: ignore
    options = {"old_size": list(small.card.grid), "num_prefix_tokens": 0}
    moved = resample_abs_pos_embed(positions, [6, 5], **options)[0]
    expected = F.cosine_similarity(moved[:, None], moved[None], dim=-1)
    np.testing.assert_allclose(read["similarity"].reshape(30, 30), expected, atol=1e-5)
    for rows, columns in ((49, 48), (0, 4)):
        with pytest.raises(IndexError):
            interpolated_bytes(held, rows, columns)
    with pytest.raises(IndexError):
        interpolated_bytes(relative, 6, 5)
    assert unpack(component_bytes(relative)) == ({"explained": []}, {})


def test_the_bias_is_the_learned_table_s(small: vx.LoadedModel, relative: Result) -> None:
    _, read = unpack(bias_bytes(relative, 1))
    table = relative.model.module.blocks[1].attn.rel_pos.relative_position_bias_table  # type: ignore
    # Two rows of three patches: from patch (1, 0) to (0, 2) is one row up and two columns right.
    at = (1 - 0 + 1) * 5 + (0 - 2 + 2)
    np.testing.assert_allclose(read["bias"][:, 3, 2], table[at].detach(), atol=1e-6)
    assert unpack(bias_bytes(result_of(small), 0)) == ({}, {})
    with pytest.raises(IndexError):
        bias_bytes(relative, 2)


@pytest.mark.browser
def test_every_stage_is_shown_with_its_shape(page: Page, small_checkpoint: Path, cat: Path) -> None:
    show(page, "patches")
    page.wait_for_function("document.querySelector('[data-stage=projection] canvas').width === 48")
    shapes = dict(
        zip(
            ("picture", "crop", "cut", "projection", "prefix", "positions"),
            page.locator(".pipeline code").all_inner_texts(),
            strict=True,
        )
    )
    assert shapes["cut"] == "64 × 48"
    assert shapes["projection"] == "64 × 48"
    assert shapes["positions"] == "65 × 48"
    drawn = set()
    for name in ("cut", "projection", "prefix", "positions"):
        page.click(f'[data-stage="{name}"]')
        drawn.add(pixels(page, ".stage-matrix"))
    assert len(drawn) == 4

    page.focus(".zoom")
    page.keyboard.press("ArrowRight")
    page.keyboard.press("ArrowDown")
    settle(page)
    prepared = vx.load_model(small_checkpoint).prepare(cat)
    pixel = np.asarray(prepared.shown)[4 * 4 + 1, 4 * 4 + 1]
    page.wait_for_function("!document.querySelector('.pixel-value').textContent.includes('…')")
    text = page.inner_text(".pixel-value")
    assert f"blue {', '.join(map(str, pixel))};" in text
    given = ", ".join(f"{float(v):.3f}".replace("-", "−") for v in prepared.pixels[0, :, 17, 17])
    assert given in text


@pytest.mark.browser
def test_positions_have_colours_profiles_and_other_grids(page: Page, address: str) -> None:
    page.goto("about:blank")
    open_explorer(page, address, "positions?part=grid&patch=2,3")
    page.locator(".before-after figcaption", has_text="16×16").wait_for()
    assert page.locator(".before-after canvas").last.evaluate("(canvas) => canvas.width") == 16
    page.get_by_role("button", name="profiles").click()
    settle(page)
    assert page.locator(".position-part:visible .point").count() == 16
    page.get_by_role("button", name="colours").click()
    page.wait_for_function("document.querySelector('.components').width === 8")
    page.wait_for_function("location.hash.includes('part=components')")


@pytest.mark.browser
def test_a_sweep_over_the_patches_asks_for_one_s_numbers(
    page: Page, silent: Callable[[], list[str]]
) -> None:
    show(page, "patches")
    canvas = page.locator("#vx-view-patches .stage canvas").first
    bounds = canvas.bounding_box()
    assert bounds is not None
    wait_quiet(page)

    def asked() -> list[str]:
        return [url.rpartition("/")[2] for url in silent() if "/patches/" in url]

    start = len(asked())
    size = bounds["width"] / 8
    for column in range(8):
        page.mouse.move(bounds["x"] + (column + 0.5) * size, bounds["y"] + size / 2)
        settle(page)
    page.wait_for_function("!document.querySelector('.pixel-value').textContent.includes('…')")
    assert "7" in asked()[start:]
    # A busy machine may rest on the way.
    assert len(asked()[start:]) <= 3


GRIDS = """async () => {
  const load = (name) => import(new URL(`explorer/static/${name}`, document.baseURI).href);
  const { otherGrids } = await load("views/positions/position_grids.js");
  const sizes = [[8, 8], [24, 24], [37, 37], [40, 40], [2, 2], [14, 21]];
  return sizes.map((grid) => otherGrids(grid).map(({ grid: other }) => other.join("×")));
}"""


@pytest.mark.browser
def test_other_grids_are_other_and_each_is_there_once(page: Page, address: str) -> None:
    assert page.evaluate(GRIDS) == [
        ["4×4", "12×12", "16×16"],
        ["12×12", "36×36", "48×48"],
        ["18×18", "48×48"],
        ["20×20", "48×48"],
        ["3×3", "4×4"],
        ["7×10", "21×31", "28×42"],
    ]
    page.goto("about:blank")
    open_explorer(page, address, "positions?part=grid&scale=1.5&patch=2,3")
    page.locator(".before-after figcaption", has_text="now, 8×8").wait_for()
    buttons = page.locator(".position-part:visible .segmented button")
    assert buttons.all_inner_texts() == ["× 0.5", "× 1.5", "× 2"]
    page.get_by_role("button", name="profiles").click()
    page.locator(".position-part:visible h3", has_text="Row and column").wait_for()
    _, drawn = saved(page, ".position-part:visible", "svg")
    for name in ("its row 2", "its column 3"):
        assert f">{name}</text>" in drawn.decode()


STAGE = """async () => {
  const load = (name) => import(new URL(`explorer/static/${name}`, document.baseURI).href);
  const { stageText } = await load("views/patches/patch_stages.js");
  const sizes = { channels: 3, patch: [4, 4], image: [8, 8], grid: [2, 2] };
  const model = { ...sizes, prefix: [], mean: [], std: [] };
  const result = { model, picture: { width: 9, height: 9 }, box_known: true };
  return [null, { normalised: false }, { normalised: true }].map((facts) =>
    stageText("positions", result, facts));
}"""


@pytest.mark.browser
def test_the_sum_is_said_to_enter_layer_1_only_where_it_does(page: Page) -> None:
    unknown, plain, normalised = page.evaluate(STAGE)
    assert "layer 1" not in unknown
    assert plain.endswith("The result enters layer 1.")
    assert normalised.endswith("This model normalises the tokens once more before layer 1.")
