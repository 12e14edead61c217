"""Try every timm name and write docs/models.md: `python -m tests.sweep_models`.

Each name is built on the meta device, without memory or weights, and read as `load_model` reads
it; one name of each kind of block is then built in numbers to measure how exactly its attention is
read.
What was found is kept in a scratch file, from which an interrupted sweep goes on.
"""

from __future__ import annotations

import argparse
import json
import re
import tempfile
from collections import defaultdict
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import timm
import torch
from timm.models import list_models
from tqdm import tqdm

from tests.attention_error import attention_error
from tests.browser import ROOT
from tests.observed_attention import observe, uses_global_attention
from vit_explorer.errors import ExplorerError, UnsupportedModelError
from vit_explorer.models.interception import recording
from vit_explorer.models.structure.measure import measure as structure_of
from vit_explorer.models.structure.stages import find_stages, may_have_stages, reason_of

DOCUMENT = ROOT / "docs" / "models.md"
Record = dict[str, Any]
# Larger kinds (by weights × tokens) don't fit into a small machine's memory with numbers.
LARGEST = 8e9

HEAD = """\
# Models

What ViT Explorer makes of each of the {names:,} architectures of timm {version}, written by
`python -m tests.sweep_models`. Each name is built on PyTorch's meta device at its own image size
and read as `load_model` reads it before it fetches weights.

**Counted as a ViT with global self-attention** are the names whose every block makes one
attention, from all of its tokens to all of them. This is observed apart from what decides on
acceptance: in one pass every softmax over rows and every fused attention is noted with its number
of queries and keys and the layer that made it. The blocks are the parts of the outermost list of
modules that attention is computed in; attention with a single query, which pools, is left out.

| | names |
|---|---|
| all | {names:,} |
| every block uses global self-attention | {ring} |
| of these accepted | {accepted} ({share:.1%}) |
| of these refused, with the reason | {refused} |
| opened by their stages, with the reason why attention can't be shown | {staged:,} |
| other names, each refused with the reason | {others:,} |
| other names accepted | {strays} |
| stopped by any other error | {crashed} |

"""


def examine(name: str) -> Record:
    """What `load_model` finds in a name's architecture, or why it refuses it."""
    with torch.device("meta"):
        module = timm.create_model(name).eval()
        size = tuple(module.pretrained_cfg["input_size"][1:])
        seen = observe(module, size)
        found: Record = {
            "family": type(module).__module__.rpartition(".")[2],
            "global": uses_global_attention(module, seen),
            "weights": sum(weights.numel() for weights in module.parameters()),
        }
        try:
            anatomy, structure = structure_of(module, size, name)
        except UnsupportedModelError as error:
            tier = 2 if may_have_stages(module, size) else 0
            return {**found, "accepted": False, "tier": tier, "reason": reason_of(error)}
    parts = sorted({type(part).__name__ for part in anatomy.blocks[-1].module.modules()})
    outcome = {
        "prefix": prefix(structure.prefix_names),
        "pooling": structure.pooling,
        "position": structure.position,
        "grid": f"{structure.grid[0]}×{structure.grid[1]}",
    }
    kind = [found["family"], *parts, str(structure.head_width), *list(outcome.values())[:3]]
    cost = (
        sum(weights.numel() for weights in anatomy.blocks[0].module.parameters()) * seen[0].queries
    )
    return {**found, "accepted": True, **outcome, "kind": " ".join(kind), "cost": cost}


def prefix(names: Iterable[str]) -> str:
    """ "class + 4 registers", or "none"."""
    names = list(names)
    plain = [name for name in names if not name.startswith("register")]
    registers = len(names) - len(plain)
    if registers:
        plain.append(f"{registers} register{'s' if registers > 1 else ''}")
    return " + ".join(plain) or "none"


def measure(name: str) -> Record:
    """Largest error of the attention read from a name with random weights, over its output."""
    torch.manual_seed(0)
    try:
        module = timm.create_model(name, depth=2)
    except (TypeError, AssertionError):
        module = timm.create_model(name)
    size = tuple(module.pretrained_cfg["input_size"])
    anatomy, _ = structure_of(module.eval(), size[1:], name, size[0])
    with torch.no_grad(), recording(module, anatomy) as calls:
        module(torch.randn(1, *size))
    error = max(
        attention_error(call) / float(call.output.abs().max())
        for call in calls
        if call.output is not None
    )
    return {"error": error, "blocks": len(anatomy.blocks)}


def measure_stages(name: str) -> Record:
    """The stages of a name with random weights, measured as `load_model` does."""
    torch.manual_seed(0)
    module = timm.create_model(name).eval()
    channels, *size = module.pretrained_cfg["input_size"]
    stages, _ = find_stages(module, (size[0], size[1]), channels)
    return {"stages": ", ".join(f"{one.name} {one.grid[0]}×{one.grid[1]}" for one in stages)}


def one_a_family(records: Mapping[str, Record]) -> list[str]:
    """Of each family's names that open by their stages the one with the fewest parameters."""
    families: dict[str, list[str]] = defaultdict(list)
    for name, record in records.items():
        if record.get("tier") == 2:
            families[record["family"]].append(name)
    return sorted(min(own, key=lambda name: records[name]["weights"]) for own in families.values())


def sweep(scratch: Path) -> tuple[dict[str, Record], dict[str, Record], dict[str, Record]]:
    """Records of all names, measurements of one name a kind of block, stages of one a family."""
    kept = json.loads(scratch.read_text()) if scratch.exists() else {}
    if kept.get("timm") != timm.__version__ or "stages" not in kept:
        kept = {"timm": timm.__version__, "records": {}, "exact": {}, "stages": {}}
    records, exact, stages = kept["records"], kept["exact"], kept["stages"]
    for name in tqdm([name for name in list_models() if name not in records], "names"):
        try:
            records[name] = examine(name)
        except ExplorerError as error:
            records[name] = {"crash": f"unexplained: {error}"}
        except Exception as error:  # what the document counts
            records[name] = {"crash": f"{type(error).__name__}: {error}"}
        scratch.write_text(json.dumps(kept))
    small = [name for name in cheapest(records) if records[name]["cost"] <= LARGEST]
    for name in tqdm([name for name in small if name not in exact], "exactness"):
        exact[name] = measure(name)
        scratch.write_text(json.dumps(kept))
    for name in tqdm([name for name in one_a_family(records) if name not in stages], "stages"):
        stages[name] = measure_stages(name)
        scratch.write_text(json.dumps(kept))
    return records, exact, stages


def cheapest(records: Mapping[str, Record]) -> list[str]:
    """The name of each kind of block that is the cheapest to run."""
    kinds: dict[str, list[str]] = defaultdict(list)
    for name, record in records.items():
        if record.get("accepted"):
            kinds[record["kind"]].append(name)
    return sorted(min(names, key=lambda name: records[name]["cost"]) for names in kinds.values())


def document(
    records: Mapping[str, Record], exact: Mapping[str, Record], stages: Mapping[str, Record]
) -> str:
    staged = {name for name, record in records.items() if record.get("tier") == 2}
    ring = {name for name, record in records.items() if record.get("global")}
    accepted = {name for name, record in records.items() if record.get("accepted")}
    crashed = {name for name, record in records.items() if "crash" in record}
    head = HEAD.format(
        names=len(records),
        version=timm.__version__,
        ring=len(ring),
        accepted=len(ring & accepted),
        share=len(ring & accepted) / len(ring),
        refused=len(ring - accepted - staged),
        staged=len(staged),
        others=len(records.keys() - ring - accepted - crashed - staged),
        strays=len(accepted - ring),
        crashed=len(crashed),
    )
    left = [name for name in cheapest(records) if name not in exact] or ["none"]
    columns = ("prefix", "pooling", "position", "grid")
    parts = [
        head,
        "## Accepted\n\n| family | prefix tokens | pooling | positions | grid | names |\n"
        "|---|---|---|---|---|---|\n",
        *rows({name: records[name] for name in accepted}, columns),
        "\n## Opened by their stages\n\n"
        "All but what shows attention between all patches works: predictions, CAM methods at each\n"
        "stage, occlusion, RISE, gradients, greying patches, the comparison with chance. That a\n"
        "name has stages is read off the shapes of its modules' outputs here, and measured when\n"
        "it is loaded.\n\n"
        "| family | why attention can't be shown | names |\n|---|---|---|\n",
        *rows({name: records[name] for name in staged}, ("reason",)),
        "\n## Refused, with global self-attention in every block\n\n"
        "| family | reason | names |\n|---|---|---|\n",
        *rows({name: records[name] for name in ring - accepted - staged}, ("reason",)),
        "\n## Refused\n\n| family | reason | names |\n|---|---|---|\n",
        *rows(
            {n: r for n, r in records.items() if n not in ring | accepted | crashed | staged},
            ("reason",),
        ),
        "\n## How stages are found\n\n"
        f"{len(stages)} names, the smallest of each family that opens by its stages, with random\n"
        "weights at their own image size.\n\n| name | stages |\n|---|---|\n",
        *(f"| {name} | {found['stages'] or 'none'} |\n" for name, found in sorted(stages.items())),
        "\n## How exactly attention is read\n\n"
        f"{len(exact)} names, the cheapest of each kind of block that was accepted (by its "
        "modules' classes,\nhead width, prefix, pooling and positions), were built with random "
        "weights and run at their own\nimage size, with two blocks where the depth can be set. "
        "Largest |softmax(scale·q·kᵀ + bias)·v − output|\nover the largest |output|, in float32: "
        f"{max(found['error'] for found in exact.values()):.1e}.\n"
        f"Not run with numbers, because of their size: {', '.join(left)}.\n\n"
        "| name | blocks run | error |\n|---|---|---|\n",
        *(
            f"| {name} | {found['blocks']} | {found['error']:.1e} |\n"
            for name, found in sorted(exact.items())
        ),
    ]
    if crashed:
        parts += ["\n## Other errors\n\n", *(f"- {n}: {records[n]['crash']}\n" for n in crashed)]
    return "".join(parts)


def rows(records: Mapping[str, Record], columns: tuple[str, ...]) -> list[str]:
    """A table row for each distinct outcome of a family."""
    groups: dict[tuple[str, ...], list[str]] = defaultdict(list)
    for name, record in records.items():
        groups[record["family"], *(record[column] for column in columns)].append(name)
    return [
        f"| {' | '.join((*key, ', '.join(sorted(names))))} |\n"
        for key, names in sorted(groups.items(), key=lambda item: (item[0][0], min(item[1])))
    ]


def read_document() -> dict[str, tuple[str, ...]]:
    """Each name in docs/models.md with its family and outcome."""
    listed = {}
    for line in DOCUMENT.read_text(encoding="utf-8").partition("## How ")[0].splitlines():
        cells = re.split(r" \| ", line.strip("| "))
        if line.startswith("| ") and len(cells) in (3, 6) and cells[-1] != "names":
            for name in cells[-1].split(", "):
                listed[name] = tuple(cells[:-1])
    return listed


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    scratch = Path(tempfile.gettempdir()) / "vit_explorer_models.json"
    parser.add_argument("--scratch", type=Path, default=scratch)
    records, exact, stages = sweep(parser.parse_args().scratch)
    DOCUMENT.parent.mkdir(exist_ok=True)
    DOCUMENT.write_text(document(records, exact, stages), encoding="utf-8")
    print(f"written to {DOCUMENT.relative_to(ROOT)}")


if __name__ == "__main__":
    main()
