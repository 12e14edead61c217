"""What threads share: a cache bounded in bytes, and work that is done once for all who ask."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable
from concurrent.futures import Future, wait
from typing import Generic, TypeVar

from vit_explorer.stopping import Stopped, look

Value = TypeVar("Value")
PATIENCE = 0.5  # seconds between two looks whether to go on waiting


class ByteCache(Generic[Value]):
    """Values by key, together at most `limit` bytes by `measure`; safe under threads.

    What was not used for longest goes first.
    A single value above the limit is kept alone: it was asked for, so it is needed once.
    """

    def __init__(self, limit: int, measure: Callable[[Value], int]) -> None:
        self._limit = limit
        self._measure = measure
        self._values: OrderedDict[str, tuple[Value, int]] = OrderedDict()
        self._bytes = 0
        self._lock = threading.Lock()

    def get(self, key: str) -> Value | None:
        with self._lock:
            if key not in self._values:
                return None
            self._values.move_to_end(key)
            return self._values[key][0]

    def put(self, key: str, value: Value) -> None:
        size = self._measure(value)
        with self._lock:
            if key in self._values:
                self._bytes -= self._values.pop(key)[1]
            self._values[key] = (value, size)
            self._bytes += size
            while self._bytes > self._limit and len(self._values) > 1:
                self._bytes -= self._values.popitem(last=False)[1][1]

    def drop(self, key: str) -> None:
        """Let a value go, if it is there."""
        with self._lock:
            if key in self._values:
                self._bytes -= self._values.pop(key)[1]

    @property
    def bytes(self) -> int:
        """What the values take together, by `measure`."""
        return self._bytes

    def values(self) -> list[Value]:
        """All that are held, the one used last at the end; none counts as used by this."""
        with self._lock:
            return [value for value, _ in self._values.values()]

    def __len__(self) -> int:
        return len(self._values)


class Once(Generic[Value]):
    """Work by key: whoever asks while it is under way waits for its end; safe under threads."""

    def __init__(self) -> None:
        self._under_way: dict[str, Future[Value]] = {}
        self._lock = threading.Lock()

    def do(self, key: str, work: Callable[[], Value]) -> Value:
        """What `work` returns or raises, or what that under way for the same key does."""
        own: Future[Value] = Future()
        with self._lock:
            first = self._under_way.setdefault(key, own)
        while first is not own:
            if not wait([first], PATIENCE).done:
                look()
                continue
            try:
                return first.result()
            except Stopped:  # who began it wants it no more
                look()
                return self.do(key, work)
        try:
            try:
                value = work()
            finally:  # before those who wait hear of it, of whom one may begin anew
                with self._lock:
                    del self._under_way[key]
        except BaseException as error:
            own.set_exception(error)
        else:
            own.set_result(value)
        return own.result()
