"""Work spread over the GPUs or cores of a Ray cluster, or of this machine: tables of pictures in,
tables of answers out, as they come."""

from __future__ import annotations

import logging
import os
import signal
import socket
import tempfile
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from vit_explorer.errors import ExplorerError, OptionError
from vit_explorer.options import one_of, whole_number
from vit_explorer.sentences import Sentence

if TYPE_CHECKING:
    import pyarrow as pa

ENGINES = ("local", "ray")
# Columns that a worker adds: who it is, and why it could not do what was asked.
_WORKER, _AGAIN, _FAILED = "vit_explorer_worker", "vit_explorer_again", "vit_explorer_failed"
# A share of the pictures for each worker several times over: the last of them end together.
_SHARES = 4


@dataclass(frozen=True, kw_only=True)
class RayEngine:
    """Ray Data as the engine of `evaluate` and `explain_folder`: one worker a GPU or core.

    `workers` is how many there are at most, None as many as the cluster has; `device` is "auto"
    (GPUs where the cluster has some), "cpu" or "cuda". A program that has called `ray.init` keeps
    its cluster; else that of `RAY_ADDRESS` or of this machine is used, and one is started for the
    time where there is none.
    """

    workers: int | None = None
    device: str = "auto"

    def __post_init__(self) -> None:
        one_of(Sentence("part.device", "device"), self.device, ("auto", "cpu", "cuda"))
        if self.workers is not None:
            whole_number(Sentence("part.workers", "number of workers"), self.workers, 1)


Engine = Literal["local", "ray"] | RayEngine


def find_engine(engine: Engine) -> RayEngine | None:
    """The engine that is meant, None of this process.

    Raises:
        OptionError: no such engine, or Ray Data is not installed.
    """
    if not isinstance(engine, RayEngine):
        if one_of(Sentence("part.engine", "engine"), engine, ENGINES) == "local":
            return None
        engine = RayEngine()
    if find_spec("ray") is None or find_spec("pandas") is None:
        raise OptionError(
            "error.ray.missing",
            "The engine 'ray' needs packages that are not installed; install them with pip "
            "install 'vit-explorer[ray]'.",
        )
    return engine


@dataclass(frozen=True)
class Cluster:
    """Where work runs: how many workers there can be, each on a GPU or a core of its own."""

    workers: int
    gpus: bool

    def parts(self, count: int, most: int) -> list[slice]:
        """`count` things in pieces of `most` at most, and of fewer where workers would be idle."""
        size = max(1, min(most, -(-count // (_SHARES * self.workers))))
        return [slice(start, min(start + size, count)) for start in range(0, count, size)]


class Streamed:
    """The tables that workers make of `tables`, in the order in which they are done.

    Ray Data keeps few of them waiting: workers rest while whoever takes the tables is busy. A table
    whose worker is lost is made by another; `lost` counts such workers.

    Args:
        cluster: where it runs.
        make: called once by each worker with `job` and its device; what it returns is called with
            each table. It is a function or class of a module, and `job` holds plain values.
        tables: a piece of work each; their bytes lie in the cluster's memory from the start.
    """

    def __init__(
        self,
        cluster: Cluster,
        make: Callable[[Any, str], Callable[[pa.Table], pa.Table]],
        job: Any,
        tables: Sequence[pa.Table],
    ) -> None:
        self.cluster, self.make, self.job, self.tables = cluster, make, job, tables
        self._again: set[str] = set()

    @property
    def lost(self) -> int:
        """How many workers ended before their work did, as far as their successors told."""
        return len(self._again)

    def __iter__(self) -> Iterator[pa.Table]:
        if not self.tables:
            return
        import ray.data

        gpus, count = self.cluster.gpus, min(self.cluster.workers, len(self.tables))
        done = ray.data.from_arrow(list(self.tables)).map_batches(
            _Worker,
            batch_size=None,
            batch_format="pyarrow",
            compute=ray.data.ActorPoolStrategy(size=count),
            fn_constructor_args=(self.make, self.job, "cuda" if gpus else "cpu"),
            num_gpus=1 if gpus else None,
            num_cpus=None if gpus else 1,
        )
        tables = iter(done.iter_batches(batch_size=None, batch_format="pyarrow"))
        while True:
            try:
                table = next(tables, None)
            except (ray.exceptions.RayActorError, ray.exceptions.RaySystemError) as error:
                raise _ended(error) from error
            if table is None:
                return
            yield self._told(table)

    def _told(self, table: pa.Table) -> pa.Table:
        """A table without what its worker says of itself. Raises what it failed with."""
        if _FAILED in table.column_names:
            raise ExplorerError(
                "error.ray.worker",
                "A worker on {host} could not do its part: {why}",
                host=table[_WORKER][0].as_py(),
                why=table[_FAILED][0].as_py(),
            )
        columns = (table[name].to_pylist() for name in (_WORKER, _AGAIN))
        self._again.update(worker for worker, again in zip(*columns, strict=True) if again)
        return table.drop_columns([_WORKER, _AGAIN])


def _ended(error: Exception) -> OptionError:
    """What to say where workers can't be had: Ray's own words end with the reason."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return OptionError(
        "error.ray.ended",
        "The workers of the Ray cluster ended and can't be replaced ({why}); every machine needs "
        "this version of vit-explorer with its extras, and the cluster's token; what is written "
        "stays.",
        why=lines[-1][:300] if lines else type(error).__name__,
    )


class _Worker:
    """One process of the cluster. Errors of users come back in its tables, not as failures that
    Ray would wrap in pages of its own."""

    def __init__(
        self,
        make: Callable[[Any, str], Callable[[pa.Table], pa.Table]],
        job: Any,
        device: str,
    ) -> None:
        import ray

        context = ray.get_runtime_context()
        self.again = bool(context.was_current_actor_reconstructed)
        self.name = str(context.get_actor_id())
        self.work: Callable[[pa.Table], pa.Table] | None = None
        self.failure = ""
        try:
            self.work = make(job, device)
        except ExplorerError as error:
            self.failure = str(error)

    def __call__(self, table: pa.Table) -> pa.Table:
        import pyarrow as pa

        if self.work is not None:
            try:
                made = self.work(table)
            except ExplorerError as error:
                self.failure = str(error)
            else:
                count = len(made)
                made = made.append_column(_WORKER, pa.array([self.name] * count, pa.string()))
                return made.append_column(_AGAIN, pa.array([self.again] * count, pa.bool_()))
        return pa.table({_WORKER: [socket.gethostname()], _FAILED: [self.failure]})


@contextmanager
def connected(engine: RayEngine) -> Iterator[Cluster]:
    """A quiet connection to Ray, which ends with the block unless the program had one before.

    Raises:
        OptionError: Ray can't be started or reached, or has no GPU that was asked for.
    """
    # Nothing is told to anyone outside; what Ray has to say is in its own logs.
    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
    os.environ.setdefault("RAY_BACKEND_LOG_LEVEL", "fatal")
    import ray

    with _quiet():
        if ray.is_initialized():
            yield _found(engine)
            return
        try:
            _start()
            yield _found(engine)
        finally:
            ray.shutdown()


def _start() -> None:
    import ray

    ending = signal.getsignal(signal.SIGTERM) or signal.SIG_DFL
    try:
        with _unheard():
            ray.init(log_to_driver=False, include_dashboard=False, logging_level=logging.ERROR)
    except Exception as error:  # a bare one, where Ray's processes don't come up
        place = os.environ.get("RAY_ADDRESS")
        started = Sentence("part.ray.started", "started on this machine")
        raise OptionError(
            "error.ray.start",
            "Ray could not be {what} ({why}); its logs are in {logs}; try again when the machine "
            "is less busy, or name another cluster by RAY_ADDRESS.",
            what=Sentence("part.ray.reached", "reached at {place}", place=place)
            if place
            else started,
            why=" ".join(str(error).split())[:200],
            logs=Path(tempfile.gettempdir(), "ray"),
        ) from None
    finally:
        # Ray takes it for itself.
        if threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGTERM, ending)


def _found(engine: RayEngine) -> Cluster:
    """What the cluster has of what was asked for."""
    import ray

    resources = ray.cluster_resources()
    gpus = int(resources.get("GPU", 0)) if engine.device != "cpu" else 0
    if engine.device == "cuda" and not gpus:
        raise OptionError(
            "error.ray.gpus",
            "The device was 'cuda' and no machine of the Ray cluster has a GPU; use 'cpu' or "
            "'auto'.",
        )
    room = gpus or max(1, int(resources.get("CPU", 1)))
    return Cluster(min(room, engine.workers or room), bool(gpus))


@contextmanager
def _unheard() -> Iterator[None]:
    """Ray's C++ says on stderr that it was asked to say less."""
    heard = os.dup(2)
    with open(os.devnull, "wb") as nowhere:
        os.dup2(nowhere.fileno(), 2)
    try:
        yield
    finally:
        os.dup2(heard, 2)
        os.close(heard)


@contextmanager
def _quiet() -> Iterator[None]:
    """Ray's bars, plans and remarks on lost workers don't stand between a command's own lines."""
    from ray._private import worker
    from ray.data import DataContext

    context, logger = DataContext.get_current(), logging.getLogger("ray.data")
    before = context.enable_progress_bars, logger.level
    context.enable_progress_bars = False
    logger.setLevel(logging.CRITICAL)  # what ends the work is raised
    # The one switch that Ray has for what it prints on stdout of errors anywhere in the cluster.
    printed = getattr(worker, "_worker_logs_enabled", True)
    worker._worker_logs_enabled = False
    try:
        yield
    finally:
        context.enable_progress_bars = before[0]
        logger.setLevel(before[1])
        worker._worker_logs_enabled = printed
