"""Recipes: the shipped ones are whole, and a wrong setting is named."""

from __future__ import annotations

from pathlib import Path

import pytest

import vit_explorer as vx
from vit_explorer.errors import RecipeError
from vit_explorer.training import list_recipes, load_recipe
from vit_explorer.training.film import make_film
from vit_explorer.training.student import Student, build_model, make_optimizer


def test_the_promised_recipes_ship() -> None:
    promised = ("scratch", "scratch_gap", "sincos", "finetune", "distill")
    assert {f"cifar10_{name}" for name in promised} | {"smoke", "bundled"} <= set(list_recipes())


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
        ("model.heads=0", "A ViT's heads was 0, expected 1 or more"),
        ("model.patch_size=[0, 0]", "patch_size was (0, 0), expected 1 or more"),
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
