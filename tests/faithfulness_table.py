"""Writes docs/faithfulness.md: every method on many photographs, beside chance and a Gaussian.

python -m tests.faithfulness_table PHOTOS --weights deit_tiny_patch16_224.safetensors
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from scipy.stats import wilcoxon
from tqdm import tqdm

import vit_explorer as vx

OUT = Path(__file__).resolve().parents[1] / "docs/faithfulness.md"
ENDINGS = {".jpeg", ".jpg", ".png"}
Record = dict[str, Any]

TEXT = """# Do the maps beat chance?

{count} photographs, {model}, {methods} methods. For each map the cells are uncovered from a
blurred picture (insertion, higher is better) and covered with the mean colour (deletion, lower is
better), best first, and the probability of the top class is followed; gain is insertion - deletion.
20 random maps and a Gaussian in the middle are scored on each photograph in the same way.

```bash
python -m tests.faithfulness_table PHOTOS --model {model} --weights FILE
```

| method | insertion | deletion | gain | rank | beats random | beats Gaussian | weights lost |
|---|---|---|---|---|---|---|---|
{rows}

- *rank*: the mean share of the 20 random maps with a lower gain; chance is 50 %.
- *beats random* (the mean of the 20), *beats Gaussian*: on how many of the photographs, and **no**
  where a one-sided Wilcoxon signed-rank test over the photographs gives p > 0.01: such a method is
  no better than that baseline here.
- *weights lost*: mean rank correlation of the map with the map of the same network
  with shuffled weights. Near 1 would mean that the map does not depend on what the model learned.
  Methods that run the model many times are left out of this column (-).
- Covered pictures are unlike any photograph, so the numbers also measure how the model takes those.
  A mean over {count} photographs says which methods to prefer; for one picture ask
  `vit-explorer explain PICTURE --trust`.

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


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("photos", type=Path)
    parser.add_argument("--model", default="deit_tiny_patch16_224")
    parser.add_argument("--weights", type=Path)
    parser.add_argument("--records", type=Path, help="keeps each photograph's numbers, to go on")
    parser.add_argument("--out", type=Path, default=OUT)
    given = parser.parse_args()
    model = vx.load_model(given.model, weights=given.weights)
    photos = sorted(p for p in given.photos.iterdir() if p.suffix.lower() in ENDINGS)
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
    given.out.parent.mkdir(exist_ok=True)
    given.out.write_text(
        TEXT.format(
            count=len(records),
            model=model.card.name,
            methods=len(records[0]["maps"]),
            rows=rows,
            findings=findings,
        )
    )


if __name__ == "__main__":
    main()
