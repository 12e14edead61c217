"""Requests that their page no longer waits for."""

from __future__ import annotations

import threading
from collections import OrderedDict

REMEMBERED = 1000

Key = tuple[str, int]


class Stopped(Exception):  # noqa: N818 - no error: the reader wanted it
    """Raised by work that finds its request stopped; it ends there."""


class Stops:
    """Which requests were stopped, the newest thousand; safe under threads."""

    def __init__(self) -> None:
        self._keys: OrderedDict[Key, None] = OrderedDict()
        self._lock = threading.Lock()

    def stop(self, key: Key) -> None:
        with self._lock:
            self._keys[key] = None
            while len(self._keys) > REMEMBERED:
                self._keys.popitem(last=False)

    def stopped(self, key: Key) -> bool:
        with self._lock:
            return key in self._keys

    def check(self, key: Key) -> None:
        """Raises Stopped for a request that was stopped."""
        if self.stopped(key):
            raise Stopped
