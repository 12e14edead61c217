"""Fills pages with what the code knows: `<!-- made: NAME -->` is replaced when the site is built.

So a method, view, command or recipe that is added to the package is on the site without another
edit. Also the Python reference, which lists the public names by the rooms they come from.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from importlib import resources
from typing import Any

import typer
import yaml
from mkdocs.exceptions import PluginError

import vit_explorer as vx
from vit_explorer import cli
from vit_explorer.methods import Method, in_order
from vit_explorer.models.needs import NEEDS

# Around a table that `python -m tests.document_tables` writes into the page itself.
TABLE = re.compile(r"^<!-- (?:end of )?\w+ -->$", flags=re.MULTILINE)
MADE = re.compile(r"^<!-- made: (\w+) -->$", flags=re.MULTILINE)


def row(*cells: str) -> str:
    """One line of a Markdown table."""
    return f"| {' | '.join(' '.join(cell.replace('|', chr(92) + '|').split()) for cell in cells)} |"


def table(heads: Iterable[str], rows: Iterable[Iterable[str]]) -> str:
    """A Markdown table."""
    heads = list(heads)
    return "\n".join([row(*heads), row(*("---" for _ in heads)), *(row(*cells) for cells in rows)])


def needed(name: str) -> str:
    """What a method or view needs of a model, in the words of its refusal."""
    words = NEEDS[name].words
    return words[0].lower() + words[1:]


def methods() -> str:
    """A section a method, in the order in which they are offered."""
    return "\n\n".join(method_section(method) for method in in_order())


def method_section(method: Method) -> str:
    """All that a method's record says."""
    options = ", ".join(f"`{name}={value}`" for name, value in method.defaults.items()) or "none"
    facts = {
        "Formula": method.formula,
        "Source": method.source,
        "Keep in mind": method.caveat,
        "Needs": ", ".join(needed(need) for need in method.needed) or "any image model",
        "Costs": method.costs,
        "Sign": "for and against the class" if method.signed else "not signed",
        "Class": "another map for another class" if method.class_specific else "one for all",
        "Options": options,
    }
    lines = [f"## {method.title} {{ #{method.name} }}", f"`{method.name}`: {method.summary}"]
    return "\n\n".join([*lines, "\n".join(f"- **{name}**: {fact}" for name, fact in facts.items())])


def commands() -> str:
    """A section a command: what it does, its arguments and its options."""
    group: Any = typer.main.get_command(cli.app)
    return "\n\n".join(command_section(name, command) for name, command in group.commands.items())


def command_section(name: str, command: Any) -> str:
    """A command's help as Markdown."""
    context = command.make_context(name, [], resilient_parsing=True)
    records = (one.get_help_record(context) for one in command.params)
    shown = ((f"`{names}`", text) for names, text in filter(None, records))
    return "\n\n".join(
        [f"### {name} {{ #{name} }}", command.help, table(("argument or option", "does"), shown)]
    )


def recipes() -> str:
    """A line a recipe that ships."""
    folder = resources.files("vit_explorer.training") / "recipes"
    names = sorted(file.name for file in folder.iterdir() if file.name.endswith(".yaml"))
    read = {name[:-5]: yaml.safe_load((folder / name).read_text("utf-8")) for name in names}
    rows = ((f"`{name}`", one["description"], str(one["epochs"])) for name, one in read.items())
    return table(("recipe", "trains", "epochs"), rows)


def reference() -> str:
    """Every public name, from its docstring."""
    plain = {name for name in vx.__all__ if not hasattr(getattr(vx, name), "__module__")}
    return "\n\n".join(
        f"::: {getattr(vx, name).__module__}.{name}" for name in sorted(set(vx.__all__) - plain)
    )


PARTS: dict[str, Callable[[], str]] = {
    "methods": methods,
    "commands": commands,
    "recipes": recipes,
    "reference": reference,
}


def fill(markdown: str) -> str:
    """A page with its parts made.

    Raises:
        PluginError: the page names a part that nothing makes.
    """

    def made(found: re.Match[str]) -> str:
        name = found[1]
        if name not in PARTS:
            raise PluginError(f"Nothing makes {name!r}, expected one of {', '.join(PARTS)}.")
        return PARTS[name]()

    return TABLE.sub("", MADE.sub(made, markdown))


def on_page_markdown(markdown: str, **_: object) -> str:
    """MkDocs calls this for each page."""
    return fill(markdown)
