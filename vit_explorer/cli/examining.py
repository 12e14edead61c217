"""The command that looks through a folder of pictures."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

import vit_explorer as vx
from vit_explorer.cli.options import AsJson, SourceOnDevice, check_out
from vit_explorer.cli.printing import marked, say, say_json
from vit_explorer.cli.progress_bars import method_bars

SHOWN = 5


def doctor(
    folder: Annotated[
        Path, typer.Argument(help="Pictures, labelled by class folders or not.", show_default=False)
    ],
    source: SourceOnDevice,
    out: Annotated[
        Path | None, typer.Option(help="Also write doctor.html and doctor.json into this folder.")
    ] = None,
    sample: Annotated[
        int, typer.Option(help="Pictures that other preparations are tried on.", min=1)
    ] = 100,
    as_json: AsJson = False,
) -> None:
    """Look through a folder for what would mislead a model: pictures that are unreadable, there
    twice, labelled wrongly, too small or cut; and whether the model is fed as it was trained."""
    if out is not None:
        check_out(out)
    loaded = source.load()
    with method_bars(unit="picture") as bar:
        found = vx.doctor(loaded, folder, sample=sample, progress=bar)
    written = None if out is None else found.save(out)
    if as_json:
        say_json(json.loads(json.dumps(found.to_dict())))
        return
    console = Console()
    checked = (
        f", right about {found.right:,} of {found.labelled:,}" if found.labelled else ", no labels"
    )
    console.print(
        marked(f"{found.model} on {found.pictures:,} pictures of {found.folder}{checked}"),
        highlight=False,
    )
    for one in found.findings:
        console.print(f"\n[bold]{marked(one.said)}[/] {marked(one.advice)}", highlight=False)
        for noted in one.pictures[:SHOWN]:
            console.print(f"  {marked(noted.picture)}: {marked(noted.what)}", highlight=False)
        if len(one.pictures) > SHOWN:
            console.print(f"  and {len(one.pictures) - SHOWN:,} more", highlight=False)
    if not found.findings:
        say("nothing to say against it")
    if written is not None:
        say(f"written to {written}/")
