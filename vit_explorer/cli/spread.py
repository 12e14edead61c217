"""Options that go together are fields of a dataclass, which a command takes as one parameter."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import MISSING, fields, is_dataclass
from inspect import Parameter, Signature, signature
from typing import Any, get_type_hints


def spread(command: Callable[..., None]) -> Callable[..., None]:
    """The command with the fields of its dataclass parameters as options of its own, as Typer
    reads them from a signature."""
    hints = get_type_hints(command, include_extras=True)
    own: dict[str, Any] = {name: hint for name, hint in hints.items() if is_dataclass(hint)}
    groups = {name: tuple(one.name for one in fields(kind)) for name, kind in own.items()}
    taken: list[Parameter] = []
    for parameter in signature(command).parameters.values():
        kind = own.get(parameter.name)
        if kind is None:
            hint = hints[parameter.name]
            taken.append(parameter.replace(annotation=hint, kind=Parameter.KEYWORD_ONLY))
            continue
        of = get_type_hints(kind, include_extras=True)
        for one in fields(kind):
            default = Parameter.empty if one.default is MISSING else one.default
            taken.append(
                Parameter(
                    one.name, Parameter.KEYWORD_ONLY, default=default, annotation=of[one.name]
                )
            )

    def run(**given: Any) -> None:
        made = {
            name: kind(**{one: given.pop(one) for one in groups[name]})
            for name, kind in own.items()
        }
        command(**made, **given)

    run.__name__, run.__doc__ = command.__name__, command.__doc__
    run.__signature__ = Signature(taken)  # type: ignore[attr-defined]
    run.__annotations__ = {one.name: one.annotation for one in taken}
    return run
