"""Google's own ViT files (.npz of JAX arrays), read by timm into the model that they fit."""

from __future__ import annotations

import dataclasses
import math
import re
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from vit_explorer.errors import ModelError
from vit_explorer.models.checkpoints.checkpoint import Checkpoint, TensorSet
from vit_explorer.sentences import Sentence

KERNEL = re.compile(r"(.*/)?embedding/kernel")
POSITIONS = re.compile(r"(.*/)?(?:posembed_input/)?pos_embedding")
# What timm leaves out: a layer that only some files have, whose classifier reads it.
REPRESENTATION = "pre_logits/kernel"


def is_google(state: Mapping[str, Tensor]) -> bool:
    """Whether arrays are named as Google's JAX code names a ViT's."""
    return any(KERNEL.fullmatch(name) for name in state)


def under_timm_names(
    checkpoint: Checkpoint, build: Callable[[dict[str, Any]], nn.Module], name: str
) -> Checkpoint:
    """The same file with timm's names, at the file's own grid; `build` makes the model by options.

    Raises:
        ModelError: the arrays are not those of this architecture.
    """
    arrays = {key: tensor.numpy() for key, tensor in checkpoint.state.items()}
    kernel = next(array for key, array in arrays.items() if KERNEL.fullmatch(key))
    heads = [array for key, array in arrays.items() if key.endswith("head/kernel")]
    representation = any(key.endswith(REPRESENTATION) for key in arrays)
    classes = 0 if representation or not heads else int(heads[0].shape[-1])
    module = build({"num_classes": classes, "in_chans": int(kernel.shape[-2])})
    positions = getattr(module, "pos_embed", None)
    if not callable(getattr(module, "load_pretrained", None)) or positions is None:
        raise _unfit(
            checkpoint, name, Sentence("part.google.none", "timm reads no such files for it")
        )
    where = next((key for key in arrays if POSITIONS.fullmatch(key)), "")
    given = arrays.get(where)
    own = [tensor.numel() for key, tensor in module.state_dict().items() if _counts(key)]
    theirs = [array.size for key, array in arrays.items() if _counts(key) and key != where]
    if sum(own) != sum(theirs):
        told = Sentence(
            "part.google.count",
            "it has {count:,} numbers beside positions and head, expected {expected:,}",
            count=sum(theirs),
            expected=sum(own),
        )
        raise _unfit(checkpoint, name, told)
    if given is not None:
        # Left on the file's own grid: timm would take it for a square one.
        arrays[where] = np.zeros(positions.shape, given.dtype)
    for parameter in module.parameters():
        nn.init.constant_(parameter, math.nan)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "weights.npz"
        np.savez(path, **arrays)  # type: ignore[arg-type]
        try:
            with torch.no_grad():
                module.load_pretrained(str(path))  # type: ignore[operator]
        except (KeyError, RuntimeError, ValueError, IndexError, AttributeError) as error:
            reason = str(error).strip().partition("\n")[0] or type(error).__name__
            raise _unfit(checkpoint, name, reason.rstrip(".")) from None
    state = dict(module.state_dict())
    if given is not None:
        state["pos_embed"] = torch.from_numpy(given).reshape(1, -1, given.shape[-1])
    empty = [key for key, tensor in state.items() if tensor.isnan().any()]
    if empty:
        raise _unfit(
            checkpoint,
            name,
            Sentence("part.google.empty", "nothing in it is {name!r}", name=empty[0]),
        )
    said = [
        Sentence(
            "weights.google",
            "Its arrays are named as Google's JAX code names them; timm read them.",
        )
    ]
    if representation:
        said.append(
            Sentence(
                "weights.representation",
                "Its classifier reads a representation layer that timm's model doesn't have.",
            )
        )
        said.append(Sentence("weights.aside", "Left aside: {names}.", names="pre_logits, head"))
    notes = (*checkpoint.notes, *said)
    return dataclasses.replace(checkpoint, sets=(TensorSet("", state),), notes=notes)


def _counts(name: str) -> bool:
    """Neither positions nor a classifier: what may differ between a file and an architecture."""
    parts = name.replace("/", ".").split(".")
    return not {"pos_embed", "pos_embedding", "head", "pre_logits"} & set(parts)


def _unfit(checkpoint: Checkpoint, name: str, reason: str) -> ModelError:
    return ModelError(
        "error.google.fit",
        "The weights in {file} don't fit {name}: {reason}; give the timm name of the "
        "architecture they were trained with.",
        file=checkpoint.path.name,
        name=name,
        reason=reason,
    )
