"""`train`: from a recipe and pictures to a run folder."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

import numpy as np
import torch
from accelerate import Accelerator
from accelerate.state import AcceleratorState
from accelerate.utils import InitProcessGroupKwargs
from safetensors.torch import load_file

from vit_explorer.datasets.evaluate import evaluate
from vit_explorer.datasets.evaluation import Evaluation
from vit_explorer.datasets.evaluation_files import contents
from vit_explorer.datasets.metrics import Metrics
from vit_explorer.errors import RecipeError
from vit_explorer.models.checkpoints.checkpoint import Checkpoint
from vit_explorer.models.devices import choose_precision, find_device
from vit_explorer.sentences import Sentence
from vit_explorer.stopping import Stopped
from vit_explorer.training.data import Splits, decode_splits, find_run_splits
from vit_explorer.training.early_stop import best_epoch, ending, is_over, quality
from vit_explorer.training.film import Film, find_film, make_film
from vit_explorer.training.interrupts import interrupts
from vit_explorer.training.loop import Trainer
from vit_explorer.training.losses import class_weights
from vit_explorer.training.pace import Step
from vit_explorer.training.recipe import Measured, Recipe, load_recipe
from vit_explorer.training.report import draw_confusion, draw_curves
from vit_explorer.training.run_folder import Row, RunFolder
from vit_explorer.training.sinks import Sink, check_sinks, named, open_sinks
from vit_explorer.training.student import (
    build_model,
    image_size,
    make_student,
    read_initial_weights,
)
from vit_explorer.training.teacher import Teacher
from vit_explorer.training.told_model import ToldModel

_SAVE_SECONDS = 300.0


@dataclass(frozen=True)
class RunResult:
    """What a run left: `weights` for `load_model`; not `finished` when it was stopped early.

    Of several processes the `main` one writes and measures; the others have no `metrics`.
    """

    folder: Path
    weights: Path
    finished: bool
    rows: tuple[Row, ...]
    metrics: Evaluation | None
    main: bool = True


def train(
    recipe: str | Path | Recipe,
    *,
    data: str | Path | None = None,
    out: str | Path | None = None,
    resume: bool = False,
    overrides: Sequence[str] = (),
    device: str = "auto",
    precision: str = "auto",
    progress: bool = False,
    stop: threading.Event | None = None,
    watch: Callable[[Row], None] | None = None,
    tell: Callable[[Sentence], None] | None = None,
    step: Callable[[Step], None] | None = None,
    log_to: Sequence[str] = (),
    save_seconds: float = _SAVE_SECONDS,
) -> RunResult:
    """Train a recipe and measure the result.

    Args:
        recipe: name of a shipped recipe, a YAML file, or a Recipe.
        data: "cifar10", a folder with CIFAR-10's files, or a folder of class folders; by default
            that of the run that is resumed, or "cifar10".
        out: the run folder, by default runs/RECIPE.
        resume: go on with the run in `out`, to the numbers of an uninterrupted one.
        overrides: changes to the recipe, such as "optimizer.lr=1e-3".
        precision: "no" (float32), "bf16" or, on a GPU, "fp16"; "auto" is that of the run that is
            resumed, or bf16 where the processor has it.
        stop: once set, the run keeps its state at the next step and returns; so does Ctrl-C.
        watch: called with each epoch's row of the log.
        tell: called with what is to be said of the pictures before the first step: files left out,
            where labels come from, pictures in two splits.
        step: called after each step with how far the run is, its loss and the time left.
        log_to: "tensorboard" (files in the run folder) or "trackio" (its own database on this
            machine), or both: told of each epoch, and at the end of what was measured.
        save_seconds: within an epoch the state is kept this often; several processes keep it at
            the end of each.

    Raises:
        RecipeError, DataError, ModelError, OptionError: before anything is written; RecipeError
            also where the loss, or what an epoch is measured as, is no number any more.
        OutputError: the run folder can't be written; what was written before is whole.
    """
    settings = load_recipe(recipe, overrides)
    check_sinks(log_to)
    chosen = find_device(device)
    folder = RunFolder(out or Path("runs") / settings.name)
    folder.check(settings, resume)  # again in `prepare`: decoding the pictures takes a while
    before = folder.read_facts() if resume else {}
    data = data or before.get("data", "cifar10")
    if precision == "auto":
        precision = before.get("precision", precision)
    precision = choose_precision(precision, chosen)
    splits = find_run_splits(data, settings.hold_out)
    _check_data(settings, splits)
    if chosen.type == "cuda" and chosen.index is not None:
        torch.cuda.set_device(chosen)  # accelerate takes the current one
    # The others wait while the first asks a teacher, which may take hours.
    patience = InitProcessGroupKwargs(timeout=timedelta(days=1))
    accelerator = Accelerator(
        cpu=chosen.type == "cpu", mixed_precision=precision, kwargs_handlers=[patience]
    )
    shown = progress and accelerator.is_main_process
    try:
        torch.manual_seed(settings.seed)
        model = build_model(settings, len(splits.train.classes))
        initial = read_initial_weights(settings, model)
        teacher = (
            Teacher(settings.distill, splits.train.classes, accelerator.device)
            if settings.distill
            else None
        )
        learner = make_student(settings, model, teacher)
        learned, measured, notes = decode_splits(
            splits, image_size(model), settings.allow_leakage, shown
        )
        if tell is not None and accelerator.is_main_process:
            for note in notes:
                tell(note)
        kind: Measured = "test" if splits.test is None else "held_out"
        trainer = Trainer(settings, learner, learned, measured, accelerator, teacher, kind)
        place = data_place(data)
        if accelerator.is_main_process:
            folder.prepare(settings, resume, {"data": place, "precision": precision})
        accelerator.wait_for_everyone()
        run = _Run(trainer, folder, place, shown, watch, initial, step, tell, log_to)
        return run.go(resume, stop or threading.Event(), save_seconds)
    finally:
        folder.release()
        if accelerator.num_processes == 1:
            # accelerate keeps one state a process, which would bind the next run to this one's.
            AcceleratorState._reset_state(reset_partial_state=True)


def _check_data(recipe: Recipe, splits: Splits) -> None:
    """What a recipe asks of the data, before that is decoded."""
    class_weights(recipe.class_weights, torch.tensor(splits.train.labels), splits.train.classes)
    if recipe.early_stop is not None and splits.test is None:
        raise RecipeError(
            "error.run.early",
            "early_stop: the data has only its test pictures to stop by, which would then be no "
            "test any more; set hold_out=0.1 or so, or add a validation split.",
        )


def data_place(data: str | Path) -> str:
    """How a run notes where its data are, so that it goes on from any folder."""
    return "cifar10" if data == "cifar10" else str(Path(data).absolute())


class _Run:
    def __init__(
        self,
        trainer: Trainer,
        folder: RunFolder,
        data: str,
        progress: bool,
        watch: Callable[[Row], None] | None,
        initial: Checkpoint | None,
        step: Callable[[Step], None] | None,
        tell: Callable[[Sentence], None] | None,
        log_to: Sequence[str],
    ) -> None:
        self.trainer, self.folder, self.data, self.initial = trainer, folder, data, initial
        self.progress, self.watch, self.step, self.tell = progress, watch, step, tell
        self.told = ToldModel(trainer, initial)
        self.log_to, self.sinks = log_to, tuple[Sink, ...]()
        self.main = trainer.accelerator.is_main_process
        self.film: Film | None = None
        self.saved = time.monotonic()

    def go(self, resume: bool, stop: threading.Event, save_seconds: float) -> RunResult:
        self._begin_film()
        state = self.folder.read_state() if resume else None
        if state is not None:
            self.trainer.restore(state)
            self._resume_film()
        recipe, epochs = self.trainer.recipe, self.trainer.position.epoch
        with open_sinks(
            self.log_to if self.main else (), self.folder, recipe, epochs
        ) as self.sinks:
            with interrupts(stop):
                finished = self._prepare(stop) and self._train(stop, save_seconds)
            measured = self._measure() if finished and self.main else None
        self.trainer.accelerator.wait_for_everyone()
        return RunResult(
            folder=self.folder.path,
            weights=self.folder / "last.safetensors",
            finished=finished,
            rows=tuple(self.trainer.position.rows),
            metrics=measured,
            main=self.main,
        )

    def _train(self, stop: threading.Event, save_seconds: float) -> bool:
        """Epochs until the run is over, or until asked to stop: then False."""
        trainer, accelerator = self.trainer, self.trainer.accelerator

        def pause(at: Step) -> bool:
            if self.step is not None and self.main:
                self.step(at)
            if accelerator.num_processes > 1:
                if stop.is_set():
                    accelerator.set_trigger()
                stopping = accelerator.check_trigger()
            else:
                stopping = stop.is_set()
            due = accelerator.num_processes == 1 and time.monotonic() - self.saved > save_seconds
            if stopping or due:
                self._save_state()
            return stopping

        while not is_over(trainer.recipe, trainer.position.rows):
            if not trainer.run_epoch(self.progress, pause):
                return False
            row, metrics = trainer.finish_epoch()
            if self.main:
                self._keep_epoch(row, metrics)
            self._save_state()
        return True

    def _begin_film(self) -> None:
        """Frame 0 is the model before training, so this comes before a state is taken back."""
        initial = self.trainer.recipe.initial_weights
        if not self.main or not self.trainer.recipe.film:
            return
        self.film = make_film(self.told.loaded(), self.told.probes(), self.trainer.measured)
        begun = find_film(initial) if initial else None
        if self.film is not None and begun is not None:
            with np.load(begun) as film:
                self.film.follow(dict(film))

    def _resume_film(self) -> None:
        if self.film is not None and (self.folder / "film.npz").exists():
            with np.load(self.folder / "film.npz") as film:
                self.film.restore(dict(film), self.trainer.position.epoch)

    def _prepare(self, stop: threading.Event) -> bool:
        """What is known before the first step, and the teacher's answers; False if stopped."""
        self._write_facts()
        lessons = self.trainer.lessons
        try:
            with self.trainer.accelerator.main_process_first():
                begun = RunFolder(self.initial.path.parent) if self.initial else None
                if lessons is not None:
                    lessons.prepare(self.trainer.train, self.folder, self.progress, stop, begun)
        except Stopped:
            return False
        return True

    def _write_facts(self) -> None:
        if self.main:
            self.folder.write_json("run.json", {**self.told.facts(), "data": self.data})

    def _keep_epoch(self, row: Row, metrics: Metrics) -> None:
        rows, folder, recipe = self.trainer.position.rows, self.folder, self.trainer.recipe
        if self.film is not None:
            self.film.record(int(row["epoch"]))
            folder.write_arrays("film.npz", self.film.arrays(rows))
        folder.write_log(rows)
        self._write_facts()
        folder.write("curves.png", draw_curves(rows, recipe.name, self.trainer.measured))
        folder.write("confusion.png", draw_confusion(metrics))
        self.told.write_weights(folder, "last.safetensors", metrics, self.trainer.measured)
        if best_epoch(quality(recipe, rows, self.trainer.measured)) == len(rows):
            self.told.write_weights(folder, "best.safetensors", metrics, self.trainer.measured)
        for sink in self.sinks:
            sink.tell(named(row), int(row["epoch"]))
        if self.watch is not None:
            self.watch(row)

    def _save_state(self) -> None:
        state = self.trainer.state()
        if self.main:
            self.folder.write_state(state)
        self.saved = time.monotonic()

    def _measure(self) -> Evaluation:
        """Measure the file that was written as `evaluate` does, and note that in the file: of a run
        with held-out pictures, the one time that the test pictures are looked at."""
        folder, trainer, name = self.folder, self.trainer, "last.safetensors"
        rows, more = trainer.position.rows, {}
        ended = ending(trainer.recipe, rows, trainer.measured)
        if ended is not None:
            more = {"best_epoch": best_epoch(quality(trainer.recipe, rows, trainer.measured))}
            folder.write(name, (folder / "best.safetensors").read_bytes())
            trainer.best_model.load_state_dict(load_file(folder / name))
        device = str(trainer.device)
        metrics = evaluate(folder / name, self.data, device=device, progress=self.progress)
        self.told.write_weights(folder, name, metrics, "test", **more)
        folder.write("confusion.png", draw_confusion(metrics))
        for file, content in contents(metrics).items():
            folder.write(file, content)
        summary = {**metrics.to_dict(), **({"epochs": len(rows), **more} if more else {})}
        folder.write_json("metrics.json", summary)
        for sink in self.sinks:
            final = {f"final/{key}": value for key, value in metrics.to_dict().items()}
            sink.tell(final, len(rows))
            for name in ("curves", "confusion"):
                sink.show(name, (folder / f"{name}.png").read_bytes(), len(rows))
        if ended is not None and self.tell is not None:
            self.tell(ended)
        return metrics
