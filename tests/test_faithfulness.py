"""Insertion, deletion and the comparison with chance, by hand-made models and by definition."""

from __future__ import annotations

import dataclasses
import sys
from pathlib import Path

import numpy as np
import pytest
import timm
import torch
from PIL import Image

import vit_explorer as vx
from vit_explorer.analysis.faithfulness import PROTOCOLS
from vit_explorer.errors import OptionError, TargetError

from .conftest import load_small


class Looker(torch.nn.Module):
    """Its first class's logit is the brightness of one patch; it passes for a ViT."""

    def __init__(self, small: torch.nn.Module, row: int, column: int) -> None:
        super().__init__()
        self.small, self.place = small, (row, column)
        self.blocks, self.patch_embed = small.blocks, small.patch_embed
        self.num_classes, self.num_prefix_tokens = 5, 1
        self.cls_token, self.config = small.cls_token, small.config

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        logits = self.small(images) * 0
        row, column = self.place
        patch = images[:, :, row * 8 : row * 8 + 8, column * 8 : column * 8 + 8]
        return torch.cat((patch.mean((1, 2, 3))[:, None] * 8, logits[:, 1:]), dim=1)


@pytest.fixture
def looker(small: vx.LoadedModel) -> vx.LoadedModel:
    """Looks at the patch in row 1, column 2 of 3×4 alone."""
    return load_small(Looker(small.module, 1, 2))


@pytest.fixture
def white() -> Image.Image:
    """A white dot on black, which a blur dims, where the looker looks."""
    image = Image.new("RGB", (32, 24))
    image.paste((255, 255, 255), (16, 8, 24, 16))
    return image


def test_the_true_map_is_perfect_and_its_opposite_the_worst(
    looker: vx.LoadedModel, white: Image.Image
) -> None:
    true = np.zeros((3, 4), np.float32)
    true[1, 2] = 1
    found = vx.faithfulness(
        looker, white, {"true": true, "false": -true}, steps=12, target=0, exact=True
    )
    best, worst = found.scores["true"], found.scores["false"]
    pixels = looker.preprocess(vx.open_picture(white)).pixels
    with torch.no_grad():
        whole = float(looker.module(pixels).softmax(-1)[0, 0])
    # Insertion ends and deletion starts with the whole picture.
    for score in (best, worst, found.gaussian, *found.random):
        assert score.insertion_curve[-1] == pytest.approx(whole, abs=1e-5)
        assert score.deletion_curve[0] == pytest.approx(whole, abs=1e-5)
        # Deletion ends with the mean colour alone, whose brightness is 0: all logits are equal.
        assert score.deletion_curve[-1] == pytest.approx(0.2, abs=1e-5)
        assert len(score.insertion_curve) == 13
    # One cell decides: the curves jump at the first step for the true map, at the last otherwise.
    np.testing.assert_allclose(best.deletion_curve[1:], 0.2, atol=1e-5)
    np.testing.assert_allclose(worst.deletion_curve[:-1], whole, atol=1e-5)
    np.testing.assert_allclose(best.insertion_curve[1:], whole, atol=1e-5)
    assert best.deletion == pytest.approx(0.2 + (whole - 0.2) / 24, abs=1e-5)
    assert worst.deletion == pytest.approx(whole - (whole - 0.2) / 24, abs=1e-5)
    assert found.percentile("true") >= 0.95
    assert found.percentile("false") == 0
    assert found.verdict("true").startswith("beats ")
    assert found.verdict("false").startswith("worse than chance")


def test_insertion_starts_from_the_blurred_picture(
    looker: vx.LoadedModel, white: Image.Image
) -> None:
    from scipy.ndimage import gaussian_filter1d

    found = vx.faithfulness(looker, white, {"m": np.eye(3, 4, dtype=np.float32)}, target=0)
    pixels = looker.preprocess(vx.open_picture(white)).pixels.numpy()
    # torchvision reflects at the edge without repeating it: "mirror".
    blurred = gaussian_filter1d(pixels, 2.5, axis=2, mode="mirror", radius=8)
    blurred = gaussian_filter1d(blurred, 2.5, axis=3, mode="mirror", radius=8)
    with torch.no_grad():
        expected = looker.module(torch.from_numpy(blurred)).softmax(-1)[0, 0]
    for score in (found.scores["m"], found.gaussian, *found.random):
        assert score.insertion_curve[0] == pytest.approx(float(expected), abs=1e-4)


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_scores_do_not_depend_on_company_or_batches(
    small: vx.LoadedModel, cat: Path, monkeypatch: pytest.MonkeyPatch, protocol: str
) -> None:
    result = vx.explain(small, cat, methods=("rollout", "generic_attention"))
    asked = {"steps": 6, "random_maps": 3, "exact": True, "protocol": protocol}
    together = vx.faithfulness(small, cat, result.heatmaps, **asked)
    monkeypatch.setattr(sys.modules["vit_explorer.analysis.changed_copies"], "BATCH", 5)
    for name, heatmap in result.heatmaps.items():
        alone = vx.faithfulness(small, cat, {name: heatmap}, **asked)
        assert alone.scores[name].insertion == pytest.approx(
            together.scores[name].insertion, abs=1e-5
        )
        assert alone.gaussian.deletion == pytest.approx(together.gaussian.deletion, abs=1e-5)
        for one, other in zip(alone.random, together.random, strict=True):
            assert one.gain == pytest.approx(other.gain, abs=1e-5)


def test_scaling_a_map_changes_nothing(small: vx.LoadedModel, cat: Path) -> None:
    values = vx.explain(small, cat).heatmaps["rollout"].values
    maps = {"map": values, "scaled": values * 7 + 3, "order": np.argsort(np.argsort(values, None))}
    maps["order"] = maps["order"].reshape(3, 4).astype(np.float32)
    found = vx.faithfulness(small, cat, maps, random_maps=2)
    gains = {round(score.gain, 6) for score in found.scores.values()}
    assert len(gains) == 1


def test_the_target_is_the_maps_own(small: vx.LoadedModel, cat: Path) -> None:
    one = vx.explain(small, cat, methods=("generic_attention",), target=3).heatmaps
    assert vx.faithfulness(small, cat, one, random_maps=1).target == 3
    other = vx.explain(small, cat, methods=("grad_cam",), target=1).heatmaps
    with pytest.raises(TargetError, match="2 different classes; give the target"):
        vx.faithfulness(small, cat, {**one, **other})
    assert vx.faithfulness(small, cat, {**one, **other}, target=1, random_maps=1).target == 1


def test_progress_counts_to_the_end(small: vx.LoadedModel, cat: Path) -> None:
    seen: list[tuple[int, int]] = []
    flat = {"flat": np.zeros((3, 4), np.float32)}
    vx.faithfulness(small, cat, flat, steps=3, random_maps=4, exact=True,
                    progress=lambda *at: seen.append(at))  # fmt: skip
    assert seen[-1] == (27, 27)


@pytest.mark.parametrize(
    ("maps", "options", "message"),
    [
        ({}, {}, "No maps were given"),
        ({"m": np.zeros((4, 3), np.float32)}, {}, r"'m' has shape \(4, 3\), expected \(3, 4\)"),
        ({"m": np.full((3, 4), np.nan, np.float32)}, {}, "finite values"),
        ({"m": np.zeros((3, 4), np.float32)}, {"steps": 0}, "number of steps was 0"),
        (
            {"m": np.zeros((3, 4), np.float32)},
            {"random_maps": True},
            "random maps was True",
        ),
    ],
)
def test_wrong_arguments_are_named(
    small: vx.LoadedModel,
    cat: Path,
    maps: dict[str, np.ndarray],
    options: dict[str, int],
    message: str,
) -> None:
    with pytest.raises(OptionError, match=message):
        vx.faithfulness(small, cat, maps, **options)


def test_the_model_is_given_back(small: vx.LoadedModel, cat: Path) -> None:
    state = {name: tensor.clone() for name, tensor in small.module.state_dict().items()}
    small.module.train()
    try:
        vx.faithfulness(small, cat, vx.explain(small, cat).heatmaps, random_maps=1, steps=2)
        assert small.module.training
        vx.weight_randomisation(small, cat, ("rollout",))
    finally:
        small.module.eval()
    for name, tensor in small.module.state_dict().items():
        assert torch.equal(tensor, state[name])


def test_weight_randomisation(deit_tiny: vx.LoadedModel, cat: Path) -> None:
    found = vx.weight_randomisation(deit_tiny, cat, ("rollout", "generic_attention", "grad_cam"))
    assert all(-1 <= value < 0.9 for value in found.values())
    again = vx.weight_randomisation(deit_tiny, cat, ("rollout",))
    assert again["rollout"] == found["rollout"]
    with pytest.raises(OptionError, match="no method 'rolout'"):
        vx.weight_randomisation(deit_tiny, cat, ("rolout",))


def test_a_map_equal_everywhere_correlates_with_nothing(small: vx.LoadedModel, cat: Path) -> None:
    from vit_explorer.analysis.weight_randomisation import _rank_correlation

    flat = np.zeros((3, 4), np.float32)
    rising = np.arange(12, dtype=np.float32).reshape(3, 4)
    assert _rank_correlation(flat, rising) == 0
    assert _rank_correlation(rising, rising**3) == pytest.approx(1)
    assert _rank_correlation(rising, -rising) == pytest.approx(-1)


def test_a_single_output_can_not_be_followed(cat: Path) -> None:
    module = timm.create_model("vit_tiny_patch16_224", img_size=64, depth=2, num_classes=1)
    model = vx.load_model(module, image_size=64, outputs="classes")
    with pytest.raises(TargetError, match="a single output, whose softmax probability is always 1"):
        vx.faithfulness(model, cat, {"corner": np.eye(4, dtype=np.float32)})


def test_a_backbone_without_classes_says_so(small: vx.LoadedModel, cat: Path) -> None:
    headless = dataclasses.replace(small, card=dataclasses.replace(small.card, classes=0))
    with pytest.raises(TargetError, match="no classifier"):
        vx.faithfulness(headless, cat, {"m": np.zeros((3, 4), np.float32)})


def test_covered_pictures_are_given_by_their_tokens(
    small: vx.LoadedModel, cat: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = sys.modules["vit_explorer.analysis.changed_copies"]
    monkeypatch.setattr(asked, "pictures_at_once", lambda device, tokens: 3)
    sizes: list[int] = []
    hook = small.module.register_forward_pre_hook(lambda _, given: sizes.append(len(given[0])))
    try:
        vx.faithfulness(small, cat, {"m": np.eye(*small.card.grid)}, steps=3, random_maps=2,
                        target=0)  # fmt: skip
    finally:
        hook.remove()
    assert max(sizes) == 3
