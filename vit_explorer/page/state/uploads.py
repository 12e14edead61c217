"""Checkpoints and label files sent to the page: kept in a temporary folder, the
newest few, within bounds for each visitor and for all.

Nothing here knows HTTP; every refusal is an `ExplorerError`.
"""

from __future__ import annotations

import secrets
import shutil
import tempfile
import threading
from collections import OrderedDict
from collections.abc import AsyncIterable
from dataclasses import dataclass
from pathlib import Path

from vit_explorer.errors import ModelError
from vit_explorer.models.checkpoints.labels import LABEL_ENDINGS
from vit_explorer.models.checkpoints.weight_files import WEIGHT_ENDINGS
from vit_explorer.models.outputs import Outputs
from vit_explorer.sentences import Sentence

MAX_BYTES = {"weights": 2 * 10**9, "labels": 2 * 10**6}
ENDINGS = {"weights": WEIGHT_ENDINGS, "labels": LABEL_ENDINGS}
FILES_KEPT = 24
# Bytes on disk of one visitor and of all, with those that are still arriving; of all never more
# than this share of what is free.
OF_ONE = 4 * 10**9
OF_ALL = 10 * 10**9
SHARE_OF_FREE = 0.5
# A file system takes 255 bytes, an encrypted one 143; the ending comes after this.
MAX_NAME_BYTES = 120
LONGEST_SUFFIX = 20
GONE = Sentence("error.upload.gone", "The page no longer holds this file; send it again.")


@dataclass(frozen=True)
class Given:
    """A model a page put together: its architecture ("" if the file says it), files, and what its
    outputs are, None to find that; or what else a model is asked."""

    architecture: str
    weights: Path | None
    labels: Path | None
    outputs: Outputs | None = None
    words: tuple[str, ...] = ()

    @property
    def name(self) -> str:
        """What it is called on the page."""
        if self.weights is not None:
            return self.weights.name
        asked = cut_name(", ".join(self.words))
        parts = (self.architecture, self.labels and self.labels.name, self.outputs, asked)
        return ", ".join(part for part in parts if part)

    def check(self) -> None:
        """Raises ModelError where a file is no longer kept."""
        for path in (self.weights, self.labels):
            if path is not None and not path.is_file():
                raise ModelError(GONE)


@dataclass
class Sent:
    """A file that was sent, or is arriving: whose it is, and how much of it is here."""

    kind: str
    path: Path
    visitor: str
    bytes: int = 0


class Uploads:
    """Files by keys that can't be guessed; safe under threads; the folder ends with `close`."""

    def __init__(self) -> None:
        self._folder: tempfile.TemporaryDirectory[str] | None = None
        self._files: OrderedDict[str, Sent] = OrderedDict()
        self._arriving: dict[str, Sent] = {}
        self._lock = threading.Lock()

    async def receive(
        self, kind: str, name: str, chunks: AsyncIterable[bytes], visitor: str = ""
    ) -> str:
        """Write what arrives to a file of a name of our own; returns its key.

        Where a visitor's files, or all, grow beyond their bounds, the oldest of them go.

        Raises:
            ModelError: an ending that is none of this kind's, too many bytes, or no room for them.
        """
        ending = Path(name).suffix.lower()
        if kind not in ENDINGS or ending not in ENDINGS[kind]:
            raise ModelError(
                "error.upload.ending",
                "The file {file!r} has an ending that can't be read here; send weights as "
                "{weights}, or labels as {labels}.",
                file=shown(name),
                weights=", ".join(ENDINGS["weights"]),
                labels=", ".join(ENDINGS["labels"]),
            )
        key = secrets.token_urlsafe(16)
        # The name is in messages and on the page; the folder above it is the key's alone.
        stored = f"{shown(Path(name).stem)}{ending}"
        try:
            path = self._place() / key / stored
            path.parent.mkdir()
            sent = self._arriving[key] = Sent(kind, path, visitor)
            await self._write(sent, chunks)
        except OSError as error:
            raise ModelError(
                "error.upload.room",
                "The file {file} can't be kept on the server ({reason}); make room in its "
                "temporary folder and send the file again.",
                file=stored,
                reason=error.strerror or type(error).__name__,
            ) from None
        finally:
            self._arriving.pop(key, None)
        with self._lock:
            self._files[key] = sent
            while len(self._files) > FILES_KEPT:
                _remove(self._files.popitem(last=False)[1].path)
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
        if found is None or found.kind != kind or not found.path.is_file():
            raise ModelError(GONE)
        return found.path

    def close(self) -> None:
        """Remove all files; what is sent later is kept in a new folder."""
        with self._lock:
            self._files.clear()
            if self._folder is not None:
                self._folder.cleanup()
                self._folder = None

    async def _write(self, sent: Sent, chunks: AsyncIterable[bytes]) -> None:
        """Raises ModelError for more than there may be; then, as after any failure, nothing is
        left."""
        most = MAX_BYTES[sent.kind]
        try:
            with sent.path.open("wb") as file:
                async for chunk in chunks:
                    sent.bytes += len(chunk)
                    if sent.bytes > most:
                        raise ModelError(
                            "error.upload.limit",
                            "The file {file} has more than {limit:,} MB; start the page with it "
                            "instead: vit-explorer app --model NAME --weights FILE.",
                            file=sent.path.name,
                            limit=most // 10**6,
                        )
                    self._make_room(sent.visitor)
                    file.write(chunk)
        except BaseException:  # the connection may also end with a cancellation
            _remove(sent.path)
            raise

    def _make_room(self, visitor: str) -> None:
        """Give up the oldest files of a visitor, then of all, until what arrives has its room.

        Raises:
            ModelError: what arrives is too much by itself.
        """
        with self._lock:
            held = [*self._files.values(), *self._arriving.values()]
            own = sum(one.bytes for one in held if one.visitor == visitor)
            whole = sum(one.bytes for one in held)
            free = shutil.disk_usage(self._folder.name).free if self._folder else 0
            most = min(OF_ALL, int((whole + free) * SHARE_OF_FREE))
            for key, one in list(self._files.items()):
                if own <= OF_ONE and whole <= most:
                    return
                if whole > most or one.visitor == visitor:
                    whole -= one.bytes
                    own -= one.bytes if one.visitor == visitor else 0
                    _remove(self._files.pop(key).path)
        if own > OF_ONE or whole > most:
            raise ModelError(
                "error.upload.full",
                "The page keeps {limit:,} MB of files that are sent, and more than that is "
                "arriving; wait until others have sent theirs.",
                limit=min(OF_ONE, most) // 10**6,
            )

    def _place(self) -> Path:
        """The folder, made when first needed, and again where the system has cleaned it away."""
        with self._lock:
            if self._folder is None or not Path(self._folder.name).is_dir():
                if self._folder is not None:
                    self._folder.cleanup()
                self._folder = tempfile.TemporaryDirectory(
                    prefix="vit-explorer-", ignore_cleanup_errors=True
                )
            return Path(self._folder.name)


def shown(name: str) -> str:
    """A file's name as it may be shown: no path, no odd characters."""
    kept = "".join(c if c.isalnum() or c in " .()+-_" else "_" for c in Path(name).name)
    return cut_name(kept.strip(" .")) or "model"


def cut_name(name: str) -> str:
    """A file's name short enough for a file system, which counts bytes; a suffix stays."""
    suffix = Path(name).suffix
    if len(suffix.encode()) > LONGEST_SUFFIX:
        suffix = ""
    stem = name.removesuffix(suffix).encode()[: MAX_NAME_BYTES - len(suffix.encode())]
    return stem.decode(errors="ignore").strip(" .") + suffix


def _remove(path: Path) -> None:
    shutil.rmtree(path.parent, ignore_errors=True)
