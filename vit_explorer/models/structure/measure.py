"""All that is known of a network, measured by running it: a picture is given and what happens is
watched. Nothing is told by the names of its parts where running it tells."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

import torch
from torch import Tensor, nn

from vit_explorer.errors import UnsupportedModelError
from vit_explorer.models.card import (
    Pair,
    Structure,
    find_classes,
    find_core,
    find_pooling,
    find_position,
    find_positions,
    find_prefix_names,
    first_tensor,
)
from vit_explorer.models.gradient_hooks import hooks_gradients
from vit_explorer.models.structure.anatomy import Anatomy, Block
from vit_explorer.models.structure.blocks import NoBlocksError, find_blocks
from vit_explorer.models.structure.channels import input_channels
from vit_explorer.models.structure.faults import hidden, why_not
from vit_explorer.models.structure.first_run import DoesNotRunError, run
from vit_explorer.models.structure.head_reading import Read, read_out, unexplorable
from vit_explorer.models.structure.positions import find_added, find_parameter, has_positions
from vit_explorer.models.structure.seen import Event, Seen, look
from vit_explorer.models.structure.stages import may_have_stages
from vit_explorer.models.structure.token_order import (
    NoOrderError,
    Order,
    find_layout,
    find_order,
    find_steps,
    run_to_attention,
)
from vit_explorer.sentences import Sentence

# A token whose share of the gradient is smaller is not read.
_READ = 1e-5
# Prefix tokens and registers at the most, where shapes alone are known.
_MOST_OTHERS = 64
_PICTURES = 3
# Answers to one picture that differ by more of the largest are not the same but for rounding.
_REPEATS = 1e-2


def measure(
    module: nn.Module, image_size: Pair, name: str, channels: int = 3
) -> tuple[Anatomy, Structure]:
    """Find a network's blocks, tokens and read-out.

    A network on the meta device is measured as far as shapes tell.

    Raises:
        UnsupportedModelError: the blocks don't each attend once among all tokens, the order of
            tokens can't be found, or the network does not run on a picture of this size.
    """
    pixels = _noise(module, 1, channels, image_size)
    with torch.inference_mode(False):
        seen = run(lambda: look(module, pixels), module, name, channels, image_size)
        if seen.hooks:
            hooks_gradients(module)
        return _measure(module, seen, pixels, name)


def check_architecture(build: Callable[[], nn.Module], image_size: Pair | None, name: str) -> None:
    """Refuse what the architecture alone tells, on the meta device: no memory, no weights.

    Raises:
        UnsupportedModelError: as `measure` would.
    """
    from timm.data import resolve_model_data_config

    with torch.device("meta"):
        module = build()
        size = image_size or tuple(resolve_model_data_config(module)["input_size"][1:])
        try:
            measure(module, size, name, input_channels(module, size))
        except DoesNotRunError:
            # Perhaps on the meta device alone: the real module will tell.
            return
        except UnsupportedModelError:
            if not may_have_stages(module, size, input_channels(module, size)):
                raise


def _noise(module: nn.Module, pictures: int, channels: int, image_size: Pair) -> Tensor:
    parameter = next(module.parameters())
    generator = torch.Generator().manual_seed(0)
    noise = torch.randn(pictures, channels, *image_size, generator=generator, device="cpu")
    kind = parameter.dtype if parameter.is_floating_point() else torch.float32
    return noise.to(parameter.device, kind)


def _measure(module: nn.Module, seen: Seen, pixels: Tensor, name: str) -> tuple[Anatomy, Structure]:
    try:
        blocks = find_blocks(module, seen)
        seen.release()
        events = _of_blocks(seen, blocks)
        anatomy = _anatomy(module, seen, blocks, events, pixels)
    except (NoBlocksError, NoOrderError) as error:
        unseen = not seen.events and not pixels.is_meta
        reason = (unseen and hidden(module, pixels)) or why_not(seen) or error.sentence
        raise unexplorable(name, reason) from error
    size: Pair = (pixels.shape[-2], pixels.shape[-1])
    if pixels.is_meta:
        order = _order_by_shapes(seen, anatomy.tokens, size)
        return anatomy, _structure(module, anatomy, order, Read(query=_query(events)), seen)
    order = _order(module, anatomy, seen, pixels, name)
    places = None if order.places == tuple(range(anatomy.tokens)) else order.places
    anatomy = replace(anatomy, places=places, embedding=_embedding(seen, order))
    anatomy, read = read_out(module, anatomy, seen, pixels, name)
    _check_repeats(seen, read, name)
    structure = _structure(module, anatomy, order, read, seen)
    if "learned" in structure.position:
        # Stored in the network's order of tokens, which may be another than ours.
        named = find_positions(find_core(module))
        names = (name for name, one in module.named_parameters() if one is named)
        parameter = next(names, "") if places is not None else ""
        anatomy = replace(anatomy, position=parameter)
    else:
        kind, parameter = _measured_position(module, anatomy, order, pixels, structure.position)
        anatomy = replace(anatomy, position=parameter)
        structure = replace(structure, position=kind)
    return anatomy, structure


def _check_repeats(seen: Seen, read: Read, name: str) -> None:
    """Refuse a network of which two passes over one picture give different answers."""
    first, again = first_tensor(seen.output).float(), read.output
    if again is None or first.shape != again.shape:
        return
    if bool(((first - again.float()).abs() > _REPEATS * first.abs().max()).any()):
        raise unexplorable(
            name,
            Sentence(
                "reason.chance",
                "two passes over one picture give different answers, so something in it is drawn "
                "at random",
            ),
            Sentence("part.dropout", "switch off dropout in its forward while it is evaluated"),
        )


def _measured_position(
    module: nn.Module, anatomy: Anatomy, order: Order, pixels: Tensor, named: str
) -> tuple[str, str]:
    """What positions there are, and the parameter that holds them, where no known name tells."""
    if "sin-cos" in named:
        return named, ""
    if order.overlap:
        # The edges of an empty picture tell patches apart, so what is added is looked for alone.
        parameter = find_added(module, anatomy, pixels, order.prefix)
        return (" + ".join(["learned", *_known(named)]), parameter) if parameter else (named, "")
    if not has_positions(module, anatomy, pixels, order.prefix):
        return named, ""
    parameter = find_parameter(module, anatomy, pixels, order.prefix)
    return " + ".join(["learned" if parameter else "fixed", *_known(named)]), parameter


def _known(named: str) -> list[str]:
    return [] if named == "no" else [named]


def _of_blocks(seen: Seen, blocks: Sequence[Block]) -> list[list[Event]]:
    """The attentions of each block; raises NoBlocksError where they are no global ones."""
    owned = [
        [
            event
            for event in seen.events
            if event.square and any(c.module in block.owners for c in event.calls)
        ]
        for block in blocks
    ]
    counts = {event.queries for own in owned for event in own}
    if len(counts) > 1:
        listed = ", ".join(map(str, sorted(counts, reverse=True)))
        raise NoBlocksError(
            "reason.blocks",
            "its blocks attend over different numbers of tokens ({listed})",
            listed=listed,
        )
    if any(event.causal for own in owned for event in own):
        raise NoBlocksError(
            "reason.causal", "its attention is causal: a token sees only those before it"
        )
    if len({event.fused for own in owned for event in own}) > 1:
        raise NoBlocksError(
            "reason.mixed", "some of its blocks attend by the fused call and some by a softmax"
        )
    return owned


def _anatomy(
    module: nn.Module,
    seen: Seen,
    blocks: Sequence[Block],
    events: Sequence[Sequence[Event]],
    pixels: Tensor,
) -> Anatomy:
    first = events[0][0]
    tokens, fused = first.queries, first.fused
    virtual = any(not block.whole for block in blocks)
    known = Anatomy(tokens=tokens, fused=fused, by_hand=seen.by_hand, foreign=seen.foreign)
    if pixels.is_meta:
        _check_whole(first)
        entering = next(one.shape for one in seen.calls if one.module is blocks[0].first)
        if len(entering) != 3 or tokens not in entering[:2]:
            shape = "×".join(map(str, entering))
            raise NoOrderError(
                "reason.sequence",
                "what enters its blocks is no sequence of tokens ({shape})",
                shape=shape,
            )
        wide = first.first[1] if len(first.first) == 4 else 1
        return replace(known, blocks=tuple(replace(one, heads=wide) for one in blocks))
    count = _PICTURES if tokens != _PICTURES else _PICTURES + 1
    same = torch.cat((pixels, -pixels, *[pixels] * (count - 2)))
    entered, found = run_to_attention(module, blocks[0], same, known)
    if entered is None or entered.ndim != 3:
        shape = (
            Sentence("part.nothing", "nothing")
            if entered is None
            else "×".join(map(str, entered.shape))
        )
        raise NoOrderError(
            "reason.sequence",
            "what enters its blocks is no sequence of tokens ({shape})",
            shape=shape,
        )
    if tuple(entered.shape[:2]) == (tokens, count):
        tokens_first = True
    elif tuple(entered.shape[:2]) == (count, tokens):
        tokens_first = False
    else:
        raise NoOrderError(
            "reason.entering",
            "it attends over {tokens} tokens, and {entering} enter its blocks",
            tokens=tokens,
            entering=entered.shape[1],
        )
    if not found:
        raise NoOrderError(
            "reason.several", "it attends over several pictures in another way than over one"
        )
    layout = find_layout(first, found[0], count)
    at_once = layout.arrange(found[0], count).shape[1]
    if virtual and len(blocks) > 1:
        known = replace(known, steps=find_steps(module, blocks, pixels, tokens))
    heads = [at_once * len(own) for own in events]
    if len(set(heads)) > 1:
        raise NoBlocksError(
            "reason.heads",
            "its blocks have different numbers of heads ({heads})",
            heads=sorted(set(heads)),
        )
    return replace(
        known,
        blocks=tuple(replace(one, heads=heads[0]) for one in blocks),
        tokens_first=tokens_first,
        layout=layout,
        heads_at_once=at_once,
    )


def _check_whole(event: Event) -> None:
    """Refuse windows by shapes alone."""
    reason = why_not(Seen(events=[event]))
    if reason:
        raise NoBlocksError(reason)


def _order(module: nn.Module, anatomy: Anatomy, seen: Seen, pixels: Tensor, name: str) -> Order:
    size: Pair = (pixels.shape[-2], pixels.shape[-1])
    try:
        return find_order(
            module,
            anatomy.blocks[0],
            anatomy.tokens,
            size,
            pixels.shape[1],
            seen.convolutions,
            tokens_first=anatomy.tokens_first,
        )
    except NoOrderError as error:
        raise unexplorable(name, error.sentence) from error


def _order_by_shapes(seen: Seen, tokens: int, size: Pair) -> Order:
    """The grid of the last convolution that leaves few enough other tokens."""
    for one in reversed(seen.convolutions):
        grid = (one.made[-2], one.made[-1])
        prefix = tokens - grid[0] * grid[1]
        if 0 <= prefix <= _MOST_OTHERS:
            patch = (size[0] // grid[0], size[1] // grid[1])
            return Order(grid, patch, tuple(range(tokens)), one.kernel != one.stride)
    return Order((1, tokens), (size[0], max(1, size[1] // tokens)), tuple(range(tokens)), False)


def _query(events: Sequence[Sequence[Event]]) -> Tensor | None:
    first = events[0][0]
    return torch.empty(first.first, device="meta") if first.fused else None


def _embedding(seen: Seen, order: Order) -> nn.Conv2d | None:
    """The one convolution that makes the tokens of patches, None where more is done."""
    own = [
        one
        for one in seen.convolutions
        if one.call is not None and isinstance(one.call.module, nn.Conv2d)
    ]
    if len(own) != 1 or own[0].call is None or tuple(own[0].made[-2:]) != order.grid:
        return None
    found = own[0].call.module
    return found if isinstance(found, nn.Conv2d) and own[0].stride == order.patch_size else None


def _structure(
    module: nn.Module, anatomy: Anatomy, order: Order, read: Read, seen: Seen
) -> Structure:
    core = find_core(module)
    output = read.output if read.output is not None else first_tensor(seen.output)
    prefix = max(order.prefix, 0)
    shares = read.shares
    own = [] if shares is None else (shares > _READ).nonzero().flatten().tolist()
    names = find_prefix_names(core, prefix, own)
    heads = anatomy.blocks[0].heads
    return Structure(
        grid=order.grid,
        patch_size=order.patch_size,
        prefix_names=names,
        depth=len(anatomy.blocks),
        heads=heads,
        head_width=_head_width(read, heads),
        dim=read.width or int(getattr(core, "embed_dim", 0)),
        pooling=find_pooling(core, own, names),
        position=find_position(core),
        classes=find_classes(module, core, output),
        overlap=order.overlap,
        read_shares=_by_name(shares, names),
        read_blocks=read.blocks,
        attends="fused" if anatomy.fused else "written",
    )


def _head_width(read: Read, heads: int) -> int:
    return int(read.query.shape[-1]) if read.query is not None else read.width // heads


def _by_name(shares: Tensor | None, names: Sequence[str]) -> tuple[tuple[str, float], ...]:
    """(name, share) of each prefix token that is read, and of the patches together."""
    if shares is None:
        return ()
    parts = [*zip(names, shares.tolist(), strict=False)]
    parts.append(("patches", float(shares[len(names) :].sum())))
    return tuple((name, round(share, 6)) for name, share in parts if share > _READ)
