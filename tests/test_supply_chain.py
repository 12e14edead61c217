"""What the project stands on: dependencies that are used, tools of one version, no known faults."""

from __future__ import annotations

import ast
import json
import re
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from importlib.metadata import PackageNotFoundError, packages_distributions, requires, version
from importlib.util import find_spec
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).resolve().parents[1]
# Imported beside what brings them, whose own bounds say which versions fit.
BROUGHT = {
    "gradio-client": "gradio",
    "huggingface-hub": "timm",
    "rich": "typer",
    "starlette": "fastapi",
    "traitlets": "anywidget",
}
# What only its users have, imported where they hand it in.
OPTIONAL = {
    "anywidget",
    "lightning",
    "onnx",
    "onnxruntime",
    "open-clip-torch",
    "pytorch-lightning",
    "ray",
    "trackio",
    "transformers",
}


def names(text: str) -> set[str]:
    wanted = map(
        Requirement, filter(None, (line.split("#")[0].strip() for line in text.splitlines()))
    )
    return {canonicalize_name(one.name) for one in wanted}


RUNTIME = names((ROOT / "requirements.txt").read_text(encoding="utf-8"))


def imported() -> set[str]:
    """The distributions whose modules the package imports, anywhere in its files."""
    modules = set()
    for file in (ROOT / "vit_explorer").rglob("*.py*"):
        if file.suffix not in {".py", ".pyi"}:
            continue
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Import):
                modules |= {one.name.partition(".")[0] for one in node.names}
            elif isinstance(node, ast.ImportFrom) and not node.level:
                modules.add(str(node.module).partition(".")[0])
    owners = packages_distributions()
    return {canonicalize_name(name) for module in modules for name in owners.get(module, ())}


def needed(wanted: set[str]) -> Iterator[tuple[str, str]]:
    """Name and version of what is installed for these, and for what they need in turn."""
    seen: set[str] = set()
    while wanted - seen:
        name = min(wanted - seen)
        seen.add(name)
        try:
            # A build's own mark, as in 2.14.1+cpu, is no version that advisories know.
            yield name, version(name).partition("+")[0]
        except PackageNotFoundError:
            continue
        for line in requires(name) or ():
            one = Requirement(line)
            if one.marker is None or one.marker.evaluate({"extra": ""}):
                wanted = wanted | {canonicalize_name(one.name)}


def test_each_dependency_is_used() -> None:
    assert RUNTIME - imported() == set()


def test_what_is_imported_is_declared() -> None:
    undeclared = imported() - RUNTIME - OPTIONAL - {"vit-explorer"}
    assert undeclared <= set(BROUGHT)
    for name in undeclared:
        assert name in dict(needed({BROUGHT[name]})), name


def test_each_tool_has_one_version() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    for extra in ("test", "docs", "dev"):
        for line in project["optional-dependencies"][extra]:
            one = Requirement(line)
            pinned = re.fullmatch(r"==[\d.]+", str(one.specifier))
            assert pinned or one.name == project["name"], line
    lock = json.loads((ROOT / "package-lock.json").read_text(encoding="utf-8"))
    tools = [one for path, one in lock["packages"].items() if path]
    assert all("integrity" in one for one in tools)


def test_no_requirement_has_a_known_fault(tmp_path: Path) -> None:
    if find_spec("pip_audit") is None:
        pytest.skip("pip-audit is not installed: pip install -e '.[dev]'")
    listed, told = tmp_path / "requirements.txt", tmp_path / "told.json"
    listed.write_text("".join(f"{name}=={held}\n" for name, held in needed(RUNTIME)))
    asked = [sys.executable, "-m", "pip_audit", "--requirement", str(listed)]
    asked += ["--no-deps", "--disable-pip", "--vulnerability-service=osv", "--timeout", "10"]
    asked += ["--progress-spinner=off", "--format", "json", "--output", str(told)]
    ran = subprocess.run(asked, capture_output=True, text=True, check=False, timeout=300)
    if "ConnectionError" in ran.stderr or "Timeout" in ran.stderr:
        pytest.skip(f"advisories can't be had: {ran.stderr.strip().splitlines()[-1][:120]}")
    assert told.exists(), ran.stderr
    found = json.loads(told.read_text())["dependencies"]
    faults = {
        one["name"]: [each["id"] for each in one["vulns"]] for one in found if one.get("vulns")
    }
    assert faults == {}
