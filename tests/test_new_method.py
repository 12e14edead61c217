"""A method and a view are one function with its record: all that speaks of them finds a new one."""

from __future__ import annotations

import json
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from fastapi.testclient import TestClient

import vit_explorer as vx
from tests import document_tables
from tests.test_cli import run
from tests.test_ui_analyses import asked
from tests.test_zoo import checkpoint
from vit_explorer import methods
from vit_explorer.explaining.views import registry as view_registry
from vit_explorer.explaining.views import view
from vit_explorer.methods import registry
from vit_explorer.page import Workbench
from vit_explorer.page.payloads.maps import describe_methods
from vit_explorer.page.payloads.tabs import describe_lacks, needs_of_tabs
from vit_explorer.page.routes.results import describe_setup
from vit_explorer.page.state.results import Result
from vit_explorer.tracing.trace import Trace

__all__ = ["checkpoint"]

NAME = "feature_strength"
SOURCE = '''
"""What a contributor would write."""

from torch import Tensor

from vit_explorer.methods.gradients import kept_features
from vit_explorer.methods.registry import method
from vit_explorer.tracing.trace import Trace


@method(
    title="Feature strength",
    summary="How long a patch's features are.",
    formula="(Σ_D abs(F)^p)^(1/p)",
    source="nobody 2026",
    caveat="Long features need not matter.",
    requires=("features",),
)
def feature_strength(trace: Trace, *, layer: int = -1, power: float = 2.0) -> Tensor:
    """The features' p-norm: (gh, gw), 0 or more."""
    return kept_features(trace, layer).norm(p=power, dim=0)
'''


@pytest.fixture
def new(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[registry.Method]:
    """A method whose one file lies in the folder of the methods."""
    folder = tmp_path / "methods"
    folder.mkdir()
    (folder / "strength.py").write_text(SOURCE, encoding="utf-8")
    monkeypatch.setattr(methods, "__path__", [*methods.__path__, str(folder)])
    methods.import_modules()
    yield vx.METHODS[NAME]
    del registry._records[NAME], methods.strength, sys.modules["vit_explorer.methods.strength"]


def strength(model: vx.LoadedModel, picture: Path, layer: int, power: float) -> np.ndarray:
    """The same by a hook and NumPy."""
    kept = []
    block = model.module.blocks[layer]
    handle = block.norm1.register_forward_hook(lambda _, __, output: kept.append(output))
    with torch.no_grad():
        model.module(model.prepare(picture).pixels)
    handle.remove()
    tokens = kept[0][0, model.card.prefix_tokens :].numpy()
    return (np.abs(tokens) ** power).sum(axis=1).reshape(model.card.grid) ** (1 / power)


def test_python_has_it(new: registry.Method, small: vx.LoadedModel, cat: Path) -> None:
    options = {NAME: {"layer": 1, "power": 3.0}}
    found = vx.explain(small, cat, methods=(NAME,), options=options).heatmaps[NAME]
    np.testing.assert_allclose(found.values, strength(small, cat, 1, 3.0), rtol=1e-5)
    assert found.title == "Feature strength"
    for several in ("all", "fast"):
        assert NAME in vx.explain(small, cat, methods=several).heatmaps
    assert new.cost == "forward" and new.takes_layer and new in methods.in_order()
    with pytest.raises(vx.ExplorerError, match=r"mean 'feature_strength'.*, feature_strength"):
        methods.find_method("feature_strenght")
    assert set(vx.weight_randomisation(small, cat, (NAME,))) == {NAME}


def test_the_commands_have_it(
    new: registry.Method,
    checkpoint: Path,
    cat: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    for command in ("explain", "batch"):
        assert run(command, "--help") == 0
        assert NAME in capsys.readouterr().out
    assert run("methods") == 0
    printed = capsys.readouterr().out
    assert NAME in printed and "power=2.0" in printed and "nobody" in printed
    model = vx.load_model(checkpoint)
    given = ("--model", checkpoint, "--method", NAME, "--option", f"{NAME}.power=3")
    assert run("explain", cat, *given, "--out", tmp_path / "one") == 0
    album = tmp_path / "album"
    (album / "deep").mkdir(parents=True)
    shutil.copy(cat, album / "one.png")
    shutil.copy(cat.with_name("rocket.jpg"), album / "deep/two.jpg")
    assert run("batch", album, *given, "--out", tmp_path / "many") == 0
    pictures = {cat: tmp_path / "one/cat"} | {
        file: tmp_path / "many" / file.relative_to(album).with_suffix("")
        for file in (album / "one.png", album / "deep/two.jpg")
    }
    for picture, folder in pictures.items():
        with np.load(folder / "heatmaps.npz") as maps:
            np.testing.assert_allclose(maps[NAME], strength(model, picture, -1, 3), rtol=1e-4)
        assert (folder / f"{NAME}.png").is_file()


def test_the_page_has_it(
    new: registry.Method, workbench: Workbench, client: TestClient, result: Result, cat: Path
) -> None:
    setup = describe_setup(workbench)
    (offered,) = (one for one in setup["methods"] if one["name"] == NAME)
    assert offered == {
        "name": NAME,
        "shown": False,
        "place": None,
        "taught": False,
        "slow": False,
        "brief": False,
        "layered": True,
        "needs": ("features",),
    }
    assert client.get("/explorer/setup").json()["words"][f"method.{NAME}.summary"] == new.summary
    *_, last = asked(client, result, {"ask": "map", "name": f"{NAME}@1"})
    expected = strength(result.model, cat, 1, 2.0)
    np.testing.assert_allclose(last["map"]["values"], expected.ravel(), rtol=1e-5)
    lines = asked(client, result, {"ask": "layers"})
    assert NAME in {line["layers"] for line in lines if "layers" in line}


def test_the_documents_have_it(new: registry.Method) -> None:
    (row,) = (line for line in document_tables.methods_table().splitlines() if NAME in line)
    for cell in (new.summary, new.formula, new.source, new.caveat, "the one forward pass"):
        assert cell in row


def test_the_documents_are_as_the_records_make_them() -> None:
    texts = [file.read_text(encoding="utf-8") for file in document_tables.documents()]
    for name in document_tables.TABLES:
        assert any(f"<!-- {name} -->" in text for text in texts), name
    hint = "run python -m tests.document_tables"
    assert [document_tables.filled(text) for text in texts] == texts, hint


def test_a_slow_method_and_one_shown_first(new: registry.Method) -> None:
    """What the record says of cost and place is what the page does with it."""
    facts = {"summary": "s", "formula": "f", "source": "s", "caveat": "c"}
    try:

        @registry.method(title="Slow", passes="few", of_stages=True, **facts)
        def slow(trace: Trace, *, progress: object = None) -> torch.Tensor:
            """A docstring."""
            return trace.grid(trace.readout())

        last = describe_methods()[-1]  # where what was never measured stands
        assert last["name"] == "slow" and last["slow"] and last["brief"] and not last["shown"]
        assert last["needs"] == ("class",) and last["place"] is None
        assert [one.name for one in methods.first_shown(2)][-1] == "slow"
        assert vx.METHODS["slow"].defaults == {}
    finally:
        registry._records.pop("slow", None)


@pytest.mark.parametrize(
    ("facts", "message"),
    [
        ({"requires": ("tokenz",)}, "requires 'tokenz'.*attention"),
        ({"passes": "many"}, "takes no progress, and its passes are 'many'"),
        ({"gradients": "some"}, "gradients 'some', expected one of none, last, all"),
        ({"unit": "metre"}, "unit 'metre'"),
        ({"caveat": ""}, "has no caveat"),
    ],
)
def test_a_record_that_doesn_t_fit_is_refused(facts: dict[str, object], message: str) -> None:
    whole = {"title": "t", "summary": "s", "formula": "f", "source": "s", "caveat": "c"}

    def wrong(trace: Trace) -> torch.Tensor:
        """A docstring."""
        return trace.logits

    with pytest.raises(ValueError, match=message):
        registry.method(**(whole | facts))(wrong)  # type: ignore[arg-type]
    wrong.__name__ = "rollout"
    with pytest.raises(ValueError, match=r"methods\.attention has a method of this name"):
        registry.method(**whole)(wrong)  # type: ignore[arg-type]
    assert vx.METHODS["rollout"].title == "Attention rollout"


@pytest.fixture
def new_view() -> Iterator[str]:
    from matplotlib.figure import Figure

    @view(
        title="Logits",
        summary="What the model gives each class.",
        source="nobody 2026",
        requires=("class",),
        tab="whatif",
    )
    def draw_logits(passed: Trace) -> tuple[Figure, dict[str, np.ndarray]]:
        figure = Figure()
        figure.subplots().bar(range(len(passed.logits)), passed.logits.tolist())
        return figure, {"logits": passed.logits.numpy()}

    yield "logits"
    del view_registry._records["logits"]


def test_a_view_is_found_everywhere(
    new_view: str,
    checkpoint: Path,
    cat: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    model = vx.load_model(checkpoint)
    expected = vx.trace(model, cat).logits.numpy()
    for names, folder in ((new_view, "one"), ("all", "all")):
        assert run("view", names, cat, "--model", checkpoint, "--out", tmp_path / folder) == 0
        with np.load(tmp_path / folder / "cat/logits.npz") as arrays:
            np.testing.assert_allclose(arrays["logits"], expected, atol=1e-5)
        manifest = json.loads((tmp_path / folder / "cat/views.json").read_text())
        assert manifest["views"]["logits"] == {"title": "Logits", "source": "nobody 2026"}
    capsys.readouterr()
    assert run("view", "--help") == 0
    assert "What the model gives each class." in capsys.readouterr().out
    assert "| `logits` | What the model gives each class. |" in document_tables.views_table()
    with pytest.raises(vx.ExplorerError, match="no view 'logit', did you mean 'logits'"):
        vx.save_views(model, cat, tmp_path, "logit")


def test_a_tab_needs_what_all_its_views_need(new_view: str, small: vx.LoadedModel) -> None:
    import dataclasses

    assert (
        needs_of_tabs().items()
        >= {
            "attention": ("attention",),
            "layers": ("tokens",),
            "learn": ("tokens",),
            "patches": ("embedding",),
            "positions": ("positions",),
            "whatif": ("class",),
        }.items()
    )
    classless = dataclasses.replace(small.card, classes=0)
    assert describe_lacks(classless)["tabs"] == {"whatif": "class"}
    assert describe_lacks(small.card)["tabs"] == {}
