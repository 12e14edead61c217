"""An evaluation whose pictures are spread over the workers of a Ray cluster."""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image

from vit_explorer.cluster.engine import RayEngine, Streamed, connected
from vit_explorer.cluster.parts import Parts, stamp, text_of
from vit_explorer.datasets.evaluate import Progress, class_columns, counting, logits_of, numbers
from vit_explorer.datasets.evaluation import Evaluation, evaluation_of, ranks, shares
from vit_explorer.datasets.saved_datasets import StoredPicture
from vit_explorer.datasets.sources import Source, read_rgb
from vit_explorer.errors import DataError, PictureError
from vit_explorer.models.devices import choose_precision
from vit_explorer.models.loaded import LoadedModel
from vit_explorer.models.loading import Replica

if TYPE_CHECKING:
    import pyarrow as pa

_FORMAT = 1
# Decoding leaves Python's lock; more threads than these find the disk busy.
_READERS = min(4, os.cpu_count() or 1)


@dataclass(frozen=True)
class Job:
    """What each worker is told once: the model, the data's classes, and how to compute.

    `shape` is (H, W, 3) of pictures that come as bytes of pixels; None of files.
    """

    model: Replica
    classes: tuple[str, ...]
    precision: str
    shape: tuple[int, ...] | None


class Worker:
    """Answers pieces of the pictures: a row each with its place, and logits or what is wrong."""

    def __init__(self, job: Job, device: str) -> None:
        self.job, self.model = job, job.model.load(device)
        self.order = class_columns(self.model, job.classes)
        self.half = choose_precision(job.precision, self.model.device) == "bf16"
        self.readers = ThreadPoolExecutor(_READERS, thread_name_prefix="reading")

    def __call__(self, table: pa.Table) -> pa.Table:
        import pyarrow as pa

        given = table["picture"].to_pylist()
        stamps = [_stamp(self._file(one)) for one in given]  # before they are read
        found = list(self.readers.map(self._prepared, given))
        ready = [one for one in found if isinstance(one, torch.Tensor)]
        width = len(self.order)
        logits = torch.zeros(0, width)
        if ready:
            logits = logits_of(self.model, torch.stack(ready), self.order, half=self.half)
        rows = iter(logits.float().numpy())
        errors = ["" if isinstance(one, torch.Tensor) else one for one in found]
        return pa.table(
            {
                "place": table["place"],
                "logits": pa.array(
                    [None if error else next(rows) for error in errors],
                    pa.list_(pa.float32()),
                ),
                "error": pa.array(errors, pa.string()),
                "bytes": pa.array([size for size, _ in stamps], pa.int64()),
                "modified": pa.array([when for _, when in stamps], pa.int64()),
            }
        )

    def _file(self, given: bytes) -> Path | None:
        return Path(os.fsdecode(given)) if self.job.shape is None else None

    def _prepared(self, given: bytes) -> torch.Tensor | str:
        """A picture's tensor, or why there is none."""
        file = self._file(given)
        try:
            if file is None:
                image = Image.fromarray(np.frombuffer(given, np.uint8).reshape(self.job.shape))
            else:
                image = read_rgb(file)
        except PictureError as error:
            return str(error)
        prepared: torch.Tensor = self.model.preprocess.transform(image)
        return prepared


@dataclass(frozen=True)
class SpreadEvaluation:
    """A model on pictures of a data set; workers take `batch_size` of them at a time."""

    model: LoadedModel
    source: Source
    precision: str
    batch_size: int
    progress: Progress

    def run(self, engine: RayEngine, parts: Path | None, *, resume: bool) -> Evaluation:
        """Answers of all pictures that can be read; those that come are kept in `parts`.

        Raises:
            OptionError: Ray can't be reached, or its workers can't load the model.
            ModelError: answers that are no numbers.
            DataError: no picture of some class can be read.
            OutputError: `parts` can't be written to.
        """
        if len(self.source) and isinstance(self.source.items[0], StoredPicture):
            raise DataError(
                "error.saved.spread",
                "The pictures of {data} lie within its data files, which a cluster's workers don't "
                "read; leave --engine ray out, or write class folders of it by "
                "`vit-explorer export-images OUT --data {folder}`.",
                data=self.source.name,
                folder=self.source.folder,
            )
        replica = Replica.of(self.model)
        class_columns(self.model, self.source.classes)  # what is wrong is said before Ray starts
        choose_precision(self.precision, self.model.device)
        state = State(self.source)
        if parts is None:
            lost = self._answer(engine, replica, state, None)
        else:
            with Parts(parts, self._about(replica), resume=resume) as kept:
                for rows in kept.kept(state.still_true):
                    state.take(rows, state.places(rows))
                lost = self._answer(engine, replica, state, kept)
        unreadable = {self.source.name_of(place): why for place, why in state.errors.items()}
        logits = torch.from_numpy(state.logits[state.answered])
        return evaluation_of(
            numbers(logits, self.model),
            self.source.without(unreadable),
            self.model.card.name,
            unreadable,
            lost,
        )

    def _answer(
        self, engine: RayEngine, replica: Replica, state: State, parts: Parts | None
    ) -> int:
        """Have all that is not answered yet answered; how many workers were lost meanwhile."""
        todo = np.flatnonzero(~state.answered)
        job = Job(replica, self.source.classes, self.precision, state.shape)
        with counting(self.progress, len(self.source)) as count:
            if state.answered.any():
                count(int(state.answered.sum()))
            if not len(todo):
                return 0
            with connected(engine) as cluster:
                tables = [
                    state.table(todo[one]) for one in cluster.parts(len(todo), self.batch_size)
                ]
                answers = Streamed(cluster, Worker, job, tables)
                try:
                    for answered in answers:
                        rows = state.rows(answered)
                        if parts is not None:
                            parts.add(rows)
                        state.take(rows, answered["place"].to_numpy())
                        count(len(rows))
                finally:
                    if parts is not None:
                        parts.flush()  # before Ray is ended, which takes seconds
                return answers.lost

    def _about(self, replica: Replica) -> dict[str, Any]:
        """Of what the rows of a part are: another model or other classes would give others."""
        return {
            "format": _FORMAT,
            "model": self.model.to_dict(),
            "weights": replica.digest,
            "classes": self.source.classes,
            "precision": self.precision,
        }


class State:
    """What is known of each picture of a source: its logits, or what is wrong with it."""

    def __init__(self, source: Source) -> None:
        self.source = source
        self.logits = np.zeros((len(source), len(source.classes)), np.float32)
        self.answered = np.zeros(len(source), bool)
        self.errors: dict[int, str] = {}
        self.names = [text_of(source.name_of(place)) for place in range(len(source))]
        self.known = {name: place for place, name in enumerate(self.names)}

    @property
    def shape(self) -> tuple[int, ...] | None:
        items = self.source.items
        return items.shape[1:] if isinstance(items, np.ndarray) else None

    def table(self, places: NDArray[np.int64]) -> pa.Table:
        """A piece of work: each picture's place, and its file or its pixels as bytes."""
        import pyarrow as pa

        items = (self.source.items[place] for place in places.tolist())
        given = [os.fsencode(one) if isinstance(one, Path) else one.tobytes() for one in items]
        return pa.table({"place": places, "picture": pa.array(given, pa.large_binary())})

    def rows(self, answered: pa.Table) -> pa.Table:
        """A worker's answers as rows of a part, which any program reads as predictions."""
        import pyarrow as pa

        places = answered["place"].to_numpy()
        logits, valid = _logits(answered, len(self.source.classes))
        probabilities = shares(torch.from_numpy(logits))
        labels = np.array(self.source.labels)[places]
        predicted, rank = np.zeros(len(places), int), np.zeros(len(places), int)
        probability = np.zeros(len(places), np.float32)
        predicted[valid] = probabilities.argmax(axis=1)
        probability[valid] = probabilities.max(axis=1)
        rank[valid] = ranks(probabilities, labels[valid])
        classes = pa.array(self.source.classes, pa.string())
        return pa.table(
            {
                "picture": pa.array([self.names[place] for place in places], pa.string()),
                "label": classes.take(pa.array(labels)),
                "predicted": classes.take(pa.array(predicted, mask=~valid)),
                "probability": pa.array(probability, pa.float32(), mask=~valid),
                "rank": pa.array(rank, pa.int32(), mask=~valid),
                "correct": pa.array(predicted == labels, pa.bool_(), mask=~valid),
                **{name: answered[name] for name in ("logits", "error", "bytes", "modified")},
            }
        )

    def take(self, rows: pa.Table, places: NDArray[np.int64]) -> None:
        """Keep what rows of a part say of the pictures at these places."""
        logits, valid = _logits(rows, len(self.source.classes))
        self.logits[places[valid]] = logits
        self.answered[places[valid]] = True
        for place, error in zip(places.tolist(), rows["error"].to_pylist(), strict=True):
            self.errors.pop(place, None)
            if error:
                self.errors[place] = error

    def places(self, rows: pa.Table) -> NDArray[np.int64]:
        """The places of a part's pictures, -1 of those that aren't the source's."""
        found = [self.known.get(name, -1) for name in rows["picture"].to_pylist()]
        return np.array(found, np.int64)

    def still_true(self, rows: pa.Table) -> list[int]:
        """Which rows of an earlier part are answers about pictures as they are now."""
        told = zip(
            self.places(rows).tolist(),
            *(rows[name].to_pylist() for name in ("error", "bytes", "modified")),
            strict=True,
        )
        return [
            row
            for row, (place, error, *seen) in enumerate(told)
            if place >= 0 and not error and tuple(seen) == _stamp(self._file(place))
        ]

    def _file(self, place: int) -> Path | None:
        item = self.source.items[place]
        return item if isinstance(item, Path) else None


def _logits(table: pa.Table, classes: int) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
    """Logits (m, C) of those of n rows that have some, and which these are (n,)."""
    column = table["logits"].combine_chunks()
    values = column.drop_null().flatten().to_numpy(zero_copy_only=False).copy()
    valid: NDArray[np.bool_] = column.is_valid().to_numpy(zero_copy_only=False)
    return values.reshape(-1, classes), valid


def _stamp(file: Path | None) -> tuple[int, int]:
    return stamp(file) if file is not None else (0, 0)
