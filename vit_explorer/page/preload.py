"""What the page needs first, named with its answer: the browser need not find it step by step."""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path

FIRST = ("app/main.js", "views/explain/explain_view.js")
IMPORT = re.compile(r'^(?:import|export)\b[^;]*?from "(\.[^"]+)"|^import "(\.[^"]+)"', re.MULTILINE)


def link_header(folder: Path, styles: Iterable[str]) -> str:
    """A Link header for the page: its styles, its modules, and what it asks before all else."""
    modules = needed_modules(folder, FIRST)
    links = [
        *(f"<explorer/static/{name}.css>; rel=preload; as=style" for name in styles),
        *(f"<explorer/static/{name}>; rel=modulepreload" for name in modules),
        "<explorer/setup>; rel=preload; as=fetch; crossorigin=anonymous",
    ]
    return ", ".join(links)


def needed_modules(folder: Path, names: Iterable[str]) -> list[str]:
    """The modules of those names and all they import, as paths under `folder`, sorted."""
    folder = folder.resolve()
    wanted = [folder / name for name in names]
    found: set[Path] = set()
    while wanted:
        module = wanted.pop().resolve()
        if module in found:
            continue
        found.add(module)
        code = module.read_text(encoding="utf-8")
        wanted += [module.parent / (one or other) for one, other in IMPORT.findall(code)]
    return sorted(module.relative_to(folder).as_posix() for module in found)
