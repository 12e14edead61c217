"""The command that asks where maps point: mosaics of four pictures of a folder of class folders."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

import vit_explorer as vx
from vit_explorer.cli import tables
from vit_explorer.cli.options import AsJson, Methods, SourceOnDevice
from vit_explorer.cli.printing import marked, say_json
from vit_explorer.cli.progress_bars import method_bars


def point(
    folder: Annotated[
        Path,
        typer.Argument(help="Class folders, named by the model's classes, or a split of them."),
    ],
    source: SourceOnDevice,
    method: Methods = None,
    mosaics: Annotated[int, typer.Option(help="How many mosaics.", min=1)] = 20,
    seed: Annotated[int, typer.Option(help="Of which pictures stand together.", min=0)] = 0,
    as_json: AsJson = False,
) -> None:
    """Measure where maps point: on mosaics of four pictures, the share of each class's map on its
    own.

    Without --method it takes those that don't run the model many times. By chance a map has 25 %.
    """
    import numpy as np

    from vit_explorer.datasets.sources import find_pictures

    names = [name for names in method or () for name in names.split(",")]
    quick = [name for name, one in vx.METHODS.items() if one.passes != "many"]
    pictures = find_pictures(folder, "test")
    order = np.random.default_rng(seed).permutation(len(pictures)).tolist()
    loaded = source.load()
    labelled = ((pictures.items[at], pictures.classes[pictures.labels[at]]) for at in order)
    with method_bars(unit="mosaic") as bar:
        told = (lambda done, total: bar("pointing", done, total)) if bar else None
        found = vx.pointing_game(
            loaded, labelled, names or quick, mosaics=mosaics, seed=seed, progress=told
        )
    if as_json:
        say_json(found.to_dict())
        return
    console = Console()
    console.print(tables.pointing_table(found))
    for name, reason in found.skipped.items():
        console.print(f"{name} left out: {marked(reason)}", highlight=False)
