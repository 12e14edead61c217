"""What browser tests and the screenshot script share: a running app, watched pages, fixtures."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any
from weakref import WeakKeyDictionary

import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from vit_explorer.models.vit import VisionTransformer, ViTConfig

if TYPE_CHECKING:
    from playwright.sync_api import Browser, ConsoleMessage, Page, Request

ROOT = Path(__file__).resolve().parents[1]
# The first picture is explained.
READY = '.vx[data-state="ready"][aria-busy="false"]'
# What a browser says of a refusal, at the addresses where tests ask for refusals.
REFUSED = re.compile(
    r"console: Failed to load resource: the server responded with a status of 422 .*"
    r"/explorer/(pictures|pictures/values|uploads/\w+|models|training/orders)(\?\S*)?\)"
)
APP = ("-m", "vit_explorer", "app")
STARTING = 90  # seconds, on a machine that others keep busy
LABELS = ("plane", "car", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")
QUIET = (
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--use-fake-ui-for-media-stream",
    "--use-fake-device-for-media-stream",
)


def find_chromium() -> str | None:
    """Path of an installed Chromium or Chrome; CHROMIUM names another."""
    names = (os.environ.get("CHROMIUM", ""), "chromium", "chromium-browser", "google-chrome")
    return next((path for path in map(shutil.which, names) if path), None)


def write_checkpoint(path: Path, classes: int = len(LABELS), **changes: Any) -> Path:
    """A small ViT with random weights, in the form that `train` writes; `changes` of its config."""
    torch.manual_seed(0)
    sizes = {"image_size": (32, 32), "patch_size": (4, 4), "dim": 48, "depth": 4, "heads": 3}
    config = ViTConfig(**{**sizes, **changes}, classes=classes)
    model = VisionTransformer(config)
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter, std=0.15)
    channels = 3 if config.channels < 3 else config.channels
    return write_weights(
        path,
        model,
        config.to_dict(),
        labels=LABELS[:classes],
        input_size=[3, *config.image_size],
        mean=[0.5] * channels,
        std=[0.25] * channels,
    )


def write_weights(
    path: Path, model: nn.Module, config: dict[str, Any], labels: Sequence[str], **preprocess: Any
) -> Path:
    """A model's weights with all that `train` writes beside them."""
    values: dict[str, Any] = {
        "config": config,
        "labels": labels,
        "preprocess": {
            **preprocess,
            "interpolation": "bicubic",
            "crop_pct": 1.0,
            "crop_mode": "center",
        },
        "recipe": {},
        "metrics": {},
        "training": {},
    }
    metadata = {key: json.dumps(value) for key, value in values.items()}
    save_file(model.state_dict(), path, metadata={"format": "vit-explorer/1", **metadata})
    return path


@contextmanager
def running_app(
    *arguments: str,
    scratch: Path,
    program: Sequence[str] = APP,
    stop: str = "SIGTERM",
    variables: Mapping[str, str] | None = None,
    ready: str = "config",
) -> Iterator[str]:
    """Run the app on a free port until a signal stops it; yields its address.

    `program` is what Python is started with, `variables` more of its environment, `ready` what it
    answers once it can be used.
    """
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    environment = {
        **os.environ,
        "GRADIO_TEMP_DIR": str(scratch / "gradio"),
        "GRADIO_ANALYTICS_ENABLED": "False",
        "NO_PROXY": "127.0.0.1,localhost",
        "HF_HUB_OFFLINE": "1",
        **(variables or {}),
    }
    command = [sys.executable, *program, "--port", str(port), *arguments]
    with (scratch / "app.log").open("w") as log:
        process = subprocess.Popen(command, cwd=ROOT, env=environment, stdout=log, stderr=log)
        try:
            address = f"http://127.0.0.1:{port}/"
            _wait(f"{address}{ready}", process, scratch / "app.log")
            yield address
        finally:
            process.send_signal(getattr(signal, stop))
            process.wait(timeout=20)


def _wait(address: str, process: subprocess.Popen[bytes], log: Path) -> None:
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    deadline = time.monotonic() + STARTING
    while time.monotonic() < deadline:
        if process.poll() is not None:
            break
        try:
            opener.open(address, timeout=5).close()
            return
        except urllib.error.HTTPError as error:
            if error.code == 401:  # it is there, behind its login
                return
            time.sleep(0.2)
        except (urllib.error.URLError, TimeoutError):
            time.sleep(0.2)
    ended = "ended" if process.poll() is not None else f"did not answer within {STARTING} s"
    raise RuntimeError(f"The app {ended}; it said:\n{log.read_text()}")


@contextmanager
def running_browser() -> Iterator[Browser]:
    """Headless Chromium, or a skip that says what is missing."""
    playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    chromium = find_chromium()
    if chromium is None:
        pytest.skip("no Chromium was found: install one, or name it in CHROMIUM")
    with playwright.sync_playwright() as started:
        browser = started.chromium.launch(executable_path=chromium, args=list(QUIET))
        yield browser
        browser.close()


@contextmanager
def watched_page(
    browser: Browser, address: str, **options: Any
) -> Iterator[tuple[Page, list[str]]]:
    """A page, and the list of what went wrong on it: errors, and requests to other machines."""
    settings = {"viewport": {"width": 1280, "height": 720}, "locale": "en-GB", **options}
    context = browser.new_context(**settings)
    page = context.new_page()
    wrong: list[str] = []

    def outside(url: str) -> None:
        if not url.startswith((address, "data:", "blob:")):
            wrong.append(f"request to {url}")

    def told(line: ConsoleMessage) -> None:
        if line.type == "error":
            wrong.append(f"console: {line.text} ({line.location['url']})")

    page.on("pageerror", lambda error: wrong.append(f"page error: {error}"))
    page.on("console", told)
    page.on("request", lambda request: outside(request.url))
    _traffic[page] = Traffic(page)
    try:
        yield page, wrong
    finally:
        context.close()


class Traffic:
    """The requests that a page has under way, and when the last began or ended."""

    def __init__(self, page: Page) -> None:
        self.under_way: set[Request] = set()
        self.last = time.monotonic()
        page.on("request", self._begin)
        page.on("requestfinished", self._end)
        page.on("requestfailed", self._end)

    def _begin(self, request: Request) -> None:
        if request.is_navigation_request():
            self.under_way.clear()  # a document that is left may tell no ends
        if "heartbeat" not in request.url:
            self.under_way.add(request)
            self.last = time.monotonic()

    def _end(self, request: Request) -> None:
        if request in self.under_way:
            self.under_way.remove(request)
            self.last = time.monotonic()


_traffic: WeakKeyDictionary[Page, Traffic] = WeakKeyDictionary()


def wait_quiet(page: Page, still: float = 0.5) -> None:
    """Wait until a page has asked nothing and awaited nothing for `still` seconds.

    Playwright tells "networkidle" once a document: asked later it returns at once.
    """
    traffic, start = _traffic[page], time.monotonic()
    while traffic.under_way or time.monotonic() - max(start, traffic.last) < still:
        page.wait_for_timeout(50)
        waiting = sorted(request.url for request in traffic.under_way)
        assert time.monotonic() - start < 60, f"no quiet for a minute, waiting for {waiting}"
    settle(page)


def open_explorer(page: Page, address: str, tab: str = "explain") -> None:
    """Open the page and wait until the first picture is explained."""
    page.goto(f"{address}#{tab}")
    page.wait_for_selector(READY, timeout=30_000)


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    with running_browser() as started:
        yield started


@pytest.fixture(scope="session")
def small_checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_checkpoint(tmp_path_factory.mktemp("checkpoint") / "small.safetensors")


@pytest.fixture(scope="session")
def address(
    browser: Browser, small_checkpoint: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[str]:
    """The address of an app with a small model, one for all tests; needs a browser."""
    scratch = tmp_path_factory.mktemp("app")
    with running_app("--model", str(small_checkpoint), scratch=scratch) as started:
        yield started


@pytest.fixture
def page(browser: Browser, address: str) -> Iterator[Page]:
    """A page that shows the first explanation; whatever goes wrong on it fails the test."""
    with watched_page(browser, address) as (opened, wrong):
        open_explorer(opened, address)
        yield opened
        assert unexpected(wrong) == []


@pytest.fixture
def silent(page: Page) -> Callable[[], list[str]]:
    """A function that returns the requests made since the page was ready."""
    wait_quiet(page, 1.0)
    made: list[str] = []
    page.on("request", lambda request: made.append(request.url))
    return lambda: [url for url in made if "heartbeat" not in url]


def unexpected(wrong: list[str]) -> list[str]:
    """What went wrong, without the refusals a test asked for."""
    return [line for line in wrong if not REFUSED.fullmatch(line)]


def settle(page: Page) -> None:
    """Let the frame in which a change is drawn pass."""
    page.evaluate("new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)))")


def show(page: Page, tab: str) -> None:
    page.click(f"#vx-tab-{tab}")
    page.wait_for_selector(f"#vx-view-{tab}:visible")
    settle(page)


def said(page: Page, view: str = "#vx-view-attention") -> str:
    """What a view says of its numbers, once they are here."""
    says = page.locator(f"{view} .says", has_text="%").first
    says.wait_for()
    return says.inner_text()


def pixels(page: Page, selector: str) -> str:
    """What a canvas shows."""
    settle(page)
    return str(page.locator(selector).first.evaluate("(canvas) => canvas.toDataURL()"))


def tabs_of(page: Page) -> list[str]:
    """The names of all views, as `show` takes them."""
    ids = page.locator(".tabs [role=tab]").evaluate_all("(tabs) => tabs.map(({ id }) => id)")
    return [name.removeprefix("vx-tab-") for name in ids]


def wait_idle(page: Page) -> None:
    page.wait_for_selector('.vx[aria-busy="false"]')
    settle(page)


def wait_for_picture(page: Page, words: str) -> None:
    page.locator(".sidebar-picture .note", has_text=words).wait_for()
    wait_idle(page)


def has_command(page: Page, figure: str) -> bool:
    """Whether a figure's menu offers a command, once the server has said so."""
    page.locator(f"{figure} .figure-button").first.click()
    page.wait_for_selector(".figure-menu:popover-open:not([aria-busy])")
    offered = page.locator('.figure-menu:popover-open [data-save="command"]').is_visible()
    page.keyboard.press("Escape")
    return offered


def choose_entry(page: Page, figure: str, entry: str) -> None:
    """Choose an entry of a figure's menu."""
    page.locator(f"{figure} .figure-button").first.click()
    page.locator(f'.figure-menu:popover-open [data-save="{entry}"]').click()


def saved(page: Page, figure: str, entry: str) -> tuple[str, bytes]:
    """The name and content of a file that a figure's menu saves."""
    with page.expect_download() as caught:
        choose_entry(page, figure, entry)
    return caught.value.suggested_filename, Path(caught.value.path()).read_bytes()


def copied(page: Page, figure: str, entry: str) -> str:
    """What a figure's menu copies."""
    empty_clipboard(page)
    choose_entry(page, figure, entry)
    page.locator(".told", has_text="Copied").wait_for()
    return clipboard(page)


def empty_clipboard(page: Page) -> None:
    page.context.grant_permissions(["clipboard-read", "clipboard-write"])
    page.evaluate("navigator.clipboard.writeText('')")


def clipboard(page: Page) -> str:
    """What was copied since it was emptied, once there is something."""
    return str(wait_for_promise(page, "navigator.clipboard.readText()"))


def wait_for_promise(page: Page, promise: str) -> Any:
    """What a promise, made anew until then, gives that is true.

    `wait_for_function` takes the promise itself for a true answer.
    """
    deadline = time.monotonic() + 30
    while not (answer := page.evaluate(promise)):
        assert time.monotonic() < deadline, f"{promise} gave {answer!r} for 30 s"
        page.wait_for_timeout(20)
    return answer
