"""A name, a file or a module → a loaded model and the card of what was detected."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import nn

from vit_explorer.errors import ModelError, OptionError, closest, did_you_mean, nearest
from vit_explorer.models.capture import Functions
from vit_explorer.models.card import Pair, find_core
from vit_explorer.models.checkpoints.checkpoint import Checkpoint, is_timm_name, read_checkpoint
from vit_explorer.models.checkpoints.claims import fit_described
from vit_explorer.models.checkpoints.filling import fill
from vit_explorer.models.checkpoints.folders import from_folder
from vit_explorer.models.checkpoints.quantised import check_gradients
from vit_explorer.models.checkpoints.text_towers import find_towers
from vit_explorer.models.checkpoints.timm_folders import LOCAL
from vit_explorer.models.checkpoints.timm_names import from_checkpoint, from_timm, timm_labels
from vit_explorer.models.checkpoints.transformers_modules import check_size, describe
from vit_explorer.models.checkpoints.weight_files import WEIGHT_ENDINGS
from vit_explorer.models.devices import find_device, find_precision
from vit_explorer.models.finishing import finish
from vit_explorer.models.loaded import Built, LoadedModel
from vit_explorer.models.loading import Loading, absolute
from vit_explorer.models.outputs import Outputs, check_outputs
from vit_explorer.models.provenance import NUMBERED, Provenance
from vit_explorer.models.shipped import BUNDLED, SHIPPED
from vit_explorer.models.vit import VisionTransformer, ViTConfig
from vit_explorer.sentences import either
from vit_explorer.stopping import can_stop

PREPROCESS = ("mean", "std", "crop_pct", "crop_mode", "interpolation")


class NoArchitectureError(ModelError):
    """A checkpoint that doesn't say which model it is of."""


def available_models() -> tuple[str, ...]:
    """Names that `load_model` knows: those that ship first ("bundled"), then every timm name."""
    import timm

    return (*SHIPPED, *timm.list_models())


def is_model_name(name: str) -> bool:
    """Whether a name is one of `available_models`, or one of them with a tag of timm's weights."""
    import timm

    # timm takes whatever stands behind a dot for a tag of its weights.
    plain = "." not in name and timm.is_model(name)
    return name in SHIPPED or plain or timm.models.is_model_pretrained(name)


def load_model(
    model: str | Path | nn.Module = BUNDLED,
    *,
    weights: str | Path | None = None,
    labels: str | Path | Sequence[str] | None = None,
    image_size: int | Pair | None = None,
    weights_image_size: int | Pair | None = None,
    device: str = "auto",
    precision: str = "float32",
    pretrained: bool = True,
    transform: Callable[..., Any] | None = None,
    preprocess: Mapping[str, Any] | None = None,
    outputs: str | None = None,
    words: Sequence[str] | None = None,
    tokenizer: Any = None,
) -> LoadedModel:
    """Load a ViT, or another image model, and detect its structure.

    A model whose blocks don't each attend from all patches to all patches is opened by its stages
    (`card.tier` is 2): all but what shows attention works.

    Args:
        model: "bundled", "bundled-cifar10", a timm name, a checkpoint written by `vit-explorer
            train` or one that names its timm model, a folder written by transformers'
            `save_pretrained` or by timm for the hub, or a module.
        weights: checkpoint for a timm name; the class count is read from its head. Names of
            torchvision, transformers and CLIP are converted; the card says what was left aside.
        labels: class names, as a list or a file.
        image_size: pixels (height, width); position embeddings are interpolated.
        weights_image_size: pixels that the weights were trained at, where their positions fit
            more than one shape and `image_size` is another.
        device: "auto", "cpu", "cuda" or "cuda:N"; a module that was passed in stays where it is.
        precision: "float32", or "bfloat16" or "float16" to compute in half of the bytes; a module
            that was passed in stays as it is. What is kept of a pass is float32 again.
        pretrained: False gives random weights instead of those of the hub.
        transform: PIL picture, or array (H, W, C) of one with bands, to a normalised (C, H, W)
            tensor; needed for a module, and for a folder without its image processor.
        preprocess: what differs from the model's own preparation of pictures, as in timm's data
            config: mean and std (a channel, for pixels from 0 to 1), crop_pct, crop_mode and
            interpolation. A model of other than 1 or 3 channels needs mean and std.
        outputs: what the numbers that the model returns are: "classes" (softmax), "labels"
            (sigmoid: several may hold), "probabilities" (already), "value" or "embedding"; None
            finds it by the config's problem_type, the last layer and values.
        words: sentences that become the classes of a model with a text tower (CLIP or SigLIP of
            transformers or open_clip): a folder, "open_clip:NAME/TAG", "hf-hub:ORG/NAME" or a
            module. Logits are those that the model gives for picture and sentence; probabilities a
            softmax over the sentences, or a sigmoid of each where it was trained so.
        tokenizer: how sentences become tokens, for a module that can't tell its own.

    Raises:
        ModelError: unknown name, unreachable hub, or weights or labels that don't fit.
        UnsupportedModelError: no model of pictures whose attention or stages can be read.
        OptionError: a size, device, precision or preprocessing that can't be used.
    """
    size, trained_at = _pair(image_size), _pair(weights_image_size)
    meant = check_outputs(outputs)
    preprocess = _check_preprocess(preprocess or {}, transform)
    moved = not isinstance(model, nn.Module)
    if words is not None:
        built, meant = _in_words(
            model, words, tokenizer, size, meant,
            prepare=transform is None and not preprocess,
            alone=weights is None and labels is None,
        )  # fmt: skip
    elif isinstance(model, nn.Module):
        if weights is not None:
            raise ModelError(
                "error.module.weights",
                "A module brings its own weights; load the file into it, or give a timm name.",
            )
        built = _from_module(model, size, prepare=transform is None and not preprocess)
    else:
        given = _Given(weights, size, trained_at, prepare=transform is None)
        # Where it may be called off, each function of torch that it is built by looks.
        with Functions() if can_stop() else nullcontext():
            built = _from_name(str(model), given, pretrained)
    if moved:
        built.module.eval().requires_grad_(False)
        built.module.to(find_device(device), find_precision(precision))
    built = dataclasses.replace(built, data={**built.data, **preprocess})
    loaded = finish(built, labels, transform, tuple(preprocess), trained_at, meant)
    if not moved or transform is not None or tokenizer is not None:
        return loaded
    options = {
        "weights": None if weights is None else absolute(weights),
        "labels": absolute(labels) if isinstance(labels, (str, Path)) else labels,
        "image_size": size, "weights_image_size": trained_at, "precision": precision,
        "pretrained": pretrained, "preprocess": dict(preprocess), "outputs": outputs,
        "words": words,
    }  # fmt: skip
    return dataclasses.replace(loaded, loading=Loading(_found_anywhere(str(model)), options))


def _found_anywhere(name: str) -> str:
    """A model's name, or the path of its file or folder as it is called from any folder."""
    place = name.removeprefix(LOCAL)
    # timm, which knows its names, takes seconds to import: asked last.
    return absolute(place) if Path(place).exists() and not is_model_name(place) else name


def _in_words(
    model: str | Path | nn.Module,
    words: Sequence[str],
    tokenizer: Any,
    size: Pair | None,
    meant: Outputs | None,
    *,
    prepare: bool,
    alone: bool,
) -> tuple[Built, Outputs]:
    """A model whose classes are words, and what its outputs are."""
    if not alone:
        raise ModelError(
            "error.words.alone",
            "With words the model brings its own weights, and the words are its labels; leave "
            "weights and labels out.",
        )
    towers = find_towers(model, tokenizer, size, prepare=prepare)
    if prepare and "mean" not in towers.data:
        raise _unprepared(towers.name)
    return towers.built(words), meant or towers.reader.outputs


def _unprepared(name: str) -> ModelError:
    return ModelError(
        "error.prepare.unknown",
        "How to prepare a picture for {name} is not known; pass transform= (PIL picture to a "
        "normalised (3, H, W) tensor), or preprocess= with mean and std.",
        name=name,
    )


def _check_preprocess(
    given: Mapping[str, Any], transform: Callable[..., Any] | None
) -> Mapping[str, Any]:
    if given and transform is not None:
        raise OptionError(
            "error.transform.alone",
            "A transform prepares pictures by itself; leave preprocess out.",
        )
    for key in given:
        if key not in PREPROCESS:
            raise OptionError(
                "error.preprocess.key",
                "The preprocessing has no {key!r}{near}; expected {known}.",
                key=key,
                near=nearest(key, PREPROCESS),
                known=either(PREPROCESS),
            )
    return given


def _pair(size: int | Pair | None) -> Pair | None:
    if size is None:
        return None
    pair = (size, size) if isinstance(size, int) else tuple(size)
    if len(pair) != 2 or not all(isinstance(side, int) and 0 < side <= 4096 for side in pair):
        raise OptionError(
            "error.size",
            "The image size was {size!r}, expected height and width from 1 to 4096.",
            size=size,
        )
    return pair[0], pair[1]


@dataclass(frozen=True)
class _Given:
    """What a caller says of a model that is loaded by name: its file and its picture sizes."""

    weights: str | Path | None
    size: Pair | None
    trained_at: Pair | None
    prepare: bool


def _from_name(name: str, given: _Given, pretrained: bool) -> Built:
    name = name.removeprefix(LOCAL) if Path(name.removeprefix(LOCAL)).is_dir() else name
    known = name in SHIPPED or _is_of_timm(name)
    file = not known and (Path(name).suffix in WEIGHT_ENDINGS or Path(name).is_file())
    folder = Path(name).is_dir() and not known
    if not pretrained and given.weights is None and (name in SHIPPED or file or folder):
        raise ModelError(
            "error.model.random",
            "The model {name} has its own weights; random ones are for timm's names.",
            name=name,
        )
    if name in SHIPPED:
        if given.weights is not None:
            raise ModelError(
                "error.model.own",
                "The model {name!r} has its own weights; give the timm name that the weights "
                "file was trained with.",
                name=name,
            )
        checkpoint = read_checkpoint(SHIPPED[name].weights)
        return _from_recipe(checkpoint, name, given)
    if given.weights is not None:
        checkpoint = read_checkpoint(given.weights)
        if checkpoint.metadata and "timm" not in checkpoint.metadata["config"]:
            return _from_recipe(checkpoint, checkpoint.path.stem, given)
        _check_name(name)
        return from_checkpoint(name, checkpoint, given.size, given.trained_at)
    if file:
        return _from_file(read_checkpoint(name), given)
    if folder:
        return from_folder(Path(name), given.size, given.trained_at, prepare=given.prepare)
    _check_name(name)
    return from_timm(name, given.size, pretrained)


def _from_file(checkpoint: Checkpoint, given: _Given) -> Built:
    if checkpoint.metadata:
        return _from_recipe(checkpoint, checkpoint.path.stem, given)
    # The file may be anyone's: it may name a model of timm, and no address.
    named = checkpoint.architecture
    if is_timm_name(named):
        return from_checkpoint(named, checkpoint, given.size, given.trained_at)
    raise NoArchitectureError(
        "error.file.architecture",
        "The file {file} doesn't say its architecture; give the timm name as the model and the "
        "file as its weights.",
        file=checkpoint.path.name,
    )


def _from_recipe(checkpoint: Checkpoint, name: str, given: _Given) -> Built:
    """A checkpoint that `train` wrote describes itself."""
    size = given.size
    config, data = checkpoint.metadata["config"], dict(checkpoint.metadata["preprocess"])
    if "timm" in config:
        named = str(config["timm"])
        if not is_timm_name(named):
            raise ModelError(
                "error.file.name",
                "The metadata of {file} names the model {named!r}, expected a name of timm's; "
                "export the file again.",
                file=checkpoint.path.name,
                named=named,
            )
        return from_checkpoint(named, checkpoint, size, given.trained_at)
    try:
        made = ViTConfig.from_dict(config)
    except ModelError as error:
        raise ModelError(
            "error.file.vit",
            "The metadata of {file} describes no ViT ({error}); export the file again.",
            file=checkpoint.path.name,
            error=error.sentence,
        ) from None
    fitted = fit_described(made, checkpoint, size or made.image_size, name)
    module = VisionTransformer(made)
    fill(module, fitted, checkpoint, name)
    if size is not None:
        module.set_image_size(size)
        data["input_size"] = (3, *size)
    return Built(
        module=module,
        name=name,
        source=Provenance("file", file=checkpoint.path.name),
        data=data,
        labels=tuple(checkpoint.metadata["labels"]),
        labels_source=Provenance("checkpoint"),
        sha256=checkpoint.sha256,
        metadata=checkpoint.metadata,
    )


def _is_of_timm(name: str) -> bool:
    import timm

    return timm.is_model(name)


def _check_name(name: str) -> None:
    if ":" not in name and not _is_of_timm(name.partition(".")[0]):
        near = closest(name, available_models())
        raise ModelError(
            "error.model.unknown",
            "There is no model {name!r}{near}; `vit-explorer models` lists the names.",
            name=name,
            near=did_you_mean(near),
        ).offering(*near)


def _from_module(module: nn.Module, size: Pair | None, *, prepare: bool) -> Built:
    from timm.data import resolve_model_data_config

    # A compiled module hides its attention from everything but its own graph.
    module = getattr(module, "_orig_mod", module)
    core = find_core(module)
    name = type(core).__name__
    data: dict[str, Any] = {}
    if isinstance(core, VisionTransformer):
        size = size or core.config.image_size
    config = getattr(core, "pretrained_cfg", None)
    if isinstance(config, dict):
        data = resolve_model_data_config(core)
        name = config.get("architecture") or name
    declared = getattr(getattr(core, "patch_embed", None), "img_size", None)
    said = describe(module, size, prepare=prepare and not data)
    check_size(said, size, name)
    if said is not None:
        data = data or dict(said.data)
        size = size or said.size
    size = size or _pair(declared) or (data["input_size"][1:] if data else None)
    if size is None:
        raise ModelError(
            "error.size.unknown",
            "The image size of {name} is not known; pass image_size=(height, width).",
            name=name,
        )
    if not data and prepare:
        raise _unprepared(name)
    data["input_size"] = (3, *size)
    none = (), NUMBERED
    labels, labels_source = timm_labels(core, None) if isinstance(config, dict) else none
    if said is not None and said.labels:
        labels, labels_source = said.labels, Provenance("module_config")
    check_gradients(module, name)
    return Built(
        module=module,
        name=name,
        source=Provenance("module", name=type(module).__module__),
        data=data,
        labels=labels,
        labels_source=labels_source,
        notes=said.notes if said is not None else (),
    )
