"""The page's frame: what it saves and copies, links, uploads, the offline state, its speed."""

from __future__ import annotations

import io
import json
import os
import re
import shlex
import statistics
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from fastapi.testclient import TestClient
from PIL import Image

import vit_explorer as vx
from tests.asking import lines_of
from tests.browser import (
    LABELS,
    READY,
    ROOT,
    copied,
    has_command,
    open_explorer,
    said,
    saved,
    settle,
    show,
    unexpected,
    wait_for_picture,
    wait_for_promise,
    wait_idle,
    wait_quiet,
    watched_page,
)
from vit_explorer.errors import ModelError, OptionError
from vit_explorer.page import Workbench, build_app
from vit_explorer.page.gradio_api import check_mcp
from vit_explorer.page.routes import jobs
from vit_explorer.page.state.uploads import MAX_BYTES
from vit_explorer.stopping import Stopped

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

BYTES = {"content-type": "application/octet-stream"}
ATTENTION = "#vx-view-attention .stage canvas"


CARD = '.card[data-method="rollout"]'


@pytest.mark.browser
def test_a_map_is_saved_with_its_caption_and_its_numbers(
    page: Page, small_checkpoint: Path, cat: Path
) -> None:
    name, svg = saved(page, CARD, "svg")
    assert name == "cat-rollout.svg"
    text = svg.decode()
    for part in (
        "Attention rollout",
        "small",
        "cat.png",
        f"ViT Explorer {vx.__version__}",
    ):
        assert part in text
    assert "class " not in text  # rollout is the same for every class
    _, svg = saved(page, '.card[data-method="generic_attention"]', "svg")
    assert "class " in svg.decode()
    name, png = saved(page, CARD, "png")
    image = Image.open(io.BytesIO(png)).convert("RGB")
    assert name == "cat-rollout.png"
    assert image.width == 2 * 832
    assert np.asarray(image)[200:1400, 200:1400].std() > 10
    name, csv = saved(page, CARD, "csv")
    rows = np.genfromtxt(io.BytesIO(csv), delimiter=",", names=True)
    model = vx.load_model(str(small_checkpoint))
    expected = vx.explain(model, cat, methods=("rollout",)).heatmaps["rollout"].values
    np.testing.assert_allclose(rows["rollout"].reshape(8, 8), expected, rtol=1e-5)
    assert (rows["row"][9], rows["column"][9]) == (2, 2)
    name, npz = saved(page, CARD, "npz")
    assert name == "cat-rollout.npz"
    with np.load(io.BytesIO(npz)) as arrays:
        np.testing.assert_allclose(arrays["rollout"], expected, rtol=1e-5)


@pytest.fixture
def place(small_checkpoint: Path, tmp_path: Path) -> Path:
    """A folder in which copied code finds the model and the example it names."""
    (tmp_path / "assets").symlink_to(ROOT / "assets")
    (tmp_path / small_checkpoint.name).symlink_to(small_checkpoint)
    return tmp_path


def run(words: list[str], place: Path) -> None:
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        [sys.executable, *words],
        check=False,
        cwd=place,
        env=environment,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr


def shown_map(page: Page, figure: str, column: str) -> np.ndarray:
    """The map (8, 8) that a figure shows, from the column of its CSV that holds it."""
    _, csv = saved(page, figure, "csv")
    return np.genfromtxt(io.BytesIO(csv), delimiter=",", names=True)[column].reshape(8, 8)


def run_python(code: str, place: Path) -> np.ndarray:
    (place / "copied.py").write_text(f"{code}\nimport numpy\nnumpy.save('values.npy', values)\n")
    run(["copied.py"], place)
    return np.load(place / "values.npy")


@pytest.mark.browser
def test_copied_code_makes_the_map_that_is_shown(page: Page, place: Path) -> None:
    page.locator(".predictions button").nth(1).click()
    page.wait_for_selector('.predictions button:nth-child(2)[aria-pressed="true"]')
    wait_idle(page)
    figure = '.card[data-method="generic_attention"]'
    shown = shown_map(page, figure, "generic_attention")
    # Cells next to 0 are differences of larger numbers.
    near = {"rtol": 1e-4, "atol": 1e-5 * shown.max()}
    np.testing.assert_allclose(run_python(copied(page, figure, "python"), place), shown, **near)
    words = shlex.split(copied(page, figure, "command"))
    assert words[:2] == ["vit-explorer", "explain"]
    run(["-m", "vit_explorer", *words[1:]], place)
    with np.load(place / "out/cat/heatmaps.npz") as maps:
        np.testing.assert_allclose(maps["generic_attention"], shown, **near)


@pytest.mark.browser
def test_copied_code_makes_the_attention_and_positions_that_are_shown(
    page: Page, place: Path
) -> None:
    show(page, "attention")
    page.locator('.segmented [data-value="max"]').first.click()
    words = shlex.split(copied(page, "#vx-view-attention", "command"))
    run(["-m", "vit_explorer", *words[1:]], place)
    shown = shown_map(page, "#vx-view-attention", "attention")
    with np.load(place / "out/cat/heatmaps.npz") as maps:
        np.testing.assert_allclose(maps["attention"], shown, rtol=1e-4)
    page.focus(ATTENTION)
    page.keyboard.press("ArrowRight")
    page.keyboard.press("PageUp")
    settle(page)
    shown = shown_map(page, "#vx-view-attention", "attention")
    made = run_python(copied(page, "#vx-view-attention", "python"), place)
    np.testing.assert_allclose(made, shown, rtol=1e-4)
    assert not has_command(page, "#vx-view-attention")


STAYING = """async () => {
  const { replace } = await import(new URL("explorer/static/base/dom.js", document.baseURI));
  const [box, menu, last] = ["div", "p", "b"].map((tag) => document.createElement(tag));
  menu.popover = "auto";
  document.body.append(box);
  replace(box, "before", menu);
  menu.showPopover();
  replace(box, [last, "between"], menu, null, "after");
  const open = menu.matches(":popover-open");
  replace(box, menu, last);
  const told = [open, [...box.childNodes].map(({ nodeName }) => nodeName)];
  box.remove();
  return told;
}"""


@pytest.mark.browser
def test_a_menu_stays_open_when_something_comes_beside_it(page: Page) -> None:
    assert page.evaluate(STAYING) == [True, ["P", "B"]]


@pytest.mark.browser
def test_a_copied_link_shows_the_same_elsewhere(browser: Browser, page: Page, address: str) -> None:
    page.context.grant_permissions(["clipboard-read", "clipboard-write"])
    page.get_by_role("button", name="Explain coffee.png").click()
    wait_for_picture(page, "coffee.png")
    show(page, "attention")
    page.focus(ATTENTION)
    for key in ("ArrowRight", "ArrowUp", "PageUp"):
        page.keyboard.press(key)
    page.locator('#vx-view-attention .segmented [data-value="1"]').first.click()
    settle(page)
    says = said(page)
    page.click("#vx-link")
    page.locator(".told", has_text="link is copied").wait_for()
    link = str(page.evaluate("navigator.clipboard.readText()"))
    assert link.startswith(f"{address}#attention?picture=coffee.png")
    with watched_page(browser, address) as (other, wrong):
        other.goto(link)
        wait_idle(other)
        other.locator("#vx-view-attention .says", has_text=says).wait_for()
        assert other.inner_text("#vx-view-attention output >> nth=0") == "3/4"
        other.goto("about:blank")
        other.goto(f"{address}#attention?layer=99&head=x&patch=9,9&direction=up")
        wait_idle(other)
        assert other.inner_text("#vx-view-attention output >> nth=0") == "4/4"
        assert unexpected(wrong) == []


@pytest.mark.browser
def test_a_checkpoint_and_labels_are_loaded_by_upload(
    page: Page, small_checkpoint: Path, tmp_path: Path
) -> None:
    labels = tmp_path / "names.txt"
    labels.write_text("\n".join(f"thing {index}" for index in range(10)))
    page.click("#vx-load-file")
    page.set_input_files("#vx-labels", labels)
    page.get_by_role("dialog").get_by_role("button", name="Load").click()
    page.locator(".predictions .label", has_text="thing").first.wait_for()
    wait_idle(page)

    broken = tmp_path / "broken.safetensors"
    broken.write_bytes(b"no weights")
    page.click("#vx-load-file")
    page.set_input_files("#vx-weights", broken)
    page.get_by_role("dialog").get_by_role("button", name="Load").click()
    page.locator(".load-form .wrong", has_text="broken.safetensors").wait_for()
    assert str(tmp_path) not in page.inner_text(".load-form .wrong")
    page.set_input_files("#vx-weights", small_checkpoint)
    page.get_by_role("dialog").get_by_role("button", name="Load").click()
    page.wait_for_function("document.querySelector('#vx-model').value === 'file:small.safetensors'")
    wait_idle(page)
    assert page.locator(".predictions .label").first.inner_text() in LABELS


def test_uploads_are_bounded_and_never_a_path(client: TestClient, small_checkpoint: Path) -> None:
    def send(kind: str, name: str, content: bytes, **options: Any) -> Any:
        asked = {"params": {"name": name}, "content": content, "headers": BYTES, **options}
        return client.post(f"/explorer/uploads/{kind}", **asked)

    assert send("weights", "run.py", b"x").status_code == 422
    assert send("other", "a.txt", b"x").status_code == 422
    assert send("labels", "a.txt", b"x" * (MAX_BYTES["labels"] + 1)).status_code == 422
    assert send("labels", "a.txt", b"x", headers={"content-type": "text/plain"}).status_code == 415
    key = send("weights", "../../etc/a b.safetensors", small_checkpoint.read_bytes()).json()[
        "upload"
    ]
    for order in (
        {"weights": "../../etc/passwd"},
        {"labels": key},
        {},
        {"weights": key, "architecture": "local-dir:/tmp"},
    ):
        (refused,) = lines_of(client, "models", order)
        assert refused["error"]["text"].endswith(".")
    name = lines_of(client, "models", {"weights": key})[-1]["model"]
    assert name == "file:a b.safetensors"


def test_a_model_of_files_is_explained(client: TestClient, workbench: Workbench) -> None:
    sent = client.post(
        "/explorer/uploads/labels", params={"name": "n.json"}, content=b'["a","b","c","d","e"]',
        headers=BYTES,
    )  # fmt: skip
    order = {"architecture": workbench.start_name, "labels": sent.json()["upload"]}
    name = lines_of(client, "models", order)[-1]["model"]
    result = workbench.analyse("cat.png", name, None)
    assert {each.label for each in result.explanation.predictions} == set("abcde")
    assert workbench.analyse("cat.png", workbench.start_name, None).model.labels != ("a",)
    memory = client.get("/explorer/memory").json()
    assert memory["process"] > memory["kept"] > 10_000


def test_a_stopped_loading_frees_its_place(
    workbench: Workbench, monkeypatch: pytest.MonkeyPatch
) -> None:
    import threading

    release = threading.Event()
    monkeypatch.setattr(jobs, "NEWS_EVERY", 0.01)
    monkeypatch.setattr(workbench, "is_loaded", lambda _: False)

    def slow(_: str) -> vx.LoadedModel:
        release.wait(10)
        raise ModelError("never")

    told: list[dict[str, Any]] = []

    def tell(line: dict[str, Any]) -> None:
        if len(told) == 2:
            raise Stopped
        told.append(line)

    monkeypatch.setattr(workbench, "model", slow)
    with pytest.raises(Stopped):
        jobs.tell_explanation(workbench, jobs.ExplanationAsked(model="vit"), tell)
    assert told == [{"loading": "vit", "seconds": 0}] * 2
    release.set()


def test_a_figure_s_file_has_what_it_shows_and_of_what(
    client: TestClient, workbench: Workbench
) -> None:
    result = workbench.analyse("cat.png", workbench.start_name, None)
    trace, card = result.explanation.trace, result.model.card
    rows, columns = card.grid
    shown = trace.attention(1)[1, 0, card.prefix_tokens :].numpy()
    cells = [[at // columns + 1, at % columns + 1, float(v)] for at, v in enumerate(shown)]
    asked: dict[str, Any] = {
        "figure": "attention", "title": "Attention", "shows": "Layer 2, head 2", "targeted": True,
        "columns": ["row", "column", "attention"], "rows": cells, "grid": [rows, columns],
        "whole": "attention/1",
    }  # fmt: skip
    address = f"/explorer/results/{result.key}/figure.npz"
    with np.load(io.BytesIO(client.post(address, json=asked).content)) as arrays:
        assert arrays["attention"].dtype == np.float32
        np.testing.assert_array_equal(arrays["attention"], shown.reshape(rows, columns))
        np.testing.assert_array_equal(arrays["attention_of_all_heads"], trace.attention(1))
        told = json.loads(str(arrays["metadata"]))
    assert told["shows"] == "Layer 2, head 2" and told["figure"] == "attention"
    assert told["picture"]["sha256"] == result.picture.sha256
    assert told["weights_sha256"] == result.model.sha256
    assert told["target"]["label"] == result.explanation.predictions[0].label
    assert told["versions"]["vit-explorer"] == vx.__version__
    for wrong in (
        {"whole": "attention/9"}, {"whole": "attention/x"}, {"whole": "nothing"},
        {"whole": "positions/1"}, {"grid": [rows, columns + 1]},
        {"rows": [[1, 1, "high"]], "grid": [1, 1]},
    ):  # fmt: skip
        refused = client.post(address, json={**asked, **wrong})
        assert refused.status_code in (404, 422)
        assert refused.json()["error"]["text"].endswith(".")


def test_the_attention_endpoint_gives_the_trace_s_row(address: str, small_checkpoint: Path) -> None:
    gradio_client = pytest.importorskip("gradio_client")
    client = gradio_client.Client(address, verbose=False)
    answer = client.predict("cat.png", 2, "1", "2,3", api_name="/attention")
    model = vx.load_model(str(small_checkpoint))
    row = vx.trace(model, ROOT / "assets/cat.png").attention(2)[1, 1 + 8 + 2]
    np.testing.assert_allclose(np.ravel(answer["patches"]), row[1:], atol=1e-6)
    assert answer["prefix"] == {"class": pytest.approx(float(row[0]), abs=1e-6)}
    for bad in (("cat.png", 9), ("cat.png", 0, "7"), ("cat.png", 0, "0", "9,1"), ("no.png",)):
        with pytest.raises(gradio_client.exceptions.AppError):
            client.predict(*bad, api_name="/attention")


def test_mcp_without_its_package_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("vit_explorer.page.gradio_api.find_spec", lambda _: None)
    with pytest.raises(OptionError, match=r"vit-explorer\[mcp\]"):
        check_mcp()


def test_mcp_offers_the_three_endpoints(workbench: Workbench) -> None:
    pytest.importorskip("mcp", reason="the extra vit-explorer[mcp] is not installed")
    with TestClient(build_app(workbench, mcp=True), base_url="http://localhost") as started:
        schema = started.get("/gradio_api/mcp/schema").json()
    assert {tool["name"].removeprefix("ViT_Explorer_") for tool in schema} == {
        "explain",
        "attention",
        "models",
    }


def test_the_page_can_be_installed(client: TestClient) -> None:
    manifest = client.get("/manifest.json").json()
    for icon in manifest["icons"]:
        answer = client.get(f"/{icon['src']}")
        assert answer.headers["content-type"] == icon["type"]
        if icon["type"] == "image/png":
            side = int(icon["sizes"].partition("x")[0])
            assert Image.open(io.BytesIO(answer.content)).size == (side, side)
    worker = client.get("/worker.js")
    assert worker.headers["cache-control"] == "no-cache"
    files = json.loads(worker.text.partition("const FILES = ")[2].partition(";\n")[0])
    (lost,) = re.findall('const LOST = "(.+)";', worker.text)
    assert {lost, "explorer/static/lang/zh.json"} <= set(files)
    assert all(client.get(f"/{file}").status_code == 200 for file in files)


@pytest.mark.browser
def test_without_its_server_the_page_says_so(browser: Browser, address: str) -> None:
    with watched_page(browser, address, locale="zh-CN") as (page, _):
        open_explorer(page, address)
        page.evaluate("navigator.serviceWorker.ready")
        wait_for_promise(page, "caches.keys().then((names) => names.length === 1)")
        page.context.set_offline(True)
        page.reload()
        page.locator("h2", has_text="无法连接到服务器").wait_for()
        assert page.evaluate("getComputedStyle(document.body.firstElementChild).display") == "flex"
        page.context.set_offline(False)
        page.wait_for_selector(READY, timeout=30_000)


CHANGE = """async ([changes, rounds]) => {
  const frame = () => new Promise((done) => requestAnimationFrame(() => done()));
  const times = {};
  for (const [name, act] of Object.entries(changes)) {
    times[name] = [];
    for (let round = 0; round < rounds; round += 1) {
      const start = performance.now();
      new Function("round", act)(round);
      let spent = performance.now() - start;
      // What the change is drawn by runs in the next frame, before this callback of the one after.
      const before = window.vxSpent;
      await frame();
      await frame();
      spent += window.vxSpent - before;
      times[name].push(spent);
    }
  }
  return times;
}"""
# Script time of all animation frames, which is where the page draws.
METER = """() => {
  window.vxSpent = 0;
  const ask = window.requestAnimationFrame.bind(window);
  window.requestAnimationFrame = (act) => ask((time) => {
    const start = performance.now();
    act(time);
    window.vxSpent += performance.now() - start;
  });
}"""


@pytest.mark.browser
def test_changes_on_the_canvas_take_less_than_a_frame(
    page: Page, silent: Callable[[], list[str]]
) -> None:
    show(page, "attention")
    wait_quiet(page)
    asked = len(silent())
    page.evaluate(METER)
    slide = "const input = document.querySelector('{0}'); input.value = {1};"
    slide += "input.dispatchEvent(new Event('input', {{ bubbles: true }}));"
    press = "document.querySelector('#vx-view-attention .stage canvas')"
    changes = {
        "layer": slide.format("#vx-layer", "1 + round % 4"),
        "head": "document.querySelectorAll('#vx-view-attention .heads button')[round % 5].click();",
        "patch": f"{press}.dispatchEvent(new KeyboardEvent('keydown', "
        "{ key: round % 2 ? 'ArrowLeft' : 'ArrowRight', bubbles: true }));",
        "opacity": slide.format("#vx-opacity", "0.3 + 0.05 * (round % 10)"),
    }
    times = page.evaluate(CHANGE, [changes, 20])
    # The lower quartile: what else the machine does comes in bursts.
    usual = {name: statistics.quantiles(each)[0] for name, each in times.items()}
    print("script milliseconds a change:", {name: round(ms, 1) for name, ms in usual.items()})
    # The target is 16 ms on a machine of its own; a shared one gets slack.
    assert all(0 < ms < 64 for ms in usual.values()), usual
    assert silent()[asked:] == []


SHIFTS = """() => {
  window.vxShift = 0;
  new PerformanceObserver((list) => {
    for (const entry of list.getEntries()) if (!entry.hadRecentInput) window.vxShift += entry.value;
  }).observe({ type: "layout-shift", buffered: true });
}"""


@pytest.mark.browser
@pytest.mark.parametrize("size", [(1280, 720), (390, 844)])
def test_nothing_jumps_when_results_arrive(
    browser: Browser, address: str, size: tuple[int, int]
) -> None:
    viewport = {"width": size[0], "height": size[1]}
    with watched_page(browser, address, viewport=viewport) as (page, wrong):
        page.add_init_script(f"({SHIFTS})()")
        open_explorer(page, address)
        wait_quiet(page)
        first = page.evaluate("window.vxShift")
        page.evaluate("window.vxShift = 0")
        # Not by a click: shifts soon after one are not counted.
        page.evaluate("location.hash = '#explain?picture=coffee.png'")
        wait_for_picture(page, "coffee.png")
        wait_quiet(page)
        print(
            "cumulative layout shift:", round(first, 4), round(page.evaluate("window.vxShift"), 4)
        )
        assert first < 0.05
        assert page.evaluate("window.vxShift") < 0.05
        assert unexpected(wrong) == []


@pytest.mark.browser
def test_the_first_page_is_there_soon(browser: Browser, address: str) -> None:
    seconds = []
    for _ in range(3):
        with watched_page(browser, address) as (page, _wrong):
            open_explorer(page, address)
            seconds.append(page.evaluate("performance.now()") / 1000)
    print("first page after seconds:", [round(each, 2) for each in seconds])
    # The target is 3 s on two cores of its own.
    assert min(seconds) < 10


def test_refusals_are_told_apart_from_faults() -> None:
    said = "console: Failed to load resource: the server responded with a status of "
    asked = ("pictures?name=a%20b", "uploads/weights?name=x", "models", "training/orders")
    words = f"{said}422 (Unprocessable Entity) (http://127.0.0.1:1/explorer/"
    assert unexpected([f"{words}{path})" for path in asked]) == []
    faults = [
        "page error: x",
        f"{words}results/0a/change)",
        f"{words}results/0a/models/1)",
        f"{said}500 (Internal Server Error) (http://127.0.0.1:1/explorer/models)",
        "console: models",
    ]
    assert unexpected(faults) == faults
