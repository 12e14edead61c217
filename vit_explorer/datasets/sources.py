"""Labelled pictures, found and checked before anything starts."""

from __future__ import annotations

from collections import Counter
from collections.abc import Container, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from tqdm.auto import tqdm

from vit_explorer.datasets.cifar import find_cifar10, read_cifar10
from vit_explorer.datasets.label_tables import TABLES, LabelTable, find_table, read_table
from vit_explorer.datasets.labelled_files import Labelled, read_labelled
from vit_explorer.datasets.saved_datasets import StoredPicture, find_saved, read_saved
from vit_explorer.datasets.tiny_imagenet import find_tiny_imagenet, named, read_tiny_imagenet
from vit_explorer.errors import DataError, PictureError
from vit_explorer.pictures.decode import Picture, open_picture
from vit_explorer.pictures.picture_files import LeftOut, beside, folders_in
from vit_explorer.sentences import Sentence, joined

Split = Literal["train", "validation", "test"]
_VALIDATION = ("val", "valid", "validation", "dev")
# What the folders of a split are called, in upper or lower case; the first that is there is read.
# Where there is no test split, the validation split is one.
SPLITS: dict[Split, tuple[str, ...]] = {
    "train": ("train", "training"),
    "validation": _VALIDATION,
    "test": ("test", "testing", *_VALIDATION),
}


@dataclass(frozen=True)
class Source:
    """Labelled pictures that are not decoded yet: files, pictures in data files, or arrays
    (H, W, 3) uint8.

    `folder` is what the files' names are told from, or holds the arrays. `left_out` counts the
    files of `place` that aren't read, and `note` says where labels come from that are no folders'
    names.
    """

    name: str
    items: Sequence[Path | StoredPicture] | NDArray[np.uint8]
    labels: tuple[int, ...]
    classes: tuple[str, ...]
    folder: Path | None = None
    left_out: LeftOut = field(default_factory=LeftOut)
    note: Sentence | None = None
    place: str = ""

    def __post_init__(self) -> None:
        if len(self.classes) < 2:
            if self.classes:
                raise DataError(
                    "error.data.single",
                    "{data} has a single class, {name!r}; a classifier needs two or more class "
                    "folders.",
                    data=self.name,
                    name=self.classes[0],
                )
            raise DataError(
                "error.data.none",
                "{data} has no labelled pictures{left}; expected one folder of pictures a class.",
                data=self.name,
                left=self.left_out.parenthesis(),
            )
        counts = Counter(self.labels)
        empty = [name for index, name in enumerate(self.classes) if not counts[index]]
        if empty:
            raise DataError(
                "error.data.empty",
                "{data} has no pictures for {names}; add some or remove the folder.",
                data=self.name,
                names=_listed(empty),
            )

    def __len__(self) -> int:
        return len(self.labels)

    @property
    def notes(self) -> tuple[Sentence, ...]:
        """What to say of these pictures before they are used."""
        said = [one for one in (self.note, self.left_out.sentence()) if one is not None]
        return tuple(
            Sentence("note.data", "{data}: {what}", data=self.place, what=one) for one in said
        )

    def name_of(self, index: int) -> str:
        """A picture's path in its folder; of arrays the name that `export_images` gives it."""
        item = self.items[index]
        if isinstance(item, StoredPicture):
            return item.name
        if isinstance(item, Path):
            return (item.relative_to(self.folder) if self.folder else item).as_posix()
        name = self.classes[self.labels[index]]
        return f"{name}/{name}_{index:05d}.png"

    def picture(self, index: int) -> Image.Image:
        """One picture, PIL RGB.

        Raises:
            PictureError: it can't be read.
        """
        item = self.items[index]
        return Image.fromarray(item) if isinstance(item, np.ndarray) else opened(item).image

    def without(self, unreadable: Mapping[str, str]) -> Source:
        """The other pictures, with these counted among those left out.

        Raises:
            DataError: none of some class is left.
        """
        if not unreadable:
            return self
        mask = [self.name_of(index) not in unreadable for index in range(len(self))]
        why = Sentence("part.left.unreadable", "that can't be read")
        left = self.left_out + beside(why, tuple(map(Path, unreadable)))
        return replace(_chosen(self, self.name, mask), left_out=left)

    def pictures(self, progress: bool = False) -> Iterator[Image.Image]:
        """Decode one after the other, PIL RGB; raises DataError that lists unreadable files."""
        unreadable: list[str] = []
        shown = tqdm(self.items, desc=f"reading {self.name}", disable=not progress, leave=False)
        for index, item in enumerate(shown):
            if isinstance(item, np.ndarray):
                yield Image.fromarray(item)
                continue
            try:
                image = read_rgb(item)
            except PictureError:
                unreadable.append(self.name_of(index))
                continue
            if not unreadable:
                yield image
        if unreadable:
            raise DataError(
                "error.data.unreadable",
                "{data} holds {count} unreadable pictures: {names}; repair or remove them.",
                data=self.name,
                count=len(unreadable),
                names=_listed(unreadable),
            )


def read_rgb(item: Path | StoredPicture) -> Image.Image:
    """A picture of a data set, PIL RGB.

    Raises:
        PictureError: it can't be read, or has more bands than three.
    """
    picture = opened(item)
    if picture.stack and picture.bands is not None and picture.bands.shape[2] != 3:
        raise PictureError(
            "error.data.bands",
            "The picture {file} has {count} bands, expected 3; a data set is of red, green and "
            "blue.",
            file=item.name,
            count=picture.bands.shape[2],
        )
    return picture.image


def opened(item: Path | StoredPicture) -> Picture:
    """A picture of a data set, wherever it lies; raises PictureError as `open_picture`."""
    return item.open() if isinstance(item, StoredPicture) else open_picture(item)


def find_pictures(data: str | Path, split: Split) -> Source:
    """Find one split of a data set.

    Args:
        data: "cifar10" (downloaded once); a folder with CIFAR-10's official archive or files or
            with Tiny ImageNet's tiny-imagenet-200/; one that Hugging Face's datasets saved; a
            folder of labelled pictures, directly or under train/ and test/ or val/; or a table of
            them. Labels are those of a saved data set, else of labels.csv or metadata.csv, else
            the class folders' names, else in the files' names (cat_0001.jpg). Folders named by
            Tiny ImageNet's WNIDs get its class names.
        split: of pictures without splits, every tenth of a class is the test split.

    Raises:
        DataError: nothing there, a single class, or an empty class.
    """
    # As published, these have two splits.
    part: Literal["train", "test"] = "train" if split == "train" else "test"
    place = find_cifar10(data)
    if place is not None:
        pixels, labels, classes = read_cifar10(place, part)
        return Source(f"CIFAR-10 {part}", pixels, tuple(labels), classes, folder=place)
    official = find_tiny_imagenet(data)
    if official is not None:
        return Source(f"Tiny ImageNet {part}", *read_tiny_imagenet(official, part), folder=official)
    saved = find_saved(data)
    if saved is not None:
        return _of_saved(Path(data), saved, split)
    root, table = _place_of(data)
    if table is not None:
        return _by_table(root, table, split)
    folders = {path.name.casefold(): path for path in folders_in(root)}
    called = _first(SPLITS[split], folders)
    if called is not None:
        own = folders[called]
        return _source(f"{root.name}/{own.name}", root, read_labelled(own))
    other = _first([name for names in SPLITS.values() for name in names], folders)
    if other is not None:
        raise _no_split(root, f"{folders[other].name}/", split)
    return _share(_source(root.name, root, read_labelled(root)), split)


def _place_of(data: str | Path) -> tuple[Path, LabelTable | None]:
    """The folder of a data set, and the table in it or given that says its labels."""
    root = Path(data)
    if root.is_file() and root.suffix.casefold() in TABLES:
        return root.parent, read_table(root)
    if not root.is_dir():
        found = (
            Sentence("part.is_file", "is a file")
            if root.exists()
            else Sentence("part.missing", "does not exist")
        )
        raise DataError(
            "error.data.folder",
            "The data folder {root} {found}; give 'cifar10', or a folder with train/ and test/ "
            "that hold one folder of pictures a class.",
            root=root,
            found=found,
        )
    table = find_table(root)
    inner = folders_in(root)
    # An archive unpacked into a folder of its own name: look where its pictures begin.
    while table is None and len(inner) == 1 and folders_in(inner[0]) and not _is_split(inner[0]):
        root = inner[0]
        table, inner = find_table(root), folders_in(root)
    return root, table


def _is_split(folder: Path) -> bool:
    return any(folder.name.casefold() in names for names in SPLITS.values())


def _by_table(root: Path, table: LabelTable, split: Split) -> Source:
    found = read_labelled(root, table)
    source = _source(root.name, root, found)
    called = _first(SPLITS[split], found.splits)
    if called is not None:
        mask = [one == called for one in found.splits]
        return _chosen(source, f"{source.name} ({called})", mask)
    other = _first([name for names in SPLITS.values() for name in names], found.splits)
    if other is not None:
        raise _no_split(table.path, other, split)
    return _share(source, split)


def _of_saved(root: Path, splits: Mapping[str, Path], split: Split) -> Source:
    called = "" if "" in splits else _first(SPLITS[split], splits)
    if called is None:
        raise _no_split(root, ", ".join(splits), split)
    found = read_saved(splits[called])
    name = f"{root.name}/{splits[called].name}" if called else root.name
    source = Source(
        name, found.pictures, found.labels, found.classes, root, note=found.note, place=name
    )
    return source if called else _share(source, split)


def _first(names: Sequence[str], present: Container[str]) -> str | None:
    return next((name for name in names if name in present), None)


def _no_split(root: Path, other: str, split: Split) -> DataError:
    return DataError(
        "error.data.split",
        "The data in {root} has {other} but none of {splits}; add that split.",
        root=root,
        other=other,
        splits=", ".join(SPLITS[split]),
    )


def find_splits(data: str | Path) -> tuple[Source, Source]:
    """Train and test split; raises DataError where their classes differ, and as `find_pictures`."""
    train, test = find_pictures(data, "train"), find_pictures(data, "test")
    _check_same_classes(train, test)
    return train, test


def find_validation(data: str | Path) -> Source | None:
    """The validation split of a data set that has a test split beside it; None without.

    Raises:
        DataError: its classes are others than the training split's, and as `find_pictures`.
    """
    if find_cifar10(data) is not None or find_tiny_imagenet(data) is not None:
        return None
    names: Iterable[str] | None = find_saved(data)
    if names is None:
        root, table = _place_of(data)
        names = (path.name.casefold() for path in folders_in(root))
        if table is not None:
            names = read_labelled(root, table).splits
    there = set(names)
    if not there & set(_VALIDATION) or not there & set(SPLITS["test"]) - set(_VALIDATION):
        return None
    found = find_pictures(data, "validation")
    _check_same_classes(find_pictures(data, "train"), found)
    return found


def _check_same_classes(train: Source, other: Source) -> None:
    if train.classes == other.classes:
        return
    only = [
        Sentence(
            "part.only",
            "{names} only in {data}",
            names=_listed(sorted(set(one.classes) - set(two.classes))),
            data=one.name,
        )
        for one, two in ((train, other), (other, train))
        if set(one.classes) - set(two.classes)
    ]
    raise DataError(
        "error.data.classes",
        "The splits have different classes: {names}; make them equal.",
        names=joined(only),
    )


def hold_out(source: Source, share: float) -> tuple[Source, Source]:
    """Split off a share of every class's pictures, spread over the class; the rest comes first.

    Raises:
        DataError: a class with fewer than two pictures, of which none can be held out.
    """
    counts, seen, held = Counter(source.labels), Counter[int](), []
    for label in source.labels:
        # Whole numbers of pictures: a class of 30 gives 1 or 2 of 5 %, never none.
        wanted = max(1, round(counts[label] * share))
        place, seen[label] = seen[label], seen[label] + 1
        held.append(place * wanted % counts[label] < wanted)
    few = [source.classes[label] for label, count in sorted(counts.items()) if count < 2]
    if few:
        raise DataError(
            "error.data.few",
            "{data} has a single picture of {names}, of which none can be held out; add some, "
            "or set hold_out to 0.",
            data=source.name,
            names=_listed(few),
        )
    kept = _chosen(source, source.name, [not one for one in held])
    return kept, _chosen(source, f"{source.name} (held out)", held)


def _chosen(source: Source, name: str, mask: Sequence[bool]) -> Source:
    places = np.flatnonzero(mask)
    items = source.items
    chosen = items[places] if isinstance(items, np.ndarray) else [items[int(i)] for i in places]
    labels = tuple(source.labels[place] for place in places)
    return replace(source, name=name, items=chosen, labels=labels)


def _source(name: str, folder: Path, found: Labelled) -> Source:
    source = Source(
        name, found.files, found.labels, found.classes, folder, found.left_out, found.note, name
    )
    # What is wrong is said of the folders; then their classes get names.
    return replace(source, classes=named(found.classes))


def _share(source: Source, split: Split) -> Source:
    """Every tenth picture of a class for the test, the others for training."""
    seen: Counter[int] = Counter()
    tests = []
    for label in source.labels:
        tests.append(seen[label] % 10 == 0)
        seen[label] += 1
    wanted = [test == (split == "test") for test in tests]
    return _chosen(source, f"{source.name} ({split})", wanted)


def _listed(names: Sequence[str], most: int = 10) -> str:
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(names[:most]) + more
