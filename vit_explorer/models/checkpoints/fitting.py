"""Which of a file's tensors are a model's, under which names, and what is left aside."""

from __future__ import annotations

import dataclasses
import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from torch import Tensor, nn

from vit_explorer.errors import ModelError
from vit_explorer.models.checkpoints.checkpoint import AVERAGED, Checkpoint, TensorSet
from vit_explorer.models.checkpoints.foreign_names import (
    Program,
    fold_class_position,
    norm_eps,
    recognise,
    to_timm,
)
from vit_explorer.models.checkpoints.heads import Head, find_head
from vit_explorer.models.checkpoints.weight_notes import (
    said_of_head,
    said_of_program,
    said_of_rest,
    said_of_several,
)
from vit_explorer.sentences import Sentence, joined

# What self-supervised and other training keeps within a model, and a prediction never reads.
ASIDE = re.compile(
    r"(?:.*decoder|mask_token|.*predictor|.*project(?:or|ion)|.*proj_head|dino_|ibot_|criterion|"
    r".*loss|.*prototypes?\b|.*queue|.*metric|.*_acc\b|train_|val_|valid_|test_|aux_|n_averaged|"
    r"logit_scale|logit_bias).*|(?:.*\.)?total_(?:ops|params)"
)
# A name must be most of a model's to be its prefix.
ENOUGH = 0.5
# Of copies of a model in one set of tensors, those that are kept to be used.
TAKEN = (*AVERAGED, "base_encoder", "encoder_q", "online_network", "online_encoder")


@dataclass(frozen=True)
class Fitted:
    """A model's tensors under its own names; `options` are timm's that the file implies.

    `pos_embed` may still be of another grid, and timm's own conversion may still be due. `notes`
    say what was chosen, one sentence each. `eps`: of the layer norms, None to leave them.
    `unmatched`: names, apart from the head's, that only the file or only the model has.
    """

    tensors: TensorSet
    state: dict[str, Tensor]
    options: dict[str, Any]
    head: Head | None = None
    head_name: str = ""
    eps: float | None = None
    notes: tuple[str, ...] = ()
    unmatched: tuple[str, ...] = field(default=(), repr=False)


def fit(checkpoint: Checkpoint, module: nn.Module) -> Fitted:
    """The first of a file's sets of tensors whose names are the module's; else the first one.

    Raises:
        ModelError: several copies of the model or several classifiers, and nothing says which one;
            or a classifier that can't be rebuilt.
    """
    tried, refused = [], []
    for one in checkpoint.sets:
        try:
            tried.append(_fit(checkpoint, one, module))
        except ModelError as error:
            refused.append(error)
            continue
        if not tried[-1].unmatched:
            break
    if not tried:
        raise refused[0]
    chosen = tried[0] if tried[-1].unmatched else tried[-1]
    others = [one.key for one in checkpoint.sets if one is not chosen.tensors]
    if not others:
        return chosen
    said = said_of_several(
        chosen.tensors.key,
        others,
    )
    return dataclasses.replace(chosen, notes=(said, *chosen.notes))


@dataclass(frozen=True)
class _Place:
    """Where a model is in a set of tensors: `inside` under its own names, `outside` the rest."""

    prefix: str
    inside: dict[str, Tensor]
    outside: dict[str, Tensor]
    program: Program | None = None
    eps: float | None = None
    notes: tuple[str, ...] = ()


def _find_place(
    state: Mapping[str, Tensor], own: Mapping[str, Tensor], body: Sequence[str], file: str
) -> _Place | None:
    """The model by its own names, else by another program's; None for names of neither."""
    prefixes = _prefixes(state, body)
    program: Program | None = None
    if not prefixes:
        known = recognise(state)
        if known is None:
            return None
        program, prefixes = known
    prefix = _one_of(prefixes, file)
    notes = []
    if len(prefixes) > 1:
        rest = [other.removesuffix(".") for other in prefixes if other != prefix]
        notes.append(said_of_several(prefix.removesuffix("."), rest))
    inside, outside = {}, {}
    for name, tensor in state.items():
        if name.startswith(prefix):
            inside[name.removeprefix(prefix)] = tensor
        else:
            outside[name] = tensor
    eps = None
    if program is not None:
        eps = norm_eps(program, inside)
        inside = _renamed(inside, outside, program, own)
        notes.append(
            Sentence(
                "weights.renamed",
                "Its tensors are named as {program} names them; they were renamed.",
                program=program.name,
            )
        )
    if "register_tokens" in inside and "reg_token" in own:  # DINOv2's own name
        inside["reg_token"] = inside.pop("register_tokens")
        inside = fold_class_position(inside)
    return _Place(prefix, inside, outside, program, eps, tuple(notes))


def _fit(checkpoint: Checkpoint, tensors: TensorSet, module: nn.Module) -> Fitted:
    own, file = module.state_dict(), checkpoint.path.name
    heads = head_names(module)
    body = [name for name in own if not _under(name, heads)]
    place = _find_place(tensors.state, own, body, file)
    if place is None:
        return _unknown(tensors, own)
    prefix, inside = place.prefix, place.inside
    aside = {name for name in inside if _is_aside(name, own, place.program)}
    head = None
    if set(inside) - aside != set(own):
        beside = {**place.outside, **_strangers(place, aside, {*own, *heads})}
        head = find_head(inside, beside, prefix, heads, _width(module), file)
    used = frozenset() if head is None else head.used
    if head is None:
        aside |= {name for name in inside if _is_projection(name, heads, own)}
    state = {
        name: tensor
        for name, tensor in inside.items()
        if name not in aside and not {name, f"{prefix}{name}"} & used
    }
    notes = list(place.notes)
    if head is not None:
        state |= {f"{heads[0]}.{name}": tensor for name, tensor in head.tensors.items()}
        notes += said_of_head(head)
    # Outside the model's own prefix anything may stand; within it only what is known to be no part.
    left = sorted(f"{prefix}{name}" for name in aside) + sorted(set(place.outside) - used)
    if left:
        notes.append(said_of_rest(left))
    options, said = _options(state, own, module, heads, head)
    unmatched = [
        name
        for name in {*body, *state}
        if not (name in own and name in state)
        and not _under(name, heads)
        and not _pooled_elsewhere(name, options)
    ]
    unmatched += [name for name in body if name in state and _other_shape(name, own, state)]
    return Fitted(
        tensors, state, options, head, heads[0] if heads else "", place.eps,
        (*notes, *said, *said_of_program(place.program, place.eps, module)), tuple(unmatched),
    )  # fmt: skip


def _strangers(place: _Place, aside: set[str], names: set[str]) -> dict[str, Tensor]:
    """What stands within a model under names that it has no part of, by its names in the file."""
    firsts = {name.partition(".")[0] for name in names}
    return {
        f"{place.prefix}{name}": tensor
        for name, tensor in place.inside.items()
        if "." in name and name.partition(".")[0] not in firsts and name not in aside
    }


def _unknown(tensors: TensorSet, own: Mapping[str, Tensor]) -> Fitted:
    """Nothing but wrappers' names is taken off: timm may still know the names."""
    state = unwrapped(tensors.state, own)
    classes = count_classes(state)
    return Fitted(tensors, state, {"num_classes": classes or 0}, unmatched=tuple(own)[:1] or ("",))


def head_names(module: nn.Module) -> tuple[str, ...]:
    """What a model of timm calls its classifiers, its own first."""
    config = getattr(module, "pretrained_cfg", None) or {}
    named = config.get("classifier") or ()
    names = (named,) if isinstance(named, str) else tuple(named)
    return names or (("head",) if hasattr(module, "head") else ())


def count_classes(state: Mapping[str, Tensor]) -> int | None:
    """Number of classes of a timm-style head, None where there is no head."""
    for name in ("head.weight", "head.fc2.weight", "head.fc.weight", "classifier.weight"):
        for key, tensor in state.items():
            if key == name or key.endswith(f".{name}"):
                return int(tensor.shape[0])
    return None


def unwrapped(state: dict[str, Tensor], own: Iterable[str]) -> dict[str, Tensor]:
    """The tensors without the names of modules around the model, such as "module._orig_mod."."""
    firsts = {key.partition(".")[0] for key in own}
    while True:
        first = {key.partition(".")[0] for key in state}
        if len(first) != 1 or first <= firsts or not all("." in key for key in state):
            return state
        state = {key.partition(".")[2]: tensor for key, tensor in state.items()}


def _prefixes(names: Iterable[str], body: Sequence[str]) -> list[str]:
    """What stands before a model's own names in the file, for each copy of most of the model."""
    known, votes = set(body), Counter[str]()
    for name in names:
        at = 0
        while True:
            if name[at:] in known:
                votes[name[:at]] += 1
            at = name.find(".", at) + 1
            if not at:
                break
    return [prefix for prefix, count in votes.items() if count > ENOUGH * len(known)]


def _one_of(prefixes: Sequence[str], file: str) -> str:
    if len(prefixes) == 1:
        return prefixes[0]
    for word in TAKEN:
        found = [one for one in prefixes if word in re.split(r"[._]", one) or f"{word}." in one]
        if len(found) == 1:
            return found[0]
    told = joined(
        repr(prefix.removesuffix(".")) if prefix else Sentence("part.prefix.no", "no prefix")
        for prefix in prefixes
    )
    raise ModelError(
        "error.weights.mixed",
        "The weights file {file} holds several models' tensors ({told}), expected one "
        "state_dict (names to tensors); save that of the model.",
        file=file,
        told=told,
    )


def _renamed(
    inside: dict[str, Tensor], outside: dict[str, Tensor], program: Program, own: Mapping[str, Any]
) -> dict[str, Tensor]:
    """A ViT of another program under timm's names; two classifiers of a DeiT become its heads."""
    state = to_timm(inside, program)
    if "reg_token" in state and "reg_token" in own:
        state = fold_class_position(state)
    both = {"cls_classifier": "head", "distillation_classifier": "head_dist"}
    if "dist_token" in state and "head_dist.weight" in own:
        for theirs, ours in both.items():
            for part in ("weight", "bias"):
                name = next((key for key in outside if key.endswith(f"{theirs}.{part}")), None)
                if name is not None:
                    state[f"{ours}.{part}"] = outside.pop(name)
    return state


def _is_aside(name: str, own: Mapping[str, Any], program: Program | None) -> bool:
    if name in own:
        return False
    if program is not None and re.match(program.aside, name):
        return True
    # A file that timm knows by its mask token keeps its other names.
    return bool(ASIDE.fullmatch(name)) and name.partition(".")[0] not in {
        key.partition(".")[0] for key in own
    } | {"register_tokens"}


def _is_projection(name: str, heads: Sequence[str], own: Mapping[str, Any]) -> bool:
    """Within what the model calls its head, but no classifier: DINO's and its like."""
    return name not in own and _under(name, heads) and name.partition(".")[2] not in (
        "weight", "bias",
    )  # fmt: skip


def _under(name: str, places: Sequence[str]) -> bool:
    return any(name == place or name.startswith(f"{place}.") for place in places)


def _width(module: nn.Module) -> int:
    """Numbers that the classifier reads."""
    for name in ("head_hidden_size", "num_features", "embed_dim"):
        width = getattr(module, name, None)
        if isinstance(width, int):
            return width
    return 0


def _options(
    state: Mapping[str, Tensor],
    own: Mapping[str, Tensor],
    module: nn.Module,
    heads: Sequence[str],
    head: Head | None,
) -> tuple[dict[str, Any], list[Sentence]]:
    """timm's options for a model that takes these tensors, and a sentence on each unusual one."""
    classes = head.classes if head is not None else None
    for name in heads[:1]:
        weight = state.get(f"{name}.weight")
        if classes is None and weight is not None and weight.ndim > 1:
            classes = int(weight.shape[0])
    classes = count_classes(state) if classes is None else classes
    options: dict[str, Any] = {"num_classes": classes or 0}
    said = []
    if "fc_norm.weight" in state and "norm.weight" not in state and "norm.weight" in own:
        options["global_pool"] = "avg"
        said.append(
            Sentence(
                "weights.mean",
                "It is pooled by the patches' mean, as the norm after pooling (fc_norm) says.",
            )
        )
    elif "norm.weight" in state and "fc_norm.weight" in own and "fc_norm.weight" not in state:
        options["global_pool"] = "token"
        said.append(
            Sentence(
                "weights.token", "It is pooled by the class token, as the norm before pooling says."
            )
        )
    first = (getattr(module, "pretrained_cfg", None) or {}).get("first_conv")
    given, known = state.get(f"{first}.weight"), own.get(f"{first}.weight")
    if given is not None and known is not None and given.ndim == known.ndim == 4:
        channels = int(given.shape[1])
        if channels != known.shape[1]:
            options["in_chans"] = channels
            said.append(
                Sentence(
                    "weights.channels",
                    "Its patch embedding reads {channels}.",
                    channels=Sentence("part.channel", "1 channel")
                    if channels == 1
                    else Sentence("part.channels", "{count} channels", count=channels),
                )
            )
    return options, said


def _pooled_elsewhere(name: str, options: Mapping[str, Any]) -> bool:
    return "global_pool" in options and name.startswith(("norm.", "fc_norm."))


def _other_shape(name: str, own: Mapping[str, Tensor], state: Mapping[str, Tensor]) -> bool:
    """Whether a tensor is of another width; those of positions and channels may differ."""
    if "pos" in name or own[name].ndim == 4 or state[name].ndim != own[name].ndim:
        return False
    return own[name].shape != state[name].shape
