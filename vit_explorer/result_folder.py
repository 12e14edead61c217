"""A folder of results: complete or not written at all."""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from vit_explorer.errors import OptionError, OutputError
from vit_explorer.sentences import Sentence


def fill_folder(
    parent: Path,
    name: str,
    write: Callable[[Path], dict[str, Any]],
    *,
    manifest: str,
) -> Path:
    """Write `parent/name/` and return it.

    `write` puts files into a folder beside the place and returns the manifest's content; they are
    moved when complete. Files of an earlier run, by its manifest, that are not written again are
    removed, and no others.

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
            prefix=".vit-explorer-", dir=parent, ignore_cleanup_errors=True
        ) as made:
            work = Path(made)
            content = write(work)
            files = sorted([*(file.name for file in work.iterdir()), manifest])
            text = json.dumps({**content, "files": files}, indent=2, ensure_ascii=False)
            (work / manifest).write_text(text + "\n", "utf-8", "backslashreplace")
            folder.mkdir(exist_ok=True)
            for stale in _written_before(folder / manifest) - set(files):
                (folder / stale).unlink(missing_ok=True)
            for file in sorted(work.iterdir()):
                os.replace(file, folder / file.name)
    except OSError as error:
        reason = error.strerror or Sentence("part.reason", "no reason given")
        raise OutputError(
            "error.folder.write",
            "Results can't be written to {folder} ({reason}); name a folder that can be made "
            "and written to.",
            folder=parent,
            reason=reason,
        ) from None
    return folder


def _written_before(manifest: Path) -> set[str]:
    """Files of an earlier run, by its own list, so that nothing else is ever removed."""
    try:
        files = json.loads(manifest.read_text(encoding="utf-8"))["files"]
        return {Path(str(name)).name for name in files}
    except (OSError, ValueError, KeyError, TypeError):
        return set()
