"""The command line: thin commands over the package's functions. Nothing else imports Typer."""

from __future__ import annotations

import io
import sys
from collections.abc import Callable, Sequence
from typing import Annotated

import typer

from vit_explorer.cli import explaining, measuring, page, training, viewing
from vit_explorer.cli.listed import Command, WithMethods, WithViews
from vit_explorer.cli.options import line
from vit_explorer.cli.spread import spread
from vit_explorer.errors import ExplorerError
from vit_explorer.version import __version__

COMMANDS: dict[str, Callable[..., None]] = {
    "app": page.serve,
    "explain": explaining.explain,
    "batch": explaining.batch,
    "view": viewing.view,
    "intervene": viewing.intervene,
    "models": explaining.models,
    "methods": explaining.methods,
    "inspect": explaining.inspect,
    "train": training.train,
    "evaluate": training.evaluate,
    "ship": training.ship,
    "export-images": training.export_images,
    "benchmarks": measuring.benchmarks,
}
# Commands whose help lists what they take, as the registries have it.
LISTED: dict[str, type[Command]] = {
    "explain": WithMethods,
    "batch": WithMethods,
    "view": WithViews,
}

app = typer.Typer(
    name="vit-explorer",
    help="See how a Vision Transformer reads a picture, and whether to trust what you see.",
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)
for _name, _command in COMMANDS.items():
    app.command(_name, cls=LISTED.get(_name, Command))(spread(_command))


def _print_version(wanted: bool) -> None:
    if wanted:
        print(f"vit-explorer {__version__}")
        raise typer.Exit


@app.callback()
def options_of_all(
    version: Annotated[
        bool,
        typer.Option(
            "--version", help="Print the version.", callback=_print_version, is_eager=True
        ),
    ] = False,
) -> None:
    """See how a Vision Transformer reads a picture, and whether to trust what you see."""


def main(arguments: Sequence[str] | None = None) -> None:
    """Run a command; exit code 2 and one line on stderr for bad usage or bad input."""
    arguments = sys.argv[1:] if arguments is None else arguments
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):  # a file's name may be no text in its encoding
            stream.reconfigure(errors="backslashreplace")
    try:
        code = app(args=list(arguments) or ["--help"], standalone_mode=False)
    except ExplorerError as error:
        _fail(str(error))
    except typer.TyperException as error:
        _fail(error.format_message())
    except (typer.Abort, KeyboardInterrupt):
        print("vit-explorer: stopped", file=sys.stderr)
        raise SystemExit(130) from None
    raise SystemExit(code or 0)


def _fail(message: str) -> None:
    print(line(message), file=sys.stderr)
    raise SystemExit(2) from None
