"""Long work that is heard line by line, and ends when nobody listens any more."""

from __future__ import annotations

import asyncio
import json
import logging
import threading
import time
from collections.abc import AsyncIterator, Callable
from typing import Any

from fastapi import Request

from vit_explorer.errors import ExplorerError, ModelError, PictureError, TargetError
from vit_explorer.failures import unforeseen
from vit_explorer.page.state.turns import Turn
from vit_explorer.sentences import keyed
from vit_explorer.stopping import Stopped, stoppable

logger = logging.getLogger(__name__)

Tell = Callable[[dict[str, Any]], None]
Work = Callable[[Tell], None]


# Seconds between two lines about progress, and between two looks whether anyone still listens.
PACE = 0.1
PATIENCE = 0.5
# Seconds of silence after which an empty line says that the work goes on: proxies hang up on an
# answer that is silent for a minute.
SILENCE = 20.0
# Which of the page's choices an error is about, so that the others are kept.
PARTS = {PictureError: "picture", ModelError: "model", TargetError: "target"}


class Telling:
    """Work in a thread of its own, whose lines one listener hears.

    `work` is given a function that tells a line, and that raises Stopped once the listener has
    left. It begins when the turn comes that `ask` stands in line for, at
    once where it needs none.
    """

    def __init__(self, work: Work, ask: Callable[[], Turn] | None = None) -> None:
        self._work = work
        self._ask = ask
        self._left = threading.Event()
        self._loop = asyncio.get_running_loop()
        self._lines: asyncio.Queue[dict[str, Any] | None] = asyncio.Queue()

    def tell(self, line: dict[str, Any]) -> None:
        """Say a line; an empty one only asks whether to go on."""
        if self._left.is_set():
            raise Stopped
        if line:
            self._put(line)

    async def lines(self, request: Request) -> AsyncIterator[bytes]:
        """Begin the work, and give its lines as JSON until it ends or the request does.

        A line is empty where there was nothing to say for long.
        """
        threading.Thread(target=self._run, daemon=True).start()
        spoken = time.monotonic()
        try:
            while True:
                try:
                    line = await asyncio.wait_for(self._lines.get(), PATIENCE)
                except TimeoutError:
                    if await request.is_disconnected():
                        return
                    if time.monotonic() - spoken > SILENCE:
                        spoken = time.monotonic()
                        yield b"\n"
                    continue
                if line is None:
                    return
                spoken = time.monotonic()
                yield json.dumps(line).encode() + b"\n"
        finally:
            self._left.set()

    def _run(self) -> None:
        turn = None
        try:
            turn = self._ask() if self._ask is not None else None
            while turn is not None and not turn.wait(PATIENCE):
                self.tell({})
            self.tell({})
            with stoppable(lambda: self.tell({})):
                self._work(self.tell)
        except Stopped:
            logger.debug("a job was stopped")
        except ExplorerError as error:
            self._put(refused(error))
        except Exception as error:
            self._put({"error": keyed(unforeseen(error, "a job of the page"))})
        finally:
            if turn is not None:
                turn.end()
        self._put(None)

    def _put(self, line: dict[str, Any] | None) -> None:
        try:
            self._loop.call_soon_threadsafe(self._lines.put_nowait, line)
        except RuntimeError:
            self._left.set()  # The server has shut down: its loop is closed.


def refused(error: ExplorerError) -> dict[str, Any]:
    """The line that ends work with a refusal: its sentence, the part that it is about, and models
    that can be had instead."""
    part = next((part for kind, part in PARTS.items() if isinstance(error, kind)), None)
    instead = error.instead if isinstance(error, ModelError) else ()
    return {"error": keyed(error.sentence), "part": part, "instead": list(instead)}


def paced(tell: Tell) -> Callable[[int, int], None]:
    """A progress callback that tells `done` and `total`, ten times a second at most."""
    told = 0.0

    def progress(done: int, total: int) -> None:
        nonlocal told
        now = time.monotonic()
        quiet = now - told < PACE and done < total
        told = told if quiet else now
        tell({} if quiet else {"done": done, "total": total})

    return progress
