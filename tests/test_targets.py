"""Targets of two classes, "A - B", and several targets of one picture."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch

import vit_explorer as vx
from vit_explorer.errors import TargetError
from vit_explorer.models.targets import find_target
from vit_explorer.page import Workbench

from .asking import explained
from .odd_vits import OddViT
from .test_balanced import load
from .test_cli import run
from .test_outputs import head
from .test_outputs import load as load_named
from .test_zoo import checkpoint

__all__ = ["checkpoint"]

NAMES = ["cat", "dog", "cat - dog", "sea - lion", "not sea"]
LINEAR = ("input_x_gradient", "integrated_gradients", "occlusion", "libra_input_x_gradient")


@pytest.fixture(scope="module")
def named() -> vx.LoadedModel:
    return load_named(head(5), labels=NAMES)


@pytest.mark.parametrize(
    ("target", "weights"),
    [
        ("dog - cat", ((1, 1.0), (0, -1.0))),
        ("4 - 1", ((4, 1.0), (1, -1.0))),
        ("cat − 3", ((0, 1.0), (3, -1.0))),
        ("cat - dog", ((2, 1.0),)),  # a class is called so
        ("cat - sea - lion", ((0, 1.0), (3, -1.0))),
        ("sea - lion - dog", ((3, 1.0), (1, -1.0))),
        ("not cat - dog", ((2, -1.0),)),
        ("not sea - dog", ((4, 1.0), (1, -1.0))),
    ],
)
def test_what_a_difference_means(
    named: vx.LoadedModel, target: str, weights: tuple[tuple[int, float], ...]
) -> None:
    aim = find_target(named, target)
    assert aim is not None and aim.weights == weights
    assert find_target(named, aim.name) == aim


@pytest.mark.parametrize(
    ("target", "message"),
    [
        ("cat - cow", "has no class 'cow'"),
        ("cow - cat", "has no class 'cow'"),
        ("dog - 1", "sets 'dog' against itself"),
        ("dog - 99", "has no class 99"),
    ],
)
def test_differences_that_are_none(named: vx.LoadedModel, target: str, message: str) -> None:
    with pytest.raises(TargetError, match=message):
        find_target(named, target)


def test_a_difference_is_linear_where_the_method_is(cat: Path) -> None:
    model = load(OddViT())
    first, second, between = vx.explain(model, cat, LINEAR, [2, 5, "2 - 5"])
    for name in LINEAR:
        wanted = first.heatmaps[name].values - second.heatmaps[name].values
        scale = np.abs(wanted).max()
        assert scale > 0
        found = between.heatmaps[name].values
        np.testing.assert_allclose(found, wanted, atol=2e-4 * scale, err_msg=name)
    grad = [vx.trace(model, cat, target=t, gradients="all") for t in (2, 5, "2 - 5")]
    for layer in range(3):
        one, other, both = (each.attention_gradient(layer) for each in grad)
        torch.testing.assert_close(both, one - other, atol=1e-6, rtol=1e-4)


def test_every_method_takes_a_difference(cat: Path) -> None:
    model = load(OddViT())
    found = vx.explain(model, cat, "all", "2 - 5", options={"rise": {"masks": 8}})
    assert not found.skipped
    specific = {name for name, one in vx.METHODS.items() if one.class_specific}
    assert {
        n for n, h in found.heatmaps.items() if h.target_label == "class 2 - class 5"
    } == specific


def test_a_difference_is_told_as_the_share_of_both(named: vx.LoadedModel, cat: Path) -> None:
    found = vx.explain(named, cat, ("grad_cam",), "dog - cat")
    logits = found.trace.logits.double()
    assert found.target is not None
    assert found.target.label == "dog - cat" and found.target.index == 1
    assert found.target.score == pytest.approx(float(logits[1] - logits[0]), abs=1e-5)
    assert found.target.probability == pytest.approx(
        float(torch.sigmoid(logits[1] - logits[0])), abs=1e-6
    )
    told = found.to_dict()
    assert told["target"]["weights"] == {"1": 1.0, "0": -1.0}
    assert told["methods"]["grad_cam"]["target_label"] == "dog - cat"
    trust = vx.faithfulness(named, cat, found.heatmaps, random_maps=2)
    assert trust.label == "dog - cat"
    # The whole picture's share begins the curve that takes it away.
    assert trust.scores["grad_cam"].deletion_curve[0] == pytest.approx(
        found.target.probability, abs=1e-5
    )


def test_several_targets_are_as_one_at_a_time(named: vx.LoadedModel, cat: Path) -> None:
    targets = ["cat", "not dog", None]
    together = vx.explain(named, cat, ("grad_cam", "legrad"), targets)
    for target, found in zip(targets, together, strict=True):
        alone = vx.explain(named, cat, ("grad_cam", "legrad"), target)
        assert found.target is not None and alone.target is not None
        assert found.target.label == alone.target.label
        assert found.target.score == pytest.approx(alone.target.score, abs=1e-5)
        for name, heatmap in alone.heatmaps.items():
            np.testing.assert_allclose(found.heatmaps[name].values, heatmap.values, atol=1e-5)


def test_the_command_takes_several(
    checkpoint: Path, cat: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    model = vx.load_model(checkpoint)
    one, other = model.labels[:2]
    given = ("explain", cat, "--model", checkpoint, "--method", "grad_cam")
    targets = ("--target", one, "--target", f"{one} - {other}")
    assert run(*given, *targets, "--out", tmp_path) == 0
    for place, label in ((one, one), (f"{one} - {other}",) * 2):
        told = json.loads((tmp_path / "cat" / place / "explanation.json").read_text())
        assert told["target"]["label"] == label
        with np.load(tmp_path / "cat" / place / "heatmaps.npz") as maps:
            expected = vx.explain(model, cat, ("grad_cam",), label).heatmaps["grad_cam"].values
            np.testing.assert_allclose(maps["grad_cam"], expected, atol=1e-5)
    capsys.readouterr()
    assert run("batch", cat.parent, "--model", checkpoint, *targets, "--out", tmp_path / "b") == 2
    assert "one target at a time, and 2 were given" in capsys.readouterr().err
    assert not (tmp_path / "b").exists()


@pytest.mark.parametrize("target", [None, 3, "not 3", "3 - 1"])
def test_finer_cam_is_the_package_s(small: vx.LoadedModel, cat: Path, target: object) -> None:
    from pytorch_grad_cam import FinerCAM
    from pytorch_grad_cam.utils.image import scale_cam_image
    from pytorch_grad_cam.utils.model_targets import FinerWeightedTarget

    trace = vx.trace(small, cat, target=target)
    logits = trace.logits
    nearest = (logits - logits[trace.target]).abs().argsort()[1:4].tolist()
    rivals = [1] if target == "3 - 1" else nearest
    own = FinerWeightedTarget(trace.target, rivals, 0.6)
    sign = -1 if target == "not 3" else 1

    def as_grid(tokens: torch.Tensor) -> torch.Tensor:
        return tokens[:, 1:].unflatten(1, small.card.grid).permute(0, 3, 1, 2)

    try:
        small.module.requires_grad_(True)
        finer = FinerCAM(small.module, [small.blocks[-1].norm1], as_grid)
        with finer as package:
            expected = package(trace.prepared.pixels, [lambda output: sign * own(output)])[0]
    finally:
        small.module.requires_grad_(False)
    found = vx.METHODS["finer_cam"](trace, alpha=0.6)
    size = small.card.image_size[::-1]
    ours = scale_cam_image(scale_cam_image(found.values[None], size))[0]
    np.testing.assert_allclose(ours, expected, atol=1e-3)
    assert found.note == f"Set against {', '.join(small.labels[i] for i in rivals)}."


def test_the_page_explains_a_difference(workbench: Workbench) -> None:
    told = explained(workbench, target="3 - 1")["result"]["target"]
    assert told["name"] == "3 - 1" and told["label"] == "class 3 - class 1"
    assert (told["of"], told["negated"]) == ("class 3", False)
    assert told["rather"] == {"index": 1, "label": "class 1"}


HALVES = ("libra_input_x_gradient", "libra_generic_attention", "gradient_rollout")


def left_share(values: np.ndarray) -> float:
    positive = np.maximum(values, 0)
    return float(positive[:, : positive.shape[1] // 2].sum() / positive.sum())


def check_halves(model: vx.LoadedModel, picture: Path, cat: str, coffee: str) -> None:
    """Each class's map lies on its half: a cat at the left, coffee at the right."""
    targets = [cat, coffee, f"{cat} - {coffee}"]
    found = vx.explain(model, picture, HALVES, targets)
    for name in HALVES:
        on_cat, on_coffee, rather = (left_share(one.heatmaps[name].values) for one in found)
        assert on_cat > 0.65 and on_coffee < 0.35, name
        assert rather > on_coffee + 0.2, name


def test_each_class_of_a_picture_of_two_lies_on_its_half(assets: Path) -> None:
    check_halves(vx.load_model("bundled"), assets / "cat_and_coffee.jpg", "tabby cat", "espresso")


def test_each_class_lies_on_its_half_of_deit(deit_tiny: vx.LoadedModel, assets: Path) -> None:
    check_halves(deit_tiny, assets / "cat_and_coffee.jpg", "281", "504")
