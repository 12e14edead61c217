"""Writes a model's table in docs/faithfulness.md: every method beside chance and a Gaussian.

    python -m tests.faithfulness_table PHOTOS --weights deit_tiny_patch16_224.safetensors
    python -m tests.faithfulness_table CLASS_FOLDERS --model bundled --right 50

The second takes pictures that the model is right about, drawn at random from folders named by its
classes. A table stands between `<!-- MODEL -->` and `<!-- end of MODEL -->`.
"""

from __future__ import annotations

import argparse
import json
import random
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from scipy.stats import wilcoxon
from tqdm import tqdm

import vit_explorer as vx
from vit_explorer.datasets.sources import find_pictures

OUT = Path(__file__).resolve().parents[1] / "docs/faithfulness.md"
ENDINGS = {".jpeg", ".jpg", ".png"}
Record = dict[str, Any]

TABLE = """{count} {pictures}, {methods} methods:

```bash
python -m tests.faithfulness_table {command}
```

| method | insertion | deletion | gain | rank | beats random | beats Gaussian | weights lost |
|---|---|---|---|---|---|---|---|
{rows}

{findings}
"""


def measure(model: vx.LoadedModel, photo: Path) -> Record:
    """Scores of every method's map of one photograph."""
    result = vx.explain(model, photo, methods="all")
    assert result.target is not None
    trust = vx.faithfulness(model, result.prepared, result.heatmaps)
    fast = [name for name in result.heatmaps if not vx.METHODS[name].runs_model]
    ruined = vx.weight_randomisation(
        model, result.prepared, tuple(fast), target=result.target.index
    )
    return {"photo": photo.name, "randomised": ruined, **trust.to_dict()}


def summarise(records: Sequence[Record]) -> tuple[str, str]:
    """The table's rows, the best gain first, and which methods do not beat their baselines."""

    def gains(scores: Sequence[Mapping[str, float]]) -> np.ndarray:
        return np.array([score["insertion"] - score["deletion"] for score in scores])

    names = list(records[0]["maps"])
    chance = np.array([gains(record["random"]).mean() for record in records])
    middle = gains([record["gaussian"] for record in records])
    scores = {name: [record["maps"][name] for record in records] for name in names}
    names.sort(key=lambda name: -gains(scores[name]).mean())
    lines, weak, central = [], [], []
    for name in names:
        gain = gains(scores[name])
        against_chance, against_middle = _against(gain, chance), _against(gain, middle)
        weak += [name] if "no" in against_chance else []
        central += [name] if "no" in against_middle else []
        ruined = [r["randomised"][name] for r in records if name in r["randomised"]]
        lines.append(
            _row(f"`{name}`", scores[name], np.mean([s["percentile"] for s in scores[name]]))
            + f" {against_chance} | {against_middle} | "
            + (f"{np.mean(ruined):.2f} |" if ruined else "- |")
        )
    lines.append(
        _row("a Gaussian in the middle", [r["gaussian"] for r in records], None)
        + f" {_against(middle, chance)} | | |"
    )
    random = [
        {
            key: float(np.mean([one[key] for one in r["random"]]))
            for key in ("insertion", "deletion")
        }
        for r in records
    ]
    lines.append(_row("random maps", random, 0.5) + " | | |")
    findings = [
        f"No better than random maps here: {_listed(weak)}.",
        f"No better than the Gaussian in the middle here: {_listed(central)}.",
    ]
    return "\n".join(lines), "\n".join(findings)


def _row(name: str, scores: Sequence[Mapping[str, float]], percentile: float | None) -> str:
    insertion, deletion = (np.mean([s[key] for s in scores]) for key in ("insertion", "deletion"))
    share = "" if percentile is None else f"{percentile:.0%}"
    return f"| {name} | {insertion:.3f} | {deletion:.3f} | {insertion - deletion:.3f} | {share} |"


def _against(gain: np.ndarray, baseline: np.ndarray) -> str:
    better = int((gain > baseline).sum())
    sure = (
        np.any(gain != baseline) and wilcoxon(gain, baseline, alternative="greater").pvalue <= 0.01
    )
    return f"{better} of {len(gain)}" + ("" if sure else ", **no**")


def _listed(names: Sequence[str]) -> str:
    return ", ".join(f"`{name}`" for name in names) or "none"


def rightly_seen(model: vx.LoadedModel, folder: Path, count: int) -> Iterator[Path]:
    """Test pictures in class folders that a model is right about, in one order drawn at random."""
    source = find_pictures(folder, "test")
    order = list(range(len(source.labels)))
    random.Random(0).shuffle(order)
    for index in order:
        file = Path(source.items[index])
        found = vx.explain(model, file, methods=()).predictions[0].label
        if found == source.classes[source.labels[index]]:
            yield file
            count -= 1
        if not count:
            return


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("photos", type=Path)
    parser.add_argument("--model", default="deit_tiny_patch16_224")
    parser.add_argument("--weights", type=Path)
    parser.add_argument("--right", type=int, help="so many that the model is right about")
    parser.add_argument("--records", type=Path, help="keeps each photograph's numbers, to go on")
    parser.add_argument("--out", type=Path, default=OUT)
    given = parser.parse_args()
    model = vx.load_model(given.model, weights=given.weights)
    if given.right:
        photos = list(rightly_seen(model, given.photos, given.right))
        pictures, command = "test pictures that it is right about", f"FOLDER --right {given.right}"
    else:
        photos = sorted(p for p in given.photos.iterdir() if p.suffix.lower() in ENDINGS)
        pictures, command = "photographs", "PHOTOS --weights FILE"
    records: list[Record] = []
    if given.records and given.records.exists():
        records = [json.loads(line) for line in given.records.read_text().splitlines()]
    done = {record["photo"] for record in records}
    for photo in tqdm([photo for photo in photos if photo.name not in done], unit="photo"):
        records.append(measure(model, photo))
        if given.records:
            with given.records.open("a") as file:
                file.write(json.dumps(records[-1]) + "\n")
    rows, findings = summarise(records)
    name = model.card.name
    table = TABLE.format(
        count=len(records),
        pictures=pictures,
        methods=len(records[0]["maps"]),
        command=f"{command} --model {name}",
        rows=rows,
        findings=findings,
    )
    text = given.out.read_text(encoding="utf-8")
    place = re.compile(rf"(<!-- {name} -->\n).*?(?=<!-- end of {name} -->)", re.DOTALL)
    given.out.write_text(place.sub(lambda found: found[1] + table, text), encoding="utf-8")


if __name__ == "__main__":
    main()
