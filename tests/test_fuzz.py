"""Damaged and odd things of every kind, drawn with seeds: each loads, or gets one sentence.

Checkpoints have their own in `test_hostile_files.py` and `test_hostile_folders.py`.
"""

from __future__ import annotations

import io
import json
import random
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

import numpy as np
import pytest
import yaml
from fastapi.testclient import TestClient
from PIL import Image

import vit_explorer as vx
from tests.test_hostile_files import ODD_VALUES, bounded
from vit_explorer.models.checkpoints.labels import read_labels
from vit_explorer.page import Workbench, build_app
from vit_explorer.page.state.trainings import Trainings
from vit_explorer.training.recipe import list_recipes, load_recipe

TEXTS = (
    "", "\x00", "\x1b[31m", "=1+1", "../../etc/passwd", "a" * 5000, "é漢\u202e", "0,ant", "[", "{}",
    '"', "-1", "1e400", "9" * 400, "\ufeff", "\r\r\n", "null", "&a [*a]",
    "!!python/object:os.system x",
)  # fmt: skip


def one_sentence(work: Callable[[], Any]) -> str:
    """What refuses some work, "" where it is done; any other error fails the test."""
    try:
        with bounded():
            work()
    except vx.ExplorerError as error:
        sentence = str(error)
    else:
        return ""
    assert sentence.isprintable() and 10 < len(sentence) < 2500, sentence
    return sentence


def damaged(draw: random.Random, content: bytes) -> bytes:
    """Bytes cut off, changed, repeated, taken out or put in."""
    found = bytearray(content)
    for _ in range(draw.choice((1, 1, 2, 8))):
        at = draw.randrange(max(1, len(found)))
        match draw.randrange(5):
            case 0:
                del found[at:]
            case 1:
                found[at : at + 4] = draw.randbytes(4)
            case 2:
                found[at:at] = found[: draw.randrange(300)]
            case 3:
                del found[at : at + draw.randrange(1, 40)]
            case _:
                found[at : at + 1] = draw.choice(TEXTS).encode("utf-8", "surrogatepass")
    return bytes(found)


def pictures() -> list[bytes]:
    """A small picture in each format that has a header of its own, and in odd modes."""
    image = Image.effect_noise((24, 20), 90)
    found = []
    for kind, mode in (
        ("PNG", "RGBA"), ("PNG", "I;16"), ("PNG", "P"), ("PNG", "1"), ("JPEG", "RGB"),
        ("JPEG", "CMYK"), ("GIF", "P"), ("WEBP", "RGB"), ("TIFF", "RGB"), ("TIFF", "I;16"),
        ("BMP", "RGB"),
    ):  # fmt: skip
        buffer = io.BytesIO()
        made = image.convert("I").convert(mode) if mode == "I;16" else image.convert(mode)
        made.save(buffer, kind)
        found.append(buffer.getvalue())
    for shape in ((20, 24), (20, 24, 5), (0, 3), (1,)):
        buffer = io.BytesIO()
        np.save(buffer, np.zeros(shape, np.uint16))
        found.append(buffer.getvalue())
    return found


def test_damaged_pictures() -> None:
    draw = random.Random("pictures")
    whole = pictures()
    for content in whole[:11]:
        assert one_sentence(lambda content=content: vx.open_picture(content).image.load()) == ""
    refused = 0
    for _ in range(320):
        content = damaged(draw, draw.choice(whole))
        refused += bool(one_sentence(lambda content=content: vx.open_picture(content).image.load()))
    assert 60 < refused < 320


def test_damaged_label_files(tmp_path: Path) -> None:
    draw = random.Random("labels")
    whole = {
        ".txt": b"ant\nbee\ncow\n",
        ".csv": b'index,name\n0,ant\n1,"bee, wild"\n2,cow\n',
        ".json": b'{"0": "ant", "1": "bee", "2": "cow"}',
    }
    refused = 0
    for _ in range(120):
        ending, content = draw.choice(list(whole.items()))
        path = tmp_path / f"names{ending}"
        path.write_bytes(damaged(draw, content))
        refused += bool(one_sentence(lambda path=path: _labels(path)))
    for content in (b"[" * 10**6, b'{"a":' * 10**5, b"[" + b"0," * 10**6 + b"0]"):
        path = tmp_path / "names.json"
        path.write_bytes(content)
        assert one_sentence(lambda path=path: _labels(path))
    assert refused > 40


def _labels(path: Path) -> None:
    names = read_labels(path, 3, "m")
    assert all((name + " ").isprintable() for name in names), names


def places(values: Any, before: str = "") -> Iterator[str]:
    """The dotted names of all settings of a recipe."""
    for key, value in values.items():
        yield f"{before}{key}"
        if isinstance(value, dict):
            yield from places(value, f"{before}{key}.")


def test_odd_recipes_and_overrides(tmp_path: Path) -> None:
    draw = random.Random("recipes")
    recipes = [load_recipe(name).to_dict() for name in list_recipes()]
    odd = [*ODD_VALUES, *TEXTS]
    refused = 0
    for number in range(220):
        values = draw.choice(recipes)
        names = sorted(places(values))
        path = tmp_path / "odd.yaml"
        text = yaml.safe_dump(values)
        if number % 3 == 0:
            path.write_bytes(damaged(draw, text.encode()))
            overrides: list[str] = []
        else:
            path.write_text(text, encoding="utf-8")
            overrides = [f"{draw.choice(names)}={_written(draw.choice(odd))}"]
        refused += bool(one_sentence(lambda path=path, given=overrides: load_recipe(path, given)))
    assert refused > 100


def _written(value: Any) -> str:
    try:
        return value if isinstance(value, str) else json.dumps(value)
    except ValueError:  # more digits than Python writes
        return "9" * 5000


def test_a_recipe_of_few_bytes_and_much_content_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "laughs.yaml"
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x]"]
    lines += [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 9)}]" for n in range(1, 30)]
    path.write_text("\n".join(lines), encoding="utf-8")
    assert "not valid YAML at line 2;" in one_sentence(lambda: load_recipe(path))
    path.write_text("augment: " + "[" * 5000, encoding="utf-8")
    assert one_sentence(lambda: load_recipe(path))


@pytest.fixture(scope="module")
def busy(small: vx.LoadedModel, tmp_path_factory: pytest.TempPathFactory) -> Iterator[TestClient]:
    """The page with everything it may offer."""
    runs = tmp_path_factory.mktemp("runs")
    app = build_app(Workbench(small, trainings=Trainings(runs, device="cpu")))
    with TestClient(app, base_url="http://localhost", raise_server_exceptions=True) as client:
        yield client


def routes(app: Any) -> Iterator[tuple[str, str]]:
    """Every method and path, those of routers and mounted applications too."""
    for route in app.routes:
        path = getattr(route, "path", "")
        yield from ((method, path) for method in sorted(getattr(route, "methods", None) or ()))
        inner = getattr(route, "original_router", None) or getattr(route, "app", None)
        if hasattr(inner, "routes"):
            yield from ((method, f"{path}{below}") for method, below in routes(inner))


def orders(draw: random.Random) -> Any:
    """JSON that resembles what is asked for, and is not."""
    names = (
        "picture", "model", "target", "ask", "name", "names", "order", "recipe", "data", "epochs",
        "run", "architecture", "weights", "labels", "outputs", "bands", "stretch", "columns",
        "rows", "figure", "heads_off", "patches_off", "how", "method", "fn_index", "session_hash",
        "event_id", "layer",
    )  # fmt: skip
    known = ("cat.png", "map", "trust", "layers", "rollout", "stop", "drop", "resume", "attention")
    values = [*(value for value in ODD_VALUES if _plain(value)), *TEXTS, *known]
    kind = draw.randrange(6)
    if kind == 0:
        return draw.choice(values)
    if kind == 1:
        return [draw.choice(values) for _ in range(draw.randrange(5))]
    return {draw.choice(names): draw.choice(values) for _ in range(draw.randrange(1, 8))}


def _plain(value: Any) -> bool:
    return json.loads(json.dumps(value, allow_nan=True)) == value and len(str(value)) < 4000


# What never ends by itself, or is a stream of news.
ENDLESS = (
    "heartbeat", "/queue/data", "/training/news", "upload_progress", "/stream/", "/call/", "reload",
)  # fmt: skip


def test_odd_requests_to_every_route(busy: TestClient) -> None:
    """A hundred to each of ours, with no key or a true one: none gets 500, refusals have words."""
    draw = random.Random("requests")
    model = busy.get("/explorer/setup").json()["model"]
    answer = busy.post("/explorer/explanations", json={"picture": "cat.png", "model": model})
    key = json.loads(answer.text.splitlines()[-1])["result"]["key"]
    found = sorted({route for route in routes(busy.app) if not any(p in route[1] for p in ENDLESS)})
    assert len(found) > 60
    busy.cookies.clear()
    wrong: list[tuple[str, str, str]] = []
    computed: set[str] = set()
    for number, (method, path) in enumerate(found):
        sender = {"x-forwarded-for": f"{number}"}
        varied = path.startswith("/explorer") and (method != "GET" or "{" in path)
        for _ in range(100 if varied else 4):
            address = filled(draw, path, key)
            if method == "GET" and key in address and address.partition("?")[0] in computed:
                address = address.replace(key, "0" * len(key))  # what it computes is tried once
            computed.add(address.partition("?")[0])
            headers, body = sent(draw)
            try:
                answer = busy.request(method, address, headers={**headers, **sender}, content=body)
            except Exception as error:
                wrong.append((method, address, repr(error)))
                continue
            told = answer.text if method != "HEAD" and answer.status_code >= 400 else "words"
            # Gradio's own routes may fail, and then in our words.
            foreseen = answer.status_code < 500 or (
                not path.startswith("/explorer")
                and (method == "HEAD" or "error.unexpected" in told)
            )
            if not foreseen or not told.strip() or "Traceback" in told:
                wrong.append((method, address, f"{answer.status_code} {body[:200]!r} {told[:300]}"))
    assert wrong == []


def filled(draw: random.Random, path: str, key: str) -> str:
    """A path whose places hold something odd, or the key of a result that is held."""

    def place(found: re.Match[str]) -> str:
        if found[1].startswith("key") and draw.random() < 0.6:
            return key
        if ":int" in found[1] and draw.random() < 0.9:
            return str(draw.choice((0, 1, 3, 10**6, 10**30)))
        text = draw.choice([*TEXTS, "rollout", "cat.png", "attention", "labels"])
        return quote(text[:80], safe="")

    address = re.sub(r"\{(\w+(?::\w+)?)\}", place, path)
    return f"{address}?name={draw.choice(('a.txt', 'b.pth', '../x', '%00', ''))}"


def sent(draw: random.Random) -> tuple[dict[str, str], bytes]:
    """Headers and a body."""
    kind = draw.choice(("application/json",) * 6 + ("application/octet-stream", "text/plain", "x"))
    if draw.random() < 0.15:
        return {"content-type": kind}, draw.randbytes(draw.randrange(200))
    return {"content-type": kind}, json.dumps(orders(draw)).encode()
