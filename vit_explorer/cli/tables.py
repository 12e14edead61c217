"""Results as tables for a terminal."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from rich.table import Table

from vit_explorer.cli.printing import marked

if TYPE_CHECKING:
    from vit_explorer.analysis.faithfulness import Faithfulness
    from vit_explorer.analysis.intervention_result import Intervention
    from vit_explorer.analysis.pointing import Pointing
    from vit_explorer.benchmarks.memory import Memory
    from vit_explorer.benchmarks.speed import Speed
    from vit_explorer.explaining.explanation import Explanation
    from vit_explorer.explaining.views import View
    from vit_explorer.methods import Method
    from vit_explorer.models.loaded import LoadedModel
    from vit_explorer.training.compared_runs import RunComparison
    from vit_explorer.training.recorded_runs import RecordedRun
    from vit_explorer.training.study_files import VariantSummary


def predictions_table(result: Explanation) -> Table:
    """The most probable classes or labels, or the values, under the picture's name."""
    table = Table(title=marked(result.picture.name), title_justify="left")
    named = {"labels": "label", "value": "value of"}
    table.add_column(named.get(result.card.outputs, "class"))
    table.add_column("value" if result.card.outputs == "value" else "probability", justify="right")
    table.add_column("index", justify="right")
    for prediction in result.predictions:
        table.add_row(marked(prediction.label), prediction.shown, str(prediction.index))
    return table


def unsure_line(result: Explanation) -> str:
    """What to think of predictions that are all improbable."""
    card = result.card
    return (
        f"None of the {card.classes:,} classes fits well (the likeliest is below "
        f"{card.unsure_below or 0:.1%}); a model of more classes, such as "
        "--model deit_tiny_patch16_224, may know it."
    )


def trust_table(trust: Faithfulness) -> Table:
    """Insertion, deletion and their difference: of the maps, of the middle, and by chance."""
    how = {"pixels": "by covered pixels", "tokens": "by tokens taken out"}[trust.protocol]
    title = f"{how}: insertion − deletion = gain of the {trust.measure}, higher is better"
    table = Table(title=title, title_justify="left")
    table.add_column("map", no_wrap=True)
    for heading in ("insertion", "deletion", "gain"):
        table.add_column(heading, justify="right")
    table.add_column("verdict")

    def add(name: str, insertion: float, deletion: float, verdict: str = "") -> None:
        numbers = (f"{value:.3f}" for value in (insertion, deletion, insertion - deletion))
        table.add_row(name, *numbers, verdict)

    for name, score in sorted(trust.scores.items(), key=lambda one: -one[1].gain):
        add(name, score.insertion, score.deletion, trust.verdict(name))
    add("a Gaussian in the middle", trust.gaussian.insertion, trust.gaussian.deletion)
    chance = trust.random
    insertion = sum(score.insertion for score in chance) / len(chance)
    deletion = sum(score.deletion for score in chance) / len(chance)
    add(f"mean of {len(chance)} random maps", insertion, deletion)
    return table


def pointing_table(found: Pointing) -> Table:
    """The mean share of each method's maps on their own quarter, the best first."""
    title = (
        f"{len(found.labels)} mosaics: share of a class's map on its own quarter, by chance 25 %"
    )
    table = Table(title=title, title_justify="left")
    table.add_column("method", no_wrap=True)
    table.add_column("points", justify="right")
    table.add_column("95 % interval", justify="right")
    for name in sorted(found.shares, key=lambda one: -found.mean(one)):
        mean, half = found.mean(name), found.interval(name)
        spread = "" if math.isnan(half) else f"{mean - half:.1%} to {mean + half:.1%}"
        table.add_row(name, f"{mean:.1%}", spread)
    return table


def methods_table(methods: Mapping[str, Method]) -> Table:
    """What each method shows, its place by faithfulness, cost, options, source and caveat."""
    from vit_explorer.methods import place

    table = Table("#", "method", "what it shows, and takes", "options", "source", "caveat")
    table.show_lines = True
    table.columns[1].no_wrap = table.columns[3].no_wrap = True  # names that are typed
    for name, method in methods.items():
        options = "\n".join(marked(f"{key}={value}") for key, value in method.defaults.items())
        shows = f"{method.summary} ({method.costs})"
        number = str(place(name) or "-")
        table.add_row(
            number, name, marked(shows), options, marked(method.source), marked(method.caveat)
        )
    return table


def views_table(views: Mapping[str, View]) -> Table:
    """What each view that is no heatmap shows, and its source."""
    table = Table("view", "what it shows", "source")
    for name, view in views.items():
        table.add_row(name, view.summary, view.source)
    return table


def model_table(model: LoadedModel) -> Table:
    """What was detected in a model, and what was measured when it was trained."""
    table = Table("what", "detected", show_header=False)
    table.columns[1].overflow = "fold"
    for key, value in model.card.to_dict().items():
        table.add_row(key.replace("_", " "), marked(_readable(value)))
    table.add_row("weights sha256", model.sha256)
    if model.trained_on:
        table.add_row("trained on", marked(model.trained_on))
    for key, value in model.metadata.get("metrics", {}).items():
        table.add_row(f"measured {key}", marked(_readable(value)))
    return table


def intervention_table(change: Intervention) -> Table:
    """Predictions before and after, side by side."""
    table = Table("before", "", "after", "")
    for one, other in zip(change.before, change.after, strict=True):
        table.add_row(
            marked(one.label),
            one.shown,
            marked(other.label),
            other.shown,
        )
    return table


def speed_table(speed: Speed) -> Table:
    """A model's ratios beside the design's targets."""
    table = Table(title=f"{speed.model}, {speed.rounds} rounds", title_justify="left")
    table.add_column("what")
    table.add_column("ratio", justify="right", no_wrap=True)
    table.add_column("target")
    for what, ratio in speed.ratios.items():
        table.add_row(what, f"{ratio:.2f}×", speed.targets[what])
    for job, milliseconds in speed.milliseconds.items():
        table.add_row(job, f"{milliseconds:,.1f} ms", "", style="dim")
    return table


def memory_table(costs: Mapping[str, Memory]) -> Table:
    """Memory of rollout + Grad-CAM above the bare forward pass."""
    table = Table("rollout + Grad-CAM", "forward pass", "explained", "above it", "target")
    for name, cost in costs.items():
        numbers = (f"{value:,.0f} MB" for value in (cost.forward, cost.explained, cost.above))
        table.add_row(name, *numbers, f"≤ {cost.target} MB" if cost.target else "")
    return table


def recording_table(ratios: Mapping[str, float], target: float) -> Table:
    """The recorded pass over the bare one, for each way of attending."""
    table = Table("recording attention", "ratio", "target")
    for way, ratio in ratios.items():
        table.add_row(way, f"{ratio:.2f}×", f"≤ {target}×")
    return table


def startup_table(seconds: Mapping[str, float]) -> Table:
    """CPU seconds of starting, as ratios to imports alone."""
    from vit_explorer.benchmarks.startup import ROWS, ratios

    table = Table("starting", "ratio", "CPU seconds", "target")
    found = ratios(seconds)
    for row in ROWS:
        used = f"{seconds[row.job]:.2f} s"
        table.add_row(row.what, f"{found[row.what]:.2f}×", used, f"≤ {row.target}×")
    return table


def runs_table(runs: Sequence[RecordedRun]) -> Table:
    """How far each run came, and what it reached."""
    from vit_explorer.training.report import MEASURED_NAMES

    table = Table()
    table.add_column("run", no_wrap=True)
    for heading in ("epochs", "best epoch", "test accuracy", "cross-entropy"):
        table.add_column(heading, justify="right")
    for run in runs:
        best = "" if run.best is None else f"{run.best:.2%} ({MEASURED_NAMES[run.measured]})"
        metrics = run.metrics or {}
        reached = (f"{metrics['accuracy']:.2%}", f"{metrics['nll']:.4f}") if metrics else ("", "")
        epochs = f"{len(run.rows)} of {run.recipe.epochs}"
        table.add_row(marked(run.name), epochs, best, *reached)
    return table


def settings_table(found: RunComparison) -> Table:
    """What differs between runs: the settings of their recipes, then all else."""
    from vit_explorer.training.comparison_files import shown

    table = Table("differs", *(marked(run.name) for run in found.runs))
    for own in (found.settings, found.facts):
        for key, values in own.items():
            table.add_row(marked(key), *(marked(shown(value)) for value in values))
        table.add_section()
    return table


def study_table(variants: Sequence[VariantSummary]) -> Table:
    """How right each variant is, and whether that differs from the first beyond chance."""
    table = Table()
    table.add_column("variant", no_wrap=True)
    for heading in ("seeds", "test accuracy", "lowest to highest", "difference, 95 %", "p"):
        table.add_column(heading, justify="right")
    for one in variants:
        low, high = min(one.accuracies), max(one.accuracies)
        reached = [str(len(one.accuracies)), f"{one.mean:.2%}", f"{low:.2%} to {high:.2%}"]
        if one.difference is None:
            compared = ["", ""]
        elif one.p is None:
            compared = [f"{100 * one.difference:+.2f}", ""]
        else:
            ends = f"{100 * (one.low or 0):+.2f} to {100 * (one.high or 0):+.2f}"
            compared = [f"{100 * one.difference:+.2f}, {ends}", f"{one.p:.3f}"]
        table.add_row(one.variant, *reached, *compared)
    return table


def _readable(value: Any) -> str:
    if isinstance(value, (tuple, list)):
        return ", ".join(map(_readable, value)) or "none"
    if isinstance(value, dict):
        return " ".join(map(_readable, value.values()))
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return f"{value:.4g}"
    return f"{value:,}" if isinstance(value, int) else str(value) or "none"
