"""Work that can be called off: it looks, where it can end, whether it shall go on.

Passes of models look at each module and function that they watch, and loading at each function of
torch.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future, wait
from contextlib import contextmanager
from typing import TypeVar

Value = TypeVar("Value")
# Seconds between two looks of who waits for what can't look by itself.
LOOK_EVERY = 0.1


class Stopped(BaseException):
    """Raised by work that nobody wants any more; it ends there.

    As little an Exception as KeyboardInterrupt is: whoever catches what libraries raise would say
    that the work failed.
    """


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


def waited(work: Callable[[], Value]) -> Value:
    """What `work` returns or raises, done in a thread of its own while this one looks whether to go
    on: for what waits for a network, which can't look. Called off, it is left to its own end."""
    future: Future[Value] = Future()

    def run() -> None:
        try:
            future.set_result(work())
        except BaseException as error:
            future.set_exception(error)

    threading.Thread(target=run, daemon=True).start()
    while not wait([future], LOOK_EVERY).done:
        look()
    return future.result()
