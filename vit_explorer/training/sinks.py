"""Programs that show a run beside others: TensorBoard and trackio, both on this machine.

Each is told the log's row after an epoch, and at the end what was measured. Nothing is sent
anywhere: TensorBoard reads files of the run folder, trackio a database of its own, unless the
reader's own `TRACKIO_SPACE_ID` or `TRACKIO_SERVER_URL` names a place.
"""

from __future__ import annotations

import importlib
import io
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, redirect_stdout
from typing import Protocol

import numpy as np
import yaml
from PIL import Image

from vit_explorer.errors import OptionError
from vit_explorer.options import one_of
from vit_explorer.sentences import Sentence
from vit_explorer.training.recipe import Recipe
from vit_explorer.training.run_folder import Row, RunFolder

SINKS = ("tensorboard", "trackio")
TENSORBOARD = "tensorboard"  # the folder of a run's event files
_PROJECT = "vit-explorer"
_PARTS = ("train", "test", "held_out")


class Sink(Protocol):
    """Where a run is also told of."""

    def tell(self, numbers: Mapping[str, float], epoch: int) -> None:
        """Numbers by name, such as "train/loss", after an epoch."""

    def show(self, name: str, picture: bytes, epoch: int) -> None:
        """A picture, PNG, as it was after an epoch."""


def check_sinks(names: Sequence[str]) -> None:
    """Whether there are such sinks, and their packages are installed; raises OptionError."""
    for name in names:
        one_of(Sentence("part.sink", "program to log to"), name, SINKS)
        try:
            importlib.import_module(name)
        except ImportError:
            raise OptionError(
                "error.sink.package",
                "Logging to {name} needs its package, which is not installed; pip install "
                "'vit-explorer[{name}]'.",
                name=name,
            ) from None


@contextmanager
def open_sinks(
    names: Sequence[str], folder: RunFolder, recipe: Recipe, epochs: int
) -> Iterator[tuple[Sink, ...]]:
    """The sinks of these names for a run that has come to so many epochs; closed in the end."""
    makers = {"tensorboard": _tensorboard, "trackio": _trackio}
    with ExitStack() as stack:
        yield tuple(
            stack.enter_context(makers[name](folder, recipe, epochs))
            for name in dict.fromkeys(names)
        )


def named(row: Row) -> dict[str, float]:
    """A row's numbers as sinks group them.

    >>> named({"epoch": 1, "train_loss": 0.5, "held_out_ece": 0.1, "lr": 0.01})
    {'train/loss': 0.5, 'held_out/ece': 0.1, 'lr': 0.01}
    """
    found = {}
    for name, value in row.items():
        part = next((part for part in _PARTS if name.startswith(f"{part}_")), None)
        if name != "epoch":
            found[name if part is None else f"{part}/{name.removeprefix(f'{part}_')}"] = value
    return found


class _TensorBoard:
    def __init__(self, folder: RunFolder, recipe: Recipe, epochs: int) -> None:
        from torch.utils.tensorboard import SummaryWriter

        # An epoch that a killed run had told of, and had no state of yet, is told anew.
        purged = epochs + 1 if epochs else None
        self.writer = SummaryWriter(str(folder / TENSORBOARD), purge_step=purged)
        if not epochs:
            told = yaml.safe_dump(recipe.to_dict(), sort_keys=False)
            self.writer.add_text("recipe", f"```yaml\n{told}```", 0)

    def tell(self, numbers: Mapping[str, float], epoch: int) -> None:
        for name, value in numbers.items():
            self.writer.add_scalar(name, value, epoch)
        self.writer.flush()

    def show(self, name: str, picture: bytes, epoch: int) -> None:
        pixels = np.asarray(Image.open(io.BytesIO(picture)).convert("RGB"))
        self.writer.add_image(name, pixels, epoch, dataformats="HWC")


@contextmanager
def _tensorboard(folder: RunFolder, recipe: Recipe, epochs: int) -> Iterator[Sink]:
    sink = _TensorBoard(folder, recipe, epochs)
    try:
        yield sink
    finally:
        sink.writer.close()


class _Trackio:
    def __init__(self, folder: RunFolder, recipe: Recipe, epochs: int) -> None:
        import trackio

        self.run = trackio.init(
            project=_PROJECT,
            name=folder.path.absolute().name,
            group=recipe.name,
            config=recipe.to_dict(),
            resume="allow" if epochs else "never",
            embed=False,
            auto_log_gpu=False,
            auto_log_cpu=False,
        )

    def tell(self, numbers: Mapping[str, float], epoch: int) -> None:
        self.run.log(dict(numbers), step=epoch)

    def show(self, name: str, picture: bytes, epoch: int) -> None:
        import trackio

        image = Image.open(io.BytesIO(picture)).convert("RGB")
        self.run.log({name: trackio.Image(image)}, step=epoch)


@contextmanager
def _trackio(folder: RunFolder, recipe: Recipe, epochs: int) -> Iterator[Sink]:
    with redirect_stdout(sys.stderr):  # it says how it is opened
        sink = _Trackio(folder, recipe, epochs)
    try:
        yield sink
    finally:
        import trackio

        with redirect_stdout(sys.stderr):
            trackio.finish()
