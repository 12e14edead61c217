"""The rooms of the project: an import points towards the ground, and no file is too long."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
PACKAGE = ROOT / "vit_explorer"
CLIENT = PACKAGE / "page/client"

# From the ground up: a room may import from itself and from those before it.
GROUND = (
    "sentences",
    "stopping",
    "ending",
    "failures",
    "errors",
    "version",
    "options",
    "result_folder",
)
ROOMS = (
    *GROUND,
    "pictures",
    "models",
    "tracing",
    "methods",
    "analysis",
    "drawing",
    "cluster",
    "datasets",
    "explaining",
    "training",
    "page",
    "benchmarks",
    "cli",
)
PAGE_ROOMS = ("static_files", "state", "payloads", "routes")
CLIENT_ROOMS = ("base", "server", "maps", "state", "controls", "charts", "views", "alone", "app")
# Those who stand where a user stands import the facade.
ABOVE = ("benchmarks", "cli")
LINES = 400
# The whole ViT in one file is what its readers come for.
LONG = {PACKAGE / "models/vit.py"}


def imports(file: Path) -> Iterator[str]:
    """The modules of the package that a file imports, whole names, those inside functions too."""
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names = [name.name for name in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module:
            names = [f"{node.module}.{name.name}" for name in node.names]
        else:
            continue
        yield from (name for name in names if name.partition(".")[0] == PACKAGE.name)


def room_of(module: str, rooms: tuple[str, ...], inside: str = "") -> str | None:
    """The room of a module's dotted name, None for what lies in no room."""
    start = f"{PACKAGE.name}.{inside}"
    name = module.removeprefix(start).partition(".")[0] if module.startswith(start) else None
    return name if name in rooms else None


def upward(folder: Path, rooms: tuple[str, ...], inside: str = "") -> list[str]:
    """The imports of a folder's files that point up, in words."""
    wrong = []
    for file in folder.rglob("*.py"):
        own = file.relative_to(folder).with_suffix("").parts[0]
        if own not in rooms:
            continue
        for module in imports(file):
            wanted = room_of(module, rooms, inside)
            if wanted and rooms.index(wanted) > rooms.index(own):
                wrong.append(f"{file.relative_to(ROOT)} imports {module}")
    return wrong


def test_python_s_imports_point_to_the_ground() -> None:
    assert upward(PACKAGE, ROOMS) == []
    assert upward(PACKAGE / "page", PAGE_ROOMS, "page.") == []


def test_no_room_below_the_commands_imports_the_facade() -> None:
    wrong = [
        f"{file.relative_to(ROOT)} imports {module}"
        for file in PACKAGE.rglob("*.py")
        if file.parent != PACKAGE and file.relative_to(PACKAGE).parts[0] not in ABOVE
        for module in imports(file)
        if room_of(module, ROOMS) is None and module != f"{PACKAGE.name}.assets"
    ]
    assert wrong == []


def test_scripts_imports_point_to_the_ground() -> None:
    wrong = []
    for file in sorted(CLIENT.rglob("*.js")):
        own = file.relative_to(CLIENT).parts
        code = file.read_text(encoding="utf-8")
        for path in re.findall(r'(?:^import|\bfrom) "(\.[^"]+)"', code, flags=re.MULTILINE):
            target = (file.parent / path).resolve()
            assert target.is_file(), f"{file.name} imports {path}, which is not there"
            wanted = target.relative_to(CLIENT).parts
            up = CLIENT_ROOMS.index(wanted[0]) > CLIENT_ROOMS.index(own[0])
            # A view takes nothing from another view.
            if up or (own[0] == wanted[0] == "views" and own[1] != wanted[1]):
                wrong.append(f"{'/'.join(own)} imports {'/'.join(wanted)}")
    assert wrong == []


def test_no_file_is_too_long() -> None:
    files = [*PACKAGE.rglob("*.py"), *CLIENT.rglob("*.js"), *CLIENT.rglob("*.css")]
    lengths = {file: len(file.read_text(encoding="utf-8").splitlines()) for file in files}
    long = {str(f.relative_to(ROOT)): n for f, n in lengths.items() if n > LINES and f not in LONG}
    assert long == {}


def defined(module: Path) -> set[str]:
    """The names that a module makes itself."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(module.read_text(encoding="utf-8"))):
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)):
            found.add(node.name)
        elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            found.add(node.id)
    return found


def test_a_name_is_imported_from_where_it_is_made() -> None:
    """The facade alone hands on what others make, and a folder what its own modules do."""
    wrong = []
    for file in (*PACKAGE.rglob("*.py"), *(ROOT / "tests").rglob("*.py")):
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            if not isinstance(node, ast.ImportFrom) or not (node.module or "").startswith(
                f"{PACKAGE.name}."
            ):
                continue
            source = (ROOT / str(node.module).replace(".", "/")).with_suffix(".py")
            if source.is_file():
                borrowed = {name.name for name in node.names} - defined(source)
                wrong += [
                    f"{file.relative_to(ROOT)}: {node.module}.{name}" for name in sorted(borrowed)
                ]
    assert wrong == []
