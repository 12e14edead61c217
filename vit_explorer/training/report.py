"""A run as pictures: its curves and its confusion matrix."""

from __future__ import annotations

import io
from collections.abc import Sequence

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from vit_explorer.datasets.metrics import Metrics
from vit_explorer.training.recipe import Measured
from vit_explorer.training.run_folder import Row

MEASURED_NAMES: dict[Measured, str] = {"test": "test", "held_out": "held-out"}
_TRAIN, _MEASURED, _RATE = "#4477aa", "#cc6677", "#999999"
_MOST_NUMBERS = 20


def draw_curves(rows: Sequence[Row], title: str, measured: Measured = "test") -> bytes:
    """Loss, accuracy and learning rate an epoch, as PNG; `measured` names the log's columns."""
    name_of = {"train": "train", measured: MEASURED_NAMES[measured]}
    figure = Figure(figsize=(10, 4), layout="constrained")
    loss, accuracy = figure.subplots(1, 2)
    epochs = [row["epoch"] for row in rows]
    marker = "o" if len(rows) < 10 else None
    for axes, name, scale in ((loss, "loss", 1), (accuracy, "accuracy", 100)):
        for part, colour in (("train", _TRAIN), (measured, _MEASURED)):
            values = [scale * row[f"{part}_{name}"] for row in rows]
            label = name_of[part]
            axes.plot(epochs, values, color=colour, label=label, marker=marker, markersize=3)
        axes.set_xlabel("epoch")
        axes.grid(alpha=0.3)
        axes.xaxis.get_major_locator().set_params(integer=True)
    loss.set_ylabel("loss (nats)")
    accuracy.set_ylabel("accuracy (%)")
    rate = loss.twinx()
    rate.plot(epochs, [row["lr"] for row in rows], color=_RATE, linestyle=":", label="lr")
    rate.set_ylabel("learning rate", color=_RATE)
    rate.set_ylim(bottom=0)
    lines = [*loss.get_lines(), *rate.get_lines()]
    loss.legend(lines, [*name_of.values(), "learning rate"], loc="upper right")
    accuracy.legend(loc="lower right")
    reached = [100 * row[f"{measured}_accuracy"] for row in rows]
    figure.suptitle(
        f"{title}: {name_of[measured]} accuracy {reached[-1]:.2f} %, best {max(reached):.2f} %"
    )
    return _png(figure)


def draw_confusion(metrics: Metrics) -> bytes:
    """The share of each true class (row) that was given each class (column), as PNG."""
    counts = metrics.confusion
    shares = 100 * counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    n = len(metrics.classes)
    side = min(12.0, 3.5 + 0.45 * n)
    figure = Figure(figsize=(side + 1, side), layout="constrained")
    axes = figure.subplots()
    image = axes.imshow(shares, cmap="viridis", vmin=0, vmax=100)
    if n <= _MOST_NUMBERS:
        for row, column in np.ndindex(n, n):
            if counts[row, column]:
                colour = "black" if shares[row, column] > 60 else "white"
                text = f"{shares[row, column]:.1f}"
                axes.text(column, row, text, ha="center", va="center", color=colour, fontsize=8)
        axes.set_xticks(range(n), metrics.classes, rotation=45, ha="right")
        axes.set_yticks(range(n), metrics.classes)
    axes.set_xlabel("predicted")
    axes.set_ylabel("true")
    axes.set_title(f"accuracy {100 * metrics.accuracy:.2f} % of {metrics.samples:,} pictures")
    figure.colorbar(image, label="% of the true class", shrink=0.8)
    return _png(figure)


def _png(figure: Figure) -> bytes:
    content = io.BytesIO()
    FigureCanvasAgg(figure).print_png(content)
    return content.getvalue()
