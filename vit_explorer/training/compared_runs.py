"""Runs side by side: their curves, what differs between their recipes, and who is right where."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from PIL import Image

from vit_explorer.datasets.evaluate import class_columns
from vit_explorer.datasets.paired import Paired, pair
from vit_explorer.datasets.predictions import Predictions, find_predicted
from vit_explorer.drawing.coloring import Limits, limits, overlay
from vit_explorer.errors import DataError, ExplorerError, OptionError, PictureError
from vit_explorer.explaining.relevance_maps import cheap_method, relevance_maps
from vit_explorer.methods import METHODS
from vit_explorer.models.loaded import LoadedModel
from vit_explorer.models.zoo import load_model
from vit_explorer.options import whole_number
from vit_explorer.sentences import Sentence
from vit_explorer.training.recorded_runs import (
    RecordedRun,
    differing_facts,
    differing_settings,
    read_run,
)

if TYPE_CHECKING:
    from matplotlib.figure import Figure

SIGNIFICANT = 0.05  # a p below which two models are said to differ
_SIDE = 160  # pixels of a picture with its map

Telling = Callable[[str, int, int], None]


@dataclass(frozen=True, eq=False)
class LookedAt:
    """What a model looked at when it gave its answer: the picture as it saw it (RGB) with the map
    over it, whose colours go from `scale`'s low to its high."""

    image: Image.Image
    scale: Limits


@dataclass(frozen=True, eq=False)
class Contested:
    """A picture that one of two runs gets right and the other wrong: its place among the pairs'
    pictures, the picture itself where it was found, and both runs' maps where they were made."""

    place: int
    image: Image.Image | None
    maps: tuple[LookedAt, LookedAt] | None


@dataclass(frozen=True, eq=False)
class RunPair:
    """A run beside the first one: their answers, and pictures that only one of them gets right, the
    other's surest mistakes first."""

    first: str
    second: str
    answers: Paired
    only_first: tuple[Contested, ...] = field(repr=False)
    only_second: tuple[Contested, ...] = field(repr=False)
    method: str | None  # of the maps

    @property
    def verdict(self) -> Sentence:
        """Whether one of these two trained models is better than the other beyond chance."""
        first, second = self.answers.accuracy
        if self.answers.p >= SIGNIFICANT:
            return Sentence(
                "note.runs.alike",
                "Neither of {first} and {second} is shown to be better: chance alone makes such "
                "differences.",
                first=self.first,
                second=self.second,
            )
        ordered = (self.second, self.first) if second > first else (self.first, self.second)
        return Sentence(
            "note.runs.better",
            "{better} is better than {other} by more than chance makes.",
            better=ordered[0],
            other=ordered[1],
        )

    @property
    def measured(self) -> Sentence:
        """The numbers that this rests on."""
        own = self.answers
        low, high = own.interval
        accuracy = own.accuracy
        return Sentence(
            "note.runs.measured",
            "Of the same {count:,} test pictures {second} is right about {two:.2%} and {first} "
            "about {one:.2%}: {difference:+.2f} percentage points, 95 % interval {low:+.2f} to "
            "{high:+.2f}; {only_two:,} are right by {second} alone, {only_one:,} by {first} alone, "
            "McNemar's exact test p {p}.",
            count=len(own),
            first=self.first,
            second=self.second,
            one=accuracy[0],
            two=accuracy[1],
            difference=100 * (accuracy[1] - accuracy[0]),
            low=100 * low,
            high=100 * high,
            only_one=len(own.only_first),
            only_two=len(own.only_second),
            p=f"= {own.p:.3f}" if own.p >= 0.001 else "< 0.001",
        )


@dataclass(frozen=True, eq=False)
class RunComparison:
    """Runs side by side.

    `settings` are what differs between the recipes and `facts` what else does, each with a value a
    run; `pairs` holds each further run beside the first, where both answer about the same pictures;
    `notes` say what could not be compared, and why.
    """

    runs: tuple[RecordedRun, ...]
    settings: dict[str, tuple[Any, ...]]
    facts: dict[str, tuple[Any, ...]]
    pairs: tuple[RunPair, ...]
    notes: tuple[str, ...]

    def figure(self) -> Figure:
        """Loss and accuracy of all runs on one axis each."""
        from vit_explorer.training.report import run_curves

        return run_curves({run.name: [run.rows] for run in self.runs if run.rows})

    def save(self, directory: str | Path) -> Path:
        """Write report.html, curves.png, runs.csv, settings.csv, classes.csv, pictures.csv and
        comparison.json into a folder, which is complete or not written at all.

        Raises:
            OutputError: it can't be made or written to.
            OptionError: no folder is named.
        """
        from vit_explorer.training.comparison_files import write_comparison

        return write_comparison(self, Path(directory))


def compare_runs(
    runs: Sequence[str | Path],
    *,
    pictures: int = 12,
    maps: bool = True,
    device: str = "auto",
    progress: Telling | None = None,
) -> RunComparison:
    """Compare two or more runs of `train`: each with the first, where they can be.

    Args:
        runs: their folders. Those that are not finished, or were measured on other pictures, take
            part with their curves and recipes.
        pictures: at most so many that only one of two runs gets right are shown, either way.
        maps: whether to explain both answers about them, by the same method: the most faithful, as
            measured, that both models allow in one pass.
        progress: called with (what is done, pictures done, pictures in all).

    Raises:
        OptionError: fewer than two runs, one run twice, or fewer than no pictures.
        DataError: a folder without a run, or a damaged log.
        RecipeError: a recipe that can't be read.
    """
    most = whole_number(Sentence("part.pictures", "number of pictures"), pictures, 0)
    recorded = _read(runs)
    notes = [run.lacks for run in recorded if run.lacks]
    first, *others = recorded
    models = _Models(device)
    pairs = []
    for other in others:
        if first.predictions is None or other.predictions is None:
            continue
        try:
            answers = pair(first.predictions, other.predictions, (first.name, other.name))
        except DataError as error:
            notes.append(error.sentence)
            continue
        notes += _same_place(first, other)
        shown = _Showing(first, other, answers, models if maps else None, progress)
        pairs.append(shown.pair(most))
        notes += shown.notes
    return RunComparison(
        runs=recorded,
        settings=differing_settings(recorded),
        facts=differing_facts(recorded),
        pairs=tuple(pairs),
        notes=tuple(dict.fromkeys(notes)),
    )


def _read(runs: Sequence[str | Path]) -> tuple[RecordedRun, ...]:
    folders = [Path(run) for run in runs]
    if len(folders) < 2:
        raise OptionError(
            "error.runs.few",
            "{count} runs were given, expected two or more; name their folders.",
            count=len(folders),
        )
    places = [folder.resolve() for folder in folders]
    twice = [
        str(one) for one, place in zip(folders, places, strict=True) if places.count(place) > 1
    ]
    if twice:
        raise OptionError(
            "error.runs.twice",
            "The run {run} was given twice; name each run once.",
            run=twice[0],
        )
    called = Counter(place.name for place in places)
    return tuple(
        read_run(folder, place.name if called[place.name] == 1 else str(folder))
        for folder, place in zip(folders, places, strict=True)
    )


def _same_place(first: RecordedRun, other: RecordedRun) -> Iterator[Sentence]:
    """That two runs' pictures are only known by their names, where they lie in different places."""
    one, two = (run.facts.get("data") for run in (first, other))
    if one != two:
        yield Sentence(
            "note.runs.places",
            "{first} was measured on pictures in {one} and {second} in {two}: they have the same "
            "names and labels, and count as the same pictures.",
            first=first.name,
            second=other.name,
            one=one,
            two=two,
        )


class _Models:
    """The runs' models, each loaded once."""

    def __init__(self, device: str) -> None:
        self._device = device
        self._loaded: dict[Path, LoadedModel] = {}

    def of(self, run: RecordedRun) -> LoadedModel:
        """Raises ModelError where its weights can't be loaded."""
        if run.weights not in self._loaded:
            self._loaded[run.weights] = load_model(run.weights, device=self._device)
        return self._loaded[run.weights]


class _Showing:
    """Chooses the pictures of a pair of runs that are shown, finds them and explains both answers;
    `notes` say what could not be had."""

    def __init__(
        self,
        first: RecordedRun,
        second: RecordedRun,
        answers: Paired,
        models: _Models | None,
        progress: Telling | None,
    ) -> None:
        self.runs, self.answers, self.models = (first, second), answers, models
        self.progress = progress
        self.notes: list[str] = []

    def pair(self, most: int) -> RunPair:
        places = [
            own[:most].tolist() for own in (self.answers.only_first, self.answers.only_second)
        ]
        chosen = [*places[0], *places[1]]
        images = self._images(chosen)
        method, maps = self._maps(chosen, images)
        shown = tuple(Contested(place, images.get(place), maps.get(place)) for place in chosen)
        count = len(places[0])
        first, second = (run.name for run in self.runs)
        return RunPair(first, second, self.answers, shown[:count], shown[count:], method)

    def _images(self, places: Sequence[int]) -> dict[int, Image.Image]:
        """Those of the pictures that are where they were measured."""
        told = self.runs[0].predictions
        assert told is not None  # noqa: S101 - two runs with answers make a pair
        source, why = find_predicted(told) if places else (None, "")
        if source is None:
            self.notes += [_without(told, why)] if why else []
            return {}
        named = {source.name_of(index): index for index in range(len(source))}
        found = {}
        for place in places:
            index = named.get(self.answers.pictures[place])
            with suppress(PictureError):  # it was there when it was measured
                if index is not None:
                    found[place] = source.picture(index)
        return found

    def _maps(
        self, places: Sequence[int], images: dict[int, Image.Image]
    ) -> tuple[str | None, dict[int, tuple[LookedAt, LookedAt]]]:
        there = [place for place in places if place in images]
        if self.models is None or not there:
            return None, {}
        try:
            models = tuple(self.models.of(run) for run in self.runs)
            method = cheap_method(*models)
            said = (self.answers.first, self.answers.second)
            pictures = [images[place] for place in there]
            seen = [
                self._look(model, run.name, method, pictures, [int(own[p]) for p in there])
                for model, run, own in zip(models, self.runs, said, strict=True)
            ]
        except ExplorerError as error:
            self.notes.append(
                Sentence(
                    "note.runs.maps",
                    "No maps were made for {first} and {second}: {why}",
                    first=self.runs[0].name,
                    second=self.runs[1].name,
                    why=error.sentence,
                )
            )
            return None, {}
        return method, dict(zip(there, zip(*seen, strict=True), strict=True))

    def _look(
        self,
        model: LoadedModel,
        name: str,
        method: str,
        pictures: Sequence[Image.Image],
        answers: Sequence[int],
    ) -> list[LookedAt]:
        """What a model looked at in each picture when it gave its own answer."""
        columns = class_columns(model, self.answers.classes)
        prepared = [model.prepare(picture) for picture in pictures]
        told, count = self.progress, len(prepared)
        found = relevance_maps(
            model,
            prepared,
            [columns[answer] for answer in answers],
            method=method,
            progress=None if told is None else lambda done: told(name, done, count),
        )
        signed = METHODS[method].signed
        looked = []
        for own, values in zip(prepared, found.values, strict=True):
            scale = limits(values, signed=signed)
            small = own.shown.resize(_fitted(own.shown.size), Image.Resampling.BICUBIC)
            looked.append(LookedAt(overlay(small, values, limits=scale, signed=signed), scale))
        return looked


def _fitted(size: tuple[int, int]) -> tuple[int, int]:
    """A picture's size enlarged or reduced so that its longer side has `_SIDE` pixels."""
    scale = _SIDE / max(size)
    return max(1, round(size[0] * scale)), max(1, round(size[1] * scale))


def _without(told: Predictions, why: str) -> Sentence:
    return Sentence(
        "note.runs.pictures",
        "The pictures of {data} are named, not shown: {why}",
        data=told.data,
        why=why,
    )
