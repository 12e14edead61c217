"""The server's memory stays flat: what was freed goes back, and what is kept comes to an end."""

from __future__ import annotations

import asyncio
import threading
from types import SimpleNamespace
from typing import Any

import psutil
import pytest
from fastapi.testclient import TestClient

from tests.loops import in_a_loop
from vit_explorer.page import Workbench, build_app
from vit_explorer.page.state import freed_memory, results
from vit_explorer.page.state.results import Result, Results

PIECE = 2000  # bytes: too much for Python's own pools, too little for a mapping of its own
PIECES = 60_000


@pytest.mark.skipif(freed_memory._glibc() is None, reason="the C library is not glibc")
def test_what_was_freed_between_what_is_held_goes_back() -> None:
    process = psutil.Process()
    pieces: list[bytearray | None] = [bytearray(PIECE) for _ in range(PIECES)]
    # One in a hundred is held, so that no end of the heap is free.
    pieces = [piece if not number % 100 else None for number, piece in enumerate(pieces)]
    before = process.memory_info().rss
    freed_memory.give_back()
    assert before - process.memory_info().rss > PIECE * PIECES / 2
    assert sum(piece is not None for piece in pieces) == PIECES // 100


def test_memory_is_given_back_where_it_has_grown(monkeypatch: pytest.MonkeyPatch) -> None:
    sizes = iter([100, 100 + freed_memory.WORTH, 101 + freed_memory.WORTH, 100, 100])
    given: list[int] = []

    class Process:
        def memory_info(self) -> SimpleNamespace:
            try:
                return SimpleNamespace(rss=next(sizes))
            except StopIteration:
                raise asyncio.CancelledError from None

    monkeypatch.setattr(freed_memory.psutil, "Process", Process)
    monkeypatch.setattr(freed_memory, "PACE", 0)
    monkeypatch.setattr(freed_memory, "give_back", lambda: given.append(1))
    with pytest.raises(asyncio.CancelledError):
        in_a_loop(freed_memory.give_back_now_and_then())
    # Not at the size that is just worth nothing, once above it, and not at the size after.
    assert given == [1]


def test_it_goes_on_while_the_page_is_served(
    workbench: Workbench, monkeypatch: pytest.MonkeyPatch
) -> None:
    begun, ended = threading.Event(), threading.Event()

    async def watch() -> None:
        begun.set()
        try:
            await asyncio.sleep(3600)
        finally:
            ended.set()

    monkeypatch.setattr(freed_memory, "give_back_now_and_then", watch)
    with TestClient(build_app(workbench), base_url="http://localhost") as client:
        client.get("/explorer/memory")
        assert begun.is_set()
        assert not ended.is_set()
    assert ended.is_set()


def test_small_results_come_to_an_end_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(results, "RESULTS_KEPT", 3)
    held = Results()
    for number in range(5):
        made: Any = SimpleNamespace(bytes=10, key=str(number), model=SimpleNamespace(module=None))
        monkeypatch.setattr(results, "weight_bytes", lambda _: 0)
        result: Result = made
        held.put(f"asked {number}", result, ())
    assert [one.key for one in held.values()] == ["2", "3", "4"]
