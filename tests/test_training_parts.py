"""The parts of training against hand-computed or independent numbers."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from sklearn import metrics as sk
from torchvision.transforms.functional import adjust_brightness

import vit_explorer as vx
from tests.noise import write_noise
from vit_explorer.datasets.evaluate import evaluate
from vit_explorer.datasets.metrics import calibration_error, measure
from vit_explorer.errors import DataError
from vit_explorer.training import train
from vit_explorer.training.augment import draw, epoch_order, mirror, seed_step, standardise, vary
from vit_explorer.training.loop import batches
from vit_explorer.training.losses import label_loss, teacher_loss
from vit_explorer.training.pace import Pace, Step
from vit_explorer.training.recipe_sections import Augment, Distill
from vit_explorer.training.teacher import draw_views

MEAN, STD = (0.5, 0.4, 0.3), (0.2, 0.25, 0.3)
OFF = Augment(flip=False, shift=0)


@pytest.mark.parametrize(("pictures", "size", "processes"), [(10, 4, 1), (11, 4, 3), (50, 64, 2)])
def test_processes_see_each_picture_once(pictures: int, size: int, processes: int) -> None:
    order = epoch_order(0, 3, pictures)
    seen = []
    for process in range(processes):
        parts = list(batches(order, size, process, processes))
        assert all(len(part) > 0 and len(whole) <= size for part, whole in parts)
        seen += torch.cat([part for part, _ in parts]).tolist()
    assert sorted(seen) == list(range(pictures))


def test_an_epochs_order_depends_on_seed_and_epoch_alone() -> None:
    assert torch.equal(epoch_order(1, 2, 100), epoch_order(1, 2, 100))
    assert not torch.equal(epoch_order(1, 2, 100), epoch_order(1, 3, 100))
    seed_step(1, 2, 3, 0)
    first = torch.rand(3)
    seed_step(1, 2, 3, 0)
    assert torch.equal(first, torch.rand(3))


def test_variation_without_steps_leaves_or_mirrors_the_picture() -> None:
    pixels = torch.randint(0, 256, (64, 3, 8, 8), dtype=torch.uint8)
    assert torch.equal(vary(pixels, draw(OFF, 64)), pixels / 255)
    drawn = draw(Augment(shift=0), 64)
    mirrored = drawn[:, 0].bool()
    assert 0 < mirrored.sum() < 64
    found = vary(pixels, drawn)
    assert torch.equal(found[mirrored], pixels[mirrored].flip(3) / 255)
    assert torch.equal(found[~mirrored], pixels[~mirrored] / 255)
    standard = standardise(pixels / 255, (8, 8), MEAN, STD)
    by_hand = (pixels[1, 2, 3, 4] / 255 - MEAN[2]) / STD[2]
    assert standard[1, 2, 3, 4] == pytest.approx(float(by_hand), abs=1e-6)


def test_mirrored_draws_give_mirror_images() -> None:
    pixels = torch.randint(0, 256, (24, 3, 12, 16), dtype=torch.uint8)
    drawn = draw(Augment(shift=3, zoom=(0.6, 1.3), colour=0.5), 24)
    chosen = torch.arange(24) % 3 == 0
    plain, mirrored = vary(pixels, drawn), vary(pixels, mirror(drawn, chosen))
    torch.testing.assert_close(mirrored[chosen], plain[chosen].flip(3), atol=1e-5, rtol=0)
    torch.testing.assert_close(mirrored[~chosen], plain[~chosen], atol=0, rtol=0)


def test_a_shift_is_a_crop_of_the_reflected_picture() -> None:
    pixels = torch.randint(0, 256, (16, 3, 8, 8), dtype=torch.uint8)
    drawn = draw(Augment(flip=False, shift=2), 16)
    padded = np.pad(pixels.numpy(), ((0, 0), (0, 0), (2, 2), (2, 2)), mode="symmetric") / 255
    for picture, moved, (x, y) in zip(
        padded, vary(pixels, drawn).numpy(), drawn[:, 2:4].int().tolist(), strict=True
    ):
        crop = picture[:, 2 + y : 10 + y, 2 + x : 10 + x]
        assert np.abs(crop - moved).max() < 1e-5


def test_brightness_contrast_and_saturation_are_torchvisions() -> None:
    pixels = torch.randint(96, 160, (1, 3, 8, 8), dtype=torch.uint8)
    still = torch.tensor([[0.0, 1.0, 0.0, 0.0]])
    brighter = vary(pixels, torch.cat((still, torch.tensor([[1.3, 1.0, 1.0]])), dim=1))
    assert torch.allclose(brighter, adjust_brightness(pixels / 255, 1.3), atol=1e-6)
    grey = vary(pixels, torch.cat((still, torch.tensor([[1.0, 1.0, 0.0]])), dim=1))
    assert torch.allclose(grey, (pixels / 255).mean(1, keepdim=True).expand(1, 3, 8, 8), atol=1e-6)
    flat = vary(pixels, torch.cat((still, torch.tensor([[1.0, 0.0, 1.0]])), dim=1))
    assert torch.allclose(flat, (pixels / 255).mean().expand(1, 3, 8, 8), atol=1e-6)


def test_a_teachers_views_depend_on_the_seed_alone() -> None:
    options = Augment(zoom=(0.7, 1.2), colour=0.4)
    views = draw_views(options, 3, 4, 50)
    assert torch.equal(views, draw_views(options, 3, 4, 50))
    assert torch.equal(views[:2], draw_views(options, 3, 2, 50))
    assert not torch.equal(views, draw_views(options, 4, 4, 50))
    assert not torch.equal(views[0], views[1])


def test_metrics_of_hand_made_logits() -> None:
    logits = torch.tensor([[2.0, 0.0], [0.0, 1.0], [3.0, 0.0], [0.0, 0.0]])
    labels = torch.tensor([0, 1, 1, 0])
    metrics = measure(logits, labels, ("a", "b"))
    assert metrics.accuracy == 0.75
    assert metrics.nll == pytest.approx(F.cross_entropy(logits, labels).item(), abs=1e-6)
    assert metrics.confusion.tolist() == [[2, 0], [1, 1]]
    assert metrics.samples == 4


def test_metrics_are_scikit_learns() -> None:
    draw = torch.Generator().manual_seed(3)
    logits = torch.randn(400, 12, generator=draw) * 2
    labels = (torch.arange(400) * 7) % 12
    logits[torch.arange(400), labels] += 1.5
    metrics = measure(logits, labels, tuple("abcdefghijkl"))
    shares, true, order = logits.double().softmax(1).numpy(), labels.numpy(), np.arange(12)
    assert metrics.top5 == sk.top_k_accuracy_score(true, shares, k=5, labels=order)
    assert metrics.accuracy == sk.accuracy_score(true, shares.argmax(1)) < metrics.top5
    assert metrics.nll == pytest.approx(sk.log_loss(true, shares, labels=order))
    assert np.array_equal(metrics.confusion, sk.confusion_matrix(true, shares.argmax(1)))
    assert metrics.to_dict()["top5"] == metrics.top5
    few = measure(logits[:, :5], labels % 5, tuple("abcde"))
    assert few.top5 is None and "top5" not in few.to_dict()


def test_calibration_error_by_hand() -> None:
    confidence = torch.tensor([0.9, 0.9, 0.6, 0.6])
    correct = torch.tensor([True, False, True, True])
    # Two bins of two pictures: |0.5 - 0.9| and |1.0 - 0.6|, each of weight one half.
    assert calibration_error(confidence, correct) == pytest.approx(0.4, abs=1e-6)
    assert calibration_error(torch.ones(3), torch.ones(3, dtype=torch.bool)) == 0


def test_distillation_losses_by_hand() -> None:
    logits, taught = torch.tensor([[1.0, 0.0]]), torch.tensor([[0.0, 2.0]])
    teacher, target = torch.tensor([[4.0, 0.0]]), torch.tensor([1])
    soft = Distill(teacher="t", temperature=2.0)
    wanted, given = [1 / (1 + math.exp(-2)), 1 / (1 + math.exp(2))], [0.0, 1.0]
    given = [math.log(math.exp(g) / (1 + math.e)) for g in given]
    divergence = sum(w * (math.log(w) - g) for w, g in zip(wanted, given, strict=True))
    own = math.log(1 + math.e)
    assert float(label_loss(logits, target, torch.ones(2))) == pytest.approx(own, abs=1e-6)
    assert float(teacher_loss(taught, teacher, soft)) == pytest.approx(4 * divergence, abs=1e-5)
    hard = Distill(teacher="t", kind="hard")
    wanted = math.log(1 + math.e**2)
    assert float(teacher_loss(taught, teacher, hard)) == pytest.approx(wanted, abs=1e-5)
    both = teacher_loss(taught.repeat(2, 1), teacher.repeat(2, 1), hard)
    assert float(both) == pytest.approx(2 * wanted, abs=1e-5)


def test_evaluate_refuses_other_classes(small: vx.LoadedModel, tmp_path: Path, cat: Path) -> None:
    for name in ("lion", "tiger"):
        (tmp_path / "test" / name).mkdir(parents=True)
        (tmp_path / "test" / name / "a.png").write_bytes(cat.read_bytes())
    with pytest.raises(DataError, match="classes that the model .* does not: lion, tiger"):
        evaluate(small, tmp_path)


def test_the_time_left_is_that_of_the_steps_so_far(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 1000.0
    monkeypatch.setattr("time.monotonic", lambda: now)
    pace = Pace()
    now += 100  # what comes before the first step, and the first step itself, don't count
    assert pace.left(9) is None
    now += 2
    assert pace.left(8) == 16
    now += 6  # an epoch was measured in between
    assert pace.left(7) == pytest.approx(7 * 4)


def test_each_step_is_told_with_its_loss(tmp_path: Path) -> None:
    recipe = tmp_path / "tiny.yaml"
    recipe.write_text("""
epochs: 2
batch_size: 8
model: {image_size: [16, 16], patch_size: [8, 8], dim: 16, depth: 1, heads: 2}
schedule: {warmup_epochs: 0}
film: false
""")
    told: list[Step] = []
    data, out = write_noise(tmp_path / "set", ("cat", "dog")), tmp_path / "run"
    run = train(recipe, data=data, out=out, device="cpu", precision="no", step=told.append)
    assert [(one.epoch, one.step) for one in told] == [(e, s) for e in (1, 2) for s in range(1, 5)]
    assert {(one.epochs, one.steps) for one in told} == {(2, 4)}
    for row, last in zip(run.rows, (told[3], told[7]), strict=True):
        assert (last.loss, last.accuracy) == (row["train_loss"], row["train_accuracy"])
    assert told[0].seconds_left is None and told[-1].seconds_left == 0
    assert all(one.seconds_left for one in told[1:-1])
