"""The command line: thin commands over the package's functions. Nothing else imports Typer."""

from __future__ import annotations

import io
import shlex
import sys
from collections.abc import Callable, Sequence
from typing import Annotated

import typer

from vit_explorer.cli import (
    comparing,
    examining,
    explaining,
    exporting,
    measuring,
    page,
    pointing,
    training,
    viewing,
)
from vit_explorer.cli.listed import Command, WithMethods, WithViews
from vit_explorer.cli.printing import line
from vit_explorer.cli.spread import spread
from vit_explorer.ending import CODES, PIPE_CLOSED, asked
from vit_explorer.errors import ExplorerError
from vit_explorer.failures import log_place, logged
from vit_explorer.version import __version__

COMMANDS: dict[str, Callable[..., None]] = {
    "app": page.serve,
    "explain": explaining.explain,
    "report": explaining.report,
    "batch": explaining.batch,
    "view": viewing.view,
    "intervene": viewing.intervene,
    "models": explaining.models,
    "methods": explaining.methods,
    "inspect": explaining.inspect,
    "train": training.train,
    "evaluate": training.evaluate,
    "study": comparing.study,
    "compare-runs": comparing.compare_runs,
    "doctor": examining.doctor,
    "ship": training.ship,
    "export": exporting.export,
    "export-images": training.export_images,
    "point": pointing.point,
    "benchmarks": measuring.benchmarks,
}
# Commands whose help lists what they take, as the registries have it.
LISTED: dict[str, type[Command]] = {
    "explain": WithMethods,
    "report": WithMethods,
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


def main(arguments: Sequence[str]) -> None:
    """Run a command and raise SystemExit: 2 and one line on stderr where it can't be done."""
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
        raise SystemExit(asked() or CODES["SIGINT"]) from None
    except SystemExit:
        # Typer's own: whoever reads what is printed has seen enough, as `head` has.
        raise SystemExit(PIPE_CLOSED) from None
    except Exception as error:
        number = logged(error, f"vit-explorer {shlex.join(arguments)}", said=True)
        _fail(
            f"something went wrong that nobody foresaw; {log_place()} has the details under "
            f"{number}, please report them"
        )
    raise SystemExit(code or 0)


def _fail(message: str) -> None:
    print(line(message), file=sys.stderr)
    raise SystemExit(2) from None
