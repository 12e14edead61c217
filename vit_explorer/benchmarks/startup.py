"""What starting costs: CPU seconds of fresh processes, as ratios to importing torch alone.

CPU seconds, user's and system's together, tell more than seconds on a clock: they don't grow with
what else a machine is doing.
"""

from __future__ import annotations

import os
import subprocess
import sys
import urllib.request
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial

import psutil

from vit_explorer.models.shipped import asset

TORCH = "import torch"
WITH_GRADIO = "import torch, gradio"
HELP = """
import contextlib, io
from vit_explorer.cli import main
with contextlib.suppress(SystemExit), contextlib.redirect_stdout(io.StringIO()):
    main(["--help"])
"""
EXPLAIN = "import vit_explorer as vx; vx.explain(vx.load_model(), {picture!r})"
# Threads that wait for one another spin, which would count as work.
ONE_THREAD = {"OMP_NUM_THREADS": "1"}
# The process tells what it used: its start counts too, and it is asked nothing once it has ended.
TELL = "{code}\nimport time; print(time.process_time())"


@dataclass(frozen=True)
class Row:
    """What is started, beside what, and how many times its CPU seconds it may take."""

    what: str
    job: str
    over: str
    target: float


ROWS = (
    Row("vit-explorer --help / import torch", "help", TORCH, 0.15),
    Row("import vit_explorer / import torch", "import vit_explorer", TORCH, 0.3),
    Row("import, load and explain / import torch", "explain", TORCH, 1.5),
    Row("the page served / import torch, gradio", "page", WITH_GRADIO, 1.3),
)


def measure(rounds: int, progress: Callable[[int, int], None] | None = None) -> dict[str, float]:
    """CPU seconds of each job: the least of some rounds, all jobs in turn in each."""
    jobs: dict[str, Callable[[], float]] = {
        TORCH: partial(_run, TORCH),
        WITH_GRADIO: partial(_run, WITH_GRADIO),
        "help": partial(_run, HELP),
        "import vit_explorer": partial(_run, "import vit_explorer"),
        "explain": partial(_run, EXPLAIN.format(picture=str(asset("cat.png")))),
        "page": _serve,
    }
    found: dict[str, list[float]] = {job: [] for job in jobs}
    for done in range(rounds):
        for job, run in jobs.items():
            found[job].append(run())
        if progress:
            progress(done + 1, rounds)
    return {job: min(seconds) for job, seconds in found.items()}


def ratios(seconds: Mapping[str, float]) -> dict[str, float]:
    """The rows' ratios from the CPU seconds of their jobs."""
    return {row.what: seconds[row.job] / seconds[row.over] for row in ROWS}


def _run(code: str) -> float:
    """CPU seconds of a Python process that runs some code."""
    command = [sys.executable, "-c", TELL.format(code=code)]
    done = subprocess.run(  # noqa: S603
        command, capture_output=True, text=True, check=True, env={**os.environ, **ONE_THREAD}
    )
    return float(done.stdout.split()[-1])


def _serve() -> float:
    """CPU seconds of the page's process until it has answered with the page."""
    command = [sys.executable, "-m", "vit_explorer", "app", "--port", "0", "--no-open"]
    environment = {**os.environ, **ONE_THREAD}
    with subprocess.Popen(  # noqa: S603
        command, stdout=subprocess.PIPE, text=True, env=environment
    ) as process:
        try:
            told = process.stdout.readline() if process.stdout else ""
            address = next(word for word in told.split() if word.startswith("http://"))
            with urllib.request.urlopen(address) as answer:  # noqa: S310 - our own server
                answer.read()
            times = psutil.Process(process.pid).cpu_times()
        finally:
            process.terminate()
    return times.user + times.system
