"""Who may ask the page: its own pages, whoever logged in, and nobody so much that others wait."""

from __future__ import annotations

import base64
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from fastapi.testclient import TestClient
from gradio.utils import get_upload_folder

import vit_explorer as vx
from tests.asking import lines_of
from vit_explorer.errors import ModelError, OptionError
from vit_explorer.page import Workbench, build_app, gradio_uploads, visitors
from vit_explorer.page.admission import Login, is_beyond
from vit_explorer.page.state import uploads as sent_files
from vit_explorer.page.state.turns import WAITING, BusyError, Turn, Turns
from vit_explorer.page.state.uploads import Uploads

BYTES = {"content-type": "application/octet-stream"}
ELSEWHERE = (
    {"origin": "http://evil.example"},
    {"origin": "null"},
    {"origin": "http://localhost:3000"},
    {"origin": "http://[::1"},
    {"sec-fetch-site": "cross-site"},
    {"sec-fetch-site": "same-site", "origin": "http://localhost"},
)


def writing(app: Any) -> Iterator[tuple[str, str]]:
    """Every way of writing that the application and what is mounted in it have."""
    for route in app.routes:
        path = getattr(route, "path", "")
        for method in set(getattr(route, "methods", None) or ()) - {"GET", "HEAD", "OPTIONS"}:
            yield method, path
        inner = getattr(route, "original_router", None) or getattr(route, "app", None)
        if hasattr(inner, "routes"):
            yield from ((method, f"{path}{below}") for method, below in writing(inner))


def test_what_another_site_s_page_sends_is_refused_at_every_address(client: TestClient) -> None:
    found = sorted(set(writing(client.app)))
    addresses = {path for _, path in found}
    assert {"/gradio_api/upload", "/explorer/pictures", "/gradio_api/queue/join"} <= addresses
    for method, path in [*found, ("POST", "/gradio_api/mcp/")]:
        for headers in ELSEWHERE:
            answer = client.request(method, path, headers=headers)
            assert answer.status_code == 403, (method, path, headers)
            assert answer.json()["error"]["key"] == "error.origin"


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"origin": "http://localhost"},
        {"origin": "http://localhost", "sec-fetch-site": "same-origin"},
        {"sec-fetch-site": "none"},
        {"origin": "https://vit.example", "host": "localhost"},
    ],
)
def test_the_page_itself_and_programs_may_write(
    small: vx.LoadedModel, headers: dict[str, str]
) -> None:
    app = build_app(Workbench(small), hosts=["vit.example"])
    with TestClient(app, base_url="http://localhost") as client:
        sent = {**headers, **BYTES}
        answer = client.post("/explorer/uploads/labels?name=n.txt", content=b"a", headers=sent)
        assert answer.status_code == 200
    # Reading is not writing, wherever it is asked from: CORS keeps the answer from other pages.
    assert client.get("/explorer/setup", headers=ELSEWHERE[0]).status_code == 200


def gated(small: vx.LoadedModel, login: Login) -> TestClient:
    app = build_app(Workbench(small), login=login)
    return TestClient(app, base_url="http://localhost", follow_redirects=False)


def test_a_link_s_token_lets_in_and_leaves_the_address(small: vx.LoadedModel) -> None:
    login = Login(token="the token")
    client = gated(small, login)
    for path in ("/", "/config", "/explorer/setup", "/gradio_api/info", "/explorer/memory"):
        assert client.get(path).status_code == 401
        assert client.get(f"{path}?token=another").status_code == 401
    refused = client.get("/explorer/setup")
    assert refused.json()["error"]["key"] == "error.login.token"
    form = client.get("/", headers={"accept": "text/html"})
    assert form.status_code == 401 and '<input name="token"' in form.text
    for path in ("/manifest.json", "/worker.js", "/explorer/static/app/main.js"):
        assert client.get(path).status_code == 200
    bearer = {"authorization": "Bearer the token"}
    assert client.get("/explorer/setup", headers=bearer).status_code == 200
    assert client.get("/explorer/setup?token=the+token").status_code == 200

    assert login.link("http://localhost/") == "http://localhost/?token=the+token"
    opened = client.get(f"{login.link('/')}&view=cat")
    assert (opened.status_code, opened.headers["location"]) == (303, "/?view=cat")
    cookie = opened.headers["set-cookie"]
    assert "HttpOnly" in cookie and "SameSite=lax" in cookie and "the token" not in cookie
    assert client.get("/explorer/setup").status_code == 200
    assert client.get("/").status_code == 200


def test_a_password_lets_in(small: vx.LoadedModel, tmp_path: Path) -> None:
    file = tmp_path / "password"
    file.write_text("s3cret:ü\n", encoding="utf-8")
    client = gated(small, Login.by_file(f"ann:{file}"))
    refused = client.get("/", headers={"accept": "text/html"})
    assert refused.status_code == 401 and refused.headers["www-authenticate"].startswith("Basic ")
    for given, status in (("ann:s3cret:ü", 200), ("ann:", 401), ("bob:s3cret:ü", 401), ("", 401)):
        code = base64.b64encode(given.encode()).decode()
        headers = {"authorization": f"Basic {code}"}
        assert client.get("/explorer/setup", headers=headers).status_code == status
    assert client.get("/", headers={"authorization": "Basic ?"}).status_code == 401
    assert client.get("/?token=", headers={}).status_code == 401
    for wrong in ("ann", f":{file}", f"ann:{tmp_path}", "ann:/nowhere"):
        with pytest.raises(OptionError, match="expected USER:FILE"):
            Login.by_file(wrong)


def test_a_login_is_asked_for_beyond_this_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    near = ("127.0.0.1", "127.1.2.3", "::1", "localhost")
    assert not any(map(is_beyond, near))
    assert all(map(is_beyond, ("0.0.0.0", "::", "192.168.1.2", "my-machine", "10.0.0.1")))
    assert Login.by_token().token != Login.by_token().token
    assert len(Login.by_token().token) >= 32
    monkeypatch.setenv("VIT_EXPLORER_TOKEN", "own")
    assert Login.by_token().token == "own"


def taken(turn: Turn) -> bool:
    return turn.wait(0)


def test_turns_are_fair() -> None:
    turns = Turns(2, each=1)
    many = [turns.ask("many") for _ in range(WAITING)]
    with pytest.raises(BusyError, match=f"{WAITING} of your requests wait"):
        turns.ask("many")
    one = turns.ask("one")
    assert taken(many[0]) and not taken(many[1]) and taken(one)
    other = turns.ask("other")
    many[0].end()
    # Who has had nothing yet goes before who stood in line for longer.
    assert not taken(many[1]) and taken(other)
    one.end()
    assert taken(many[1])
    for turn in (*many, one, other):
        turn.end()
    assert turns.ask("many").wait(0)


def test_who_gives_up_keeps_nobody_waiting() -> None:
    turns = Turns(1, each=1)
    first, second = turns.ask("a"), turns.ask("b")
    assert taken(first)
    waited: list[bool] = []
    waiting = threading.Thread(target=lambda: waited.append(second.wait(20)))
    waiting.start()
    given_up = turns.ask("c")
    given_up.end()
    first.end()
    waiting.join(20)
    assert waited == [True]


def test_a_visitor_is_known_by_our_cookie_alone(client: TestClient) -> None:
    first = client.get("/").headers["set-cookie"]
    assert first.startswith(visitors.COOKIE) and "HttpOnly" in first
    assert "set-cookie" not in client.get("/").headers
    forged = {"cookie": f"{visitors.COOKIE}=someone.{'0' * 32}"}
    client.cookies.clear()
    assert "set-cookie" in client.get("/", headers=forged).headers
    client.cookies.clear()


def test_what_comes_too_fast_is_told_to_wait(
    client: TestClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(visitors, "BURST", 5.0)
    monkeypatch.setattr(visitors, "RATE", 0.0)
    client.get("/")
    answers = [client.post("/explorer/pictures", headers=BYTES) for _ in range(8)]
    assert [answer.status_code for answer in answers] == [422] * 5 + [429] * 3
    assert answers[-1].json()["error"]["key"] == "error.rate"
    assert answers[-1].headers["retry-after"]
    assert client.get("/explorer/memory").status_code == 200
    client.cookies.clear()


def test_another_s_request_goes_before_one_visitor_s_many(
    small: vx.LoadedModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Many slow jobs of one visitor, then one of another: it waits for few of them."""
    workbench = Workbench(small)
    ended: list[str] = []

    def slow(picture: str, *_: Any) -> None:
        time.sleep(0.1)
        ended.append(picture)
        raise ModelError("error.load.nothing", "Nothing.")

    monkeypatch.setattr(workbench, "analyse", slow)
    app = build_app(workbench)
    with TestClient(app, base_url="http://localhost") as client:

        def ask(name: str) -> None:
            order = {"picture": name, "model": workbench.start_name}
            lines_of(client, "explanations", order, {"x-forwarded-for": name})

        many = [threading.Thread(target=ask, args=(f"many{n}",)) for n in range(16)]
        monkeypatch.setattr(visitors.Visitors, "_known", lambda _, scope: _sender(scope))
        for thread in many:
            thread.start()
        while not ended and any(thread.is_alive() for thread in many):
            time.sleep(0.01)
        ask("one")
        before = len(ended)
        for thread in many:
            thread.join()
    assert ended.index("one") < 13 and before < 16, ended


def _sender(scope: Any) -> str:
    return dict(scope["headers"])[b"x-forwarded-for"].decode().rstrip("0123456789")


async def chunks(size: int) -> Any:
    yield b"a" * size


def test_files_that_are_sent_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    from anyio.from_thread import start_blocking_portal

    monkeypatch.setattr(sent_files, "OF_ONE", 250)
    monkeypatch.setattr(sent_files, "OF_ALL", 500)
    uploads = Uploads()

    def send(visitor: str, size: int = 100) -> str:
        with start_blocking_portal() as portal:
            args = ("labels", "n.txt", chunks(size), visitor)
            return str(portal.call(uploads.receive, *args))

    def kept(key: str) -> bool:
        try:
            return uploads.path("labels", key) is not None
        except ModelError:
            return False

    first, others = send("a"), [send("b"), send("b")]
    more = [send("a"), send("a")]
    # A visitor's own oldest goes, and nobody else's.
    assert [kept(key) for key in (first, *others, *more)] == [False, True, True, True, True]
    last = [send("c"), send("d")]
    assert [kept(key) for key in (*others, *more, *last)] == [False, True, True, True, True, True]
    with pytest.raises(ModelError, match="more than that is arriving"):
        send("e", 251)
    assert kept(last[1])
    uploads.close()


def test_files_for_gradio_s_endpoints_are_bounded(
    client: TestClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(gradio_uploads, "OF_ONE", 2500)
    paths = []
    for number in range(4):
        files = {"files": (f"{number}.bin", bytes([number]) * 1000)}
        answer = client.post("/gradio_api/upload", files=files)
        assert answer.status_code == 200
        paths += [Path(path) for path in answer.json()]
    assert [path.is_file() for path in paths] == [False, False, True, True]
    assert all(path.is_relative_to(get_upload_folder()) for path in paths)
    monkeypatch.setattr(gradio_uploads, "LARGEST", 500)
    refused = client.post("/gradio_api/upload", files={"files": ("n.bin", bytes(1000))})
    assert refused.status_code == 413 and refused.json()["error"]["key"] == "error.upload.request"
    untold = client.post(
        "/gradio_api/upload", content=iter([b"a"]), headers={"content-type": "multipart/form-data"}
    )
    assert untold.status_code == 413
