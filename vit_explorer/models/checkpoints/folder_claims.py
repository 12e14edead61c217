"""What a transformers folder's config says, held against its files before anything is made."""

from __future__ import annotations

import math
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch.nn.modules.module import register_module_module_registration_hook

from vit_explorer.errors import ModelError
from vit_explorer.models.checkpoints.filling import MANY_TIMES, SMALL
from vit_explorer.models.checkpoints.image_processors import first_line
from vit_explorer.models.checkpoints.weight_files import opened_safetensors
from vit_explorer.sentences import Sentence

# Some settings become lists that long, class names among them.
LARGEST_SETTING = 10**6
# Parts that a model may have for each tensor of its files, and at least: most hold one or two.
PARTS = 20
FEWEST_PARTS = 2_000


def check_claims(kind: Any, config: Mapping[str, Any], path: Path) -> None:
    """Refuse a config that describes another extent than that of the tensors beside it.

    The model is made without numbers, and no further than the files have tensors for its parts.

    Raises:
        ModelError: settings, parts or numbers far beyond those of the files.
    """
    tensors, held = _extent(path)
    for name, value in _numbers(config):
        if value > max(LARGEST_SETTING, held):
            raise _beyond(
                path,
                Sentence("part.claim.setting", "{name} = {value:,}", name=name, value=value),
                tensors,
                held,
            )
    try:
        with torch.device("meta"), _counted(max(FEWEST_PARTS, PARTS * tensors)):
            skeleton = kind(kind.config_class.from_pretrained(path, local_files_only=True))
    except _TooManyPartsError:
        claim = Sentence("part.claim.parts", "a model of more parts")
        raise _beyond(path, claim, tensors, held) from None
    except Exception as error:  # whatever transformers raises on a bad config
        raise ModelError(
            "error.folder.load",
            "The folder {file} can't be loaded as {kind} ({reason}); save the model again with "
            "save_pretrained.",
            file=path.name,
            kind=kind.__name__,
            reason=first_line(error, path),
        ) from None
    described = sum(one.numel() for one in (*skeleton.parameters(), *skeleton.buffers()))
    if described > MANY_TIMES * held + SMALL:
        claim = Sentence("part.claim.numbers", "a model of {count:,} numbers", count=described)
        raise _beyond(path, claim, tensors, held)


def _beyond(path: Path, claim: Sentence, tensors: int, held: int) -> ModelError:
    return ModelError(
        "error.folder.claims",
        "The config.json of {file} describes {claim}, and its files hold {tensors:,} tensors of "
        "{held:,} numbers; save the model again with save_pretrained.",
        file=path.name,
        claim=claim,
        tensors=tensors,
        held=held,
    )


def _extent(path: Path) -> tuple[int, int]:
    """The tensors of a folder's files and their numbers, read from the headers."""
    tensors = held = 0
    for file in sorted(path.glob("*.safetensors")):
        with opened_safetensors(file) as opened:
            for name in opened.keys():  # noqa: SIM118 - it is no mapping
                tensors += 1
                held += math.prod(opened.get_slice(name).get_shape())
    return tensors, held


def _numbers(config: Mapping[str, Any]) -> Iterator[tuple[str, int]]:
    """The size of every number in a config, with the name that it stands under."""
    left: list[tuple[str, Any]] = [("", config)]
    while left:
        name, value = left.pop()
        if isinstance(value, Mapping):
            left += [(str(key)[:40], inner) for key, inner in value.items()]
        elif isinstance(value, list):
            left += [(name, inner) for inner in value]
        elif isinstance(value, (int, float)) and not isinstance(value, bool):
            finite = isinstance(value, int) or math.isfinite(value)
            yield name, abs(int(value)) if finite else 0


@contextmanager
def _counted(most: int) -> Iterator[None]:
    """Fails where this thread makes more than `most` parts of modules in the block."""
    thread, count = threading.get_ident(), 0

    def met(*_: Any) -> None:
        nonlocal count
        if threading.get_ident() == thread:
            count += 1
            if count > most:
                raise _TooManyPartsError

    hook = register_module_module_registration_hook(met)
    try:
        yield
    finally:
        hook.remove()


class _TooManyPartsError(Exception):
    """A model has more parts than its files have tensors for."""
