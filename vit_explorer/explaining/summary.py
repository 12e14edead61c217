"""What became of a folder of pictures: a table that grows with the results, whole at any moment."""

from __future__ import annotations

import csv
import dataclasses
import io
import json
import os
import threading
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from vit_explorer.errors import OutputError
from vit_explorer.sentences import Sentence, cell

SUMMARY = "summary"


@dataclass(frozen=True)
class Outcome:
    """What became of one picture of a folder, with its top prediction where there are classes.

    `probability` is None of a model of values, `score` the number that the model returned.
    `picture` and `folder` are paths inside the two folders. A picture that can't be used has no
    folder, and an `error` that says why.
    """

    picture: str
    folder: str = ""
    label: str | None = None
    index: int | None = None
    probability: float | None = None
    score: float | None = None
    error: str = ""


class Summary:
    """Writes summary.csv, a line as soon as a picture is done, and summary.json at the end.

    A process that is killed leaves every finished picture in summary.csv, and no summary.json,
    which stands for an end. `scratch` is a folder on the same disk for files under way, `order`
    that of the pictures in the end. Several threads may add to it.
    """

    def __init__(
        self, out: Path, scratch: Path, about: Mapping[str, Any], order: Sequence[str]
    ) -> None:
        self.out, self.scratch, self.about = out, scratch, dict(about)
        self.order = {picture: place for place, picture in enumerate(order)}
        self._done: list[Outcome] = []
        self._file: IO[str] | None = None
        self._turn = threading.RLock()

    def begin(self, kept: Iterable[Outcome] = ()) -> None:
        """Take the place of an earlier summary, once, with what is kept of its results."""
        with self._turn, self._writing():
            if self._file is not None:
                return
            self._done += kept
            self._replace(f"{SUMMARY}.csv", _table(self._done))
            (self.out / f"{SUMMARY}.json").unlink(missing_ok=True)
            self._file = (self.out / f"{SUMMARY}.csv").open(
                "a", encoding="utf-8", errors="backslashreplace", newline=""
            )

    def add(self, outcome: Outcome) -> None:
        """Note a picture that is done."""
        self.begin()
        assert self._file is not None  # noqa: S101 - begun
        with self._turn, self._writing():
            self._done.append(outcome)
            self._file.write(_table([outcome], header=False))
            self._file.flush()

    def finish(self) -> None:
        """Both files, in the order of the pictures; nothing where no picture was done."""
        if self._file is None:
            return
        done = sorted(self._done, key=lambda outcome: self.order[outcome.picture])
        content = {"format": 1, **self.about, "pictures": [vars(outcome) for outcome in done]}
        with self._writing():
            self._file.close()
            self._replace(f"{SUMMARY}.csv", _table(done))
            text = json.dumps(content, indent=2, ensure_ascii=False)
            self._replace(f"{SUMMARY}.json", text + "\n")

    def _replace(self, name: str, text: str) -> None:
        partial = self.scratch / name
        partial.write_text(text, "utf-8", "backslashreplace", newline="")
        os.replace(partial, self.out / name)

    @contextmanager
    def _writing(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            reason = error.strerror or Sentence("part.reason", "no reason given")
            raise OutputError(
                "error.folder.summary",
                "The summary can't be written to {out} ({reason}); name a folder that can be made "
                "and written to.",
                out=self.out,
                reason=reason,
            ) from None


def _table(outcomes: Iterable[Outcome], header: bool = True) -> str:
    table = io.StringIO()
    columns = [field.name for field in dataclasses.fields(Outcome)]
    writer = csv.DictWriter(table, columns, lineterminator="\n")
    if header:
        writer.writeheader()
    for outcome in outcomes:
        writer.writerow({column: cell(value) for column, value in vars(outcome).items()})
    return table.getvalue()
