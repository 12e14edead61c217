"""What moves in a terminal while one waits; nothing where stderr is no terminal."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING, Any, TypeVar

from rich.console import Console
from rich.markup import escape
from tqdm import tqdm

from vit_explorer.models.checkpoints.transfer import hearing

if TYPE_CHECKING:
    from vit_explorer.explaining.explain import Progress

Item = TypeVar("Item")


@contextmanager
def status(text: str) -> Iterator[None]:
    """A spinner with a text, and with the share of what is downloaded in the block."""
    console = Console(stderr=True)
    with ExitStack() as over:
        shown = over.enter_context(console.status(escape(text))) if console.is_terminal else None

        def tell(name: str, here: int, total: int) -> None:
            if shown is not None:
                far = f"{here / 1e6:.1f} of {total / 1e6:.1f} MB, {here / max(total, 1):.0%}"
                shown.update(escape(text if here == total else f"downloading {name}: {far}"))

        over.enter_context(hearing(tell))
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
