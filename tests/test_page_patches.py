"""The Patches and Positions views: every stage with its shape, and the numbers of one pixel."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest
import torch

import vit_explorer as vx
from tests.browser import open_explorer, pixels, settle, show
from tests.conftest import load_small
from tests.packed import unpack
from vit_explorer.explain import position_components
from vit_explorer.models.vit import VisionTransformer, ViTConfig
from vit_explorer.ui.positions import bias_bytes, component_bytes, interpolated_bytes
from vit_explorer.ui.workbench import Result, Workbench

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
    np.testing.assert_array_equal(read["similarity"], vx.position_similarity(small, grid=(6, 5)))
    for rows, columns in ((33, 32), (0, 4)):
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
