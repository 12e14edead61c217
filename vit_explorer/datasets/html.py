"""Pages that open without a server or a network, from a room's templates."""

from __future__ import annotations

from importlib import resources
from typing import Any


def render(room: str, template: str, **values: Any) -> bytes:
    """A template of a room, such as `__package__`, filled with values, in which what anyone wrote
    is text; it may include others of its room."""
    from jinja2 import Environment, FunctionLoader, StrictUndefined

    templates = resources.files(room)
    environment = Environment(
        loader=FunctionLoader(lambda name: (templates / name).read_text(encoding="utf-8")),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    # A file's name may hold what is no text.
    return environment.get_template(template).render(**values).encode("utf-8", "backslashreplace")
