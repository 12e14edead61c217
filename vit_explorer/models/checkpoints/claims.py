"""What a file claims, held against what it holds and what is free before anything is made."""

from __future__ import annotations

import psutil
import torch

from vit_explorer.errors import ModelError
from vit_explorer.models.card import Pair
from vit_explorer.models.checkpoints.checkpoint import Checkpoint
from vit_explorer.models.checkpoints.filling import check_fit
from vit_explorer.models.checkpoints.fitting import Fitted, fit
from vit_explorer.models.vit import VisionTransformer, ViTConfig

FLOAT = 4  # bytes of a number


def fit_described(config: ViTConfig, checkpoint: Checkpoint, size: Pair, name: str) -> Fitted:
    """The tensors of a file for the ViT that it describes.

    Another ViT than the tensors are of, or one too large to run, is refused before anything is
    allocated for it: its shapes are worked out without numbers.

    Args:
        size: (height, width) that it shall run at.

    Raises:
        ModelError: other blocks, names or shapes than the file has, or more than fits the memory.
    """
    held = len(checkpoint.state)
    if config.depth > held:
        raise ModelError(
            "error.file.depth",
            "The metadata of {file} describes {depth:,} blocks, and the file holds {held:,} "
            "tensors; export the file again.",
            file=checkpoint.path.name,
            depth=config.depth,
            held=held,
        )
    try:
        with torch.device("meta"):
            skeleton = VisionTransformer(config)
    except (RuntimeError, OverflowError) as error:  # more numbers than can be counted
        raise ModelError(
            "error.file.vit",
            "The metadata of {file} describes no ViT ({error}); export the file again.",
            file=checkpoint.path.name,
            error=str(error).partition("\n")[0],
        ) from None
    fitted = fit(checkpoint, skeleton)
    check_fit(skeleton, fitted, checkpoint.path.name, name)
    rows, columns = (side // patch for side, patch in zip(size, config.patch_size, strict=True))
    tokens = config.prefix_tokens + rows * columns
    # Of a block: its input, query, key, value, what attention gives, and the MLP's hidden numbers.
    needed = FLOAT * tokens * int(config.dim * (5 + config.mlp_ratio))
    if config.position == "relative":
        needed += tokens**2 * (8 + FLOAT * config.heads)  # an index, and a bias a head
    free = psutil.virtual_memory().available
    if needed > free:
        raise ModelError(
            "error.file.large",
            "The ViT of {file} cuts {height}×{width} pixels into {tokens:,} patches, which takes "
            "{needed} GB of memory, and {free} GB are free; give a smaller image_size, or export "
            "the file again.",
            file=checkpoint.path.name,
            height=size[0],
            width=size[1],
            tokens=rows * columns,
            needed=_gigabytes(needed),
            free=_gigabytes(free),
        )
    return fitted


def _gigabytes(count: int) -> str:
    return f"{count / 1e9:,.1f}"
