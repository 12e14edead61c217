"""The training film: small arrays, recorded each epoch, that show structure appearing."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from vit_explorer.analysis.head_statistics import attention_distance, attention_variation
from vit_explorer.analysis.tokens import artifacts
from vit_explorer.analysis.weights import patch_filters, position_similarity
from vit_explorer.datasets.tiny_imagenet import named
from vit_explorer.errors import UnsupportedModelError
from vit_explorer.methods.attention import rollout
from vit_explorer.models.loaded import LoadedModel
from vit_explorer.models.shipped import SHIPPED
from vit_explorer.pictures.decode import Picture
from vit_explorer.tracing.trace import trace
from vit_explorer.training.recipe import Measured

# The film's columns, and the log's, whose measured pictures have a name of their own.
_COLUMNS = {
    "train_loss": "train_loss",
    "train_accuracy": "train_accuracy",
    "test_loss": "{measured}_loss",
    "test_accuracy": "{measured}_accuracy",
    "lr": "lr",
}
# Pictures of the package that a film may be of.
SHIPPED_PROBES = ("cat.png", "coffee.png", "astronaut.png", "rocket.jpg")
_OF_PROBES = (
    "probabilities", "rollout", "attention_distance", "attention_variation", "artifacts",
)  # fmt: skip

Arrays = dict[str, NDArray[Any]]


class Film:
    """Records frames; frame 0 is the model before training.

    Arrays of `film.npz`, F frames, P probe pictures, n = gh·gw patches, L layers, h heads:
    `epoch` (F,); `probes` (P, H, W, 3) uint8, what the model sees; `probe_names` (P,); `labels`;
    `position_similarity` (F, n, n) float16, cosines, left out where positions are not added;
    `filters` (F, 28, ph, pw, 3) uint8, principal components of the patch embedding, left out where
    that is no one convolution;
    `probabilities` (F, P, classes) float16; `rollout` (F, P, gh, gw) float16;
    `attention_distance` (F, P, L, h) float16 in pixels; `attention_variation` (F, P, L, h) float16;
    `artifacts` (F, P), how many patches stand out by their norm after the last block: films of
    older versions lack these two; and `train_loss`, `train_accuracy`,
    `test_loss`, `test_accuracy`, `lr` (F - 1,), which frame 0 has none of; `measured`, "test" or
    "held_out", names the pictures that the `test` columns are of.
    """

    def __init__(
        self, model: LoadedModel, probes: Sequence[Picture], measured: Measured = "test"
    ) -> None:
        self.model = model
        self.probes = tuple(probes)
        self.measured = measured
        self.frames: list[Arrays] = []
        self.begun: Arrays = {n: np.empty(0) for n in _COLUMNS}  # the log of an earlier film
        shown = [np.asarray(model.prepare(probe).shown) for probe in self.probes]
        self.fixed: Arrays = {
            "probes": np.stack(shown),
            "probe_names": np.array([probe.name for probe in self.probes]),
            "labels": np.array(model.labels),
            "measured": np.array(measured),
        }

    def record(self, epoch: int) -> None:
        """Add a frame for the model as it is now, `epoch` epochs into this run."""
        passes = [trace(self.model, probe) for probe in self.probes]
        frame: Arrays = {
            "epoch": np.array(epoch + len(self.begun["lr"])),
            "probabilities": _small([one.measured for one in passes]),
            "rollout": _small([rollout(one) for one in passes]),
            "attention_distance": _halves(attention_distance(one) for one in passes),
            "attention_variation": _halves(attention_variation(one) for one in passes),
            "artifacts": np.array([artifacts(one).count for one in passes], np.int32),
        }
        with suppress(UnsupportedModelError):  # its patches come from more than one convolution
            frame["filters"] = patch_filters(self.model).filters
        if self.model.card.position_maps:
            patches = self.model.card.grid[0] * self.model.card.grid[1]
            similarity = position_similarity(self.model).reshape(patches, patches)
            frame["position_similarity"] = similarity.astype(np.float16)
        self.frames.append(frame)

    def arrays(self, rows: Sequence[Mapping[str, float]]) -> Arrays:
        """All frames so far and the log's columns, as `film.npz` holds them."""
        frames = {n: np.stack([f[n] for f in self.frames]) for n in self.frames[0]}
        named = {n: column.format(measured=self.measured) for n, column in _COLUMNS.items()}
        log = {n: [*self.begun[n], *(row[own] for row in rows)] for n, own in named.items()}
        return {**self.fixed, **frames, **{n: np.array(log[n]) for n in _COLUMNS}}

    def restore(self, film: Mapping[str, NDArray[Any]], epoch: int) -> None:
        """Take back the frames up to an epoch of this run from what `arrays` gave before."""
        count = int((film["epoch"] <= epoch + len(self.begun["lr"])).sum())
        names = [name for name in self.frames[0] if name in film]
        self.frames = [{n: film[n][index] for n in names} for index in range(count)]

    def follow(self, film: Mapping[str, NDArray[Any]]) -> None:
        """Go on with the film of the run that this one's weights come from.

        Both keep the probe pictures they share. Maps of larger patches are laid on this model's
        grid. A film that shares no picture, or is of other classes or of another architecture, is
        left aside.
        """
        film = _on_grid(film, self.frames[0])
        shared = [
            (before, now)
            for now, probe in enumerate(self.fixed["probes"])
            for before, other in enumerate(film["probes"])
            if np.array_equal(probe, other)
        ]
        labels, own_labels = (named(one["labels"].tolist()) for one in (film, self.fixed))
        if not shared or labels != own_labels:
            return
        before, now = (list(places) for places in zip(*shared, strict=True))
        both = {name: one for name, one in self.frames[0].items() if name in film}
        own = {n: v[now] if n in _OF_PROBES else v for n, v in both.items()}
        earlier = {n: v[:, before] if n in _OF_PROBES else v for n, v in film.items()}
        if all(earlier[n].shape[1:] == own[n].shape for n in own):
            self.begun = {n: earlier[n] for n in _COLUMNS}
            self.frames = [{n: earlier[n][i] for n in own} for i in range(len(film["epoch"]))]
            self.probes = tuple(self.probes[place] for place in now)
            kept = {n: self.fixed[n][now] for n in ("probes", "probe_names")}
            self.fixed = {**self.fixed, **kept}


def _on_grid(film: Mapping[str, NDArray[Any]], like: Arrays) -> Arrays:
    """A film of coarser patches on the grid of the frame `like`: each patch's values for all those
    that lie in it.

    A patch's share of a rollout is shared by these; filters are averaged to their size, and there
    may be fewer. A film whose grid does not divide the other stays as it is.
    """
    grid, frames, before = like["rollout"].shape[1:], len(film["epoch"]), film["rollout"].shape[2:]
    high, wide = (now // then for now, then in zip(grid, before, strict=True))
    if (high * before[0], wide * before[1]) != tuple(grid) or (high, wide) == (1, 1):
        return dict(film)
    finer = {"rollout": film["rollout"].repeat(high, axis=2).repeat(wide, axis=3) / (high * wide)}
    if "position_similarity" in film:
        cosines = film["position_similarity"].reshape(frames, *before, *before)
        for axis, times in enumerate((high, wide, high, wide), start=1):
            cosines = cosines.repeat(times, axis=axis)
        finer["position_similarity"] = cosines.reshape(frames, grid[0] * grid[1], -1)
    if "filters" in film and "filters" in like:
        filters = film["filters"][:, : len(like["filters"])]
        _, count, ph, pw, channels = filters.shape
        if ph % high == 0 and pw % wide == 0:
            cells = filters.reshape(frames, count, ph // high, high, pw // wide, wide, channels)
            finer["filters"] = cells.mean(axis=(3, 5)).round().astype(filters.dtype)
    return {**film, **{name: one.astype(film[name].dtype) for name, one in finer.items()}}


def find_film(model: str, weights: Path | None = None) -> Path | None:
    """The film of a model as `load_model` takes it: shipped, or next to the weights; else None."""
    if model in SHIPPED:
        film = SHIPPED[model].film
    else:
        file = weights or Path(model)
        if not file.is_file():
            return None
        film = file.with_name("film.npz")
    return film if film.is_file() else None


def make_film(
    model: LoadedModel, probes: Sequence[Picture], measured: Measured = "test"
) -> Film | None:
    """A film of the model; None for one whose attention or patches can't be read."""
    try:
        film = Film(model, probes, measured)
        film.record(0)
    except (UnsupportedModelError, AttributeError):
        return None
    return film


def _halves(values: Iterable[NDArray[np.float32]]) -> NDArray[np.float16]:
    return np.stack(list(values)).astype(np.float16)


def _small(values: Sequence[Tensor]) -> NDArray[np.float16]:
    return torch.stack(list(values)).detach().float().cpu().numpy().astype(np.float16)
