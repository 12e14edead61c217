"""Views as files: of each a picture and the numbers behind it."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np

from vit_explorer.errors import ExplorerError, OptionError
from vit_explorer.explaining.explanation import folder_name, versions
from vit_explorer.explaining.views.registry import VIEWS
from vit_explorer.models.loaded import LoadedModel
from vit_explorer.models.needs import require
from vit_explorer.options import find
from vit_explorer.result_folder import fill_folder
from vit_explorer.sentences import Sentence
from vit_explorer.tracing.trace import trace

MANIFEST = "views.json"


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
    for one in asked:
        if one != "all":
            find(Sentence("part.view", "view"), one, VIEWS)
    if not asked:
        raise OptionError(
            "error.view.none",
            "No views were named; the views: all, {views}.",
            views=", ".join(VIEWS),
        )
    passed = trace(model, picture)
    skipped: dict[str, str] = {}

    def write(folder: Path) -> dict[str, Any]:
        for one in VIEWS if "all" in asked else asked:
            try:
                require(model.card, *VIEWS[one].requires)
                figure, arrays = VIEWS[one].draw(passed)
            except ExplorerError as error:
                if one in asked:
                    raise
                skipped[one] = error.sentence
                continue
            figure.savefig(folder / f"{one}.png")
            with (folder / f"{one}.npz").open("wb") as file:
                np.savez_compressed(file, **arrays)
        return {
            "format": 1,
            "picture": passed.prepared.picture.name,
            "model": model.to_dict(),
            "views": {
                one: {"title": VIEWS[one].title, "source": VIEWS[one].source}
                for one in VIEWS
                if (folder / f"{one}.png").exists()
            },
            "skipped": skipped,
            "versions": versions(),
        }

    chosen = folder_name(passed.prepared.picture.name) if name is None else name
    return fill_folder(Path(directory), chosen, write, manifest=MANIFEST), skipped
