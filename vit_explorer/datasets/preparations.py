"""Is a model fed as it was trained? The usual ways of preparing pictures, tried and compared."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from vit_explorer.models.interception import running
from vit_explorer.models.loaded import LoadedModel
from vit_explorer.models.outputs import answer, measured
from vit_explorer.pictures.preprocess import Preprocess
from vit_explorer.sentences import Sentence

# So many standard errors of the mean difference make a way better than the model's own, as several
# are tried on the same pictures; ways within so few of the best are not told apart from it.
SURE, ALIKE = 3.0, 2.0
BATCH = 32
CROPS = (0.875, 0.9, 0.95, 1.0)

Triple = tuple[float, float, float]
Numbers = NDArray[np.float64]


def usual_normalisations() -> dict[str, tuple[Triple, Triple]]:
    """Mean and deviation a channel, by whose they are, for pixels from 0 to 1."""
    from timm.data import constants as of

    return {
        "ImageNet's": (of.IMAGENET_DEFAULT_MEAN, of.IMAGENET_DEFAULT_STD),
        "one half": (of.IMAGENET_INCEPTION_MEAN, of.IMAGENET_INCEPTION_STD),
        "CLIP's": (of.OPENAI_CLIP_MEAN, of.OPENAI_CLIP_STD),
        "CIFAR-10's": ((0.4914, 0.4822, 0.4465), (0.247, 0.2435, 0.2616)),
        "none (0 to 1)": ((0.0, 0.0, 0.0), (1.0, 1.0, 1.0)),
        "none (0 to 255)": ((0.0, 0.0, 0.0), (1 / 255, 1 / 255, 1 / 255)),
    }


@dataclass(frozen=True)
class Tried:
    """One way of preparing pictures, and what the model makes of them by it.

    `config` is what differs from the model's own; `accuracy` (0 to 1) and `score`, the mean log
    probability of the label, or, of pictures without labels, of the likeliest class.
    """

    name: str
    config: dict[str, Any]
    accuracy: float | None
    score: float
    scores: Numbers = dataclasses.field(repr=False, compare=False)

    def beats(self, other: Tried, errors: float = SURE) -> bool:
        """Whether it is better on the same pictures, by more than so many standard errors."""
        apart = self.scores - other.scores
        error = float(apart.std(ddof=1)) / math.sqrt(len(apart)) if len(apart) > 1 else math.inf
        if self.accuracy is None or other.accuracy is None:
            return False
        return self.accuracy >= other.accuracy and float(apart.mean()) > errors * error


@dataclass(frozen=True)
class Preparations:
    """The model's own way, every other that was tried, and the best, which may be the own.

    `alike` are the means and deviations that these pictures don't tell apart from the best one's.
    """

    own: Tried
    tried: tuple[Tried, ...]
    best: Tried
    alike: tuple[Tried, ...] = ()
    note: Sentence | None = None


def try_preparations(
    model: LoadedModel,
    images: Sequence[Image.Image],
    labels: Sequence[int] | None,
    progress: Callable[[int, int], None] | None = None,
) -> Preparations:
    """Ask a model about pictures that are prepared in the usual ways, one after the other.

    Mean and deviation first, then the crop by the best of these. A way counts as better where the
    label's log probability rises by more than three standard errors over the same pictures, and no
    fewer answers are right.

    Args:
        images: PIL RGB, 20 or more for a verdict worth having.
        labels: places in the model's outputs; None tells how sure the model is each time, which
            decides nothing: a way that makes pictures harsher makes answers surer.
    """
    settings = model.preprocess.to_dict()
    own_way = {"mean": model.preprocess.mean, "std": model.preprocess.std}
    follows = settings["interpolation"] is not None  # else a transform of the caller's
    names = usual_normalisations() if model.card.channels == 3 else {}
    ways = {
        name: {"mean": mean, "std": std}
        for name, (mean, std) in names.items()
        if not _close(own_way, mean, std)
    }
    crops = _crops(settings) if follows else {}
    total, done = (1 + len(ways) + len(crops)) * len(images), 0

    def asked(name: str, config: dict[str, Any], given: dict[str, Any]) -> Tried:
        nonlocal done
        found = _ask(model, images, labels, name, config, given)
        done += len(images)
        if progress is not None:
            progress(done, total)
        return found

    own = best = asked("the model's own", {}, {})
    tried = []
    for name, config in ways.items():
        tried.append(asked(name, config, config))
        best = tried[-1] if tried[-1].beats(own) and tried[-1].score > best.score else best
    kept = best
    alike = [
        one for one in tried if one is not kept and kept is not own and not kept.beats(one, ALIKE)
    ]
    for name, config in crops.items():
        tried.append(asked(name, config, {**kept.config, **config}))
        if tried[-1].beats(kept) and tried[-1].score > best.score:
            best = dataclasses.replace(tried[-1], config={**kept.config, **config})
    note = None
    if not follows:
        note = Sentence(
            "note.doctor.transform",
            "The model came with a transform of its own, whose crop can't be varied.",
        )
    return Preparations(own, tuple(tried), best, tuple(alike), note)


def prepared_by(model: LoadedModel, config: dict[str, Any]) -> Callable[[Image.Image], Tensor]:
    """A picture → pixels (C, H, W) by a model's own way but for what `config` has."""
    own = model.preprocess
    if not config:
        return own.transform
    if own.interpolation is not None:
        return Preprocess.from_config({**own.to_dict(), **config}).transform
    mean, std, other_mean, other_std = (
        torch.tensor(one).view(-1, 1, 1)
        for one in (own.mean, own.std, config["mean"], config["std"])
    )
    return lambda image: (own.transform(image) * std + mean - other_mean) / other_std


def answers(
    model: LoadedModel, images: Sequence[Image.Image], transform: Callable[[Image.Image], Tensor]
) -> Iterator[Tensor]:
    """Probabilities (C,) of each picture."""
    for start in range(0, len(images), BATCH):
        pixels = torch.stack([transform(one) for one in images[start : start + BATCH]])
        with model.lock, torch.inference_mode(), running(model.module, model.anatomy):
            raw = answer(model, pixels.to(next(model.module.parameters()))).raw
        yield from measured(raw.float().cpu(), model.card.outputs)


def _ask(
    model: LoadedModel,
    images: Sequence[Image.Image],
    labels: Sequence[int] | None,
    name: str,
    config: dict[str, Any],
    given: dict[str, Any],
) -> Tried:
    found = torch.stack(list(answers(model, images, prepared_by(model, given)))).double()
    likeliest = found.argmax(dim=1)
    wanted = likeliest if labels is None else torch.tensor(list(labels))
    scores = found[torch.arange(len(found)), wanted].clamp(min=1e-12).log().numpy()
    right = None if labels is None else float((likeliest == wanted).double().mean())
    return Tried(name, config, right, float(scores.mean()), scores)


def _close(own: dict[str, Any], mean: Triple, std: Triple) -> bool:
    return np.allclose(own["mean"], mean, atol=5e-3) and np.allclose(own["std"], std, rtol=5e-2)


def _crops(settings: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """Shares of the picture that are cut out, and the whole of it squashed, but for the own."""
    own = (settings["crop_mode"], round(float(settings["crop_pct"]), 3))
    ways = [("center", share) for share in CROPS] + [("squash", 1.0)]
    return {
        "squashed" if mode == "squash" else f"crop of {share:.1%}": {
            "crop_mode": mode,
            "crop_pct": share,
        }
        for mode, share in ways
        if (mode, share) != own
    }
