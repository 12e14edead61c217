"""Recipes: the shipped ones are whole, and a wrong setting is named."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import timm
import torch
import torch.nn.functional as F

import vit_explorer as vx
from vit_explorer.errors import ModelError, RecipeError
from vit_explorer.models.vit import sincos_positions
from vit_explorer.training import list_recipes, load_recipe
from vit_explorer.training.film import make_film
from vit_explorer.training.run_folder import RunFolder
from vit_explorer.training.student import (
    Student,
    build_model,
    make_optimizer,
    read_initial_weights,
)


def test_the_promised_recipes_ship() -> None:
    promised = ("scratch", "scratch_gap", "sincos", "finetune", "distill")
    names = {f"cifar10_{name}" for name in (*promised, "bundled", "bundled_further", "teacher")}
    tiny = {"tiny_imagenet_teacher", "tiny_imagenet_trunk", "bundled", "bundled_fine"}
    assert names | tiny | {"smoke"} <= set(list_recipes())


def test_the_bundled_models_recipes_go_on_from_one_another() -> None:
    trunk, bundled, fine = map(load_recipe, ("tiny_imagenet_trunk", "bundled", "bundled_fine"))
    shared = ("hold_out", "augment", "seed", "mean", "std", "probes")
    for one in (bundled, fine):
        assert all(getattr(one, name) == getattr(trunk, name) for name in shared)
        assert one.distill and trunk.distill and one.model and trunk.model
        assert one.distill.teacher == trunk.distill.teacher
        assert one.distill.views == trunk.distill.views  # so its stored answers serve again
    assert bundled.model == trunk.model
    assert bundled.initial_weights == f"runs/{trunk.name}/last.safetensors"
    assert fine.initial_weights == f"runs/{bundled.name}/last.safetensors"
    assert fine.model == dataclasses.replace(
        bundled.model, patch_size=(4, 4), patch_dropout=fine.model.patch_dropout
    )
    assert trunk.schedule.min_lr >= bundled.optimizer.lr


@pytest.mark.parametrize("name", list_recipes())
def test_shipped_recipes_are_valid_and_build(name: str) -> None:
    recipe = load_recipe(name)
    assert recipe.description
    assert load_recipe(recipe) == recipe
    offline = ["timm.pretrained=false"] if recipe.timm else []
    build_model(load_recipe(name, offline), 10)


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("optimizer.lrr=1", "there is no setting 'optimizer.lrr', did you mean 'lr'?"),
        ("epoch=3", "there is no setting 'epoch', did you mean 'epochs'"),
        ("model.dmi=3", "no setting 'dmi', did you mean 'dim'?"),
        ("model.dim=191", "width 191 is not divisible by 3 heads"),
        ("model.dim=wide", 'model.dim was "wide"; it should be a valid integer'),
        ("model.position=quadratic", "should be 'learned', 'learned_2d', 'sincos'"),
        ("optimizer.lr=-1", "optimizer.lr was -1; it should be greater than 0"),
        ("optimizer.name=admw", "no optimizer 'admw', did you mean 'adamw'"),
        ("schedule.name=cosin", "schedule.name was \"cosin\"; it should be 'cosine'"),
        ("full_epochs=99", "full_epochs: 99 is more than the 3 epochs; set it too"),
        ("model.heads=0", "A ViT's heads was 0, expected 1 to 1,000,000"),
        ("model.patch_size=[0, 0]", "patch_size was (0, 0), expected 1 to 1,000,000"),
        ("model.patch_dropout=2", "patch_dropout was 2.0, expected 0 to 1"),
        ("model.init=he", "should be 'timm', 'jax', 'jax_nlhb', 'moco'"),
        ("model.qk_scale=-1", "A ViT's qk_scale was -1.0, expected a number above 0"),
        ("model.channels=1", "model.channels: was 1, pictures have 3"),
        ("model.distillation_token=true", "distillation_token: needs a teacher"),
        ("augment.zoom=[1.2, 0.8]", "augment.zoom: was [1.2, 0.8]; give the smaller side first"),
        ("schedule.min_lr=1", "schedule.min_lr: 1.0 is more than optimizer.lr"),
        ("timm.name=vit_tiny_patch16_224", "either model (the ViT from scratch) or timm"),
        ("distill.kind=soft", "the setting 'distill.teacher' is missing"),
        ("epochs", "The setting 'epochs' has no '='; write it as key=value"),
    ],
)
def test_a_wrong_setting_is_named(override: str, message: str) -> None:
    with pytest.raises(RecipeError) as error:
        load_recipe("smoke", [override])
    assert message in str(error.value)
    assert "\n" not in str(error.value)


def test_overrides_reach_nested_settings_as_yaml() -> None:
    recipe = load_recipe(
        "smoke", ["optimizer.lr=1e-3", "augment.zoom=[0.5, 2]", "ema=0.9", "model.drop_path=0.2"]
    )
    assert recipe.optimizer.lr == 1e-3
    assert recipe.augment.zoom == (0.5, 2.0)
    assert recipe.ema == 0.9
    assert recipe.model is not None
    assert recipe.model.drop_path == 0.2


def test_a_folder_called_like_a_recipe_does_not_hide_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "smoke").mkdir()
    monkeypatch.chdir(tmp_path)
    assert load_recipe("smoke").name == "smoke"


def test_layer_decay_lowers_the_rate_of_earlier_blocks() -> None:
    recipe = load_recipe(
        "cifar10_finetune",
        ["timm={name: test_vit, pretrained: false}", "optimizer={name: adamw, layer_decay: 0.5}"],
    )
    groups = make_optimizer(recipe, Student(build_model(recipe, 10))).param_groups
    scales = [group["lr_scale"] for group in groups]
    assert scales == sorted(scales)
    assert scales[-1] == 1
    assert scales[0] <= 0.5**2  # two layers, at least, lie between the patches and the head


def test_an_optimizer_that_can_not_be_made_is_named() -> None:
    recipe = load_recipe("smoke", ["optimizer={name: sgd, momentum: 0}"])
    with pytest.raises(RecipeError, match="timm's sgd can't be made with these settings"):
        make_optimizer(recipe, Student(build_model(recipe, 10)))


def test_a_missing_or_broken_file_is_one_sentence(tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match="There is no recipe 'smok', did you mean 'smoke'"):
        load_recipe("smok")
    with pytest.raises(RecipeError, match="can't be read: No such file"):
        load_recipe(tmp_path / "none.yaml")
    broken = tmp_path / "broken.yaml"
    broken.write_text("epochs: [1")
    with pytest.raises(RecipeError, match="not valid YAML at line"):
        load_recipe(broken)
    broken.write_text("just words")
    with pytest.raises(RecipeError, match="holds no settings"):
        load_recipe(broken)


@pytest.mark.parametrize("position", ["learned", "learned_2d", "sincos"])
def test_the_film_of_every_kind_of_positions_shows_them(position: str, cat: Path) -> None:
    recipe = load_recipe("smoke", [f"model.position={position}"])
    module = build_model(recipe, 3).eval()
    model = vx.load_model(module, preprocess={"mean": recipe.mean, "std": recipe.std})
    film = make_film(model, [vx.open_picture(cat)])
    assert film is not None
    assert film.frames[0]["position_similarity"].shape == (model.card.grid[0] ** 2,) * 2


OURS = ["model={image_size: [32, 32], patch_size: [8, 8], dim: 32, depth: 2, heads: 2}"]


def _begin(tmp_path: Path, patch: int, before: int, position: str = "learned") -> tuple[Any, Any]:
    """A random model of `before`-pixel patches, in a file, and one that begins with it."""
    changes = [*OURS, f"model.position={position}"]
    torch.manual_seed(0)
    recipe = load_recipe("smoke", [*changes, f"model.patch_size=[{before}, {before}]"])
    earlier = build_model(recipe, 3)
    torch.nn.init.normal_(earlier.patch_embed.proj.bias)
    data = {"input_size": [3, 32, 32], "mean": [0.5] * 3, "std": [0.5] * 3}
    metadata = {"config": earlier.config.to_dict(), "labels": ["a", "b", "c"], "preprocess": data}
    RunFolder(tmp_path).write_weights("old.safetensors", earlier.state_dict(), metadata, half=False)
    begun = f"initial_weights={tmp_path / 'old.safetensors'}"
    later = load_recipe("smoke", [*changes, f"model.patch_size=[{patch}, {patch}]", begun])
    model = build_model(later, 3)
    read_initial_weights(later, model)
    return earlier, model


def test_weights_of_other_patches_give_the_same_tokens_for_enlarged_ones(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    small, large = _begin(tmp_path, patch=8, before=4)
    patches = torch.randn(20, 3, 4, 4)
    enlarged = F.interpolate(patches, (8, 8), mode="bicubic", antialias=True)
    with torch.no_grad():
        tokens, same = small.patch_embed.proj(patches), large.patch_embed.proj(enlarged)
    torch.testing.assert_close(same, tokens, atol=1e-4, rtol=1e-4)
    assert "old.safetensors have 4×4 patches; " in caplog.text and "to 8×8 patches" in caplog.text


def test_weights_of_other_patches_are_flexivits_pseudo_inverse(tmp_path: Path) -> None:
    coarse, fine = _begin(tmp_path, patch=4, before=8)
    # Beyer et al., eq. 4: w' = (Bᵀ)⁺ w, B the matrix of resizing a patch from 8×8 to 4×4.
    basis = torch.eye(64).reshape(64, 1, 8, 8)
    B = F.interpolate(basis, (4, 4), mode="bicubic", antialias=True).flatten(1).T.double().numpy()
    weight = coarse.patch_embed.proj.weight.detach().double().numpy().reshape(32, 3, 64)
    expected = np.einsum("pq,dcq->dcp", np.linalg.pinv(B.T), weight).reshape(32, 3, 4, 4)
    found = fine.patch_embed.proj.weight.detach().numpy()
    np.testing.assert_allclose(found, expected, atol=1e-4)
    torch.testing.assert_close(fine.blocks[1].attn.qkv.weight, coarse.blocks[1].attn.qkv.weight)
    torch.testing.assert_close(fine.patch_embed.proj.bias, coarse.patch_embed.proj.bias)


def test_positions_of_other_patches_are_interpolated(tmp_path: Path) -> None:
    coarse, fine = _begin(tmp_path, patch=4, before=8)
    expected = timm.layers.resample_abs_pos_embed(coarse.pos_embed, [8, 8])
    torch.testing.assert_close(fine.pos_embed, expected)
    _, fixed = _begin(tmp_path, patch=4, before=8, position="sincos")
    torch.testing.assert_close(fixed.pos_embed, sincos_positions((8, 8), 32, 1))


def test_weights_of_other_pictures_are_refused(tmp_path: Path) -> None:
    _begin(tmp_path, patch=8, before=8)
    begun = f"initial_weights={tmp_path / 'old.safetensors'}"
    sizes = ["model.image_size=[64, 64]", "model.patch_size=[4, 4]"]
    later = load_recipe("smoke", [*OURS, *sizes, begun])
    with pytest.raises(ModelError, match="have 8×8 patches, the model of the recipe smoke has 4×4"):
        read_initial_weights(later, build_model(later, 3))
