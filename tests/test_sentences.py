"""Sentences with keys: what they keep, that all of Python's have one, and what the page says."""

from __future__ import annotations

import ast
import copy
import io
import json
import pickle
import re
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from fastapi.testclient import TestClient
from PIL import Image

import vit_explorer as vx
from tests.asking import explained, lines_of
from tests.sentences import calls, places, said_in, sentences, translated, words_of
from vit_explorer import errors
from vit_explorer.cli.printing import line, marked, say, say_json
from vit_explorer.errors import ModelError, OptionError, SaidError, nearest
from vit_explorer.models.checkpoints.labels import read_labels
from vit_explorer.models.provenance import NUMBERED, Provenance
from vit_explorer.page import Workbench
from vit_explorer.page.state.trainings import Trainings
from vit_explorer.page.static_files import static_folder
from vit_explorer.sentences import CONTROLS, Sentence, cell, either, joined, keyed

BYTES = {"content-type": "application/octet-stream"}
# As on the page: three small words in a row are English that nobody translated. Names of things
# that are written alike are none.
ENGLISH_WORDS = re.compile(r"[a-z]{3,} [a-z]{2,} [a-z]{2,}")
ALIKE = re.compile(r"vit-explorer (?:app|train|models)|pip install")


def test_a_sentence_is_its_english_and_keeps_its_key_and_values() -> None:
    inner = Sentence("part.a", "{count:,} of {share:.0%}", count=12345, share=0.25)
    outer = Sentence("error.b", "It was {name!r}: {what}.", name="x\n", what=inner)
    assert outer == "It was 'x\\n': 12,345 of 25%."
    told = {
        "text": "It was 'x\\n': 12,345 of 25%.",
        "key": "error.b",
        "values": {
            "name": "'x\\n'",
            "what": {
                "text": "12,345 of 25%",
                "key": "part.a",
                "values": {"count": "12,345", "share": "25%"},
            },
        },
    }
    assert keyed(outer) == told
    for copied in (copy.deepcopy(outer), pickle.loads(pickle.dumps(outer))):
        assert keyed(copied) == told
    assert json.loads(json.dumps([outer])) == [str(outer)]
    assert keyed("plain") == {"text": "plain"}
    with pytest.raises(KeyError):
        Sentence("a.b", "no place", value=1)


def test_lists_of_sentences_stay_sentences() -> None:
    assert [either(names) for names in ([], ["a"], ["a", "b"], "abc")] == [
        "",
        "a",
        "a or b",
        "a, b or c",
    ]
    parts = [Sentence("part.a", "one"), Sentence("part.b", "two"), "three"]
    assert joined(parts) == "one, two, three"
    words = {"part.a": "一", "part.b": "二", "part.and": "{first}、{rest}"}
    assert translated(keyed(joined(parts)), words) == "一、二、three"


def test_an_error_carries_its_sentence() -> None:
    error = OptionError(
        "error.x", "No {name!r}{near}", name="rolout", near=nearest("rolout", ["rollout"])
    )
    assert str(error) == "No 'rolout', did you mean 'rollout'?"
    again = pickle.loads(pickle.dumps(error))
    assert keyed(again.sentence) == keyed(error.sentence)
    assert keyed(ModelError(error.sentence).sentence) == keyed(error.sentence)
    assert ModelError("plain").sentence == "plain"


def test_where_a_model_came_from_is_data_that_is_said() -> None:
    source = Provenance("timm_file", file="last.ckpt", key="model")
    assert str(source) == "timm, weights from last.ckpt, key model"
    chinese = translated(keyed(source.sentence), words_of("zh"))
    assert chinese == "timm，权重来自 last.ckpt，其中的 model"
    assert str(Provenance("imagenet", count=1000)).endswith("(1,000)")
    assert (str(NUMBERED), NUMBERED.sentence.key) == ("none: numbered", "source.numbered")


def test_a_card_is_plain_json_in_english(small: vx.LoadedModel) -> None:
    told = json.loads(json.dumps(small.to_dict()))
    assert told["source"] == str(small.card.source)
    assert told["labels_source"] == str(small.card.labels_source)


def test_each_key_has_one_english_and_the_values_of_its_places() -> None:
    assert {key: texts for key, texts in sentences().items() if len(texts) > 1} == {}
    wrong = []
    for place, call in calls():
        said = said_in(call)
        given = {keyword.arg for keyword in call.keywords}
        if said is not None and None not in given and given != places(said[1]):
            wrong.append((place, said))
    assert wrong == []


def test_every_error_is_raised_with_a_key() -> None:
    """Or with a sentence that was made elsewhere, under a name."""
    kinds = {
        name
        for name, kind in vars(errors).items()
        if isinstance(kind, type) and issubclass(kind, SaidError)
    } | {"HTTPException", "RefusedOrder", "NoBlocksError", "NoOrderError", "DoesNotRunError"}
    bare = []
    for place, call in calls():
        assert isinstance(call.func, ast.Name)
        if call.func.id in kinds and call.args and said_in(call) is None:
            spoken = [arg.value if isinstance(arg, ast.Constant) else arg for arg in call.args]
            if any(isinstance(one, (str, ast.JoinedStr)) for one in spoken):
                bare.append(place)
    assert bare == []


# --- what the page's routes answer, said in Chinese ---------------------------------------------


@pytest.fixture(scope="module")
def workbench(small: vx.LoadedModel, tmp_path_factory: pytest.TempPathFactory) -> Workbench:
    runs = tmp_path_factory.mktemp("runs")
    return Workbench(small, trainings=Trainings(runs, device="cpu"))


def assert_chinese(told: Any) -> None:
    assert isinstance(told, dict), told
    assert "key" in told, told
    # What another library said stands in its own words within a Chinese sentence.
    others = {name: "…" for name in told["values"] if name == "error"}
    chinese = translated({**told, "values": told["values"] | others}, words_of("zh"))
    assert re.search(r"[\u4e00-\u9fff]", chinese), told
    assert not ENGLISH_WORDS.search(ALIKE.sub("", chinese)), chinese


def told_by(answer: Any) -> Any:
    assert answer.status_code in (404, 413, 415, 422), answer.text
    body = answer.json()
    return body.get("error") or body["detail"]


def saved(image: Image.Image, kind: str) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind)
    return buffer.getvalue()


def array(values: Any) -> bytes:
    buffer = io.BytesIO()
    np.save(buffer, values)
    return buffer.getvalue()


PICTURES = {
    "empty": b"",
    "text": b"hello",
    "svg": b"<svg></svg>",
    "heic": b"\0\0\0\x18ftypheic",
    "cut": saved(Image.new("RGB", (40, 30)), "PNG")[:60],
    "nan": array(np.full((4, 4), np.nan)),
    "objects": array(np.array([{}])),
    "order": array(np.zeros((3, 40, 40), np.uint8)),
    "line": array(np.zeros(4, np.uint8)),
    "nothing": array(np.zeros((0, 4), np.uint8)),
    "kind": array(np.zeros((4, 4), complex)),
}


@pytest.mark.parametrize("name", PICTURES)
def test_bad_pictures_are_refused_in_chinese(client: TestClient, name: str) -> None:
    content = PICTURES[name]
    assert_chinese(told_by(client.post("/explorer/pictures", content=content, headers=BYTES)))


@pytest.mark.parametrize(
    "asked",
    [
        {"picture": "../README.md"},
        {"model": "/etc/passwd"},
        {"model": "vit_tiny_patch16_244"},
        {"model": "run:none"},
        {"target": 99},
        {"target": "tabbi"},
        {"target": "class 00"},
    ],
)
def test_bad_requests_are_refused_in_chinese(workbench: Workbench, asked: dict[str, Any]) -> None:
    assert_chinese(explained(workbench, **asked)["error"])


def pickled(content: Any) -> Callable[[Path], object]:
    return lambda path: torch.save(content, path)


TENSOR = {"blocks.0.weight": torch.zeros(2, 2)}
Save = Callable[[Path], object]
FILES: dict[str, tuple[str, Save]] = {
    "text": ("w.pth", lambda path: path.write_text("<html>")),
    "damaged": ("w.pth", lambda path: path.write_bytes(b"PK\x03\x04 and no more")),
    "safetensors": ("w.safetensors", lambda path: path.write_bytes(b"0" * 20)),
    "nan": ("w.pth", pickled({"a.weight": torch.full((3, 3), torch.nan)})),
    "keys": ("w.pth", pickled({"epoch": 3, "name": "x"})),
    "list": ("w.pth", pickled([1, 2])),
    "fit": ("w.pth", pickled(TENSOR)),
    "lora": ("w.pth", pickled({"a.lora_A.weight": torch.zeros(2, 2)})),
    "quantised": ("w.pth", pickled({"a.qweight": torch.zeros(2, 2)})),
    "no name": ("w.pth", pickled(TENSOR)),
    "ending": ("w.exe", lambda path: path.write_bytes(b"x")),
}


@pytest.mark.parametrize("name", FILES)
def test_bad_weights_are_refused_in_chinese(client: TestClient, tmp_path: Path, name: str) -> None:
    called, save = FILES[name]
    file = tmp_path / called
    save(file)
    sent = client.post(
        "/explorer/uploads/weights",
        params={"name": called},
        content=file.read_bytes(),
        headers=BYTES,
    )
    if sent.status_code != 200:
        assert_chinese(told_by(sent))
        return
    architecture = "" if name == "no name" else "vit_tiny_patch16_224"
    order = {"architecture": architecture, "weights": sent.json()["upload"]}
    assert_chinese(lines_of(client, "models", order)[-1]["error"])


@pytest.mark.parametrize("text", ["one\n\ntwo", "[1, 2", '{"a": "b"}', "one,two\n"])
@pytest.mark.parametrize("ending", [".txt", ".json", ".csv"])
def test_bad_labels_are_refused_in_chinese(
    client: TestClient, workbench: Workbench, text: str, ending: str
) -> None:
    sent = client.post(
        "/explorer/uploads/labels", params={"name": f"n{ending}"}, content=text, headers=BYTES
    )
    order = {"architecture": workbench.start_name, "labels": sent.json()["upload"]}
    assert_chinese(lines_of(client, "models", order)[-1]["error"])


@pytest.mark.parametrize(
    "order",
    [
        {},
        {"weights": "gone"},
        {"architecture": "vit_tiny_patch16_224", "outputs": "lables"},
    ],
)
def test_bad_models_are_refused_in_chinese(client: TestClient, order: dict[str, Any]) -> None:
    assert_chinese(lines_of(client, "models", order)[-1]["error"])


@pytest.mark.parametrize(
    ("path", "order"),
    [
        ("change", {"patches": [999], "how": "grey", "heads": []}),
        ("change", {"patches": [], "how": "grey", "heads": [[99, 0]]}),
        ("change", {"patches": [], "how": "nothing", "heads": []}),
        ("removal", {"ranking": [0, 0], "how": "grey", "heads": []}),
        ("change", {"nothing": 1}),
        ("analyses", {"ask": "nothing"}),
    ],
)
def test_bad_changes_are_refused_in_chinese(
    client: TestClient, workbench: Workbench, path: str, order: dict[str, Any]
) -> None:
    key = workbench.analyse("cat.png", workbench.start_name, None).key
    assert_chinese(told_by(client.post(f"/explorer/results/{key}/{path}", json=order)))
    assert_chinese(told_by(client.post("/explorer/results/gone/analyses", json={"ask": "layers"})))


@pytest.mark.parametrize("name", ["rolout", "nothing_like_it", "rollout@1", "grad_cam@99"])
def test_bad_maps_are_refused_in_chinese(
    client: TestClient, workbench: Workbench, name: str
) -> None:
    key = workbench.analyse("cat.png", workbench.start_name, None).key
    asked = {"ask": "map", "name": name}
    told = client.post(f"/explorer/results/{key}/analyses", json=asked).text.splitlines()
    assert_chinese(json.loads(told[-1])["error"])


@pytest.mark.parametrize(
    "wrong",
    [
        {"whole": "none"},
        {"whole": "attention/99"},
        {"whole": "positions/1"},
        {"columns": ["k", "k"]},
        {"columns": ["k"], "grid": [1, 2]},
        {"columns": ["row", "column", "v"], "rows": [[1, 1, "high"]], "grid": [1, 1]},
    ],
)
def test_bad_tables_are_refused_in_chinese(
    client: TestClient, workbench: Workbench, wrong: dict[str, Any]
) -> None:
    key = workbench.analyse("cat.png", workbench.start_name, None).key
    table = {"figure": "f", "title": "F", "shows": "", "targeted": False, "columns": [], "rows": []}
    answer = client.post(f"/explorer/results/{key}/figure.npz", json={**table, **wrong})
    assert_chinese(told_by(answer))


@pytest.mark.parametrize(
    "path",
    ["heads/99/0/0", "bias/99", "features/gone", "matches/features/0/1/gone"],
)
def test_addresses_with_nothing_answer_in_chinese(
    client: TestClient, workbench: Workbench, path: str
) -> None:
    key = workbench.analyse("cat.png", workbench.start_name, None).key
    assert_chinese(told_by(client.get(f"/explorer/results/{key}/{path}")))


@pytest.mark.parametrize(
    "order",
    [
        {"order": "start", "recipe": "smok", "data": "x"},
        {"order": "start", "recipe": "zzzz", "data": "x"},
        {"order": "start", "recipe": "smoke", "data": " "},
        {"order": "start", "recipe": "smoke", "data": "~no-one/x"},
        {"order": "start", "recipe": "smoke", "data": "x", "epochs": 0},
        {"order": "resume", "run": "none"},
        {"order": "start"},
    ],
)
def test_bad_trainings_are_refused_in_chinese(client: TestClient, order: dict[str, Any]) -> None:
    assert_chinese(told_by(client.post("/explorer/training/orders", json=order)))


@pytest.mark.skipif(shutil.which("node") is None, reason="needs node")
def test_the_page_s_own_script_says_the_same(tmp_path: Path) -> None:
    """`translated` stands for words.js in these tests: node runs that on the same sentences."""
    base = static_folder() / "base"
    for name in ("words", "address"):
        script = (base / f"{name}.js").read_text(encoding="utf-8")
        (tmp_path / f"{name}.mjs").write_text(script.replace('.js"', '.mjs"'), encoding="utf-8")
    nested = Sentence("part.none", "none")
    told = [
        keyed(
            Sentence(
                "error.option.expected",
                "{what} {value} {expected}",
                what="x",
                value=1,
                expected=nested,
            )
        ),
        keyed("The disk is full."),
        keyed(""),
        keyed(Sentence("no.such", "It has no words.")),
        keyed(Sentence("error.x", "{what}", what=Sentence("no.such", "inner"))),
    ]
    words = words_of("zh") | {"error.x": "“{what}”"}
    files = {"en": words_of("en"), "zh": words}
    (tmp_path / "run.mjs").write_text(
        f"""
        globalThis.document = {{ baseURI: "http://x/", documentElement: {{}} }};
        const files = {json.dumps(files)};
        globalThis.fetch = async (url) => ({{
          ok: true, json: async () => files[/([a-z]+)\\.json/.exec(url)[1]],
        }});
        const {{ speak, said, t }} = await import("./words.mjs");
        await speak("zh", {{ "only.english": "served" }});
        console.log(JSON.stringify([...{json.dumps(told)}.map(said), t("only.english")]));
        """,
        encoding="utf-8",
    )
    ran = subprocess.run(
        ["node", "run.mjs"], cwd=tmp_path, capture_output=True, text=True, check=True
    )
    expected = [translated(one, words) for one in told]
    assert json.loads(ran.stdout) == [*expected, "served"]
    assert expected[1] == "服务器说（英文）：The disk is full."


def test_a_cell_runs_nowhere() -> None:
    """What a spreadsheet takes for a formula gets a quotation mark, and numbers stay numbers."""
    given = ("=1+1", "+cmd", "-cmd", "@SUM(A1)", "\tx", "\rx", "-1.5e-3", "+2", "plain", "a\x1b[m")
    assert [cell(value) for value in given] == [
        "'=1+1", "'+cmd", "'-cmd", "'@SUM(A1)", "'\\tx", "'\\rx", "-1.5e-3", "+2", "plain",
        "a\\x1b[m",
    ]  # fmt: skip
    assert [cell(value) for value in (-1.5, 3, None, True)] == [-1.5, 3, None, True]


def test_names_are_shown_escaped_on_a_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    say("a\x1b[31m\u202eb")
    say_json({"\x9b2J": ["\x1b[31m", "é\u202e"]})
    printed = capsys.readouterr().out
    assert not CONTROLS.search(printed.replace("\n", ""))
    assert json.loads(printed.partition("\n")[2]) == {"\x9b2J": ["\x1b[31m", "é\u202e"]}
    assert marked("[red]\x07") == "\\[red]\\x07"
    assert line("a\n\x1b[2Jb") == "vit-explorer: a \\x1b[2Jb"


def test_class_names_lose_control_characters(tmp_path: Path) -> None:
    names = tmp_path / "names.txt"
    names.write_text("=ant\x1b[31m\nbee\u202e\n", encoding="utf-8")
    assert read_labels(names, 2, "m") == ("=ant\\x1b[31m", "bee\\u202e")
