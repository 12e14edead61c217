"""The training film: small arrays, recorded each epoch, that show structure appearing."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from vit_explorer.errors import UnsupportedModelError
from vit_explorer.methods.attention import rollout
from vit_explorer.methods.layers import attention_distance
from vit_explorer.methods.weights import patch_filters, position_similarity
from vit_explorer.models.zoo import BUNDLED, LoadedModel, asset
from vit_explorer.pictures import Picture
from vit_explorer.trace import trace

_COLUMNS = ("train_loss", "train_accuracy", "test_loss", "test_accuracy", "lr")
_OF_PROBES = ("probabilities", "rollout", "attention_distance")

Arrays = dict[str, NDArray[Any]]


class Film:
    """Records frames; frame 0 is the model before training.

    Arrays of `film.npz`, F frames, P probe pictures, n = gh·gw patches, L layers, h heads:
    `epoch` (F,); `probes` (P, H, W, 3) uint8, what the model sees; `probe_names` (P,); `labels`;
    `position_similarity` (F, n, n) float16, cosines, left out where positions are not added;
    `filters` (F, 28, ph, pw, 3) uint8, principal components of the patch embedding;
    `probabilities` (F, P, classes) float16; `rollout` (F, P, gh, gw) float16;
    `attention_distance` (F, P, L, h) float16 in pixels; and `train_loss`, `train_accuracy`,
    `test_loss`, `test_accuracy`, `lr` (F - 1,), which frame 0 has none of.
    """

    def __init__(self, model: LoadedModel, probes: Sequence[Picture]) -> None:
        self.model = model
        self.probes = tuple(probes)
        self.frames: list[Arrays] = []
        self.begun: Arrays = {n: np.empty(0) for n in _COLUMNS}  # the log of an earlier film
        shown = [np.asarray(model.prepare(probe).shown) for probe in self.probes]
        self.fixed: Arrays = {
            "probes": np.stack(shown),
            "probe_names": np.array([probe.name for probe in self.probes]),
            "labels": np.array(model.labels),
        }

    def record(self, epoch: int) -> None:
        """Add a frame for the model as it is now, `epoch` epochs into this run."""
        passes = [trace(self.model, probe) for probe in self.probes]
        frame: Arrays = {
            "epoch": np.array(epoch + len(self.begun["lr"])),
            "filters": patch_filters(self.model).filters,
            "probabilities": _small([one.measured for one in passes]),
            "rollout": _small([rollout(one) for one in passes]),
            "attention_distance": np.stack([attention_distance(one) for one in passes]).astype(
                np.float16
            ),
        }
        if self.model.card.position_maps:
            patches = self.model.card.grid[0] * self.model.card.grid[1]
            similarity = position_similarity(self.model).reshape(patches, patches)
            frame["position_similarity"] = similarity.astype(np.float16)
        self.frames.append(frame)

    def arrays(self, rows: Sequence[Mapping[str, float]]) -> Arrays:
        """All frames so far and the log's columns, as `film.npz` holds them."""
        frames = {n: np.stack([f[n] for f in self.frames]) for n in self.frames[0]}
        log = {n: [*self.begun[n], *(row[n] for row in rows)] for n in _COLUMNS}
        return {**self.fixed, **frames, **{n: np.array(log[n]) for n in _COLUMNS}}

    def restore(self, film: Mapping[str, NDArray[Any]], epoch: int) -> None:
        """Take back the frames up to an epoch of this run from what `arrays` gave before."""
        count = int((film["epoch"] <= epoch + len(self.begun["lr"])).sum())
        names = self.frames[0]
        self.frames = [{n: film[n][index] for n in names} for index in range(count)]

    def follow(self, film: Mapping[str, NDArray[Any]]) -> None:
        """Go on with the film of the run that this one's weights come from.

        Both keep the probe pictures they share. A film that shares none, or is of other classes or
        of another architecture, is left aside.
        """
        shared = [
            (before, now)
            for now, probe in enumerate(self.fixed["probes"])
            for before, other in enumerate(film["probes"])
            if np.array_equal(probe, other)
        ]
        if not shared or not np.array_equal(film["labels"], self.fixed["labels"]):
            return
        before, now = (list(places) for places in zip(*shared, strict=True))
        own = {n: v[now] if n in _OF_PROBES else v for n, v in self.frames[0].items()}
        earlier = {n: v[:, before] if n in _OF_PROBES else v for n, v in film.items()}
        if all(n in earlier and earlier[n].shape[1:] == own[n].shape for n in own):
            self.begun = {n: earlier[n] for n in _COLUMNS}
            self.frames = [{n: earlier[n][i] for n in own} for i in range(len(film["epoch"]))]
            self.probes = tuple(self.probes[place] for place in now)
            kept = {n: self.fixed[n][now] for n in ("probes", "probe_names")}
            self.fixed = {**self.fixed, **kept}


def find_film(model: str, weights: Path | None = None) -> Path | None:
    """The film of a model as `load_model` takes it: shipped, or next to the weights; else None."""
    if model == BUNDLED:
        film = asset("weights/bundled_film.npz")
    else:
        file = weights or Path(model)
        if not file.is_file():
            return None
        film = file.with_name("film.npz")
    return film if film.is_file() else None


def make_film(model: LoadedModel, probes: Sequence[Picture]) -> Film | None:
    """A film of the model; None for one whose attention or patches can't be read."""
    try:
        film = Film(model, probes)
        film.record(0)
    except (UnsupportedModelError, AttributeError):
        return None
    return film


def _small(values: Sequence[Tensor]) -> NDArray[np.float16]:
    return torch.stack(list(values)).detach().float().cpu().numpy().astype(np.float16)
