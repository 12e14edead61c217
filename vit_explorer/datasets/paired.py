"""Two classifiers on the same pictures: is one better than the other beyond chance?"""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from vit_explorer.datasets.predictions import Predictions
from vit_explorer.errors import DataError
from vit_explorer.sentences import Sentence, joined

_Z = 1.959963984540054  # the normal distribution's 97.5 % point: intervals are of 95 %
_RESAMPLES = 2000
_NAMED = 5

Counts = NDArray[np.int64]
Floats = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class PairedClasses:
    """What two classifiers make of each class, (C,) each; differences are the second's minus the
    first's.

    `pictures` have the class as label; of these `only_first` and `only_second` are right by one
    alone. `recall` and `f1` are (2, C), from 0 to 1. `recall_low` to `recall_high` is the 95 %
    interval of the difference of recalls by Bonett and Price, "Adjusted Wald Confidence Interval
    for a Difference of Binomial Proportions Based on Paired Data", JEBS 2012; `f1_low` to `f1_high`
    that of F1, between the percentiles of 2,000 paired resamples of all pictures (Efron's
    bootstrap). `p` is McNemar's exact test of the recalls, and `p_adjusted` what is left of it when
    so many classes are looked at: Benjamini and Hochberg, "Controlling the False Discovery Rate",
    1995.
    """

    classes: tuple[str, ...]
    pictures: Counts
    only_first: Counts
    only_second: Counts
    recall: Floats
    recall_low: Floats
    recall_high: Floats
    p: Floats
    p_adjusted: Floats
    f1: Floats
    f1_low: Floats
    f1_high: Floats

    @property
    def recall_difference(self) -> Floats:
        return self.recall[1] - self.recall[0]

    @property
    def f1_difference(self) -> Floats:
        return self.f1[1] - self.f1[0]


@dataclass(frozen=True, eq=False)
class Paired:
    """Answers of two classifiers about the same n pictures of C classes.

    `labels`, `first` and `second` (n,) are places in `classes`; `probability` (2, n) is that of
    each one's prediction.
    """

    classes: tuple[str, ...]
    pictures: tuple[str, ...] = field(repr=False)
    labels: Counts = field(repr=False)
    first: Counts = field(repr=False)
    second: Counts = field(repr=False)
    probability: NDArray[np.float32] = field(repr=False)

    def __len__(self) -> int:
        return len(self.labels)

    @cached_property
    def right(self) -> NDArray[np.bool_]:
        """Which pictures each is right about, (2, n)."""
        return np.stack([self.first, self.second]) == self.labels

    @property
    def accuracy(self) -> tuple[float, float]:
        first, second = self.right.mean(axis=1)
        return float(first), float(second)

    @cached_property
    def only_first(self) -> Counts:
        """Places of the pictures that the first alone is right about, the second's surest mistakes
        first."""
        return self._surest(self.right[0] & ~self.right[1], self.probability[1])

    @cached_property
    def only_second(self) -> Counts:
        """Likewise of the second, by the first's mistakes."""
        return self._surest(self.right[1] & ~self.right[0], self.probability[0])

    @property
    def interval(self) -> tuple[float, float]:
        """The 95 % interval of the second's accuracy less the first's, by Bonett and Price 2012."""
        low, high = _interval(
            np.array([len(self.only_first)]), np.array([len(self.only_second)]), len(self)
        )
        return float(low[0]), float(high[0])

    @property
    def p(self) -> float:
        """How likely chance alone makes two equally good classifiers differ so much: McNemar's
        exact test, two-sided. McNemar, Psychometrika 1947."""
        return _mcnemar(len(self.only_first), len(self.only_second))

    @cached_property
    def by_class(self) -> PairedClasses:
        """The same of each class, and F1."""
        from scipy.stats import false_discovery_control

        count = len(self.classes)
        of = [np.bincount(self.labels[places], minlength=count) for places in
              (slice(None), self.only_first, self.only_second)]  # fmt: skip
        pictures, only_first, only_second = of
        hits = [np.bincount(self.labels[one], minlength=count) for one in self.right]
        low, high = _interval(only_first, only_second, pictures)
        p = np.array([_mcnemar(*pair) for pair in zip(only_first, only_second, strict=True)])
        f1, f1_low, f1_high = self._f1()
        return PairedClasses(
            classes=self.classes,
            pictures=pictures,
            only_first=only_first,
            only_second=only_second,
            recall=np.stack(hits) / np.maximum(pictures, 1),
            recall_low=low,
            recall_high=high,
            p=p,
            p_adjusted=false_discovery_control(p),
            f1=f1,
            f1_low=f1_low,
            f1_high=f1_high,
        )

    def _surest(self, mask: NDArray[np.bool_], probability: NDArray[np.float32]) -> Counts:
        places = np.flatnonzero(mask)
        return places[np.argsort(-probability[places], kind="stable")]

    def _f1(self) -> tuple[Floats, Floats, Floats]:
        """F1 of both, (2, C), and the interval of its difference, (C,) each.

        For one class a picture is one of eight kinds: whether it has the label, and whether each
        predicts it. Drawing pictures again is drawing how many there are of each kind.
        """
        draw = np.random.default_rng(0)
        f1, low, high = [], [], []
        for index in range(len(self.classes)):
            own = [one == index for one in (self.labels, self.first, self.second)]
            kinds = np.bincount(4 * own[0] + 2 * own[1] + own[2], minlength=8)
            f1.append(_f1_of(kinds))
            drawn = _f1_of(draw.multinomial(len(self), kinds / len(self), size=_RESAMPLES))
            ends = np.quantile(drawn[1] - drawn[0], (0.025, 0.975))
            low.append(ends[0])
            high.append(ends[1])
        return np.stack(f1, axis=1), np.array(low), np.array(high)


def pair(first: Predictions, second: Predictions, names: tuple[str, str]) -> Paired:
    """Put the answers of two classifiers about the same pictures side by side.

    Args:
        names: what the two are called where they can't be compared.

    Raises:
        DataError: their classes, pictures or labels are not the same.
    """
    only = [
        Sentence("part.only", "{names} only in {data}", names=_listed(missing), data=name)
        for one, other, name in ((first, second, names[0]), (second, first, names[1]))
        if (missing := sorted(set(one.classes) - set(other.classes)))
    ]
    if only:
        raise DataError(
            "error.paired.classes",
            "{second} knows other classes than {first} ({names}), so their answers can't be "
            "compared; train both on the same data.",
            first=names[0],
            second=names[1],
            names=joined(only),
        )
    place = {picture: index for index, picture in enumerate(second.pictures)}
    order = [place.get(picture, -1) for picture in first.pictures]
    same = len(set(order) - {-1})
    if not len(first) == len(second) == same:
        raise DataError(
            "error.paired.pictures",
            "{second} was measured on other pictures than {first} ({same:,} of {one:,} and "
            "{two:,} are the same), so their answers can't be compared; train both with the same "
            "--data.",
            first=names[0],
            second=names[1],
            same=same,
            one=len(first),
            two=len(second),
        )
    known = {name: index for index, name in enumerate(first.classes)}
    named = np.array([known[name] for name in second.classes])
    labels = named[second.labels[order]]
    others = int((labels != first.labels).sum())
    if others:
        raise DataError(
            "error.paired.labels",
            "{count:,} pictures have another label in {second} than in {first}, so their answers "
            "can't be compared; train both with the same --data.",
            count=others,
            first=names[0],
            second=names[1],
        )
    return Paired(
        classes=first.classes,
        pictures=first.pictures,
        labels=first.labels.astype(np.int64),
        first=first.predicted.astype(np.int64),
        second=named[second.predicted[order]].astype(np.int64),
        probability=np.stack([first.probability, second.probability[order]]),
    )


def _mcnemar(only_first: int, only_second: int) -> float:
    from scipy.stats import binomtest

    differing = int(only_first) + int(only_second)
    return float(binomtest(int(only_second), differing).pvalue) if differing else 1.0


def _interval(
    only_first: Counts, only_second: Counts, pictures: Counts | int
) -> tuple[Floats, Floats]:
    """The interval of a difference of paired shares, Bonett and Price 2012: a picture is added to
    each kind of difference, so that it has a width also where there is none."""
    one, two = (only_first + 1) / (pictures + 2), (only_second + 1) / (pictures + 2)
    half = _Z * np.sqrt((one + two - (two - one) ** 2) / (pictures + 2))
    return np.maximum(two - one - half, -1), np.minimum(two - one + half, 1)


def _f1_of(kinds: Counts) -> Floats:
    """F1 of both classifiers, (2, …), from the counts (…, 8) of the kinds of pictures."""
    label, first, second = ((np.arange(8) & bit) > 0 for bit in (4, 2, 1))
    found = []
    for said in (first, second):
        right = kinds[..., label & said].sum(axis=-1)
        together = kinds[..., label].sum(axis=-1) + kinds[..., said].sum(axis=-1)
        found.append(2 * right / np.maximum(together, 1))
    return np.stack(found)


def _listed(names: list[str]) -> str:
    more = f" and {len(names) - _NAMED} more" if len(names) > _NAMED else ""
    return ", ".join(names[:_NAMED]) + more
