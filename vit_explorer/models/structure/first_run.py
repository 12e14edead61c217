"""The first pass of a network on a picture: what another program's forward raises is told."""

from __future__ import annotations

import traceback
from collections.abc import Callable
from pathlib import Path

import torch
from torch import nn

from vit_explorer.errors import UnsupportedModelError
from vit_explorer.models.card import Pair
from vit_explorer.models.structure.seen import Seen
from vit_explorer.sentences import Sentence

_NOT_THEIRS = (Path(__file__).parents[2], Path(torch.__file__).parent)


class DoesNotRunError(UnsupportedModelError):
    """The network's own forward failed on a picture."""


def run(work: Callable[[], Seen], module: nn.Module, name: str, channels: int, size: Pair) -> Seen:
    """What a pass sees; raises DoesNotRunError, and what it raises of ours as it is."""
    try:
        return work()
    except UnsupportedModelError:
        raise
    except Exception as error:  # whatever another program's forward raises
        _check_patch(module, size, name)
        raise DoesNotRunError(
            "error.run",
            "{name} does not run on a picture of {channels}×{height}×{width}: {told}; {way}.",
            name=name,
            channels=channels,
            height=size[0],
            width=size[1],
            told=told(error),
            way=_way_out(module),
        ) from error


def _check_patch(module: nn.Module, size: Pair, name: str) -> None:
    """Say so where a picture is smaller than one patch."""
    cuts = (one for one in module.modules() if isinstance(one, nn.Conv2d))
    patch = next((one.kernel_size for one in cuts if one.stride == one.kernel_size), (1, 1))
    if size[0] < patch[0] or size[1] < patch[1]:
        raise DoesNotRunError(
            "error.size.patch",
            "The image size {height}×{width} is smaller than one of {name}'s patches, "
            "{rows}×{columns}; choose a larger one.",
            height=size[0],
            width=size[1],
            name=name,
            rows=patch[0],
            columns=patch[1],
        )


def told(error: BaseException) -> str:
    """An exception of another program, its kind, words and place, on one line."""
    frames = traceback.extract_tb(error.__traceback__)
    # Torch's functions are called through ours while they are watched: neither place is told.
    last = next((one for one in reversed(frames) if _is_theirs(one.filename)), frames[-1])
    words = " ".join(str(error).split())
    kind = type(error).__name__
    said = f" ({words[:160]})" if words else ""
    return f"{kind}{said} in {Path(last.filename).name}, line {last.lineno}"


def _is_theirs(file: str) -> bool:
    return not any(map(Path(file).is_relative_to, _NOT_THEIRS))


def _way_out(module: nn.Module) -> str:
    towers = ("visual", "vision_model", "vision_tower", "image_encoder")
    tower = next((one for one in towers if isinstance(getattr(module, one, None), nn.Module)), "")
    if tower:
        return Sentence(
            "part.tower",
            "if it takes more than a picture, pass its picture tower, model.{tower}",
            tower=tower,
        )
    return Sentence(
        "part.made",
        "give the image_size it was made for, or a module whose forward takes pictures alone",
    )
