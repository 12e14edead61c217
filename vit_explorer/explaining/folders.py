"""Many pictures: a folder of them explained into another folder, with a summary."""

from __future__ import annotations

import functools
import hashlib
import json
import math
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path
from typing import Any

from vit_explorer.analysis.faithfulness import protocols_of
from vit_explorer.cluster.engine import Engine, find_engine
from vit_explorer.errors import ExplorerError, OptionError, OutputError, PictureError
from vit_explorer.explaining.explain import Progress, explain_many
from vit_explorer.explaining.explanation import MANIFEST, Explanation, folder_name
from vit_explorer.explaining.pipeline import Room, ahead, threads
from vit_explorer.explaining.plan import Request
from vit_explorer.explaining.summary import Outcome, Summary
from vit_explorer.models.loaded import LoadedModel
from vit_explorer.models.loading import Replica
from vit_explorer.models.targets import Aim, Target, find_target
from vit_explorer.pictures.decode import Picture, open_picture
from vit_explorer.pictures.picture_files import PictureFiles, find_picture_files
from vit_explorer.pictures.preprocess import Prepared
from vit_explorer.pictures.stretch import Stretch, check_stretch
from vit_explorer.result_folder import claimed
from vit_explorer.sentences import Sentence


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
    engine: Engine = "local",
    trust: bool = False,
) -> Generator[Outcome, None, None]:
    """Explain every picture of a folder and its subfolders, and yield what became of each.

    `out` gets a folder a picture, as `Explanation.save` writes it, in the same subfolders, a line
    of summary.csv with each, and at the end, or when stopped before, summary.json. A picture that
    can't be used is passed over; those written stay. A process that is killed leaves no results
    that are half made: `resume` goes on to what it would have left. Pictures are decoded and
    results written by threads beside the passes; of those done only the outcomes are kept in
    memory.

    Args:
        batch_size: pictures a pass, as in `explain_many`.
        resume: keep the results that the same picture, model, methods, options and target gave
            before, which come first, where without it all are made anew.
        bands: which bands of a picture of many are shown, as in `open_picture`.
        stretch: which values become black and white, as in `open_picture`.
        engine: "ray" spreads the pictures over a Ray cluster or all cores and GPUs of this machine
            (extra `ray`; a `RayEngine` says how many). `folder` may then be a table of paths, and
            `out` gets parts/part-000000.parquet and so on, a row a picture, in place of folders:
            the top prediction, and maps as float16. `top` and `progress` are of no use there.
        trust: with Ray, also compare each map with chance.

    Raises:
        ExplorerError: as `explain`, for anything but a picture; OutputError also where another
            process writes to `out`.
    """
    root = Path(folder)
    spread = find_engine(engine)
    request = Request.check(model, methods, options)
    size = request.batch_size(model, batch_size)
    aim = find_target(model, target)
    opening = {"bands": bands, "stretch": check_stretch(stretch)}
    if spread is not None:
        from vit_explorer.explaining.spread_folder import Job, SpreadFolder, find_listed

        listed = find_listed(root, Path(out))
        job = Job(
            model=Replica.of(model),
            methods=methods if methods is None or isinstance(methods, str) else tuple(methods),
            names=tuple(request.options),
            target=target,
            options=options or {},
            opening=opening,
            batch_size=batch_size,
            protocols=protocols_of(model) if trust else (),
        )
        about = {**asked_of(model, request, aim), "opening": opening, "trust": job.protocols}
        task = SpreadFolder(model=model, listed=listed, out=Path(out), job=job, about=about)
        return task.run(spread, resume=resume)
    if trust:
        raise OptionError(
            "error.batch.trust",
            "Maps of many pictures are compared with chance by engine='ray' alone; add that, or "
            "leave trust out.",
        )

    def explained(prepared: Sequence[Prepared]) -> Iterator[Explanation]:
        return explain_many(
            model, prepared, methods, aim,
            options=options, top=top, progress=progress, batch_size=size,
        )  # fmt: skip

    return _Task(
        model=model,
        root=root,
        out=Path(out),
        places=_places(root, find_pictures(root, Path(out)).files),
        opened=functools.partial(open_picture, **opening),
        explained=explained,
        size=size,
        expected=asked_of(model, request, aim) if resume else None,
    ).run()


@dataclass(frozen=True, kw_only=True)
class _Task:
    """A folder's pictures, each with its place in `out`, and how they are explained."""

    model: LoadedModel
    root: Path
    out: Path
    places: dict[Path, Path]
    opened: functools.partial[Picture]
    explained: Callable[[Sequence[Prepared]], Iterator[Explanation]]
    size: int
    expected: dict[str, Any] | None

    def run(self) -> Generator[Outcome, None, None]:
        about = {"name": self.model.card.name, "weights_sha256": self.model.sha256}
        with claimed(self.out) as scratch:
            order = [_inside(self.root, picture) for picture in self.places]
            summary = Summary(self.out, scratch, {"model": about}, order)
            kept: dict[Path, Outcome] = {}
            for picture, outcome in self._kept():
                kept[picture] = outcome
                yield outcome
            if kept:
                summary.begin(kept.values())
            try:
                yield from self._made([one for one in self.places if one not in kept], summary)
            finally:
                summary.finish()

    def _kept(self) -> Iterator[tuple[Path, Outcome]]:
        """What need not be made again."""
        if self.expected is None:
            return
        for picture, place in self.places.items():
            manifest = _kept(self.out / place, picture, self.expected, self.opened)
            if manifest is not None:
                yield picture, self._outcome(picture, manifest["predictions"])

    def _made(self, pictures: Iterable[Path], summary: Summary) -> Iterator[Outcome]:
        """Pictures are decoded and results written by threads while the model runs; an outcome is
        told when it is written, in the order of the pictures."""
        room = Room(self.size)
        waiting: deque[Future[Outcome]] = deque()
        with threads("reading") as readers, threads("writing") as writers:
            reading = ahead(readers, self._prepared, pictures, room)
            try:
                while batch := list(islice(reading, self.size)):
                    for result in self._results(batch, room):
                        waiting.append(writers.submit(self._written, *result, summary))
                        del result  # its memory, when it is written
                        while len(waiting) > room.pictures:
                            yield waiting.popleft().result()
            except OutputError:
                raise
            except ExplorerError:
                # What is about a picture does not undo those before it.
                yield from (outcome.result() for outcome in waiting)
                raise
            yield from (outcome.result() for outcome in waiting)

    def _prepared(self, picture: Path) -> Prepared:
        return self.model.prepare(self.opened(picture))

    def _results(
        self, batch: Sequence[tuple[Path, Future[Prepared]]], room: Room
    ) -> Iterator[tuple[Path, Explanation | PictureError]]:
        """What one pass says of each picture of a batch, or why it can't be used."""
        ready: list[Prepared] = []
        failed: dict[Path, PictureError] = {}
        for picture, reading in batch:
            try:
                ready.append(reading.result())
            except PictureError as error:
                failed[picture] = error
            else:
                room.saw(ready[-1].bytes + math.prod((3, *ready[-1].picture.image.size)))
        results = iter(self.explained(ready))
        for picture, _ in batch:
            if picture in failed:
                yield picture, failed[picture]
            else:
                result = next(results)
                yield picture, replace(result, trace=result.trace.without_tensors())

    def _written(
        self, picture: Path, result: Explanation | PictureError, summary: Summary
    ) -> Outcome:
        if isinstance(result, PictureError):
            outcome = Outcome(_inside(self.root, picture), error=result.sentence)
        else:
            place = self.places[picture]
            summary.begin()  # an earlier one would be of results that are now replaced
            result.save(self.out / place.parent, name=place.name, scratch=summary.scratch)
            outcome = self._outcome(picture, [vars(p) for p in result.predictions])
        summary.add(outcome)
        return outcome

    def _outcome(self, picture: Path, predictions: Sequence[Mapping[str, Any]]) -> Outcome:
        place = self.places[picture].as_posix()
        return Outcome(_inside(self.root, picture), place, **(predictions or [{}])[0])


def find_pictures(folder: str | Path, out: str | Path | None = None) -> PictureFiles:
    """Pictures in a folder and its subfolders, as `find_picture_files` finds them.

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
    if out is not None and Path(out).resolve() == root.resolve():
        raise OutputError(
            "error.folder.itself",
            "The results were to go into the picture folder {root} itself; name another folder.",
            root=root,
        )
    pictures = find_picture_files(root, skipped=None if out is None else Path(out))
    if not pictures.files:
        raise PictureError(
            "error.folder.none",
            "The folder {root} holds no pictures{left}; those known end in .jpg, .png, .webp and "
            "the like.",
            root=root,
            left=pictures.left_out.parenthesis(),
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


def asked_of(model: LoadedModel, request: Request, aim: Aim | None) -> dict[str, Any]:
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
