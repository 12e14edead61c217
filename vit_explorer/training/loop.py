"""The training loop: plain PyTorch over timm's parts, on accelerate's processes and precision."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator
from contextlib import nullcontext
from dataclasses import dataclass, field
from textwrap import shorten
from typing import Any, NamedTuple

import torch
from accelerate import Accelerator
from accelerate.utils import gather_object
from timm.utils import ModelEmaV3
from torch import Tensor, nn
from tqdm.auto import tqdm

from vit_explorer.datasets.metrics import Metrics, measure
from vit_explorer.errors import DataError, OptionError, RecipeError
from vit_explorer.models.vit import VisionTransformer
from vit_explorer.training import student
from vit_explorer.training.augment import (
    draw,
    epoch_order,
    erase,
    make_mixing,
    seed_step,
    standardise,
    vary,
)
from vit_explorer.training.data import PictureSet
from vit_explorer.training.early_stop import COUNT, epochs_without_gain, quality
from vit_explorer.training.kernels import training_kernels
from vit_explorer.training.losses import class_weights, label_loss, teacher_loss
from vit_explorer.training.pace import Pace, Step
from vit_explorer.training.recipe import Measured, Recipe
from vit_explorer.training.run_folder import Row
from vit_explorer.training.teacher import Answer, Lessons, Seen, Teacher
from vit_explorer.training.tokens import token_loss

EVALUATION_BATCH = 250


def batches(
    order: Tensor, size: int, process: int, processes: int
) -> Iterator[tuple[Tensor, Tensor]]:
    """This process's part of each batch, and the whole batch.

    Batches are as equal as can be and at most `size`; together the processes see each picture once.

    >>> [(part.tolist(), whole.tolist()) for part, whole in batches(torch.arange(5), 3, 0, 2)]
    [([0, 2], [0, 1, 2]), ([3], [3, 4])]
    """
    for batch in torch.tensor_split(order, -(-len(order) // size)):
        yield batch[process::processes], batch


class Part(NamedTuple):
    """Pictures (n,) of one pass, how they are varied (n, 7), and as which stored views."""

    places: Tensor
    drawn: Tensor
    seen: Seen | None


class Whole(NamedTuple):
    """What a batch's loss is a mean over: its pictures, and the weights of their labels."""

    pictures: int
    weight: float


@dataclass
class Position:
    """How far a run has come, with the sums of the epoch under way (over this process)."""

    epoch: int = 0
    step: int = 0
    loss: float = 0.0
    right: int = 0
    seen: int = 0
    seconds: float = 0.0
    rows: list[Row] = field(default_factory=list)


class Trainer:
    """A model on its way through a recipe: one epoch at a time, in a state that can be kept."""

    def __init__(
        self,
        recipe: Recipe,
        learner: student.Student,
        train: PictureSet,
        test: PictureSet,
        accelerator: Accelerator,
        teacher: Teacher | None = None,
        measured: Measured = "test",
    ) -> None:
        self.recipe, self.train, self.test, self.accelerator = recipe, train, test, accelerator
        self.device = accelerator.device
        self.model = model = learner.model.to(self.device)
        self.size = student.image_size(model)
        self.batch = recipe.batch_size * recipe.accumulate  # pictures a step of the optimizer
        self.steps = -(-len(train) // self.batch)
        if len(train) // self.steps < accelerator.num_processes:
            raise RecipeError(
                "error.loop.shared",
                "Batches of {count} pictures can't be shared by {processes} processes; raise "
                "batch_size or start fewer.",
                count=len(train) // self.steps,
                processes=accelerator.num_processes,
            )
        self.readers = learner.readers.to(self.device)
        optimizer = student.make_optimizer(recipe, learner)
        self.student, self.optimizer = accelerator.prepare(learner, optimizer)
        self.schedule = student.make_schedule(recipe, self.optimizer, self.steps)
        self.average = ModelEmaV3(model, decay=recipe.ema, use_warmup=True) if recipe.ema else None
        self.mixing = make_mixing(recipe.augment, len(train.classes))
        self.weights = class_weights(recipe.class_weights, train.labels, train.classes)
        self.lessons = Lessons(recipe, teacher, accelerator.mixed_precision) if teacher else None
        self.measured = measured  # what `test` is, as the log's columns call it
        self.position = Position()
        self.pace = Pace()

    @property
    def best_model(self) -> nn.Module:
        """The averaged model where there is one, otherwise the model itself."""
        return self.model if self.average is None else self.average.module

    def state(self) -> dict[str, object]:
        """All that a run needs to go on to the same numbers; collective over processes."""
        loss, right, seen = self._sums()
        position = {**vars(self.position), "loss": loss, "right": right, "seen": seen}
        return {
            "model": self.model.state_dict(),
            "average": None if self.average is None else self.average.module.state_dict(),
            "readers": self.readers.state_dict(),
            "scaler": None if self._scaler is None else self._scaler.state_dict(),
            "about": self._about(),
            "optimizer": self.optimizer.state_dict(),
            "position": position,
        }

    def restore(self, state: dict[str, Any]) -> None:
        """Go on from what `state` gave; raises DataError on other data, OptionError in another
        precision."""
        before, now = state.get("about", {}), self._about()
        for kind, key in ((DataError, "data"), (OptionError, "precision")):
            if before and before[key] != now[key]:
                was, would = (shorten(about[key], 80, placeholder=" …") for about in (before, now))
                raise kind(
                    "error.run.other",
                    "The run was started with {was} and would go on with {would}; give the same "
                    "{key} again.",
                    was=was,
                    would=would,
                    key=key,
                )
        self.model.load_state_dict(state["model"])
        if self.average is not None:
            self.average.module.load_state_dict(state["average"])
        self.readers.load_state_dict(state["readers"])
        if self._scaler is not None and state.get("scaler"):
            self._scaler.load_state_dict(state["scaler"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.position = Position(**state["position"])
        if not self.accelerator.is_main_process:
            self.position.loss, self.position.right, self.position.seen = 0.0, 0, 0

    @property
    def _scaler(self) -> torch.amp.GradScaler | None:
        """What keeps fp16's gradients in range; other precisions have none."""
        return self.accelerator.scaler

    def _about(self) -> dict[str, str]:
        """What a run must go on with."""
        classes = ", ".join(self.train.classes)
        return {
            "data": f"{len(self.train):,} pictures of {classes}",
            "precision": f"precision {self.accelerator.mixed_precision}",
        }

    def run_epoch(self, progress: bool, pause: Callable[[Step], bool]) -> bool:
        """Train to the end of the epoch, or until `pause`, told of each step, asked to stop: then
        False."""
        place, recipe = self.position, self.recipe
        if isinstance(self.model, VisionTransformer) and recipe.model is not None:
            full = place.epoch >= recipe.epochs - recipe.full_epochs
            self.model.patch_drop.rate = 0.0 if full else recipe.model.patch_dropout
        self.student.train()
        order = epoch_order(recipe.seed, place.epoch, len(self.train))
        parts = batches(
            order,
            self.batch,
            self.accelerator.process_index,
            self.accelerator.num_processes,
        )
        bar = tqdm(
            total=len(self.train),
            initial=place.step * self.batch,
            desc=f"epoch {place.epoch + 1}/{recipe.epochs}",
            unit=" images",
            disable=not progress,
        )
        with bar, training_kernels(self.device):
            for step, (part, whole) in enumerate(parts):
                if step < place.step:
                    continue
                started = time.perf_counter()
                self._step(part, whole)
                place.step += 1
                place.seconds += time.perf_counter() - started
                at = self._at()
                bar.update(len(whole))
                bar.set_postfix(
                    loss=f"{at.loss:.3f}",
                    accuracy=f"{at.accuracy:.3f}",
                    lr=f"{self.optimizer.param_groups[-1]['lr']:.1e}",
                    left=at.left,
                    refresh=False,
                )
                if pause(at):
                    return False
        return True

    def _at(self) -> Step:
        """How far the run is, at the end of a step."""
        place, epochs = self.position, self.recipe.epochs
        further = (epochs - place.epoch) * self.steps - place.step
        return Step(
            epoch=place.epoch + 1,
            epochs=epochs,
            step=place.step,
            steps=self.steps,
            loss=place.loss / place.seen,
            accuracy=place.right / place.seen,
            seconds_left=self.pace.left(further),
        )

    def _step(self, own: Tensor, batch: Tensor) -> None:
        """One step of the optimizer by this process's own part of a batch."""
        recipe, place, processes = self.recipe, self.position, self.accelerator.num_processes
        seed_step(recipe.seed, place.epoch, place.step, self.accelerator.process_index)
        updates = place.epoch * self.steps + place.step
        self.schedule.step_update(updates)
        lessons = self.lessons
        drawn, seen = lessons.draw(own) if lessons else (draw(recipe.augment, len(own)), None)
        whole = Whole(len(batch), float(self.weights[self.train.labels[batch]].sum()))
        passes = -(-len(own) // -(-recipe.batch_size // processes))
        for number, places in enumerate(torch.arange(len(own)).tensor_split(passes), start=1):
            part = Part(own[places], drawn[places], seen.at(places) if seen else None)
            # Processes share the sum of their gradients, once it is whole.
            alone = self.accelerator.no_sync(self.student) if number < passes else nullcontext()
            with alone:
                self._pass(part, whole)
        if recipe.optimizer.clip is not None:
            self.accelerator.clip_grad_norm_(self.student.parameters(), recipe.optimizer.clip)
        self.optimizer.step()
        self.optimizer.zero_grad()
        if self.average is not None:
            self.average.update(self.model, step=updates)

    def _pass(self, part: Part, whole: Whole) -> None:
        """Add the gradients of some pictures' share of a batch's loss."""
        recipe, place = self.recipe, self.position
        pixels, labels = self.train.pixels[part.places], self.train.labels[part.places]
        pixels, labels = pixels.to(self.device), labels.to(self.device)
        x = standardise(vary(pixels, part.drawn), self.size, recipe.mean, recipe.std)
        x = erase(x, recipe.augment)
        x, targets = (x, labels) if self.mixing is None else self.mixing(x, labels)
        answer = None if self.lessons is None else self.lessons.answer(x, part.seen)
        with self.accelerator.autocast():
            done = self.student(x)
        loss = self._loss(done, targets, answer, whole)
        value = loss.item()
        if not math.isfinite(value):
            raise RecipeError(
                "error.loop.loss",
                "The loss became {value} in epoch {epoch}; start again with a lower "
                "optimizer.lr, or with precision 'no'.",
                value=value,
                epoch=place.epoch + 1,
            )
        # accelerate averages gradients over processes; the batch's are the sum of their parts'.
        self.accelerator.backward(loss * self.accelerator.num_processes)
        place.loss += value * whole.pictures
        place.right += int((done.logits.argmax(dim=1) == labels).sum())
        place.seen += len(labels)

    def _loss(
        self, done: student.Pass, targets: Tensor, answer: Answer | None, whole: Whole
    ) -> Tensor:
        """These pictures' share of a batch's loss."""
        smooth, options = self.recipe.label_smoothing, self.recipe.distill
        weights = self.weights.to(targets.device)
        own = label_loss(done.logits.float(), targets, weights, smooth) / whole.weight
        if options is None or answer is None:
            return own
        taught = teacher_loss(done.taught.float(), answer.logits, options) / whole.pictures
        loss = (1 - options.weight) * own + options.weight * taught
        if answer.tokens is not None:
            share = len(targets) / whole.pictures
            tokens = token_loss(done.tokens, done.kept, answer.tokens)
            loss = loss + options.layer_weight * share * tokens
        return loss

    def finish_epoch(self) -> tuple[Row, Metrics]:
        """Measure on the test or the held-out pictures and start the next epoch's sums.

        Raises:
            RecipeError: the model's answers are no numbers.
        """
        place, measured = self.position, self.measured
        metrics = self.evaluate()
        if not math.isfinite(metrics.nll):
            # The loss was a number before each step, and the last step's weights may not be.
            raise RecipeError(
                "error.loop.measured",
                "What the model answers after epoch {epoch} is no number; start again with a lower "
                "optimizer.lr, or with precision 'no'.",
                epoch=place.epoch + 1,
            )
        loss, right, seen = self._sums()
        row: Row = {
            "epoch": place.epoch + 1,
            "train_loss": loss / seen,
            "train_accuracy": right / seen,
            f"{measured}_loss": metrics.nll,
            f"{measured}_accuracy": metrics.accuracy,
            f"{measured}_ece": metrics.ece,
            "lr": self.optimizer.param_groups[-1]["lr"],
            "images": seen,
            "images_per_second": seen / max(place.seconds, 1e-9),
            "seconds": place.seconds,
        }
        if self.recipe.early_stop is not None:
            values = quality(self.recipe, [*place.rows, row], measured)
            row[COUNT] = epochs_without_gain(values, self.recipe.early_stop.min_gain)
        self.position = Position(epoch=place.epoch + 1, rows=[*place.rows, row])
        return row, metrics

    @torch.inference_mode()
    def evaluate(self) -> Metrics:
        """Metrics on the test or the held-out pictures, each process taking its share."""
        model, found = self.best_model.eval(), []
        index, count = self.accelerator.process_index, self.accelerator.num_processes
        for pixels in self.test.pixels[index::count].split(EVALUATION_BATCH):
            x = pixels.to(self.device).float() / 255
            with self.accelerator.autocast():
                x = standardise(x, self.size, self.recipe.mean, self.recipe.std)
                found.append(model(x).float().cpu())
        parts = gather_object([torch.cat(found)]) if count > 1 else [torch.cat(found)]
        logits = torch.empty(len(self.test), len(self.test.classes))
        for process, part in enumerate(parts):
            logits[process::count] = part
        return measure(logits, self.test.labels, self.test.classes)

    def _sums(self) -> tuple[float, int, int]:
        """Loss, right answers and pictures of the epoch so far, over all processes."""
        place = self.position
        sums = torch.tensor([place.loss, place.right, place.seen], dtype=torch.float64)
        if self.accelerator.num_processes > 1:
            sums = self.accelerator.reduce(sums.to(self.device), "sum").cpu()
        return float(sums[0]), int(sums[1]), int(sums[2])
