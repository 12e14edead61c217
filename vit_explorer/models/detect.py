"""One pass over noise tells a module's structure, or why its attention can't be read."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from timm.data import resolve_model_data_config
from torch import nn

from vit_explorer.errors import UnsupportedModelError
from vit_explorer.interception import AttentionCall, accept, frozen, recording
from vit_explorer.models.card import (
    Pair,
    Structure,
    covered_size,
    find_blocks,
    find_classes,
    find_core,
    find_patch_size,
    find_pooling,
    find_position,
    find_prefix_names,
    first_tensor,
)
from vit_explorer.models.observe import observe, why_not


def detect(
    module: nn.Module, image_size: Pair, name: str
) -> tuple[tuple[nn.Module, ...], Structure]:
    """Find a module's blocks, run it once on noise, and read off its structure.

    Raises:
        UnsupportedModelError: the blocks don't each make one global self-attention, or the module
            does not run on a picture of this size.
    """
    try:
        blocks = find_blocks(module, name)
        return blocks, _detect(module, blocks, image_size, name)
    except UnsupportedModelError as error:
        reason = _why_not(module, image_size)
        if not reason:
            raise
        raise UnsupportedModelError(
            f"{name} can't be explored: {reason}; choose a plain ViT, whose every block attends "
            "once from all tokens to all tokens."
        ) from error


def check_architecture(build: Callable[[], nn.Module], image_size: Pair | None, name: str) -> None:
    """Refuse what the architecture alone tells, on the meta device: no memory, no weights.

    Raises:
        UnsupportedModelError: as `detect` would.
    """
    with torch.device("meta"):
        module = build()
        native = tuple(resolve_model_data_config(module)["input_size"][1:])
        size = image_size or covered_size(module) or native
        try:
            detect(module, size, name)
        except _DoesNotRunError:
            # Perhaps on the meta device alone: the real module will tell.
            return


class _DoesNotRunError(UnsupportedModelError):
    pass


def _why_not(module: nn.Module, image_size: Pair) -> str:
    try:
        return why_not(module, observe(module, image_size))
    except (RuntimeError, TypeError, ValueError, IndexError, AssertionError):
        return ""


def _detect(
    module: nn.Module, blocks: Sequence[nn.Module], image_size: Pair, name: str
) -> Structure:
    core = find_core(module)
    patch_size = find_patch_size(core, image_size, name)
    grid = (image_size[0] // patch_size[0], image_size[1] // patch_size[1])
    calls, read, output = _probe(module, blocks, image_size, name)
    seen = calls[0].query.shape[-2] - grid[0] * grid[1] if calls else 0
    prefix_names = find_prefix_names(core, seen, read)
    tokens = len(prefix_names) + grid[0] * grid[1]
    query = accept(calls, len(blocks), tokens, name)[0].query
    return Structure(
        grid=grid,
        patch_size=patch_size,
        prefix_names=prefix_names,
        depth=len(blocks),
        heads=query.shape[1],
        head_width=query.shape[3],
        dim=int(getattr(core, "embed_dim", query.shape[1] * query.shape[3])),
        pooling=find_pooling(core, read, prefix_names),
        position=find_position(core),
        classes=find_classes(module, core, output),
    )


def _probe(
    module: nn.Module, blocks: Sequence[nn.Module], image_size: Pair, name: str
) -> tuple[list[AttentionCall], list[int], torch.Tensor]:
    """One pass over noise: its attention calls, the tokens the output reads, and the output."""
    parameter = next(module.parameters())
    noise = torch.randn(1, 3, *image_size, generator=torch.Generator().manual_seed(0))
    pixels = noise.to(parameter.device, parameter.dtype)
    last: list[torch.Tensor] = []

    def keep(_: nn.Module, __: Any, output: Any) -> Any:
        tensor = first_tensor(output).detach().requires_grad_(True)
        last.append(tensor)
        torch.set_grad_enabled(True)
        if isinstance(output, (tuple, list)):
            return type(output)((tensor, *output[1:]))
        return tensor

    hook = blocks[-1].register_forward_hook(keep)
    try:
        with torch.inference_mode(False), torch.no_grad(), frozen(module):
            with recording(module, blocks) as calls:
                output = first_tensor(module(pixels))
            slope = None
            if last:
                (slope,) = torch.autograd.grad(
                    output.float().pow(2).sum(), last[-1:], allow_unused=True
                )
    except (RuntimeError, TypeError, ValueError, IndexError, AssertionError) as error:
        reason = str(error).strip().partition("\n")[0]
        channels = _channels(module)
        if channels != 3:
            raise _DoesNotRunError(
                f"{name} can't be explored: it takes {channels} channel{'s' * (channels > 1)} and "
                "pictures have 3; pass a module that makes its channels of these first."
            ) from None
        raise _DoesNotRunError(
            f"{name} can't be explored: it does not run on a picture of 3×{image_size[0]}×"
            f"{image_size[1]} ({reason}); give the image_size it was made for."
        ) from None
    finally:
        hook.remove()
    # A backbone's output is its tokens, of which none is a class's more than another.
    if slope is None or slope.ndim != 3 or slope.is_meta or output.ndim > 2:
        return calls, [], output.detach()
    read = slope[0].abs().amax(dim=-1).nonzero().flatten().tolist()
    return calls, read, output.detach()


def _channels(module: nn.Module) -> int:
    """Channels that the patch embedding reads, 3 where it is no convolution."""
    convolutions = (child for child in module.modules() if isinstance(child, nn.Conv2d))
    embeds = (one.in_channels for one in convolutions if one.stride == one.kernel_size)
    return next(embeds, 3)
