"""What a model looks at in each of many pictures: maps as one array, and what its head reads."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from vit_explorer.errors import OptionError
from vit_explorer.explaining.explain import explain_many
from vit_explorer.methods import in_order
from vit_explorer.models.loaded import LoadedModel
from vit_explorer.models.needs import why_not
from vit_explorer.models.targets import Target
from vit_explorer.sentences import joined
from vit_explorer.tracing.trace import Trace


@dataclass(frozen=True, eq=False)
class RelevanceMaps:
    """One method's maps of n pictures: `values` (n, gh, gw), and `embeddings` (n, D) as
    `token_embeddings` has them (D is 0 where a model keeps no tokens)."""

    method: str
    values: npt.NDArray[np.float32] = field(repr=False)
    embeddings: npt.NDArray[np.float32] = field(repr=False)


def relevance_maps(
    model: LoadedModel,
    pictures: Iterable[Any],
    target: Target | Sequence[Target] = None,
    *,
    method: str | None = None,
    progress: Callable[[int], None] | None = None,
) -> RelevanceMaps:
    """The maps of many pictures by one method, several sharing each pass.

    Args:
        pictures: as `explain` takes them.
        target: one for all or one a picture; None is each picture's top prediction.
        method: a name from `METHODS`; None is the most faithful one, as measured, that needs no
            more than a forward and a backward pass.
        progress: called with how many pictures are done; what it raises stops the work.

    Raises:
        ExplorerError: no pictures, or a picture, method or target that can't be used.
    """
    method = method or cheap_method(model)
    values, embeddings = [], []
    for found in explain_many(model, pictures, method, target, top=1):
        values.append(found.heatmaps[method].values)
        embeddings.append(_embedding(found.trace))
        if progress is not None:
            progress(len(values))
    if not values:
        raise _no_pictures()
    return RelevanceMaps(method, np.stack(values), np.stack(embeddings))


def token_embeddings(
    model: LoadedModel,
    pictures: Iterable[Any],
    *,
    progress: Callable[[int], None] | None = None,
) -> npt.NDArray[np.float32]:
    """What the head reads of each picture (n, D): the last block's class token, the mean of its
    patches, or both in the shares the card says. D is 0 where a model keeps no tokens.

    Raises:
        ExplorerError: no pictures, or one that can't be used.
    """
    found: list[npt.NDArray[np.float32]] = []
    for one in explain_many(model, pictures, (), top=1):
        found.append(_embedding(one.trace))
        if progress is not None:
            progress(len(found))
    if not found:
        raise _no_pictures()
    return np.stack(found)


def cheap_method(*models: LoadedModel) -> str:
    """The most faithful method, as measured, of those that all the models allow and that don't ask
    them again."""
    allowed = (
        method.name
        for method in in_order()
        if not method.runs_model and not any(why_not(one.card, method.needed) for one in models)
    )
    found = next(allowed, None)
    if found is None:
        raise OptionError(
            "error.maps.method",
            "No method makes maps of {model} in one pass; name one as method.",
            model=joined(model.card.name for model in models),
        )
    return found


def _embedding(passed: Trace) -> npt.NDArray[np.float32]:
    if passed.card.tier == 2:
        return np.zeros(0, np.float32)
    with torch.no_grad():
        return (passed.readout() @ passed.blocks[-1]).float().cpu().numpy()


def _no_pictures() -> OptionError:
    return OptionError(
        "error.maps.none", "No pictures were given, expected one or more; choose some."
    )
