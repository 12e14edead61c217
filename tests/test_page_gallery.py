"""The gallery of models: cards with what is read of them, and a download where it stands."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import torch
from fastapi.testclient import TestClient
from safetensors.torch import save

import vit_explorer as vx
from tests.browser import open_explorer, running_app, settle, unexpected, watched_page
from tests.test_accessibility import OF_COLOURS, violations
from tests.text_towers import save_transformers
from tests.weights_hub import WeightsHub
from vit_explorer.errors import ModelError
from vit_explorer.models.checkpoints import hub as hubs
from vit_explorer.models.gallery import BY_NAME, GALLERY, facts_of
from vit_explorer.models.shipped import SHIPPED
from vit_explorer.page import Workbench, build_app

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

NAME = "deit_tiny_patch16_224"
TAGGED = "timm/deit_tiny_patch16_224.fb_in1k"
SIGLIP = "hf-hub:google/siglip-base-patch16-224"


@pytest.fixture(scope="module")
def content() -> bytes:
    import timm

    torch.manual_seed(0)
    return save(timm.create_model(NAME).state_dict())


@pytest.fixture
def hub(content: bytes, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[WeightsHub]:
    made = WeightsHub({TAGGED: {"model.safetensors": content}})
    monkeypatch.setattr(hubs, "getproxies", dict)
    with made.serving():
        made.meant(monkeypatch, tmp_path / "hub")
        yield made


def test_what_a_card_says_is_read(hub: WeightsHub, content: bytes, small: vx.LoadedModel) -> None:
    assert len(BY_NAME) == len(GALLERY) and list(BY_NAME)[:2] == list(SHIPPED)
    with TestClient(build_app(Workbench(small)), base_url="http://127.0.0.1") as client:
        cards = {one["name"]: one for one in client.get("/explorer/models/gallery").json()}
        for name in SHIPPED:
            model = vx.load_model(name)
            assert cards[name]["here"] and cards[name]["classes"] == len(model.labels)
            assert cards[name]["image_size"] == list(model.card.image_size)
            assert cards[name]["size"] == SHIPPED[name].weights.stat().st_size
        deit = cards[NAME]
        # By the header of the file, which the numbers alone don't count.
        assert 0 < len(content) - deit["size"] < 50_000
        assert deit["classes"] == 1000 and not deit["here"] and deit["part"] == 0
        assert cards["vit_small_patch14_reg4_dinov2"]["classes"] == 0
        assert cards[SIGLIP]["classes"] is None
        assert client.get("/explorer/models/hub").json() == {"reachable": True}
        hub.cut_after = len(content) // 4
        with pytest.raises(ModelError, match="broke off"):
            vx.load_model(NAME)
        part = facts_of(BY_NAME[NAME]).part
        assert len(content) / 2 <= part < len(content)
        hub.cut_after = None
        hubs.fetch_weights(TAGGED, NAME)
        assert facts_of(BY_NAME[NAME]).here and facts_of(BY_NAME[NAME]).size == len(content)


def test_the_model_asked_in_words_loads_by_its_card(
    hub: WeightsHub, small: vx.LoadedModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    save_transformers("siglip", tmp_path / "mine")
    files = {file.name: file.read_bytes() for file in (tmp_path / "mine").iterdir()}
    hub.has["google/siglip-base-patch16-224"] = files
    words = ("a cat", "a dog")
    monkeypatch.setitem(BY_NAME, SIGLIP, replace(BY_NAME[SIGLIP], words=words))
    bench = Workbench(small)
    model = bench.model(SIGLIP)
    assert model.labels == words and model.card.name == SIGLIP
    assert SIGLIP in str(model.card.source)
    other = bench.add_model(SIGLIP, None, None, words=("a cup",))
    assert bench.model(other).labels == ("a cup",)
    with pytest.raises(ModelError, match="There is no model"):
        bench.model("hf-hub:google/other")


@pytest.mark.browser
def test_a_card_downloads_stops_and_goes_on(
    browser: Browser, hub: WeightsHub, content: bytes, tmp_path: Path
) -> None:
    hub.pace = 0.02
    with (
        running_app(scratch=tmp_path, variables=hub.environment(tmp_path)) as address,
        watched_page(browser, address, viewport={"width": 390, "height": 844}) as (page, wrong),
    ):
        open_explorer(page, address)
        page.click("#vx-gallery")
        card = page.locator(f'.model-card[data-model="{NAME}"]')
        card.get_by_text("22.9 MB · 1,000 classes · 224×224 pixels").wait_for()
        assert page.locator(".model-card").count() == len(GALLERY)
        card.get_by_role("button", name="Load DeiT-Tiny").press("Enter")
        card.locator("progress[value]").wait_for()
        # The focus goes where the button went.
        stop = card.get_by_role("button", name="Stop loading DeiT-Tiny")
        assert stop.evaluate("(button) => button === document.activeElement")
        stop.press("Enter")
        card.get_by_text("of 22.9 MB are here").wait_for()

        hub.pace, hub.cut_after = 0.0, len(content) // 4
        again = card.get_by_role("button", name="Go on with DeiT-Tiny")
        again.click()
        card.locator(".wrong", has_text="broke off (the line broke)").wait_for()
        offered = page.locator(".problem-instead button").all_text_contents()
        assert offered == ["Try again", "Use bundled"]
        assert_accessible(page)

        hub.cut_after = None
        again.click()
        page.locator(".gallery-dialog[open]").wait_for(state="detached")
        assert all(asked is not None for _, asked in hub.asked[1:])
        page.click("#vx-gallery")
        page.locator(f'.model-card[data-model="{NAME}"][data-shown="true"]').wait_for()
        assert unexpected(wrong) == []


def assert_accessible(page: Page) -> None:
    wide = "document.documentElement.scrollWidth > document.documentElement.clientWidth"
    assert not page.evaluate(wide)
    assert violations(page) == []
    page.evaluate("document.documentElement.dataset.vxTheme = 'dark'")
    settle(page)
    assert violations(page, OF_COLOURS) == []
