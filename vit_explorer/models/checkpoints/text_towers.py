"""Models with a text tower: a folder, name or module of CLIP's kind → image encoder and reader."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from vit_explorer.errors import ModelError
from vit_explorer.models.card import Pair
from vit_explorer.models.checkpoints.folders import check_files, load_pretrained, read_config
from vit_explorer.models.checkpoints.hub import HubError, fetch_repository, fetch_weights
from vit_explorer.models.checkpoints.image_processors import first_line, read_processor
from vit_explorer.models.checkpoints.transformers_modules import as_pair, describe
from vit_explorer.models.compared import Compared, Reader, compare_with_words
from vit_explorer.models.loaded import Built
from vit_explorer.models.provenance import Provenance

OPEN_CLIP = "open_clip:"
HUB = "hf-hub:"
OPEN_CLIP_WEIGHTS = "open_clip_pytorch_model.bin"
OPEN_CLIP_CONFIG = "open_clip_config.json"
# What of a hub's repository is fetched: nothing that could run code when opened.
FETCHED = ("*.json", "*.txt", "*.model", "*.safetensors")
# A tokenizer cuts what is too long; so many times the room shows that there was more.
WIDER = 4


@dataclass(frozen=True)
class Towers:
    """An image encoder, its text tower, and how pictures are prepared ({} where not known)."""

    encoder: nn.Module
    reader: Reader
    name: str
    source: Provenance
    data: dict[str, Any]

    def built(self, words: Sequence[str]) -> Built:
        """The module whose classes are words, to be measured like any other."""
        module: Compared = compare_with_words(self.encoder, self.reader, words)
        return Built(
            module=module,
            name=self.name,
            source=self.source,
            data=self.data,
            labels=tuple(word.strip() for word in words),
            labels_source=Provenance("words"),
        )


def find_towers(
    model: str | Path | nn.Module, tokenizer: Any, size: Pair | None, *, prepare: bool
) -> Towers:
    """Both towers of a model: of a module of transformers or open_clip, of a folder that either
    wrote, of "open_clip:NAME/TAG", or of "hf-hub:ORG/NAME" on the hub.

    Args:
        tokenizer: of a module that can't tell its own: called with a list of sentences.
        prepare: read how pictures are prepared too, for want of a transform.

    Raises:
        ModelError: no text tower, or files or packages that are missing.
    """
    if isinstance(model, nn.Module):
        return _of_module(model, tokenizer, size, prepare=prepare)
    name = str(model)
    if name.startswith(OPEN_CLIP):
        return _of_open_clip(name.removeprefix(OPEN_CLIP), tokenizer)
    if name.startswith(HUB):
        found = find_towers(_fetched(name.removeprefix(HUB)), tokenizer, size, prepare=prepare)
        # Its folder in the cache is called by a number.
        if found.source.kind == "open_clip":
            source = dataclasses.replace(found.source, name=name)
        else:
            source = dataclasses.replace(found.source, file=name)
        return dataclasses.replace(found, name=name, source=source)
    folder = Path(name)
    if not folder.is_dir():
        raise ModelError(
            "error.words.model",
            "Words need a model with a text tower, and {model!r} is none; give a CLIP or SigLIP as "
            "a folder, as 'open_clip:ViT-B-32/TAG', or as 'hf-hub:ORG/NAME'.",
            model=name,
        )
    if (folder / OPEN_CLIP_CONFIG).is_file():
        return _of_open_clip(folder, tokenizer)
    return _of_folder(folder.resolve(), tokenizer, size, prepare=prepare)


def _of_module(module: nn.Module, tokenizer: Any, size: Pair | None, *, prepare: bool) -> Towers:
    name, source = type(module).__name__, Provenance("module", name=type(module).__module__)
    if hasattr(module, "encode_text") and hasattr(module, "visual"):
        data = _open_clip_data(module) if prepare else {}
        return Towers(*_open_clip_parts(module, _required(tokenizer, name)), name, source, data)
    if not hasattr(module, "get_text_features") or not hasattr(module, "vision_model"):
        raise _no_tower(name)
    said = describe(module, size, prepare=prepare)
    data = dict(said.data) if said is not None else {}
    native = as_pair(module.config.vision_config.image_size)  # type: ignore[union-attr]
    data.setdefault("input_size", (3, *(size or native or ())))
    folder = Path(str(getattr(module.config, "_name_or_path", "") or ""))
    if tokenizer is None and folder.name and folder.is_dir():
        tokenizer = _tokenizer(folder)
    return Towers(*_transformers_parts(module, _required(tokenizer, name)), name, source, data)


def _of_folder(path: Path, tokenizer: Any, size: Pair | None, *, prepare: bool) -> Towers:
    config = read_config(path)
    check_files(path)
    try:
        import transformers
    except ImportError:
        raise _missing("transformers", path.name) from None
    named = (config.get("architectures") or [""])[0]
    kind = getattr(transformers, str(named), None)
    if not isinstance(kind, type) or not hasattr(kind, "get_text_features"):
        raise _no_tower(path.name)
    module = load_pretrained(kind, path)
    native = as_pair(module.config.vision_config.image_size)
    data = read_processor(path, size) if prepare else {"input_size": (3, *(size or native or ()))}
    parts = _transformers_parts(module, tokenizer or _tokenizer(path))
    source = Provenance("transformers_folder", file=path.name, name=kind.__name__)
    return Towers(*parts, path.name, source, data)


class _VisionTower(nn.Module):
    """The image side of transformers' two-tower models, up to what is compared."""

    def __init__(self, module: Any) -> None:
        super().__init__()
        self.vision_model = module.vision_model
        self.visual_projection = getattr(module, "visual_projection", nn.Identity())
        self.native = as_pair(module.config.vision_config.image_size)

    def forward(self, pixels: Tensor) -> Tensor:
        other = tuple(pixels.shape[-2:]) != self.native
        found = self.vision_model(pixel_values=pixels, interpolate_pos_encoding=other)
        embedded: Tensor = self.visual_projection(found.pooler_output)
        return embedded


def _transformers_parts(module: Any, tokenizer: Any) -> tuple[nn.Module, Reader]:
    room = int(module.config.text_config.max_position_embeddings)
    sigmoid = hasattr(module, "logit_bias")

    @torch.no_grad()
    def encode(words: Sequence[str]) -> Tensor:
        counts = [len(ids) for ids in tokenizer(list(words))["input_ids"]]
        _check_room(words, counts, room)
        # SigLIP was trained with every sentence filled up to the end.
        padding = {"padding": "max_length", "max_length": room} if sigmoid else {"padding": True}
        tokens = tokenizer(list(words), return_tensors="pt", **padding)
        device = next(module.text_model.parameters()).device
        given = {name: tokens[name].to(device) for name in ("input_ids", "attention_mask")
                 if name in tokens}  # fmt: skip
        found = module.get_text_features(**given)
        features = found if isinstance(found, Tensor) else found.pooler_output
        return F.normalize(features.float(), dim=-1)

    scale = math.exp(float(module.logit_scale.detach()))
    bias = float(module.logit_bias.detach()) if sigmoid else 0.0
    return _VisionTower(module), Reader(encode, scale, bias, "labels" if sigmoid else "classes")


def _of_open_clip(named: str | Path, tokenizer: Any) -> Towers:
    """A folder that open_clip wrote for the hub, or one of its names with a tag of its weights."""
    label = named.name if isinstance(named, Path) else named
    try:
        import open_clip
    except ImportError:
        raise _missing("open_clip_torch", label) from None
    name, _, tag = (
        (f"local-dir:{named}", "", "") if isinstance(named, Path) else str(named).partition("/")
    )
    if isinstance(named, Path) and not list(named.glob("*.safetensors")):
        raise ModelError(
            "error.words.weights",
            "The folder {file} holds no weights as .safetensors; save the model again (other "
            "formats can run code when opened, so they are not read).",
            file=label,
        )
    try:
        if tag:
            _fetch_weights(name, tag)
        module = open_clip.create_model(name, pretrained=tag or None)
        tokenizer = tokenizer or open_clip.get_tokenizer(name)
    except ModelError:
        raise
    except Exception as error:  # open_clip and what it calls raise anything on a bad name or file
        raise ModelError(
            "error.words.open_clip",
            "open_clip can't load {model} ({reason}); name one of open_clip.list_pretrained() as "
            "'open_clip:NAME/TAG', or a folder with its config and weights.",
            model=label,
            reason=error.reason
            if isinstance(error, HubError)
            else first_line(error, Path(str(named))),
        ) from None
    parts = _open_clip_parts(module, tokenizer)
    return Towers(*parts, label, Provenance("open_clip", name=label), _open_clip_data(module))


class _OpenClipVision(nn.Module):
    """The image side of open_clip's models; some give their tokens as well."""

    def __init__(self, visual: nn.Module) -> None:
        super().__init__()
        self.visual = visual

    def forward(self, pixels: Tensor) -> Tensor:
        found = self.visual(pixels)
        embedded: Tensor = found[0] if isinstance(found, tuple) else found
        return embedded


def _open_clip_parts(module: Any, tokenizer: Any) -> tuple[nn.Module, Reader]:
    room = int(getattr(module, "context_length", None) or module.text.context_length)
    module.eval()

    @torch.no_grad()
    def encode(words: Sequence[str]) -> Tensor:
        # Beyond the sentence and its end there is nothing but filling.
        wide = tokenizer(list(words), context_length=WIDER * room)
        counts = [int((row != row[-1]).nonzero().max()) + 1 if (row != row[-1]).any() else 1
                  for row in wide]  # fmt: skip
        _check_room(words, counts, room)
        tokens = tokenizer(list(words), context_length=room)
        device = next(module.parameters()).device
        found: Tensor = module.encode_text(tokens.to(device), normalize=True)
        return found.float()

    bias = getattr(module, "logit_bias", None)
    outputs: Any = "classes" if bias is None else "labels"
    scale = math.exp(float(module.logit_scale.detach()))
    reader = Reader(encode, scale, 0.0 if bias is None else float(bias.detach()), outputs)
    return _OpenClipVision(module.visual), reader


def _open_clip_data(module: Any) -> dict[str, Any]:
    """How open_clip prepares pictures, as timm's data config."""
    config = getattr(module.visual, "preprocess_cfg", None) or {}
    size = as_pair(config.get("size")) or as_pair(module.visual.image_size)
    modes = {"shortest": "center", "longest": "border", "squash": "squash"}
    return {
        "input_size": (3, *(size or ())),
        "mean": tuple(config.get("mean", (0.5,) * 3)),
        "std": tuple(config.get("std", (0.5,) * 3)),
        "interpolation": config.get("interpolation", "bicubic"),
        "crop_pct": 1.0,
        "crop_mode": modes[config.get("resize_mode", "shortest")],
    }


def _fetched(repository: str) -> Path:
    """The folder of a hub's repository on this machine."""
    try:
        return fetch_repository(repository, FETCHED, f"{HUB}{repository}")
    except HubError as error:
        raise ModelError(
            "error.words.hub",
            "{model} can't be had from the hub ({reason}); check the name and the network, or give "
            "a folder.",
            model=repository,
            reason=error.reason,
        ) from None


def _fetch_weights(name: str, tag: str) -> None:
    """Have a tag's weights in the hub's cache, where open_clip then finds them; those that it has
    from elsewhere it fetches by itself."""
    import open_clip

    place = (open_clip.get_pretrained_cfg(name, tag) or {}).get("hf_hub", "")
    repository, _, file = place.rpartition("/")
    if repository:
        file = file or OPEN_CLIP_WEIGHTS
        safe = (
            "open_clip_model.safetensors"
            if file == OPEN_CLIP_WEIGHTS
            else f"{file[:-4]}.safetensors"
        )
        files = (safe, file) if file.endswith((".bin", ".pth")) else (file,)
        fetch_weights(repository, f"{OPEN_CLIP}{name}/{tag}", files)


def _tokenizer(path: Path) -> Any:
    from transformers import AutoTokenizer

    try:
        return AutoTokenizer.from_pretrained(path, local_files_only=True, trust_remote_code=False)
    except Exception as error:  # transformers and tokenizers raise anything on a bad file
        raise ModelError(
            "error.words.tokenizer",
            "The tokenizer of {file} can't be loaded ({reason}); save it beside the model with "
            "save_pretrained.",
            file=path.name,
            reason=first_line(error, path),
        ) from None


def _required(tokenizer: Any, name: str) -> Any:
    if tokenizer is None:
        raise ModelError(
            "error.words.own",
            "The module {name} doesn't say how its sentences become tokens; pass tokenizer=.",
            name=name,
        )
    return tokenizer


def _check_room(words: Sequence[str], counts: Sequence[int], room: int) -> None:
    """No tokenizer is to cut a sentence unsaid."""
    for text, count in zip(words, counts, strict=True):
        if count > room:
            raise ModelError(
                "error.words.long",
                "The words {text!r} are {count} tokens, and the model reads {room} at most; say it "
                "shorter.",
                text=text,
                count=count,
                room=room,
            )


def _no_tower(name: str) -> ModelError:
    return ModelError(
        "error.words.none",
        "{model} has no text tower, so it can't be asked in words; give a CLIP or SigLIP of "
        "transformers or open_clip.",
        model=name,
    )


def _missing(package: str, name: str) -> ModelError:
    return ModelError(
        "error.words.package",
        "{model} needs {package}, which is not installed; pip install {package}.",
        model=name,
        package=package,
    )
