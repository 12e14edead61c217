"""Models that are being loaded: each once, as long as anyone waits for it, and within a time."""

from __future__ import annotations

import gc
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from contextlib import contextmanager
from dataclasses import dataclass, field

from vit_explorer.errors import ModelError
from vit_explorer.models.checkpoints.transfer import hearing
from vit_explorer.models.loaded import LoadedModel
from vit_explorer.stopping import Stopped, stoppable

# Seconds that a model may be computed on until it is there; to wait for a download is no computing.
LONGEST = 180.0


@dataclass
class _Loading:
    future: Future[LoadedModel] = field(default_factory=Future)
    waiting: int = 0
    download: tuple[int, int] | None = None


class Loads:
    """Loads models in threads of their own; one that nobody waits for ends at its next look."""

    def __init__(self, load: Callable[[str], LoadedModel]) -> None:
        self._load = load
        self._under_way: dict[str, _Loading] = {}
        self._lock = threading.Lock()

    @contextmanager
    def waiting(self, name: str) -> Iterator[Future[LoadedModel]]:
        """The model that is being loaded, by whom first asked, while the block waits for it."""
        with self._lock:
            loading = self._under_way.get(name)
            if loading is None:
                loading = self._under_way[name] = _Loading()
                threading.Thread(target=self._run, args=(name, loading), daemon=True).start()
            loading.waiting += 1
        try:
            yield loading.future
        finally:
            with self._lock:
                loading.waiting -= 1

    def download(self, name: str) -> tuple[int, int] | None:
        """Bytes that are here of what is being downloaded for a model, and of the whole."""
        with self._lock:
            loading = self._under_way.get(name)
            return None if loading is None else loading.download

    def _run(self, name: str, loading: _Loading) -> None:
        def wanted() -> None:
            with self._lock:
                if not loading.waiting:
                    # Who asks from here on begins anew.
                    self._drop(name, loading)
                    raise Stopped

        def tell(_: str, here: int, total: int) -> None:
            # Of one that is whole there is no more to wait for.
            loading.download = (here, total) if here < total else None

        try:
            with stoppable(wanted), hearing(tell):
                loading.future.set_result(self._load(name))
        except BaseException as error:
            # Its frames hold what was loaded so far.
            loading.future.set_exception(error.with_traceback(None))
        with self._lock:
            self._drop(name, loading)
        gc.collect()

    def _drop(self, name: str, loading: _Loading) -> None:
        if self._under_way.get(name) is loading:
            del self._under_way[name]


def in_time(name: str) -> Callable[[], None]:
    """A check that ends what this thread computes on for longer than `LONGEST`."""
    begun = time.thread_time()

    def check() -> None:
        if time.thread_time() - begun > LONGEST:
            raise ModelError(
                "error.load.time",
                "The model {name} was not there after {seconds} seconds of computing, and is "
                "given up; choose a smaller one, or start the page with it: vit-explorer app "
                "--model NAME.",
                name=name,
                seconds=int(LONGEST),
            )

    return check
