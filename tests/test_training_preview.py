"""The preview of a recipe's pictures shows what its training is given."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from matplotlib.text import Text
from PIL import Image

from tests.noise import write_noise
from vit_explorer import cli
from vit_explorer.errors import OptionError
from vit_explorer.training import preview, train
from vit_explorer.training.augment import erase
from vit_explorer.training.recipe_sections import Augment

RECIPE = """
epochs: 1
batch_size: 4
model: {image_size: [16, 16], patch_size: [8, 8], dim: 16, depth: 1, heads: 2}
augment: {flip: false, shift: 0}
film: false
"""


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_noise(tmp_path_factory.mktemp("pictures"), ("cat", "dog"))


@pytest.fixture(scope="module")
def recipe(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("recipe") / "small.yaml"
    path.write_text(RECIPE)
    return path


def test_pictures_are_those_of_the_folder_and_mirrored_by_chance(
    recipe: Path, pictures: Path
) -> None:
    plain = preview(recipe, data=pictures, count=2, times=1)
    files = [pictures / "train" / name / "00.png" for name in ("cat", "dog")]
    for file, shown, varied in zip(files, plain.pictures, plain.varied[0], strict=True):
        own = np.asarray(Image.open(file)) / 255
        np.testing.assert_allclose(shown, own, atol=1e-6)
        np.testing.assert_allclose(varied, own, atol=1e-6)
    assert plain.labels == (0, 1) and plain.classes == ("cat", "dog")
    flipped = preview(recipe, data=pictures, overrides=["augment.flip=true"], count=6, times=6)
    same = np.abs(flipped.varied - flipped.pictures).max((2, 3, 4)) < 1e-5
    mirrored = np.abs(flipped.varied - flipped.pictures[:, :, ::-1]).max((2, 3, 4)) < 1e-5
    assert (same ^ mirrored).all() and 0 < mirrored.sum() < mirrored.size


def test_it_is_what_the_training_is_given(
    recipe: Path, pictures: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The first batch of the training, put in the order of the preview's pictures."""
    varied = ["augment={shift: 3, zoom: [0.7, 1.2], colour: 0.5, erase: 0.9}", "batch_size=32"]
    seen: list[torch.Tensor] = []
    monkeypatch.setattr(
        "vit_explorer.training.loop.epoch_order", lambda seed, epoch, pictures: order
    )
    found = preview(recipe, data=pictures, overrides=varied, count=32, times=1)
    firsts = [0, 16]
    order = torch.tensor(firsts + [n for n in range(32) if n not in firsts])

    def keep(x: torch.Tensor, options: Augment) -> torch.Tensor:
        seen.append(erase(x, options))
        return seen[-1]

    monkeypatch.setattr("vit_explorer.training.loop.erase", keep)
    train(recipe, data=pictures, out=tmp_path / "run", overrides=varied, device="cpu",
          precision="no")  # fmt: skip
    mean, std = torch.tensor((0.4914, 0.4822, 0.4465)), torch.tensor((0.247, 0.2435, 0.2616))
    shown = (seen[0].permute(0, 2, 3, 1) * std + mean).clamp(0, 1)
    np.testing.assert_allclose(found.varied[0], shown, atol=1e-5)


def test_the_command_draws_it_with_what_is_mixed(
    recipe: Path, pictures: Path, tmp_path: Path
) -> None:
    file = tmp_path / "seen.png"
    with pytest.raises(SystemExit) as end:
        cli.main(["train", str(recipe), "--data", str(pictures), "--set", "augment.mixup=1",
                  "--preview", str(file)])  # fmt: skip
    assert not end.value.code
    assert Image.open(file).width > 500 and [one.name for one in tmp_path.iterdir()] == ["seen.png"]
    found = preview(recipe, data=pictures, overrides=["augment.mixup=1"], times=2)
    np.testing.assert_allclose(found.shares.sum(2), 1, atol=1e-6)
    texts = [text.get_text() for text in found.figure().findobj(Text)]
    mixed = [pair for pair in found.shares.reshape(-1, 2) if 0.05 < pair[0] < 0.95]
    assert mixed
    for cat, dog in mixed:
        lines = [f"cat {cat:.0%}", f"dog {dog:.0%}"]
        assert "\n".join(lines if cat >= dog else reversed(lines)) in texts
    with pytest.raises(OptionError, match="count of pictures was 0"):
        preview(recipe, data=pictures, count=0)
