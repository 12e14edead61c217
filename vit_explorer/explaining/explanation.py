"""What an explanation holds, shows and writes."""

from __future__ import annotations

import base64
import html
import io
import platform
import re
import threading
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache
from importlib import metadata
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal
from weakref import WeakKeyDictionary

import numpy as np
from PIL import Image

from vit_explorer.analysis.disagreement import disagreements
from vit_explorer.analysis.faithfulness import Faithfulness
from vit_explorer.analysis.weights import position_similarity
from vit_explorer.drawing import overlays as render
from vit_explorer.drawing.lettering import class_name
from vit_explorer.errors import OptionError, nearest
from vit_explorer.methods import METHODS, Heatmap
from vit_explorer.models.card import ModelCard
from vit_explorer.models.loaded import LoadedModel
from vit_explorer.models.predictions import Prediction
from vit_explorer.pictures.decode import Picture
from vit_explorer.pictures.preprocess import Prepared
from vit_explorer.result_folder import fill_folder
from vit_explorer.sentences import Sentence
from vit_explorer.tracing.trace import Trace
from vit_explorer.version import __version__

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from vit_explorer.explaining.attention_widget import AttentionWidget

MANIFEST = "explanation.json"
# Past this many pixels a side an overlay gains nothing over a 14×14 map but bytes.
LARGEST_OVERLAY = 1024
# Four times faster than Pillow's own choice, for a tenth more bytes.
PNG_EFFORT = 2


@dataclass(frozen=True, eq=False)
class Explanation:
    """What a model said about a picture, and why; `heatmaps` and `skipped` are by method name, and
    `trust` by protocol, "pixels" and "tokens", where it was asked for."""

    picture: Picture
    prepared: Prepared
    model: LoadedModel = field(repr=False)
    predictions: tuple[Prediction, ...]
    target: Prediction | None
    heatmaps: Mapping[str, Heatmap]
    skipped: Mapping[str, str]
    seconds: Mapping[str, float]
    versions: Mapping[str, str]
    trace: Trace = field(repr=False)
    trust: Mapping[str, Faithfulness] = field(default_factory=dict)

    @property
    def card(self) -> ModelCard:
        """What was detected in the model."""
        return self.model.card

    @property
    def unsure(self) -> bool | None:
        """Whether none of the model's classes fits the picture well: the likeliest one's
        probability is below that of nearly all pictures the model was right about when it was
        measured (`card.unsure_below`). None for a model of which that is not known.
        """
        if self.card.unsure_below is None or not self.predictions:
            return None
        likeliest = self.predictions[0].probability
        return None if likeliest is None else likeliest < self.card.unsure_below

    @property
    def protocols_differ(self) -> dict[str, str]:
        """A sentence for each map that beats chance by one protocol alone, with the likely
        reason."""
        pixels, tokens = self.trust.get("pixels"), self.trust.get("tokens")
        return disagreements(pixels, tokens) if pixels and tokens else {}

    def overlay(
        self,
        name: str,
        *,
        opacity: float = 0.6,
        colormap: str = "inferno",
        smooth: bool = True,
        on: Literal["crop", "whole", "seen"] = "crop",
        limits: tuple[float, float] | None = None,
    ) -> Image.Image:
        """Lay a map over the crop at the picture's own resolution, the whole picture, or the
        pixels the model saw.

        Args:
            opacity: 0 shows the picture alone, 1 the strongest colour.
            limits: values at the ends of the colormap; None takes the map's own.

        Raises:
            OptionError: no such map, or an option outside its range.
        """
        heatmap = self._heatmap(name)
        if on not in ("crop", "whole", "seen"):
            raise OptionError(
                "error.overlay.on",
                "The overlay was to lie on {on!r}, expected crop, whole or seen.",
                on=on,
            )
        if on == "whole" and not self.prepared.box_known:
            raise OptionError(
                "error.overlay.unknown",
                "Where the crop lies in the whole picture is not known for this model's own "
                "transform; lay the overlay on the crop.",
            )
        image = {
            "crop": self.prepared.crop,
            "whole": self.prepared.whole,
            "seen": self.prepared.shown,
        }[on]
        scale = min(1.0, LARGEST_OVERLAY / max(image.size))
        box = None
        if on == "whole":
            left, top, right, bottom = self.prepared.box
            box = (left * scale, top * scale, right * scale, bottom * scale)
        if scale < 1:
            size = tuple(max(1, round(side * scale)) for side in image.size)
            image = image.resize((size[0], size[1]), Image.Resampling.LANCZOS)
        return render.overlay(
            image,
            heatmap.values,
            opacity=opacity,
            colormap=colormap,
            smooth=smooth,
            limits=limits,
            signed=heatmap.signed,
            box=box,
        )

    def describe(self, name: str) -> str:
        """Say in words where a map's mass lies, as alt text."""
        heatmap = self._heatmap(name)
        return f"{heatmap.title}: {render.describe(heatmap.values, heatmap.signed)}"

    def widget(self) -> AttentionWidget:
        """The attention and the maps as a widget for notebooks, with the page's own canvas.

        The pointer or the arrow keys choose the patch that looks (a click keeps it), sliders and
        lists the layer, head, opacity and colours. What is chosen can be read and set: `layer`,
        `head` and `token` (from 0; a head may be "mean" or "max"), `opacity`, `colormap`,
        `smooth`. Attention comes from the kernel in float32, a layer's (h, N, N) as it is needed.
        Where no front end draws the widget, `figure()` stands in its place.

        Raises:
            OptionError: anywidget is not installed.
        """
        if find_spec("anywidget") is None:
            raise OptionError(
                "error.widget.missing",
                "The widget needs anywidget, which is not installed; install it with pip install "
                "'vit-explorer[notebook]'.",
            )
        from vit_explorer.explaining.attention_widget import AttentionWidget

        return AttentionWidget(self)

    def figure(self) -> Figure:
        """All maps beside the picture, each with its colour bar of real values."""
        panels = []
        for name, heatmap in self.heatmaps.items():
            caption, label = self.caption(name), heatmap.target_label
            if label is not None:
                caption = caption.replace(label, class_name(label, heatmap.target))
            panels.append((heatmap.title, heatmap.values, heatmap.signed, caption))
        return render.comparison(self.prepared.crop, panels)

    def caption(self, name: str) -> str:
        """What a map shows, in a few words: its target, layer or other options."""
        heatmap = self._heatmap(name)
        target = heatmap.target_label or "the same for every class"
        changed = [
            f"{key} {value}"
            for key, value in heatmap.options.items()
            if value != METHODS[name].defaults[key]
        ]
        return " · ".join([target, *changed])

    def patches(self) -> Image.Image:
        """The crop cut into the model's patches, numbered from 1 row by row."""
        return render.numbered_patches(self.prepared.crop, self.card.grid)

    def save(
        self, directory: str | Path, *, name: str | None = None, scratch: Path | None = None
    ) -> Path:
        """Write `directory/name/`: an overlay a method, heatmaps.npz and explanation.json,
        patches.png, and positions.png where the model has absolute positions.

        The files are made beside their place, or in the folder `scratch` on the same disk, and
        moved there when complete. `name` is the picture's name without its ending if not given.

        Returns:
            The folder written.

        Raises:
            OutputError: the folder can't be made or written to.
            OptionError: a name that is a path.
        """
        chosen = folder_name(self.picture.name) if name is None else name
        return fill_folder(Path(directory), chosen, self._write, manifest=MANIFEST, scratch=scratch)

    def to_dict(self) -> dict[str, Any]:
        """What explanation.json holds."""
        return {
            "format": 1,
            "picture": {
                "name": self.picture.name,
                "sha256": self.picture.sha256,
                "size": list(self.picture.image.size),
                **self.picture.told(),
                "box": list(self.prepared.box),
            },
            "model": self.model.to_dict(),
            "predictions": [vars(prediction) for prediction in self.predictions],
            "unsure": self.unsure,
            "target": self._described_target(),
            "methods": {
                name: {
                    "title": heatmap.title,
                    "target": heatmap.target,
                    "target_label": heatmap.target_label,
                    "signed": heatmap.signed,
                    "options": heatmap.options,
                    "range": list(heatmap.range),
                    "note": heatmap.note,
                    "description": self.describe(name),
                }
                for name, heatmap in self.heatmaps.items()
            },
            "skipped": dict(self.skipped),
            "trust": {protocol: trust.to_dict() for protocol, trust in self.trust.items()},
            "protocols_differ": self.protocols_differ,
            "seconds": dict(self.seconds),
            "versions": dict(self.versions),
        }

    def _described_target(self) -> dict[str, Any] | None:
        aim = self.trace.aim
        if self.target is None or aim is None:
            return None
        return {**vars(self.target), "weights": {str(key): value for key, value in aim.weights}}

    def _heatmap(self, name: str) -> Heatmap:
        if name not in self.heatmaps:
            known = ", ".join(self.heatmaps) or Sentence("part.none", "none")
            raise OptionError(
                "error.explanation.map",
                "This explanation has no map {name!r}{near}; its maps: {known}.",
                name=name,
                near=nearest(name, self.heatmaps),
                known=known,
            )
        return self.heatmaps[name]

    def _write(self, folder: Path) -> dict[str, Any]:
        for name in self.heatmaps:
            self.overlay(name).save(folder / f"{name}.png", compress_level=PNG_EFFORT)
        self.patches().save(folder / "patches.png", compress_level=PNG_EFFORT)
        if self.card.position_maps:
            (folder / "positions.png").write_bytes(_positions_picture(self.model))
        with (folder / "heatmaps.npz").open("wb") as file:
            maps: dict[str, Any] = {name: h.values for name, h in self.heatmaps.items()}
            np.savez_compressed(file, **maps)
        return self.to_dict()

    def _repr_html_(self) -> str:
        buffer = io.BytesIO()
        self.figure().savefig(buffer, format="png", dpi=90)
        rows = "".join(
            f"<tr><td>{html.escape(p.label)}</td><td>{p.shown}</td></tr>" for p in self.predictions
        )
        alt = html.escape(" ".join(self.describe(name) for name in self.heatmaps))
        picture = base64.b64encode(buffer.getvalue()).decode()
        return (
            f'<table>{rows}</table><img alt="{alt}" src="data:image/png;base64,{picture}">'
            f"<p>{html.escape(self.card.name)} · {html.escape(self.card.summary())}</p>"
        )


@cache
def versions() -> dict[str, str]:
    """Versions of what the numbers come from."""
    names = ("torch", "timm", "numpy", "pillow")
    return {
        "vit-explorer": __version__,
        "python": platform.python_version(),
        **{name: metadata.version(name) for name in names},
    }


def folder_name(picture: str) -> str:
    """What a picture's results are filed under: its name without ending, and no path."""
    return Path(picture).stem.strip(". ") or "picture"


def folder_of_target(target: str | int | None) -> str:
    """What the results of one of several targets are filed under: its name without what names of
    folders can't hold.

    >>> folder_of_target("tabby, tabby cat - Egyptian cat/x")
    'tabby, tabby cat - Egyptian cat_x'
    """
    return re.sub(r'[\x00-\x1f<>:"/\\|?*]', "_", str(target)).strip(". ") or "target"


# The maps belong to the model, so many pictures share one drawing.
_POSITIONS: WeakKeyDictionary[LoadedModel, bytes] = WeakKeyDictionary()
_DRAWING = threading.Lock()


def _positions_picture(model: LoadedModel) -> bytes:
    with _DRAWING:
        if model not in _POSITIONS:
            buffer = io.BytesIO()
            render.position_maps(position_similarity(model)).savefig(buffer, format="png")
            _POSITIONS[model] = buffer.getvalue()
        return _POSITIONS[model]
