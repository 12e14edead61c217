"""The film of anyone's training: recorded from a loop of one's own, timm's, Lightning's or that of
the transformers Trainer."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import nn

from vit_explorer.errors import OptionError, nearest
from vit_explorer.models.card import Pair
from vit_explorer.models.needs import require
from vit_explorer.models.shipped import asset
from vit_explorer.models.zoo import load_model
from vit_explorer.options import one_of, whole_number
from vit_explorer.pictures.decode import Picture, open_picture
from vit_explorer.sentences import Sentence
from vit_explorer.training.film import SHIPPED_PROBES, Film
from vit_explorer.training.recipe import Measured
from vit_explorer.training.run_folder import RunFolder

if TYPE_CHECKING:
    from collections.abc import Iterator

    from lightning.pytorch.callbacks import Callback
    from transformers import TrainerCallback

NUMBERS = ("train_loss", "train_accuracy", "test_loss", "test_accuracy", "lr")
# What the two libraries' own examples call these numbers.
LIGHTNING = {
    "train_loss": "train_loss",
    "train_accuracy": "train_acc",
    "test_loss": "val_loss",
    "test_accuracy": "val_acc",
}
TRANSFORMERS = {
    "train_loss": "loss",
    "test_loss": "eval_loss",
    "test_accuracy": "eval_accuracy",
    "lr": "learning_rate",
}


class TrainingFilm:
    """Keeps a frame an epoch of a ViT in training, as `film.npz` beside its weights.

    Frame 0 is the model as it is given. The Training view plays the film of a checkpoint that lies
    in the same folder, and `vit_explorer.training.film.Film` says what the file holds. The model is
    left as it was: its mode, its gradients and the random numbers of the loop. In a training of
    several processes the first one records, the others do nothing.

    >>> film = vx.TrainingFilm(model, "run", labels=("cat", "dog"), image_size=64)
    >>> for epoch in range(epochs):
    ...     loss = train_one_epoch(model)
    ...     film.epoch(train_loss=loss, test_accuracy=measure(model))
    ...     torch.save(model.state_dict(), "run/model.pt")

    Args:
        model: the module that is trained, or a wrapper of it with a `module` within.
        out: the folder; a film that is there is replaced.
        pictures: what is looked at each time, anything `open_picture` takes; None takes four that
            ship with the package.
        every: a frame every so many epochs; numbers are kept of all.
        measured: what the `test` numbers are of: "test" pictures, or "held_out" ones.
        labels, image_size, transform, preprocess: as `load_model` takes them.

    `seconds` is what recording has taken in all.

    Raises:
        UnsupportedModelError: a model whose attention can't be read.
        OutputError: a folder that can't be made or written to.
        OptionError, ModelError, PictureError: as `load_model` and `open_picture` do.
    """

    def __init__(
        self,
        model: nn.Module,
        out: str | Path,
        *,
        pictures: Sequence[Any] | None = None,
        every: int = 1,
        measured: Measured = "test",
        labels: str | Path | Sequence[str] | None = None,
        image_size: int | Pair | None = None,
        transform: Callable[..., Any] | None = None,
        preprocess: Mapping[str, Any] | None = None,
    ) -> None:
        self.every = whole_number(Sentence("part.every", "number of epochs a frame"), every, 1)
        one_of(Sentence("part.measured", "measured pictures"), measured, ("test", "held_out"))
        self.seconds = 0.0
        self.rows: list[dict[str, float]] = []
        self.folder = RunFolder(out)
        self._film: Film | None = None
        if not _is_first():
            return
        with self._recording():
            loaded = load_model(
                _unwrapped(model),
                labels=labels,
                image_size=image_size,
                transform=transform,
                preprocess=preprocess,
            )
            require(loaded.card, "attention")
            self.folder.make()
            shown = [asset(name) for name in SHIPPED_PROBES] if pictures is None else pictures
            self._film = Film(loaded, [_opened(one) for one in shown], measured)
            self._film.record(0)
            self._write()

    def epoch(self, **numbers: float | None) -> None:
        """An epoch is done: keep a frame of the model as it is now, and the epoch's numbers.

        Args:
            numbers: any of train_loss, train_accuracy, test_loss, test_accuracy (0 to 1) and lr.

        Raises:
            OptionError: another number.
            OutputError: the film can't be written.
        """
        row = _checked(numbers)
        if self._film is None:
            return
        with self._recording():
            self.rows.append({**dict.fromkeys(NUMBERS, math.nan), **row})
            if len(self.rows) % self.every == 0:
                self._film.record(len(self.rows))
            self._write()

    def add(self, **numbers: float | None) -> None:
        """Numbers of the last epoch that are known only now, as `epoch` takes them."""
        row = _checked(numbers)
        if self._film is None or not self.rows or not row:
            return
        with self._recording():
            self.rows[-1].update(row)
            self._write()

    def update_summary(
        self,
        epoch: int,
        train_metrics: Mapping[str, float],
        eval_metrics: Mapping[str, float] | None = None,
        *_: Any,
        lr: float | None = None,
        **__: Any,
    ) -> None:
        """An epoch of a loop like timm's `train.py`: takes what `timm.utils.update_summary` takes.

        Its top1 is in percent.
        """
        found = eval_metrics or {}
        top1, train_top1 = found.get("top1"), train_metrics.get("top1")
        self.epoch(
            train_loss=train_metrics.get("loss"),
            train_accuracy=None if train_top1 is None else train_top1 / 100,
            test_loss=found.get("loss"),
            test_accuracy=None if top1 is None else top1 / 100,
            lr=lr,
        )

    def lightning(self, names: Mapping[str, str] = LIGHTNING) -> Callback:
        """A callback for Lightning's Trainer: `Trainer(callbacks=[film.lightning()])`.

        Args:
            names: by our numbers, the names that the module logs them under.
        """
        from lightning.pytorch.callbacks import Callback

        film = self

        class FilmCallback(Callback):
            def on_train_epoch_end(self, trainer: Any, _: Any) -> None:
                logged = trainer.callback_metrics
                groups = trainer.optimizers[0].param_groups if trainer.optimizers else []
                found = {ours: float(logged[own]) for ours, own in names.items() if own in logged}
                rate = {"lr": float(groups[0]["lr"])} if groups else {}
                film.epoch(**{**rate, **found})

        return FilmCallback()

    def transformers(self, names: Mapping[str, str] = TRANSFORMERS) -> TrainerCallback:
        """A callback for the transformers Trainer: `Trainer(callbacks=[film.transformers()])`.

        It logs and measures after an epoch's end, so a frame's numbers come a little later.

        Args:
            names: by our numbers, the names that the Trainer logs them under.
        """
        from transformers import TrainerCallback

        film = self

        class FilmCallback(TrainerCallback):
            def on_epoch_end(self, *_: Any, **__: Any) -> None:
                film.epoch()

            def on_log(self, *_: Any, logs: Mapping[str, Any] | None = None, **__: Any) -> None:
                logs = logs or {}
                film.add(**{ours: logs[own] for ours, own in names.items() if own in logs})

        return FilmCallback()

    @contextmanager
    def _recording(self) -> Iterator[None]:
        """The loop's random numbers stay what they were, and the time taken is counted."""
        begun = time.perf_counter()
        devices = list(range(torch.cuda.device_count())) if torch.cuda.is_available() else []
        with torch.random.fork_rng(devices):
            yield
        self.seconds += time.perf_counter() - begun

    def _write(self) -> None:
        assert self._film is not None  # noqa: S101 - the first process has one
        own = {name: name.replace("test_", f"{self._film.measured}_") for name in NUMBERS}
        rows = [{own[name]: number for name, number in row.items()} for row in self.rows]
        self.folder.write_arrays("film.npz", self._film.arrays(rows))


def _checked(numbers: Mapping[str, float | None]) -> dict[str, float]:
    for name in numbers:
        if name not in NUMBERS:
            raise OptionError(
                "error.film.number",
                "A film keeps no {name!r}{near}; expected some of {known}.",
                name=name,
                near=nearest(name, NUMBERS),
                known=", ".join(NUMBERS),
            )
    return {name: float(one) for name, one in numbers.items() if one is not None}


def _is_first() -> bool:
    """Whether this is the first process of a training, or the only one."""
    parallel = torch.distributed
    started = parallel.is_available() and parallel.is_initialized()
    return not started or parallel.get_rank() == 0


def _unwrapped(model: nn.Module) -> nn.Module:
    """What a wrapper for several processes trains: the others don't run a pass with this one."""
    inner = getattr(model, "module", None)
    wraps = isinstance(inner, nn.Module) and len(list(model.children())) == 1
    return _unwrapped(inner) if wraps and isinstance(inner, nn.Module) else model


def _opened(picture: Any) -> Picture:
    return picture if isinstance(picture, Picture) else open_picture(picture)
