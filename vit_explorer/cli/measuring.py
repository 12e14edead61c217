"""The command that measures what explanations cost."""

from __future__ import annotations

import dataclasses
import json
import os
import platform
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from vit_explorer.cli import tables
from vit_explorer.cli.options import Device
from vit_explorer.cli.progress_bars import method_bars
from vit_explorer.errors import OutputError


def benchmarks(
    model: Annotated[
        list[str] | None, typer.Option(help="A timm ViT; else DeiT-Tiny and ViT-B/16.")
    ] = None,
    rounds: Annotated[int, typer.Option(help="Runs of each job, taken in turn.", min=1)] = 15,
    device: Device = "cpu",
    ways: Annotated[
        bool, typer.Option("--ways/--no-ways", help="Also recording, a way of attending at a time.")
    ] = True,
    memory: Annotated[
        bool, typer.Option("--memory/--no-memory", help="Also memory, in fresh processes.")
    ] = True,
    startup: Annotated[
        bool, typer.Option("--startup/--no-startup", help="Also what starting costs, likewise.")
    ] = True,
    json_file: Annotated[
        Path | None, typer.Option("--json", help="Write all numbers here.")
    ] = None,
) -> None:
    """Measure speed, memory and start-up beside the bare passes, imports and peers."""
    from vit_explorer.benchmarks import memory as memory_cost
    from vit_explorer.benchmarks import speed
    from vit_explorer.benchmarks import startup as start
    from vit_explorer.benchmarks import ways as attending
    from vit_explorer.explaining.explanation import versions

    if json_file is not None and not json_file.parent.is_dir():
        raise OutputError(
            "error.json.folder",
            "The folder {folder} of --json does not exist; make it first.",
            folder=json_file.parent,
        )
    if json_file is not None and json_file.is_dir():
        raise OutputError(
            "error.json.file",
            "The file {file} of --json is a folder; name a file in it.",
            file=json_file,
        )
    console = Console()
    found = []
    for name in model or speed.MODELS:
        with method_bars(unit="round") as bar:
            told = (lambda done, total, name=name: bar(name, done, total)) if bar else None
            found.append(speed.measure(name, rounds, device, told))
        console.print(tables.speed_table(found[-1]))
    recorded: dict[str, float] = {}
    if ways:
        with method_bars(unit="way") as bar:
            record = (lambda done, total: bar("recording", done, total)) if bar else None
            recorded = attending.measure(rounds, record)
        console.print(tables.recording_table(recorded, attending.TARGET))
    costs = {}
    if memory:
        costs = {name: memory_cost.measure(name) for name in memory_cost.CASES}
        console.print(tables.memory_table(costs))
    started: dict[str, float] = {}
    if startup:
        with method_bars(unit="round") as bar:
            starting = (lambda done, total: bar("starting", done, total)) if bar else None
            started = start.measure(min(rounds, 5), starting)
        console.print(tables.startup_table(started))
    if json_file is not None:
        content = {
            "machine": f"{os.cpu_count()} {platform.machine()} cores, {platform.system()}",
            "device": device,
            "versions": versions(),
            "speed": [dataclasses.asdict(one) for one in found],
            "recording": recorded,
            "startup": started,
            "memory": {name: dataclasses.asdict(cost) for name, cost in costs.items()},
        }
        json_file.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")
