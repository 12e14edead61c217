"""Copied code: whatever is chosen and however things are called, it makes the page's numbers."""

from __future__ import annotations

import re
import shlex
import typing
from collections.abc import Callable
from pathlib import Path
from typing import Any
from unittest.mock import patch

import numpy as np
import pytest
import typer
from fastapi.testclient import TestClient
from hypothesis import example, given, settings
from hypothesis import strategies as st

import vit_explorer as vx
from tests.browser import LABELS, write_checkpoint
from tests.packed import unpack
from vit_explorer import cli
from vit_explorer.page import Workbench
from vit_explorer.page.payloads import attention, layers, learn, positions, whatif
from vit_explorer.page.payloads import result as payload
from vit_explorer.page.payloads.code.figure import Figure
from vit_explorer.page.payloads.code.figures import AnyFigure, MapFigure
from vit_explorer.page.payloads.code.script import command, describe_code, opening, python_code
from vit_explorer.page.state.extra_maps import Analyses
from vit_explorer.page.state.results import Result
from vit_explorer.page.static_files import static_folder

LOOK: dict[str, Any] = {"opacity": 0.6, "colormap": "viridis", "smooth": True, "whole": False}
ROW: dict[str, Any] = {"direction": "from", "rolled": False, "mass": 1}
Write = Callable[..., dict[str, Any]]
Run = Callable[..., dict[str, Any]]


@pytest.fixture(scope="module")
def write(client: TestClient, result: Result) -> Write:
    """Ask for a figure's code as the page does."""

    def ask(figure: str, of: Result = result, **chosen: Any) -> dict[str, Any]:
        order = {"figure": figure, **chosen}
        answer = client.post(f"/explorer/results/{of.key}/code", json=order)
        assert answer.status_code == 200, answer.text
        written: dict[str, Any] = answer.json()
        return written

    return ask


@pytest.fixture(scope="module")
def run(write: Write, result: Result) -> Run:
    """The names that a figure's Python leaves; the model is one that only a program knows."""

    def ran(figure: str, of: Result = result, **chosen: Any) -> dict[str, Any]:
        names: dict[str, Any] = {"model": of.model}
        exec(write(figure, of, **chosen)["python"], names)
        return names

    return ran


def test_a_map_is_the_page_s_for_every_target(
    run: Run, result: Result, workbench: Workbench
) -> None:
    against = workbench.analyse("cat.png", workbench.start_name, "not 3")
    for of in (result, against):
        for name, heatmap in of.explanation.heatmaps.items():
            ran = run("map", of, method=name, layer=None, limits=None, **LOOK)
            np.testing.assert_allclose(ran["values"], heatmap.values, rtol=1e-4, atol=1e-6)
    assert "target='not 3'" in describe_code(against, chosen_map("grad_cam"))["python"]
    first = Analyses().heatmap(result, "grad_cam@0")
    ran = run("map", method="grad_cam", layer=0, limits=None, **LOOK)
    np.testing.assert_allclose(ran["values"], first.values, rtol=1e-4, atol=1e-6)
    assert np.abs(first.values - result.explanation.heatmaps["grad_cam"].values).max() > 1e-3


def chosen_map(method: str) -> MapFigure:
    return MapFigure(figure="map", method=method, layer=None, limits=None, **LOOK)


@settings(max_examples=20, deadline=None)
@given(
    opacity=st.floats(0, 1),
    colormap=st.sampled_from(["inferno", "viridis", "cividis", "turbo"]),
    smooth=st.booleans(),
    limits=st.none() | st.tuples(st.floats(-1, 0), st.floats(0.01, 9)),
)
def test_an_overlay_has_the_chosen_look(
    run: Run, result: Result, opacity: float, colormap: str, smooth: bool, limits: Any
) -> None:
    look: dict[str, Any] = {"opacity": opacity, "colormap": colormap, "smooth": smooth}
    ran = run("map", method="rollout", layer=None, whole=False, limits=limits, **look)
    made = result.explanation.overlay("rollout", limits=limits, **look)
    np.testing.assert_array_equal(np.asarray(ran["overlay"]), np.asarray(made))


@settings(max_examples=30, deadline=None)
@given(
    layer=st.integers(0, 2),
    head=st.sampled_from(["mean", "max", 0, 1]),
    token=st.integers(0, 12),
    direction=st.sampled_from(["from", "to"]),
    rolled=st.booleans(),
    mass=st.sampled_from([1, 0.99, 0.5, 0.05]),
)
def test_attention_is_what_it_is_worked_out_to_be(
    run: Run, result: Result, layer: int, head: Any, token: int, direction: str,
    rolled: bool, mass: float,
) -> None:  # fmt: skip
    each = [result.explanation.trace.attention(at).double().numpy() for at in range(layer + 1)]
    fuse = {"mean": lambda a: a.mean(0), "max": lambda a: a.max(0)}.get(head, lambda a: a[head])
    fused = [fuse(one) for one in each]
    total = fused[-1]
    if rolled:
        total = np.eye(13)
        for one in fused:
            mixing = one + np.eye(13)
            total = mixing / mixing.sum(1, keepdims=True) @ total
    expected = (total[token] if direction == "from" else total[:, token])[1:]
    if mass < 1:  # the largest, until together they are enough
        held, kept = 0.0, np.zeros(12)
        for place in sorted(range(12), key=lambda at: (-expected[at], at)):
            if held >= mass * expected.sum() * (1 - 1e-6):
                break
            held += expected[place]
            kept[place] = expected[place]
        expected = kept
    chosen = {"layer": layer, "head": head, "token": token, "direction": direction}
    values = run("attention", rolled=rolled, mass=mass, **chosen)["values"]
    assert values.shape == (3, 4)
    np.testing.assert_allclose(values.ravel(), expected, rtol=1e-4, atol=1e-6)


def test_rollout_is_what_the_page_draws(run: Run, result: Result) -> None:
    _, sent = unpack(attention.rollout_bytes(result, 5))
    for layer in range(3):
        ran = run("attention", layer=layer, head="mean", token=5, **{**ROW, "rolled": True})
        np.testing.assert_allclose(ran["values"].ravel(), sent["rollout"][layer, 1:], rtol=1e-4)


def test_what_patches_hold_is_what_the_page_draws(
    run: Run, result: Result, workbench: Workbench, client: TestClient
) -> None:
    other = workbench.analyse("coffee.png", workbench.start_name, None)

    def sent(of: Result, path: str) -> dict[str, np.ndarray]:
        answer = client.get(f"/explorer/results/{of.key}/{path}")
        assert answer.status_code == 200, answer.text
        return unpack(answer.content)[1]

    lens = sent(result, "patch-lens")
    for layer in range(3):
        for kind, name in (("target", "target"), ("top", "classes")):
            values = run("patch-lens", layer=layer, kind=kind)["values"]
            np.testing.assert_allclose(values.ravel(), lens[name][layer + 1], rtol=1e-5)
    alone = run("feature-components", layer=1, other=None)["values"]
    np.testing.assert_allclose(alone.reshape(-1, 3), sent(result, "features")["scores"][1], 1e-4)
    shared = {name: of[1] for name, of in sent(result, f"features/{other.key}").items()}
    values = run("feature-components", layer=1, other=other.key)["values"]
    np.testing.assert_allclose(values.reshape(-1, 3), shared["scores"], rtol=1e-4, atol=1e-4)
    beside = {name: of[1] for name, of in sent(other, f"features/{result.key}").items()}
    np.testing.assert_allclose(beside["limits"], shared["limits"], rtol=1e-4, atol=1e-4)
    both = np.concatenate([shared["scores"], beside["scores"]])
    np.testing.assert_allclose(both.min(0), shared["limits"][0], rtol=1e-4, atol=1e-4)
    for by in ("features", "query_key"):
        order = {"by": by, "layer": 2, "place": (1, 2), "other": result.key}
        values = run("patch-matches", other, **order)["values"]
        token = result.model.card.prefix_tokens + 1 * 4 + 2
        found = sent(result, f"matches/{by}/2/{token}/{other.key}")["similarity"]
        np.testing.assert_allclose(values.ravel(), found, rtol=1e-4)
    gone = {"figure": "feature-components", "layer": 1, "other": "gone"}
    refused = client.post(f"/explorer/results/{result.key}/code", json=gone)
    assert refused.json()["error"]["key"] == "error.result.gone"
    for path in (
        f"matches/features/2/0/{other.key}",
        f"matches/features/9/5/{other.key}",
        "features/gone",
    ):
        assert client.get(f"/explorer/results/{result.key}/{path}").status_code == 404


def test_scores_are_those_that_the_page_works_out(run: Run, result: Result) -> None:
    for layer, head, token in ((0, 0, 0), (2, 1, 7)):
        facts, sent = unpack(learn.head_bytes(result, layer, head, token))
        scores = sent["key"] @ sent["query"] * facts["scale"] + sent.get("bias", 0)
        ran = run("scores", layer=layer, head=head, token=token)
        np.testing.assert_allclose(ran["values"].ravel(), scores[1:], rtol=1e-4, atol=1e-5)


def test_scores_with_a_bias_of_each_head(tmp_path: Path) -> None:
    model = vx.load_model(write_checkpoint(tmp_path / "biased.safetensors", position="relative"))
    workbench = Workbench(model)
    of = workbench.analyse("cat.png", workbench.start_name, None)
    order = {"figure": "scores", "layer": 1, "head": 2, "token": 9}
    facts, sent = unpack(learn.head_bytes(of, 1, 2, 9))
    names: dict[str, Any] = {}
    code = describe_code(of, figure_of(order))["python"]
    assert code is not None
    with patch.object(vx, "load_model", lambda _: model):
        exec(code, names)
    scores = sent["key"] @ sent["query"] * facts["scale"]
    assert np.abs(sent["bias"]).max() > 0.01
    expected = (scores + sent["bias"])[model.card.prefix_tokens :]
    np.testing.assert_allclose(names["values"].ravel(), expected, rtol=1e-4, atol=1e-5)


def figure_of(order: dict[str, Any]) -> Figure:
    from pydantic import TypeAdapter

    made: Figure = TypeAdapter(AnyFigure).validate_python(order)
    return made


def test_positions_are_the_page_s(run: Run, result: Result) -> None:
    _, here = unpack(payload.position_bytes(result))
    _, moved = unpack(positions.interpolated_bytes(result, 5, 2))
    _, colours = unpack(positions.component_bytes(result))
    np.testing.assert_allclose(run("positions")["values"], here["similarity"], rtol=1e-5)
    values = run("positions", place=[2, 1])["values"]
    np.testing.assert_allclose(values, here["similarity"][2, 1], rtol=1e-5)
    values = run("positions", place=[4, 1], grid=[5, 2])["values"]
    np.testing.assert_allclose(values, moved["similarity"][4, 1], rtol=1e-5)
    ran = run("position-profile", place=[2, 3])
    np.testing.assert_allclose(ran["along"], here["similarity"][2, 3, 2], rtol=1e-5)
    np.testing.assert_allclose(ran["down"], here["similarity"][2, 3, :, 3], rtol=1e-5)
    values = run("position-components")["values"]
    np.testing.assert_allclose(values, colours["colours"], atol=1e-5)


def test_layers_are_the_page_s(
    run: Run, result: Result, capsys: pytest.CaptureFixture[str]
) -> None:
    facts, sent = unpack(layers.depth_bytes(result))
    _, heads = unpack(attention.measure_bytes(result))
    lens = run("logit-lens")["lens"]
    told = [[each["label"] for each in depth] for depth in facts["lens"]["predictions"]]
    assert [[each.label for each in depth] for depth in lens.predictions] == told
    first = facts["lens"]["predictions"][0][0]
    assert f"0 [('{first['label']}', {first['probability']:.4f}"[:-1] in capsys.readouterr().out
    np.testing.assert_allclose(run("token-path")["path"].points, sent["points"], atol=1e-5)
    for measure in ("distance", "entropy"):
        np.testing.assert_allclose(run(measure)["values"], heads[measure], rtol=1e-5)
    _, alike = unpack(layers.similarity_bytes(result, 4))
    values = run("token-similarity", token=4, layer=1)["values"]
    np.testing.assert_allclose(values, alike["similarity"][1], atol=1e-5)
    _, parts = unpack(layers.contribution_bytes(result))
    ran = run("contributions")
    np.testing.assert_allclose(ran["values"], parts["heads"], rtol=1e-4, atol=1e-6)
    np.testing.assert_allclose(ran["found"].mlps, parts["mlps"], rtol=1e-4, atol=1e-6)
    values = run("token-norms", layer=1)["values"]
    np.testing.assert_allclose(values.ravel(), sent["norms"][1], rtol=1e-5)


def test_patches_are_the_crop_s(run: Run, result: Result) -> None:
    patches = run("patches")["patches"]
    shown = np.asarray(result.explanation.prepared.shown)
    np.testing.assert_array_equal(patches[1, 2], shown[8:16, 16:24])


def test_maps_of_all_layers_are_the_page_s(run: Run, result: Result) -> None:
    asked = {"grad_cam": [0, 2], "attention": [0, 1, 2]}
    maps = run("layer-maps", layers=asked)["maps"]
    assert list(maps) == [(name, layer) for name, own in asked.items() for layer in own]
    for (name, layer), values in maps.items():
        expected = Analyses().heatmap(result, f"{name}@{layer}").values
        np.testing.assert_allclose(values, expected, rtol=1e-4, atol=1e-6)


@settings(max_examples=10, deadline=None)
@given(
    patches=st.lists(st.integers(0, 11), max_size=11, unique=True),
    heads=st.lists(st.tuples(st.integers(0, 2), st.integers(0, 1)), max_size=4, unique=True),
    how=st.sampled_from(["drop", "grey"]),
)
def test_a_change_is_the_page_s(
    run: Run, result: Result, patches: list[int], heads: list[tuple[int, int]], how: Any
) -> None:
    order = whatif.ChangeOrder(patches=patches, heads=heads, how=how)
    rows = whatif.describe_change(result, order)["rows"]
    found = run("change", patches=patches, heads=heads, how=how)["found"]
    after = {each.index: each.probability for each in found.after}
    assert {row["index"] for row in rows} <= after.keys() | {e.index for e in found.before}
    for row in rows:
        assert after.get(row["index"], row["after"]) == pytest.approx(row["after"], abs=1e-5)


def test_a_removal_is_the_page_s(run: Run, result: Result) -> None:
    values = result.explanation.heatmaps["rollout"].values.ravel()
    ranking = sorted(range(12), key=lambda patch: (-values[patch], patch))
    order = whatif.RemovalOrder(ranking=ranking, heads=[(1, 0)], how="grey")
    told = whatif.describe_removal(result, order)
    ran = run("removal", method="rollout", heads=[(1, 0)], how="grey")
    assert ran["counts"] == told["counts"]
    np.testing.assert_allclose(ran["values"], told["most"], atol=1e-5)


# Names as files may have them; a path holds no NUL.
NAMES = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), min_size=1)
NUMBERS = st.lists(st.floats(-9, 9), min_size=3, max_size=3)
SIZES = st.lists(st.integers(1, 999), min_size=2, max_size=2)
LOADS = st.fixed_dictionaries(
    {"model": NAMES},
    optional={
        "weights": NAMES,
        "labels": NAMES,
        "outputs": st.sampled_from(["classes", "value"]),
        "image_size": SIZES,
        "weights_image_size": SIZES,
        "pretrained": st.just(False),
        "preprocess": st.fixed_dictionaries({}, optional={"mean": NUMBERS, "std": NUMBERS}),
    },
)
ENDS = st.tuples(st.floats(-9, 0), st.floats(0.1, 9)).map(list)
OPENED = st.fixed_dictionaries(
    {},
    optional={
        "bands": st.lists(st.integers(0, 9), min_size=1, max_size=3),
        "stretch": st.sampled_from(["full", "minmax"]) | ENDS,
    },
)
ODD = {"model": 'it\'s "mine"\\', "labels": "标签\n'''.txt", "weights": "$(rm -r ~) #\t`x`;"}


def as_tuples(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: as_tuples(each) for name, each in value.items()}
    return tuple(value) if isinstance(value, list) else value


@settings(max_examples=50, deadline=None)
@given(load=LOADS, path=NAMES, opened=OPENED)
@example(load=ODD, path="-猫 '\".png", opened={"bands": [4]})
def test_names_are_given_as_they_are(
    load: dict[str, Any], path: str, opened: dict[str, Any]
) -> None:
    """What is called in place of loading and opening is given every name and number unchanged."""
    names: dict[str, Any] = {}
    with (
        patch.object(vx, "load_model", lambda model, **options: {"model": model, **options}),
        patch.object(vx, "open_picture", lambda source, **options: (source, options)),
    ):
        exec(python_code(load, opening("picture", path, opened), ["done = True"]), names)
    assert names["done"]
    assert names["model"] == as_tuples(load)
    assert names["picture"] == ((path, as_tuples(opened)) if opened else path)


@settings(max_examples=50, deadline=None)
@given(load=LOADS, path=NAMES, opened=OPENED, target=st.just("not 3"))
@example(load=ODD, path="-猫 '\".png", opened={"stretch": [-1.5, 2.0]}, target="not 3")
def test_a_shell_gives_the_command_names_as_they_are(
    load: dict[str, Any], path: str, opened: dict[str, Any], target: str
) -> None:
    line = command(load, path, opened, ["--method", "rollout", "--target", target])
    assert line is not None
    first, second, *words = shlex.split(line)
    assert (first, second) == ("vit-explorer", "explain")
    explain = typer.main.get_command(cli.app).commands["explain"]  # type: ignore[attr-defined]
    told = explain.make_context("explain", words).params
    assert [Path(one) for one in told["images"]] == [Path(path)]
    assert told["model"] == load["model"]
    for name in ("weights", "labels"):
        assert told[name] == (Path(load[name]) if name in load else None)
    assert told["outputs"] == load.get("outputs")
    for name in ("image_size", "weights_image_size"):
        assert told[name] == as_tuples(load.get(name))
    for name in ("mean", "std"):
        given = load.get("preprocess", {}).get(name)
        numbers = told[name] and [float(part) for part in told[name].split(",")]
        assert numbers == given
    assert told["pretrained"] is load.get("pretrained", True)
    how = cli.options.Opening(bands=told["bands"], stretch=told["stretch"]).options()
    assert how == {"stretch": "auto", **as_tuples(opened)}
    assert (told["method"], told["target"]) == (["rollout"], [target])


@settings(max_examples=50, deadline=None)
@given(model=NAMES, module=NAMES)
@example(model="a\nimport os", module="\u2028'")
def test_of_a_module_code_says_only_that_a_program_has_it(model: str, module: str) -> None:
    names: dict[str, Any] = {"model": 1}
    load = {"model": model, "module": module}
    exec(python_code(load, opening("picture", "cat.png", {}), ["values = model"]), names)
    assert names["values"] == 1
    assert "os" not in names
    assert command(load, "cat.png", {}, ["--method", "rollout"]) is None


def test_what_a_command_has_no_option_for_has_no_command() -> None:
    load = {"model": "m", "preprocess": {"interpolation": "bilinear"}}
    assert command(load, "cat.png", {}, []) is None


def test_code_and_command_run_where_names_are_odd(
    tmp_path: Path, cat: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    weights = write_checkpoint(tmp_path / 'it\'s "mine" \\ 模型.safetensors')
    labels = tmp_path / "类别 'x'.txt"
    labels.write_text("\n".join(f"{name} 猫" for name in LABELS), encoding="utf-8")
    picture = tmp_path / "-'\"$x 图.png"
    picture.write_bytes(cat.read_bytes())
    model = vx.load_model(weights, labels=labels)
    explanation = vx.explain(model, picture, ("rollout", "grad_cam"), target=f"{LABELS[1]} 猫")
    of = Result("key", "pass", model.card.name, model, explanation)
    written = describe_code(of, chosen_map("grad_cam"))
    expected = explanation.heatmaps["grad_cam"].values
    monkeypatch.chdir(tmp_path)
    names: dict[str, Any] = {}
    assert written["python"] and written["command"]
    exec(written["python"], names)
    np.testing.assert_allclose(names["values"], expected, rtol=1e-4)
    assert names["result"].predictions[0].label.endswith("猫")
    with pytest.raises(SystemExit) as ended:
        cli.main(shlex.split(written["command"])[1:])
    assert ended.value.code == 0
    (made,) = tmp_path.glob("out/*/heatmaps.npz")
    with np.load(made) as maps:
        np.testing.assert_allclose(maps["grad_cam"], expected, rtol=1e-4)


def test_a_command_is_offered_where_one_makes_the_figure(tmp_path: Path) -> None:
    workbench = Workbench(vx.load_model(write_checkpoint(tmp_path / "small.safetensors")))
    of = workbench.analyse("cat.png", workbench.start_name, None)

    def words(**chosen: Any) -> str | None:
        order = {"figure": "attention", "layer": 3, "head": "mean", "token": 0, **ROW, **chosen}
        return describe_code(of, figure_of(order))["command"]

    start = "vit-explorer explain assets/cat.png --model small.safetensors --method"
    plain = f"{start} attention --option attention.layer=3 --option attention.head"
    assert words() == f"{plain}=mean\n"
    assert words(head=2) == f"{plain}=2\n"
    assert words(rolled=True, head="max") == f"{start} rollout --option rollout.fusion=max\n"
    assert words(rolled=True, layer=2) is None
    assert words(token=1) is None
    assert words(direction="to") is None
    assert words(mass=0.5) is None
    assert describe_code(of, figure_of({"figure": "patches"}))["command"] is None


def test_another_picture_of_an_example_s_name_is_not_taken_for_it(
    workbench: Workbench, coffee: Path
) -> None:
    key = workbench.add_picture(coffee.read_bytes(), "cat.png")
    of = workbench.analyse(key, workbench.start_name, None)
    told = "# The page has no more than its name: give its path.\npicture = "
    assert f"{told}'cat.png'" in str(describe_code(of, chosen_map("rollout"))["python"])
    example = workbench.analyse("cat.png", workbench.start_name, None)
    found = str(describe_code(example, chosen_map("rollout"))["python"])
    assert "\npicture = 'assets/cat.png'" in found
    assert told not in found


@pytest.mark.parametrize(
    ("order", "said"),
    [
        ({"figure": "nonsense"}, "order is missing or wrong"),
        ({"figure": "patches", "more": 1}, "patches.more is missing or wrong"),
        ({"figure": "map", "method": "x');", "layer": None, "limits": None, **LOOK}, "map.method"),
        ({"figure": "token-norms", "layer": 3}, "The layer was 3, expected a whole number from 0"),
        ({"figure": "scores", "layer": 0, "head": 2, "token": 0}, "The head was 2"),
        ({"figure": "token-similarity", "layer": 0, "token": 13}, "The token was 13"),
        ({"figure": "positions", "place": [3, 0]}, "The row was 3"),
        ({"figure": "positions", "place": [0, 4]}, "The column was 4"),
    ],
)
def test_what_there_is_no_code_for_is_refused(
    client: TestClient, result: Result, order: dict[str, Any], said: str
) -> None:
    answer = client.post(f"/explorer/results/{result.key}/code", json=order)
    assert answer.status_code == 422
    assert said in answer.json()["error"]["text"]


def test_scripts_ask_for_the_figures_that_there_are() -> None:
    """Every figure that a menu names is written here, and none is written that no menu names."""
    union, *_ = typing.get_args(AnyFigure)
    known = {
        name
        for kind in typing.get_args(union)
        for name in typing.get_args(kind.model_fields["figure"].annotation)
    }
    code = "".join(file.read_text(encoding="utf-8") for file in static_folder().rglob("*.js"))
    named = set(re.findall(r'figure: "([a-z-]+)"', code))
    assert named | {"distance", "entropy"} == known
    assert "figure: measure" in code
    assert "vx.explain(" not in code
