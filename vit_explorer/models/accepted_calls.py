"""The attention of a pass, block by block, where it went as the one that was measured at load."""

from __future__ import annotations

from collections.abc import Sequence

from vit_explorer.errors import UnsupportedModelError
from vit_explorer.models.interception import AttentionCall
from vit_explorer.models.structure.anatomy import Anatomy


def accept(
    calls: Sequence[AttentionCall], anatomy: Anatomy, name: str
) -> tuple[tuple[AttentionCall, ...], ...]:
    """The attention calls of each block, in the order of its heads.

    Raises:
        UnsupportedModelError: a pass went otherwise than the one that was measured at load.
    """
    found: list[list[AttentionCall]] = [[] for _ in anatomy.blocks]
    for call in calls:
        found[call.block].append(call)
    for index, (own, block) in enumerate(zip(found, anatomy.blocks, strict=True)):
        heads = sum(call.heads for call in own)
        tokens = {call.tokens for call in own}
        if heads != block.heads or tokens != {anatomy.tokens}:
            raise UnsupportedModelError(
                "error.attends.varies",
                "{name} can't be explored: block {block} attended with {heads} heads over "
                "{tokens} tokens, and with {known_heads} over {known_tokens} when it was "
                "loaded; its way depends on the picture.",
                name=name,
                block=index + 1,
                heads=heads,
                tokens=", ".join(map(str, sorted(tokens))) or "no",
                known_heads=block.heads,
                known_tokens=anatomy.tokens,
            )
    return tuple(tuple(own) for own in found)
