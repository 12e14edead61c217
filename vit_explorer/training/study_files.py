"""A study's results: how its variants compare, as a figure, tables and a page."""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure, SubFigure
from numpy.typing import NDArray

from vit_explorer.analysis.weights import position_similarity
from vit_explorer.datasets.evaluation_files import csv_table
from vit_explorer.datasets.html import render
from vit_explorer.drawing.blank import blank
from vit_explorer.drawing.overlays import draw_mosaic, position_mosaic
from vit_explorer.models.zoo import load_model
from vit_explorer.result_folder import fill_folder
from vit_explorer.training.comparison_files import RUN_COLUMNS, run_row, shown
from vit_explorer.training.recorded_runs import RecordedRun, flattened
from vit_explorer.training.report import draw_groups, group_colours, png_of
from vit_explorer.training.study import StudyResult

MANIFEST = "study.json"
_FRAMES = 6  # of a film, in the report
_CELL = 2.0  # inches of a mosaic of maps


@dataclass(frozen=True)
class VariantSummary:
    """Test accuracies of a variant's runs, 0 to 1: each, their mean, and their standard deviation
    over seeds (None of one).

    `difference` is the mean less the first variant's; `low` to `high` its 95 % interval and `p` how
    likely chance alone makes so much, when all variants are compared with the first at once:
    Dunnett, "A Multiple Comparison Procedure for Comparing Several Treatments with a Control", JASA
    1955. None of the first, and where a variant has a single run.
    """

    variant: str
    accuracies: tuple[float, ...]
    mean: float
    deviation: float | None
    difference: float | None = None
    low: float | None = None
    high: float | None = None
    p: float | None = None


def summaries(found: StudyResult) -> tuple[VariantSummary, ...]:
    """How right each variant is about the test pictures; variants without a finished run are left
    out."""
    reached = {
        variant: np.array([run.metrics["accuracy"] for run in runs if run.metrics])
        for variant, runs in found.runs.items()
        if runs
    }
    if not reached:
        return ()
    (control, base), *others = reached.items()
    compared = _dunnett(base, [own for _, own in others])
    first = VariantSummary(control, *_spread(base))
    return (
        first,
        *(
            VariantSummary(variant, *_spread(own), float(own.mean() - base.mean()), *by)
            for (variant, own), by in zip(others, compared, strict=True)
        ),
    )


def _spread(accuracies: NDArray[np.float64]) -> tuple[tuple[float, ...], float, float | None]:
    deviation = float(accuracies.std(ddof=1)) if len(accuracies) > 1 else None
    return tuple(accuracies.tolist()), float(accuracies.mean()), deviation


def _dunnett(
    base: NDArray[np.float64], others: Sequence[NDArray[np.float64]]
) -> list[tuple[float | None, float | None, float | None]]:
    """Of each other sample: the ends of the interval of its difference, and p."""
    samples = (base, *others)
    varied = any(one.std() > 0 for one in samples)
    if not others or not varied or any(len(one) < 2 for one in samples):
        return [(None, None, None)] * len(others)
    from scipy.stats import dunnett

    test = dunnett(*others, control=base, random_state=np.random.default_rng(0))
    ends = test.confidence_interval()
    return list(zip(ends.low.tolist(), ends.high.tolist(), test.pvalue.tolist(), strict=True))


def study_figure(found: StudyResult) -> Figure:
    """Test accuracy of each variant (a dot a seed, a line their mean), the curves of all variants
    with their spread, and the similarity of the positions of each one's first run."""
    groups = {variant: runs for variant, runs in found.runs.items() if runs}
    figure = blank((13, 7.4))
    halves: Any = figure.subfigures(2, 1, height_ratios=(1.45, 1))
    above, below = halves
    accuracies, loss, accuracy = above.subplots(1, 3, width_ratios=(1.1, 1, 1))
    draw_groups(loss, accuracy, {v: [run.rows for run in runs] for v, runs in groups.items()})
    _draw_accuracies(accuracies, found)
    _draw_positions(below, groups)
    return figure


def _draw_accuracies(axes: Axes, found: StudyResult) -> None:
    """A row a variant, in the colours of the curves."""
    own = summaries(found)
    for row, (one, colour) in enumerate(zip(own, group_colours(len(own)), strict=True)):
        values = 100 * np.array(one.accuracies)
        axes.plot(values, np.full(len(values), row), "o", color=colour, alpha=0.6)
        axes.plot([100 * one.mean] * 2, [row - 0.3, row + 0.3], "-", color=colour, linewidth=3)
    axes.set_yticks(range(len(own)), [one.variant for one in own])
    axes.set_ylim(len(own) - 0.5, -0.5)
    axes.set_xlabel("test accuracy (%)")
    axes.set_title("a dot a seed, a bar their mean", fontsize=9, loc="right")
    axes.grid(axis="x", alpha=0.3)


def _draw_positions(figure: SubFigure, groups: Mapping[str, Sequence[RecordedRun]]) -> None:
    panels = figure.subplots(1, len(groups), squeeze=False)[0]
    drawn = None
    for axis, (variant, runs) in zip(panels, groups.items(), strict=True):
        axis.set_title(variant, fontsize=10)
        axis.set_xticks([])
        axis.set_yticks([])
        model = load_model(runs[0].weights, device="cpu")
        if model.card.position_maps:
            draw_mosaic(axis, position_mosaic(position_similarity(model))[0])
            drawn = axis.images[0]
        else:
            axis.set_axis_off()
            axis.set_box_aspect(1)
            said = f"{model.card.position} positions:\nno embeddings\nto compare"
            axis.text(0.5, 0.5, said, ha="center", va="center", transform=axis.transAxes)
    if drawn is not None:
        bar = figure.colorbar(drawn, ax=list(panels), fraction=0.02, pad=0.01)
        bar.set_label("cosine of positions")


def films_figure(found: StudyResult) -> Figure | None:
    """How the positions of each variant became alike, as the films of its first run have it: a row
    a variant, a column an epoch. None where no film shows positions."""
    films = {}
    for variant, runs in found.runs.items():
        if runs and (runs[0].folder / "film.npz").is_file():
            with np.load(runs[0].folder / "film.npz") as film:
                if "position_similarity" in film:
                    grid = film["rollout"].shape[2:]
                    similarity = film["position_similarity"].reshape(-1, *grid, *grid)
                    films[variant] = film["epoch"], similarity
    if not films:
        return None
    count = max(min(len(epochs), _FRAMES) for epochs, _ in films.values())
    size = (_CELL * count + 1, (_CELL + 0.2) * len(films))
    figure = blank(size)
    panels = figure.subplots(len(films), count, squeeze=False)
    for row, (variant, (epochs, similarity)) in zip(panels, films.items(), strict=True):
        frames = np.unique(np.linspace(0, len(epochs) - 1, count).round().astype(int))
        for axis, frame in zip(row, frames, strict=False):
            draw_mosaic(axis, position_mosaic(similarity[frame])[0])
            axis.set_title(f"epoch {epochs[frame]}", fontsize=9)
        for axis in row:
            axis.set_xticks([])
            axis.set_yticks([])
        row[0].set_ylabel(variant)
    return figure


def write_study(found: StudyResult) -> Path:
    """Write a study's files beside its runs, complete or not at all.

    Raises:
        OutputError: they can't be written.
    """
    folder = found.folder.absolute()
    return fill_folder(folder.parent, folder.name, partial(_write, found), manifest=MANIFEST)


def _write(found: StudyResult, place: Path) -> dict[str, Any]:
    own, figure, films = summaries(found), png_of(study_figure(found)), films_figure(found)
    runs = [
        {"variant": variant, **dict(zip(RUN_COLUMNS, run_row(run), strict=True))}
        for variant, recorded in found.runs.items()
        for run in recorded
    ]
    drawn = None if films is None else png_of(films)
    for name, content in {
        "study.png": figure,
        "study.csv": csv_table(_COLUMNS, map(_row, own)),
        "runs.csv": csv_table(("variant", *RUN_COLUMNS), (tuple(run.values()) for run in runs)),
        "report.html": _report(found, own, runs, figure, drawn),
        **({} if drawn is None else {"films.png": drawn}),
    }.items():
        (place / name).write_bytes(content)
    return {
        "format": 1,
        "study": found.study.name,
        "planned": found.planned,
        "done": found.done,
        "variants": [dict(zip(_COLUMNS, _row(one), strict=True)) for one in own],
    }


_COLUMNS = (
    "variant", "seeds", "mean", "deviation", "lowest", "highest",
    "difference", "difference_low", "difference_high", "p",
)  # fmt: skip


def _row(one: VariantSummary) -> tuple[Any, ...]:
    return (
        one.variant, len(one.accuracies), one.mean, one.deviation,
        min(one.accuracies), max(one.accuracies),
        one.difference, one.low, one.high, one.p,
    )  # fmt: skip


def _report(
    found: StudyResult,
    own: Sequence[VariantSummary],
    runs: Sequence[Mapping[str, Any]],
    figure: bytes,
    films: bytes | None,
) -> bytes:
    first = next(run for recorded in found.runs.values() for run in recorded)
    return render(
        __package__,
        "study.html.jinja",
        study=found.study,
        runs=runs,
        variants=[dict(zip(_COLUMNS, _row(one), strict=True)) for one in own],
        recipe=first.recipe,
        facts=first.facts,
        tested=len(first.predictions) if first.predictions is not None else None,
        settings=_settings(found, first),
        figure=base64.b64encode(figure).decode(),
        films=None if films is None else base64.b64encode(films).decode(),
        missing=found.planned - found.done,
    )


def _settings(found: StudyResult, run: RecordedRun) -> dict[str, str]:
    """The recipe that all runs share, without what differs between them or the data decide."""
    varied = ("name", "description", "seed", "model.classes", found.study.setting)
    return {k: shown(v) for k, v in flattened(run.recipe.to_dict()).items() if k not in varied}
