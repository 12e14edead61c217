"""How a command ends: when it is asked to, at any moment, with the exit code that says so.

Python's own way is not enough where C++ runs. An exception in the midst of an import aborts the
process, one in a callback is swallowed, and threads that compute while the interpreter is taken
down abort it too. So a program is left by `leave`, which ends what is registered to end (temporary
folders among it) and then the process itself, whatever its threads do.
"""

from __future__ import annotations

import atexit
import os
import signal
import socket
import sys
import threading
from contextlib import suppress
from types import FrameType
from typing import NoReturn

# A closed terminal is as polite as `kill`.
CODES = {"SIGINT": 130, "SIGTERM": 143, "SIGHUP": 143}
PIPE_CLOSED = 141
# Seconds that a request may take to be followed before the process is ended all the same.
GRACE = 15.0
STOPPED = b"vit-explorer: stopped\n"
SHOW_CURSOR = b"\x1b[?25h"  # a spinner hides it

_asked: int | None = None
_heard = False
_bell: socket.socket | None = None


class EndAsked(KeyboardInterrupt):
    """Raised in the main thread by a signal that asks the process to end."""


def hangup() -> signal.Signals | None:
    """What a closed terminal sends, where there is such a thing and `nohup` doesn't ignore it."""
    found: signal.Signals | None = getattr(signal, "SIGHUP", None)
    return None if found is None or signal.getsignal(found) == signal.SIG_IGN else found


def requests() -> tuple[signal.Signals, ...]:
    """The signals that ask this process to end."""
    closed = hangup()
    return (signal.SIGINT, signal.SIGTERM, *(() if closed is None else (closed,)))


def note(kind: int) -> None:
    """Remember that a signal asked for the end, for the exit code."""
    global _asked  # noqa: PLW0603 - a process ends once
    _asked = _asked or CODES[signal.Signals(kind).name]


def asked() -> int | None:
    """The exit code of what asked the process to end; None where nothing did."""
    return _asked


def listen() -> None:
    """From now on a signal ends the process in order: for the start of a program, not a library."""
    global _bell
    _bell, heard = socket.socketpair()
    _bell.setblocking(False)
    threading.Thread(target=_watch, args=(heard,), name="ending", daemon=True).start()
    for kind in requests():
        signal.signal(kind, _hear)


def leave(code: int) -> NoReturn:
    """End the process with what it printed shown and what is registered to end ended."""
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except (OSError, ValueError, AttributeError):  # a pipe that nobody reads, or no stream
            code = code or PIPE_CLOSED
    with suppress(BaseException):  # whatever it is must not change the code
        atexit._run_exitfuncs()
    os._exit(code)


def _hear(kind: int, frame: FrameType | None) -> None:
    global _heard
    again, _heard = _heard, True
    note(kind)
    if _bell is not None:
        with suppress(OSError):
            _bell.send(b".")
    if again or _imports(frame):
        _end()
    raise EndAsked


def _imports(frame: FrameType | None) -> bool:
    """Whether a module is being imported: C++ code that starts can't be interrupted."""
    while frame is not None:
        if frame.f_code.co_filename == "<frozen importlib._bootstrap>":
            return True
        frame = frame.f_back
    return False


def _watch(heard: socket.socket) -> None:
    """End the process where the main thread has not within `GRACE` seconds."""
    heard.recv(1)
    threading.Event().wait(GRACE)
    _end()


def _end() -> NoReturn:
    # Not by print: the signal may have come in the midst of one.
    with suppress(OSError):
        os.write(2, (SHOW_CURSOR if os.isatty(2) else b"") + STOPPED)
    leave(_asked or CODES["SIGINT"])
