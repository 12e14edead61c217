"""The commands that train and measure models."""

from __future__ import annotations

import shlex
import sys
from pathlib import Path
from typing import Annotated

import typer

import vit_explorer as vx
from vit_explorer.cli.options import (
    Data,
    Device,
    Precision,
    SourceOnDevice,
    Spread,
    check_out,
)
from vit_explorer.cli.printing import say, tell


def train(
    recipe: Annotated[
        str | None, typer.Argument(help="A recipe's name or YAML file; none lists the names.")
    ] = None,
    data: Annotated[
        str | None,
        typer.Option(help="cifar10 (the default), or a folder; --resume knows its own."),
    ] = None,
    out: Annotated[Path | None, typer.Option(help="Run folder; else runs/RECIPE.")] = None,
    change: Annotated[
        list[str] | None,
        typer.Option("--set", help="A setting to change.", metavar="KEY=VALUE"),
    ] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Go on with the run.")] = False,
    preview: Annotated[
        Path | None,
        typer.Option(help="Draw training pictures as the recipe varies them (PNG), and end."),
    ] = None,
    log_to: Annotated[
        list[str] | None,
        typer.Option(
            help="tensorboard or trackio, on this machine, beside the run's own log; several times "
            "for both."
        ),
    ] = None,
    device: Device = "auto",
    precision: Precision = "auto",
) -> None:
    """Train a model by a recipe; Ctrl-C keeps what --resume goes on with."""
    from vit_explorer import training

    if recipe is None:
        for name in training.list_recipes():
            print(f"{name:22} {training.load_recipe(name).description}")
        return
    if preview is not None:
        drawn = training.preview(recipe, data=data or "cifar10", overrides=change or ())
        say(f"written to {drawn.save(preview)}")
        return
    result = training.train(
        recipe,
        data=data,
        out=out,
        resume=resume,
        overrides=change or (),
        device=device,
        precision=precision,
        progress=True,
        tell=tell,
        log_to=log_to or (),
    )
    if not result.main:
        return
    if not result.finished:
        given = ["--device", device] if device != "auto" else []
        given += [part for name in log_to or () for part in ("--log-to", name)]
        kept, folder = str(result.folder / "recipe.yaml"), str(result.folder)
        again = shlex.join(["vit-explorer", "train", kept, "--out", folder, "--resume", *given])
        say(f"stopped; go on with: {again}")
    elif result.metrics is not None:
        _print_metrics(result.metrics)
        say(f"written to {result.folder}/")


def evaluate(
    source: SourceOnDevice,
    spread: Spread,
    data: Data = "cifar10",
    precision: Annotated[str, typer.Option(help="no (float32) or bf16.")] = "no",
    resume: Annotated[
        bool,
        typer.Option("--resume", help="With --engine ray: keep the same model's answers in --out."),
    ] = False,
    out: Annotated[
        Path | None,
        typer.Option(help="Folder for each picture's prediction, tables a class, and a report."),
    ] = None,
) -> None:
    """Measure a model on a data set's test pictures, and say what it takes for what.

    With --engine ray the answers are in --out/parts/ as they come, and pictures that can't be read
    are named on stderr and passed over; the exit code is then 2.
    """
    if out is not None:
        check_out(out)
    engine = spread.found(source.device)
    loaded = source.load() if engine is None else source.load(device="cpu")
    found = vx.evaluate(
        loaded,
        data,
        precision=precision,
        progress=sys.stderr.isatty(),
        engine=engine or "local",
        parts=None if engine is None or out is None else out / "parts",
        resume=resume,
    )
    for note in found.source.notes:
        tell(note)
    for picture, why in found.unreadable.items():
        tell(f"{picture}: {why}")
    if found.lost:
        tell(f"{found.lost:,} workers were lost, and others did their work")
    _print_metrics(found)
    if len(found.classes) < len(loaded.labels):
        print(
            f"Only the data's {len(found.classes)} classes counted as answers, of "
            f"{len(loaded.labels)} that the model knows."
        )
    if out is not None:
        say(f"written to {found.save(out)}/ (report.html)")
    raise typer.Exit(2 if found.unreadable else 0)


def ship(
    run: Annotated[Path, typer.Argument(help="A run folder, or a weights file in it.")],
    out: Annotated[Path, typer.Argument(help="The new file, NAME.safetensors.")],
    data: Annotated[
        Path | None, typer.Option(help="The run's pictures, where they have moved.")
    ] = None,
    device: Device = "auto",
) -> None:
    """Calibrate a run's model on its held-out pictures; write it and its film."""
    from vit_explorer import training

    progress = sys.stderr.isatty()
    found = training.ship(run, out, data=data, device=device, progress=progress)
    calibration = found.calibration
    print(calibration)
    print(f"unsure below       {calibration.unsure_below:.2%}")
    _print_metrics(found.metrics)
    say(f"written to {' and '.join(str(one) for one in (found.weights, found.film) if one)}")


def export_images(
    out: Annotated[Path, typer.Argument(help="A new folder.")],
    data: Data = "cifar10",
) -> None:
    """Write a data set as class folders of PNG files."""
    from vit_explorer.datasets.export import export_images as write_images

    count = write_images(data, out, progress=sys.stderr.isatty())
    say(f"{count:,} pictures written to {out}/")


def _print_metrics(metrics: vx.Metrics) -> None:
    ranked = metrics.top5 is not None
    print(
        f"{'top-1 accuracy' if ranked else 'accuracy':18} {metrics.accuracy:.2%} of "
        f"{metrics.samples:,} pictures"
    )
    if ranked:
        print(f"top-5 accuracy     {metrics.top5:.2%}")
    print(f"cross-entropy      {metrics.nll:.4f}")
    print(f"calibration error  {metrics.ece:.4f}")
