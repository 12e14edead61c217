"""In a real browser another site's page gets nothing in, and a login lets its visitor in."""

from __future__ import annotations

import http.server
import re
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.browser import READY, running_app, watched_page

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

pytestmark = pytest.mark.browser

WRITING = (
    "explorer/pictures?name=x.png",
    "gradio_api/upload",
    "explorer/uploads/labels?name=n.txt",
)


class Elsewhere(http.server.BaseHTTPRequestHandler):
    """Another site: an empty page at every address."""

    def do_GET(self) -> None:
        self.send_response(200)
        self.send_header("Content-Type", "text/html")
        self.end_headers()
        self.wfile.write(b"<!doctype html><title>elsewhere</title>")

    def log_message(self, *_: object) -> None:
        """Say nothing."""


@pytest.fixture(scope="module")
def elsewhere() -> Iterator[str]:
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Elsewhere)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}/"
    server.shutdown()
    server.server_close()


def sent_by(page: Page, url: str, how: str) -> int:
    """The status of what the page at hand sends to an address, in a way that needs no leave."""
    scripts = {
        "fetch": "url => { fetch(url, {method: 'POST', mode: 'no-cors', body: 'abc'}) }",
        "beacon": "url => { navigator.sendBeacon(url, 'abc') }",
        "form": """url => {
            const form = document.createElement('form');
            Object.assign(form, {action: url, method: 'post', enctype: 'multipart/form-data'});
            document.body.append(form);
            form.submit();
        }""",
    }
    with page.expect_response(url) as answered:
        page.evaluate(scripts[how], url)
    if how == "form":
        page.wait_for_url(url)
    return answered.value.status


def test_another_site_s_page_gets_nothing_in(
    browser: Browser, address: str, elsewhere: str
) -> None:
    """Also one on the same machine: its port makes it another origin."""
    page = browser.new_page()
    for url in (f"{address}{path}" for path in WRITING):
        for how in ("fetch", "beacon", "form"):
            page.goto(elsewhere)
            assert sent_by(page, url, how) == 403, (url, how)
    # The page itself is let in, and told which type it should have sent.
    page.goto(f"{address}manifest.json")
    assert sent_by(page, f"{address}{WRITING[2]}", "fetch") == 415
    page.close()


def test_who_has_the_link_or_types_its_token_sees_the_whole_page(
    browser: Browser, small_checkpoint: Path, tmp_path: Path
) -> None:
    options = ("--host", "0.0.0.0", "--model", str(small_checkpoint))
    with running_app(*options, scratch=tmp_path) as address:
        found = re.search(r"\?token=([\w-]+)", (tmp_path / "app.log").read_text())
        assert found
        with watched_page(browser, address) as (page, wrong):
            page.goto(f"{address}?token={found[1]}")
            page.wait_for_selector(READY)
            assert "token" not in page.url
            assert wrong == []
        with watched_page(browser, address) as (page, wrong):
            page.goto(address)
            page.fill("[name=token]", "no such token")
            page.keyboard.press("Enter")
            page.wait_for_selector("[name=token]")
            page.fill("[name=token]", found[1])
            page.keyboard.press("Enter")
            page.wait_for_selector(READY)
            assert all("401 (Unauthorized)" in line for line in wrong)
