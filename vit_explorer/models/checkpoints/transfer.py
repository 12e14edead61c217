"""A file that comes over the network: how far it is, an end at any moment, and on from there.

What came stays in a part file, also where the line breaks or nobody waits any more; the next try
asks for the rest. The whole is checked against what was announced before it counts as there.
"""

from __future__ import annotations

import hashlib
import shutil
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from queue import Empty, Full, Queue
from typing import Any

from vit_explorer.errors import ModelError
from vit_explorer.models.shipped import BUNDLED
from vit_explorer.sentences import Sentence
from vit_explorer.stopping import LOOK_EVERY, look

# (name, bytes that are here, bytes of the whole)
Tell = Callable[[str, int, int], None]

TOLD_EVERY = 0.1  # seconds between two words about how far it is
AHEAD = 64  # pieces of the network that wait for the disk
READ = 1 << 20
# A line that breaks while something comes is asked for the rest so often, after so many seconds;
# then it is told, for it may break again and again.
TRIES = 2
PAUSE = 1.0
ANSWER = 10.0
MEGABYTE = 10**6
OK, PARTIAL, BEYOND = 200, 206, 416


class _Ear(threading.local):
    tell: Tell | None = None


_ear = _Ear()


@contextmanager
def hearing(tell: Tell) -> Iterator[None]:
    """Have `tell` called with the name, bytes and bytes of the whole of each file that this thread
    brings in the block, ten times a second at most; else a bar on stderr shows it."""
    before, _ear.tell = _ear.tell, tell
    try:
        yield
    finally:
        _ear.tell = before


@dataclass(frozen=True)
class Remote:
    """A file that a server has.

    Attributes:
        name: what a reader knows it by.
        size: bytes.
        sha256: of the whole, None where the server does not tell it.
        seconds: of silence after which the line counts as broken; that before an answer begins may
            be `ANSWER` long.
    """

    url: str
    name: str
    size: int
    sha256: str | None = None
    headers: Mapping[str, str] = field(default_factory=dict)
    seconds: float = 5.0


class _BrokenError(Exception):
    """A line that ended before the file did."""

    def __init__(self, reason: Sentence, *, lasting: bool = False) -> None:
        super().__init__(reason)
        self.reason = reason
        self.lasting = lasting  # to ask again at once is of no use


def receive(remote: Remote, part: Path) -> None:
    """Bring the rest of a file into `part`, which holds its beginning or is not there yet.

    Raises:
        ModelError: the line broke (the part stays), there is no room, or the content is not what
            was announced (the part goes).
        OSError: the part can't be written.
        Stopped: nobody waits any more (the part stays).
    """
    with _telling(remote) as tell:
        part.parent.mkdir(parents=True, exist_ok=True)
        part.touch()
        if part.stat().st_size > remote.size:
            part.write_bytes(b"")
        content = _summed(part)
        _check_room(remote, part, remote.size - part.stat().st_size)
        tries = 0
        while part.stat().st_size < remote.size:
            before, tries = part.stat().st_size, tries + 1
            try:
                content = _append(remote, part, content, tell)
            except _BrokenError as broken:
                here = part.stat().st_size
                if broken.lasting or here == before or tries == TRIES:
                    raise _broken_off(remote, here, broken.reason) from None
                _pause()
        tell(remote.size, last=True)
        _check(remote, part, content)


def _append(remote: Remote, part: Path, content: Any, tell: Callable[..., None]) -> Any:
    """Write what one request gives, and return the sum of the whole part."""
    here = part.stat().st_size
    tell(here)
    with _asked(remote, here) as (status, pieces), part.open("ab") as file:
        if here and status != PARTIAL:  # all of it, or nothing that would go on from here
            file.truncate(0)
            content, here = hashlib.sha256(), 0
        if status not in {OK, PARTIAL, BEYOND}:
            said = Sentence("part.hub.answer", "the hub answered {status}", status=status)
            raise _BrokenError(said, lasting=True)
        for piece in pieces:
            file.write(piece)
            content.update(piece)
            here += len(piece)
            tell(here)
            if here > remote.size:
                break
    if here < remote.size:
        raise _BrokenError(Sentence("part.line.cut", "the line broke"))
    return content


@contextmanager
def _asked(remote: Remote, first: int) -> Iterator[tuple[int, Iterator[bytes]]]:
    """Ask for a file from a byte on: the answer's status, and its pieces as they come.

    They are read in a thread of their own, or a server that is silent could not be left.
    """
    arrived: Queue[Any] = Queue(AHEAD)
    left = threading.Event()

    def put(piece: Any) -> None:
        while not left.is_set():
            with suppress(Full):
                arrived.put(piece, timeout=LOOK_EVERY)
                return

    def read() -> None:
        from huggingface_hub.utils import get_session

        # Compressed, neither its size nor where it goes on would be that of the file.
        headers = {**remote.headers, "Accept-Encoding": "identity"}
        headers |= {"Range": f"bytes={first}-"} if first else {}
        seconds = max(ANSWER, remote.seconds)
        options: dict[str, Any] = {"timeout": seconds, "follow_redirects": True}
        try:
            with get_session().stream("GET", remote.url, headers=headers, **options) as answer:
                begins = answer.headers.get("Content-Range", "").startswith(f"bytes {first}-")
                elsewhere = answer.status_code == PARTIAL and not begins
                put(BEYOND if elsewhere else answer.status_code)
                for piece in answer.iter_raw():
                    put(piece)
                    if left.is_set():
                        return
            put(None)
        except Exception as error:  # of many kinds, by the version of the hub's client
            put(_broken_by(error))

    def next_one(seconds: float = remote.seconds) -> Any:
        until = time.monotonic() + seconds
        while time.monotonic() < until:
            look()
            with suppress(Empty):
                piece = arrived.get(timeout=LOOK_EVERY)
                if isinstance(piece, _BrokenError):
                    raise piece
                return piece
        silent = Sentence("part.line.silent", "nothing came for {seconds:g} s", seconds=seconds)
        raise _BrokenError(silent, lasting=True)

    threading.Thread(target=read, daemon=True).start()
    try:
        yield next_one(max(ANSWER, remote.seconds)), iter(next_one, None)
    finally:
        left.set()


def _broken_by(error: BaseException) -> _BrokenError:
    if "Connect" in type(error).__name__:
        return _BrokenError(Sentence("part.hub.unreached", "the hub can't be reached"))
    return _BrokenError(Sentence("part.line.cut", "the line broke"))


def _broken_off(remote: Remote, here: int, reason: Sentence) -> ModelError:
    return ModelError(
        "error.download.broken",
        "The download of {name} broke off ({reason}): {here:.1f} of {total:.1f} MB are on this "
        "machine, and loading it again goes on from there.",
        name=remote.name,
        reason=reason,
        here=here / MEGABYTE,
        total=remote.size / MEGABYTE,
    ).offering(remote.name, BUNDLED)


def _check(remote: Remote, part: Path, content: Any) -> None:
    """Refuse, and remove, what is not the file that was announced."""
    size = part.stat().st_size
    if size == remote.size and remote.sha256 in {None, content.hexdigest()}:
        return
    part.unlink()
    raise ModelError(
        "error.download.wrong",
        "What came of {name} is not the file that the hub announced (its {what} differs) and was "
        "deleted; load it again, and if that happens again, look for a proxy or mirror that "
        "changes it.",
        name=remote.name,
        what="SHA-256" if size == remote.size else Sentence("part.download.size", "size"),
    ).offering(remote.name, BUNDLED)


def _check_room(remote: Remote, part: Path, missing: int) -> None:
    free = shutil.disk_usage(part.parent).free
    if missing > free:
        raise ModelError(
            "error.download.room",
            "{name} needs {missing:.0f} MB more on this machine's disk, which has {free:.0f} free "
            "in the hub's folder; make room there, or have HF_HOME name another folder.",
            name=remote.name,
            missing=missing / MEGABYTE,
            free=free / MEGABYTE,
        ).offering(BUNDLED)


@contextmanager
def _telling(remote: Remote) -> Iterator[Callable[..., None]]:
    heard = _ear.tell
    bar: Any = None
    if heard is None:
        from huggingface_hub.utils import tqdm

        bar = tqdm(desc=remote.name, total=remote.size, unit="B", unit_scale=True)
    told = -TOLD_EVERY

    def tell(here: int, *, last: bool = False) -> None:
        nonlocal told
        now = time.monotonic()
        if now - told < TOLD_EVERY and not last:
            return
        told = now
        if heard is not None:
            heard(remote.name, here, remote.size)
        else:
            bar.update(here - bar.n)

    try:
        yield tell
    finally:
        if bar is not None:
            bar.close()


def _summed(part: Path) -> Any:
    """The sum of what is here already."""
    content = hashlib.sha256()
    with part.open("rb") as file:
        while piece := file.read(READ):
            look()
            content.update(piece)
    return content


def _pause() -> None:
    until = time.monotonic() + PAUSE
    while time.monotonic() < until:
        look()
        time.sleep(LOOK_EVERY)
