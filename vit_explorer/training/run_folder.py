"""A run's folder: each file is replaced as a whole, so a crash or a full disk costs nothing."""

from __future__ import annotations

import csv
import io
import json
import math
import os
import pickle
import shutil
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, Any

import numpy as np
import torch
import yaml
from filelock import FileLock, Timeout
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from vit_explorer.errors import OutputError, RecipeError
from vit_explorer.models.checkpoints.checkpoint import FORMAT
from vit_explorer.training.recipe import Measured, Recipe, load_recipe

Row = dict[str, float]

# Whoever lists runs holds each one's lock for a moment, to see whether it is held.
_CLAIM_SECONDS = 1.0
_TOKENS = "teacher_tokens.npy"


def measured_on(rows: Sequence[Row]) -> Measured:
    """The pictures that a run's epochs were measured on, as its log's columns say."""
    return "held_out" if rows and "held_out_accuracy" in rows[-1] else "test"


class RunFolder:
    """Writes and reads back what a training run leaves behind.

    `recipe.yaml`, `run.json` (data, machine, versions), `log.csv` and `log.json` (a row an epoch),
    `curves.png`, `confusion.png`, `film.npz`, `last.safetensors`, `best.safetensors`, and
    `state.pt`, from which a run goes on.
    """

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        self._lock = FileLock(self / ".lock")

    def __truediv__(self, name: str) -> Path:
        return self.path / name

    def check(self, recipe: Recipe, resume: bool) -> None:
        """Whether a run can start in this folder, or the run in it go on.

        Raises:
            OutputError: it holds a run although `resume` is off, or none although on.
            RecipeError: the run in it was started with another recipe.
        """
        before = self / "recipe.yaml"
        if resume and not before.is_file():
            raise OutputError(
                "error.run.none",
                "{folder} holds no run to resume; leave out resume to start one.",
                folder=self.path,
            )
        if not resume and before.exists():
            raise OutputError(
                "error.run.there",
                "{folder} already holds a run; resume it, or give another folder.",
                folder=self.path,
            )
        if resume:
            self._check_same(recipe, load_recipe(before))

    def prepare(self, recipe: Recipe, resume: bool, facts: Mapping[str, Any]) -> None:
        """Make the folder, or take the run in it over; what a killed process left is removed.

        `facts` are what a run needs to go on, which is known before the first step.

        Raises:
            OutputError: not writable, another process trains in it, or as `check`.
            RecipeError: as `check`.
        """
        self.make()
        self._claim()
        self.check(recipe, resume)  # another process may have been here before the lock was ours
        self._remove_partial()
        if not resume:
            # The recipe comes last: where it is, the run can be resumed.
            self.write_json("run.json", facts)
            self.write("recipe.yaml", yaml.safe_dump(recipe.to_dict(), sort_keys=False).encode())

    def make(self) -> None:
        """Make the folder where there is none; raises OutputError."""
        try:
            self.path.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise OutputError(
                "error.run.folder",
                "The run folder {folder} can't be made: {reason}; give another.",
                folder=self.path,
                reason=error.strerror,
            ) from None

    def _remove_partial(self) -> None:
        """Files that a killed process was writing: a teacher's tokens may be gigabytes."""
        for file in self.path.glob(".*.partial"):
            with suppress(OSError):
                file.unlink()

    def _claim(self) -> None:
        """Keep other processes out until `release`; a process that dies lets go."""
        try:
            self._lock.acquire(timeout=_CLAIM_SECONDS)
        except Timeout:
            raise OutputError(
                "error.run.busy",
                "The run in {folder} is being trained by another process; wait for its end.",
                folder=self.path,
            ) from None
        except NotImplementedError:
            return  # a file system without locks
        except OSError as error:
            raise OutputError(
                "error.run.lock",
                "{file} can't be written: {reason}.",
                file=self / ".lock",
                reason=error.strerror or error,
            ) from None

    def is_training(self) -> bool:
        """Whether a process, this one or another, trains in the folder just now."""
        if not (self / ".lock").exists():
            return False
        try:
            with FileLock(self / ".lock", timeout=0):
                return False
        except Timeout:
            return True
        except (NotImplementedError, OSError):
            return False  # no locks, or not ours to lock: nothing is known

    def release(self) -> None:
        """Let other processes go on with the run."""
        self._lock.release()

    def _check_same(self, recipe: Recipe, before: Recipe) -> None:
        now, then = recipe.to_dict(), before.to_dict()
        changed = [key for key in now if now[key] != then[key]]
        if changed:
            raise RecipeError(
                "error.run.changed",
                "The run in {folder} was started with another {changed}; resume it with "
                "{recipe}, or start a new folder.",
                folder=self.path,
                changed=", ".join(changed),
                recipe=self / "recipe.yaml",
            )

    def write(self, name: str, content: bytes) -> None:
        """Replace a file as a whole; raises OutputError and leaves the old one if it can't."""
        with self.replacing(name) as file:
            file.write(content)

    @contextmanager
    def replacing(self, name: str) -> Iterator[IO[bytes]]:
        """A file to write that takes its place once it is whole; raises OutputError as `write`."""
        temporary = None
        try:
            with tempfile.NamedTemporaryFile(
                dir=self.path, prefix=f".{name}.", suffix=".partial", delete=False
            ) as file:
                temporary = Path(file.name)
                yield file
                file.flush()
                os.fsync(file.fileno())
            temporary.chmod(0o644)
            temporary.replace(self / name)
        except OSError as error:
            raise OutputError(
                "error.run.write",
                "{file} can't be written: {reason}; what was written before is whole, make room "
                "and resume.",
                file=self / name,
                reason=error.strerror or error,
            ) from None
        finally:
            if temporary is not None:
                temporary.unlink(missing_ok=True)

    def write_json(self, name: str, content: Any) -> None:
        self.write(name, (json.dumps(content, indent=1) + "\n").encode())

    def read_facts(self) -> dict[str, Any]:
        """What `run.json` says of the run so far, nothing where it can't be read."""
        try:
            facts = json.loads((self / "run.json").read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return {}
        return facts if isinstance(facts, dict) else {}

    def write_log(self, rows: Sequence[Row]) -> None:
        """The whole log, as JSON and as CSV."""
        self.write_json("log.json", list(rows))
        text = io.StringIO()
        table = csv.DictWriter(text, fieldnames=list(rows[0]), lineterminator="\n")
        table.writeheader()
        table.writerows(rows)
        self.write("log.csv", text.getvalue().encode())

    def write_weights(
        self, name: str, state: Mapping[str, Tensor], metadata: Mapping[str, Any], half: bool
    ) -> None:
        """Weights as safetensors that `load_model` reads, described by their metadata."""
        tensors = {key: value.detach().cpu().contiguous() for key, value in state.items()}
        if half:
            tensors = {k: v.half() if v.is_floating_point() else v for k, v in tensors.items()}
        texts = {key: json.dumps(value) for key, value in metadata.items()}
        self.write(name, save(tensors, {"format": FORMAT, **texts}))

    def write_state(self, state: Mapping[str, Any]) -> None:
        content = io.BytesIO()
        torch.save(dict(state), content)
        self.write("state.pt", content.getvalue())

    def read_state(self) -> dict[str, Any] | None:
        """What `write_state` wrote last, None if the run was stopped before that."""
        path = self / "state.pt"
        if not path.exists():
            return None
        try:
            return torch.load(path, map_location="cpu", weights_only=True)
        except (RuntimeError, OSError, EOFError, pickle.UnpicklingError) as error:
            raise OutputError(
                "error.run.damaged",
                "{file} is damaged ({error}), so the run can't be resumed; start a new one.",
                file=path,
                error=type(error).__name__,
            ) from None

    def write_arrays(self, name: str, arrays: Mapping[str, NDArray[Any]]) -> None:
        content = io.BytesIO()
        np.savez_compressed(content, **arrays)  # type: ignore[arg-type]
        self.write(name, content.getvalue())

    def write_soft_labels(self, labels: Tensor, key: str) -> None:
        content = save({"labels": labels}, {"key": key})
        self.write("soft_labels.safetensors", content)

    def read_soft_labels(self, key: str) -> Tensor | None:
        """The teacher's stored answers, if they are about these pictures and this teacher; its
        layers, which end the key, need not be asked for."""
        path = self / "soft_labels.safetensors"
        if not path.exists():
            return None
        try:
            with safe_open(path, framework="pt") as file:
                fits = f"{(file.metadata() or {}).get('key')} ".startswith(f"{key} ")
                return file.get_tensor("labels").float() if fits else None
        except (SafetensorError, OSError):
            return None

    @contextmanager
    def writing_tokens(self, shape: tuple[int, ...]) -> Iterator[IO[bytes]]:
        """A file to fill with the teacher's tokens, bytes of that shape in order."""
        needed, free = math.prod(shape), shutil.disk_usage(self.path).free
        if needed > free:
            raise OutputError(
                "error.run.room",
                "The teacher's tokens need {needed:.1f} GB and {folder} has {free:.1f} GB; make "
                "room and resume, or lower distill.views.",
                needed=needed / 1e9,
                folder=self.path,
                free=free / 1e9,
            )
        with self.replacing(_TOKENS) as file:
            header = {"descr": "|i1", "fortran_order": False, "shape": shape}
            np.lib.format.write_array_header_1_0(file, header)
            yield file

    def read_tokens(self, shape: tuple[int, ...]) -> NDArray[np.int8] | None:
        """The teacher's stored tokens, mapped from the file; None if they aren't of that shape."""
        try:
            tokens = np.load(self / _TOKENS, mmap_mode="r")
        except (OSError, ValueError):
            return None
        return tokens if tokens.shape == shape else None
