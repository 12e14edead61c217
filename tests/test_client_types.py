"""The page's scripts know the fields of what the server sends: a checker of types compares them."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any

import pytest
from fastapi.testclient import TestClient

from vit_explorer.page.payloads.result import describe_result
from vit_explorer.page.routes.jobs import describe_trust
from vit_explorer.page.state.extra_maps import Analyses
from vit_explorer.page.state.results import Result
from vit_explorer.page.static_files import static_folder

ROOT = Path(__file__).resolve().parents[1]
TSC = ROOT / "node_modules/.bin/tsc"

pytestmark = pytest.mark.skipif(not TSC.is_file(), reason="TypeScript is not installed: npm ci")


def check(folder: Path, values: dict[str, Any]) -> str:
    """What the types' checker says of values, each of the type that it is named by."""
    lines = [f"const a{name}: {name} = {json.dumps(value)};" for name, value in values.items()]
    (folder / "answers.ts").write_text("\n".join(lines), encoding="utf-8")
    options = json.loads((ROOT / "jsconfig.json").read_text(encoding="utf-8"))["compilerOptions"]
    files = [str(static_folder() / "types.d.ts"), "answers.ts"]
    project = folder / "tsconfig.json"
    project.write_text(json.dumps({"compilerOptions": options, "files": files}), encoding="utf-8")
    found = subprocess.run(
        [TSC, "-p", project], capture_output=True, text=True, check=False, cwd=folder
    )
    return found.stdout


def test_answers_have_the_fields_that_scripts_read(
    client: TestClient, result: Result, tmp_path: Path
) -> None:
    setup = client.get("/explorer/setup").json()
    trust = describe_trust(Analyses().trust(result, ["rollout"]))
    values = {"Setup": setup, "SentResult": describe_result(result), "Trust": trust}
    assert check(tmp_path, values) == ""


def test_a_field_that_scripts_do_not_know_is_found(result: Result, tmp_path: Path) -> None:
    described = describe_result(result)
    described["model"]["grids"] = described["model"].pop("grid")
    assert "grids\"' does not exist in type 'Model'" in check(tmp_path, {"SentResult": described})
