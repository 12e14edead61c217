"""A timm name, with the hub's weights, a file's or none → a built module."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import nn

from vit_explorer.errors import ModelError
from vit_explorer.models.card import Pair
from vit_explorer.models.checkpoints.checkpoint import Checkpoint
from vit_explorer.models.checkpoints.filling import check_extent, check_patches, fill
from vit_explorer.models.checkpoints.fitting import Fitted, fit
from vit_explorer.models.checkpoints.google_files import is_google, under_timm_names
from vit_explorer.models.checkpoints.hub import HubError, fetch, fetch_weights
from vit_explorer.models.checkpoints.position_grids import find_grid, resampled
from vit_explorer.models.loaded import Built
from vit_explorer.models.provenance import NUMBERED, Provenance
from vit_explorer.models.shipped import BUNDLED
from vit_explorer.models.structure.measure import check_architecture
from vit_explorer.sentences import Sentence

HUB = "hf-hub"


def from_timm(name: str, size: Pair | None, pretrained: bool) -> Built:
    """A timm model with the hub's weights, or random ones.

    Raises:
        ModelError: unknown name, or unreachable hub.
        UnsupportedModelError: its blocks don't each make one global self-attention.
    """
    options: dict[str, Any] = {} if size is None else {"img_size": size}
    if pretrained and ":" not in name:
        check_architecture(lambda: _create(name, False, options), size, name)
    source, file = _fetched(name, pretrained)
    module = _create(source, pretrained, options, file)
    labels, labels_source = timm_labels(module, None)
    return Built(
        module=module,
        name=name,
        source=Provenance("timm_hub" if pretrained else "timm_random"),
        data=_data(module, size),
        labels=labels,
        labels_source=labels_source,
    )


def from_checkpoint(
    name: str,
    checkpoint: Checkpoint,
    size: Pair | None,
    trained_at: Pair | None = None,
    options: dict[str, Any] | None = None,
) -> Built:
    """A timm model with a file's weights.

    `size`: (height, width) that it shall run at; `trained_at`: that of the weights, where the
    caller says it; `options`: further ones of timm's that the model is made with.

    Raises:
        ModelError: the weights don't fit, or what they leave open must be said.
    """
    build = partial(_create_unfilled, name)
    made = dict(options or {})
    skeleton = _skeleton(name, made)
    if is_google(checkpoint.state):
        checkpoint = under_timm_names(checkpoint, lambda given: build({**made, **given}), name)
    fitted = fit(checkpoint, skeleton)
    made |= fitted.options
    check_patches(skeleton, fitted.state, checkpoint.path.name, name)
    check_extent(skeleton, fitted, checkpoint.path.name, name)
    grid, size, notes = _placed(skeleton, fitted, checkpoint, size, trained_at)
    if size is not None:
        made["img_size"] = size
    module = build(made)
    if grid is not None:
        embed: Any = module.patch_embed
        run = tuple(embed.grid_size)
        positions = fitted.state["pos_embed"]
        moved = resampled(positions, grid, run, positions.shape[1] - grid[0] * grid[1])
        if moved is not positions:
            fitted.state["pos_embed"] = moved
            shapes = [f"{rows}×{columns}" for rows, columns in (grid, run)]
            notes.append(
                Sentence(
                    "weights.positions",
                    "Positions were interpolated from {old} to {new} patches.",
                    old=shapes[0],
                    new=shapes[1],
                )
            )
    fill(module, fitted, checkpoint, name)
    labels, labels_source = timm_labels(module, checkpoint)
    data = _data(module, size)
    if checkpoint.metadata:
        data = {**checkpoint.metadata["preprocess"], "input_size": data["input_size"]}
    elif checkpoint.data:
        data |= checkpoint.data
        told = ", ".join(checkpoint.data)
        notes.append(
            Sentence(
                "weights.prepared",
                "How pictures are prepared ({names}) is what the file says of its training.",
                names=told,
            )
        )
    return Built(
        module=module,
        name=name,
        source=Provenance("timm_file", file=checkpoint.path.name, key=fitted.tensors.key),
        data=data,
        labels=labels,
        labels_source=labels_source,
        sha256=checkpoint.sha256,
        metadata=checkpoint.metadata,
        notes=(*checkpoint.notes, *fitted.notes, *notes),
    )


def _data(module: nn.Module, size: Pair | None) -> dict[str, Any]:
    from timm.data import resolve_model_data_config

    data = dict(resolve_model_data_config(module))
    # The channels are the module's own matter: pictures are prepared in three.
    data["input_size"] = (3, *(size or _native_size(module)))
    return data


def _native_size(module: nn.Module) -> Pair:
    """The (height, width) that a module was made for."""
    from timm.data import resolve_model_data_config

    made = getattr(getattr(module, "patch_embed", None), "img_size", None)
    size = made or resolve_model_data_config(module)["input_size"][1:]
    return (size, size) if isinstance(size, int) else (size[0], size[1])


def _skeleton(name: str, options: dict[str, Any]) -> nn.Module:
    """The module without its numbers, for its names and shapes."""
    try:
        with torch.device("meta"):
            return _create_unfilled(name, options)
    except (ModelError, NotImplementedError):
        # Some compute with their own weights when they are made.
        return _create_unfilled(name, options)


def _create_unfilled(name: str, options: dict[str, Any]) -> nn.Module:
    """A module that a file's tensors fill, without timm's random numbers where it can do so."""
    import timm

    try:
        return timm.create_model(name, pretrained=False, weight_init="skip", **options)
    except Exception:  # not every architecture knows the option; why it fails is told below
        return _create(name, False, options)


def timm_weights(name: str) -> Path | None:
    """The hub's weights of a timm name, brought to this machine; None where timm has them from
    elsewhere, or has none.

    Raises:
        ModelError: they can't be had.
    """
    from timm.models import get_pretrained_cfg

    config = get_pretrained_cfg(name, allow_unregistered=True)
    if config is None or not config.hf_hub_id:
        return None
    try:
        return fetch_weights(config.hf_hub_id, name)
    except HubError as error:
        raise _unreached(name, error.reason) from None


def _fetched(name: str, pretrained: bool) -> tuple[str, Path | None]:
    """What timm makes a model by once all it needs is here: its name and the file of its weights,
    or the folder of a repository of the hub."""
    scheme, colon, repository = name.partition(":")
    if not colon:
        return name, timm_weights(name) if pretrained else None
    if scheme.replace("_", "-").lower() != HUB:
        return name, None
    organised, _, revision = repository.partition("@")
    try:
        config = fetch(organised, "config.json", name, revision or None)
        if pretrained:
            fetch_weights(repository, name)
    except HubError as error:
        raise _unreached(name, error.reason) from None
    return f"local-dir:{config.parent}", None


def _create(
    name: str, pretrained: bool, options: dict[str, Any], file: Path | None = None
) -> nn.Module:
    """A model as timm makes it, with the weights of `file` where there is one."""
    import timm

    given: dict[str, Any] = {} if file is None else {"pretrained_cfg_overlay": {"file": str(file)}}
    try:
        return timm.create_model(name, pretrained=pretrained, **options, **given)
    except TypeError:
        if "img_size" in options:  # convolutions take any: the pass over a picture will tell
            without = {key: value for key, value in options.items() if key != "img_size"}
            return _create(name, pretrained, without, file)
        raise ModelError(
            "error.timm.build",
            "timm can't build {name!r} with {options}; check the name and the options.",
            name=name,
            options=options or Sentence("part.defaults", "its defaults"),
        ) from None
    except (OSError, RuntimeError, ValueError, AssertionError) as error:
        if not pretrained or file is not None:
            raise ModelError(
                "error.timm.why",
                "timm can't build {name!r} with {options} ({error}).",
                name=name,
                options=options or Sentence("part.defaults", "its defaults"),
                error=error,
            ) from None
        # OSError covers every way that what timm has from elsewhere can be out of reach.
        reason = (
            Sentence("part.network", "no network or no such weights")
            if isinstance(error, OSError)
            else str(error)
        )
        raise _unreached(name, reason) from None
    except Exception as error:
        if not pretrained:
            raise
        failed = type(error).__name__
        if file is not None:
            raise ModelError(
                "error.timm.kept",
                "The weights of {name!r} on this machine can't be read ({error}); delete the file "
                "{file} and load the model again.",
                name=name,
                error=failed,
                file=file,
            ).offering(BUNDLED) from None
        # A line that was cut: the client passes on what its own libraries raise.
        reason = Sentence("part.download", "the download failed: {error}", error=failed)
        raise _unreached(name, reason) from None


def _unreached(name: str, reason: str) -> ModelError:
    return ModelError(
        "error.timm.download",
        "The weights of {name!r} can't be downloaded ({reason}); connect to the internet, give "
        "a checkpoint file with weights, or use the model 'bundled'.",
        name=name,
        reason=reason,
    ).offering(BUNDLED)


def _placed(
    skeleton: nn.Module,
    fitted: Fitted,
    checkpoint: Checkpoint,
    size: Pair | None,
    trained_at: Pair | None,
) -> tuple[Pair | None, Pair | None, list[str]]:
    """The grid of a file's position embeddings, the size to run at, and what is to be said.

    No grid where the model's positions are no table of one a patch; then timm places them.
    """
    positions = fitted.state.get("pos_embed")
    own = skeleton.state_dict().get("pos_embed")
    native = getattr(getattr(skeleton, "patch_embed", None), "grid_size", None)
    if positions is None or own is None or native is None or fitted.unmatched:
        return None, size, []
    if positions.ndim != 3 or own.ndim != 3 or positions.shape[-1] != own.shape[-1]:
        return None, size, []
    prefix = own.shape[1] - native[0] * native[1]
    count = positions.shape[1] - prefix
    if prefix < 0 or count < 1 or positions.shape[0] != 1:
        return None, size, []
    whole = _native_size(skeleton)
    patch = (whole[0] // native[0], whole[1] // native[1])
    grid, said = find_grid(
        positions[0, prefix:], tuple(native), patch, checkpoint.path.name,
        old=trained_at, said=checkpoint.image_size, size=size,
    )  # fmt: skip
    if size is None and grid != tuple(native):
        size = grid[0] * patch[0], grid[1] * patch[1]
    return grid, size, [said] if said else []


def timm_labels(
    module: nn.Module, checkpoint: Checkpoint | None
) -> tuple[tuple[str, ...], Provenance]:
    """A model's class names, none where they are not known, and where they are from."""
    from timm.data import ImageNetInfo, infer_imagenet_subset

    if checkpoint is not None and checkpoint.metadata:
        return tuple(checkpoint.metadata["labels"]), Provenance("checkpoint")
    names = label_names(getattr(module, "pretrained_cfg", None) or {})
    if names:
        return names, Provenance("config")
    subset = infer_imagenet_subset(module)
    if subset is None:
        return (), NUMBERED
    info = ImageNetInfo(subset)
    names = tuple(info.index_to_description(index) for index in range(info.num_classes()))
    return names, Provenance("imagenet", count=len(names))


def label_names(config: dict[str, Any]) -> tuple[str, ...]:
    """Class names of timm's config of a model: its descriptions where they are told, else names."""
    names = config.get("label_names")
    if not isinstance(names, (list, tuple)):
        return ()
    described = config.get("label_descriptions")
    described = described if isinstance(described, dict) else {}
    return tuple(str(described.get(name, name)) for name in names)
