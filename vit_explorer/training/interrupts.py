"""Ctrl-C, a polite kill and a closed terminal, turned into a request to stop."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from vit_explorer.ending import note, requests


@contextmanager
def interrupts(stop: threading.Event) -> Iterator[None]:
    """Let Ctrl-C, a polite kill and a closed terminal set `stop`; a second one ends at once."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = {kind: signal.getsignal(kind) for kind in requests()}

    def ask(kind: int, frame: Any) -> None:
        note(kind)
        stop.set()
        signal.signal(kind, before[signal.Signals(kind)])

    for kind in before:
        signal.signal(kind, ask)
    try:
        yield
    finally:
        for kind, handler in before.items():
            signal.signal(kind, handler)
