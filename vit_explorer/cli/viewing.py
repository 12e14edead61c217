"""The commands that draw a model's inside and change it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

import vit_explorer as vx
from vit_explorer.cli import tables
from vit_explorer.cli.options import (
    AsJson,
    Bands,
    Device,
    Goal,
    ImageSize,
    Labels,
    Mean,
    Meant,
    Model,
    Out,
    Pretrained,
    Std,
    StretchRule,
    TrainedAt,
    Weights,
    check_out,
    how_opened,
    load,
)
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
    model: Model = "bundled",
    weights: Weights = None,
    labels: Labels = None,
    image_size: ImageSize = None,
    weights_image_size: TrainedAt = None,
    device: Device = "auto",
    pretrained: Pretrained = True,
    mean: Mean = None,
    std: Std = None,
    bands: Bands = None,
    stretch: StretchRule = "auto",
    outputs: Meant = None,
    out: Out = Path("out"),
) -> None:
    """Draw views that are no heatmaps: heads, lens, artifacts, filters, tokens, positions."""
    if names is None:
        Console().print(tables.views_table(vx.VIEWS))
        return
    if image is None:
        raise OptionError(f"The view {names!r} needs a picture; give one after it.")
    check_out(out)
    picture = vx.open_picture(image, **how_opened(bands, stretch))
    loaded = load(
        model,
        weights,
        labels,
        image_size,
        device,
        pretrained,
        mean,
        std,
        trained_at=weights_image_size,
        outputs=outputs,
    )
    folder, skipped = vx.save_views(loaded, picture, out, names.split(","))
    for name, reason in skipped.items():
        print(f"{name} left out: {reason}")
    print(f"written to {folder}/")


def intervene(
    image: Annotated[Path, typer.Argument(help="Picture.")],
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
    model: Model = "bundled",
    weights: Weights = None,
    labels: Labels = None,
    image_size: ImageSize = None,
    weights_image_size: TrainedAt = None,
    device: Device = "auto",
    pretrained: Pretrained = True,
    mean: Mean = None,
    std: Std = None,
    bands: Bands = None,
    stretch: StretchRule = "auto",
    outputs: Meant = None,
    as_json: AsJson = False,
) -> None:
    """Predict with heads switched off or patches gone, before and after."""
    opened = how_opened(bands, stretch)
    change = vx.intervene(
        load(
            model,
            weights,
            labels,
            image_size,
            device,
            pretrained,
            mean,
            std,
            trained_at=weights_image_size,
            outputs=outputs,
        ),
        vx.open_picture(image, **opened),
        heads_off=[_pair("--head", one) for one in head or ()],
        patches_off=[_pair("--patch", one) for one in patch or ()],
        how=how,  # type: ignore[arg-type]  # refused by intervene where it is neither
        target=target,
    )
    if as_json:
        print(json.dumps(change.to_dict(), indent=1, ensure_ascii=False))
        return
    Console().print(tables.intervention_table(change))
    before, after = change.target_before, change.target_after
    print(f"{before.label}: {before.shown} before, {after.shown} after")


def _pair(option: str, text: str) -> tuple[int, int]:
    try:
        first, second = (int(part) for part in text.split(","))
    except ValueError:
        raise OptionError(
            f"{option} was {text!r}, expected two whole numbers with a comma such as 3,1."
        ) from None
    return first, second
