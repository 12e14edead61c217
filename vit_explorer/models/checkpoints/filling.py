"""A file's tensors into a module, strictly: every parameter gets its own, and none is left over."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping

import torch
from torch import Tensor, nn

from vit_explorer.errors import ModelError
from vit_explorer.models.checkpoints.checkpoint import Checkpoint
from vit_explorer.models.checkpoints.fitting import Fitted, fit, unwrapped
from vit_explorer.models.checkpoints.heads import build_head
from vit_explorer.sentences import Sentence, joined

PATCHES = "patch_embed.proj.weight"
# A model may have more numbers than its file, for a classifier or positions, up to so many times.
MANY_TIMES = 2
SMALL = 16_000_000


def load_state(module: nn.Module, checkpoint: Checkpoint, name: str) -> None:
    """Load strictly, through timm's own conversion where the model's family has one.

    Raises:
        ModelError: keys or shapes are another architecture's.
    """
    fill(module, fit(checkpoint, module), checkpoint, name)


def fill(module: nn.Module, fitted: Fitted, checkpoint: Checkpoint, name: str) -> None:
    """Give a module the tensors that were chosen for it.

    Raises:
        ModelError: keys or shapes are another architecture's.
    """
    module.load_state_dict(_fitting_state(module, fitted, checkpoint.path.name, name))
    if fitted.eps is not None:
        _set_eps(module, fitted.eps)


def check_fit(skeleton: nn.Module, fitted: Fitted, file: str, name: str) -> None:
    """Refuse what `fill` would refuse, by a module without numbers.

    Raises:
        ModelError: keys or shapes are another architecture's.
    """
    _fitting_state(skeleton, fitted, file, name)


def check_extent(skeleton: nn.Module, fitted: Fitted, file: str, name: str) -> None:
    """Refuse a file that is a small part of a model, before a model of that size is made.

    Raises:
        ModelError: the model has many times the file's numbers.
    """
    own, held = (
        sum(tensor.numel() for tensor in state.values())
        for state in (skeleton.state_dict(), fitted.tensors.state)
    )
    if own > MANY_TIMES * held + SMALL:
        raise _misfit(_mismatch(skeleton, fitted.state), file, name)


def _fitting_state(module: nn.Module, fitted: Fitted, file: str, name: str) -> dict[str, Tensor]:
    """The tensors under the module's own names and in its shapes."""
    if fitted.head is not None and fitted.head.norm:
        build_head(module, fitted.head_name, fitted.head)
    check_patches(module, fitted.state, file, name)
    _check_representation(module, fitted.tensors.state, file, name)
    problem = ""
    for state in _readings(module, fitted):
        found = _mismatch(module, state)
        if not found:
            _check_floats(module, state, file)
            return state
        problem = problem or found
    raise _misfit(problem, file, name)


def _misfit(problem: str, file: str, name: str) -> ModelError:
    return ModelError(
        "error.weights.fit",
        "The weights in {file} don't fit {name}: {problem}; give the architecture they were "
        "trained with, or build the module in Python and pass it to load_model(module).",
        file=file,
        name=name,
        problem=problem,
    )


def _readings(module: nn.Module, fitted: Fitted) -> Iterator[dict[str, Tensor]]:
    """The tensors as they were chosen, then as timm converts them."""
    yield fitted.state
    yield _converted(fitted.state, module)
    # Some of timm's conversions know a file by a name around its model, or beside its parts.
    whole = fitted.tensors.state
    for state in (whole, unwrapped(whole, module.state_dict())):
        yield state
        yield _converted(state, module)


def _set_eps(module: nn.Module, eps: float) -> None:
    for part in module.modules():
        if isinstance(part, nn.LayerNorm):
            part.eps = eps


def _check_representation(
    module: nn.Module, state: Mapping[str, Tensor], file: str, name: str
) -> None:
    """Refuse a head that reads a layer of its own, which timm's conversion would leave out."""
    own = module.state_dict()
    if any(".pre_logits." in f".{key}" for key in state) and not any(
        ".pre_logits." in f".{key}" for key in own
    ):
        raise ModelError(
            "error.weights.logits",
            "The classifier in {file} reads a representation layer (pre_logits), which {name} "
            "doesn't have; build the module in Python and pass it to load_model(module).",
            file=file,
            name=name,
        )


def check_patches(module: nn.Module, state: Mapping[str, Tensor], file: str, name: str) -> None:
    """Refuse another patch size, which timm's conversion would resample into another model.

    Raises:
        ModelError: the file's patches have other sides than the module's.
    """
    given, own = state.get(PATCHES), module.state_dict().get(PATCHES)
    if given is None or own is None or given.ndim != 4 or given.shape[0] != own.shape[0]:
        return
    sizes = [f"{height}×{width}" for *_, height, width in (given.shape, own.shape)]
    if sizes[0] != sizes[1]:
        raise ModelError(
            "error.weights.patches",
            "The weights in {file} have {own} patches, {name} has {expected}; give the "
            "architecture they were trained with, or build the module in Python and pass it to "
            "load_model(module).",
            file=file,
            own=sizes[0],
            name=name,
            expected=sizes[1],
        )


def _check_floats(module: nn.Module, state: Mapping[str, Tensor], file: str) -> None:
    """Refuse whole numbers where a model has others: they would be read as weights."""
    for name, tensor in module.state_dict().items():
        if tensor.is_floating_point() and not state[name].is_floating_point():
            kind = str(state[name].dtype).removeprefix("torch.")
            raise ModelError(
                "error.weights.quantised",
                "The weights file {file} holds {name!r} as {kind}, which is quantised or no "
                "weight; save the float state_dict of the model.",
                file=file,
                name=name,
                kind=kind,
            )


def _converted(state: dict[str, Tensor], module: nn.Module) -> dict[str, Tensor]:
    convert = getattr(sys.modules[type(module).__module__], "checkpoint_filter_fn", None)
    if convert is None:
        return state
    try:
        with torch.no_grad():
            return convert(dict(state), module)
    except (RuntimeError, KeyError, ValueError, AttributeError, AssertionError, IndexError):
        # Another architecture's keys: the mismatch says it best.
        return state


def _mismatch(module: nn.Module, state: Mapping[str, Tensor]) -> str:
    own = module.state_dict()
    missing = [key for key in own if key not in state]
    unexpected = [key for key in state if key not in own]
    shapes = [key for key in own if key in state and own[key].shape != state[key].shape]
    parts = []
    if missing:
        parts.append(
            Sentence(
                "part.tensors.missing",
                "{count} of {all} tensors are missing, such as {such!r}",
                count=len(missing),
                all=len(own),
                such=missing[0],
            )
        )
    if unexpected:
        parts.append(
            Sentence(
                "part.tensors.unknown",
                "{count} are unknown, such as {such!r}",
                count=len(unexpected),
                such=unexpected[0],
            )
        )
    if shapes:
        key = shapes[0]
        such = Sentence("part.tensors.such", " ({count} such)", count=len(shapes))
        more = such if len(shapes) > 1 else ""
        parts.append(
            Sentence(
                "part.tensors.shape",
                "{key!r} is {shape}, expected {expected}{more}",
                key=key,
                shape=tuple(state[key].shape),
                expected=tuple(own[key].shape),
                more=more,
            )
        )
    return joined(parts)
