"""The views that are no heatmaps, as files: a picture and the numbers behind it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

import numpy as np

from vit_explorer.analysis.head_statistics import attention_distance, attention_entropy
from vit_explorer.analysis.logit_lens import logit_lens
from vit_explorer.analysis.tokens import artifacts, token_similarity
from vit_explorer.analysis.weights import patch_filters, position_similarity
from vit_explorer.drawing import figures
from vit_explorer.drawing import overlays as render
from vit_explorer.errors import ExplorerError, OptionError, UnsupportedModelError, nearest
from vit_explorer.explaining.explanation import folder_name, versions
from vit_explorer.models.card import LARGEST_DRAWN_GRID
from vit_explorer.models.needs import require
from vit_explorer.models.zoo import LoadedModel
from vit_explorer.result_folder import fill_folder
from vit_explorer.tracing.trace import Trace, trace

if TYPE_CHECKING:
    from matplotlib.figure import Figure

MANIFEST = "views.json"

Drawn = tuple["Figure", dict[str, Any]]


@dataclass(frozen=True)
class View:
    """What a view shows, and the function that draws it and gives its arrays."""

    title: str
    summary: str
    source: str
    draw: Callable[[Trace], Drawn]
    requires: tuple[str, ...]  # names of `NEEDS`


def _heads(passed: Trace) -> Drawn:
    arrays = {
        "distance": attention_distance(passed),
        "distance_renormalised": attention_distance(passed, renormalise=True),
        "entropy": attention_entropy(passed),
    }
    drawn = figures.head_figure(
        arrays["distance"], arrays["entropy"], renormalised=arrays["distance_renormalised"]
    )
    return drawn, arrays


def _lens(passed: Trace) -> Drawn:
    lens = logit_lens(passed)
    classes = np.array([[p.index for p in row] for row in lens.predictions])
    arrays = {"logits": lens.logits, "target_probability": lens.curve, "top_classes": classes}
    return figures.lens_figure(lens), arrays


def _artifacts(passed: Trace) -> Drawn:
    layers = [artifacts(passed, layer=layer) for layer in range(passed.card.depth)]
    class_shares = [one.class_share for one in layers if one.class_share is not None]
    arrays = {
        "norms": np.stack([one.norms for one in layers]),
        "prefix_norms": np.stack([one.prefix_norms for one in layers]),
        "outliers": np.stack([one.outliers for one in layers]),
        "thresholds": np.array([one.threshold for one in layers], np.float32),
        "attention_share": np.array([one.mean_share for one in layers], np.float32),
        "class_attention_share": np.array(class_shares, np.float32),
    }
    return figures.artifact_figure(passed.prepared.crop, layers[-1]), arrays


def _filters(passed: Trace) -> Drawn:
    found = patch_filters(passed.model)
    return figures.filter_sheet(found), {"filters": found.filters, "explained": found.explained}


def _similarity(passed: Trace) -> Drawn:
    patch = (passed.card.grid[0] // 2, passed.card.grid[1] // 2)
    maps = token_similarity(passed, patch, layer=None)
    return figures.similarity_figure(passed.prepared.crop, maps, patch=patch), {
        "similarity": maps,
        "patch": np.array(patch),
    }


def _positions(passed: Trace) -> Drawn:
    card = passed.card
    if not card.position_maps:
        raise UnsupportedModelError(
            f"{card.name} has no position maps: its positions are {card.position} on a grid of "
            f"{card.grid[0]}×{card.grid[1]}, and they are drawn for learned and sin-cos ones on "
            f"at most {LARGEST_DRAWN_GRID} patches."
        )
    similarity = position_similarity(passed.model)
    return render.position_maps(similarity), {"similarity": similarity}


VIEWS: Mapping[str, View] = MappingProxyType(
    {
        "heads": View(
            "Heads",
            "How far each head looks, in pixels, and how widely it spreads.",
            "Dosovitskiy et al. 2021, Fig. 7 (right)",
            _heads,
            ("attention",),
        ),
        "lens": View(
            "Logit lens",
            "What the model would say if it ended after each layer.",
            "nostalgebraist 2020; Vilas et al. 2023",
            _lens,
            ("tokens", "class"),
        ),
        "artifacts": View(
            "Artifacts",
            "Patch tokens of high norm after the last layer, and the attention they take.",
            "Darcet et al. 2024",
            _artifacts,
            ("tokens", "attention"),
        ),
        "filters": View(
            "Patch filters",
            "Principal components of the patch embedding.",
            "Dosovitskiy et al. 2021, Fig. 7 (left)",
            _filters,
            ("embedding",),
        ),
        "tokens": View(
            "Token similarity",
            "Cosine similarity of the middle patch's token to every patch, after each layer.",
            "Amir et al. 2022",
            _similarity,
            ("tokens",),
        ),
        "positions": View(
            "Position similarity",
            "Cosine similarity of every position embedding to every other.",
            "Dosovitskiy et al. 2021, Fig. 7 (middle)",
            _positions,
            ("positions",),
        ),
    }
)


def save_views(
    model: LoadedModel,
    picture: Any,
    directory: str | Path,
    views: Iterable[str] | str = "all",
    *,
    name: str | None = None,
) -> tuple[Path, dict[str, str]]:
    """Write `directory/name/`: NAME.png and NAME.npz a view, and views.json.

    The files are made beside their place and moved there when complete.

    Args:
        picture: anything `open_picture` takes, or a `Prepared`.
        views: a name or names from `VIEWS`; "all" for each that the model allows.
        name: the folder's; the picture's name without its ending if not given.

    Returns:
        The folder written, and the views left out of "all" with the reason.

    Raises:
        OptionError: no such view, none at all, or a name that is a path.
        UnsupportedModelError, TargetError: a view that was named and the model doesn't allow.
        OutputError: the folder can't be made or written to.
    """
    asked = (views,) if isinstance(views, str) else tuple(views)
    for view in asked:
        if view != "all" and view not in VIEWS:
            raise OptionError(
                f"There is no view {view!r}{nearest(view, VIEWS)}; the views: {', '.join(VIEWS)}."
            )
    if not asked:
        raise OptionError(f"No views were named; the views: all, {', '.join(VIEWS)}.")
    passed = trace(model, picture)
    skipped: dict[str, str] = {}

    def write(folder: Path) -> dict[str, Any]:
        for view in VIEWS if "all" in asked else asked:
            try:
                require(model.card, *VIEWS[view].requires)
                figure, arrays = VIEWS[view].draw(passed)
            except ExplorerError as error:
                if view in asked:
                    raise
                skipped[view] = str(error)
                continue
            figure.savefig(folder / f"{view}.png")
            with (folder / f"{view}.npz").open("wb") as file:
                np.savez_compressed(file, **arrays)
        return {
            "format": 1,
            "picture": passed.prepared.picture.name,
            "model": model.to_dict(),
            "views": {
                view: {"title": VIEWS[view].title, "source": VIEWS[view].source}
                for view in VIEWS
                if (folder / f"{view}.png").exists()
            },
            "skipped": skipped,
            "versions": versions(),
        }

    chosen = folder_name(passed.prepared.picture.name) if name is None else name
    return fill_folder(Path(directory), chosen, write, manifest=MANIFEST), skipped
