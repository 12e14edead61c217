"""The page in a real browser: every way a person uses it, and nothing leaves the machine."""

from __future__ import annotations

import io
import itertools
import json
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest
from PIL import Image

import vit_explorer as vx
from tests.browser import (
    LABELS,
    open_explorer,
    pixels,
    settle,
    show,
    tabs_of,
    wait_for_picture,
    wait_idle,
    wait_quiet,
    watched_page,
)
from vit_explorer.drawing import overlays as render
from vit_explorer.page.payloads.maps import shown_of

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page, Route

pytestmark = pytest.mark.browser

ATTENTION = "#vx-view-attention .stage canvas"
# The six that pointed best at what was learned, then the two that are taught first.
MAPS = (
    "libra_input_x_gradient",
    "gradient_rollout",
    "libra_generic_attention",
    "generic_attention",
    "legrad",
    "grad_cam",
    "attention",
    "rollout",
)
SAVED = ("rollout", "gradient_rollout", "generic_attention", "grad_cam", "attention_grad_cam")


def map_of(name: str) -> str:
    return f'.card[data-method="{name}"] canvas'


def test_first_page_explains_the_cat(page: Page) -> None:
    assert "cat.png" in page.inner_text(".sidebar-picture .note")
    rows = page.locator(".predictions button")
    assert rows.count() == 5
    shares = [float(text.rstrip("%\xa0 ")) for text in page.locator(".share").all_inner_texts()]
    assert shares == sorted(shares, reverse=True)
    assert 0 < sum(shares) <= 100.5
    assert rows.first.get_attribute("aria-pressed") == "true"
    cards = page.locator(".gallery .card[data-method]")
    assert cards.evaluate_all("(all) => all.map((card) => card.dataset.method)") == list(MAPS)
    for name in MAPS:
        assert page.locator(map_of(name)).evaluate("(canvas) => canvas.width") > 100
    marked = page.locator(".gallery .card[data-method]", has=page.locator(".taught"))
    assert marked.evaluate_all("(all) => all.map((card) => card.dataset.method)") == [
        "attention",
        "rollout",
    ]
    assert page.locator(map_of("rollout")).get_attribute("aria-label")


def test_upload_is_explained(page: Page, coffee: Path) -> None:
    before = pixels(page, map_of("rollout"))
    page.set_input_files("#vx-file", coffee)
    wait_for_picture(page, "coffee")
    assert pixels(page, map_of("rollout")) != before


GIVE = """([kind, bytes, name]) => {
  const files = new DataTransfer();
  files.items.add(new File([Uint8Array.from(bytes)], name, { type: "image/png" }));
  const options = { bubbles: true, cancelable: true };
  const event = kind === "paste"
    ? new ClipboardEvent("paste", { ...options, clipboardData: files })
    : new DragEvent("drop", { ...options, dataTransfer: files });
  document.body.dispatchEvent(event);
}"""


def test_pasted_and_dropped_pictures_are_explained(page: Page, tmp_path: Path) -> None:
    for kind, size in (("paste", (50, 40)), ("drop", (60, 40))):
        file = tmp_path / f"{kind}.png"
        Image.effect_noise(size, 60).convert("RGB").save(file)
        page.evaluate(GIVE, [kind, list(file.read_bytes()), file.name])
        wait_for_picture(page, f"{kind}.png · {size[0]}×{size[1]}")


def test_a_photo_is_explained(page: Page) -> None:
    page.get_by_role("button", name="Take a photo").click()
    page.get_by_role("dialog").wait_for()
    page.wait_for_function("document.querySelector('.camera video').videoWidth > 0")
    page.get_by_role("button", name="Take it").click()
    wait_for_picture(page, "photo.png")
    assert page.get_by_role("dialog").count() == 0


def test_examples_are_explained_by_one_click(page: Page) -> None:
    page.get_by_role("button", name="Explain rocket.jpg").click()
    wait_for_picture(page, "rocket.jpg")


def test_choosing_a_prediction_makes_it_the_target(page: Page) -> None:
    free, specific = pixels(page, map_of("rollout")), pixels(page, map_of("generic_attention"))
    second = page.locator(".predictions button").nth(1)
    label = second.locator(".label").inner_text()
    second.click()
    page.wait_for_selector('.predictions button:nth-child(2)[aria-pressed="true"]')
    settle(page)
    assert page.inner_text(".tool-target strong") == label
    assert label in LABELS
    assert pixels(page, map_of("generic_attention")) != specific
    assert pixels(page, map_of("rollout")) == free


def test_attention_follows_pointer_and_keys_without_the_server(
    page: Page, silent: Callable[[], list[str]]
) -> None:
    show(page, "attention")
    wait_quiet(page)
    opened = silent()  # distance and entropy of all heads, once
    start = pixels(page, ATTENTION)
    bounds = page.locator(ATTENTION).bounding_box()
    assert bounds is not None
    corner = (bounds["x"] + 5, bounds["y"] + 5)
    page.mouse.move(*corner)
    hovered = pixels(page, ATTENTION)
    assert hovered != start
    assert "row 1, column 1" in page.inner_text(".says")
    page.mouse.move(bounds["x"] - 20, bounds["y"] - 20)
    assert pixels(page, ATTENTION) == start

    page.focus(ATTENTION)
    page.keyboard.press("ArrowRight")
    middle = pixels(page, ATTENTION)
    assert "row 5, column 5" in page.inner_text(".says")
    page.keyboard.press("ArrowRight")
    assert pixels(page, ATTENTION) != middle
    page.keyboard.press("PageUp")
    settle(page)
    assert page.inner_text("output") == "3/4"
    page.keyboard.press("Escape")
    settle(page)
    assert "Class token" in page.inner_text(".says")

    page.focus("#vx-layer")
    for layer in (2, 1):
        before = pixels(page, ATTENTION)
        page.keyboard.press("ArrowLeft")
        assert pixels(page, ATTENTION) != before
        assert page.inner_text("output") == f"{layer}/4"
    for name in ("max", "2", "is looked at by"):
        before = pixels(page, ATTENTION)
        page.get_by_role("button", name=name, exact=True).click()
        assert pixels(page, ATTENTION) != before
    page.get_by_role("button", name="Layer 4, head 1").click()
    settle(page)
    assert page.inner_text("output") == "4/4"
    assert silent() == opened
    assert [url.rsplit("/", 1)[1] for url in opened] == ["heads"]


def test_pinned_patch_is_shared_by_all_views(page: Page) -> None:
    show(page, "attention")
    bounds = page.locator(ATTENTION).bounding_box()
    assert bounds is not None
    size = bounds["width"] / 8
    page.mouse.click(bounds["x"] + 2.5 * size, bounds["y"] + 1.5 * size)
    page.mouse.move(5, 5)
    show(page, "positions")
    page.locator("#vx-view-positions h3:visible", has_text="row 2, column 3").wait_for()
    show(page, "patches")
    assert page.inner_text(".zoom-card h3") == "Patch 11"
    show(page, "explain")
    assert page.inner_text('.card[data-method="rollout"] .here') != ""


def test_toolbar_rules_all_maps_without_the_server(
    page: Page, silent: Callable[[], list[str]]
) -> None:
    varied = ("rollout", "gradient_rollout", "generic_attention")

    def changed_by(act: Callable[[], object]) -> None:
        before = [pixels(page, map_of(name)) for name in varied]
        act()
        after = [pixels(page, map_of(name)) for name in varied]
        assert all(old != new for old, new in zip(before, after, strict=True))

    changed_by(lambda: page.select_option("#vx-colormap", "viridis"))
    changed_by(lambda: page.locator("#vx-opacity").fill("0.9"))
    for name in ("patches", "whole"):
        changed_by(page.get_by_role("button", name=name, exact=True).click)
    own = page.locator(".gallery .bar-high").all_inner_texts()
    page.get_by_role("button", name="shared").click()
    settle(page)
    ends = dict(zip(shown_of(1), page.locator(".gallery .bar-high").all_inner_texts(), strict=True))
    assert ends["rollout"] == ends["attention"]
    assert all(
        ends[name] == end
        for name, end in zip(shown_of(1), own, strict=True)
        if name not in {"rollout", "attention"}
    )
    assert silent() == []


def test_settings_outlive_a_reload(page: Page, address: str) -> None:
    page.select_option("#vx-colormap", "cividis")
    page.click("button.theme")
    settle(page)
    page.reload()
    open_explorer(page, address)
    assert page.input_value("#vx-colormap") == "cividis"
    assert page.evaluate("document.documentElement.dataset.vxTheme") == "dark"


def test_patches_show_the_convolution_check(page: Page) -> None:
    show(page, "patches")
    text = page.inner_text(".check")
    error = float(text.rsplit("difference is ", 1)[1].rstrip("."))
    assert 0 <= error < 1e-3
    assert "3,072" in text


def test_download_holds_what_save_writes(page: Page) -> None:
    with page.expect_download() as caught:
        page.click("#vx-download")
    data = Path(caught.value.path()).read_bytes()
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        names = {Path(name).name for name in archive.namelist()}
        assert {"explanation.json", "heatmaps.npz", *(f"{name}.png" for name in SAVED)} <= names
        manifest = json.loads(archive.read("cat/explanation.json"))
        with np.load(io.BytesIO(archive.read("cat/heatmaps.npz"))) as maps:
            assert maps["rollout"].shape == (8, 8)
            assert maps["rollout"].dtype == np.float32
    assert manifest["predictions"][0]["label"] in LABELS


def test_bad_pictures_are_refused_and_the_page_goes_on(
    page: Page, tmp_path: Path, cat: Path, coffee: Path
) -> None:
    before = pixels(page, map_of("rollout"))
    bad = {"notes.png": b"only words", "empty.jpg": b"", "cut.png": cat.read_bytes()[:5000]}
    for name, data in bad.items():
        file = tmp_path / name
        file.write_bytes(data)
        page.set_input_files("#vx-file", file)
        page.wait_for_selector(".problem:visible")
        message = page.inner_text(".problem p")
        assert message.endswith(".")
        assert str(tmp_path) not in message
        assert f"'{name}'" in message
        assert pixels(page, map_of("rollout")) == before
        assert "cat.png" in page.inner_text(".sidebar-picture .note")
        page.click(".problem button")
        page.wait_for_selector(".problem", state="hidden")
    page.set_input_files("#vx-file", coffee)
    wait_for_picture(page, "coffee")


def test_unknown_models_are_refused_and_the_page_goes_on(page: Page) -> None:
    for name in ("vit_tinny_patch16_224", "/etc/passwd", "local-dir:/tmp", "<b>x</b>"):
        page.fill("#vx-model", name)
        page.keyboard.press("Enter")
        page.locator(".problem p", has_text=name).wait_for()
        if name.startswith("vit"):
            assert "vit_tiny_patch16_224" in page.inner_text(".problem p")
            assert page.locator('.problem [data-model="vit_tiny_patch16_224"]').is_visible()
    page.locator(".predictions button").nth(1).click()
    page.wait_for_selector('.predictions button:nth-child(2)[aria-pressed="true"]')
    assert page.locator(".problem").is_hidden()


def test_a_problem_goes_when_the_reader_goes_on(page: Page) -> None:
    page.clock.install()

    def fail() -> None:
        page.fill("#vx-model", "bundld")
        page.press("#vx-model", "Enter")
        page.wait_for_selector(".problem:visible")
        wait_idle(page)

    fail()
    page.focus(".card-seen canvas")
    page.keyboard.press("Escape")
    page.wait_for_selector(".problem", state="hidden")
    fail()
    show(page, "model")
    page.wait_for_selector(".problem", state="hidden")
    fail()
    page.hover(".problem p")  # who reads it has all the time there is
    page.clock.run_for(120_000)
    assert page.locator(".problem").is_visible()
    page.mouse.move(5, 5)
    page.clock.run_for(60_000)
    page.wait_for_selector(".problem", state="hidden")
    fail()
    page.get_by_role("button", name="Use bundled", exact=True).click()
    page.locator(".summary strong", has_text="bundled").wait_for()
    assert page.input_value("#vx-model") == "bundled"


def test_named_endpoints_answer_a_client(address: str, cat: Path) -> None:
    gradio_client = pytest.importorskip("gradio_client")
    client = gradio_client.Client(address, verbose=False)
    picture = gradio_client.handle_file(str(cat))
    answer = client.predict(picture, ["rollout"], api_name="/explain")
    assert answer["predictions"][0]["label"] in LABELS
    assert np.shape(answer["heatmaps"]["rollout"]) == (8, 8)
    assert client.predict(api_name="/models")[0] == "small"
    for bad in ({"path": str(cat)}, {}):
        with pytest.raises(gradio_client.exceptions.AppError, match="handle_file"):
            client.predict(bad, ["rollout"], api_name="/explain")
    with pytest.raises(gradio_client.exceptions.AppError, match="did you mean 'rollout'"):
        client.predict(picture, ["rolout"], api_name="/explain")
    named = client.view_api(return_format="dict")["named_endpoints"]
    assert set(named) == {"/explain", "/attention", "/models"}


def test_file_name_is_shown_as_text(page: Page, tmp_path: Path) -> None:
    file = tmp_path / "<img src=x onerror=alert(1)>${1+1}{{value}}.png"
    Image.new("RGB", (40, 30), "teal").save(file)
    page.set_input_files("#vx-file", file)
    wait_for_picture(page, "40×30")
    assert page.locator('img[src="x"]').count() == 0


SLOW = """() => {
  const send = window.fetch;
  window.fetch = async (...asked) => {
    const answer = await send(...asked);
    if (String(asked[0]).includes("big")) await new Promise((done) => setTimeout(done, 1500));
    return answer;
  };
}"""


def test_the_picture_chosen_last_is_shown(page: Page, tmp_path: Path) -> None:
    page.evaluate(SLOW)
    for name, colour in (("big.png", "teal"), ("small.png", "olive")):
        Image.new("RGB", (40, 30), colour).save(tmp_path / name)
    page.set_input_files("#vx-file", tmp_path / "big.png")
    page.get_by_role("button", name="Explain rocket.jpg").click()
    wait_for_picture(page, "rocket.jpg")
    page.set_input_files("#vx-file", tmp_path / "big.png")
    page.set_input_files("#vx-file", tmp_path / "small.png")
    wait_for_picture(page, "small.png")
    page.wait_for_timeout(1800)
    wait_for_picture(page, "small.png")


def test_any_class_can_be_searched_and_explained(page: Page) -> None:
    listed = page.locator(".predictions .label").all_inner_texts()
    label = next(label for label in LABELS if label not in listed)
    page.fill("#vx-class", label[:-1])
    page.wait_for_selector("#vx-classes option", state="attached")
    page.fill("#vx-class", label)
    page.keyboard.press("Enter")
    page.locator(".tool-target strong", has_text=label).wait_for()
    note = page.inner_text(".sidebar-predictions > .note:not(:empty) >> nth=0")
    assert note.startswith(f"Explaining {label}, ")
    assert note.endswith("%")
    page.fill("#vx-class", "no such class")
    page.keyboard.press("Enter")
    page.locator(".problem p", has_text="no such class").wait_for()


def test_a_class_is_explained_rather_than_another(page: Page) -> None:
    rows = page.locator(".predictions [data-index]")
    one, other = (rows.nth(at).get_attribute("data-index") for at in (0, 2))
    names = [rows.nth(at).locator(".label").inner_text() for at in (0, 2)]
    page.get_by_label("Rather than").select_option(other)
    said = f"{names[0]} rather than {names[1]}"
    page.locator(".tool-target strong", has_text=said).wait_for()
    note = page.inner_text(".sidebar-predictions > .note:not(:empty) >> nth=0")
    assert note.startswith(f"Explaining {said}: ") and note.endswith("% of both")
    assert page.locator(".predictions [aria-pressed=true]").count() == 0
    assert f"target={one}+-+{other}" in page.url
    page.reload()
    page.locator(".tool-target strong", has_text=said).wait_for()
    assert page.get_by_label("Rather than").input_value() == other
    page.get_by_label("Rather than").select_option("")
    page.locator(".tool-target strong", has_text=names[0]).wait_for()
    page.locator(f".predictions [data-index='{one}'][aria-pressed=true]").wait_for()


@pytest.mark.parametrize("pressed", [False, True])
def test_a_class_typed_before_the_names_are_here_is_found(
    browser: Browser, address: str, pressed: bool
) -> None:
    held: list[Route] = []

    def hold(route: Route) -> None:
        held.append(route)

    with watched_page(browser, address) as (page, wrong):
        page.route("**/results/*/labels", hold)
        open_explorer(page, address)
        page.fill("#vx-class", LABELS[0][:-1])
        settle(page)
        assert page.locator("#vx-classes option").count() == 0
        while not held:
            page.wait_for_timeout(20)
        if pressed:
            page.press("#vx-class", "Enter")
        held[0].continue_()
        if pressed:
            page.wait_for_function("location.hash.includes('target=0')")
            assert page.input_value("#vx-class") == ""
        else:
            page.wait_for_selector("#vx-classes option", state="attached")
            assert page.input_value("#vx-class") == LABELS[0][:-1]
        assert wrong == []


def test_a_refused_model_leaves_the_picture_chosen_after_it(page: Page) -> None:
    page.fill("#vx-model", "no_such_model")
    rocket = page.get_by_role("button", name="Explain rocket.jpg")
    # Both before the refusal can arrive, which a later choice would clear away.
    rocket.evaluate(
        "(b) => { document.querySelector('#vx-model').form.requestSubmit(); b.click(); }"
    )
    wait_for_picture(page, "rocket.jpg")
    assert "no_such_model" in page.inner_text(".problem p")
    # The field names the model whose results are shown, not the one that could not be loaded.
    assert page.input_value("#vx-model") != "no_such_model"
    assert page.inner_text(".summary strong") == Path(page.input_value("#vx-model")).name
    page.fill("#vx-model", "")
    page.keyboard.press("Enter")
    page.locator(".problem p", has_text="is empty").wait_for()


def test_explain_is_read_by_keyboard(page: Page) -> None:
    page.focus(".card-seen canvas")
    page.keyboard.press("ArrowRight")
    page.wait_for_selector('.card[data-method="rollout"] .here:visible')
    told = page.inner_text(".card-seen [aria-live]")
    assert "row 5, column 5: LibraGrad " in told
    for name in page.locator(".gallery .card[data-method] .heading").all_inner_texts():
        card = page.locator(".gallery .card[data-method]").filter(
            has=page.get_by_text(name, exact=True)
        )
        here = card.locator(".here").inner_text()
        assert f"{name} {here}" in told, name


def test_a_reload_and_a_link_show_the_same(page: Page, address: str) -> None:
    page.get_by_role("button", name="Explain coffee.png").click()
    wait_for_picture(page, "coffee.png")
    page.locator(".predictions button").nth(1).click()
    page.wait_for_selector('.predictions button:nth-child(2)[aria-pressed="true"]')
    show(page, "model")
    page.wait_for_function("location.hash.includes('target=')")
    assert "#model?picture=coffee.png&target=" in page.url
    page.reload()
    wait_for_picture(page, "coffee.png")
    page.wait_for_selector('.predictions button:nth-child(2)[aria-pressed="true"]')
    page.wait_for_selector("#vx-view-model:visible")
    page.evaluate("location.hash = '#explain?picture=rocket.jpg&model=none&target=x'")
    wait_for_picture(page, "rocket.jpg")


def test_no_view_overflows(browser: Browser, address: str) -> None:
    with watched_page(browser, address) as (page, wrong):
        open_explorer(page, address, "compare?beside=picture:coffee.png")
        page.wait_for_selector('.compare-side[data-side="second"] canvas:visible')
        for width, height in ((390, 844), (1280, 720), (1920, 1080)):
            page.set_viewport_size({"width": width, "height": height})
            for tab in tabs_of(page):
                show(page, tab)
                wait_quiet(page)
                assert page.evaluate("document.documentElement.scrollWidth") <= width, tab
        assert wrong == []


SHOWN = """(count) => [...document.querySelectorAll(".header > :not(.model-form)")]
  .filter((one) => one.checkVisibility()).length === count"""


def test_a_phone_has_one_row_of_buttons_beside_the_title(page: Page) -> None:
    for language in ("en", "zh"):
        page.set_viewport_size({"width": 1280, "height": 720})
        page.select_option("#vx-language", language)
        page.locator(
            "#vx-tab-explain", has_text={"en": "Explain", "zh": "解释"}[language]
        ).wait_for()
        wait_idle(page)
        for width in (360, 390):
            page.set_viewport_size({"width": width, "height": 844})
            page.wait_for_function(SHOWN, arg=5)
            middles = page.locator(".header > :not(.model-form):visible").evaluate_all(
                "(all) => all.map((one) => one.getBoundingClientRect())"
                ".map(({ top, bottom }) => Math.round((top + bottom) / 2))"
            )
            assert max(middles) - min(middles) <= 1, (language, width)


DRAW = """async ([rgba, values, how, region]) => {
  const { overlay } = await import(new URL("explorer/static/maps/pixels.js", document.baseURI));
  const base = new ImageData(Uint8ClampedArray.from(rgba), 80, 64);
  const options = { ...how, region: region ?? undefined };
  return [...overlay(base, Float32Array.from(values), [5, 7], options).data];
}"""


def test_overlay_is_the_one_that_render_makes(page: Page) -> None:
    rng = np.random.default_rng(0)
    values = rng.normal(size=(5, 7)).astype(np.float32)
    image = rng.integers(0, 256, (64, 80, 3), dtype=np.uint8)
    rgba = np.dstack([image, np.full(image.shape[:2], 255, np.uint8)])
    boxes = (None, (12.0, 5.0, 70.0, 60.0), (-10.0, -6.0, 90.0, 70.0))
    for smooth, signed, box in itertools.product((True, False), (True, False), boxes):
        limits = (-2.0, 2.0) if signed else (-0.5, 1.5)
        expected = render.overlay(
            Image.fromarray(image),
            values,
            opacity=0.7,
            colormap="viridis",
            smooth=smooth,
            limits=limits,
            signed=signed,
            box=box,
        )
        how = {
            "opacity": 0.7,
            "smooth": smooth,
            "signed": signed,
            "limits": limits,
            "floor": render.FLOOR,
            "table": render.lookup("viridis", signed=signed).ravel().tolist(),
        }
        drawn = page.evaluate(DRAW, [rgba.ravel().tolist(), values.ravel().tolist(), how, box])
        result = np.array(drawn, dtype=int).reshape(64, 80, 4)[..., :3]
        difference = np.abs(result - np.asarray(expected, dtype=int))
        # A value on the edge between two of the 256 colours may round either way.
        assert np.mean(difference > 1) < 0.01
        assert difference.max() <= 6


READ = """async ([url, card, layer, head, query]) => {
  const load = (name) => import(new URL(`explorer/static/${name}.js`, document.baseURI));
  const { Attention } = await load("server/attention_data");
  const asked = { layer, head, query, direction: "from" };
  const whole = new Attention({ url, ...card });
  await whole.load(layer);
  const rows = new Attention({ url, ...card });
  await rows.loadQuery(query);
  return {
    row: [...whole.map(asked)],
    alone: [...rows.map(asked)],
    towards: [...whole.map({ ...asked, direction: "to" })],
  };
}"""


def test_attention_on_the_page_is_the_trace_s(
    page: Page, small_checkpoint: Path, cat: Path
) -> None:
    url = page.get_attribute("#vx-download", "href")
    assert url is not None
    card = {"depth": 4, "heads": 3, "tokens": 65, "prefix": 1}
    shown = page.evaluate(READ, [url.rsplit("/", 1)[0], card, 2, 1, 9])
    attention = vx.trace(vx.load_model(str(small_checkpoint)), cat).attention(2).cpu().numpy()
    expected = attention[1, 9]
    for row in (shown["row"], shown["alone"]):
        np.testing.assert_allclose(row, expected, atol=expected[1:].max() / 500)
        np.testing.assert_allclose(row[0], expected[0], rtol=1e-6)
    np.testing.assert_allclose(shown["towards"], attention[1, :, 9], atol=attention.max() / 500)
