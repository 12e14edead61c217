"""Many pictures explained by the workers of a Ray cluster: predictions and maps as Parquet."""

from __future__ import annotations

import os
from collections.abc import Generator, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from vit_explorer.analysis.faithfulness import Protocol, faithfulness
from vit_explorer.cluster.engine import RayEngine, Streamed, connected
from vit_explorer.cluster.parts import Parts, stamp, text_of
from vit_explorer.datasets.label_tables import TABLES, read_list
from vit_explorer.errors import PictureError
from vit_explorer.explaining.explain import explain_many
from vit_explorer.explaining.explanation import Explanation
from vit_explorer.explaining.folders import find_pictures
from vit_explorer.explaining.pipeline import THREADS
from vit_explorer.explaining.plan import LARGEST_BATCH
from vit_explorer.explaining.summary import Outcome, Summary
from vit_explorer.models.loaded import LoadedModel
from vit_explorer.models.loading import Replica
from vit_explorer.models.targets import Target
from vit_explorer.pictures.decode import open_picture
from vit_explorer.pictures.picture_files import LeftOut
from vit_explorer.pictures.preprocess import Prepared
from vit_explorer.result_folder import claimed
from vit_explorer.sentences import escaped

if TYPE_CHECKING:
    import pyarrow as pa

PARTS = "parts"
_FORMAT = 1


@dataclass(frozen=True, kw_only=True)
class Job:
    """What each worker is told once; `names` are the methods that rows have columns for."""

    model: Replica
    methods: tuple[str, ...] | str | None
    names: tuple[str, ...]
    target: Target
    options: Mapping[str, Mapping[str, Any]]
    opening: Mapping[str, Any]
    batch_size: int | None
    protocols: tuple[Protocol, ...]


class Worker:
    """Explains pieces of the pictures: a row each with its place, and maps or what is wrong."""

    def __init__(self, job: Job, device: str) -> None:
        self.job, self.model = job, job.model.load(device)
        self.readers = ThreadPoolExecutor(THREADS, thread_name_prefix="reading")

    def __call__(self, table: pa.Table) -> pa.Table:
        import pyarrow as pa

        job = self.job
        files = [Path(os.fsdecode(one)) for one in table["file"].to_pylist()]
        stamps = [stamp(file) for file in files]  # before they are read
        found = list(self.readers.map(self._prepared, files))
        ready = [one for one in found if isinstance(one, Prepared)]
        results = explain_many(
            self.model, ready, job.methods, job.target,
            options=job.options, batch_size=job.batch_size,
        )  # fmt: skip
        rows: list[dict[str, Any]] = [
            self._row(next(results)) if isinstance(one, Prepared) else {"error": one}
            for one in found
        ]
        places = table["place"].to_pylist()
        for row, place, (size, when) in zip(rows, places, stamps, strict=True):
            row.update(place=place, bytes=size, modified=when)
        return pa.Table.from_pylist(rows, schema(job.names, job.protocols))

    def _prepared(self, file: Path) -> Prepared | str:
        try:
            return self.model.prepare(open_picture(file, **self.job.opening))
        except PictureError as error:
            return str(error)

    def _row(self, result: Explanation) -> dict[str, Any]:
        row: dict[str, Any] = {"error": ""}
        if result.predictions:
            best = result.predictions[0]
            row.update(
                predicted=escaped(best.label),
                index=best.index,
                probability=best.probability,
                score=best.score,
            )
        if result.target is not None:
            row["target"] = escaped(result.target.label)
        for name, heatmap in result.heatmaps.items():
            # In units of its largest value: half precision has no room for very small ones.
            scale = float(np.abs(heatmap.values).max())
            values = heatmap.values / scale if scale else heatmap.values
            row[f"map.{name}"] = values.astype(np.float16).ravel()
            row[f"scale.{name}"] = scale
            row["map_rows"], row["map_columns"] = heatmap.values.shape
        for protocol in self.job.protocols if result.heatmaps and result.target else ():
            trust = faithfulness(
                self.model, result.prepared, result.heatmaps,
                target=result.trace.aim, protocol=protocol,
            )  # fmt: skip
            for name, score in trust.scores.items():
                row[f"percentile.{protocol}.{name}"] = trust.percentile(name)
                row[f"gain.{protocol}.{name}"] = score.gain
        return row


def schema(names: Sequence[str], protocols: Sequence[str]) -> pa.Schema:
    """The columns of a worker's rows."""
    import pyarrow as pa

    columns = {
        "place": pa.int64(),
        "predicted": pa.string(),
        "index": pa.int32(),
        "probability": pa.float32(),
        "score": pa.float32(),
        "target": pa.string(),
        "map_rows": pa.int32(),
        "map_columns": pa.int32(),
    }
    for name in names:
        columns |= {f"map.{name}": pa.list_(pa.float16()), f"scale.{name}": pa.float32()}
        for protocol in protocols:
            columns |= {
                f"{kind}.{protocol}.{name}": pa.float32() for kind in ("percentile", "gain")
            }
    columns |= {"error": pa.string(), "bytes": pa.int64(), "modified": pa.int64()}
    return pa.schema(list(columns.items()))


@dataclass(frozen=True)
class Listed:
    """Pictures by the names that their rows have, and the true labels of those that have one."""

    pictures: Mapping[str, Path]
    labels: Mapping[str, str] = field(default_factory=dict)
    left_out: LeftOut = field(default_factory=LeftOut)


def find_listed(folder: Path, out: Path) -> Listed:
    """The pictures of a folder, by their paths in it; or of a table, by their paths as they stand
    there, from the table's folder on.

    Raises:
        PictureError: no pictures, or as `find_pictures`.
        DataError: as `read_list`.
    """
    if folder.is_file() and folder.suffix.casefold() in TABLES:
        rows = read_list(folder)
        files = {text_of(name): folder.parent / name for name, _ in rows}
        labels = {text_of(name): label for name, label in rows if label}
        return Listed(files, labels)
    found = find_pictures(folder, out)
    names = (text_of(file.relative_to(folder).as_posix()) for file in found.files)
    return Listed(dict(zip(names, found.files, strict=True)), {}, found.left_out)


@dataclass(frozen=True, kw_only=True)
class SpreadFolder:
    """Pictures, and what is asked of a model about each; with another `about` rows would be
    others."""

    model: LoadedModel
    listed: Listed
    out: Path
    job: Job
    about: Mapping[str, Any]

    def run(self, engine: RayEngine, *, resume: bool) -> Generator[Outcome, None, None]:
        """What became of each picture, as it comes; those that are kept come first.

        Raises:
            OptionError: Ray can't be reached.
            OutputError: another process writes to `out`, or it can't be written to.
        """
        about = {"name": self.model.card.name, "weights_sha256": self.model.sha256}
        kept: list[Outcome] = []
        with claimed(self.out) as scratch:
            summary = Summary(self.out, scratch, {"model": about}, list(self.listed.pictures))
            asked = {"format": _FORMAT, "weights": self.job.model.digest, **self.about}
            with Parts(self.out / PARTS, asked, resume=resume) as parts:
                for rows in parts.kept(self._still_true):
                    kept += self._outcomes(rows)
                yield from kept
                if kept:
                    summary.begin(kept)
                try:
                    for rows in self._made(engine, {one.picture for one in kept}):
                        parts.add(rows)
                        for outcome in self._outcomes(rows):
                            summary.add(outcome)
                            yield outcome
                finally:
                    parts.flush()  # before Ray is ended, which takes seconds
                    summary.finish()

    def _made(self, engine: RayEngine, kept: set[str]) -> Iterator[pa.Table]:
        """Rows of all pictures that aren't kept."""
        import pyarrow as pa

        names = [name for name in self.listed.pictures if name not in kept]
        if not names:
            return
        files = [os.fsencode(self.listed.pictures[name].absolute()) for name in names]
        work = pa.table({"place": range(len(names)), "file": pa.array(files, pa.binary())})
        with connected(engine) as cluster:
            most = self.job.batch_size or LARGEST_BATCH["cuda" if cluster.gpus else "cpu"]
            tables = [
                work.slice(one.start, one.stop - one.start)
                for one in cluster.parts(len(names), most)
            ]
            for rows in Streamed(cluster, Worker, self.job, tables):
                own = [names[place] for place in rows["place"].to_pylist()]
                labels = pa.array([self.listed.labels.get(name) for name in own], pa.string())
                yield (
                    rows.drop_columns("place")
                    .add_column(0, "picture", pa.array(own, pa.string()))
                    .add_column(1, "label", labels)
                )

    def _still_true(self, rows: pa.Table) -> list[int]:
        """Which rows of an earlier part are of pictures as they are now."""
        columns = ("picture", "label", "error", "bytes", "modified")
        told = zip(*(rows[name].to_pylist() for name in columns), strict=True)
        return [
            place
            for place, (name, label, error, *seen) in enumerate(told)
            if name in self.listed.pictures
            and not error
            and label == self.listed.labels.get(name)
            and tuple(seen) == stamp(self.listed.pictures[name])
        ]

    def _outcomes(self, rows: pa.Table) -> Iterator[Outcome]:
        columns = ("picture", "predicted", "index", "probability", "score", "error")
        for picture, label, index, probability, score, error in zip(
            *(rows[name].to_pylist() for name in columns), strict=True
        ):
            place = "" if error else PARTS
            yield Outcome(picture, place, label, index, probability, score, error)
