"""What a look through a folder found: each kind of trouble, and what to do about it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

from vit_explorer.datasets.html import render
from vit_explorer.datasets.preparations import Preparations
from vit_explorer.models.card import Pair
from vit_explorer.pictures.picture_files import LeftOut
from vit_explorer.pictures.preprocess import Preprocess
from vit_explorer.result_folder import fill_folder
from vit_explorer.sentences import Sentence

SURE = 0.9  # a prediction against the label that is surer than this is worth a look
SHARE_SEEN = 0.6  # of a picture's area, less of which is said
FEWEST = 20  # labelled pictures that make a verdict on the preparation
_COMMAND = ("mean", "std")  # of a preparation, what commands take


class Noted(NamedTuple):
    """One picture of a finding, and what is said of it."""

    picture: str
    what: str


@dataclass(frozen=True)
class Finding:
    """One kind of trouble: what was found, what to do, and the pictures it is about.

    `kind` is "preparation", "unreadable", "twice", "labels", "mislabelled", "small", "cropped",
    "artifacts" or "left_out".
    """

    kind: str
    said: str
    advice: str
    pictures: tuple[Noted, ...] = ()


@dataclass(frozen=True)
class Diagnosis:
    """What is wrong with a folder, the worst first; `findings` is empty where nothing is.

    `pictures` were read, of which `labelled` have a label that the model knows; `right` of them are
    predicted as their label by the best preparation.
    """

    folder: str
    model: str
    pictures: int
    labelled: int
    right: int
    findings: tuple[Finding, ...]
    preparations: Preparations | None = field(default=None, repr=False)

    def to_dict(self) -> dict[str, Any]:
        """All of it, for a file or a program."""
        tried = () if self.preparations is None else self.preparations.tried
        own = () if self.preparations is None else (self.preparations.own,)
        return {
            "format": 1,
            "folder": self.folder,
            "model": self.model,
            "pictures": self.pictures,
            "labelled": self.labelled,
            "right": self.right,
            "findings": [
                {
                    "kind": one.kind,
                    "said": str(one.said),
                    "advice": str(one.advice),
                    "pictures": [{"picture": p, "what": str(w)} for p, w in one.pictures],
                }
                for one in self.findings
            ],
            "preparations": [
                {
                    "name": one.name,
                    "config": one.config,
                    "accuracy": one.accuracy,
                    "log_probability": one.score,
                }
                for one in (*own, *tried)
            ],
        }

    def save(self, directory: str | Path) -> Path:
        """Write doctor.html, which opens without a server or a network, and doctor.json.

        Raises:
            OutputError: the folder can't be made or written to.
            OptionError: no folder is named.
        """
        folder = Path(directory).absolute()

        def write(place: Path) -> dict[str, Any]:
            content = render(__package__, "doctor.html.jinja", found=self)
            (place / "doctor.html").write_bytes(content)
            return self.to_dict()

        return fill_folder(folder.parent, folder.name, write, manifest="doctor.json")


def of_preparation(tried: Preparations, now: Preprocess, count: int) -> list[Finding]:
    """That the model is right more often where pictures are prepared otherwise."""
    own, best = tried.own, tried.best
    if best is own or own.accuracy is None or best.accuracy is None or count < FEWEST:
        return []
    said = Sentence(
        "note.doctor.preparation",
        "The model is right about {better:.0%} of {count:,} pictures where they are prepared by "
        "{way}{alike}, and about {worse:.0%} as it prepares them now ({now}).",
        better=best.accuracy,
        worse=own.accuracy,
        count=count,
        way=_ways(best.config),
        alike=_alike(tried),
        now=_ways({key: getattr(now, key) for key in best.config}),
    )
    command = {key: value for key, value in best.config.items() if key in _COMMAND}
    advice: str = Sentence(
        "note.doctor.prepare", "Load it with preprocess={config!r}.", config=best.config
    )
    if len(command) == len(best.config):
        options = " ".join(f"--{key} {_told(value)}" for key, value in command.items())
        advice = Sentence(
            "note.doctor.prepare.command",
            "Load it with {options}, in Python with preprocess={config!r}.",
            options=options,
            config=best.config,
        )
    return [Finding("preparation", said, advice)]


def of_unreadable(noted: Sequence[Noted], total: int) -> list[Finding]:
    """Files that can't be read, of so many."""
    said = Sentence(
        "note.doctor.unreadable",
        "{count:,} of {total:,} files can't be read.",
        count=len(noted),
        total=total,
    )
    return _finding("unreadable", said, noted)


def of_twins(groups: Sequence[Sequence[str]], labels: Sequence[Sequence[str]]) -> list[Finding]:
    """Groups of pictures that are the same, and the labels of each group, none where unknown."""
    noted = []
    for pictures, own in zip(groups, labels, strict=True):
        others = ", ".join(pictures[1:])
        said: str = Sentence("part.doctor.same", "the same as {others}", others=others)
        if len(set(own)) > 1:
            said = Sentence(
                "part.doctor.differing",
                "the same as {others}, under the labels {labels}",
                others=others,
                labels=", ".join(sorted(set(own))),
            )
        noted.append(Noted(pictures[0], said))
    said = Sentence(
        "note.doctor.twice",
        "{count:,} pictures are there more than once, {differing:,} of them with different labels.",
        count=len(groups),
        differing=sum(len(set(own)) > 1 for own in labels),
    )
    return _finding("twice", said, noted)


def of_labels(why: str) -> list[Finding]:
    """Why answers can't be checked against labels; "" where they can."""
    return [Finding("labels", why, _ADVICE["labels"])] if why else []


def of_mislabelled(noted: Sequence[Noted]) -> list[Finding]:
    """Pictures that are predicted surely as another class than their label's."""
    said = Sentence(
        "note.doctor.mislabelled",
        "{count:,} pictures are predicted as another class with {sure:.0%} or more.",
        count=len(noted),
        sure=SURE,
    )
    return _finding("mislabelled", said, noted)


def of_small(noted: Sequence[Noted], size: Pair) -> list[Finding]:
    """Pictures that the model sees enlarged."""
    said = Sentence(
        "note.doctor.small",
        "{count:,} pictures are smaller than the {height}×{width} pixels that the model sees, and "
        "are enlarged.",
        count=len(noted),
        height=size[0],
        width=size[1],
    )
    return _finding("small", said, noted)


def of_cropped(noted: Sequence[Noted]) -> list[Finding]:
    """Pictures of which much lies outside the model's crop."""
    said = Sentence(
        "note.doctor.cropped",
        "Of {count:,} pictures the model sees less than {share:.0%}: the rest lies outside its "
        "crop.",
        count=len(noted),
        share=SHARE_SEEN,
    )
    return _finding("cropped", said, noted)


def of_artifacts(counts: Sequence[int], patches: int) -> list[Finding]:
    """How many of so many patches stand out on each of some pictures, if on more than half."""
    there = [count for count in counts if count]
    if len(there) * 2 <= len(counts):
        return []
    said = Sentence(
        "note.doctor.artifacts",
        "On {some} of {count} pictures patches stand out by the norm of their last token, {mean} "
        "of {patches} on average.",
        some=len(there),
        count=len(counts),
        mean=round(sum(there) / len(there)),
        patches=patches,
    )
    return [Finding("artifacts", said, _ADVICE["artifacts"])]


def of_left_out(files: LeftOut) -> list[Finding]:
    """Files that are no pictures of the folder's owner."""
    if files.sentence() is None:
        return []
    said = Sentence(
        "note.doctor.left_out", "Not everything was looked at{left}.", left=files.parenthesis()
    )
    return [Finding("left_out", said, _ADVICE["left_out"])]


def _finding(kind: str, said: str, noted: Sequence[Noted]) -> list[Finding]:
    return [Finding(kind, said, _ADVICE[kind], tuple(noted))] if noted else []


_ADVICE = {
    "unreadable": Sentence("note.doctor.do.unreadable", "Repair or remove them."),
    "twice": Sentence(
        "note.doctor.do.twice",
        "Keep one of each, in one split only; where labels differ, find out which is right.",
    ),
    "labels": Sentence(
        "note.doctor.do.labels",
        "Give labels that the model knows to have its answers checked against them.",
    ),
    "mislabelled": Sentence(
        "note.doctor.do.mislabelled",
        "Look at these first: the label may be wrong, or a second thing be in the picture.",
    ),
    "small": Sentence(
        "note.doctor.do.small", "Use larger originals, or a model made for smaller pictures."
    ),
    "cropped": Sentence(
        "note.doctor.do.cropped",
        "Load the model with crop_mode 'squash' or 'border' if what matters lies at the edge.",
    ),
    "artifacts": Sentence(
        "note.doctor.do.artifacts",
        "Attention to these patches says nothing about the place; prefer a model with registers, "
        "or maps by gradients.",
    ),
    "left_out": Sentence(
        "note.doctor.do.left_out", "There is nothing to do where these are no pictures of yours."
    ),
}


def _alike(tried: Preparations) -> str:
    if not tried.alike:
        return ""
    ways = "; ".join(_ways(one.config) for one in tried.alike)
    return Sentence("part.doctor.alike", " (or, as well, by {ways})", ways=ways)


def _ways(config: dict[str, Any]) -> str:
    return ", ".join(f"{key} {_told(value)}" for key, value in config.items())


def _told(value: Any) -> str:
    return " ".join(f"{one:.4g}" for one in value) if isinstance(value, tuple) else str(value)
