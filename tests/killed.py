"""Work in a process that is killed at a chosen moment."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

# What changes a file or a folder, as Python tells whoever audits it.
CHANGES = {"open", "os.rename", "os.mkdir", "os.remove", "os.rmdir"}


def forked(work: Callable[[], Any], out: Path, moment: int | None) -> int:
    """Run `work` in a process that is killed at its `moment`-th change under `out`; tells how many
    changes it made, -1 where it was killed."""
    told, tells = os.pipe()
    process = os.fork()
    if process == 0:
        made = 0

        def watch(event: str, arguments: tuple[Any, ...]) -> None:
            nonlocal made
            if event in CHANGES and str(arguments[0]).startswith(str(out)):
                made += 1
                if made == moment:
                    os.kill(os.getpid(), signal.SIGKILL)

        try:
            sys.addaudithook(watch)
            work()
            os.write(tells, str(made).encode())
        finally:
            os._exit(1)
    os.close(tells)
    _, status = os.waitpid(process, 0)
    with os.fdopen(told) as pipe:
        text = pipe.read()
    assert text or os.WIFSIGNALED(status), "the process failed"
    return int(text) if text else -1
