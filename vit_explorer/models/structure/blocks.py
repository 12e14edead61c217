"""The transformer blocks of a network, by the order in which its parts ran and what they got."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import torch
from torch import Tensor, nn

from vit_explorer.errors import SaidError
from vit_explorer.models.structure.anatomy import Block
from vit_explorer.models.structure.seen import Call, Event, Seen

# A block's norms before attention and before the MLP, as timm and as transformers call them: what
# runs there under such a name is taken for a norm even where it is none by what it does (DyT).
NORMS = {
    "norm1": ("norm1", "layernorm_before", "layer_norm1", "ln_1"),
    "norm2": ("norm2", "layernorm_after", "layer_norm2", "ln_2"),
}


class NoBlocksError(SaidError):
    """Why a network has no list of blocks; the message is a clause."""


def find_blocks(module: nn.Module, seen: Seen) -> tuple[Block, ...]:
    """The blocks, in the order in which they ran.

    Raises:
        NoBlocksError: attention is not spread over blocks, one a block.
    """
    events = [event for event in seen.events if event.queries > 1]
    uneven = next((event for event in events if not event.square), None)
    if uneven is not None:
        raise NoBlocksError(
            "reason.others",
            "it attends from {queries} tokens to {keys} others, not to themselves",
            queries=uneven.queries,
            keys=uneven.keys,
        )
    if not events:
        raise NoBlocksError("reason.unseen", "no attention between tokens was seen in it")
    _check_pooling(module, seen)
    groups = list(_split("", events))
    if len(groups) == 1:
        groups = [(_holder(module, groups[0][0], events[0]), events)]
    counts = {len(own) for _, own in groups}
    if len(counts) > 1:
        raise NoBlocksError(
            "reason.counts",
            "its blocks make between {least} and {most} attentions each",
            least=min(counts),
            most=max(counts),
        )
    return tuple(_block(module, seen, name, own) for name, own in groups)


def _check_pooling(module: nn.Module, seen: Seen) -> None:
    """Refuse blocks of a list in which one token alone attends, as CaiT's last ones."""
    for event in seen.events:
        parts = event.holder.name.split(".")
        above = (module.get_submodule(".".join(parts[:count])) for count in range(len(parts)))
        if event.queries == 1 and any(isinstance(one, nn.ModuleList) for one in above):
            raise NoBlocksError(
                "reason.single",
                "in its part {name!r} one token attends to {keys}, so its blocks don't all "
                "attend from all tokens",
                name=event.holder.name,
                keys=event.keys,
            )


def _split(prefix: str, events: Sequence[Event]) -> Iterator[tuple[str, list[Event]]]:
    """Groups of attentions that are heads of one another, with the part that holds each group."""
    if _are_heads(events):
        yield prefix, list(events)
        return
    children: dict[str, list[Event]] = {}
    for event in events:
        name = event.holder.name
        if name == prefix:
            raise NoBlocksError(
                "reason.twice",
                "its part {name!r} attends more than once",
                name=name or type(event.holder.module).__name__,
            )
        rest = name[len(prefix) + 1 :] if prefix else name
        step = rest.partition(".")[0]
        children.setdefault(f"{prefix}.{step}" if prefix else step, []).append(event)
    for name, own in children.items():
        yield from _split(name, own)


def _are_heads(events: Sequence[Event]) -> bool:
    """Whether some attentions read the same tokens beside one another."""
    first = events[0].holder
    if len(events) > 1 and all(event.holder is first for event in events):
        # One part that attends several times does so a head at a time, or combines them otherwise.
        return all(len(event.shape) == 3 and event.shape[0] == 1 for event in events)
    return all(
        event.holder is first or (event.holder.name != first.name and _same(event.holder, first))
        for event in events
    )


def _same(one: Call, other: Call) -> bool:
    if one.given is None or other.given is None or one.version != other.version:
        return one.given is other.given is not None
    if one.given.is_meta:
        return one.given is other.given
    return one.given.untyped_storage().data_ptr() == other.given.untyped_storage().data_ptr()


def _holder(module: nn.Module, prefix: str, event: Event) -> str:
    """The block around the only attention: what stands in a list, else what holds the part."""
    name = event.holder.name
    parts = name.split(".")
    for count in range(len(parts), 0, -1):
        above = module.get_submodule(".".join(parts[: count - 1]))
        if isinstance(above, (nn.ModuleList, nn.Sequential)):
            return ".".join(parts[:count])
    return prefix or ".".join(parts[:-1])


def _block(module: nn.Module, seen: Seen, name: str, events: Sequence[Event]) -> Block:
    inside = [one for one in seen.calls if _within(one.name, name)]
    whole = [one for one in inside if one.name == name]
    if len(whole) > 1 or len({one.began for one in inside if one is events[0].holder}) > 1:
        raise NoBlocksError(
            "reason.runs",
            "its part {name!r} is run {count} times in a pass",
            name=name,
            count=len(whole),
        )
    outer = whole or list(_outermost(inside))
    owners = dict.fromkeys(_owner(event, name).module for event in events)
    norm, after = _norm(inside, events)
    return Block(
        name=name,
        module=module.get_submodule(name),
        first=outer[0].module,
        last=outer[-1].module,
        owners=tuple(owners),
        heads=0,
        norm=None if norm is None else norm.module,
        norm_after=after,
        mlp_norm=_mlp_norm(inside, events, norm, after=after),
    )


def _within(name: str, block: str) -> bool:
    return not block or name == block or name.startswith(f"{block}.")


def _outermost(calls: Sequence[Call]) -> Iterator[Call]:
    end = 0
    for call in calls:
        if call.began > end:
            yield call
            end = call.ended


def _owner(event: Event, block: str) -> Call:
    """The innermost part of the block that was at work."""
    return next(call for call in reversed(event.calls) if _within(call.name, block))


def _norm(inside: Sequence[Call], events: Sequence[Event]) -> tuple[Call | None, bool]:
    """The norm of what attention reads, else the first after it, and whether it is that."""
    first, last = events[0].at, events[-1].at
    mixed = False
    for call in inside:
        if call.began > first or mixed:
            break
        if call.ended > first:
            continue  # it holds the attention
        if _is_norm(call, "norm1"):
            return call, False
        # What is given no tokens, such as a table of relative positions, mixes none.
        mixed = len(call.shape) == 3 and any(p.ndim > 1 for p in call.module.parameters())
    after = [
        call
        for call in inside
        if call.began > last and (_is_norm(call, "norm1") or _is_norm(call, "norm2"))
    ]
    # A single one is that of the MLP: what attention reads was normed by no part, or not at all.
    return (after[0], True) if len(after) > 1 else (None, False)


def _mlp_norm(
    inside: Sequence[Call], events: Sequence[Event], norm: Call | None, *, after: bool
) -> nn.Module | None:
    since = norm.began if norm is not None and after else events[-1].at
    found = (call for call in inside if call.began > since and _is_norm(call, "norm2"))
    return next((call.module for call in found), None)


def _is_norm(call: Call, role: str) -> bool:
    """Whether a part gives tokens of one scale, whatever theirs was."""
    module = call.module
    if call.shape != call.result or len(call.shape) != 3:
        return False
    if any(parameter.ndim > 1 for parameter in module.parameters()):
        return False
    if call.name.rpartition(".")[2] in NORMS[role] and not isinstance(module, nn.Identity):
        return True
    return not _on_meta(module) and _normalises(module, call.shape)


def _on_meta(module: nn.Module) -> bool:
    return any(parameter.is_meta for parameter in module.parameters())


@torch.no_grad()
def _normalises(module: nn.Module, shape: tuple[int, ...]) -> bool:
    parameter = next(module.parameters(), torch.empty(0, device="cpu"))
    generator = torch.Generator().manual_seed(0)
    tokens = torch.randn(1, 4, shape[-1], generator=generator, device="cpu").to(parameter)
    try:
        small, large = (_returned(module(tokens * factor)) for factor in (4.0, 8.0))
    except Exception:  # another program's forward, which may take more than tokens
        return False
    if small is None or large is None or small.shape != tokens.shape:
        return False
    return torch.allclose(small, large, rtol=0.05, atol=0.02 * float(small.abs().max() + 1e-12))


def _returned(output: object) -> Tensor | None:
    return output.float() if isinstance(output, Tensor) else None
