"""The page with models of one and of six channels, and with pixels that belong to no patch."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest
from PIL import Image

from tests.browser import (
    READY,
    copied,
    open_explorer,
    running_app,
    show,
    unexpected,
    wait_idle,
    watched_page,
    write_checkpoint,
)

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

COLOURS = """() => {
  const canvas = document.querySelector(".card-seen canvas");
  const context = canvas.getContext("2d");
  const { data } = context.getImageData(0, 0, canvas.width, canvas.height);
  let [apart, most, least] = [0, 0, 255];
  for (let at = 0; at < data.length; at += 4) {
    const [red, green, blue] = data.slice(at, at + 3);
    apart = Math.max(apart, Math.abs(red - green), Math.abs(red - blue));
    most = Math.max(most, red);
    least = Math.min(least, red);
  }
  return [apart, most - least];
}"""


def stage(page: Page, name: str) -> str:
    page.locator(".pipeline button", has_text=name).first.click()
    card = page.locator(".stage-card", has=page.get_by_role("heading", name=name, exact=True))
    return card.inner_text()


@pytest.mark.browser
def test_a_grey_model_with_pixels_in_no_patch(browser: Browser, tmp_path: Path) -> None:
    sizes = {"image_size": (35, 38), "patch_size": (8, 8), "channels": 1}
    checkpoint = write_checkpoint(tmp_path / "grey.safetensors", **sizes)
    left = "The last 3 rows and 6 columns of pixels fill no patch, and the model drops them."
    with (
        running_app("--model", str(checkpoint), scratch=tmp_path) as address,
        watched_page(browser, address) as (page, wrong),
    ):
        open_explorer(page, address)
        caption = page.locator(".card-seen .caption").inner_text()
        assert caption.startswith("32×32 pixels in grey, in 4×4 patches; ")
        assert left in caption
        apart, spread = page.evaluate(COLOURS)
        assert apart <= 3
        assert spread > 60
        show(page, "patches")
        assert "35 × 38 × 1" in page.locator(".pipeline").inner_text()
        assert "16 × 64" in page.locator(".pipeline").inner_text()
        crop = stage(page, "Crop")
        assert "35 rows of 38 pixels in grey. Each, from 0 to 1, has 0.500 taken away" in crop
        assert left in crop
        assert "64 numbers, a pixel each" in stage(page, "Patches")
        page.get_by_text("column 1: grey").first.wait_for()
        show(page, "model")
        page.get_by_text("1: pictures are turned to grey (luma of ITU-R 601)").first.wait_for()
        told = page.locator("body").inner_text()
        assert left in told
        assert "0.500 (mean of the three that are known)" in told
        open_explorer(page, address, "learn?step=2")
        assert unexpected(wrong) == []


@pytest.mark.browser
def test_six_bands_are_sent_and_explained(browser: Browser, tmp_path: Path) -> None:
    checkpoint = write_checkpoint(tmp_path / "six.safetensors", channels=6)
    values = np.random.default_rng(0).integers(0, 3000, (40, 40, 6)).astype(np.uint16)
    np.save(tmp_path / "field.npy", values)
    pages = [Image.fromarray(np.ascontiguousarray(values[:, :, band])) for band in range(6)]
    pages[0].save(tmp_path / "field.tif", save_all=True, append_images=pages[1:])
    with (
        running_app("--model", str(checkpoint), scratch=tmp_path) as address,
        watched_page(browser, address) as (page, wrong),
    ):
        page.goto(address)
        page.get_by_text("'cat.png' has 3 channels and the model takes 6").first.wait_for()
        for name in ("field.npy", "field.tif"):
            page.set_input_files("#vx-file", str(tmp_path / name))
            page.wait_for_selector(READY, timeout=30_000)
            page.locator(".card-seen .caption", has_text="of 6 bands").wait_for()
            caption = page.locator(".card-seen .caption").inner_text()
            assert caption.startswith(
                "32×32 pixels of 6 bands, three of them shown, in 8×8 patches"
            )
            assert "The picture has 6 bands; bands 1, 2, 3 are shown." in caption
            assert "taken as 12 bits: 0 is black, 4,095 is white." in caption
        assert unexpected(wrong) == []


def colours(page: Page) -> list[int]:
    """The first pixel of what the model saw."""
    return page.evaluate("""async () => {
      const image = document.querySelector(".view-model img");
      await image.decode();
      const canvas = new OffscreenCanvas(image.naturalWidth, image.naturalHeight);
      const context = canvas.getContext("2d");
      context.drawImage(image, 0, 0);
      return [...context.getImageData(0, 0, 1, 1).data.slice(0, 3)];
    }""")


@pytest.mark.browser
def test_bands_and_stretch_are_chosen_on_the_page(browser: Browser, tmp_path: Path) -> None:
    checkpoint = write_checkpoint(tmp_path / "six.safetensors", channels=6)
    values = np.random.default_rng(0).integers(0, 3000, (32, 32, 6)).astype(np.uint16)
    np.save(tmp_path / "field.npy", values)
    caption = ".card-seen .caption"
    with (
        running_app("--model", str(checkpoint), scratch=tmp_path) as address,
        watched_page(browser, address) as (page, wrong),
    ):
        page.goto(address)
        page.get_by_text("'cat.png' has 3 channels and the model takes 6").first.wait_for()
        assert not page.locator(".picture-values").is_visible()
        page.set_input_files("#vx-file", str(tmp_path / "field.npy"))
        page.locator(caption, has_text="bands 1, 2, 3 are shown").wait_for()
        page.locator(".picture-values summary").click()
        page.select_option("#vx-band-red", index=4)
        page.locator(caption, has_text="bands 5, 2, 3 are shown").wait_for()
        page.select_option("#vx-stretch", "given")
        page.fill("#vx-stretch-high", "2000")
        page.press("#vx-stretch-high", "Tab")
        page.locator(caption, has_text="stretched as given: 0 is black, 2,000 is white").wait_for()
        wait_idle(page)
        code = copied(page, '#vx-view-explain [data-method="grad_cam"]', "python")
        assert "vx.open_picture('field.npy', bands=(4, 1, 2), stretch=(0.0, 2000.0))" in code
        command = copied(page, '#vx-view-explain [data-method="grad_cam"]', "command")
        assert "--bands 4,1,2 --stretch 0.0,2000.0" in command
        show(page, "model")
        expected = np.clip(values[0, 0, [4, 1, 2]] / 2000, 0, 1) * 255
        np.testing.assert_allclose(colours(page), expected, atol=1.01)
        page.reload()  # the link holds the choice
        show(page, "explain")
        page.locator(caption, has_text="bands 5, 2, 3 are shown").wait_for()
        page.locator(".picture-values summary").click()
        page.fill("#vx-stretch-low", "9000")
        page.press("#vx-stretch-low", "Tab")
        page.get_by_text("low first").first.wait_for()
        assert unexpected(wrong) == []
