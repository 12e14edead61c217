"""Reading and writing beside the passes: threads ahead of whoever takes what they made."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from typing import TypeVar

Item = TypeVar("Item")
Made = TypeVar("Made")
# Decoding and compressing leave Python's lock; more threads than these find the disk busy.
THREADS = min(4, os.cpu_count() or 1)
# Pictures that wait beyond the batch in a pass, in bytes; at least one does.
WAITING_BYTES = 256 * 2**20


@contextmanager
def threads(name: str, count: int = THREADS) -> Iterator[ThreadPoolExecutor]:
    """Threads that end with the block: what was not begun is left, what was begun is awaited."""
    pool = ThreadPoolExecutor(count, thread_name_prefix=name)
    try:
        yield pool
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


class Room:
    """How many pictures may wait at once: `most`, or fewer as large as the largest seen."""

    def __init__(self, most: int) -> None:
        self.most, self._largest = most, 1

    def saw(self, size: int) -> None:
        """Reckon with pictures of so many bytes."""
        self._largest = max(self._largest, size)

    @property
    def pictures(self) -> int:
        return max(1, min(self.most, WAITING_BYTES // self._largest))


def ahead(
    pool: ThreadPoolExecutor, work: Callable[[Item], Made], items: Iterable[Item], room: Room
) -> Iterator[tuple[Item, Future[Made]]]:
    """The items in their order, each with its work under way; as many more as there is room for
    are begun before they are asked for."""
    begun: deque[tuple[Item, Future[Made]]] = deque()
    for item in items:
        begun.append((item, pool.submit(work, item)))
        while len(begun) > room.pictures:
            yield begun.popleft()
    yield from begun
