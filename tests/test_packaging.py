"""What is published is whole: source distribution, wheel, bounds, citation, the demo's settings."""

from __future__ import annotations

import importlib.util
import re
import shutil
import subprocess
import sys
import tarfile
import tomllib
import zipfile
from pathlib import Path
from typing import Any

import pytest
import typer
import yaml
from packaging.requirements import Requirement
from packaging.version import Version

import vit_explorer as vx
from tests.documents import ROOT
from vit_explorer import cli

# setuptools leaves its own words in sys.argv.
BUILD = (
    "import setuptools.build_meta as made, sys; out = sys.argv[1];"
    "made.build_sdist(out); made.build_wheel(out)"
)


def requirements() -> dict[str, Requirement]:
    lines = (ROOT / "requirements.txt").read_text(encoding="utf-8").splitlines()
    return {one.name: one for one in map(Requirement, filter(None, lines))}


def lower(requirement: Requirement) -> Version:
    return next(Version(s.version) for s in requirement.specifier if s.operator == ">=")


@pytest.fixture(scope="module")
def tracked() -> list[str]:
    if not (ROOT / ".git").exists():
        pytest.skip("the repository's list of files is not here: this is no clone")
    listed = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, check=True)
    return listed.stdout.decode().splitlines()


@pytest.fixture(scope="module")
def built(tracked: list[str], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the source distribution and the wheel, made of the tracked files alone."""
    pytest.importorskip("setuptools", "77", reason="setuptools is not here to build with")
    source, out = tmp_path_factory.mktemp("source"), tmp_path_factory.mktemp("built")
    for name in tracked:
        (source / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(ROOT / name, source / name)
    command = [sys.executable, "-c", BUILD, str(out)]
    made = subprocess.run(command, cwd=source, capture_output=True, text=True, check=False)
    assert made.returncode == 0, made.stderr
    return out


@pytest.mark.slow
def test_the_source_distribution_holds_every_tracked_file(built: Path, tracked: list[str]) -> None:
    with tarfile.open(next(built.glob("*.tar.gz"))) as archive:
        held = {name.partition("/")[2] for name in archive.getnames()}
    assert sorted(set(tracked) - held) == []


@pytest.mark.slow
def test_the_wheel_holds_the_package_and_its_assets(built: Path, tracked: list[str]) -> None:
    wheel = zipfile.ZipFile(next(built.glob("*.whl")))
    held = set(wheel.namelist())
    wanted = {name for name in tracked if name.startswith("vit_explorer/")}
    wanted |= {f"vit_explorer/{name}" for name in tracked if name.startswith("assets/")}
    assert sorted(wanted - held) == []
    assert not [name for name in held if name.startswith(("tests/", "docs/", "space/"))]
    metadata = wheel.read(f"vit_explorer-{vx.__version__}.dist-info/METADATA").decode()
    assert f"\nVersion: {vx.__version__}\n" in metadata
    assert "\nClassifier: Programming Language :: Python :: 3.11\n" in metadata
    required = [
        Requirement(line.removeprefix("Requires-Dist: "))
        for line in metadata.partition("\n\n")[0].splitlines()
        if line.startswith("Requires-Dist: ")
    ]
    plain = {one.name: one.specifier for one in required if one.marker is None}
    assert plain == {name: one.specifier for name, one in requirements().items()}


def test_minimum_versions_are_the_lower_bounds() -> None:
    lines = (ROOT / "requirements-min.txt").read_text(encoding="utf-8").splitlines()
    pinned = [Requirement(line) for line in lines if line and not line.startswith("#")]
    found = {one.name: Version(next(iter(one.specifier)).version) for one in pinned}
    assert found == {name: lower(one) for name, one in requirements().items()}


def test_versions_agree() -> None:
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))
    assert citation["version"] == vx.__version__
    changes = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
    newest = re.search(r"^## (\S+), (unreleased|\d{4}-\d{2}-\d{2})$", changes, re.MULTILINE)
    assert newest
    assert newest[1] == vx.__version__
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    assert citation["license"] == project["license"]


def test_the_demo_starts_with_settings_for_strangers() -> None:
    _, front, _ = (ROOT / "space/README.md").read_text(encoding="utf-8").split("---\n", 2)
    settings = yaml.safe_load(front)
    assert settings["sdk"] == "gradio"
    assert requirements()["gradio"].specifier.contains(settings["sdk_version"])
    spec = importlib.util.spec_from_file_location("demo", ROOT / "space" / settings["app_file"])
    assert spec
    assert spec.loader
    demo = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(demo)
    name, *arguments = demo.arguments({"SPACE_HOST": "demo.example"})
    group: Any = typer.main.get_command(cli.app)
    given = group.commands[name].make_context(name, arguments).params
    assert list(given["allow_host"]) == ["demo.example"]
    assert (given["host"], given["port"], given["allow_training"]) == ("0.0.0.0", 7860, False)
    assert demo.arguments({})[-1] == "7860"
