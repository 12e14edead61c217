"""Checkpoints and label files sent to the page: kept in a temporary folder, the newest few.

Nothing here knows HTTP; every refusal is an `ExplorerError`.
"""

from __future__ import annotations

import secrets
import tempfile
import threading
from collections import OrderedDict
from collections.abc import AsyncIterable
from dataclasses import dataclass
from pathlib import Path

from vit_explorer.errors import ModelError
from vit_explorer.models.checkpoints import WEIGHT_ENDINGS
from vit_explorer.models.labels import LABEL_ENDINGS

MAX_BYTES = {"weights": 2 * 10**9, "labels": 2 * 10**6}
ENDINGS = {"weights": WEIGHT_ENDINGS, "labels": LABEL_ENDINGS}
FILES_KEPT = 6


@dataclass(frozen=True)
class Given:
    """A model a page put together: its architecture ("" if the file says it) and files."""

    architecture: str
    weights: Path | None
    labels: Path | None


class Uploads:
    """Files by keys that can't be guessed; safe under threads; the folder ends with it."""

    def __init__(self) -> None:
        self._folder = tempfile.TemporaryDirectory(prefix="vit-explorer-")
        self._files: OrderedDict[str, tuple[str, Path]] = OrderedDict()
        self._lock = threading.Lock()

    async def receive(self, kind: str, name: str, chunks: AsyncIterable[bytes]) -> str:
        """Write what arrives to a file of a name of our own; returns its key.

        Raises:
            ModelError: an ending that is none of this kind's, or too many bytes.
        """
        ending = Path(name).suffix.lower()
        if kind not in ENDINGS or ending not in ENDINGS[kind]:
            raise ModelError(
                f"The file {shown(name)!r} has an ending that can't be read here; send weights as "
                f"{', '.join(ENDINGS['weights'])}, or labels as {', '.join(ENDINGS['labels'])}."
            )
        key = secrets.token_urlsafe(16)
        # The name is in messages and on the page; the folder above it is the key's alone.
        path = Path(self._folder.name) / key / f"{shown(Path(name).stem)}{ending}"
        path.parent.mkdir()
        received = 0
        try:
            with path.open("wb") as file:
                async for chunk in chunks:
                    received += len(chunk)
                    if received > MAX_BYTES[kind]:
                        raise ModelError(
                            f"The file {path.name} has more than {MAX_BYTES[kind] // 10**6:,} MB; "
                            "start the page with it instead: vit-explorer app --model NAME "
                            "--weights FILE."
                        )
                    file.write(chunk)
        except BaseException:  # the connection may also end with a cancellation
            _remove(path)
            raise
        with self._lock:
            self._files[key] = (kind, path)
            while len(self._files) > FILES_KEPT:
                _remove(self._files.popitem(last=False)[1][1])
        return key

    def path(self, kind: str, key: str | None) -> Path | None:
        """Where a file is that was sent; None for no key.

        Raises:
            ModelError: the file is no longer kept.
        """
        if not key:
            return None
        with self._lock:
            found = self._files.get(key)
        if found is None or found[0] != kind:
            raise ModelError("The page no longer holds this file; send it again.")
        return found[1]


def shown(name: str) -> str:
    """A file's name as it may be shown: no path, no odd characters."""
    kept = "".join(c if c.isalnum() or c in " .()+-_" else "_" for c in Path(name).name)
    return kept.strip(" .")[:80] or "model"


def _remove(path: Path) -> None:
    path.unlink(missing_ok=True)
    path.parent.rmdir()
