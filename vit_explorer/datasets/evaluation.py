"""What a model answers about each of many labelled pictures, and how right that is a class."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from vit_explorer.datasets.metrics import Metrics, calibration_error, measure
from vit_explorer.datasets.sources import Source
from vit_explorer.errors import OptionError
from vit_explorer.models.outputs import measured
from vit_explorer.result_folder import fill_folder

MANIFEST = "evaluation.json"


@dataclass(frozen=True)
class ClassMetrics:
    """How right a classifier is about each class, (C,) each, from 0 to 1 but for the counts.

    `pictures` have the class as label, `predicted` as prediction. Where nothing is divided by,
    `precision`, `recall` and `f1` are 0, as scikit-learn has it. `calibration_error` is the
    expected calibration error of the class's own probability over all pictures: Kull et al.,
    "Beyond Temperature Scaling", NeurIPS 2019.
    """

    classes: tuple[str, ...]
    pictures: NDArray[np.int64]
    predicted: NDArray[np.int64]
    precision: NDArray[np.float64]
    recall: NDArray[np.float64]
    f1: NDArray[np.float64]
    calibration_error: NDArray[np.float64]


@dataclass(frozen=True, kw_only=True)
class Evaluation(Metrics):
    """A model's answers about n labelled pictures of C classes, with the metrics of them all.

    `pictures` are their paths in the data folder; `labels` and `predicted` (n,) places in
    `classes`; `probabilities` (n, C) shares of the classes; `probability` (n,) that of the
    prediction; `rank` (n,) the label's place among the classes by probability, 1 where the
    prediction is right; `correct` (n,). `unreadable` pictures, each with the reason, count in
    nothing; `lost` is how many workers of a cluster had to be replaced.
    """

    model: str = field(compare=False)
    source: Source = field(repr=False, compare=False)
    labels: NDArray[np.int64] = field(repr=False, compare=False)
    probabilities: NDArray[np.float32] = field(repr=False, compare=False)
    unreadable: Mapping[str, str] = field(default_factory=dict, repr=False, compare=False)
    lost: int = field(default=0, repr=False, compare=False)

    @cached_property
    def pictures(self) -> tuple[str, ...]:
        return tuple(map(self.source.name_of, range(self.samples)))

    @cached_property
    def predicted(self) -> NDArray[np.int64]:
        return self.probabilities.argmax(axis=1)

    @cached_property
    def probability(self) -> NDArray[np.float32]:
        return self.probabilities.max(axis=1)

    @cached_property
    def rank(self) -> NDArray[np.int64]:
        return ranks(self.probabilities, self.labels)

    @cached_property
    def correct(self) -> NDArray[np.bool_]:
        return self.predicted == self.labels

    @cached_property
    def by_class(self) -> ClassMetrics:
        """Precision, recall, F1 and calibration of each class."""
        right = np.diagonal(self.confusion)
        pictures, predicted = self.confusion.sum(axis=1), self.confusion.sum(axis=0)
        errors = [
            calibration_error(
                torch.from_numpy(self.probabilities[:, index]),
                torch.from_numpy(self.labels == index),
            )
            for index in range(len(self.classes))
        ]
        return ClassMetrics(
            classes=self.classes,
            pictures=pictures,
            predicted=predicted,
            precision=_ratio(right, predicted),
            recall=_ratio(right, pictures),
            f1=_ratio(2 * right, pictures + predicted),
            calibration_error=np.array(errors),
        )

    def mistakes(self) -> NDArray[np.int64]:
        """Places of the pictures whose prediction is wrong, the surest first."""
        wrong = np.flatnonzero(~self.correct)
        return wrong[np.argsort(-self.probability[wrong], kind="stable")]

    def save(self, directory: str | Path) -> Path:
        """Write predictions.parquet and .csv, classes.csv, confusion.csv, report.html and
        evaluation.json into a folder, which is complete or not written at all.

        Raises:
            OutputError: it can't be made or written to.
            OptionError: no folder is named.
        """
        from vit_explorer.datasets.evaluation_files import contents

        folder = Path(directory).absolute()
        if not folder.name:
            raise OptionError(
                "error.evaluate.out",
                "The folder for the evaluation was {folder}; name one in it.",
                folder=folder,
            )

        def write(place: Path) -> dict[str, Any]:
            for name, content in contents(self).items():
                (place / name).write_bytes(content)
            folder = self.source.folder
            # By this the page finds the pictures again.
            return {**self.told(), "pictures": None if folder is None else str(folder.absolute())}

        return fill_folder(folder.parent, folder.name, write, manifest=MANIFEST)

    def told(self) -> dict[str, Any]:
        """Which model was measured on what, and the numbers over all pictures."""
        return {
            "format": 1,
            "model": self.model,
            "data": self.source.name,
            "classes": list(self.classes),
            "metrics": self.to_dict(),
            **({"unreadable": dict(self.unreadable)} if self.unreadable else {}),
        }


def evaluation_of(
    logits: torch.Tensor,
    source: Source,
    model: str,
    unreadable: Mapping[str, str] | None = None,
    lost: int = 0,
) -> Evaluation:
    """The evaluation of a model's logits (n, C) about the pictures of a source."""
    labels = torch.tensor(source.labels)
    return Evaluation(
        **vars(measure(logits, labels, source.classes)),
        model=model,
        source=source,
        labels=labels.numpy(),
        probabilities=shares(logits),
        unreadable=unreadable or {},
        lost=lost,
    )


def shares(logits: torch.Tensor) -> NDArray[np.float32]:
    """Probabilities (n, C) of the classes, by logits (n, C)."""
    return measured(logits.double(), "classes").float().numpy()


def ranks(probabilities: NDArray[np.float32], labels: NDArray[np.int64]) -> NDArray[np.int64]:
    """The place of each label (n,) among its picture's classes by probabilities (n, C), from 1."""
    own = probabilities[np.arange(len(labels)), labels][:, None]
    # Of equal ones the first counts as likelier, as it does for the prediction.
    before = np.arange(probabilities.shape[1]) < labels[:, None]
    ahead = (probabilities > own) | ((probabilities == own) & before)
    return 1 + ahead.sum(axis=1)


def _ratio(part: NDArray[np.int64], whole: NDArray[np.int64]) -> NDArray[np.float64]:
    return part / np.maximum(whole, 1)
