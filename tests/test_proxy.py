"""The page behind a proxy: nginx as its packages set it up, and what other proxies send."""

from __future__ import annotations

import json
import re
import shutil
import socket
import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from fastapi.testclient import TestClient
from PIL import Image

from tests.browser import (
    open_explorer,
    wait_for_picture,
    wait_for_promise,
    wait_quiet,
    watched_page,
)
from tests.loops import in_a_loop
from vit_explorer.errors import OptionError
from vit_explorer.page import Workbench, build_app
from vit_explorer.page.front import at_any_address
from vit_explorer.page.preload import FIRST, needed_modules
from vit_explorer.page.proxy import as_visited, check_root_path, path_below
from vit_explorer.page.state import streamed_job
from vit_explorer.page.static_files import static_folder

if TYPE_CHECKING:
    from playwright.sync_api import Browser

# nginx reads an answer's headers into one memory page.
NGINX_HEADERS = 4096
# `location /plain/` is what people write first; /bare/ tells the server nothing, not even by which
# name it was asked; /tight/ takes bodies up to a limit.
CONF = """
daemon off;
master_process off;
pid {folder}/nginx.pid;
error_log stderr;
events {{ worker_connections 64; }}
http {{
  access_log off;
  client_body_temp_path {folder}/body;
  proxy_temp_path {folder}/proxy;
  fastcgi_temp_path {folder}/fastcgi;
  uwsgi_temp_path {folder}/uwsgi;
  scgi_temp_path {folder}/scgi;
  server {{
    listen 127.0.0.1:{port};
    location / {{ proxy_pass {app}; proxy_set_header Host $http_host; }}
    location /plain/ {{
      proxy_pass {app}/;
      proxy_set_header Host $http_host;
      proxy_set_header X-Forwarded-Host $http_host;
      proxy_set_header X-Forwarded-Proto $scheme;
      proxy_set_header X-Forwarded-Prefix /plain;
    }}
    location /bare/ {{ proxy_pass {app}/; }}
    location /tight/ {{ proxy_pass {app}/; client_max_body_size 10k; }}
  }}
}}
"""


@contextmanager
def running_nginx(app: str, folder: Path) -> Iterator[str]:
    """nginx before an app, until the end; yields its address, or skips where there is none."""
    program = shutil.which("nginx", path="/usr/sbin:/usr/local/sbin:/usr/bin:/usr/local/bin")
    if program is None:
        pytest.skip("nginx is not installed: apt-get install nginx")
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    conf = folder / "nginx.conf"
    conf.write_text(CONF.format(folder=folder, port=port, app=app.rstrip("/")))
    said = folder / "nginx.log"
    with said.open("w") as log:
        process = subprocess.Popen(
            [program, "-p", str(folder), "-c", str(conf)], stdout=log, stderr=log
        )
        try:
            for _ in range(100):
                assert process.poll() is None, said.read_text()
                with socket.socket() as asker:
                    if asker.connect_ex(("127.0.0.1", port)) == 0:
                        break
                time.sleep(0.05)
            yield f"http://127.0.0.1:{port}/"
        finally:
            process.terminate()
            process.wait(timeout=20)


@pytest.fixture(scope="module")
def nginx(address: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with running_nginx(address, tmp_path_factory.mktemp("nginx")) as started:
        yield started


@pytest.mark.browser
@pytest.mark.parametrize("place", ["", "plain/", "bare/"])
def test_the_page_is_whole_behind_nginx(
    browser: Browser, nginx: str, place: str, tmp_path: Path
) -> None:
    noise = np.random.default_rng(1).integers(0, 255, (40, 40, 3), dtype=np.uint8)
    Image.fromarray(noise).save(tmp_path / "noise.png")
    address = f"{nginx}{place}"
    answers: list[tuple[int, str]] = []
    with watched_page(browser, address) as (page, wrong):
        page.on("response", lambda answer: answers.append((answer.status, answer.url)))
        open_explorer(page, address)
        wait_quiet(page)
        page.set_input_files('.sidebar input[type="file"]', tmp_path / "noise.png")
        wait_for_picture(page, "noise.png")
        scope = page.evaluate("navigator.serviceWorker.ready.then(({ scope }) => scope)")
        wait_for_promise(page, "caches.keys().then((names) => names.length === 1)")
        manifest = page.evaluate(
            "fetch(document.querySelector('link[rel=manifest]').href).then((a) => a.json())"
        )
        config = page.evaluate("window.gradio_config.root")
        assert wrong == []
    assert scope == address
    assert manifest["start_url"] == "./"
    assert config == address.rstrip("/")
    assert [answer for answer in answers if answer[0] >= 400] == []
    # Gradio asks its own server too, and at the same place.
    assert all(url.startswith((address, "blob:", "data:")) for _, url in answers)


@pytest.mark.browser
def test_what_a_proxy_cuts_off_is_said(browser: Browser, nginx: str, tmp_path: Path) -> None:
    noise = np.random.default_rng(2).integers(0, 255, (200, 200, 3), dtype=np.uint8)
    Image.fromarray(noise).save(tmp_path / "large.png")
    with watched_page(browser, f"{nginx}tight/") as (page, _):
        open_explorer(page, f"{nginx}tight/")
        page.set_input_files('.sidebar input[type="file"]', tmp_path / "large.png")
        page.get_by_text("client_max_body_size").first.wait_for()


@pytest.mark.browser
@pytest.mark.parametrize("place", ["", "plain/"])
def test_programs_are_answered_behind_nginx(nginx: str, place: str) -> None:
    gradio_client = pytest.importorskip("gradio_client")
    client = gradio_client.Client(f"{nginx}{place}", verbose=False)
    answer = client.predict("cat.png", ["rollout"], "", "", api_name="/explain")
    assert np.shape(answer["heatmaps"]["rollout"]) == (8, 8)
    path = Path(__file__).resolve().parents[1] / "assets/cat.png"
    sent = client.predict(gradio_client.handle_file(path), [], "", "", api_name="/explain")
    assert sent["predictions"] == answer["predictions"]


@pytest.mark.parametrize(
    ("root_path", "sent", "path", "expected", "below"),
    [
        ("", {}, "/explorer/setup", "/explorer/setup", "/explorer/setup"),
        ("", {"x-forwarded-prefix": "/plain"}, "/", "/plain/", "/"),
        ("", {"x-forwarded-prefix": "/plain/"}, "/a", "/plain/a", "/a"),
        ("", {"x-forwarded-prefix": "/outer, /inner"}, "/a", "/outer/a", "/a"),
        # Who sends the prefix has taken it off, whatever follows looks like.
        ("", {"x-forwarded-prefix": "/explorer"}, "/explorer/setup", "/explorer" * 2 + "/setup", 0),
        # No path, or one that leads elsewhere.
        ("", {"x-forwarded-prefix": "//evil.example"}, "/a", "/a", "/a"),
        ("", {"x-forwarded-prefix": "/a/../b"}, "/a", "/a", "/a"),
        ("", {"x-forwarded-prefix": "evil"}, "/a", "/a", "/a"),
        ("", {"x-forwarded-prefix": "/<script>"}, "/a", "/a", "/a"),
        # A prefix that was set may have been taken off, or not.
        ("/vit", {}, "/a", "/vit/a", "/a"),
        ("/vit", {}, "/vit/a", "/vit/a", "/a"),
        ("/vit", {}, "/vital", "/vit/vital", "/vital"),
        ("/vit", {}, "/vit", "/vit", ""),
        ("/vit", {"x-forwarded-prefix": "/other"}, "/a", "/vit/a", "/a"),
    ],
)
def test_a_request_is_read_as_its_visitor_sent_it(
    root_path: str, sent: dict[str, str], path: str, expected: str, below: str | int
) -> None:
    headers = [(b"host", b"127.0.0.1:7860")]
    headers += [(name.encode(), value.encode()) for name, value in sent.items()]
    scope = {"type": "http", "path": path, "raw_path": path.encode(), "headers": headers}
    seen = as_visited(scope, root_path)
    assert (seen["path"], seen["raw_path"]) == (expected, expected.encode())
    assert path_below(seen) == (below or path.removeprefix(root_path))
    assert seen["headers"] == headers[:1]


def test_the_name_at_the_proxy_is_the_request_s() -> None:
    sent = {"host": "127.0.0.1:7860", "x-forwarded-host": "vit.example:8443, inner"}
    headers = [(name.encode(), value.encode()) for name, value in sent.items()]
    seen = as_visited({"type": "http", "path": "/", "headers": headers})
    assert seen["headers"] == [(b"host", b"vit.example:8443")]


def test_a_name_at_a_proxy_must_be_known_too(workbench: Workbench) -> None:
    forwarded = {"x-forwarded-host": "vit.example"}
    with TestClient(build_app(workbench), base_url="http://localhost") as client:
        refused = client.get("/explorer/setup", headers=forwarded)
    assert (refused.status_code, "'vit.example'" in refused.text) == (400, True)
    with TestClient(
        build_app(workbench, hosts=("vit.example",)), base_url="http://localhost"
    ) as it:
        assert it.get("/explorer/setup", headers=forwarded).status_code == 200
        # The name that this server was asked by is not made good by what else is said.
        evil = {"host": "evil.example", "x-forwarded-host": "localhost"}
        assert it.get("/explorer/setup", headers=evil).status_code == 400


@pytest.mark.parametrize("path", ["vit", "/a b", "/a/../b", "//host", "http://host/vit", "/a?b"])
def test_a_root_path_is_a_path(path: str) -> None:
    with pytest.raises(OptionError, match="before the page's own path"):
        check_root_path(path)


def test_a_root_path_is_no_address_of_the_page_s_own(workbench: Workbench) -> None:
    for path in ("/explorer", "/explorer/vit/", "/assets", "/gradio_api"):
        with pytest.raises(OptionError, match="X-Forwarded-Prefix"):
            build_app(workbench, root_path=path)
    assert check_root_path("/user/ann/proxy/absolute/7860/") == "/user/ann/proxy/absolute/7860"
    assert check_root_path("/") == ""


@pytest.mark.parametrize("before", ["", "/vit"])
def test_under_a_root_path_all_is_answered(workbench: Workbench, before: str) -> None:
    app = build_app(workbench, root_path="/vit/")
    with TestClient(app, base_url="http://localhost") as client:
        for path in (
            "/",
            "/explorer/setup",
            "/explorer/static/app/main.js",
            "/worker.js",
            "/config",
        ):
            assert client.get(f"{before}{path}").status_code == 200, path
        assert client.get(f"{before}/config").json()["root"] == "http://localhost/vit"
        assert client.get(f"{before}/explorer/setup").headers["cache-control"] == "no-cache"
        order = {"picture": "cat.png", "model": workbench.start_name}
        lines = client.post(f"{before}/explorer/explanations", json=order).text.splitlines()
        assert "result" in json.loads(lines[-1])
        away = client.get("/vit?lang=zh", follow_redirects=False)
    assert (away.status_code, away.headers["location"]) == (307, "/vit/?lang=zh")


def test_headers_fit_a_proxy_s_buffer(client: TestClient) -> None:
    for path in ("/", "/explorer/setup", "/explorer/static/app/main.js", "/worker.js", "/config"):
        headers = client.get(path).headers
        size = sum(len(name) + len(value) + 4 for name, value in headers.items())
        assert size < NGINX_HEADERS / 2, path


def test_answers_in_lines_are_not_held_back(client: TestClient, workbench: Workbench) -> None:
    order = {"picture": "cat.png", "model": workbench.start_name}
    answer = client.post("/explorer/explanations", json=order)
    assert answer.headers["x-accel-buffering"] == "no"


def test_a_long_silence_is_broken(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(streamed_job, "PATIENCE", 0.01)
    monkeypatch.setattr(streamed_job, "SILENCE", 0.02)
    heard = threading.Event()

    class Asker:
        async def is_disconnected(self) -> bool:
            return False

    def work(tell: streamed_job.Tell) -> None:
        assert heard.wait(20)
        tell({"done": 1})

    async def listen() -> list[bytes]:
        lines = []
        telling = streamed_job.Telling(work)
        async for line in telling.lines(Asker()):  # type: ignore[arg-type]
            lines.append(line)
            if len(lines) == 2:
                heard.set()
        return lines

    lines = in_a_loop(listen())
    assert lines[:2] == [b"\n", b"\n"]
    assert lines[-1] == b'{"done": 1}\n'


@pytest.mark.parametrize("coding", ["gzip", "identity"])
def test_the_document_names_no_place(client: TestClient, coding: str) -> None:
    prefix = {"x-forwarded-prefix": "/plain", "accept-encoding": coding}
    answer = client.get("/", headers=prefix)
    html = answer.text
    # What Gradio's script and frame ask is where the browser is.
    assert len(re.findall(r'("root":|const root = )new URL\("\.",location\.href\)', html)) == 2
    assert 'href="/' not in html
    assert 'src="/' not in html
    assert answer.headers.get("content-encoding", "identity") == coding


def test_all_modules_of_the_first_page_are_announced(client: TestClient) -> None:
    html = client.get("/").text
    modules = needed_modules(static_folder(), FIRST)
    assert {Path(module).name for module in modules} >= {
        "main.js",
        "words.js",
        "map_card.js",
        "pixels.js",
    }
    links = [f'<link rel="modulepreload" href="explorer/static/{module}">' for module in modules]
    assert all(link in html for link in links)
    assert html.index("<base") < html.index(links[0])


def test_only_the_frame_s_own_address_is_replaced() -> None:
    told = rb'{"text":"\"root\":\"http://a\"","root":"http://a/b"}'
    assert at_any_address(told, b"").count(b"new URL") == 1


def test_mcp_asks_the_page_itself(workbench: Workbench) -> None:
    pytest.importorskip("mcp", reason="the extra vit-explorer[mcp] is not installed")
    own = "http://127.0.0.1:7860/"
    app = build_app(workbench, mcp=True, own_address=own)
    served: Any = next(route.app for route in app.routes if getattr(route, "path", None) == "")
    assert served.blocks.mcp_server_obj.local_url == own
