"""What the page needs first, named in its document: the browser need not find it step by step."""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path

FIRST = ("app/main.js", "views/explain/explain_view.js")
IMPORT = re.compile(r'^(?:import|export)\b[^;]*?from "(\.[^"]+)"|^import "(\.[^"]+)"', re.MULTILINE)


def links(folder: Path, styles: Iterable[str]) -> str:
    """What the page's document links to: its styles, its modules, what it asks before all else.

    In the document and not in a Link header: a proxy takes few kilobytes of headers.
    """
    return "\n".join(
        (
            *(
                f'<link rel="preload" as="style" href="explorer/static/{name}.css">'
                for name in styles
            ),
            *(
                f'<link rel="modulepreload" href="explorer/static/{name}">'
                for name in needed_modules(folder, FIRST)
            ),
            '<link rel="preload" as="fetch" crossorigin="anonymous" href="explorer/setup">',
        )
    )


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
