"""Memory that was freed, given back to the system: glibc keeps it, in an arena for each thread.

Each request works in threads of its own, with tensors and pictures of some megabytes. What they
free stays with the arena that it came from, in pieces: the process grows although nothing is held
(docs/load.md has the experiment). Nothing happens where the C library is another.
"""

from __future__ import annotations

import asyncio
import ctypes
from functools import cache

import psutil
from starlette.concurrency import run_in_threadpool

# Numbers of glibc's malloc.h.
M_MMAP_THRESHOLD, M_ARENA_MAX = -3, -8
ARENAS = 2
# What is larger comes from the system itself, and goes back to it at once; by itself glibc raises
# this to 32 MB as such pieces are freed.
LARGE = 4 * 2**20
# Seconds between two looks, and the growth in bytes since the last that is worth giving back.
PACE = 10.0
WORTH = 16 * 2**20


@cache
def _glibc() -> ctypes.CDLL | None:
    try:
        library = ctypes.CDLL(None)
        return library if hasattr(library, "gnu_get_libc_version") else None
    except (OSError, TypeError):  # Windows has no such library
        return None


def keep_little() -> None:
    """Have few arenas from now on, and large pieces in none: before threads begin."""
    library = _glibc()
    if library is not None:
        library.mallopt(M_ARENA_MAX, ARENAS)
        library.mallopt(M_MMAP_THRESHOLD, LARGE)


def give_back() -> None:
    """Give the system every whole page that is free, in all arenas."""
    library = _glibc()
    if library is not None:
        library.malloc_trim(0)


async def give_back_now_and_then() -> None:
    """Give back what was freed, for as long as the page is served."""
    process = psutil.Process()
    least = process.memory_info().rss
    while True:
        await asyncio.sleep(PACE)
        if process.memory_info().rss - least > WORTH:
            await run_in_threadpool(give_back)
            least = process.memory_info().rss
