"""What is wrong with a recipe's values, in sentences."""

from __future__ import annotations

import json
from typing import Any, get_args

from pydantic import BaseModel, ValidationError

from vit_explorer.errors import nearest
from vit_explorer.sentences import Sentence


def explain(error: ValidationError, section: type[BaseModel]) -> str:
    """What is wrong with the values that a section was given, one clause on the first of them."""
    first = error.errors()[0]
    place = [str(part) for part in first["loc"]]
    key = ".".join(place)
    if first["type"] == "extra_forbidden":
        return _unknown(place, section)
    if first["type"] == "value_error":
        # What a validator of ours raised, whose sentence pydantic hands on.
        said: str = first["ctx"]["error"].args[0]
        return Sentence("recipe.error.at", "{key}: {said}", key=key, said=said) if key else said
    if first["type"] == "missing":
        return Sentence("recipe.error.missing", "the setting {key!r} is missing.", key=key)
    return Sentence(
        "recipe.error.value",
        "{key} was {given}; {expected}.",
        key=key,
        given=json.dumps(first["input"], default=str)[:80],
        expected=_expected(first["type"], first.get("ctx", {}), str(first["msg"])),
    )


def _unknown(place: list[str], section: type[BaseModel]) -> Sentence:
    """A setting that its section has not."""
    names = _names(section, place[:-1])
    listed = Sentence("recipe.error.names", "; its place has {names}.", names=", ".join(names))
    return Sentence(
        "recipe.error.setting",
        "there is no setting {key!r}{near}",
        key=".".join(place),
        near=nearest(place[-1], names) or listed,
    )


def _expected(kind: str, bounds: dict[str, Any], message: str) -> str:
    """What pydantic expects of a value: limits in words of ours, all else in its own."""
    limit = next(iter(bounds.values()), None)
    match kind:
        case "greater_than":
            return Sentence("recipe.error.gt", "it should be greater than {limit}", limit=limit)
        case "greater_than_equal":
            return Sentence("recipe.error.ge", "it should be {limit} or more", limit=limit)
        case "less_than":
            return Sentence("recipe.error.lt", "it should be less than {limit}", limit=limit)
        case "less_than_equal":
            return Sentence("recipe.error.le", "it should be {limit} or less", limit=limit)
    return message.replace("Input", "it", 1)


def _names(section: type[BaseModel], path: list[str]) -> list[str]:
    for part in path:
        annotation = section.model_fields[part].annotation
        section = next(
            kind
            for kind in (annotation, *get_args(annotation))
            if isinstance(kind, type) and issubclass(kind, BaseModel)
        )
    return list(section.model_fields)
