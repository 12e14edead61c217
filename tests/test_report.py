"""The one file to send: its numbers are the explanation's, and it asks nothing of any machine."""

from __future__ import annotations

import base64
import hashlib
import json
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

import vit_explorer as vx
from tests.browser import LABELS
from vit_explorer.cli import main
from vit_explorer.errors import OptionError
from vit_explorer.explaining import report

if TYPE_CHECKING:
    from playwright.sync_api import Browser


@pytest.fixture(scope="module")
def explained(small_checkpoint: Path, cat: Path) -> vx.Explanation:
    labels = [f"<b>{at}</b></script>" for at in range(len(LABELS))]
    model = vx.load_model(small_checkpoint, labels=labels)
    return vx.explain(model, cat, methods=("rollout", "grad_cam", "input_x_gradient"))


def data_of(text: str) -> dict[str, Any]:
    found = re.search(r'<script type="application/json" id="data">(.*?)</script>', text, re.DOTALL)
    assert found is not None
    data: dict[str, Any] = json.loads(found[1])
    return data


def unpacked(attention: dict[str, Any]) -> np.ndarray:
    """What the report's script makes of attention: (layers, heads, tokens, tokens)."""
    tokens = attention["tokens"]
    shape = (attention["depth"], attention["heads"], tokens)
    levels = np.frombuffer(base64.b64decode(attention["levels"]), "<u2")
    scales = np.frombuffer(base64.b64decode(attention["scales"]), "<f4")
    rows: np.ndarray = levels.reshape(*shape, tokens) * scales.reshape(*shape, 1) / 65_535
    return rows


def test_a_report_holds_the_explanation_s_numbers(explained: vx.Explanation) -> None:
    [one] = data_of(report.report_html([explained]))["results"]
    for told, heatmap in zip(one["maps"], explained.heatmaps.values(), strict=True):
        values = np.frombuffer(base64.b64decode(told["values"]), "<f4").reshape(told["grid"])
        np.testing.assert_array_equal(values, heatmap.values)
        assert told["signed"] == heatmap.signed
    for layer, rows in enumerate(unpacked(one["attention"])):
        true = explained.trace.attention(layer).numpy()
        np.testing.assert_allclose(rows, true, atol=true.max() / 100_000)


def test_much_attention_is_kept_as_its_heads_mean(
    explained: vx.Explanation, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(report, "MOST_ATTENTION", 100)
    attention = data_of(report.report_html([explained]))["results"][0]["attention"]
    assert attention["heads"] == 1
    mean = explained.trace.attention(2).mean(0).numpy()
    np.testing.assert_allclose(unpacked(attention)[2, 0], mean, atol=mean.max() / 500)


def test_a_report_runs_its_one_script_alone_and_no_label_is_markup(
    explained: vx.Explanation,
) -> None:
    text = report.report_html([explained])
    script = re.findall(r"<script>(.*?)</script>", text, re.DOTALL)
    assert len(script) == 1
    allowed = base64.b64encode(hashlib.sha256(script[0].encode()).digest()).decode()
    policy = re.search(r'Content-Security-Policy" content="([^"]*)"', text)
    assert policy is not None
    assert f"sha256-{allowed}" in policy[1]
    assert "default-src &#x27;none&#x27;" in policy[1]
    assert "<b>" not in text
    assert text.count("</script>") == 2
    assert not re.findall(r"""(?:src|href)=["']?(?!data:)""", text.replace(script[0], ""))


def test_a_report_of_nothing_is_refused(tmp_path: Path) -> None:
    with pytest.raises(OptionError, match="at least one"):
        vx.save_report([], tmp_path / "report.html")


def test_the_command_writes_one_file_with_verdicts(
    small_checkpoint: Path, cat: Path, coffee: Path, tmp_path: Path
) -> None:
    out = tmp_path / "made" / "report.html"
    with pytest.raises(SystemExit) as ended:
        main(["report", str(cat), str(coffee), "--model", str(small_checkpoint), "--out", str(out)])
    assert ended.value.code in (0, None)
    text = out.read_text("utf-8")
    assert len(data_of(text)["results"]) == 2
    assert text.count("What each map is worth") == 2
    assert len(re.findall(r"beats \d+ of \d+", text)) >= 4
    assert [file.name for file in out.parent.iterdir()] == ["report.html"]
    with pytest.raises(SystemExit) as ended:
        main(["report", str(cat), "--model", str(small_checkpoint), "--out", str(tmp_path)])
    assert ended.value.code == 2


@pytest.mark.browser
def test_a_report_opens_from_a_disk_without_a_network(
    explained: vx.Explanation, tmp_path: Path, browser: Browser
) -> None:
    file = vx.save_report(explained, tmp_path / "report.html")
    context = browser.new_context(offline=True)
    page = context.new_page()
    wrong: list[str] = []
    page.on("pageerror", lambda error: wrong.append(str(error)))
    page.on("console", lambda line: wrong.append(line.text) if line.type == "error" else None)
    page.goto(file.as_uri())
    gh, gw = explained.card.grid
    rollout = page.locator('[data-method="rollout"] canvas')
    rollout.wait_for()
    label = rollout.get_attribute("aria-label") or ""
    row, column = np.unravel_index(explained.heatmaps["rollout"].values.argmax(), (gh, gw))
    assert f"strongest patch: row {row + 1}, column {column + 1}," in label
    says = page.locator("[role=status]")
    page.get_by_label("Layer").fill("2")
    page.get_by_label("Head").select_option(index=3)  # mean, max, 1, 2
    canvas = page.get_by_role("application")
    box = canvas.bounding_box()
    assert box is not None
    canvas.click(position={"x": 2.5 / gw * box["width"], "y": 1.5 / gh * box["height"]})
    token = explained.card.prefix_tokens + gw + 2
    looks = explained.trace.attention(1)[1, token, explained.card.prefix_tokens :].numpy()
    best = np.unravel_index(looks.argmax(), (gh, gw))
    says.filter(has_text="Patch row 2, column 3 looks most").wait_for()
    assert f"at row {best[0] + 1}, column {best[1] + 1} (" in says.inner_text()
    assert wrong == []
    context.close()
