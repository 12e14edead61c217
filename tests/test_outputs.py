"""Probabilities, values and the other side of a class, in all that is made of a model's numbers."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn
from typer.testing import CliRunner

import vit_explorer as vx
from tests.endings import Lambda, head, load
from vit_explorer.cli import app
from vit_explorer.datasets.evaluate import evaluate
from vit_explorer.errors import OptionError, TargetError
from vit_explorer.models.predictions import Prediction

OF_A_CLASS = tuple(name for name, method in vx.METHODS.items() if method.class_specific)
# Methods whose map of "not cat" is the negative of cat's; the others drop or square a sign.
LINEAR = ("input_x_gradient", "integrated_gradients", "occlusion", "rise")
NAMES = ["effusion", "edema", "mass", "nodule", "none"]


@pytest.fixture(scope="module")
def plain() -> vx.LoadedModel:
    return load(head(5), labels=NAMES)


@pytest.fixture(scope="module")
def softened() -> vx.LoadedModel:
    return load(nn.Sequential(head(5), nn.Softmax(-1)), labels=NAMES)


@pytest.fixture(scope="module")
def several() -> vx.LoadedModel:
    return load(head(5), labels=NAMES, outputs="labels")


@pytest.fixture(scope="module")
def value() -> vx.LoadedModel:
    return load(head(1))


def returned(model: vx.LoadedModel, cat: Path) -> torch.Tensor:
    with torch.no_grad():
        found: torch.Tensor = model.module(model.prepare(cat).pixels).reshape(-1)
    return found


def numbers(predictions: tuple[Prediction, ...]) -> dict[int, tuple[float | None, float]]:
    return {each.index: (each.probability, each.score) for each in predictions}


def test_classes_sum_to_1(plain: vx.LoadedModel, cat: Path) -> None:
    raw = returned(plain, cat)
    shares = raw.exp() / raw.exp().sum()
    for index, (share, score) in numbers(vx.explain(plain, cat, ()).predictions).items():
        assert share == pytest.approx(float(shares[index]), rel=1e-5)
        assert score == pytest.approx(float(raw[index]), rel=1e-5)


def test_labels_hold_each_by_itself(several: vx.LoadedModel, cat: Path) -> None:
    raw = returned(several, cat)
    found = vx.explain(several, cat, ()).predictions
    for index, (share, score) in numbers(found).items():
        assert share == pytest.approx(1 / (1 + np.exp(-float(raw[index]))), rel=1e-5)
        assert score == pytest.approx(float(raw[index]), rel=1e-5)
    shares = [each.probability or 0 for each in found]
    assert shares == sorted(shares, reverse=True)
    assert sum(shares) != pytest.approx(1, abs=0.05)


@pytest.mark.parametrize("squash", [nn.Softmax(-1), nn.Sigmoid()])
def test_nothing_comes_on_top_of_probabilities(squash: nn.Module, cat: Path) -> None:
    model = load(nn.Sequential(head(5), squash))
    raw = returned(model, cat)
    for index, (share, score) in numbers(vx.explain(model, cat, ()).predictions).items():
        assert share == score == pytest.approx(float(raw[index]), rel=1e-5)


def test_values_are_no_probabilities(cat: Path) -> None:
    model = load(head(3), outputs="value")
    raw = returned(model, cat)
    result = vx.explain(model, cat, ())
    assert [each.index for each in result.predictions] == [0, 1, 2]  # in their own order
    assert [each.probability for each in result.predictions] == [None] * 3
    assert [each.score for each in result.predictions] == pytest.approx(raw.tolist(), rel=1e-5)
    assert result.target == result.predictions[0]
    assert result.trace.probabilities is None


@pytest.mark.parametrize("squash", [nn.Softmax(-1), nn.LogSoftmax(-1)])
def test_maps_differentiate_what_enters_a_last_softmax(
    plain: vx.LoadedModel, squash: nn.Module, cat: Path
) -> None:
    softened = load(nn.Sequential(head(5), squash), labels=NAMES)
    options: dict[str, Any] = {"rise": {"masks": 40}}
    expected = vx.explain(plain, cat, "all", "effusion", options=options)
    found = vx.explain(softened, cat, "all", "effusion", options=options)
    assert set(OF_A_CLASS) <= set(found.heatmaps)
    for name, heatmap in expected.heatmaps.items():
        scale = float(abs(heatmap.values).max())
        near = pytest.approx(heatmap.values, abs=1e-4 * scale)
        assert found.heatmaps[name].values == near, name
    flat = [name for name, heatmap in expected.heatmaps.items() if not heatmap.values.any()]
    assert flat in ([], ["score_cam"])
    assert [p.index for p in found.predictions] == [p.index for p in expected.predictions]
    for one, other in zip(found.predictions, expected.predictions, strict=True):
        assert one.probability == pytest.approx(other.probability, rel=1e-4)


def test_maps_differentiate_what_enters_a_last_sigmoid(several: vx.LoadedModel, cat: Path) -> None:
    ended = load(nn.Sequential(head(5), nn.Sigmoid()), labels=NAMES)
    methods = ("grad_cam", "occlusion", "integrated_gradients", "legrad", "rise")
    options: dict[str, Any] = {"rise": {"masks": 40}}
    expected = vx.explain(several, cat, methods, 1, options=options)
    found = vx.explain(ended, cat, methods, 1, options=options)
    for name in methods:
        assert found.heatmaps[name].values == pytest.approx(
            expected.heatmaps[name].values, abs=1e-5
        ), name
    assert found.target is not None
    assert expected.target is not None
    assert found.target.probability == pytest.approx(expected.target.probability, rel=1e-5)


def test_a_map_of_a_probability_says_so(cat: Path) -> None:
    written = Lambda(lambda m, x: m.head(x).exp() / m.head(x).exp().sum(-1, True), head=head(5))
    model = load(written)
    assert model.card.outputs == "probabilities"
    assert model.card.ends_in == ""
    result = vx.explain(model, cat, ("grad_cam", "attention"))
    assert "is of these, not of logits" in result.heatmaps["grad_cam"].note
    assert result.heatmaps["attention"].note == ""


@pytest.mark.parametrize("kind", ["plain", "softened", "several", "value"])
def test_the_other_side_is_the_negative(
    kind: str, cat: Path, request: pytest.FixtureRequest
) -> None:
    model = request.getfixturevalue(kind)
    label = model.labels[0]
    one = vx.trace(model, cat, target=label, gradients="all")
    other = vx.trace(model, cat, target=f"not {label}", gradients="all")
    assert float(one.attention_gradient(0).abs().max()) > 0
    for layer in range(model.card.depth):
        assert torch.equal(one.attention_gradient(layer), -other.attention_gradient(layer))
        assert torch.equal(one.feature_gradients[layer], -other.feature_gradients[layer])
    options: dict[str, Any] = {"rise": {"masks": 30}}
    shown = vx.explain(model, cat, LINEAR, label, options=options)
    hidden = vx.explain(model, cat, LINEAR, f"not {label}", options=options)
    for name in LINEAR:
        scale = float(abs(shown.heatmaps[name].values).max())
        assert scale > 0
        assert hidden.heatmaps[name].values == pytest.approx(
            -shown.heatmaps[name].values, abs=1e-3 * scale
        ), name


def test_cams_of_the_other_side_by_hand(plain: vx.LoadedModel, cat: Path) -> None:
    brightest = 0.0
    for index, label in enumerate(NAMES):
        passed = vx.trace(plain, cat, target=index, gradients="all")
        gradient, feature = passed.feature_gradients[1][1:], passed.features[1][1:]  # patches
        expected = (-gradient.mean(0) * feature).sum(-1).relu().reshape(4, 4).numpy()
        found = vx.explain(plain, cat, ("grad_cam",), f"not {label}").heatmaps["grad_cam"]
        assert found.values == pytest.approx(expected, abs=1e-6)
        brightest = max(brightest, float(expected.max()))
    assert brightest > 0.01


def test_the_other_side_is_told_truthfully(plain: vx.LoadedModel, cat: Path) -> None:
    result = vx.explain(plain, cat, ("grad_cam", "rollout"), "not mass")
    other = vx.explain(plain, cat, (), "mass")
    assert result.target is not None
    assert other.target is not None
    assert result.target.label == "not mass"
    assert result.target.index == 2
    assert result.target.probability == pytest.approx(1 - (other.target.probability or 0))
    assert result.target.score == pytest.approx(-other.target.score)
    assert result.heatmaps["grad_cam"].target_label == "not mass"
    assert result.heatmaps["rollout"].target_label is None
    described = result.to_dict()
    assert described["target"]["label"] == "not mass"
    assert described["target"]["weights"] == {"2": -1.0}
    assert described["methods"]["grad_cam"]["target_label"] == "not mass"
    assert "not mass" in result.caption("grad_cam")
    for same in ("not 2", "Not MASS", "NOT  mass"):
        found = vx.explain(plain, cat, (), same).target
        assert found is not None
        assert (found.index, found.label) == (2, "not mass")


def test_a_class_may_be_called_not_something(cat: Path) -> None:
    model = load(head(2), labels=["hot dog", "not hot dog"])
    named = vx.trace(model, cat, target="not hot dog")
    assert named.aim is not None
    assert (named.aim.index, named.aim.negated) == (1, False)
    turned = vx.trace(model, cat, target="not not hot dog")
    assert turned.aim is not None
    assert (turned.aim.index, turned.aim.negated) == (1, True)
    assert turned.aim.label(model.labels) == "not not hot dog"
    with pytest.raises(TargetError, match="no class 'cat'"):
        vx.trace(model, cat, target="not cat")
    with pytest.raises(TargetError, match="no class 7"):
        vx.trace(model, cat, target="not 7")


def test_rise_and_faithfulness_of_a_value(value: vx.LoadedModel, cat: Path) -> None:
    """A value twice as large has maps and curves twice as large: nothing squashes it."""
    double = head(1)
    double.weight.data *= 2
    double.bias.data *= 2
    doubled = load(double)
    rises = [vx.explain(m, cat, ("rise",)).heatmaps["rise"] for m in (value, doubled)]
    assert float(abs(rises[0].values).max()) > 0.001
    assert rises[1].values == pytest.approx(2 * rises[0].values, abs=1e-4)
    trusts = [vx.faithfulness(m, cat, {"rise": rises[0]}, random_maps=2) for m in (value, doubled)]
    assert [trust.measure for trust in trusts] == ["value"] * 2
    assert trusts[0].to_dict()["measure"] == "value"
    curves = [trust.scores["rise"].insertion_curve for trust in trusts]
    assert curves[0][-1] == pytest.approx(float(returned(value, cat)), rel=1e-4)
    assert curves[1] == pytest.approx(2 * curves[0], rel=1e-4)


def test_faithfulness_follows_what_the_outputs_are(
    plain: vx.LoadedModel, several: vx.LoadedModel, softened: vx.LoadedModel, cat: Path
) -> None:
    raw = returned(plain, cat)
    grid = np.arange(16, dtype=np.float32).reshape(4, 4)
    expected = {
        "plain": float(raw[2].exp() / raw.exp().sum()),
        "several": 1 / (1 + np.exp(-float(raw[2]))),
        "softened": float(raw[2].exp() / raw.exp().sum()),
    }
    for name, model in {"plain": plain, "several": several, "softened": softened}.items():
        found = vx.faithfulness(model, cat, {"a": grid}, target="mass", random_maps=1)
        assert found.measure == "probability"
        whole = found.scores["a"].insertion_curve[-1]
        assert whole == pytest.approx(expected[name], rel=1e-4)
        turned = vx.faithfulness(model, cat, {"a": grid}, target="not mass", random_maps=1)
        assert turned.label == "not mass"
        assert turned.scores["a"].insertion_curve == pytest.approx(
            1 - found.scores["a"].insertion_curve, abs=1e-5
        )


def test_maps_keep_their_side_when_they_are_scored(plain: vx.LoadedModel, cat: Path) -> None:
    result = vx.explain(plain, cat, ("grad_cam",), "not mass")
    assert vx.faithfulness(plain, cat, result.heatmaps, random_maps=1).label == "not mass"
    both = {
        **result.heatmaps,
        "other": vx.explain(plain, cat, ("saliency",), 2).heatmaps["saliency"],
    }
    with pytest.raises(TargetError, match="2 different classes"):
        vx.faithfulness(plain, cat, both, random_maps=1)


def test_interventions_follow_what_the_outputs_are(
    plain: vx.LoadedModel, several: vx.LoadedModel, value: vx.LoadedModel, cat: Path
) -> None:
    raw = vx.intervene(plain, cat, patches_off=[3, 4], target=2)
    shares = torch.from_numpy(raw.logits_after).softmax(-1)
    assert raw.target_after.probability == pytest.approx(float(shares[2]), rel=1e-5)
    found = vx.intervene(several, cat, patches_off=[3, 4], target=2)
    alone = 1 / (1 + np.exp(-float(raw.logits_after[2])))
    assert found.target_after.probability == pytest.approx(alone, rel=1e-5)
    turned = vx.intervene(several, cat, patches_off=[3, 4], target="not mass")
    assert turned.target_after.probability == pytest.approx(1 - alone, rel=1e-4)
    assert turned.difference == pytest.approx(-found.difference, abs=1e-6)
    valued = vx.intervene(value, cat, patches_off=[3, 4])
    assert valued.target_after.probability is None
    difference = float(valued.logits_after[0] - valued.logits_before[0])
    assert valued.difference == pytest.approx(difference)
    assert valued.to_dict()["target"]["score_after"] == pytest.approx(valued.target_after.score)


@pytest.mark.parametrize("kind", ["plain", "softened", "several", "value"])
def test_the_lens_ends_where_the_model_does(
    kind: str, cat: Path, request: pytest.FixtureRequest
) -> None:
    model = request.getfixturevalue(kind)
    result = vx.explain(model, cat, ())
    lens = vx.logit_lens(result.trace)
    ends = {each.index: each.measured for each in lens.predictions[-1]}
    assert ends == {
        each.index: pytest.approx(each.measured, rel=1e-3) for each in result.predictions
    }
    assert lens.curve[-1] == pytest.approx(lens.target.measured, rel=1e-3)
    turned = vx.logit_lens(vx.trace(model, cat, target="not 0"))
    straight = vx.logit_lens(vx.trace(model, cat, target=0))
    mirror = -straight.curve if kind == "value" else 1 - straight.curve
    assert turned.curve == pytest.approx(mirror, abs=1e-5)


def saved(path: Path, **options: Any) -> str:
    transformers = pytest.importorskip("transformers")
    torch.manual_seed(0)
    config = transformers.ViTConfig(
        hidden_size=32, num_hidden_layers=2, num_attention_heads=2, intermediate_size=64,
        image_size=32, patch_size=8, **options,
    )  # fmt: skip
    model = transformers.ViTForImageClassification(config)
    model.classifier.bias.data.normal_(std=3)
    model.save_pretrained(path)
    transformers.ViTImageProcessor(size={"height": 32, "width": 32}).save_pretrained(path)
    return str(path)


@pytest.mark.parametrize(
    ("count", "named", "problem"),
    [
        (5, True, "multi_label_classification"),
        (5, True, "single_label_classification"),
        (5, True, None),
        (3, False, "regression"),
        (1, False, "regression"),
        (1, True, None),  # one name: yes or no
    ],
)
def test_folders_say_what_transformers_pipeline_says(
    tmp_path: Path, cat: Path, count: int, named: bool, problem: str | None
) -> None:
    transformers = pytest.importorskip("transformers")
    names = {"id2label": dict(enumerate(NAMES[:count]))} if named else {"num_labels": count}
    folder = saved(tmp_path / "model", **names, problem_type=problem)
    asked = transformers.pipeline("image-classification", model=folder, device="cpu")
    expected = {
        each["label"]: each["score"] for each in asked(Image.open(cat).convert("RGB"), top_k=5)
    }
    model = vx.load_model(folder)
    found = vx.explain(model, cat, ()).predictions
    names_of = {f"{kind} {n}": f"LABEL_{n}" for n in range(count) for kind in ("class", "value")}
    got = {names_of.get(each.label, each.label): each.measured for each in found}
    assert got == {key: pytest.approx(score, abs=2e-3) for key, score in expected.items()}
    if problem:
        assert problem in model.card.outputs_found


def command(*words: object) -> Any:
    return CliRunner().invoke(app, [str(word) for word in words])


def test_commands(tmp_path: Path, cat: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "200")
    done = command(
        "explain", cat, "--outputs", "labels", "--target", "not tabby cat", "--method", "grad_cam",
        "--out", tmp_path,
    )  # fmt: skip
    assert done.exit_code == 0, done.output
    told = json.loads((tmp_path / "cat/explanation.json").read_text())
    assert told["model"]["outputs"] == "labels"
    assert told["model"]["outputs_found"] == "given"
    assert told["target"]["label"] == "not tabby cat"
    assert told["methods"]["grad_cam"]["target_label"] == "not tabby cat"
    first = told["predictions"][0]
    assert first["probability"] == pytest.approx(1 / (1 + np.exp(-first["score"])), rel=1e-5)
    assert f"{first['probability']:.1%}" in done.output
    valued = command("explain", cat, "--outputs", "value", "--out", tmp_path)
    told = json.loads((tmp_path / "cat/explanation.json").read_text())
    assert told["predictions"][0]["probability"] is None
    assert "%" not in valued.output
    assert f"{told['predictions'][0]['score']:.4g}" in valued.output
    nothing = command(
        "explain", cat, "--outputs", "embedding", "--method", "rollout", "--out", tmp_path
    )
    assert "returns an embedding, no classes, so there are no predictions" in nothing.output
    for words in (
        ("inspect", "bundled", "--json"),
        ("intervene", cat, "--head", "0,0", "--json"),
        ("view", "lens", cat, "--out", tmp_path),
        ("batch", cat.parent, "--out", tmp_path / "all", "--method", "rollout"),
    ):
        assert command(*words, "--outputs", "value").exit_code == 0, words
    assert (
        json.loads(command("inspect", "bundled", "--json", "--outputs", "value").output)["outputs"]
        == "value"
    )
    with (tmp_path / "all/summary.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert rows[0]["probability"] == ""
    assert float(rows[0]["score"])
    wrong = command("inspect", "bundled", "--outputs", "scores")
    assert isinstance(wrong.exception, OptionError) or wrong.exit_code == 2


def test_only_classes_are_evaluated(several: vx.LoadedModel, tmp_path: Path) -> None:
    for name in NAMES:
        (tmp_path / "test" / name).mkdir(parents=True)
        Image.new("RGB", (16, 16), "white").save(tmp_path / "test" / name / "a.png")
    with pytest.raises(TargetError, match="of which none or several may hold"):
        evaluate(several, tmp_path)
    plain, softened = (
        evaluate(load(ending, labels=NAMES), tmp_path)
        for ending in (head(5), nn.Sequential(head(5), nn.Softmax(-1)))
    )
    assert softened.accuracy == plain.accuracy
    assert softened.nll == pytest.approx(plain.nll, rel=1e-4)
    assert softened.ece == pytest.approx(plain.ece, rel=1e-4)


def test_resumed_batches_know_the_side(plain: vx.LoadedModel, cat: Path, tmp_path: Path) -> None:
    from vit_explorer.explaining.folders import explain_folder

    (tmp_path / "in").mkdir()
    Image.open(cat).save(tmp_path / "in/cat.png")

    def made(target: str | None) -> float:
        list(
            explain_folder(
                plain, tmp_path / "in", tmp_path / "out", ("grad_cam",), target, resume=True
            )
        )
        return (tmp_path / "out/cat/explanation.json").stat().st_mtime_ns

    first = made("mass")
    assert made("mass") == first
    turned = made("not mass")
    assert turned > first
    assert made("not 2") == turned
