"""The commands: what they print and write, and one helpful line for everything wrong."""

from __future__ import annotations

import hashlib
import io
import json
import os
import subprocess
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from safetensors.torch import save_file

import vit_explorer as vx
from vit_explorer import cli
from vit_explorer.cli.progress_bars import method_bars
from vit_explorer.page import Workbench

from .browser import running_app
from .noise import write_noise
from .packed import unpack
from .test_zoo import CONFIG, VisionTransformer, ViTConfig, checkpoint

__all__ = ["checkpoint"]

ROOT = Path(__file__).parents[1]


def run(*arguments: object) -> int:
    with pytest.raises(SystemExit) as stopped:
        cli.main([str(argument) for argument in arguments])
    return int(stopped.value.code or 0)


def test_explain_writes_what_python_gives(
    checkpoint: Path, cat: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    code = run("explain", cat, "--model", checkpoint, "--method", "rollout", "--method",
               "generic_attention", "--target", "bee", "--out", out,
               "--option", "rollout.fusion=max", "--option", "rollout.discard=0.5")  # fmt: skip
    printed = capsys.readouterr()
    assert code == 0, printed.err
    expected = vx.explain(
        vx.load_model(checkpoint),
        cat,
        methods=("rollout", "generic_attention"),
        target="bee",
        options={"rollout": {"fusion": "max", "discard": 0.5}},
    )
    for prediction in expected.predictions:
        assert prediction.label in printed.out
        assert f"{prediction.probability:.1%}" in printed.out
    with np.load(out / "cat" / "heatmaps.npz") as maps:
        assert set(maps) == {"rollout", "generic_attention"}
        for name, heatmap in expected.heatmaps.items():
            np.testing.assert_allclose(maps[name], heatmap.values, rtol=1e-5)
    content = json.loads((out / "cat" / "explanation.json").read_text())
    assert content["target"]["label"] == "bee"
    assert content["methods"]["rollout"]["options"]["fusion"] == "max"


def test_pictures_of_one_name_get_folders_of_their_own(
    checkpoint: Path, cat: Path, tmp_path: Path
) -> None:
    other = tmp_path / "cat.jpg"
    Image.new("RGB", (60, 60), "red").save(other)
    assert run("explain", cat, other, "--model", checkpoint, "--out", tmp_path / "out") == 0
    assert {folder.name for folder in (tmp_path / "out").iterdir()} == {"cat", "cat-2"}


def test_version(capsys: pytest.CaptureFixture[str]) -> None:
    assert run("--version") == 0
    assert capsys.readouterr().out == f"vit-explorer {vx.__version__}\n"


def test_all_methods(checkpoint: Path, cat: Path, tmp_path: Path) -> None:
    code = run("explain", cat, "--model", checkpoint, "--method", "all", "--out", tmp_path)
    assert code == 0
    with np.load(tmp_path / "cat" / "heatmaps.npz") as maps:
        assert set(maps) == set(vx.METHODS)


def test_slow_methods_show_a_bar_in_a_terminal(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    with method_bars() as progress:
        assert progress is None
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    with method_bars() as progress:
        assert progress is not None
        for method in ("rise", "occlusion"):
            progress(method, 1, 4)
            progress(method, 4, 4)
    shown = capsys.readouterr().err
    assert "rise" in shown and "occlusion" in shown and "0/4" in shown


def test_trust(
    checkpoint: Path, cat: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run("explain", cat, "--model", checkpoint, "--trust", "--out", tmp_path) == 0
    printed = capsys.readouterr().out
    assert "Gaussian in the middle" in printed
    written = json.loads((tmp_path / "cat" / "explanation.json").read_text())
    model = vx.load_model(checkpoint)
    maps = vx.explain(model, cat).heatmaps
    both = {}
    for protocol, trust in written["trust"].items():
        assert set(trust["maps"]) == set(maps) and trust["protocol"] == protocol
        both[protocol] = expected = vx.faithfulness(model, cat, maps, protocol=protocol)
        for name, score in expected.scores.items():
            assert trust["maps"][name]["insertion"] == pytest.approx(score.insertion, abs=1e-5)
            assert trust["maps"][name]["beats"] == expected.beaten(name)
        assert len(trust["random"]) == 20
    assert written["protocols_differ"] == vx.disagreements(both["pixels"], both["tokens"])
    for name in written["protocols_differ"]:
        assert f"{name}: Covering pixels says" in printed


def test_one_protocol_is_asked_for_by_its_name(
    checkpoint: Path, cat: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    asked = ("explain", cat, "--model", checkpoint, "--out", tmp_path)
    assert run(*asked, "--protocol", "tokens") == 0
    assert "by tokens taken out" in capsys.readouterr().out
    written = json.loads((tmp_path / "cat" / "explanation.json").read_text())
    assert set(written["trust"]) == {"tokens"} and written["protocols_differ"] == {}
    assert run(*asked, "--protocol", "patches") == 2
    assert "expected pixels or tokens" in capsys.readouterr().err


def test_lists(capsys: pytest.CaptureFixture[str], checkpoint: Path) -> None:
    assert run("models", "vit_tiny") == 0
    assert "vit_tiny_patch16_224\n" in capsys.readouterr().out
    assert run("methods") == 0
    printed = capsys.readouterr().out
    assert all(name in printed for name in vx.METHODS)
    assert run("inspect", checkpoint) == 0
    printed = capsys.readouterr().out
    assert "4, 4" in printed
    assert vx.load_model(checkpoint).sha256[:16] in printed


def test_inspect_prints_json_alone(checkpoint: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("inspect", checkpoint, "--json", "--std", 0.2, 0.3, 0.4) == 0
    content = json.loads(capsys.readouterr().out)
    model = vx.load_model(checkpoint)
    assert content["weights_sha256"] == model.sha256
    assert content["grid"] == [4, 4] and content["mean"] == [0.5] * 3
    assert content["std"] == [0.2, 0.3, 0.4] and content["preprocess_given"] == ["std"]
    assert content["labels"] == ["ant", "bee", "cow"] and content["metrics"] == {}


def test_intervene_prints_json_alone(
    checkpoint: Path, cat: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    code = run("intervene", cat, "--model", checkpoint, "--head", "1,0", "--patch", "2,3",
               "--how", "grey", "--target", "bee", "--json")  # fmt: skip
    assert code == 0
    content = json.loads(capsys.readouterr().out)
    found = vx.intervene(
        vx.load_model(checkpoint), cat, heads_off=[(1, 0)], patches_off=[(2, 3)], how="grey",
        target="bee",
    )  # fmt: skip
    assert content["target"] == {
        "index": 1,
        "label": "bee",
        "before": pytest.approx(found.target_before.probability),
        "after": pytest.approx(found.target_after.probability),
        "score_before": pytest.approx(found.target_before.score),
        "score_after": pytest.approx(found.target_after.score),
    }
    assert content["heads_off"] == [[1, 0]] and content["patches_off"] == [[2, 3]]
    assert content["how"] == "grey"
    assert [each["label"] for each in content["after"]] == [each.label for each in found.after]


def test_view_draws_one_view_alone(
    checkpoint: Path, cat: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    code = run("view", "positions", cat, "--model", checkpoint, "--out", out)
    printed = capsys.readouterr()
    assert code == 0, printed.err
    assert printed.out == f"written to {out / 'cat'}/\n"
    with np.load(out / "cat" / "positions.npz") as arrays:
        expected = vx.position_similarity(vx.load_model(checkpoint))
        np.testing.assert_allclose(arrays["similarity"], expected, atol=1e-6)
    assert Image.open(out / "cat" / "positions.png").width > 100
    assert not list(out.glob("cat/heads*"))


def test_evaluate_counts_what_explain_predicts(
    checkpoint: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data = write_noise(tmp_path / "data", ("ant", "bee"))
    assert run("evaluate", "--data", data, "--model", checkpoint, "--device", "cpu") == 0
    printed = capsys.readouterr().out
    model = vx.load_model(checkpoint, device="cpu")
    likeliest, surprise = [], []
    for file in sorted((data / "test").glob("*/*.png")):
        logits = vx.trace(model, file).logits.flatten()[:2]  # only the data's classes count
        own = ("ant", "bee").index(file.parent.name)
        likeliest.append(int(logits.argmax()) == own)
        surprise.append(-float(logits.log_softmax(dim=0)[own]))
    assert f"accuracy           {np.mean(likeliest):.2%} of 32 pictures\n" in printed
    shown = float(printed.split("cross-entropy")[1].split()[0])
    assert shown == pytest.approx(np.mean(surprise), abs=1e-4)
    assert "Only the data's 2 classes counted as answers, of 3 that the model knows." in printed


def test_export_images_writes_every_picture_once(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def contents(root: Path) -> list[tuple[str, str, str]]:
        return sorted(
            (
                *file.relative_to(root).parts[:2],
                hashlib.sha256(Image.open(file).tobytes()).hexdigest(),
            )
            for file in root.rglob("*.png")
        )

    data = write_noise(tmp_path / "data", ("ant", "bee"))
    assert run("export-images", tmp_path / "out", "--data", data) == 0
    assert capsys.readouterr().out == f"64 pictures written to {tmp_path / 'out'}/\n"
    assert contents(tmp_path / "out") == contents(data)
    assert run("export-images", tmp_path / "out", "--data", data) == 2
    assert "not empty" in capsys.readouterr().err


@pytest.mark.slow
def test_the_page_starts_as_the_readme_says(tmp_path: Path) -> None:
    gradio_client = pytest.importorskip("gradio_client")
    bench = Workbench(vx.load_model("bundled"))
    first = bench.analyse("cat.png", bench.start_name, None).key
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))

    def fetch(path: str, host: str) -> tuple[int, bytes]:
        request = urllib.request.Request(f"{address}{path}", headers={"Host": host})
        try:
            with opener.open(request, timeout=60) as answer:
                return answer.status, answer.read()
        except urllib.error.HTTPError as error:
            return error.code, b""

    arguments = ("--allow-host", "explorer.example")
    with running_app(*arguments, scratch=tmp_path, program=("app.py",)) as address:
        client = gradio_client.Client(address, verbose=False)
        assert client.predict(api_name="/models")[0] == "bundled"
        status, setup = fetch("explorer/setup", "explorer.example")
        assert status == 200
        assert json.loads(setup)["model"] == "bundled"
        assert fetch("explorer/setup", "elsewhere.example")[0] == 400
        # The first result is made while the page is fetched.
        film, deadline = f"explorer/results/{first}/film", time.monotonic() + 120
        while fetch(film, "explorer.example")[0] == 404 and time.monotonic() < deadline:
            time.sleep(0.2)
        status, content = fetch(film, "explorer.example")
        assert status == 200
        facts, _ = unpack(content)
        assert tuple(facts["labels"]) == bench.model("bundled").labels


def test_every_command_has_help(capsys: pytest.CaptureFixture[str]) -> None:
    assert run() == 0
    listed = capsys.readouterr().out
    names = [command.name or command.callback.__name__ for command in cli.app.registered_commands]
    assert len(names) >= 5
    for name in names:
        assert name in listed
        assert run(name, "--help") == 0
        assert len(capsys.readouterr().out) > 100


def test_every_method_says_what_to_keep_in_mind() -> None:
    for method in vx.METHODS.values():
        assert method.function.__doc__
        assert method.caveat


@pytest.fixture(scope="module")
def bomb() -> bytes:
    """A small file of 900 megapixels; making it takes two seconds."""
    written = io.BytesIO()
    Image.new("1", (30_000, 30_000)).save(written, "PNG")
    return written.getvalue()


@pytest.fixture
def bad(tmp_path: Path, cat: Path, bomb: bytes) -> Path:
    """A folder of things a person might give by mistake."""
    (tmp_path / "text.png").write_text("this is no picture")
    (tmp_path / "truncated.jpg").write_bytes((ROOT / "assets/rocket.jpg").read_bytes()[:5000])
    (tmp_path / "empty.png").write_bytes(b"")
    (tmp_path / "drawing.svg").write_text('<svg xmlns="http://www.w3.org/2000/svg"></svg>')
    (tmp_path / "bomb.png").write_bytes(bomb)
    (tmp_path / "file").write_text("")
    (tmp_path / "two.txt").write_text("one\ntwo\n")
    (tmp_path / "evil.pth").write_bytes(b"cposix\nsystem\n(S'touch pickle-was-run'\ntR.")
    module = VisionTransformer(ViTConfig.from_dict({**CONFIG, "classes": 3}))
    save_file(module.state_dict(), tmp_path / "other.safetensors")
    return tmp_path


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ("explain {}/missing.png", "no file"),
        ("explain {}/text.png", "not a picture"),
        ("explain {}/truncated.jpg", "truncated|damaged|incomplete"),
        ("explain {}/empty.png", "empty"),
        ("explain {}/bomb.png", "30000.*100 megapixels"),
        ("explain {}/drawing.svg", "SVG"),
        ("explain {}", "folder"),
        ("explain cat.png --model vit_tiny_patch16_244", "did you mean 'vit_tiny_patch16_224'"),
        ("explain cat.png --weights {}/evil.pth --model deit_tiny_patch16_224", "Python objects"),
        ("explain cat.png --weights {}/other.safetensors --model deit_tiny_patch16_224",
         "don't fit deit_tiny_patch16_224"),
        ("explain cat.png --model {own} --labels {}/two.txt", "2 labels were given"),
        ("explain cat.png --model {own} --target dog", "no class 'dog'"),
        ("explain cat.png --model {own} --target 3", "no class 3"),
        ("explain cat.png --model {own} --method rolout", "did you mean 'rollout'"),
        ("explain cat.png --model {own} --option rollout", "METHOD.NAME=VALUE"),
        ("explain cat.png --model {own} --image-size 3 32", "smaller than a patch"),
        ("explain cat.png --model {own} --out {}/file", "is a file"),
        ("explain cat.png --model {own} --device gpu", "expected 'auto', 'cpu'"),
        ("explain cat.png --model {own} --target=--5", "no class '--5'"),
        ("explain cat.png --model {own} --option rollout.discard=abc", "discard ratio was 'abc'"),
        ("explain cat.png --model {own} --mean 0.5 0.5 --std 1", "2 numbers"),
        ("explain cat.png --model {own} --mean dark", "--mean was 'dark'"),
        ("models nothing-of-the-kind", "No model's name holds"),
        ("explain", "Missing argument"),
        ("explain cat.png --metod x", "--method"),
        ("explian cat.png", "explain"),
    ],
)  # fmt: skip
def test_bad_input_gets_one_line_and_writes_nothing(
    bad: Path,
    checkpoint: Path,
    cat: Path,
    arguments: str,
    message: str,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    import re

    monkeypatch.chdir(bad)
    before = set(bad.rglob("*"))
    words = [
        word.replace("{own}", str(checkpoint)).replace("{}", str(bad)).replace("cat.png", str(cat))
        for word in arguments.split()
    ]
    assert run(*words) == 2
    printed = capsys.readouterr()
    assert printed.out == ""
    assert printed.err.count("\n") == 1
    assert printed.err.startswith("vit-explorer: ")
    assert re.search(message, printed.err), printed.err
    assert "Traceback" not in printed.err
    assert len(printed.err) < 400 + len(str(bad))
    assert set(bad.rglob("*")) == before


def test_one_bad_picture_among_many_writes_nothing(
    bad: Path, checkpoint: Path, cat: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = bad / "results"
    assert run("explain", cat, bad / "text.png", "--model", checkpoint, "--out", out) == 2
    assert "text.png" in capsys.readouterr().err
    assert not out.exists()


def test_as_a_module_in_a_process_of_its_own(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "vit_explorer", "explain", tmp_path / "missing.png"],
        capture_output=True,
        text=True,
        check=False,
        cwd=ROOT,
    )
    assert done.returncode == 2
    assert done.stdout == ""
    assert done.stderr.startswith("vit-explorer: ")
    assert done.stderr.count("\n") == 1


def test_trust_follows_the_class_that_was_asked_for(
    checkpoint: Path, cat: Path, tmp_path: Path
) -> None:
    ranked = [guess.label for guess in vx.explain(vx.load_model(checkpoint), cat).predictions]
    asked = ("--method", "rollout", "--target", ranked[-1], "--trust", "--out", tmp_path)
    assert run("explain", cat, "--model", checkpoint, *asked) == 0
    written = json.loads((tmp_path / "cat" / "explanation.json").read_text())
    assert written["trust"]["pixels"]["label"] == ranked[-1] != ranked[0]
    assert written["trust"]["tokens"]["label"] == ranked[-1]


def test_random_weights_are_for_timm_s_names(
    checkpoint: Path, cat: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for model in ("bundled", checkpoint):
        assert run("explain", cat, "--model", model, "--random", "--out", tmp_path / "x") == 2
        assert "has its own weights; random ones are for timm" in capsys.readouterr().err
    assert not (tmp_path / "x").exists()


@pytest.mark.skipif(sys.platform != "linux", reason="only there names may be any bytes")
def test_names_that_are_no_text_are_written_escaped(
    checkpoint: Path, cat: Path, tmp_path: Path
) -> None:
    photos = tmp_path / "photos"
    photos.mkdir()
    Path(os.fsdecode(os.fsencode(photos) + b"/caf\xe9.png")).write_bytes(cat.read_bytes())
    (photos / "dog.png").write_bytes(cat.read_bytes())
    assert run("batch", photos, "--model", checkpoint, "--out", tmp_path / "out") == 0
    found = json.loads((tmp_path / "out" / "summary.json").read_text(encoding="utf-8"))
    assert len(found["pictures"]) == 2
