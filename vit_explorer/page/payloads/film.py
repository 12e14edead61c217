"""A training film as the page takes it: all frames in one fetch."""

from __future__ import annotations

import math
import zipfile
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from vit_explorer.errors import DataError
from vit_explorer.models.loaded import LoadedModel
from vit_explorer.page.payloads.packing import pack

# More than this would keep a browser busy; then the position maps stay out.
MAX_SIMILARITY_BYTES = 64 * 2**20
# A head whose attention differs less from query to query is dead.
DEAD = 0.01
_NEEDED = (
    "epoch", "probes", "probe_names", "labels", "probabilities", "rollout", "attention_distance",
)  # fmt: skip
_CURVES = ("train_loss", "train_accuracy", "test_loss", "test_accuracy")

Arrays = dict[str, npt.NDArray[Any]]


def film_bytes(path: Path, model: LoadedModel) -> bytes:
    """A film packed for the browser: its epochs, names and curves, and the arrays.

    Of F frames and P probe pictures: `probabilities` (F, P, classes), `rollout` (F, P, gh, gw),
    `distance` (F, P, L, h) and cosines `similarity` (F, gh·gw, gh·gw) as float32; `probes`
    (P, H, W, 3) and `filters` (F, n, ph, pw, 3) as uint8, `filters` only where there are any. The
    facts' `dead` are how many heads of all attend alike from every token, and `artifacts` how many
    patches stand out by their norm, both (F, P), None in a film that lacks them.

    Raises:
        DataError: the file is damaged, or of another model.
    """
    film = _read(path)
    _check_fits(film, path, model)
    parts: Arrays = {
        "probabilities": film["probabilities"],
        "rollout": film["rollout"],
        "distance": film["attention_distance"],
        "probes": film["probes"],
    }
    if "filters" in film:
        parts["filters"] = film["filters"]
    similarity = film.get("position_similarity")
    if similarity is not None and 4 * similarity.size <= MAX_SIMILARITY_BYTES:
        parts["similarity"] = similarity
    facts = {
        "epochs": film["epoch"].tolist(),
        "names": film["probe_names"].tolist(),
        "labels": list(model.labels),
        "measured": str(film.get("measured", "test")),
        "dead": _dead(film),
        "artifacts": film["artifacts"].tolist() if "artifacts" in film else None,
        "curves": {name: _numbers(film[name]) for name in _CURVES},
    }
    return pack(facts, parts)


def _read(path: Path) -> Arrays:
    try:
        with np.load(path) as file:
            film = dict(file)
        for name in (*_NEEDED, *_CURVES):
            film[name]
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile, zlib.error) as error:
        raise DataError(
            "error.film.damaged",
            "The training film {file} is damaged ({error}); train again to make a new one.",
            file=path.name,
            error=type(error).__name__,
        ) from None
    return film


def _check_fits(film: Arrays, path: Path, model: LoadedModel) -> None:
    found = film["attention_distance"].shape[2:]
    expected = (model.card.depth, model.card.heads)
    labels = film["labels"].tolist()
    # The weights' own names: others may have been given for them.
    own = model.metadata.get("labels")
    same = len(labels) == model.card.classes if own is None else labels == own
    if found != expected or not same:
        raise DataError(
            "error.film.other",
            "The {file} next to the weights is the film of another model ({layers} layers of "
            "{heads} heads, {classes} classes); put it with its own weights.",
            file=path.name,
            layers=found[0],
            heads=found[1],
            classes=len(film["labels"]),
        )


def _dead(film: Arrays) -> list[list[int]] | None:
    variation = film.get("attention_variation")
    return None if variation is None else (variation < DEAD).sum(axis=(2, 3)).tolist()


def _numbers(values: npt.NDArray[Any]) -> list[float | None]:
    """JSON knows no infinity, which a loss may reach."""
    return [value if math.isfinite(value) else None for value in values.tolist()]
