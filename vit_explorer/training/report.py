"""Runs as pictures: their curves, and a confusion matrix."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator
from numpy.typing import NDArray

from vit_explorer.datasets.metrics import Metrics
from vit_explorer.drawing.blank import blank
from vit_explorer.drawing.lettering import class_name, note_numbers
from vit_explorer.training.recipe import Measured
from vit_explorer.training.run_folder import Row, measured_on

MEASURED_NAMES: dict[Measured, str] = {"test": "test", "held_out": "held-out"}
_TRAIN, _MEASURED, _RATE = "#4477aa", "#cc6677", "#999999"
_MOST_NUMBERS = 20


def draw_curves(rows: Sequence[Row], title: str, measured: Measured = "test") -> bytes:
    """Loss, accuracy and learning rate an epoch, as PNG; `measured` names the log's columns."""
    name_of = {"train": "train", measured: MEASURED_NAMES[measured]}
    figure = blank((10, 4), dpi=100)
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
    return png_of(figure)


def run_curves(groups: Mapping[str, Sequence[Sequence[Row]]]) -> Figure:
    """Loss and accuracy an epoch of many runs, one axis each, as `draw_groups` draws them."""
    figure = blank((11, 4.8))
    loss, accuracy = figure.subplots(1, 2)
    handles, names = draw_groups(loss, accuracy, groups)
    legend = figure.legend(handles, names, loc="outside lower center", ncols=3, frameon=False)
    for text in legend.get_texts():
        text.set_parse_math(False)
    return figure


def draw_groups(
    loss: Axes, accuracy: Axes, groups: Mapping[str, Sequence[Sequence[Row]]]
) -> tuple[list[Line2D], list[str]]:
    """Draw groups of runs on two axes, a colour a group: solid where pictures were measured, dotted
    in training. What is returned makes a legend.

    A group is the logs of runs that differ by their seed alone: their mean, and a band from the
    lowest to the highest. An epoch that not all of them have reached is left out.
    """
    handles, names = [], []
    for (label, logs), colour in zip(groups.items(), group_colours(len(groups)), strict=True):
        part = measured_on(logs[0])
        handles.append(Line2D([], [], color=colour))
        names.append(f"{label}: {MEASURED_NAMES[part]}" if part != "test" else label)
        for axes, name, scale in ((loss, "loss", 1), (accuracy, "accuracy", 100)):
            for column, style, width in ((part, "-", 1.8), ("train", ":", 1.0)):
                epochs, values = _together(logs, f"{column}_{name}")
                marker = "o" if len(epochs) < 2 else None
                axes.plot(
                    epochs, scale * values.mean(axis=0), style,
                    color=colour, linewidth=width, marker=marker, markersize=3,
                )  # fmt: skip
                if len(values) > 1 and column == part:
                    low, high = scale * values.min(axis=0), scale * values.max(axis=0)
                    axes.fill_between(epochs, low, high, color=colour, alpha=0.15, linewidth=0)
    for axes, name in ((loss, "loss (nats)"), (accuracy, "accuracy (%)")):
        axes.set_xlabel("epoch")
        axes.set_ylabel(name)
        axes.grid(alpha=0.3)
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    accuracy.set_title("solid: test (or as named), dotted: training", fontsize=9, loc="right")
    return handles, names


def _together(
    logs: Sequence[Sequence[Row]], column: str
) -> tuple[list[float], NDArray[np.float64]]:
    """The epochs that all the logs have, and a column's values (logs, epochs)."""
    reached = min(map(len, logs))
    values = np.array([[row[column] for row in log[:reached]] for log in logs], float)
    return [row["epoch"] for row in logs[0][:reached]], values


def group_colours(count: int) -> list[Any]:
    """Colours that can be told apart: the ten that matplotlib draws with, else a whole map."""
    import matplotlib

    if count <= 10:
        return [f"C{index}" for index in range(count)]
    return list(matplotlib.colormaps["turbo"](np.linspace(0.05, 0.95, count)))


def draw_confusion(metrics: Metrics) -> bytes:
    """The share of each true class (row) that was given each class (column), as PNG."""
    counts = metrics.confusion
    shares = 100 * counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    n = len(metrics.classes)
    side = min(12.0, 3.5 + 0.45 * n)
    figure = blank((side + 1, side), dpi=100)
    axes = figure.subplots()
    image = axes.imshow(shares, cmap="viridis", vmin=0, vmax=100)
    if n <= _MOST_NUMBERS:
        for row, column in np.ndindex(n, n):
            if counts[row, column]:
                colour = "black" if shares[row, column] > 60 else "white"
                text = f"{shares[row, column]:.1f}"
                axes.text(column, row, text, ha="center", va="center", color=colour, fontsize=8)
        names = [class_name(label, number) for number, label in enumerate(metrics.classes)]
        axes.set_xticks(range(n), names, rotation=45, ha="right", parse_math=False)
        axes.set_yticks(range(n), names, parse_math=False)
        note_numbers(figure, metrics.classes)
    axes.set_xlabel("predicted")
    axes.set_ylabel("true")
    axes.set_title(f"accuracy {100 * metrics.accuracy:.2f} % of {metrics.samples:,} pictures")
    figure.colorbar(image, label="% of the true class", shrink=0.8)
    return png_of(figure)


def png_of(figure: Figure) -> bytes:
    """A figure as a file."""
    content = io.BytesIO()
    FigureCanvasAgg(figure).print_png(content)
    return content.getvalue()
