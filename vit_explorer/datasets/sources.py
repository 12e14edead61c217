"""Labelled pictures, found and checked before anything starts."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from torchvision.datasets.folder import IMG_EXTENSIONS
from tqdm.auto import tqdm

from vit_explorer.datasets.cifar import find_cifar10, read_cifar10
from vit_explorer.datasets.tiny_imagenet import find_tiny_imagenet, named, read_tiny_imagenet
from vit_explorer.errors import DataError, PictureError
from vit_explorer.pictures.decode import open_picture
from vit_explorer.sentences import Sentence, joined

Split = Literal["train", "test"]
SPLITS: dict[Split, tuple[str, ...]] = {"train": ("train",), "test": ("test", "val", "validation")}


@dataclass(frozen=True)
class Source:
    """Labelled pictures that are not decoded yet: files, or arrays (H, W, 3) uint8."""

    name: str
    items: Sequence[Path] | NDArray[np.uint8]
    labels: tuple[int, ...]
    classes: tuple[str, ...]

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
                "{data} has no class folders; expected one folder of pictures a class.",
                data=self.name,
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

    def pictures(self, progress: bool = False) -> Iterator[Image.Image]:
        """Decode one after the other, PIL RGB; raises DataError that lists unreadable files."""
        unreadable: list[str] = []
        for item in tqdm(
            self.items, desc=f"reading {self.name}", disable=not progress, leave=False
        ):
            if not isinstance(item, Path):
                yield Image.fromarray(item)
                continue
            try:
                image = open_picture(item).image
            except PictureError:
                unreadable.append(f"{item.parent.name}/{item.name}")
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


def find_pictures(data: str | Path, split: Split) -> Source:
    """Find one split of a data set.

    Args:
        data: "cifar10" (downloaded once), a folder with CIFAR-10's official archive or files or
            with Tiny ImageNet's tiny-imagenet-200/, or a folder of class folders, directly or under
            train/ and test/ or val/. Folders named by Tiny ImageNet's WNIDs get its class names.
        split: of class folders without splits, every tenth picture of a class is the test split.

    Raises:
        DataError: nothing there, a single class, or an empty class.
    """
    place = find_cifar10(data)
    if place is not None:
        pixels, labels, classes = read_cifar10(place, split)
        return Source(f"CIFAR-10 {split}", pixels, tuple(labels), classes)
    official = find_tiny_imagenet(data)
    if official is not None:
        return Source(f"Tiny ImageNet {split}", *read_tiny_imagenet(official, split))
    root = Path(data)
    if not root.is_dir():
        found = (
            Sentence("part.is_file", "is a file")
            if root.exists()
            else Sentence("part.missing", "does not exist")
        )
        raise DataError(
            "error.data.folder",
            "The data folder {root} {found}; give 'cifar10' or a folder with train/ and test/ "
            "that hold one folder of pictures a class.",
            root=root,
            found=found,
        )
    own = [root / name for name in SPLITS[split] if (root / name).is_dir()]
    if own:
        return _class_folders(own[0], f"{root.name}/{own[0].name}")
    others = [name for names in SPLITS.values() for name in names if (root / name).is_dir()]
    if others:
        raise DataError(
            "error.data.split",
            "The data folder {root} has {other}/ but none of {splits}; add that split.",
            root=root,
            other=others[0],
            splits=", ".join(SPLITS[split]),
        )
    return _share(_class_folders(root, root.name), split)


def find_splits(data: str | Path) -> tuple[Source, Source]:
    """Train and test split; raises DataError where their classes differ, and as `find_pictures`."""
    train, test = find_pictures(data, "train"), find_pictures(data, "test")
    if train.classes != test.classes:
        only = [
            Sentence(
                "part.only",
                "{names} only in {data}",
                names=_listed(sorted(set(one.classes) - set(other.classes))),
                data=one.name,
            )
            for one, other in ((train, test), (test, train))
            if set(one.classes) - set(other.classes)
        ]
        raise DataError(
            "error.data.classes",
            "The splits have different classes: {names}; make them equal.",
            names=joined(only),
        )
    return train, test


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
    return Source(name, chosen, labels, source.classes)


def _class_folders(root: Path, name: str) -> Source:
    classes = sorted(p.name for p in root.iterdir() if p.is_dir() and not p.name.startswith("."))
    items: list[Path] = []
    labels: list[int] = []
    for index, folder in enumerate(classes):
        files = sorted(p for p in (root / folder).rglob("*") if p.suffix.lower() in IMG_EXTENSIONS)
        items += files
        labels += [index] * len(files)
    # What is wrong is said of the folders; then their classes get names.
    return replace(Source(name, items, tuple(labels), tuple(classes)), classes=named(classes))


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
