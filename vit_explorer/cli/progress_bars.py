"""What moves in a terminal while one waits; nothing where stderr is no terminal."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, TypeVar

from rich.console import Console
from tqdm import tqdm

if TYPE_CHECKING:
    from vit_explorer.explaining.explain import Progress

Item = TypeVar("Item")


@contextmanager
def status(text: str) -> Iterator[None]:
    """A spinner with a text."""
    console = Console(stderr=True)
    if not console.is_terminal:
        yield
        return
    with console.status(text):
        yield


def counted(items: Iterable[Item], total: int, what: str, *, unit: str = "picture") -> tqdm[Item]:
    """The items, with a bar where there are several."""
    shown = total > 1 and sys.stderr.isatty()
    return tqdm(items, desc=what, total=total, unit=unit, disable=not shown)


@contextmanager
def method_bars(unit: str = "pass") -> Iterator[Progress | None]:
    """A `progress` for `explain`: a bar for each method that runs the model again."""
    if not sys.stderr.isatty():
        yield None
        return
    bar: Any = None

    def show(method: str, done: int, total: int) -> None:
        nonlocal bar
        if bar is None:
            bar = tqdm(desc=method, total=total, unit=unit, leave=False)
        bar.update(done - bar.n)
        if done >= total:
            bar.close()
            bar = None

    try:
        yield show
    finally:
        if bar is not None:
            bar.close()
