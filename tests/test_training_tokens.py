"""Learning a teacher's tokens: which they are, how they are stored, what a run does with them."""

from __future__ import annotations

import shutil
import threading
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

import vit_explorer as vx
from tests.noise import write_noise
from vit_explorer.errors import OutputError, RecipeError
from vit_explorer.models.vit import VisionTransformer, ViTConfig, take_tokens
from vit_explorer.training import loop, train
from vit_explorer.training.augment import vary
from vit_explorer.training.recipe_sections import Distill
from vit_explorer.training.student import Student
from vit_explorer.training.teacher import Answer, Answers, Teacher
from vit_explorer.training.tokens import Scale, normalise, token_loss, unpack

CLASSES = ("cat", "dog")
RECIPE = """
name: tiny
epochs: 2
full_epochs: 1
batch_size: 16
model: {image_size: [16, 16], patch_size: [4, 4], dim: 24, depth: 2, heads: 2, patch_dropout: 0.5}
augment: {flip: false, shift: 0}
optimizer: {name: muon, lr: 2.0e-3}
schedule: {warmup_epochs: 0.5}
film: false
"""


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_noise(tmp_path_factory.mktemp("pictures"), CLASSES)


@pytest.fixture(scope="module")
def recipe(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("recipe") / "tiny.yaml"
    path.write_text(RECIPE)
    return path


@pytest.fixture(scope="module")
def teacher(recipe: Path, pictures: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A checkpoint with three blocks of another width on the student's grid."""
    options = {"data": pictures, "out": tmp_path_factory.mktemp("teacher"), "precision": "no"}
    changed = ["epochs=1", "model.depth=3", "model.dim=16"]
    return train(recipe, overrides=changed, device="cpu", **options).weights


def _tokens(path: Path, pictures: Path) -> Tensor:
    """What leaves the teacher's blocks, (B, L, N, D), read without the training's code."""
    model = vx.load_model(path)
    files = sorted((pictures / "train").glob("*/*.png"))
    found: list[list[Tensor]] = [[] for _ in model.blocks]
    for block, kept in zip(model.blocks, found, strict=True):
        block.register_forward_hook(lambda _, __, out, kept=kept: kept.append(out))
    with torch.inference_mode():
        for file in files:
            model.module(model.prepare(vx.open_picture(file)).pixels)
    return torch.stack([torch.cat(kept) for kept in found], dim=1)


def test_the_stored_tokens_are_the_teachers(
    teacher: Path, recipe: Path, pictures: Path, tmp_path: Path
) -> None:
    learn = f"distill={{teacher: {teacher}, views: 1, layers: {{0: 2, 1: 0}}}}"
    train(recipe, data=pictures, out=tmp_path, overrides=["epochs=1", learn], precision="no")
    stored = unpack(torch.from_numpy(np.load(tmp_path / "teacher_tokens.npy")[0])).numpy()
    tokens = _tokens(teacher, pictures)[:, [2, 0]].double().numpy()
    tokens = tokens - tokens.mean(-1, keepdims=True)
    tokens /= np.sqrt((tokens**2).mean(-1, keepdims=True) + 1e-5)
    deviation = tokens.std((0, 2), keepdims=True, ddof=1)
    whitened = (tokens - tokens.mean((0, 2), keepdims=True)) / deviation
    assert stored.shape == (32, 2, 17, 16)
    assert np.abs(stored - whitened.clip(-4, 4)).max() < 0.52 / 31.75


def test_a_teacher_answers_in_the_run_s_precision(teacher: Path) -> None:
    asked = Teacher(Distill(teacher=str(teacher), layers={0: 2}), CLASSES, torch.device("cpu"))
    images = torch.rand(64, 3, 16, 16, generator=torch.Generator().manual_seed(0))
    full, half = asked.ask(images, "no"), asked.ask(images, "bf16")
    assert next(asked.model.module.parameters()).dtype == torch.bfloat16
    assert half.logits.dtype == full.logits.dtype == torch.float32
    gap = (half.logits - full.logits).abs().max() / full.logits.std()
    assert 0 < gap < 0.2
    assert full.tokens is not None and half.tokens is not None
    torch.testing.assert_close(half.tokens.float(), full.tokens, atol=0.1, rtol=0.1)


def test_answers_of_the_run_gone_on_from_serve_again(
    teacher: Path, recipe: Path, pictures: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with_tokens = f"distill={{teacher: {teacher}, views: 2, layers: {{0: 0, 1: 2}}}}"
    options = {"data": pictures, "precision": "no", "device": "cpu"}
    first = train(recipe, out=tmp_path / "one", overrides=[with_tokens], **options)
    asked: list[int] = []
    ask = Teacher.ask

    def counted(self: Teacher, x: Tensor, precision: str) -> Answer:
        asked.append(len(x))
        return ask(self, x, precision)

    monkeypatch.setattr(Teacher, "ask", counted)
    begin = f"initial_weights={first.weights}"
    answers = f"distill={{teacher: {teacher}, views: 2}}"
    for name, learn in (("two", with_tokens), ("three", answers)):
        train(recipe, out=tmp_path / name, overrides=[begin, learn], **options)
        assert not asked and not (tmp_path / name / "soft_labels.safetensors").exists()
    other = f"distill={{teacher: {teacher}, views: 2, layers: {{0: 1}}}}"
    train(recipe, out=tmp_path / "four", overrides=[begin, other], **options)
    assert asked  # about another block's tokens


def test_a_scale_is_undone_by_unpacking() -> None:
    tokens = torch.randn(40, 2, 5, 8) * torch.tensor([1.0, 9, 1, 1, 1, 1, 1, 1])
    packed = unpack(torch.from_numpy(Scale.of(tokens).pack(tokens)))
    assert torch.allclose(packed.std((0, 2)), torch.ones(2, 8), atol=0.02)
    assert torch.allclose(packed.mean((0, 2)), torch.zeros(2, 8), atol=0.02)


def test_the_students_tokens_are_those_it_kept() -> None:
    config = ViTConfig(
        image_size=(16, 16), patch_size=(4, 4), classes=3, dim=8, depth=2, heads=2,
        patch_dropout=0.5,
    )  # fmt: skip
    model = VisionTransformer(config).train()
    for block in model.blocks:  # blocks that change nothing, so tokens can be told apart
        torch.nn.init.zeros_(block.attn.proj.weight)
        torch.nn.init.zeros_(block.mlp.fc2.weight)
    learner = Student(model, [0, 1], 8)
    for reader in learner.readers:
        torch.nn.init.eye_(reader.weight)
        torch.nn.init.zeros_(reader.bias)
    images = torch.randn(4, 3, 16, 16)
    done = learner(images)
    assert done.kept.shape == (4, 9)
    expected = take_tokens(normalise(model.embed(images)), done.kept)
    for read in done.tokens:
        torch.testing.assert_close(read, expected)
    wanted = normalise(model.embed(images))[:, None].expand(-1, 2, -1, -1)
    assert token_loss(done.tokens, done.kept, wanted).item() < 1e-12
    assert token_loss(done.tokens, done.kept.flip(1), wanted).item() > 0.1
    model.patch_drop.rate = 0.0
    assert learner(images).kept is None
    assert learner(images).tokens[0].shape == (4, 17, 8)


def test_the_loss_of_tokens_by_hand() -> None:
    read = (torch.tensor([[[0.0, 3.0]]]), torch.tensor([[[1.0, 1.0]]]))
    wanted = torch.tensor([[[[9.0, 9.0], [0.5, 1.0]], [[9.0, 9.0], [1.0, 0.0]]]])
    # |0 - 0.5| gives 0.125 and |3 - 1| gives 1.5; then 0 and 0.5.
    loss = token_loss(read, torch.tensor([[1]]), wanted)
    assert float(loss) == pytest.approx((0.125 + 1.5) / 2 + (0 + 0.5) / 2)


def test_what_was_said_of_a_mirror_image_is_mirrored() -> None:
    grid, tokens = (2, 3), np.arange(7, dtype=np.int8)  # a class token and two rows of three
    said = Answers(torch.tensor([[[1.0, 2]] * 3]), np.tile(tokens, (1, 3, 1, 1))[..., None], grid)
    view, part, mirrored = torch.zeros(3, dtype=int), torch.arange(3), torch.tensor([0, 1, 0]) > 0
    answer = said.of(view, part, mirrored, torch.device("cpu"))
    assert answer.logits.tolist() == [[1, 2]] * 3
    found = (answer.tokens[:, 0, :, 0] * 31.75).round().int().tolist()
    assert found == [[*range(7)], [0, 3, 2, 1, 6, 5, 4], [*range(7)]]
    assert said.tokens[0, 1, 0, :, 0].tolist() == [*range(7)]  # what is stored stays as it was


@pytest.mark.parametrize("mirror", [False, True])
def test_half_of_the_stored_views_are_mirrored_where_asked(
    teacher: Path, recipe: Path, pictures: Path, tmp_path: Path, mirror: bool,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    seen: list[Tensor] = []
    monkeypatch.setattr(
        loop, "vary", lambda pixels, drawn: seen.append(drawn) or vary(pixels, drawn)
    )
    learn = f"distill={{teacher: {teacher}, views: 1, layers: {{0: 0}}, mirror: {mirror}}}"
    train(recipe, data=pictures, out=tmp_path, overrides=[learn], precision="no", device="cpu")
    share = torch.cat(seen)[:, 0].mean().item()  # the recipe's own views mirror nothing
    assert (0.3 < share < 0.7) if mirror else share == 0


def test_a_run_that_learns_tokens_resumes_to_the_same_numbers(
    teacher: Path, recipe: Path, pictures: Path, tmp_path: Path
) -> None:
    learn = [f"distill={{teacher: {teacher}, views: 2, layers: {{0: 0, 1: 2}}, mirror: true}}"]
    options = {"data": pictures, "overrides": learn, "precision": "no", "device": "cpu"}
    whole = train(recipe, out=tmp_path / "whole", **options)
    stop = threading.Event()
    train(recipe, out=tmp_path / "b", stop=stop, watch=lambda row: stop.set(), **options)
    asked = (tmp_path / "b" / "teacher_tokens.npy").stat().st_mtime_ns
    resumed = train(recipe, out=tmp_path / "b", resume=True, **options)
    assert (tmp_path / "b" / "teacher_tokens.npy").stat().st_mtime_ns == asked
    for one, other in zip(whole.rows, resumed.rows, strict=True):
        assert one["train_loss"] == pytest.approx(other["train_loss"], abs=1e-6)
        assert one["test_loss"] == pytest.approx(other["test_loss"], abs=1e-6)


def test_asking_a_teacher_can_be_stopped_and_begun_again(
    teacher: Path, recipe: Path, pictures: Path, tmp_path: Path
) -> None:
    stop = threading.Event()
    stop.set()
    learn = [f"distill={{teacher: {teacher}, views: 1, layers: {{0: 0}}}}"]
    options = {"data": pictures, "out": tmp_path, "overrides": learn, "device": "cpu"}
    assert not train(recipe, **options, stop=stop).finished
    assert {path.name for path in tmp_path.iterdir()} == {".lock", "recipe.yaml", "run.json"}
    assert train(recipe, **options, resume=True).finished


def test_a_disk_without_room_for_the_tokens_is_said_before_the_teacher_is_asked(
    teacher: Path, recipe: Path, pictures: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    free = shutil.disk_usage(tmp_path)._replace(free=1_000_000)
    monkeypatch.setattr(shutil, "disk_usage", lambda path: free)
    learn = [f"distill={{teacher: {teacher}, views: 200, layers: {{0: 0}}}}"]
    with pytest.raises(OutputError, match="tokens need 0.0 GB and .* has 0.0 GB; make room"):
        train(recipe, data=pictures, out=tmp_path, overrides=learn, device="cpu")
    assert not (tmp_path / "teacher_tokens.npy").exists()


def test_tokens_are_learnt_beside_a_distillation_token() -> None:
    config = ViTConfig(
        image_size=(16, 16), patch_size=(4, 4), dim=8, depth=2, heads=2, distillation_token=True
    )
    model = VisionTransformer(config).eval()
    images = torch.randn(2, 3, 16, 16)
    done = Student(model, [0], 6)(images)
    torch.testing.assert_close((done.logits + done.taught) / 2, model(images))
    assert not torch.allclose(done.logits, done.taught)


def test_the_loss_of_tokens_teaches_the_blocks_up_to_its_own() -> None:
    config = ViTConfig(image_size=(16, 16), patch_size=(4, 4), dim=8, depth=3, heads=2)
    learner = Student(VisionTransformer(config), [1], 6)
    done = learner(torch.randn(2, 3, 16, 16))
    token_loss(done.tokens, done.kept, torch.randn(2, 1, 17, 6)).backward()
    taught = [block.mlp.fc1.weight.grad is not None for block in learner.model.blocks]
    assert taught == [True, True, False]
    assert learner.readers[0].weight.grad is not None


@pytest.mark.parametrize(
    ("distill", "message"),
    [
        ("layers: {0: 3}", "the teacher has blocks 0 to 2"),
        ("layers: {2: 0}", "the model has blocks 0 to 1"),
        ("layers: {0: 0}, views: 0", "tokens are stored; set views to 1 or more"),
        ("mirror: true, views: 0", "mirrors stored answers; set views to 1 or more"),
        ("layers: {0: 0}, image_size: 32", r"a grid of \(4, 4\) and 1 prefix tokens, the teacher"),
    ],
)
def test_tokens_that_can_not_be_learnt_are_refused(
    teacher: Path, recipe: Path, pictures: Path, tmp_path: Path, distill: str, message: str
) -> None:
    learn = f"distill={{teacher: {teacher}, {distill}}}"
    with pytest.raises(RecipeError, match=message):
        train(recipe, data=pictures, out=tmp_path / "run", overrides=[learn], device="cpu")
    assert not (tmp_path / "run" / "recipe.yaml").exists()
