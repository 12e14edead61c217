"""The commands that draw a model's inside and change it."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

import vit_explorer as vx
from vit_explorer.cli import tables
from vit_explorer.cli.options import AsJson, Goal, Opening, Out, SourceOrRandom, check_out
from vit_explorer.cli.printing import say, say_json
from vit_explorer.errors import OptionError


def view(
    names: Annotated[
        str | None,
        typer.Argument(
            help="A view, several with commas between, or 'all'; none lists the names.",
            metavar="NAME",
        ),
    ] = None,
    image: Annotated[Path | None, typer.Argument(help="Picture.")] = None,
    *,
    source: SourceOrRandom,
    opening: Opening,
    out: Out = Path("out"),
) -> None:
    """Draw views that are no heatmaps, and write their numbers."""
    if names is None:
        Console().print(tables.views_table(vx.VIEWS))
        return
    if image is None:
        raise OptionError(
            "error.view.picture",
            "The view {view!r} needs a picture; give one after it.",
            view=names,
        )
    check_out(out)
    picture = vx.open_picture(image, **opening.options())
    loaded = source.load()
    folder, skipped = vx.save_views(loaded, picture, out, names.split(","))
    for name, reason in skipped.items():
        say(f"{name} left out: {reason}")
    say(f"written to {folder}/")


def intervene(
    image: Annotated[Path, typer.Argument(help="Picture.")],
    source: SourceOrRandom,
    opening: Opening,
    head: Annotated[
        list[str] | None,
        typer.Option(help="A head to switch off, counted from 0.", metavar="LAYER,HEAD"),
    ] = None,
    patch: Annotated[
        list[str] | None,
        typer.Option(help="A patch to take away, counted from 0.", metavar="ROW,COLUMN"),
    ] = None,
    how: Annotated[str, typer.Option(help="What happens to patches: drop or grey.")] = "drop",
    target: Goal = None,
    as_json: AsJson = False,
) -> None:
    """Predict with heads switched off or patches gone, before and after."""
    opened = opening.options()
    change = vx.intervene(
        source.load(),
        vx.open_picture(image, **opened),
        heads_off=[_pair("--head", one) for one in head or ()],
        patches_off=[_pair("--patch", one) for one in patch or ()],
        how=how,  # type: ignore[arg-type]  # refused by intervene where it is neither
        target=target,
    )
    if as_json:
        say_json(change.to_dict())
        return
    Console().print(tables.intervention_table(change))
    before, after = change.target_before, change.target_after
    say(f"{before.label}: {before.shown} before, {after.shown} after")


def _pair(option: str, text: str) -> tuple[int, int]:
    try:
        first, second = (int(part) for part in text.split(","))
    except ValueError:
        raise OptionError(
            "error.option.pair",
            "{option} was {text!r}, expected two whole numbers with a comma such as 3,1.",
            option=option,
            text=text,
        ) from None
    return first, second
