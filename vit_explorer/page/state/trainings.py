"""Training from the page: one run at a time, in a thread of its own, under one folder.

Nothing here knows HTTP; every refusal is an `ExplorerError`.
"""

from __future__ import annotations

import json
import os
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vit_explorer.errors import (
    DataError,
    ExplorerError,
    ModelError,
    OptionError,
    RecipeError,
    nearest,
)
from vit_explorer.failures import logged
from vit_explorer.page.state.recipe_changes import Changes, choices, offered
from vit_explorer.sentences import Sentence, keyed
from vit_explorer.training.recipe import Recipe, list_recipes, load_recipe
from vit_explorer.training.run_folder import Row, RunFolder, measured_on

if TYPE_CHECKING:
    from vit_explorer.training.compared_runs import RunComparison
    from vit_explorer.training.pace import Step
    from vit_explorer.training.run import RunResult

WEIGHTS = "last.safetensors"
ACTIVE = ("running", "stopping")
UNCHANGED = Changes()
_NICENESS = 10
_STEPS_EVERY = 0.5  # seconds
_LONGEST_PATH = 1000


@dataclass
class Training:
    """One run of this session, as far as it has come."""

    run: str
    recipe: str
    epochs: int
    patience: int | None = None  # epochs without a gain that end it
    state: str = "running"  # running, stopping, stopped, finished or failed
    rows: list[Row] = field(default_factory=list)
    notes: list[Sentence] = field(default_factory=list)  # on its pictures
    step: Step | None = None  # the last of the epoch under way
    error: str = ""

    @property
    def active(self) -> bool:
        return self.state in ACTIVE


class Trainings:
    """Starts, stops and resumes runs under `folder`; safe under threads."""

    def __init__(self, folder: Path, *, device: str = "auto") -> None:
        self.folder = folder
        self.device = device
        # Held for a look at the training under way, and told whenever that changes.
        self._changed = threading.Condition()
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None
        self._current: Training | None = None

    def start(self, recipe: str, data: str, changes: Changes = UNCHANGED) -> None:
        """Train a shipped recipe in a new run folder.

        Args:
            data: "cifar10", or a data folder on this machine as `train` takes it.

        Raises:
            RecipeError: no such recipe, or a change it can't have.
            DataError: no data named.
            ModelError: a run to begin with that has no weights.
            OptionError: other weights to begin with, or a training is under way.
        """
        # load_recipe also reads files, which a page must not be able to name.
        if recipe not in list_recipes():
            raise RecipeError(
                "error.train.recipe",
                "There is no recipe {recipe!r}{near}",
                recipe=recipe,
                near=nearest(recipe, list_recipes()) or ".",
            )
        settings = load_recipe(recipe, changes.overrides(load_recipe(recipe), self.weights))
        data = checked_data(data)
        self._launch(self._free_name(recipe), settings, data, resume=False)

    def resume(self, run: str) -> None:
        """Go on with a run that was stopped, on the data it was started with.

        Raises:
            OptionError: no such run, or a training is under way.
            DataError: the run doesn't say its data.
        """
        folder = self.existing(run)
        settings = load_recipe(folder / "recipe.yaml")
        data = _read_json(folder / "run.json", {}).get("data")
        if not isinstance(data, str):
            raise DataError(
                "error.train.data",
                "The run {run} doesn't say which data it learns from; resume it with "
                "`vit-explorer train {recipe} --data DIR --out {folder} --resume`.",
                run=run,
                recipe=folder / "recipe.yaml",
                folder=folder,
            )
        self._launch(run, settings, data, resume=True)

    def stop(self) -> None:
        """Ask the training to keep its state at the next step and end."""
        with self._changed:
            if self._current is not None and self._current.active:
                self._current.state = "stopping"
                self._stop.set()
                self._changed.notify_all()

    def close(self, seconds: float = 60.0) -> None:
        """Stop, and wait until what was learned is kept."""
        self.stop()
        if self._thread is not None:
            self._thread.join(seconds)

    def weights(self, run: str) -> Path:
        """The newest weights of a run.

        Raises:
            ModelError: no such run, or it has not come to the end of an epoch.
        """
        try:
            file = self.existing(run) / WEIGHTS
        except OptionError as error:
            raise ModelError(error.sentence) from None
        if not file.is_file():
            raise ModelError(
                "error.train.weights",
                "The run {run} has no weights yet; they are written at the end of each epoch.",
                run=run,
            )
        return file

    def compare(self, runs: Sequence[str]) -> RunComparison:
        """Runs of the list side by side, without pictures.

        Raises:
            OptionError: no such run, fewer than two, or one twice.
            DataError: a damaged log.
        """
        from vit_explorer.training.compared_runs import compare_runs

        return compare_runs([self.existing(run) for run in runs], pictures=0)

    def describe(self) -> dict[str, Any]:
        """What can be trained, and the runs there are, the newest first."""
        recipes = [load_recipe(name) for name in list_recipes()]
        return {
            "folder": str(self.folder),
            "recipes": [offered(one) for one in recipes],
            "choices": choices(),
            "runs": [self._describe_run(folder) for folder in self._folders()],
            "now": self.now(),
        }

    def now(self) -> dict[str, Any] | None:
        """The training under way, or this session's last."""
        with self._changed:
            one = self._current
            if one is None:
                return None
            return {
                "run": one.run,
                "recipe": one.recipe,
                "epochs": one.epochs,
                "patience": one.patience,
                "state": one.state,
                "rows": list(one.rows),
                "step": None if one.step is None else asdict(one.step),
                "notes": [keyed(note) for note in one.notes],
                "measured": measured_on(one.rows),
                "error": keyed(one.error),
                "has_weights": (self.folder / one.run / WEIGHTS).is_file(),
            }

    def news(self, seconds: float) -> Iterator[dict[str, Any] | None]:
        """The training under way at each change until it ends; None after `seconds` without one."""
        told: dict[str, Any] | None = None
        while True:
            with self._changed:
                if told is not None and self.now() == told:
                    self._changed.wait(seconds)
                now = self.now()
            yield None if now == told else now
            if now is None or now["state"] not in ACTIVE:
                return
            told = now

    def _launch(self, run: str, settings: Recipe, data: str, resume: bool) -> None:
        rows = _read_json(self.folder / run / "log.json", []) if resume else []
        with self._changed:
            if self._current is not None and self._current.active:
                raise OptionError(
                    "error.train.busy",
                    "The run {run} is training; stop it first, or wait for its end.",
                    run=self._current.run,
                )
            patience = settings.early_stop.patience if settings.early_stop else None
            current = Training(run, settings.name, settings.epochs, patience, rows=rows)
            stop = threading.Event()

            def keep(row: Row) -> None:
                with self._changed:
                    # A run that was cut off may go on before the last epoch of its log.
                    current.rows[int(row["epoch"]) - 1 :] = [row]
                    current.step = None
                    self._changed.notify_all()

            told = -_STEPS_EVERY

            def at(step: Step) -> None:
                # Steps may be many a second, and each page is told of every one.
                nonlocal told
                if time.monotonic() - told >= _STEPS_EVERY:
                    told = time.monotonic()
                    with self._changed:
                        current.step = step
                        self._changed.notify_all()

            def note(said: Sentence) -> None:
                with self._changed:
                    current.notes.append(said)
                    self._changed.notify_all()

            def go() -> RunResult:
                from vit_explorer.training.run import train

                return train(
                    settings,
                    data=data,
                    out=self.folder / run,
                    resume=resume,
                    device=self.device,
                    stop=stop,
                    watch=keep,
                    tell=note,
                    step=at,
                )

            self._current, self._stop = current, stop
            self._thread = threading.Thread(target=self._work, args=(current, go), daemon=True)
            self._thread.start()

    def _work(self, current: Training, go: Callable[[], RunResult]) -> None:
        _yield_to_the_page()
        state, error = "failed", ""
        try:
            state = "finished" if go().finished else "stopped"
        except ExplorerError as refusal:
            error = refusal.sentence
        except OSError as refusal:
            error = Sentence(
                "error.train.read",
                "The data can't be read: {reason}; choose another folder.",
                reason=refusal.strerror or refusal,
            )
        except Exception as failure:
            error = Sentence(
                "error.train.unexpected",
                "The training failed in a way the page has no words for; the server's log has them "
                "under {number}.",
                number=logged(failure, f"the training of {current.run}"),
            )
        with self._changed:
            current.state, current.error = state, error
            self._changed.notify_all()

    def _folders(self) -> list[Path]:
        if not self.folder.is_dir():
            return []
        runs = [path for path in self.folder.iterdir() if (path / "recipe.yaml").is_file()]
        return sorted(runs, key=lambda path: path.stat().st_mtime, reverse=True)

    def existing(self, run: str) -> Path:
        """The folder of a run; raises OptionError for none of the list."""
        # Compared with what is there: a name sent by a page never becomes a path.
        for folder in self._folders():
            if folder.name == run:
                return folder
        raise OptionError(
            "error.train.run",
            "There is no run {run!r} in {folder}; choose one of the list.",
            run=run,
            folder=self.folder,
        )

    def _free_name(self, recipe: str) -> str:
        number, name = 1, recipe
        while (self.folder / name).exists():
            number += 1
            name = f"{recipe}-{number}"
        return name

    def _describe_run(self, folder: Path) -> dict[str, Any]:
        rows = _read_json(folder / "log.json", [])
        finished = (folder / "metrics.json").is_file()
        return {
            "name": folder.name,
            "epochs": len(rows),
            "measured": measured_on(rows),
            "accuracy": rows[-1][f"{measured_on(rows)}_accuracy"] if rows else None,
            "finished": finished,
            "training": RunFolder(folder).is_training(),
            "has_weights": (folder / WEIGHTS).is_file(),
        }


def checked_data(data: str) -> str:
    """A place on this machine as `train` takes it, absolute; raises DataError for none."""
    data = data.strip()
    if not data or len(data) > _LONGEST_PATH or "\0" in data:
        raise DataError(
            "error.train.folder",
            "Name a folder of class folders on the server's machine, or cifar10.",
        )
    # A run is resumed later, perhaps by a server that was started elsewhere.
    try:
        return data if data == "cifar10" else str(Path(data).expanduser().absolute())
    except RuntimeError:
        raise DataError(
            "error.train.user",
            "{data} begins with a user this machine doesn't know; write the whole path.",
            data=data,
        ) from None


def _read_json(path: Path, otherwise: Any) -> Any:
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return otherwise


def _yield_to_the_page() -> None:
    """On Linux threads have a priority of their own: explaining a picture goes before training."""
    if sys.platform == "linux":
        os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), _NICENESS)
