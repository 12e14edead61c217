"""A data set written out as class folders."""

from __future__ import annotations

from pathlib import Path

from vit_explorer.datasets.sources import find_splits
from vit_explorer.errors import DataError, OutputError
from vit_explorer.pictures.picture_files import is_hidden


def export_images(data: str | Path, out: str | Path, progress: bool = False) -> int:
    """Write both splits as class folders of `label_index.png`; returns how many were written.

    Raises:
        DataError: as `find_splits`, or a label that can't be a folder's name.
        OutputError: the folder can't be written, or is not empty.
    """
    root = Path(out)
    sources = find_splits(data)
    for name in sources[0].classes:  # a table's labels may be any text
        if is_hidden(name) or name != Path(name).name or "\0" in name:
            raise DataError(
                "error.out.label",
                "The label {name!r} can't be the name of a folder; change it.",
                name=name,
            )
    try:
        if root.exists() and any(root.iterdir()):
            raise OutputError(
                "error.out.full", "The folder {root} is not empty; give a new one.", root=root
            )
        for split, source in zip(("train", "test"), sources, strict=True):
            for name in source.classes:
                (root / split / name).mkdir(parents=True)
            for index, image in enumerate(source.pictures(progress)):
                name = source.classes[source.labels[index]]
                image.save(root / split / name / f"{name}_{index:05d}.png")
    except OSError as error:
        raise OutputError(
            "error.out.write",
            "{root} can't be written: {reason}.",
            root=root,
            reason=error.strerror or error,
        ) from None
    return sum(map(len, sources))
