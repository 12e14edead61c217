"""Measures every method, and writes what docs/faithfulness.md and the order of methods are made of.

    python -m tests.faithfulness_table PHOTOS --weights deit_tiny_patch16_224.safetensors
    python -m tests.faithfulness_table CLASS_FOLDERS --model bundled

PHOTOS are named WNID_label.JPEG; of class folders, named by the model's classes, test pictures are
drawn that it is right about. Counts are options, a kind of measurement each. A table stands between
`<!-- MODEL -->` and `<!-- end of MODEL -->`; the order is in vit_explorer/methods/measured.json.
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
import torch
from scipy.stats import spearmanr, wilcoxon
from tqdm import tqdm

import vit_explorer as vx
from vit_explorer.analysis.faithfulness import PROTOCOLS
from vit_explorer.analysis.pointing import half_interval, pointing_game
from vit_explorer.datasets.sources import find_pictures
from vit_explorer.models.cells import over_pixels
from vit_explorer.models.outputs import answer, measured

ROOT = Path(__file__).resolve().parents[1]
OUT = ROOT / "docs/faithfulness.md"
ORDER = ROOT / "vit_explorer/methods/measured.json"
ENDINGS = {".jpeg", ".jpg", ".png"}
# How many pictures, or mosaics, each kind of measurement is of.
COUNTS = {"pixels": 50, "tokens": 50, "lost": 50, "road": 10, "mosaics": 50, "slow": 5}
# Mosaics for methods of the one pass, and for those that run the model again.
GAMES = {"mosaics": False, "slow": True}
ROAD_PERCENTILES = [20, 40, 60, 80]
Record = dict[str, Any]

PROTOCOL_HEADS = ("{}: gain", "beats random", "beats Gaussian")
HEADS = ["method", *(h.format(p) for p in PROTOCOLS for h in PROTOCOL_HEADS)]
HEADS += ["points", "ROAD", "weights lost"]
TABLE = """{methods} methods; {counts}:

```bash
python -m tests.faithfulness_table {command}
```

{heads}
{rows}

{findings}
"""


def measure(
    model: vx.LoadedModel, photo: Path, kinds: Mapping[str, Sequence[str]]
) -> Iterator[Record]:
    """A record a kind of measurement, of the maps by its methods of one photograph."""
    every = {name for names in kinds.values() for name in names}
    result = vx.explain(model, photo, methods=tuple(sorted(every)))
    assert result.target is not None
    for kind, names in kinds.items():
        record: Record = {"photo": key_of(photo), "kind": kind}
        maps = {name: result.heatmaps[name] for name in names}
        if kind in PROTOCOLS:
            trust = vx.faithfulness(model, result.prepared, maps, protocol=kind, exact=True)
            record |= trust.to_dict()
        elif kind == "lost":
            record["maps"] = vx.weight_randomisation(
                model, result.prepared, tuple(maps), target=result.target.index
            )
        else:
            record["maps"] = {name: road(model, result, name) for name in maps}
        yield record


def key_of(photo: Path) -> str:
    """A picture's name with its folder's: class folders number their pictures alike."""
    return f"{photo.parent.name}/{photo.name}"


def methods_of(kind: str) -> list[str]:
    """The methods that a kind of measurement is of."""
    if kind in GAMES:
        return [name for name, one in vx.METHODS.items() if one.runs_model is GAMES[kind]]
    return [n for n, one in vx.METHODS.items() if kind != "lost" or not one.runs_model]


def merged(records: Sequence[Record]) -> list[Record]:
    """Records of the same photograph and kind as one: a newer method's stand behind the others."""
    found: dict[tuple[str, str | None], Record] = {}
    apart = []
    for record in records:
        key = record["kind"], record.get("photo")
        if record["kind"] in GAMES:
            apart.append(record)
        elif key in found:
            found[key]["maps"] |= record["maps"]
        else:
            found[key] = {**record, "maps": dict(record["maps"])}
    return [*found.values(), *apart]


def road(model: vx.LoadedModel, result: vx.Explanation, name: str) -> float:
    """ROAD of a map by the grad-cam package: how much more of the probability is lost where the
    map's best pixels are filled in from their neighbours than where its worst ones are, halved.

    Rong et al., "A Consistent and Efficient Evaluation Strategy for Attribution Methods",
    ICML 2022.
    Cells are ranked first: the package's own threshold takes equal values together.
    """
    from pytorch_grad_cam.metrics.road import ROADCombined

    values = result.heatmaps[name].values
    ranks = np.empty(values.size, np.float32)
    ranks[np.argsort(values.ravel(), kind="stable")] = np.linspace(0, 1, values.size)
    grid = torch.from_numpy(ranks).reshape(values.shape)
    target = result.target.index if result.target else 0

    class Shares(torch.nn.Module):
        def forward(self, pixels: torch.Tensor) -> torch.Tensor:
            return measured(answer(model, pixels).raw, model.card.outputs)

    torch.manual_seed(0)
    found = ROADCombined(percentiles=ROAD_PERCENTILES)(
        result.prepared.pixels,
        over_pixels(model.card, grid)[None].numpy(),
        [lambda shares: shares[target]],
        Shares(),
    )
    return float(found[0])


def gains(scores: Sequence[Mapping[str, float]]) -> np.ndarray:
    return np.array([score["insertion"] - score["deletion"] for score in scores])


def own_gains(records: Sequence[Record], name: str) -> tuple[np.ndarray, list[Record]]:
    """A method's gains, and the records that have it: it may be newer than some of them."""
    having = [record for record in records if name in record["maps"]]
    return gains([record["maps"][name] for record in having]), having


def summarise(records: Mapping[str, Sequence[Record]]) -> tuple[str, str]:
    """The table's rows, the most believed first, and what they say together."""
    names = [n for n in vx.METHODS if any(n in r["maps"] for of in records.values() for r in of)]
    belief = order_of({kind: records[kind] for kind in PROTOCOLS})
    names.sort(key=lambda name: -np.mean([of[name] for of in belief.values() if name in of] or -9))
    weak: dict[str, list[str]] = {kind: [] for kind in PROTOCOLS}
    lines = []
    for name in names:
        cells = [f"`{name}`"]
        for kind in PROTOCOLS:
            found, having = own_gains(records[kind], name)
            if not having:
                cells += ["-"] * 3
                continue
            chance = np.array([gains(record["random"]).mean() for record in having])
            against = _against(found, chance)
            weak[kind] += [name] if "no" in against else []
            middle = gains([record["gaussian"] for record in having])
            cells += [_mean(found), against, _against(found, middle)]
        for kind, form in (("game", "{:.0%}"), ("road", "{:.3f}"), ("lost", "{:.2f}")):
            values = [np.mean(r["maps"][name]) for r in records[kind] if name in r["maps"]]
            cells.append(_mean(values, form, spread=kind != "lost") if values else "-")
        lines.append(f"| {' | '.join(cells)} |")
    for title, key in (("a Gaussian in the middle", "gaussian"), ("random maps", "random")):
        cells = [title]
        for kind in PROTOCOLS:
            own = [np.mean(gains(np.atleast_1d(record[key]))) for record in records[kind]]
            cells += [_mean(own) if own else "-", "", ""]
        even = "25 %" if key == "random" else ""
        lines.append(f"| {' | '.join([*cells, even, '', ''])} |")
    findings = [
        f"No better than random maps by {kind}: {_listed(weak[kind])}." for kind in PROTOCOLS
    ]
    return "\n".join(lines), "\n\n".join([*findings, _agreement(records)]).strip()


def _agreement(records: Mapping[str, Sequence[Record]]) -> str:
    """How far the measurements rank methods alike."""
    by: dict[str, dict[str, float]] = dict(order_of({k: records[k] for k in PROTOCOLS}))
    for kind in ("game", "road"):
        names = [n for n in vx.METHODS if any(n in r["maps"] for r in records[kind])]
        by[kind] = {
            n: float(np.mean([np.mean(r["maps"][n]) for r in records[kind] if n in r["maps"]]))
            for n in names
        }
    said = {"tokens": "taking tokens out", "game": "pointing", "road": "ROAD"}
    parts = []
    for kind, words in said.items():
        shared = [name for name in by["pixels"] if name in by[kind]]
        if len(shared) > 2:
            alike = spearmanr(*([by[k][n] for n in shared] for k in ("pixels", kind))).statistic
            parts.append(f"{words} {alike:.2f}")
    if not parts:
        return ""
    return f"Rank correlation of methods with the order by covered pixels: {', '.join(parts)}."


def order_of(records: Mapping[str, Sequence[Record]]) -> dict[str, dict[str, float]]:
    """By protocol each method's mean gain."""
    return {
        kind: {
            name: float(own_gains(own, name)[0].mean())
            for name in vx.METHODS
            if any(name in record["maps"] for record in own)
        }
        for kind, own in records.items()
    }


def _mean(values: Sequence[float] | np.ndarray, form: str = "{:.3f}", spread: bool = True) -> str:
    half = half_interval(np.asarray(values, float)) if spread else np.nan
    return form.format(np.mean(values)) + ("" if np.isnan(half) else f" ± {form.format(half)}")


def _against(gain: np.ndarray, baseline: np.ndarray) -> str:
    better = int((gain > baseline).sum())
    sure = (
        np.any(gain != baseline) and wilcoxon(gain, baseline, alternative="greater").pvalue <= 0.01
    )
    return f"{better} of {len(gain)}" + ("" if sure else ", **no**")


def _listed(names: Sequence[str]) -> str:
    return ", ".join(f"`{name}`" for name in names) or "none"


def labelled(folder: Path) -> list[tuple[Path, str]]:
    """Pictures of a folder with the names of their classes, in one order drawn at random."""
    photos = sorted(p for p in folder.iterdir() if p.suffix.lower() in ENDINGS)
    if photos:
        return [(photo, photo.stem.partition("_")[2].replace("_", " ")) for photo in photos]
    source = find_pictures(folder, "test")
    found = [
        (Path(str(item)), source.classes[label])
        for item, label in zip(source.items, source.labels, strict=True)
    ]
    random.Random(0).shuffle(found)
    return found


def rightly_seen(
    model: vx.LoadedModel, pictures: Sequence[tuple[Path, str]], count: int
) -> Iterator[Path]:
    """The first pictures that a model is right about."""
    for file, name in pictures:
        if vx.explain(model, file, methods=()).predictions[0].label == name:
            yield file
            count -= 1
        if not count:
            return


def missing(
    model: vx.LoadedModel, folder: Path, counts: Mapping[str, int], records: Sequence[Record]
) -> Iterator[Record]:
    """The records that are not there yet, one after the other."""
    pictures = labelled(folder)
    most = max(counts[kind] for kind in counts if kind not in GAMES)
    photos = [file for file, _ in pictures][:most]
    if photos and photos[0].parent != folder:
        photos = list(rightly_seen(model, pictures, most))
    done = {(r["kind"], r["photo"]): set(r["maps"]) for r in records if r["kind"] not in GAMES}
    for at, photo in enumerate(tqdm(photos, unit="photo")):
        kinds = {
            kind: [n for n in methods_of(kind) if n not in done.get((kind, key_of(photo)), ())]
            for kind, count in counts.items()
            if kind not in GAMES and at < count
        }
        kinds = {kind: names for kind, names in kinds.items() if names}
        if kinds:
            yield from measure(model, photo, kinds)
    for kind in GAMES:
        held = {name for r in records if r["kind"] == kind for name in r["maps"]}
        names = [name for name in methods_of(kind) if name not in held]
        if not counts[kind] or not names:
            continue
        with tqdm(total=counts[kind], unit="mosaic") as shown:
            found = pointing_game(
                model, pictures, names, mosaics=counts[kind], progress=lambda *_: shown.update()
            )
        for at in range(counts[kind]):
            shares = {name: own[at].tolist() for name, own in found.shares.items()}
            yield {"kind": kind, "photo": None, "maps": shares}


def write_order(name: str, records: Mapping[str, Sequence[Record]], file: Path) -> None:
    """Put a model's mean gains into the package's table."""
    table = json.loads(file.read_text(encoding="utf-8")) if file.exists() else {}
    gained = order_of({kind: records[kind] for kind in PROTOCOLS})
    table[name] = {
        kind: {
            "gains": {one: round(value, 4) for one, value in gained[kind].items()},
            "pictures": {one: len(own_gains(records[kind], one)[1]) for one in gained[kind]},
        }
        for kind in PROTOCOLS
        if records[kind]
    }
    file.write_text(json.dumps(table, indent=1) + "\n", encoding="utf-8")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("photos", type=Path)
    parser.add_argument("--model", default="deit_tiny_patch16_224")
    parser.add_argument("--weights", type=Path)
    for kind, count in COUNTS.items():
        parser.add_argument(f"--{kind}", type=int, default=count, dest=f"count_{kind}")
    parser.add_argument("--records", type=Path, help="keeps all numbers, to go on")
    parser.add_argument("--out", type=Path, default=OUT)
    parser.add_argument("--order", type=Path, default=ORDER)
    given = parser.parse_args()
    counts = {kind: getattr(given, f"count_{kind}") for kind in COUNTS}
    model = vx.load_model(given.model, weights=given.weights)
    held: list[Record] = []
    if given.records and given.records.exists():
        held = [json.loads(line) for line in given.records.read_text().splitlines()]
    for record in missing(model, given.photos, counts, merged(held)):
        held.append(record)
        if given.records:
            with given.records.open("a") as file:
                file.write(json.dumps(record) + "\n")
    held = merged(held)
    records = {kind: [record for record in held if record["kind"] == kind] for kind in COUNTS}
    took = {kind: len(own) for kind, own in records.items()}
    records["game"] = [*records["mosaics"], *records["slow"]]
    name = model.card.name
    write_order(name, records, given.order)
    rows, findings = summarise(records)
    options = " ".join(f"--{kind} {count}" for kind, count in took.items())
    table = TABLE.format(
        methods=len(vx.METHODS),
        counts=", ".join(f"{kind} {count}" for kind, count in took.items()),
        command=f"FOLDER --model {name} {options}",
        heads=f"| {' | '.join(HEADS)} |\n|{'---|' * len(HEADS)}",
        rows=rows,
        findings=findings,
    )
    text = given.out.read_text(encoding="utf-8")
    place = re.compile(rf"(<!-- {name} -->\n).*?(?=<!-- end of {name} -->)", re.DOTALL)
    given.out.write_text(place.sub(lambda found: found[1] + table, text), encoding="utf-8")


if __name__ == "__main__":
    main()
