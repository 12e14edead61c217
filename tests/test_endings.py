"""Commands that are told to end at any moment: exit code, words, and nothing left behind.

In the suite each command is told once, at a moment drawn with a seed; VIT_EXPLORER_MOMENTS=20 tells
each of them twenty times, by every signal in turn.
"""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import threading
import urllib.request
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest

from vit_explorer import ending
from vit_explorer.explaining import explanation
from vit_explorer.explaining.views import saving

from .noise import write_noise

pytestmark = [
    pytest.mark.skipif(sys.platform == "win32", reason="a process is ended without a signal there"),
    pytest.mark.usefixtures("terminal"),
]
ROOT = Path(__file__).resolve().parents[1]
MOMENTS = int(os.environ.get("VIT_EXPLORER_MOMENTS", "1"))
KINDS = ("SIGINT", "SIGTERM", "SIGHUP", "SIGKILL")
RECIPE = """
name: tiny
epochs: 30
batch_size: 16
model: {image_size: [16, 16], patch_size: [4, 4], dim: 24, depth: 2, heads: 2}
"""
# Seconds of a processor within which a command has something to do, on a machine like those of CI.
MANIFESTS = (explanation.MANIFEST, saving.MANIFEST)
LENGTHS = {"explain": 9.0, "batch": 9.0, "view": 8.0, "train": 12.0, "app": 12.0}


@contextmanager
def started(arguments: Sequence[object], folder: Path) -> Iterator[subprocess.Popen[str]]:
    """A command whose temporary files and log go into a folder."""
    (folder / "temporary").mkdir(parents=True)
    places = {
        "TMPDIR": str(folder / "temporary"),
        "GRADIO_TEMP_DIR": str(folder / "temporary/gradio"),
        "VIT_EXPLORER_LOG": str(folder / "log.txt"),
        "HF_HUB_OFFLINE": "1",
        "NO_PROXY": "127.0.0.1",
    }
    process = subprocess.Popen(
        [sys.executable, "-m", "vit_explorer", *map(str, arguments)],
        cwd=ROOT,
        env={**os.environ, **places},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        yield process
    finally:
        process.kill()
        process.communicate()


def finished(command: Sequence[str], **environment: str) -> subprocess.CompletedProcess[str]:
    """A command that ended by itself, with what it printed."""
    return subprocess.run(
        command,
        check=False,
        cwd=ROOT,
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        timeout=90,
    )


def ended(process: subprocess.Popen[str], kind: str) -> tuple[int, str, str]:
    """The code, as a shell has it, and the words of a process that is sent a signal."""
    process.send_signal(getattr(signal, kind))
    printed, told = process.communicate(timeout=60)
    code = process.returncode
    return (128 - code if code < 0 else code), printed, told


def check(kind: str, code: int, told: str, folder: Path, out: Path) -> None:
    """Whether a command ended as it should, and left whole things alone."""
    # Of a command that was done before it heard.
    right = {0, 137 if kind == "SIGKILL" else ending.CODES[kind]}
    assert code in right, (code, told)
    assert "Traceback" not in told and "terminate" not in told, told
    others = [line for line in told.splitlines() if not line.startswith("vit-explorer: ")]
    assert others == [] or "reading" in told, told  # training shows its progress
    assert not (folder / "log.txt").exists(), (folder / "log.txt").read_text()
    if kind == "SIGKILL":
        return
    left = [*(folder / "temporary").glob("*vit-explorer*"), *out.rglob(".*")]
    assert [path.name for path in left if path.name != ".lock"] == []
    for result in {file.parent for file in (out / "explained").rglob("*.npz")}:
        assert any((result / whole).is_file() for whole in MANIFESTS), result


def asking(folder: Path, out: Path) -> dict[str, Callable[[], list[object]]]:
    """The arguments of each command, made when asked for."""
    cat, into = ROOT / "assets/cat.png", ("--out", out / "explained")

    def train() -> list[object]:
        recipe = folder / "tiny.yaml"
        recipe.write_text(RECIPE, encoding="utf-8")
        return ["train", recipe, "--data", write_noise(folder / "data", "ab"), "--out", out / "run"]

    return {
        "explain": lambda: ["explain", cat, ROOT / "assets/coffee.png", "--trust", *into],
        "batch": lambda: ["batch", write_noise(folder / "data", "ab"), *into],
        "view": lambda: ["view", "all", cat, *into],
        "train": train,
    }


@pytest.mark.parametrize("command", ["explain", "batch", "view", "train"])
def test_a_command_ends_at_any_moment(command: str, tmp_path: Path) -> None:
    draw = random.Random(f"endings of {command}")
    for number in range(MOMENTS):
        kind = KINDS[number % 4] if MOMENTS > 3 else draw.choice(KINDS[:3])
        folder = tmp_path / str(number)
        out = folder / "out"
        folder.mkdir()
        with started(asking(folder, out)[command](), folder / "own") as process:
            moment = draw.uniform(0.3, LENGTHS[command])
            with suppress(subprocess.TimeoutExpired):
                process.wait(moment)
            code, _, told = ended(process, kind)
        check(kind, code, told, folder / "own", out)


def test_the_page_ends_at_any_moment(small_checkpoint: Path, tmp_path: Path) -> None:
    """While it starts, while it computes for a reader, and while it waits."""
    draw = random.Random("endings of app")
    for number in range(MOMENTS):
        kind = KINDS[number % 4] if MOMENTS > 3 else "SIGINT"
        folder = tmp_path / str(number)
        starting = MOMENTS > 3 and draw.random() < 0.4
        with started(("app", "--port", 0, "--model", small_checkpoint), folder) as process:
            if starting:
                with suppress(subprocess.TimeoutExpired):
                    process.wait(draw.uniform(0.3, LENGTHS["app"]))
            else:
                assert process.stdout is not None
                address = process.stdout.readline().split()[4]
                asked = threading.Thread(target=explain_all, args=(address,), daemon=True)
                asked.start()
                asked.join(draw.uniform(0.5, 5.0))
            code, _, told = ended(process, kind)
        check(kind, code, told, folder, folder / "out")
        assert code != 0


def explain_all(address: str) -> None:
    """Ask for what takes long, until the server is gone."""
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))

    def ask(path: str, order: dict[str, Any]) -> list[dict[str, Any]]:
        request = urllib.request.Request(
            f"{address}explorer/{path}",
            json.dumps(order).encode(),
            {"content-type": "application/json"},
        )
        return [json.loads(line) for line in opener.open(request, timeout=60)]

    with suppress(OSError, ValueError):
        model = json.load(opener.open(f"{address}explorer/setup", timeout=60))["model"]
        order = {"picture": "cat.png", "model": model}
        key = ask("explanations", order)[-1]["result"]["key"]
        ask(f"results/{key}/analyses", {"ask": "layers"})
        ask(f"results/{key}/analyses", {"ask": "trust", "names": ["rise", "rollout"]})


def test_an_import_is_not_torn(tmp_path: Path) -> None:
    """What starts in C++ would abort the process where an exception met it."""
    (tmp_path / "slow.py").write_text(
        "import os, signal\nos.kill(os.getpid(), signal.SIGINT)\nprint('went on')\n"
    )
    code = (
        "import atexit, sys\nfrom vit_explorer import ending\nending.listen()\n"
        "atexit.register(print, 'cleaned')\nsys.path.insert(0, sys.argv[1])\n"
        "try:\n import slow\nexcept BaseException:\n print('torn')\n"
    )
    done = finished([sys.executable, "-c", code, str(tmp_path)])
    assert (done.returncode, done.stdout, done.stderr) == (
        130,
        "cleaned\n",
        "vit-explorer: stopped\n",
    )


def test_a_request_that_is_swallowed_is_kept_all_the_same() -> None:
    code = (
        "import os, signal, time\nfrom vit_explorer import ending\nending.GRACE = 0.3\n"
        "ending.listen()\ntry:\n os.kill(os.getpid(), signal.SIGTERM)\n time.sleep(9)\n"
        "except KeyboardInterrupt:\n pass\ntime.sleep(30)\n"
    )
    done = finished([sys.executable, "-c", code])
    assert (done.returncode, done.stderr) == (143, "vit-explorer: stopped\n")


def test_threads_that_compute_don_t_abort_the_end() -> None:
    """Python takes the interpreter down under them, and C++ on their stacks then aborts."""
    code = (
        "import threading, torch\nfrom vit_explorer import __main__, cli\n"
        "def work():\n while True: torch.nn.functional.conv2d(torch.rand(1, 8, 64, 64),"
        " torch.rand(8, 8, 3, 3))\n"
        "def main(arguments):\n"
        " for _ in range(4): threading.Thread(target=work, daemon=True).start()\n"
        " raise SystemExit(2)\ncli.main = main\n__main__.run([])\n"
    )
    done = finished([sys.executable, "-c", code])
    assert (done.returncode, done.stderr) == (2, "")


def test_what_nobody_foresaw_is_one_line_and_in_the_log(
    tmp_path: Path,
) -> None:
    log = tmp_path / "state/log.txt"
    code = (
        "import sys\nfrom vit_explorer import __main__\nimport vit_explorer.models.zoo as zoo\n"
        "def fail(): raise RuntimeError('unforeseen \\x1b[31m')\n"
        "zoo.available_models = fail\n"
        "__main__.run(sys.argv[1:])\n"
    )
    done = finished(
        [sys.executable, "-c", code, "models", "\x1b[31m"],
        VIT_EXPLORER_LOG=str(log),
    )
    assert done.returncode == 2 and done.stdout == ""
    (line,) = done.stderr.splitlines()
    number = line.partition(" under ")[2][:6]
    assert line.startswith("vit-explorer: ") and str(log) in line
    written = log.read_text(encoding="utf-8")
    assert number in written and "RuntimeError: unforeseen" in written and "Traceback" in written


def test_a_reader_who_has_seen_enough_is_left_in_peace() -> None:
    # `true` has gone long before the first line is printed; `head` may or may not have.
    command = f"{sys.executable} -m vit_explorer models | true; echo ${{PIPESTATUS[0]}}"
    done = finished(["bash", "-c", command])
    assert done.stdout.strip() == str(ending.PIPE_CLOSED)
    assert done.stderr == ""
