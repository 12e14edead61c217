"""The commands that put runs side by side, and train those of a study."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

import vit_explorer as vx
from vit_explorer.cli import tables
from vit_explorer.cli.options import AsJson, Device, Precision, check_out
from vit_explorer.cli.printing import say, say_json, tell
from vit_explorer.cli.progress_bars import method_bars


def compare_runs(
    runs: Annotated[
        list[Path], typer.Argument(help="Run folders; the others are compared with the first.")
    ],
    out: Annotated[
        Path | None,
        typer.Option(help="Folder for a report with curves, classes and pictures, and tables."),
    ] = None,
    pictures: Annotated[
        int,
        typer.Option(help="Pictures shown that only one of two runs gets right, each way.", min=0),
    ] = 12,
    maps: Annotated[
        bool, typer.Option("--maps/--no-maps", help="What both runs look at in these.")
    ] = True,
    device: Device = "auto",
    as_json: AsJson = False,
) -> None:
    """Compare runs of `train`: curves, what differs between recipes, and whether one is better than
    the first beyond chance, over all and a class."""
    from vit_explorer.training.comparison_files import told

    if out is not None:
        check_out(out)
    with method_bars(unit="picture") as bar:
        found = vx.compare_runs(
            runs,
            pictures=pictures if out is not None else 0,
            maps=maps,
            device=device,
            progress=bar,
        )
    written = None if out is None else found.save(out)
    for note in found.notes:
        tell(note)
    if as_json:
        say_json(told(found))
        return
    console = Console()
    console.print(tables.runs_table(found.runs))
    if found.settings or found.facts:
        console.print(tables.settings_table(found))
    for one in found.pairs:
        say(f"{one.verdict} {one.measured}")
    if written is not None:
        say(f"written to {written}/ (report.html)")


def study(
    name: Annotated[
        str | None, typer.Argument(help="A study, such as positions; none lists them.")
    ] = None,
    data: Annotated[
        str | None,
        typer.Option(help="cifar10 (the default), or a folder; runs that go on know it."),
    ] = None,
    out: Annotated[
        Path | None, typer.Option(help="Folder of its runs and report; else runs/study-NAME.")
    ] = None,
    epochs: Annotated[int | None, typer.Option(help="Of each run.", min=1)] = None,
    seeds: Annotated[int, typer.Option(help="Runs of each variant.", min=1)] = 1,
    change: Annotated[
        list[str] | None,
        typer.Option("--set", help="A setting to change in all runs.", metavar="KEY=VALUE"),
    ] = None,
    device: Device = "auto",
    precision: Precision = "auto",
) -> None:
    """Train the variants of a study and show them side by side; given again, it goes on with what
    Ctrl-C left."""
    from vit_explorer.training.study import STUDIES, run_study
    from vit_explorer.training.study_files import summaries

    if name is None:
        for one in STUDIES.values():
            print(f"{one.name:22} {one.title}: {', '.join(one.variants)}")
        return
    if out is not None:
        check_out(out)
    changes = [*(change or ()), *([] if epochs is None else [f"epochs={epochs}"])]
    found = run_study(
        name,
        data=data,
        out=out,
        seeds=seeds,
        overrides=changes,
        device=device,
        precision=precision,
        progress=sys.stderr.isatty(),
        tell=tell,
    )
    if not found.finished:
        say(f"stopped with {found.done} of {found.planned} runs finished; the same command goes on")
        return
    Console().print(tables.study_table(summaries(found)))
    say(f"written to {found.save()}/ (report.html)")
