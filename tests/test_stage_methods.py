"""Methods, views and commands of models without attention between all patches."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

import vit_explorer as vx
from tests.stage_models import SIZE, build, models, prepared, resnet, uneven
from vit_explorer.cli import main
from vit_explorer.errors import OptionError, TargetError, UnsupportedModelError
from vit_explorer.methods import METHODS
from vit_explorer.models.cells import cell_edges, cell_means, cell_sums, over_pixels
from vit_explorer.models.needs import NEEDS

__all__ = ["models", "resnet", "uneven"]  # fixtures


def cells_by_hand(card: vx.ModelCard) -> list[tuple[slice, slice]]:
    """Each cell's pixels: those whose centre lies in it."""
    sides = []
    for side, count in zip(card.image_size, card.grid, strict=True):
        owner = [int((pixel + 0.5) * count / side) for pixel in range(side)]
        sides.append([slice(owner.index(i), side - owner[::-1].index(i)) for i in range(count)])
    return [(rows, columns) for rows in sides[0] for columns in sides[1]]


def test_cells_share_the_picture(uneven: vx.LoadedModel) -> None:
    card = uneven.card
    assert card.grid == (4, 5) and card.image_size == (97, 130)
    values = torch.randn(2, 97, 130, generator=torch.Generator().manual_seed(0))
    by_hand = cells_by_hand(card)
    expected = torch.stack([values[:, rows, columns].sum((1, 2)) for rows, columns in by_hand], 1)
    torch.testing.assert_close(cell_sums(card, values).flatten(1), expected, atol=1e-4, rtol=0)
    expected = torch.stack([values[:, rows, columns].mean((1, 2)) for rows, columns in by_hand], 1)
    torch.testing.assert_close(cell_means(card, values).flatten(1), expected, atol=1e-6, rtol=0)
    marked = torch.zeros(97, 130)
    for index, (rows, columns) in enumerate(by_hand):
        marked[rows, columns] = index
    assert torch.equal(over_pixels(card, torch.arange(20.0).reshape(4, 5)), marked)
    assert [edges[-1] for edges in cell_edges(card)] == [97, 130]


def test_occlusion_and_greying_cover_a_cells_pixels(uneven: vx.LoadedModel, cat: Path) -> None:
    traced = vx.trace(uneven, cat, target=4)
    pixels = traced.prepared.pixels
    covered = []
    for rows, columns in cells_by_hand(uneven.card):
        copy = pixels.clone()
        copy[:, :, rows, columns] = 0
        covered.append(copy)
    with torch.no_grad():
        whole, logits = uneven.module(pixels)[0], uneven.module(torch.cat(covered))
    drops = (whole[4] - logits[:, 4]).reshape(4, 5)
    found = METHODS["occlusion"](traced).values
    np.testing.assert_allclose(found, drops.numpy(), atol=1e-5)
    changes = [vx.Change(patches_off=(index,), how="grey") for index in range(20)]
    tried = vx.intervene_many(uneven, cat, changes, target=4)
    after = np.stack([change.logits_after for change in tried])
    np.testing.assert_allclose(after, logits.numpy(), atol=1e-5)


def test_pixel_gradients_are_summed_over_cells(uneven: vx.LoadedModel, cat: Path) -> None:
    traced = vx.trace(uneven, cat, target=1)
    pixels = traced.prepared.pixels.clone().requires_grad_(True)
    (slope,) = torch.autograd.grad(uneven.module(pixels)[0, 1], pixels)
    by_hand = cells_by_hand(uneven.card)
    for method, values in (
        ("saliency", slope[0].abs()),
        ("input_x_gradient", (slope * pixels)[0].detach()),
    ):
        expected = [float(values[:, rows, columns].sum()) for rows, columns in by_hand]
        found = METHODS[method](traced).values.ravel()
        np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-5, err_msg=method)
    found = METHODS["integrated_gradients"](traced, steps=64)
    with torch.no_grad():
        rise = uneven.module(pixels)[0, 1] - uneven.module(pixels * 0)[0, 1]
    assert found.values.sum() == pytest.approx(float(rise), rel=0.05, abs=0.05)


def test_rise_follows_the_masks(uneven: vx.LoadedModel, cat: Path) -> None:
    """A model that looks at one cell alone is explained by this cell."""
    module = nn.Sequential(nn.Conv2d(3, 4, 1), nn.AdaptiveAvgPool2d((4, 5)), Corner())
    torch.manual_seed(0)
    options = {"transform": prepared((97, 130)), "image_size": (97, 130)}
    # No linear map makes its numbers, so what they mean must be said.
    model = vx.load_model(module.eval(), outputs="classes", **options)
    assert model.card.grid == (4, 5)
    traced = vx.trace(model, cat, target=0)
    found = METHODS["rise"](traced, masks=200).values
    assert np.unravel_index(np.abs(found).argmax(), found.shape) == (1, 3)


class Corner(nn.Module):
    def forward(self, features: torch.Tensor) -> torch.Tensor:
        value = 8 * features[:, 0, 1, 3]
        return torch.stack((value, features[:, 1].mean(dim=(1, 2))), dim=1)


def test_faithfulness_and_randomisation(resnet: vx.LoadedModel, cat: Path) -> None:
    result = vx.explain(resnet, cat, ("grad_cam", "saliency"), target=2)
    trust = vx.faithfulness(resnet, cat, result.heatmaps, steps=4, random_maps=5)
    assert set(trust.scores) == {"grad_cam", "saliency"} and trust.target == 2
    order = np.argsort(-result.heatmaps["saliency"].values.ravel(), kind="stable")
    pixels = result.prepared.pixels
    copy = pixels.clone()
    rows, columns = divmod(int(order[0]), 2)
    copy[:, :, rows * 32 : rows * 32 + 32, columns * 32 : columns * 32 + 32] = 0
    with torch.no_grad():
        expected = resnet.module(torch.cat((pixels, copy))).softmax(dim=-1)[:, 2]
    np.testing.assert_allclose(
        trust.scores["saliency"].deletion_curve[:2], expected.numpy(), atol=1e-5
    )
    found = vx.weight_randomisation(resnet, cat, ("grad_cam", "eigen_cam"))
    assert all(-1 <= value <= 1 for value in found.values())


def test_a_map_of_another_stage_cant_be_scored(resnet: vx.LoadedModel, cat: Path) -> None:
    result = vx.explain(resnet, cat, "grad_cam", options={"grad_cam": {"layer": 1}})
    assert result.heatmaps["grad_cam"].values.shape == (16, 16)
    assert result.overlay("grad_cam").size == result.prepared.crop.size
    with pytest.raises(OptionError, match=r"expected \(2, 2\)"):
        vx.faithfulness(resnet, cat, result.heatmaps)
    with pytest.raises(OptionError, match="expected a stage of ResNet, 0 to 4"):
        vx.explain(resnet, cat, "grad_cam", options={"grad_cam": {"layer": 5}})


def test_what_attention_is_needed_for_says_why_not(resnet: vx.LoadedModel, cat: Path) -> None:
    traced = vx.trace(resnet, cat)
    asked = {
        "attention": [
            lambda: traced.layers,
            lambda: traced.attention(0),
            lambda: traced.attention_rows(0, [0]),
            lambda: traced.attention_gradient(0),
            lambda: vx.attention_distance(traced),
            lambda: vx.attention_entropy(traced),
            lambda: vx.explain(resnet, cat, "rollout"),
            lambda: vx.intervene(resnet, cat, heads_off=[(0, 0)]),
        ],
        "tokens": [
            lambda: traced.blocks,
            lambda: vx.logit_lens(traced),
            lambda: vx.artifacts(traced),
            lambda: vx.token_similarity(traced, (0, 0)),
            lambda: vx.intervene(resnet, cat, patches_off=[0]),
        ],
        "embedding": [
            lambda: vx.patch_filters(resnet),
            lambda: vx.check_patch_embedding(resnet, cat),
        ],
        "positions": [
            lambda: vx.position_similarity(resnet),
            lambda: vx.position_components(resnet),
        ],
    }
    for need, calls in asked.items():
        expected = NEEDS[need].why_not(resnet.card)
        assert "it has no softmax attention between patches" in expected
        for call in calls:
            with pytest.raises(UnsupportedModelError) as error:
                call()
            assert str(error.value) == expected
    with pytest.raises(AttributeError, match="nonsense"):
        traced.nonsense  # noqa: B018


def test_every_declared_need_is_known() -> None:
    for record in (*METHODS.values(), *vx.VIEWS.values()):
        assert set(record.requires) <= set(NEEDS)
        assert record.requires or record.runs_model


def test_a_backbone_without_classes(cat: Path) -> None:
    module = nn.Sequential(*list(build("resnet18").children())[:-1], nn.Flatten())
    module.num_classes, module.num_features = 0, 512
    model = vx.load_model(module, transform=prepared(), image_size=SIZE)
    assert model.card.classes in (0, 512)
    headless = build("resnet18")
    headless.fc = nn.Identity()
    headless.avgpool = nn.Identity()
    headless.num_classes, headless.num_features = 0, 2048
    model = vx.load_model(headless, transform=prepared(), image_size=SIZE)
    assert model.card.classes == 0
    result = vx.explain(model, cat, "all")
    assert set(result.heatmaps) == {"eigen_cam"}
    assert result.skipped["rollout"] == NEEDS["attention"].why_not(model.card)
    assert result.skipped["grad_cam"] == NEEDS["class"].why_not(model.card)
    with pytest.raises(TargetError, match="no classifier"):
        vx.explain(model, cat, "grad_cam")


def test_all_that_the_model_allows(models: dict[str, vx.LoadedModel], cat: Path) -> None:
    model = models["swin"]
    result = vx.explain(model, cat, "fast")
    needing = {name for name, method in METHODS.items() if "attention" in method.requires}
    assert set(result.skipped) == {name for name in needing if not METHODS[name].runs_model}
    assert all("within windows" in reason for reason in result.skipped.values())
    assert set(vx.explain(model, cat).heatmaps) == {"grad_cam"}  # the usual ones it allows
    pictures = [cat, cat.with_name("coffee.png"), cat.with_name("astronaut.png")]
    together = list(vx.explain_many(model, pictures, "fast", batch_size=2))
    for picture, one in zip(pictures, together, strict=True):
        alone = vx.explain(model, picture, "fast", target=one.target.index)
        for name, heatmap in one.heatmaps.items():
            np.testing.assert_allclose(
                alone.heatmaps[name].values, heatmap.values, atol=1e-4, rtol=1e-3
            )


def test_commands(tmp_path: Path, assets: Path, capsys: pytest.CaptureFixture[str]) -> None:
    options = ("--model", "test_resnet", "--random", "--image-size", "64", "64")
    assert run("explain", str(assets / "cat.png"), *options, "--out", str(tmp_path)) == 0
    written = json.loads((tmp_path / "cat" / "explanation.json").read_text())
    assert list(written["methods"]) == ["grad_cam"]
    assert written["model"]["tier"] == 2 and written["model"]["stages"][-1]["grid"]
    capsys.readouterr()
    assert run("explain", str(assets / "cat.png"), *options, "--method", "rollout") == 2
    assert "can't be shown of test_resnet: it has no softmax" in capsys.readouterr().err
    folder = tmp_path / "pictures"
    folder.mkdir()
    (folder / "one.png").write_bytes((assets / "cat.png").read_bytes())
    assert run("batch", str(folder), *options, "--out", str(tmp_path / "all")) == 0
    assert (tmp_path / "all" / "one" / "grad_cam.png").is_file()
    capsys.readouterr()
    plain = options[:3]
    assert run("methods", *plain) == 0
    told = " ".join(capsys.readouterr().out.split())
    assert "left out: libra_input_x_gradient: The tokens of patches" in told
    left = "gradient_rollout, libra_generic_attention, generic_attention, legrad, attention"
    assert f"left out: {left}, rollout, attention_grad_cam: Attention from all patches" in told
    assert "can't be shown of test_resnet" in told
    assert run("inspect", "test_resnet", "--random") == 0
    assert "tier reason" in capsys.readouterr().out
    grey = ("--patch", "0,0", "--how", "grey", *options)
    assert run("intervene", str(assets / "cat.png"), *grey) == 0
    view = ("view", "all", str(assets / "cat.png"), *options, "--out", str(tmp_path / "views"))
    assert run(*view) == 0
    assert "heads left out: Attention from all patches" in capsys.readouterr().out


def run(*arguments: str) -> int:
    try:
        main(list(arguments))
    except SystemExit as end:
        return int(end.code or 0)
    return 0
