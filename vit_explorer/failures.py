"""What nobody foresaw: a sentence with a number, under which the log has the traceback.

The log is a file of this user's, so that no traceback meets a reader; VIT_EXPLORER_LOG names
another file, or "-" for stderr, as a container wants it.
"""

from __future__ import annotations

import logging
import os
import sys
import threading
import traceback
from pathlib import Path
from typing import Any

from vit_explorer.ending import EndAsked
from vit_explorer.sentences import Sentence, escaped

logger = logging.getLogger(__name__)

VARIABLE = "VIT_EXPLORER_LOG"
LOG_BYTES = 2**20
KEPT = 3
FORM = "%(asctime)s %(process)d %(levelname)s %(name)s: %(message)s"


def unforeseen(error: BaseException, what: str) -> Sentence:
    """Log an error that no sentence foresaw; returns what a page says of it, with its number.

    Args:
        what: what was being done, for the log.
    """
    return Sentence(
        "error.unexpected",
        "Something went wrong that the page has no words for; the server's log has the details "
        "under {number}. What was shown before is still here.",
        number=logged(error, what),
    )


def logged(error: BaseException, what: str, *, said: bool = False) -> str:
    """Log an error with its traceback; returns the number that finds it there.

    `said`: whoever calls says it on stderr.
    """
    import secrets

    number = secrets.token_hex(3)
    logger.error(
        "%s: %s (%s)", number, what, type(error).__name__, exc_info=error, extra={"said": said}
    )
    return number


def keep_log() -> None:
    """Send what this process logs to the log, and one line of each to stderr: for a program."""
    root = logging.getLogger()
    if os.environ.get(VARIABLE) == "-":
        whole = logging.StreamHandler()
        whole.setFormatter(_Escaping(FORM))
        root.addHandler(whole)
    else:
        file = _LogFile(logging.WARNING)
        file.setFormatter(logging.Formatter(FORM))
        root.addHandler(file)
        shown = logging.StreamHandler()
        shown.setLevel(logging.WARNING)
        shown.setFormatter(_OneLine())
        shown.addFilter(lambda record: not getattr(record, "said", False))
        root.addHandler(shown)
    # Gradio, for one, prints what it catches.
    traceback.print_exc = _printed
    sys.unraisablehook = _unraisable
    threading.excepthook = _uncaught


def log_place() -> str:
    """Where the log is, as a reader is told."""
    named = os.environ.get(VARIABLE)
    if named:
        return "stderr" if named == "-" else named
    from platformdirs import user_log_path

    return str(user_log_path("vit-explorer", appauthor=False) / "log.txt")


def _printed(*_: Any, **__: Any) -> None:
    """In place of a traceback on the terminal."""
    error = sys.exc_info()[1]
    if error is not None:
        logged(error, "a library told of it")


def _unraisable(hook: Any) -> None:
    """What fails where nothing can be raised is logged, and not printed."""
    if not isinstance(hook.exc_value, EndAsked):
        logged(hook.exc_value or Exception(hook.err_msg), "it could not be raised")


def _uncaught(hook: threading.ExceptHookArgs) -> None:
    error = hook.exc_value or hook.exc_type()
    if not isinstance(error, (KeyboardInterrupt, SystemExit)):
        logged(error, f"the thread {hook.thread and hook.thread.name} ended")


class _LogFile(logging.Handler):
    """A file that is made, with its folder, when there is something to write. Where it can't be,
    nothing is written, and the work that had something to log goes on."""

    _file: logging.Handler | None = None

    def emit(self, record: logging.LogRecord) -> None:
        try:
            if self._file is None:
                self._file = self._opened()
            self._file.emit(record)
        except OSError:
            self.handleError(record)

    def _opened(self) -> logging.Handler:
        from logging.handlers import RotatingFileHandler

        place = Path(log_place())
        place.parent.mkdir(parents=True, exist_ok=True)
        file = RotatingFileHandler(
            place, maxBytes=LOG_BYTES, backupCount=KEPT, encoding="utf-8", errors="backslashreplace"
        )
        file.setFormatter(self.formatter)
        file.handleError = self.handleError  # type: ignore[method-assign]
        return file

    def handleError(self, record: logging.LogRecord) -> None:  # noqa: N802 - logging's name
        """Nothing is said: it would be in the midst of other lines, and to nobody's use."""


class _OneLine(logging.Formatter):
    """A record as one line of a terminal, without a traceback."""

    def format(self, record: logging.LogRecord) -> str:
        return f"vit-explorer: {escaped(' '.join(record.getMessage().split()))}"


class _Escaping(logging.Formatter):
    """A record with its traceback, in which no name can move a terminal's cursor."""

    def format(self, record: logging.LogRecord) -> str:
        return "\n".join(map(escaped, super().format(record).split("\n")))
