"""The commands as Typer has them: how arguments are read, and what a command's help lists last.

Such a list is made when it is asked for: it takes packages that help needs none of otherwise.
"""

from __future__ import annotations

from typing import Any

from typer.core import TyperCommand

from vit_explorer.cli.options import joined


class Command(TyperCommand):
    """A command whose options of several numbers take as many as are given."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        return super().parse_args(ctx, joined(args))


class WithMethods(Command):
    """Names the methods that --method takes."""

    def format_epilog(self, ctx: Any, formatter: Any) -> None:
        super().format_epilog(ctx, formatter)
        from vit_explorer.methods import in_order

        with formatter.section("Methods"):
            formatter.write_dl([(one.name, f"{one.summary} ({one.costs})") for one in in_order()])


class WithViews(Command):
    """Names the views that can be drawn."""

    def format_epilog(self, ctx: Any, formatter: Any) -> None:
        super().format_epilog(ctx, formatter)
        from vit_explorer.explaining.views import VIEWS

        with formatter.section("Views"):
            formatter.write_dl([(name, view.summary) for name, view in VIEWS.items()])
