"""Ctrl-C and a polite kill, turned into a request to stop."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any


class Stopped(Exception):  # noqa: N818 - it is a request, not an error
    """A run was asked to stop before its first step."""


@contextmanager
def interrupts(stop: threading.Event) -> Iterator[None]:
    """Let Ctrl-C and a polite kill set `stop`; a second one interrupts at once."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = {kind: signal.getsignal(kind) for kind in (signal.SIGINT, signal.SIGTERM)}

    def ask(kind: int, frame: Any) -> None:
        stop.set()
        signal.signal(kind, before[signal.Signals(kind)])

    for kind in before:
        signal.signal(kind, ask)
    try:
        yield
    finally:
        for kind, handler in before.items():
            signal.signal(kind, handler)
