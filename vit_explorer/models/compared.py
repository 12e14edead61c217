"""A model that answers by comparison: how alike a picture is to words, or to other pictures."""

from __future__ import annotations

import dataclasses
import hashlib
import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from vit_explorer.errors import ModelError, OptionError, TargetError
from vit_explorer.models.card import first_tensor
from vit_explorer.models.checkpoints.labels import check_labels
from vit_explorer.models.loaded import LoadedModel
from vit_explorer.models.loading import Loading
from vit_explorer.models.outputs import Meaning, Outputs
from vit_explorer.models.provenance import Provenance
from vit_explorer.models.targets import NOT, find_target
from vit_explorer.sentences import Sentence

# "A - B" names two.
MINUS = re.compile(r"\s+[-\N{MINUS SIGN}]\s+")


@dataclass(frozen=True)
class Reader:
    """The text tower of a model: `encode` gives sentences' embeddings (C, E) of length 1.

    `outputs` are what its logits are: "classes" where it was trained by a softmax over sentences,
    "labels" where by a sigmoid of each.
    """

    encode: Callable[[Sequence[str]], Tensor]
    scale: float
    bias: float
    outputs: Outputs


class Compared(nn.Module):
    """scale · cos(embedding of a picture, direction) + bias, for each of C directions.

    `encoder` takes pixels (B, 3, H, W) to embeddings (B, E); `directions` (C, E) have length 1.
    """

    directions: Tensor

    def __init__(
        self,
        encoder: nn.Module,
        directions: Tensor,
        *,
        scale: float = 1.0,
        bias: float = 0.0,
        reader: Reader | None = None,
    ) -> None:
        super().__init__()
        self.encoder = encoder
        self.register_buffer("directions", directions.detach().clone())
        self.scale, self.bias, self.reader = scale, bias, reader

    def forward(self, pixels: Tensor) -> Tensor:
        embedded = F.normalize(first_tensor(self.encoder(pixels)), dim=-1)  # (B, E)
        return self.scale * (embedded @ self.directions.to(embedded).T) + self.bias  # (B, C)


def compare_with_words(encoder: nn.Module, reader: Reader, words: Sequence[str]) -> Compared:
    """The module whose classes are sentences, with the tower's own temperature.

    Raises:
        ModelError: no words, or some that are alike or too long.
    """
    directions = reader.encode(checked_words(words))
    return Compared(encoder, directions, scale=reader.scale, bias=reader.bias, reader=reader)


def checked_words(words: Sequence[str]) -> tuple[str, ...]:
    """Sentences as class names. Raises ModelError for none, empty ones, or two alike."""
    given = (words,) if isinstance(words, str) else tuple(words)
    if not given or not all(isinstance(one, str) and one.strip() for one in given):
        raise ModelError(
            "error.words.empty",
            "The words were {words!r}, expected one or more sentences such as 'a photo of a cat'.",
            words=list(given),
        )
    tidy = [one.strip() for one in given]
    twice = next((one for one in tidy if tidy.count(one) > 1), None)
    if twice is not None:
        raise ModelError(
            "error.words.twice",
            "The words {words!r} were given twice, so they would name two classes; leave one out.",
            words=twice,
        )
    return check_labels(tidy, len(tidy), Sentence("part.words", "the words"))


def with_words(model: LoadedModel, words: Sequence[str]) -> LoadedModel:
    """The same model with other words as its classes: only the text tower runs again.

    Args:
        model: loaded with `words=`.
        words: sentences, one a class.

    Returns:
        A `LoadedModel` that shares the image tower and its lock.

    Raises:
        ModelError: the model has no text tower, or words that can't be read.

    Radford et al., "Learning Transferable Visual Models From Natural Language Supervision", 2021.
    """
    module = model.module
    if not isinstance(module, Compared) or module.reader is None:
        raise ModelError(
            "error.words.tower",
            "{model} has no text tower, so it can't be asked in words; load a CLIP or SigLIP of "
            "transformers or open_clip with words=.",
            model=model.card.name,
        )
    names = checked_words(words)
    made = compare_with_words(module.encoder, module.reader, names).to(module.directions.device)
    meaning = dataclasses.replace(_meaning(model), count=len(names))
    loading = model.loading and model.loading.in_words(names)
    return _turned(model, made, names, meaning, Provenance("words"), loading)


def reads_words(model: LoadedModel) -> bool:
    """Whether a model can be asked in words: it was loaded with its text tower."""
    return isinstance(model.module, Compared) and model.module.reader is not None


@torch.no_grad()
def with_pictures(model: LoadedModel, pictures: Sequence[Any]) -> LoadedModel:
    """The same model, asked how alike a picture is to others: a value each, the cosine of their
    embeddings, -1 to 1, which any method can explain.

    Args:
        model: one that returns an embedding (`outputs="embedding"`), or was loaded with words.
        pictures: paths, PIL pictures, arrays or `Prepared`, one a value, called by its name.

    Raises:
        ModelError: the model returns no embedding, or one of each token.
        PictureError: a picture that can't be opened.
    """
    given = tuple(pictures) if isinstance(pictures, (list, tuple)) else (pictures,)
    if not given:
        raise OptionError("error.like.none", "No pictures were given to compare with; name some.")
    module = model.module
    if isinstance(module, Compared):
        encoder = module.encoder
    elif model.card.outputs == "embedding":
        encoder = module
    else:
        raise ModelError(
            "error.like.classes",
            "{model} returns classes or values, so pictures can't be compared by what it returns; "
            "load it with outputs='embedding', or without its head.",
            model=model.card.name,
        )
    prepared = [model.prepare(picture) for picture in given]
    parameter = next(encoder.parameters())
    with model.lock:
        pixels = torch.cat([one.pixels for one in prepared]).to(parameter)
        directions = first_tensor(encoder(pixels))
    if directions.ndim != 2:
        raise ModelError(
            "error.like.tokens",
            "{model} returns {shape} for a picture, expected one embedding; add its pooling.",
            model=model.card.name,
            shape="×".join(map(str, directions.shape[1:])),
        )
    made = Compared(encoder, F.normalize(directions.float(), dim=-1)).to(parameter.device)
    names = _distinct(one.picture.name for one in prepared)
    found = Sentence("outputs.found.like", "cosines to other pictures")
    meaning = Meaning("value", len(names), found)
    loading = model.loading and model.loading.compared_with(given)
    return _turned(model, made, names, meaning, Provenance("pictures"), loading)


def reading(model: LoadedModel, targets: Iterable[Any]) -> LoadedModel:
    """The model, with those words of some targets as further classes that it can read.

    A model without a text tower is left as it is; what it doesn't know is then refused as a target.
    """
    module = model.module
    if not isinstance(module, Compared) or module.reader is None:
        return model
    added: list[str] = []
    for target in targets:
        if not isinstance(target, str):
            continue
        try:
            find_target(model, target)
        except TargetError:
            named = MINUS.split(NOT.sub("", target, count=1))
            added += [name.strip() for name in named if name.strip() not in (*model.labels, *added)]
    return with_words(model, (*model.labels, *added)) if added else model


def _meaning(model: LoadedModel) -> Meaning:
    card = model.card
    meant: Any = card.outputs
    return Meaning(meant, card.classes, card.outputs_found, card.sums_to_one, card.ends_in)


def _turned(
    model: LoadedModel,
    module: Compared,
    labels: tuple[str, ...],
    meaning: Meaning,
    source: Provenance,
    loading: Loading | None,
) -> LoadedModel:
    """A loaded model with another last step; all that was measured of its encoder holds."""
    digest = hashlib.sha256(model.sha256.encode())
    digest.update(module.directions.cpu().numpy().tobytes())
    card = dataclasses.replace(
        model.card, classes=meaning.count, labels_source=source, **meaning.on_card()
    )
    return dataclasses.replace(
        model,
        module=module.eval().requires_grad_(False),
        card=card,
        labels=labels,
        sha256=digest.hexdigest(),
        loading=loading,
    )


def _distinct(names: Iterable[str]) -> tuple[str, ...]:
    """Names, those that came before with a number after them."""
    found: list[str] = []
    for name in names:
        count = sum(one == name or one.startswith(f"{name} (") for one in found)
        found.append(f"{name} ({count + 1})" if count else name)
    return tuple(found)
