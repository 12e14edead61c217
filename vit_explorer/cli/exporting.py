"""The command that writes a model in a form that other programs run."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

import vit_explorer as vx
from vit_explorer.cli.options import SourceAsArgument
from vit_explorer.cli.printing import say
from vit_explorer.cli.progress_bars import status


def export(
    source: SourceAsArgument,
    onnx: Annotated[Path, typer.Option(help="The new file, NAME.onnx.")],
    picture: Annotated[
        list[Path] | None,
        typer.Option(help="A picture to compare both on, several times; else four that ship."),
    ] = None,
) -> None:
    """Write a model as ONNX, compared with it on real pictures; labels and preparation go along."""
    model = source.load()
    with status(f"exporting {model.card.name}"):
        found = vx.export_onnx(model, onnx, picture or ())
    print(f"takes              pixels, any number × {' × '.join(map(str, found.inputs))}")
    print(f"gives              {found.output}, opset {found.opset}")
    print(
        f"largest difference {found.difference:.2g} on {found.pictures} pictures, of numbers up to "
        f"{found.largest:.3g}; the same top on {found.agreed}"
    )
    say(f"written to {found.file}")
