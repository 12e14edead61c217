"""What a module of transformers says of itself: class names, picture size, preparation."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from torch import nn

from vit_explorer.errors import ModelError
from vit_explorer.models.card import Pair
from vit_explorer.models.checkpoints.image_processors import PROCESSORS, data_config, read_processor
from vit_explorer.sentences import Sentence


@dataclass(frozen=True)
class Described:
    """`data` is timm's data config, empty where the family's processor is not known."""

    size: Pair | None
    labels: tuple[str, ...]
    data: dict[str, Any] = field(default_factory=dict)
    notes: tuple[str, ...] = ()


def describe(module: nn.Module, size: Pair | None, *, prepare: bool) -> Described | None:
    """Read a module's own config, or that of the one it wraps; None if it has none of transformers.

    `size`: the picture size that is asked for; `prepare`: how pictures are prepared too. How
    is said only for the module itself, as a wrapper may prepare pictures on its way.
    """
    # Asking the package for the class would import what no module here is of: for seconds.
    modeling = sys.modules.get("transformers.modeling_utils")
    if modeling is None:
        return None
    models = (one for one in module.modules() if isinstance(one, modeling.PreTrainedModel))
    model = next(models, None)
    if model is None:
        return None
    config: Any = model.config
    native = as_pair(getattr(config, "image_size", None))
    labels = class_names(config)
    if not prepare or model is not module:
        return Described(native, labels)
    data, notes = _prepared(config, size or native)
    return Described(native, labels, data, notes)


def class_names(config: Any) -> tuple[str, ...]:
    """The names of `id2label` in order; none where they are transformers' placeholders."""
    names = getattr(config, "id2label", None) or {}
    if sorted(names) != list(range(len(names))):
        return ()
    labels = tuple(str(names[index]) for index in range(len(names)))
    return () if labels == tuple(f"LABEL_{index}" for index in range(len(labels))) else labels


def as_pair(size: Any) -> Pair | None:
    """Height and width of a config's `image_size`, or None."""
    if isinstance(size, int):
        return size, size
    if isinstance(size, Mapping):
        size = (size.get("height"), size.get("width"))
    if isinstance(size, (list, tuple)) and len(size) == 2 and all(isinstance(s, int) for s in size):
        return int(size[0]), int(size[1])
    return None


def _prepared(config: Any, size: Pair | None) -> tuple[dict[str, Any], tuple[str, ...]]:
    """The processor beside the module's files, else the default one of its family, said so."""
    folder = Path(str(getattr(config, "_name_or_path", "") or "."))
    if folder.name and any((folder / name).is_file() for name in PROCESSORS):
        return read_processor(folder.resolve(), size), ()
    kind = _family_processor(str(getattr(config, "model_type", "")))
    if kind is None:
        return {}, ()
    try:
        data = data_config(kind(), size)
    except (ValueError, TypeError, ImportError, AttributeError):
        return {}, ()
    name = kind.__name__.removesuffix("Pil").removesuffix("Fast")
    said = Sentence(
        "weights.processor",
        "Pictures are prepared as transformers' {kind} does by default; give preprocess or "
        "transform if this model was trained on others.",
        kind=name,
    )
    return data, (said,)


def _family_processor(model_type: str) -> Any:
    """The image processor that transformers names for a family, or None."""
    import transformers
    from transformers.models.auto import image_processing_auto as auto

    known = auto.IMAGE_PROCESSOR_MAPPING_NAMES
    named = known.get(model_type) or known.get(model_type.removesuffix("_vision_model"))
    values = named.values() if isinstance(named, Mapping) else named
    names = [values] if isinstance(values, str) else [name for name in values or () if name]
    # One class does the same with PIL, the other with tensors; PIL is what pictures come as.
    names.sort(key=lambda name: not str(name).endswith("Pil"))
    for name in names:
        kind = getattr(transformers, str(name), None)
        if isinstance(kind, type):
            return kind
    return None


def check_size(described: Described | None, size: Pair | None, name: str) -> None:
    """Refuse a size that only transformers' own interpolation would take.

    Raises:
        ModelError: a size other than the config's.
    """
    if described is None or size is None or described.size in (None, size):
        return
    native = "×".join(map(str, described.size or ()))
    raise ModelError(
        "error.module.size",
        "The module {name} takes pictures of {native}, and a module that is passed in is not "
        "changed; save it with save_pretrained and load that folder with image_size.",
        name=name,
        native=native,
    )
