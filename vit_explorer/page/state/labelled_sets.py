"""Data sets that the page looks into: each picture's prediction, and where the picture is.

Nothing here knows HTTP; every refusal is an `ExplorerError`.
"""

from __future__ import annotations

import secrets
import threading
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property

from PIL import Image

from vit_explorer.datasets.evaluate import evaluate
from vit_explorer.datasets.predictions import (
    Predictions,
    find_predicted,
    predictions_of,
    read_predictions,
)
from vit_explorer.datasets.sources import Source
from vit_explorer.errors import DataError, OptionError
from vit_explorer.models.loaded import LoadedModel
from vit_explorer.page.state.recipe_changes import RUN
from vit_explorer.page.state.trainings import Trainings, checked_data

SETS_KEPT = 4
Told = Callable[[int, int], None]


@dataclass(frozen=True, eq=False)
class LabelledSet:
    """Predictions under a key that can't be guessed, and their pictures where they are found.

    `model` is the page's name of the model that predicted, None where a file doesn't say it.
    """

    key: str
    predictions: Predictions
    source: Source | None = field(repr=False)
    model: str | None
    note: str = ""  # why there are no pictures

    @cached_property
    def _places(self) -> dict[str, int]:
        """Where each picture is in the source: a name that a file says never becomes a path."""
        source = self.source
        return {} if source is None else {source.name_of(i): i for i in range(len(source))}

    @property
    def pictures_found(self) -> int:
        """How many of the pictures are there."""
        return sum(name in self._places for name in self.predictions.pictures)

    def picture(self, place: int) -> Image.Image:
        """One picture, PIL RGB.

        Raises:
            DataError: it is not there.
            PictureError: it can't be read.
        """
        names = self.predictions.pictures
        found = self._places.get(names[place]) if 0 <= place < len(names) else None
        if found is None or self.source is None:
            raise DataError(
                "error.data.picture",
                "This picture is not in the data folder; open the evaluation anew with the folder "
                "that it was made of.",
            )
        return self.source.picture(found)


class LabelledSets:
    """The last few data sets that were opened; safe under threads."""

    def __init__(self, trainings: Trainings) -> None:
        self._trainings = trainings
        self._sets: OrderedDict[str, LabelledSet] = OrderedDict()
        self._lock = threading.Lock()

    def get(self, key: str) -> LabelledSet:
        """Raises OptionError where the set is no longer held."""
        with self._lock:
            found = self._sets.get(key)
        if found is None:
            raise OptionError(
                "error.data.gone", "The page no longer holds this data set; open it again."
            )
        return found

    def evaluate(self, model: LoadedModel, name: str, data: str, told: Told) -> LabelledSet:
        """Measure a model on a folder of the server's machine.

        Raises:
            ExplorerError: as `evaluate`.
        """
        found = evaluate(model, checked_data(data), batch_size=50, progress=told)
        return self._keep(predictions_of(found), found.source, name)

    def open_files(self, place: str, data: str) -> LabelledSet:
        """Open an evaluation's folder or Parquet file, with its pictures in `data` ("" is where
        the evaluation found them).

        Raises:
            DataError: no such files; without its pictures it is opened all the same.
        """
        found = read_predictions(checked_data(place))
        return self._with_pictures(found, checked_data(data) if data.strip() else "", None)

    def open_run(self, run: str) -> LabelledSet:
        """Open what a finished training of this page predicted of its test pictures.

        Raises:
            OptionError: no such run.
            DataError: it has not come to its end.
        """
        found = read_predictions(self._trainings.existing(run))
        return self._with_pictures(found, "", f"{RUN}{run}")

    def _with_pictures(self, found: Predictions, data: str, model: str | None) -> LabelledSet:
        source, note = find_predicted(found, data)
        return self._keep(found, source, model, note)

    def _keep(
        self, found: Predictions, source: Source | None, model: str | None, note: str = ""
    ) -> LabelledSet:
        one = LabelledSet(secrets.token_urlsafe(16), found, source, model, note)
        with self._lock:
            self._sets[one.key] = one
            while len(self._sets) > SETS_KEPT:
                self._sets.popitem(last=False)
        return one
