"""A cache bounded in bytes: what was not used for longest goes first."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable
from typing import Generic, TypeVar

Value = TypeVar("Value")


class ByteCache(Generic[Value]):
    """Values by key, together at most `limit` bytes by `measure`; safe under threads.

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

    @property
    def bytes(self) -> int:
        """What the values take together, by `measure`."""
        return self._bytes

    def __len__(self) -> int:
        return len(self._values)
