"""A look through a folder of pictures, for a model that is to read them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from PIL import Image

from vit_explorer.analysis.tokens import artifacts
from vit_explorer.datasets import diagnosis as found_by
from vit_explorer.datasets.diagnosis import SHARE_SEEN, SURE, Diagnosis, Noted
from vit_explorer.datasets.evaluate import class_columns
from vit_explorer.datasets.labelled_files import read_labelled
from vit_explorer.datasets.leakage import digest
from vit_explorer.datasets.preparations import answers, prepared_by, try_preparations
from vit_explorer.datasets.saved_datasets import StoredPicture, find_saved, read_saved
from vit_explorer.datasets.sources import opened
from vit_explorer.datasets.tiny_imagenet import named
from vit_explorer.errors import DataError, ExplorerError, PictureError
from vit_explorer.models.loaded import LoadedModel
from vit_explorer.models.zoo import load_model
from vit_explorer.options import whole_number
from vit_explorer.pictures.picture_files import LeftOut, find_picture_files
from vit_explorer.sentences import Sentence
from vit_explorer.tracing.trace import trace

LOOKED_AT = 8  # pictures whose tokens' norms are looked at
AT_ONCE = 64

Telling = Callable[[str, int, int], None]


def doctor(
    model: LoadedModel | str | Path,
    folder: str | Path,
    *,
    sample: int = 100,
    progress: Telling | None = None,
    **options: Any,
) -> Diagnosis:
    """Look through a folder of pictures for what would mislead a model, or its owner.

    Unreadable files; the same picture twice, with one label or two; pictures smaller than what the
    model sees, or of which its crop leaves much out; sure predictions against the label; patches
    whose norm stands out; and, on a sample, whether the model is right more often where pictures
    are prepared in another of the usual ways: then mean, deviation or crop are not those that it
    was trained with.

    Args:
        model: a loaded model, or a name or checkpoint for `load_model`, which gets `options`.
        folder: pictures, labelled as `evaluate` has it or not.
        sample: how many pictures other preparations are tried on.
        progress: called with (what is done, pictures done, pictures in all).

    Raises:
        DataError: no folder, or no picture in it.
        OptionError: a sample below 1.
        ModelError: as `load_model`.
    """
    whole_number(Sentence("part.sample", "sample"), sample, 1)
    files = _find(Path(folder))
    loaded = model if isinstance(model, LoadedModel) else load_model(model, **options)
    return _Examination(loaded, Path(folder), files, progress).run(sample)


@dataclass(frozen=True)
class _Files:
    files: tuple[Path | StoredPicture, ...]
    labels: tuple[str, ...] | None
    left_out: LeftOut
    unlabelled: str = ""


def _find(folder: Path) -> _Files:
    """All pictures of a folder, with labels where they have some."""
    if not folder.is_dir():
        raise DataError(
            "error.doctor.folder",
            "The folder {folder} does not exist, or is none; name a folder of pictures.",
            folder=folder,
        )
    saved = find_saved(folder)
    if saved is not None:
        parts = [read_saved(own) for own in saved.values()]
        stored = tuple(one for part in parts for one in part.pictures)
        said = tuple(part.classes[label] for part in parts for label in part.labels)
        return _Files(stored, said, LeftOut())
    try:
        found = read_labelled(folder)
        if found.files:
            names = named(found.classes)
            labels = tuple(names[label] for label in found.labels)
            return _Files(found.files, labels, found.left_out)
        unlabelled: str = Sentence("part.doctor.unlabelled", "None of its pictures has a label.")
    except DataError as error:
        unlabelled = error.sentence
    pictures = find_picture_files(folder)
    if not pictures.files:
        raise DataError(
            "error.doctor.empty",
            "{folder} holds no pictures{left}; name a folder that does.",
            folder=folder,
            left=pictures.left_out.parenthesis(),
        )
    return _Files(pictures.files, None, pictures.left_out, unlabelled)


@dataclass
class _Examination:
    """What is gathered while the pictures of a folder are read once."""

    model: LoadedModel
    folder: Path
    found: _Files
    progress: Telling | None
    unreadable: list[Noted] = field(default_factory=list)
    small: list[Noted] = field(default_factory=list)
    cropped: list[Noted] = field(default_factory=list)
    against: list[tuple[float, Noted]] = field(default_factory=list)
    places_of: dict[bytes, list[int]] = field(default_factory=dict)
    right: int = 0

    def run(self, sample: int) -> Diagnosis:
        model, files = self.model, self.found.files
        labels, why = self._places()
        chosen = [(p, self._open(p)) for p in self._sample(labels, sample)]
        images = [image for _, image in chosen if image is not None]
        known = None if labels is None else [labels[p] for p, image in chosen if image is not None]
        tried = None
        if images and model.card.sums_to_one:
            tried = try_preparations(model, images, known, self._telling("preparing"))
        self.unreadable.clear()  # all files are opened again, one after the other
        self._look_through(labels, {} if tried is None else tried.best.config)
        twins = [places for places in self.places_of.values() if len(places) > 1]
        own = self.found.labels
        told = [[] if own is None else [own[place] for place in places] for places in twins]
        surest = sorted(self.against, key=lambda pair: -pair[0])
        read = len(files) - len(self.unreadable)
        findings = (
            *(
                ()
                if tried is None
                else found_by.of_preparation(tried, model.preprocess, len(images))
            ),
            *found_by.of_unreadable(self.unreadable, len(files)),
            *found_by.of_twins([[self._name(p) for p in places] for places in twins], told),
            *found_by.of_labels(why),
            *found_by.of_mislabelled([noted for _, noted in surest]),
            *found_by.of_small(self.small, model.card.image_size),
            *found_by.of_cropped(self.cropped),
            *found_by.of_artifacts(*self._artifacts(images[:LOOKED_AT])),
            *found_by.of_left_out(self.found.left_out),
        )
        return Diagnosis(
            folder=str(self.folder),
            model=model.card.name,
            pictures=read,
            labelled=0 if labels is None else read,
            right=self.right,
            findings=findings,
            preparations=tried,
        )

    def _name(self, place: int) -> str:
        file = self.found.files[place]
        return (
            file.name
            if isinstance(file, StoredPicture)
            else file.relative_to(self.folder).as_posix()
        )

    def _telling(self, what: str) -> Callable[[int, int], None] | None:
        told = self.progress
        return None if told is None else lambda done, total: told(what, done, total)

    def _places(self) -> tuple[list[int] | None, str]:
        """Each label's place in the model's outputs, or None and why there are none."""
        if self.found.labels is None:
            return None, self.found.unlabelled
        classes = tuple(dict.fromkeys(self.found.labels))
        try:
            columns = dict(zip(classes, class_columns(self.model, classes), strict=True))
        except DataError as error:
            return None, error.sentence
        return [columns[label] for label in self.found.labels], ""

    def _sample(self, labels: Sequence[int] | None, count: int) -> list[int]:
        """Places of so many files, as many of each class as can be, spread over the folder."""
        files = len(self.found.files)
        every = max(1, files // count)
        spread = sorted(range(files), key=lambda place: (place % every, place))
        if labels is None:
            return sorted(spread[:count])
        turn: Counter[int] = Counter()
        turns = []
        for place in spread:
            turns.append((turn[labels[place]], place))
            turn[labels[place]] += 1
        return sorted(place for _, place in sorted(turns)[:count])

    def _open(self, place: int) -> Image.Image | None:
        try:
            picture = opened(self.found.files[place])
        except PictureError as error:
            self.unreadable.append(Noted(self._name(place), error.sentence))
            return None
        if picture.stack:
            said = Sentence("part.doctor.stack", "it has bands or pages of its own")
            self.unreadable.append(Noted(self._name(place), said))
            return None
        return picture.image

    def _look_through(self, labels: Sequence[int] | None, config: dict[str, Any]) -> None:
        """Every picture once: its pixels, its size, and what the model says of it."""
        transform = prepared_by(self.model, config)
        count, told = len(self.found.files), self._telling("looking")
        for start in range(0, count, AT_ONCE):
            end = min(start + AT_ONCE, count)
            opened = [(place, self._open(place)) for place in range(start, end)]
            images = {place: image for place, image in opened if image is not None}
            for place, image in images.items():
                self.places_of.setdefault(digest(image), []).append(place)
                self._measure(place, image)
            if labels is not None and images:
                shares = answers(self.model, list(images.values()), transform)
                for place, own in zip(images, shares, strict=True):
                    self._compare(place, labels[place], int(own.argmax()), float(own.max()))
            if told is not None:
                told(end, count)

    def _compare(self, place: int, label: int, best: int, share: float) -> None:
        self.right += best == label
        if best != label and share >= SURE:
            said = Sentence(
                "part.doctor.predicted",
                "is labelled {label}, predicted as {predicted} with {share:.0%}",
                label=self.model.labels[label],
                predicted=self.model.labels[best],
                share=share,
            )
            self.against.append((share, Noted(self._name(place), said)))

    def _measure(self, place: int, image: Image.Image) -> None:
        high, wide = self.model.card.image_size
        if image.height < high and image.width < wide:
            self.small.append(Noted(self._name(place), f"{image.height}×{image.width}"))
        own = self.model.preprocess
        if own.crop_mode == "center" and own.crop_pct is not None:
            share = share_seen(image.size, (wide, high), own.crop_pct)
            if share < SHARE_SEEN:
                said = Sentence("part.doctor.seen", "{share:.0%} of it is seen", share=share)
                self.cropped.append(Noted(self._name(place), said))

    def _artifacts(self, images: Sequence[Image.Image]) -> tuple[list[int], int]:
        """How many patches stand out on each picture, and of how many; none where that can't be
        told."""
        rows, columns = self.model.card.grid
        try:
            return [artifacts(trace(self.model, image)).count for image in images], rows * columns
        except ExplorerError:
            return [], rows * columns


def share_seen(size: tuple[int, int], seen: tuple[int, int], crop_pct: float) -> float:
    """The share of a picture's area, 0 to 1, within a centre crop of it; sizes are (W, H)."""
    pairs = tuple(zip(size, seen, strict=True))
    scale = max(target / crop_pct / own for own, target in pairs)
    across, down = (min(1.0, target / (own * scale)) for own, target in pairs)
    return across * down
