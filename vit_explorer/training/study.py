"""Ready studies: one setting of a recipe varied, all else and the seeds the same."""

from __future__ import annotations

import re
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from vit_explorer.errors import OptionError, nearest
from vit_explorer.options import whole_number
from vit_explorer.sentences import Sentence
from vit_explorer.training.recipe import Recipe, load_recipe
from vit_explorer.training.recorded_runs import RecordedRun, read_run
from vit_explorer.training.run import data_place, train
from vit_explorer.training.run_folder import RunFolder

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_MOST_SEEDS = 100


@dataclass(frozen=True)
class Study:
    """What is varied: a setting of a shipped recipe, with a value for each variant's name."""

    name: str
    title: str
    recipe: str
    setting: str
    variants: Mapping[str, str]
    source: str


STUDIES: dict[str, Study] = {
    "positions": Study(
        name="positions",
        title="How a Vision Transformer is told where its patches are",
        recipe="positions",
        setting="model.position",
        variants={
            "1-D learned": "learned",
            "2-D learned": "learned_2d",
            "sine-cosine": "sincos",
            "relative": "relative",
            "none": "none",
        },
        source='Dosovitskiy et al., "An Image is Worth 16x16 Words", ICLR 2021, appendix D.4',
    ),
}


@dataclass(frozen=True, eq=False)
class StudyResult:
    """The finished runs of a study, by variant, in the order of their seeds; `planned` are all that
    it consists of, and `folder` is where they lie."""

    study: Study
    folder: Path
    runs: Mapping[str, tuple[RecordedRun, ...]] = field(repr=False)
    planned: int

    @property
    def done(self) -> int:
        """How many runs are finished."""
        return sum(map(len, self.runs.values()))

    @property
    def finished(self) -> bool:
        return self.done == self.planned

    def figure(self) -> Figure:
        """Accuracy of each variant with its spread, the curves, and the variants' positions."""
        from vit_explorer.training.study_files import study_figure

        return study_figure(self)

    def save(self) -> Path:
        """Write report.html, study.png, study.csv, runs.csv and study.json beside the runs.

        Raises:
            OutputError: they can't be written.
        """
        from vit_explorer.training.study_files import write_study

        return write_study(self)


def run_study(
    name: str,
    *,
    data: str | Path | None = None,
    out: str | Path | None = None,
    seeds: int = 1,
    overrides: Sequence[str] = (),
    device: str = "auto",
    precision: str = "auto",
    progress: bool = False,
    stop: threading.Event | None = None,
    tell: Callable[[Sentence], None] | None = None,
) -> StudyResult:
    """Train every variant of a study with every seed, in `out`/runs/VARIANT-SEED; what is finished
    there already is kept, and what was stopped goes on.

    All variants are trained with one seed before any is with the next.

    Args:
        name: a study of `STUDIES`.
        data: as `train` takes it; by default that of the runs that are there, or "cifar10".
        out: by default runs/study-NAME.
        seeds: how many, counted up from the recipe's own.
        overrides: changes to the recipe of all runs, such as "epochs=4".
        stop: once set, the run under way keeps its state and the study ends; so does Ctrl-C.
        tell: called with each thing that is to be said of the pictures.

    Raises:
        OptionError: no such study, a number of seeds that can't be, a change of what the study
            varies or counts itself, or other data than that of the runs that are there.
        RecipeError: a change that can't be, or runs that were started with another recipe.
        DataError, ModelError, OutputError: as `train`.
    """
    study = find_study(name)
    count = whole_number(Sentence("part.seeds", "number of seeds"), seeds, 1, _MOST_SEEDS)
    _check_free(study, overrides)
    folder = Path(out or Path("runs") / f"study-{study.name}")
    planned = list(_planned(study, folder, count, overrides))
    for _, recipe, run in planned:  # before hours are spent on those that come first
        if (run / "recipe.yaml").exists():
            run.check(recipe, resume=True)
    data = _same_data([run for _, _, run in planned], data)
    halt, said = stop or threading.Event(), set[str]()

    def tell_once(note: Sentence) -> None:
        if tell is not None and note not in said:
            said.add(note)
            tell(note)

    found: dict[str, list[RecordedRun]] = {variant: [] for variant in study.variants}
    for variant, recipe, run in planned:
        finished = (run / "metrics.json").exists()
        if not finished and not halt.is_set():
            finished = train(
                recipe,
                data=data,
                out=run.path,
                resume=(run / "recipe.yaml").exists(),
                device=device,
                precision=precision,
                progress=progress,
                stop=halt,
                tell=tell_once,
            ).finished
        if finished:
            found[variant].append(read_run(run.path))
    runs = {variant: tuple(own) for variant, own in found.items()}
    return StudyResult(study, folder, runs, len(planned))


def find_study(name: str) -> Study:
    """Raises OptionError for no study."""
    if name not in STUDIES:
        raise OptionError(
            "error.study.unknown",
            "There is no study {name!r}{near}; expected one of {names}.",
            name=name,
            near=nearest(name, STUDIES),
            names=", ".join(STUDIES),
        )
    return STUDIES[name]


def _check_free(study: Study, overrides: Sequence[str]) -> None:
    own = (study.setting, "seed", "name")
    for override in overrides:
        key = override.partition("=")[0].strip()
        if key in own:
            raise OptionError(
                "error.study.setting",
                "The study {study} sets {key} itself; leave it out.",
                study=study.name,
                key=key,
            )


def _same_data(runs: Sequence[RunFolder], data: str | Path | None) -> str | Path:
    """The data of the runs that are there, which is `data` where that is given."""
    facts = [run.read_facts() for run in runs]
    there = {str(one["data"]) for one in facts if "data" in one}
    if data is None:
        return there.pop() if there else "cifar10"
    place = data_place(data)
    if not there <= {place}:
        raise OptionError(
            "error.study.data",
            "The runs in {folder} are trained on {before}, not on {data}; give that as data, or "
            "another folder for the study.",
            folder=runs[0].path.parent,
            before=", ".join(sorted(there)),
            data=place,
        )
    return data


def _planned(
    study: Study, folder: Path, seeds: int, overrides: Sequence[str]
) -> Iterator[tuple[str, Recipe, RunFolder]]:
    """Every run: its variant, its recipe and its folder."""
    first = load_recipe(study.recipe, overrides).seed
    for seed in range(first, first + seeds):
        for variant, value in study.variants.items():
            called = re.sub(r"\W+", "_", variant)
            own = (f"{study.setting}={value}", f"seed={seed}", f"name={called}")
            recipe = load_recipe(study.recipe, (*overrides, *own))
            yield variant, recipe, RunFolder(folder / "runs" / f"{called}-{seed}")
