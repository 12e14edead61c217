"""Answers kept as they come: part files of a table, by which a run that was stopped goes on."""

from __future__ import annotations

import json
import os
import re
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vit_explorer.result_folder import not_written

if TYPE_CHECKING:
    import pyarrow as pa

_NAME = "part-{number:06d}.parquet"
_NAMED = re.compile(r"part-\d{6,}\.parquet")
_KEY = b"vit_explorer"
# A part holds what came in so many seconds, or at most so many bytes.
SECONDS, BYTES = 20.0, 64 * 2**20


class Parts:
    """A folder of part-000000.parquet and so on, each whole or not there.

    Every part carries `about`, the model and options that its rows are of: with `resume` parts of
    the same are kept, other parts go; files that are none stay. Rows are written when a part is
    full, and at the end of the block that this is the context of, however it ends.
    """

    def __init__(self, folder: Path, about: Mapping[str, Any], *, resume: bool) -> None:
        self.folder, self.about = folder, json.loads(json.dumps(about))
        self._waiting: list[pa.Table] = []
        self._since = time.monotonic()
        self._files: list[Path] = []
        self._next = 0
        try:
            folder.mkdir(parents=True, exist_ok=True)
            for left in folder.glob(".part-*.parquet"):  # of a process that was killed
                left.unlink()
            for file in sorted(file for file in folder.iterdir() if _NAMED.fullmatch(file.name)):
                about = _about(file)
                if resume and about == self.about:
                    self._files.append(file)
                elif about is not None:
                    file.unlink()
                    continue
                self._next = 1 + int(file.stem.rpartition("-")[2])
        except OSError as error:
            raise not_written(folder, error) from None

    def __enter__(self) -> Parts:
        return self

    def __exit__(self, *_: object) -> None:
        self.flush()

    def kept(self, choose: Callable[[pa.Table], Sequence[int]]) -> Iterator[pa.Table]:
        """The rows that earlier runs wrote and `choose` keeps, a table a part; others go from it.

        Raises:
            OutputError: a part can't be written again.
        """
        import pyarrow as pa
        import pyarrow.parquet as pq

        for file in list(self._files):
            table = pq.read_table(file)
            rows = table.take(pa.array(choose(table), pa.int64()))
            if not len(rows):
                file.unlink()
                self._files.remove(file)
            elif len(rows) < len(table):
                self._write(rows, file)
            yield rows

    def add(self, table: pa.Table) -> None:
        """Take rows to be written.

        Raises:
            OutputError: they can't be.
        """
        self._waiting.append(table)
        size = sum(one.nbytes for one in self._waiting)
        if size >= BYTES or time.monotonic() - self._since >= SECONDS:
            self.flush()

    def flush(self) -> None:
        """Write the rows that wait."""
        import pyarrow as pa

        if not self._waiting:
            return
        file = self.folder / _NAME.format(number=self._next)
        self._write(pa.concat_tables(self._waiting), file)
        self._files.append(file)
        self._next += 1
        self._waiting.clear()
        self._since = time.monotonic()

    def _write(self, table: pa.Table, file: Path) -> None:
        import pyarrow.parquet as pq

        metadata = {_KEY: json.dumps(self.about, ensure_ascii=False)}
        partial = file.with_name(f".{file.name}")
        try:
            pq.write_table(table.replace_schema_metadata(metadata), partial)
            os.replace(partial, file)
        except OSError as error:
            raise not_written(self.folder, error) from None


def stamp(file: Path) -> tuple[int, int]:
    """By which a file that was changed differs: its bytes, and when it was written in ns."""
    try:
        found = file.stat()
    except OSError:
        return -1, 0
    return found.st_size, found.st_mtime_ns


def text_of(name: str) -> str:
    """A file's name as text for a table, whatever bytes its own system gave it."""
    return name.encode("utf-8", "backslashreplace").decode()


def _about(file: Path) -> Any:
    """What a part says of its rows; None of a file that is no part."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        return json.loads((pq.read_schema(file).metadata or {}).get(_KEY, b"null"))
    except (pa.ArrowException, OSError, ValueError):
        return None
