"""A folder of results: complete or not written at all."""

from __future__ import annotations

import json
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from vit_explorer.errors import OptionError, OutputError
from vit_explorer.sentences import Sentence

# Where results are made before they are moved to their places, and the lock of who makes them.
_WORK, _LOCK = ".vit-explorer", "lock"
# Whoever looks whether another process works there holds its lock for a moment.
_CLAIM_SECONDS = 1.0


def fill_folder(
    parent: Path,
    name: str,
    write: Callable[[Path], dict[str, Any]],
    *,
    manifest: str,
    scratch: Path | None = None,
) -> Path:
    """Write `parent/name/` and return it.

    `write` puts files into a folder beside the place, or in `scratch` on the same disk, and returns
    the manifest's content; they are moved when complete. Files of an earlier run, by its manifest,
    that are not written again are removed, and no others. The manifest comes last: a process that
    is killed before leaves one whose `complete` is false, or nothing.

    Raises:
        OptionError: a name that is a path.
        OutputError: the folder can't be made or written to.
    """
    if name in ("", ".", "..") or Path(name).name != name:
        raise OptionError(
            "error.folder.name",
            "The folder's name was {name!r}, expected a name that is no path.",
            name=name,
        )
    folder = parent / name
    try:
        parent.mkdir(parents=True, exist_ok=True)
        # Removed also where the process is told to end in the midst of this.
        with tempfile.TemporaryDirectory(
            prefix=".vit-explorer-", dir=scratch or parent, ignore_cleanup_errors=True
        ) as work:
            made = Path(work, "made")  # with the permissions of any folder, which `work` has not
            made.mkdir()
            content = write(made)
            files = sorted([*(file.name for file in made.iterdir()), manifest])
            _write_manifest(made / manifest, {**content, "files": files})
            if folder.exists():
                _move(made, folder, manifest, set(files))
            else:
                os.rename(made, folder)
    except OSError as error:
        raise not_written(parent, error) from None
    return folder


def write_file(file: Path, content: bytes) -> Path:
    """Write one file, complete or not at all, and return it; its folder is made.

    Raises:
        OutputError: the file can't be written.
    """
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=".vit-explorer-", dir=file.parent) as work:
            made = Path(work, "made")
            made.write_bytes(content)
            os.replace(made, file)
    except OSError as error:
        raise not_written(file, error) from None
    return file


def not_written(folder: Path, error: OSError) -> OutputError:
    """What to say of a folder for results that could not be written to."""
    return OutputError(
        "error.folder.write",
        "Results can't be written to {folder} ({reason}); name a folder that can be made "
        "and written to.",
        folder=folder,
        reason=error.strerror or Sentence("part.reason", "no reason given"),
    )


def _move(made: Path, folder: Path, manifest: str, files: set[str]) -> None:
    """Move results to where others may be. Killed on the way, the manifest says what is there."""
    before = _written_before(folder / manifest)
    under_way = made.parent / manifest
    _write_manifest(under_way, {"complete": False, "files": sorted(before | files)})
    os.replace(under_way, folder / manifest)
    for stale in before - files:
        (folder / stale).unlink(missing_ok=True)
    for name in sorted(files - {manifest}):
        os.replace(made / name, folder / name)
    os.replace(made / manifest, folder / manifest)


def _write_manifest(file: Path, content: dict[str, Any]) -> None:
    text = json.dumps(content, indent=2, ensure_ascii=False)
    file.write_text(text + "\n", "utf-8", "backslashreplace")


def _written_before(manifest: Path) -> set[str]:
    """Files of an earlier run, by its own list, so that nothing else is ever removed."""
    try:
        files = json.loads(manifest.read_text(encoding="utf-8"))["files"]
        return {Path(str(name)).name for name in files}
    except (OSError, ValueError, KeyError, TypeError):
        return set()


@contextmanager
def claimed(out: Path) -> Iterator[Path]:
    """A folder in `out` to make results in, which is this process's alone.

    What a killed process left half made in it is removed.

    Raises:
        OutputError: another process works there, or it can't be written to.
    """
    scratch = out / _WORK
    lock = FileLock(scratch / _LOCK)
    try:
        while not (lock.is_locked and (scratch / _LOCK).exists()):
            lock.release()  # of a file that went with the work of whoever held it before
            scratch.mkdir(parents=True, exist_ok=True)
            lock.acquire(timeout=_CLAIM_SECONDS)
        for left in scratch.iterdir():
            if left.is_dir():
                shutil.rmtree(left)
            elif left.name != _LOCK:
                left.unlink()
    except Timeout:
        raise OutputError(
            "error.folder.busy",
            "Another process is writing results to {out}; wait for its end, or name another "
            "folder.",
            out=out,
        ) from None
    except NotImplementedError:
        pass  # a file system without locks
    except OSError as error:
        lock.release()
        raise not_written(out, error) from None
    try:
        yield scratch
    finally:
        shutil.rmtree(scratch, ignore_errors=True)
        lock.release()
