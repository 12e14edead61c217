"""Many pictures: a folder of them explained into another folder, with a summary."""

from __future__ import annotations

import csv
import dataclasses
import functools
import hashlib
import io
import json
import os
from collections.abc import Generator, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

from PIL import Image

from vit_explorer.errors import OutputError, PictureError
from vit_explorer.explaining.explain import Progress, explain_many
from vit_explorer.explaining.explanation import MANIFEST, folder_name
from vit_explorer.explaining.plan import Request
from vit_explorer.models.loaded import LoadedModel
from vit_explorer.models.targets import Aim, Target, find_target
from vit_explorer.pictures.decode import FORMATS, Picture, open_picture
from vit_explorer.pictures.stretch import Stretch, check_stretch
from vit_explorer.sentences import Sentence, cell

SUMMARY = "summary"


@dataclass(frozen=True)
class Outcome:
    """What became of one picture of a folder, with its top prediction where there are classes.

    `probability` is None of a model of values, `score` the number that the model returned.
    `picture` and `folder` are paths inside the two folders. A picture that can't be used has no
    folder, and an `error` that says why.
    """

    picture: str
    folder: str = ""
    label: str | None = None
    index: int | None = None
    probability: float | None = None
    score: float | None = None
    error: str = ""


def explain_folder(
    model: LoadedModel,
    folder: str | Path,
    out: str | Path,
    methods: Sequence[str] | str | None = None,
    target: Target = None,
    *,
    options: Mapping[str, Mapping[str, Any]] | None = None,
    top: int = 5,
    progress: Progress | None = None,
    batch_size: int | None = None,
    resume: bool = False,
    bands: Any = None,
    stretch: Stretch = "auto",
) -> Generator[Outcome, None, None]:
    """Explain every picture of a folder and its subfolders, and yield what became of each.

    `out` gets a folder a picture, as `Explanation.save` writes it, in the same subfolders, and at
    the end, or when stopped before, summary.csv and summary.json. A picture that can't be used is
    passed over; those written stay. Memory does not grow with the number of pictures.

    Args:
        batch_size: pictures a pass, as in `explain_many`.
        resume: keep the results that the same picture, model, methods, options and target gave
            before, where without it all are made anew.
        bands: which bands of a picture of many are shown, as in `open_picture`.
        stretch: which values become black and white, as in `open_picture`.

    Raises:
        ExplorerError: as `explain`, for anything but a picture.
    """
    root, target_root = Path(folder), Path(out)
    request = Request.check(model, methods, options)
    size = request.batch_size(model, batch_size)
    aim = find_target(model, target)
    expected = _expected(model, request, aim) if resume else None
    opened = functools.partial(open_picture, bands=bands, stretch=check_stretch(stretch))
    places = _places(root, find_pictures(root, target_root))

    def explained() -> Iterator[Outcome]:
        remaining = iter(places.items())
        while batch := dict(islice(remaining, size)):
            ready = {}
            for picture, place in batch.items():
                if expected is not None and (
                    kept := _kept(target_root / place, picture, expected, opened)
                ):
                    yield _outcome(root, picture, place, kept["predictions"])
                    continue
                try:
                    ready[picture] = model.prepare(opened(picture))
                except PictureError as error:
                    yield Outcome(_inside(root, picture), error=error.sentence)
            results = explain_many(
                model, list(ready.values()), methods, aim,
                options=options, top=top, progress=progress, batch_size=size,
            )  # fmt: skip
            for picture, result in zip(list(ready), results, strict=True):
                del ready[picture]
                place = batch[picture]
                result.save(target_root / place.parent, name=place.name)
                yield _outcome(root, picture, place, [vars(p) for p in result.predictions])

    return _summed_up(explained(), model, target_root)


def find_pictures(folder: str | Path, out: str | Path | None = None) -> list[Path]:
    """Pictures in a folder and its subfolders by their endings, in order; hidden ones left out.

    `out`, a folder for results, is not searched.

    Raises:
        PictureError: no such folder, or no pictures in it.
        OutputError: `out` is the folder itself.
    """
    root = Path(folder)
    if not root.is_dir():
        found = (
            Sentence("part.is_file", "is a file")
            if root.is_file()
            else Sentence("part.missing", "does not exist")
        )
        raise PictureError(
            "error.folder.pictures",
            "The picture folder {root} {found}; name a folder of pictures.",
            root=root,
            found=found,
        )
    skipped = None if out is None else Path(out).resolve()
    if skipped == root.resolve():
        raise OutputError(
            "error.folder.itself",
            "The results were to go into the picture folder {root} itself; name another folder.",
            root=root,
        )
    Image.init()
    endings = {end for end, kind in Image.registered_extensions().items() if kind in FORMATS}
    endings.add(".npy")
    pictures: list[Path] = []
    for place, folders, names in os.walk(root):
        folders[:] = sorted(
            name
            for name in folders
            if not name.startswith(".") and Path(place, name).resolve() != skipped
        )
        files = (Path(place, name) for name in sorted(names) if not name.startswith("."))
        pictures += [file for file in files if file.suffix.casefold() in endings]
    if not pictures:
        raise PictureError(
            "error.folder.none",
            "The folder {root} holds no pictures; those known end in .jpg, .png, .webp and the "
            "like.",
            root=root,
        )
    return pictures


def distinct(names: Iterable[str]) -> list[str]:
    """The names, numbered where one comes again, in upper or lower case."""
    taken: set[str] = set()
    found = []
    for name in names:
        number, candidate = 1, name
        while candidate.casefold() in taken:
            number += 1
            candidate = f"{name}-{number}"
        taken.add(candidate.casefold())
        found.append(candidate)
    return found


def _places(root: Path, pictures: Sequence[Path]) -> dict[Path, Path]:
    """Where each picture's results go inside the output folder."""
    places: dict[Path, Path] = {}
    for parent in dict.fromkeys(picture.parent for picture in pictures):
        own = [picture for picture in pictures if picture.parent == parent]
        names = distinct(folder_name(picture.name) for picture in own)
        inside = parent.relative_to(root)
        places.update((file, inside / name) for file, name in zip(own, names, strict=True))
    return places


def _inside(root: Path, picture: Path) -> str:
    return picture.relative_to(root).as_posix()


def _outcome(
    root: Path, picture: Path, place: Path, predictions: Sequence[Mapping[str, Any]]
) -> Outcome:
    return Outcome(_inside(root, picture), place.as_posix(), **(predictions or [{}])[0])


def _expected(model: LoadedModel, request: Request, aim: Aim | None) -> dict[str, Any]:
    """What an earlier manifest says if the same was asked of the same model."""
    asked = {
        "model": model.to_dict(),
        "options": request.options,
        "target": None if aim is None else {str(key): value for key, value in aim.weights},
    }
    plain: dict[str, Any] = json.loads(json.dumps(asked))
    return plain


def _kept(
    folder: Path, picture: Path, expected: Mapping[str, Any], opened: functools.partial[Picture]
) -> dict[str, Any] | None:
    """The manifest of results that need not be made again."""
    try:
        earlier: dict[str, Any] = json.loads((folder / MANIFEST).read_text(encoding="utf-8"))
        found = {name: method["options"] for name, method in earlier["methods"].items()}
        left_out = {name: expected["options"].get(name) for name in earlier["skipped"]}
        aim, top = (earlier["target"] or {}).get("weights"), earlier["predictions"][:1]
        complete = all((folder / name).is_file() for name in earlier["files"])
        with picture.open("rb") as file:
            sha256 = hashlib.file_digest(file, "sha256").hexdigest()
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return None
    first = {str(top[0]["index"]): 1.0} if top else None
    wanted = expected["target"] or first
    same = (
        earlier["model"] == expected["model"]
        and {**left_out, **found} == {**left_out, **expected["options"]}
        and aim == (wanted if top else None)
        and earlier["picture"]["sha256"] == sha256
        and _opened_alike(earlier["picture"], picture, opened)
    )
    return earlier if same and complete else None


def _opened_alike(
    earlier: Mapping[str, Any], picture: Path, opened: functools.partial[Picture]
) -> bool:
    """Whether the same bands and stretch were chosen; 8-bit colours need not be opened for that."""
    told = {key: earlier[key] for key in ("bands", "stretch") if key in earlier}
    if not told and opened.keywords == {"bands": None, "stretch": "auto"}:
        return True
    try:
        return told == opened(picture).told()
    except PictureError:
        return False


def _summed_up(
    outcomes: Iterator[Outcome], model: LoadedModel, out: Path
) -> Generator[Outcome, None, None]:
    """Pass outcomes on and, when they end or are stopped, write them down."""
    done: list[Outcome] = []
    try:
        for outcome in outcomes:
            done.append(outcome)
            yield outcome
    finally:
        if done:
            _write_summary(done, model, out)


def _write_summary(outcomes: Sequence[Outcome], model: LoadedModel, out: Path) -> None:
    table = io.StringIO()
    columns = [field.name for field in dataclasses.fields(Outcome)]
    writer = csv.DictWriter(table, columns, lineterminator="\n")
    writer.writeheader()
    for outcome in outcomes:
        writer.writerow({column: cell(value) for column, value in vars(outcome).items()})
    about = {"name": model.card.name, "weights_sha256": model.sha256}
    content = {"format": 1, "model": about, "pictures": [vars(outcome) for outcome in outcomes]}
    texts = {
        f"{SUMMARY}.csv": table.getvalue(),
        f"{SUMMARY}.json": json.dumps(content, indent=2, ensure_ascii=False) + "\n",
    }
    try:
        out.mkdir(parents=True, exist_ok=True)
        for name, text in texts.items():
            partial = out / f".{name}.partial"
            partial.write_text(text, "utf-8", "backslashreplace")
            os.replace(partial, out / name)
    except OSError as error:
        reason = error.strerror or Sentence("part.reason", "no reason given")
        raise OutputError(
            "error.folder.summary",
            "The summary can't be written to {out} ({reason}); name a folder that can be made "
            "and written to.",
            out=out,
            reason=reason,
        ) from None
