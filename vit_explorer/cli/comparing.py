"""The command that puts runs side by side."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

import vit_explorer as vx
from vit_explorer.cli import tables
from vit_explorer.cli.options import AsJson, Device, check_out
from vit_explorer.cli.printing import line, say, say_json
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
        print(line(note), file=sys.stderr)
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
