"""Work that can be called off: it looks, where it can end, whether it shall go on.

Passes of models look at each module and function that they watch, and loading at each function of
torch.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager


class Stopped(Exception):  # noqa: N818 - no error: it was asked for
    """Raised by work that nobody wants any more; it ends there."""


class _Watch(threading.local):
    check: Callable[[], None] | None = None


_watch = _Watch()


@contextmanager
def stoppable(check: Callable[[], None]) -> Iterator[None]:
    """Let what this thread does in the block end where it looks and `check` raises, or what may
    call off all around it."""
    before = _watch.check

    def both() -> None:
        if before is not None:
            before()
        check()

    _watch.check = both
    try:
        yield
    finally:
        _watch.check = before


def can_stop() -> bool:
    """Whether anyone may call this thread's work off."""
    return _watch.check is not None


def look() -> None:
    """Go on, or raise what the work is called off with."""
    check = _watch.check
    if check is not None:
        check()
