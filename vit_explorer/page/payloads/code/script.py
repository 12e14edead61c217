"""Code that makes a figure of the page again: as Python, and as a command where there is one."""

from __future__ import annotations

import shlex
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from vit_explorer.errors import OptionError
from vit_explorer.page.payloads.code.figure import Figure, PairFigure
from vit_explorer.page.payloads.load_arguments import load_arguments
from vit_explorer.page.state.examples import is_example
from vit_explorer.page.state.results import GONE, Result
from vit_explorer.pictures.decode import Picture

# What of a preprocessing the command has options for.
SAYABLE = {"mean", "std"}


def describe_code(
    result: Result, figure: Figure, held: Callable[[str], Result | None] = lambda _: None
) -> dict[str, str | None]:
    """`python`, which makes the figure's numbers, and `command`, None where none makes the figure.

    `held` finds the result of another picture by its key.

    Raises:
        OptionError: the figure is of a layer, head or token that the model lacks, or of another
            picture that is held no longer.
    """
    lines, words = figure.lines(result), figure.words(result)
    if isinstance(figure, PairFigure) and figure.other is not None:
        other = held(figure.other)
        if other is None:
            raise OptionError(GONE)
        lines = [*_opening("other", other.picture), *lines]
    load = load_arguments(result.model, result.weights)
    path, opened = picture_path(result.picture), result.picture.chosen()
    return {
        "python": python_code(load, _opening("picture", result.picture), lines),
        "command": None if words is None else command(load, path, opened, words),
    }


def picture_path(picture: Picture) -> str:
    """An example's own path; of any other picture the page knows the name alone."""
    return f"assets/{picture.name}" if is_example(picture) else picture.name


def python_code(load: Mapping[str, Any], opening: Iterable[str], lines: Iterable[str]) -> str:
    """A script: `lines`, after `model` by `load_model` and `picture` by `opening`'s lines.

    `load` are arguments as `load_arguments` tells them.
    """
    return "\n".join(
        ["import vit_explorer as vx", "", *_loading(**load), *opening, *lines, ""],
    )


def _opening(name: str, picture: Picture) -> list[str]:
    """How a picture is opened; of one that was sent, that its place has to be filled in."""
    lines = opening(name, picture_path(picture), picture.chosen())
    if is_example(picture):
        return lines
    return ["# The page has no more than its name: give its path.", *lines]


def opening(name: str, path: str, opened: Mapping[str, Any]) -> list[str]:
    """`name` as the picture at a path, opened with these options."""
    return [f"{name} = {call('vx.open_picture', path, **opened) if opened else literal(path)}"]


def _loading(*, model: str, module: str | None = None, **options: Any) -> list[str]:
    """How a model is loaded; of a module that was passed in only its own program knows."""
    if module is not None:
        return [
            f"# model = vx.load_model(module, …) as in the program that passed this page {model!r}",
            f"# (of {module!r}).",
        ]
    return [f"model = {call('vx.load_model', model, **options)}"]


def call(function: str, *values: Any, **options: Any) -> str:
    """A call as Python writes it."""
    named = (f"{name}={literal(value)}" for name, value in options.items())
    return f"{function}({', '.join([*map(literal, values), *named])})"


def literal(value: Any) -> str:
    """A value as Python writes it, whatever a name holds; what JSON has as lists are tuples."""
    return repr(_tuples(value))


def _tuples(value: Any) -> Any:
    if isinstance(value, (list, tuple)):
        return tuple(map(_tuples, value))
    if isinstance(value, Mapping):
        return {name: _tuples(each) for name, each in value.items()}
    return value


def command(
    load: Mapping[str, Any], path: str, opened: Mapping[str, Any], words: Iterable[str]
) -> str | None:
    """`vit-explorer explain` with the picture, the model and `words`, quoted for a shell; None
    where no command can load the model so."""
    preprocess = load.get("preprocess", {})
    if "module" in load or not set(preprocess) <= SAYABLE:
        return None
    # What begins with a dash would be an option.
    picture = f"./{path}" if path.startswith("-") else path
    line = ["vit-explorer", "explain", picture, "--model", load["model"]]
    for name, value in opened.items():
        line += [f"--{name}", value if isinstance(value, str) else ",".join(map(str, value))]
    for name in ("weights", "labels", "outputs"):
        line += [f"--{name}", load[name]] if name in load else []
    for name in ("image_size", "weights_image_size"):
        line += [f"--{name.replace('_', '-')}", *map(str, load[name])] if name in load else []
    for name, numbers in preprocess.items():
        line += [f"--{name}", *map(str, numbers)]
    line += ["--words", *load["words"]] if "words" in load else []
    line += ["--random"] if load.get("pretrained") is False else []
    return f"{shlex.join([*line, *words])}\n"
