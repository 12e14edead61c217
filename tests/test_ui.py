"""The page's server without a browser: what it answers, refuses, keeps and lets go."""

from __future__ import annotations

import errno
import io
import json
import re
import socket
import sys
import urllib.request
import zipfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import gradio as gr
import numpy as np
import pytest
from fastapi.testclient import TestClient
from PIL import Image

import vit_explorer as vx
from tests.asking import explained, lines_of
from tests.browser import running_app
from tests.packed import unpack
from vit_explorer.errors import (
    ModelError,
    OptionError,
    PictureError,
    UnsupportedModelError,
)
from vit_explorer.methods import METHODS
from vit_explorer.page import Workbench, build_app, serve
from vit_explorer.page.gradio_api import add_endpoints
from vit_explorer.page.payloads import result as payload
from vit_explorer.page.payloads.maps import shown_of
from vit_explorer.page.state.cache import ByteCache
from vit_explorer.page.state.session import MAX_UPLOAD_BYTES
from vit_explorer.page.static_files import static_folder

if TYPE_CHECKING:
    from playwright.sync_api import Page, Route

BYTES = {"content-type": "application/octet-stream"}


def png(size: tuple[int, int] = (40, 30)) -> bytes:
    buffer = io.BytesIO()
    Image.effect_noise(size, 80).convert("RGB").save(buffer, "PNG")
    return buffer.getvalue()


def test_result_is_small_and_its_parts_are_there(
    client: TestClient, workbench: Workbench, small: vx.LoadedModel
) -> None:
    result = explained(workbench)["result"]
    assert len(client.get("/").content) < 40_000
    assert len(str(result)) < 20_000
    for path in ("picture", "seen", "positions", "layers/2", "queries/3/to", "explanation.zip"):
        answer = client.get(f"/explorer/results/{result['key']}/{path}")
        assert answer.status_code == 200
        assert answer.headers["cache-control"] == "no-cache"
    seen = Image.open(io.BytesIO(client.get(f"/explorer/{result['seen']['url']}").content))
    assert np.array_equal(
        np.asarray(seen), np.asarray(vx.trace(small, "assets/cat.png").prepared.shown)
    )
    for path in ("layers/3", "layers/-1", "queries/13/from", "nothing"):
        assert client.get(f"/explorer/results/{result['key']}/{path}").status_code == 404
    assert client.get("/explorer/results/0123/picture").status_code == 404


def test_attention_is_sent_as_it_was_computed(
    client: TestClient, workbench: Workbench, small: vx.LoadedModel
) -> None:
    key = explained(workbench)["result"]["key"]
    trace = vx.trace(small, "assets/cat.png")
    whole = np.stack([trace.attention(layer).numpy() for layer in range(3)])  # (L, h, N, N)

    def sent(path: str) -> np.ndarray:
        return unpack(client.get(f"/explorer/results/{key}/{path}").content)[1]["attention"]

    np.testing.assert_allclose(sent("layers/1"), whole[1], rtol=1e-6)
    np.testing.assert_allclose(sent("queries/3/from"), whole[:, :, 3], rtol=1e-6)
    np.testing.assert_allclose(sent("queries/3/to"), whole[:, :, :, 3], rtol=1e-6)


def test_every_answer_carries_the_security_headers(client: TestClient) -> None:
    for path in (
        "/",
        "/explorer/setup",
        "/explorer/static/app/main.js",
        "/explorer/examples/none.png",
    ):
        headers = client.get(path).headers
        assert "default-src 'self'" in headers["content-security-policy"]
        assert headers["x-content-type-options"] == "nosniff"
        assert "access-control-allow-origin" not in headers
    assert "javascript" in client.get("/explorer/static/app/main.js").headers["content-type"]


@pytest.mark.parametrize(
    ("host", "status"),
    [
        ("localhost:7860", 200),
        ("127.0.0.1:7860", 200),
        ("[::1]:7860", 200),
        ("192.168.1.20", 200),
        ("evil.example", 400),
        ("localhost.evil.example:7860", 400),
        ("", 400),
    ],
)
def test_only_known_hosts_are_answered(client: TestClient, host: str, status: int) -> None:
    assert client.get("/explorer/setup", headers={"host": host}).status_code == status


def test_a_named_host_is_answered(workbench: Workbench) -> None:
    app = build_app(workbench, hosts=("explorer.example",))
    with TestClient(app, base_url="http://explorer.example") as started:
        assert started.get("/explorer/setup").status_code == 200


def test_upload_is_held_and_named_safely(client: TestClient, workbench: Workbench) -> None:
    names = {
        "../../etc/<i>cat.png": "_i_cat.png",
        "..": "picture",
        "": "picture",
        ".a.png": "a.png",
    }
    for name, shown in names.items():
        asked = {"params": {"name": name}, "content": png(), "headers": BYTES}
        key = client.post("/explorer/pictures", **asked).json()["picture"]
        assert workbench.picture(key).name == shown
        result = explained(workbench, picture=key)["result"]
        answer = client.get(f"/explorer/{result['download']}")
        with zipfile.ZipFile(io.BytesIO(answer.content)) as archive:
            assert f"{shown.removesuffix('.png')}/explanation.json" in archive.namelist()


@pytest.mark.parametrize(
    ("content", "headers", "status"),
    [
        (b"only words", BYTES, 422),
        (b"", BYTES, 422),
        (b"x" * (MAX_UPLOAD_BYTES + 1), BYTES, 413),
        (b"words", {"content-type": "text/plain"}, 415),
    ],
)
def test_bad_uploads_get_one_sentence(
    client: TestClient, content: bytes, headers: dict[str, str], status: int
) -> None:
    answer = client.post("/explorer/pictures", content=content, headers=headers)
    assert answer.status_code == status
    assert answer.json()["error"]["text"].endswith(".")


@pytest.mark.parametrize(
    "asked",
    [
        {"picture": "../README.md"},
        {"model": "/etc/passwd"},
        {"model": "hf-hub:someone/something"},
        {"model": "local-dir:/tmp"},
        {"target": 99},
        {"target": -1},
    ],
)
def test_bad_requests_get_one_sentence(workbench: Workbench, asked: dict[str, object]) -> None:
    error = explained(workbench, **asked)["error"]["text"]
    assert isinstance(error, str)
    assert not error.startswith("Something went wrong")
    assert error.endswith(".")


@pytest.mark.parametrize("asked", ["words", 3, ["a"], {"picture": None}, {"target": [1]}])
def test_an_order_that_can_t_be_read_gets_one_sentence(client: TestClient, asked: object) -> None:
    answer = client.post("/explorer/explanations", json=asked)
    assert answer.status_code == 422
    assert re.fullmatch(r"The order's .+ is missing or wrong\.", answer.json()["error"]["text"])


def test_an_error_says_which_choice_it_is_about(client: TestClient, workbench: Workbench) -> None:
    good = {"picture": "cat.png", "model": workbench.start_name, "target": None}
    for part, value in (("picture", "none"), ("model", "none"), ("target", 99)):
        assert lines_of(client, "explanations", {**good, part: value})[-1]["part"] == part
    misspelt = lines_of(client, "explanations", {**good, "model": "bundld"})[-1]
    assert misspelt["instead"] == ["bundled"]


def endpoints(workbench: Workbench) -> dict[str, Any]:
    with gr.Blocks() as blocks:
        add_endpoints(workbench)
    return {str(each.api_name): each.fn for each in blocks.fns.values()}


def test_endpoints_take_numbers_for_targets_and_heads(workbench: Workbench) -> None:
    asked = endpoints(workbench)
    for target in (0, "0", 3):
        assert asked["explain"]("cat.png", [], target)["target"]["index"] == int(target)
    top = asked["explain"]("cat.png", [], None)["predictions"][0]["index"]
    assert asked["explain"]("cat.png", [], "")["target"]["index"] == top
    first = asked["attention"]("cat.png", 1, 0)
    assert first["patches"] == asked["attention"]("cat.png", 1, "0")["patches"]
    assert first["patches"] != asked["attention"]("cat.png", 1, 1)["patches"]
    assert asked["models"](None)[0] == workbench.start_name


@pytest.mark.parametrize(
    ("name", "given", "said"),
    [
        ("explain", {"methods": 3}, "The methods were 3, expected names"),
        ("explain", {"methods": [["rollout"]]}, "expected names"),
        ("explain", {"methods": [], "target": [0]}, "The target was"),
        ("explain", {"methods": [], "model": 5}, "There is no model '5'"),
        ("attention", {"head": -1}, "The head was '-1'"),
        ("attention", {"head": None}, "The head was 'None'"),
        ("attention", {"query": 0}, "The query was '0'"),
        ("attention", {"query": [1, 2]}, "The query was"),
    ],
)
def test_endpoints_refuse_in_one_sentence(
    workbench: Workbench, name: str, given: dict[str, Any], said: str
) -> None:
    with pytest.raises(gr.Error) as error:
        endpoints(workbench)[name]("cat.png", **given)
    assert said in error.value.message and error.value.message.endswith(".")


def test_parts_that_a_model_lacks_are_no_failure(
    client: TestClient, workbench: Workbench, monkeypatch: pytest.MonkeyPatch
) -> None:
    key = workbench.analyse("cat.png", workbench.start_name, None).key

    def lack(*_: object, **__: object) -> None:
        raise UnsupportedModelError("The model has no positions that are added to its tokens.")

    monkeypatch.setattr(payload, "position_similarity", lack)
    monkeypatch.setattr("vit_explorer.page.payloads.layers.token_similarity", lack)
    for path in ("positions", "similarities/1"):
        answer = client.get(f"/explorer/results/{key}/{path}")
        assert answer.status_code == 404
        assert answer.json()["error"]["text"].startswith("The model has no positions")


def test_addresses_never_break_the_header_of_an_answer(
    client: TestClient, workbench: Workbench
) -> None:
    asked = {"params": {"name": '漢 "字".png'}, "content": png(), "headers": BYTES}
    picture = client.post("/explorer/pictures", **asked).json()["picture"]
    key = workbench.analyse(picture, workbench.start_name, None).key
    answer = client.get(f"/explorer/results/{key}/explanation.zip")
    shown = 'attachment; filename="_ ___-explanation.zip"'
    assert answer.headers["content-disposition"] == shown


def test_an_archive_holds_every_map_that_the_page_shows(
    client: TestClient, workbench: Workbench, small: vx.LoadedModel
) -> None:
    key = workbench.analyse("cat.png", workbench.start_name, None).key
    answer = client.get(f"/explorer/results/{key}/explanation.zip")
    with zipfile.ZipFile(io.BytesIO(answer.content)) as archive:
        files = {Path(name).name: archive.read(name) for name in archive.namelist()}
    first = shown_of(1)
    assert any(METHODS[name].runs_model for name in first)  # some are more than the one pass
    expected = vx.explain(small, "assets/cat.png", methods=("fast", *first)).heatmaps
    with np.load(io.BytesIO(files["heatmaps.npz"])) as maps:
        assert set(maps.files) == set(expected)
        for name, heatmap in expected.items():
            np.testing.assert_allclose(maps[name], heatmap.values, atol=1e-6, err_msg=name)
    told = json.loads(files["explanation.json"])
    assert told["methods"].keys() == expected.keys()
    assert {f"{name}.png" for name in expected} <= files.keys()
    assert all(heatmap.title in files["report.html"].decode() for heatmap in expected.values())


def test_an_archive_that_can_t_be_written_is_said(
    client: TestClient, workbench: Workbench, monkeypatch: pytest.MonkeyPatch
) -> None:
    key = workbench.analyse("cat.png", workbench.start_name, None).key

    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    for place in ("vit_explorer.result_folder.Path.write_text", "tempfile.mkdtemp"):
        with monkeypatch.context() as patched:
            patched.setattr(place, full)
            answer = client.get(f"/explorer/results/{key}/explanation.zip")
        assert answer.status_code == 422
        assert answer.json()["detail"]["text"].endswith(
            "make room in its temporary folder and download again."
        )


def test_a_table_s_columns_may_have_any_name(client: TestClient, workbench: Workbench) -> None:
    key = explained(workbench)["result"]["key"]
    about = {"figure": "f", "title": "F", "shows": "", "targeted": False}

    def post(columns: list[str], rows: list[list[Any]]) -> Any:
        asked = {**about, "columns": columns, "rows": rows}
        return client.post(f"/explorer/results/{key}/figure.npz", json=asked)

    answer = post(["file", "allow_pickle", "漢/字"], [[1, "a", 2]])
    with np.load(io.BytesIO(answer.content)) as arrays:
        assert {name: arrays[name].tolist() for name in arrays if name != "metadata"} == {
            "file": [1], "allow_pickle": ["a"], "漢/字": [2],
        }  # fmt: skip
    for columns in (["a" * 70_000], ["metadata"]):
        refused = post(columns, [])
        assert refused.status_code == 422 and refused.json()["error"]["text"].endswith(".")


@pytest.mark.skipif(sys.platform == "win32", reason="a process is ended without a signal there")
@pytest.mark.parametrize("stop", ["SIGTERM", "SIGHUP"])
@pytest.mark.usefixtures("terminal")
def test_what_was_sent_ends_with_the_server(
    small_checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, stop: str
) -> None:
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    sent = "explorer/uploads/labels?name=n.txt"
    with running_app("--model", str(small_checkpoint), scratch=tmp_path, stop=stop) as address:
        asked = urllib.request.Request(f"{address}{sent}", b"a\nb", BYTES)
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        assert json.load(opener.open(asked, timeout=10))["upload"]
        assert [file.name for file in tmp_path.rglob("n.txt")] == ["n.txt"]
    assert list(tmp_path.glob("vit-explorer-*")) == []


@pytest.mark.browser
def test_an_upload_s_answer_without_words_is_a_refusal(page: Page) -> None:
    def say_nothing(route: Route) -> None:
        route.fulfill(status=200, content_type="text/plain", body="Internal Server Error")

    page.route("**/explorer/uploads/**", say_nothing)
    said = page.evaluate(
        """async () => {
          const script = new URL("explorer/static/server/requests.js", document.baseURI);
          const { sendFile } = await import(script);
          const file = new File(["a"], "n.txt");
          const sent = sendFile("labels", file, new AbortController().signal, () => {});
          const late = new Promise((done) => setTimeout(done, 5000, "no answer"));
          return Promise.race([sent.catch(String), late]);
        }"""
    )
    assert "The server has no answer to that (200)" in said


def test_an_unforeseen_failure_is_logged_and_answered(
    client: TestClient,
    workbench: Workbench,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    def fail(*_: object) -> None:
        raise RuntimeError("a secret path")

    monkeypatch.setattr(workbench, "analyse", fail)
    order = {"picture": "cat.png", "model": workbench.start_name}
    (line,) = lines_of(client, "explanations", order)
    check_number(line, caplog.text)


def check_number(answer: dict[str, Any], log: str) -> None:
    """The answer has words and no secret; what it numbers stands in the log."""
    said = answer["error"]
    assert said["key"] == "error.unexpected" and "a secret path" not in said["text"]
    assert f"{said['values']['number']}: " in log and "a secret path" in log


@pytest.mark.parametrize(
    ("path", "place"),
    [
        ("explorer/setup", "vit_explorer.page.routes.results.describe_setup"),
        ("explorer/examples/cat.png", "vit_explorer.page.routes.results.asset"),
        ("config", "gradio.routes.utils.safe_deepcopy"),
    ],
)
def test_no_route_fails_without_words(
    client: TestClient,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    path: str,
    place: str,
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise RuntimeError("a secret path")

    monkeypatch.setattr(place, fail)
    answer = client.get(path)
    assert answer.status_code == 500
    check_number(answer.json(), caplog.text)


def test_no_endpoint_fails_without_words(
    client: TestClient,
    workbench: Workbench,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    capfd: pytest.CaptureFixture[str],
) -> None:
    def fail(*_: object) -> None:
        raise RuntimeError("a secret path")

    monkeypatch.setattr(workbench, "model", fail)
    asked = client.post("gradio_api/call/explain", json={"data": ["cat.png", [], "", ""]})
    told = client.get(f"gradio_api/call/explain/{asked.json()['event_id']}").text
    number = re.search("under (\\w+)", told)
    assert number and number[1] in caplog.text and "a secret path" in caplog.text
    assert "a secret path" not in told
    assert "Traceback" not in capfd.readouterr().err


def test_unknown_names_are_refused(workbench: Workbench) -> None:
    with pytest.raises(ModelError, match="vit_tiny_patch16_224"):
        workbench.model("vit_tinny_patch16_224")
    with pytest.raises(PictureError, match="send it again"):
        workbench.picture("0" * 64)


def test_results_are_kept_by_picture_model_and_target(workbench: Workbench) -> None:
    name = workbench.start_name
    first = workbench.analyse("coffee.png", name, None)
    assert workbench.analyse("coffee.png", name, None) is first
    assert workbench.analyse("coffee.png", name, first.explanation.target.index) is first
    other = workbench.analyse("coffee.png", name, (first.explanation.target.index + 1) % 5)
    assert other is not first
    assert other.pass_key == first.pass_key


def test_cache_lets_go_of_what_was_not_used() -> None:
    cache: ByteCache[bytes] = ByteCache(10, len)
    cache.put("a", b"1234")
    cache.put("b", b"1234")
    assert cache.get("a") == b"1234"
    cache.put("c", b"1234")
    assert cache.get("b") is None
    assert cache.get("a") == b"1234"
    cache.put("large", b"1" * 50)
    assert len(cache) == 1
    assert cache.get("large") is not None


def test_a_taken_port_is_said(small: vx.LoadedModel) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        with pytest.raises(OptionError, match="--port"):
            serve(small, port=taken.getsockname()[1], open_browser=False)


def test_page_s_files_name_no_other_machine() -> None:
    allowed = ("http://www.w3.org/2000/svg", "http://www.w3.org/1998/Math/MathML")
    texts = [f for f in static_folder().rglob("*.*") if f.suffix != ".png"]
    assert {file.suffix for file in texts} == {".js", ".ts", ".css", ".json", ".html", ".svg"}
    for file in texts:
        text = file.read_text(encoding="utf-8")
        for address in allowed:
            text = text.replace(address, "")
        assert not re.search(r"https?://", text), file.name
        assert "innerHTML" not in text, file.name
