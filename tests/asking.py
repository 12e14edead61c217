"""Jobs of the page asked without a browser."""

from __future__ import annotations

import json
from typing import Any

from fastapi.testclient import TestClient

from vit_explorer.errors import ExplorerError
from vit_explorer.page import Workbench
from vit_explorer.page.routes.jobs import ExplanationAsked, tell_explanation
from vit_explorer.page.state.streamed_job import refused


def explained(workbench: Workbench, **asked: Any) -> dict[str, Any]:
    """The last line that a workbench tells of the cat, or of what is asked instead."""
    order = ExplanationAsked(**{"picture": "cat.png", "model": workbench.start_name, **asked})
    lines: list[dict[str, Any]] = []
    try:
        tell_explanation(workbench, order, lines.append)
    except ExplorerError as error:
        return refused(error)
    return lines[-1]


def lines_of(
    client: TestClient, path: str, order: dict[str, Any], headers: dict[str, str] | None = None
) -> list[dict[str, Any]]:
    """The lines of a job's answer."""
    answer = client.post(f"/explorer/{path}", json=order, headers=headers)
    assert answer.status_code == 200
    return [json.loads(line) for line in answer.text.splitlines()]
