"""The film of anyone's training, recorded from four kinds of loop."""

from __future__ import annotations

import math
from collections import OrderedDict
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import timm
import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

import vit_explorer as vx
from tests.packed import unpack
from vit_explorer.errors import OptionError, OutputError, UnsupportedModelError
from vit_explorer.page.payloads.film import DEAD, film_bytes

EPOCHS = 2
LABELS = ("dark", "bright")


@pytest.fixture
def module() -> nn.Module:
    torch.manual_seed(0)
    return timm.create_model(
        "vit_tiny_patch16_224", img_size=32, patch_size=8, depth=2, num_classes=2
    )


@pytest.fixture
def data() -> TensorDataset:
    generator = torch.Generator().manual_seed(1)
    labels = torch.arange(16) % 2
    pixels = torch.randn(16, 3, 32, 32, generator=generator) + labels[:, None, None, None]
    return TensorDataset(pixels, labels)


@pytest.fixture
def probes() -> list[vx.Picture]:
    draw = np.random.default_rng(0)
    pixels = [draw.integers(0, 256, (40, 40, 3), dtype=np.uint8) for _ in range(2)]
    return [vx.Picture(Image.fromarray(one), f"noise {at}", "") for at, one in enumerate(pixels)]


def film_of(module: nn.Module, folder: Path, **options: Any) -> vx.TrainingFilm:
    return vx.TrainingFilm(module, folder, labels=LABELS, image_size=32, **options)


def one_epoch(module: nn.Module, data: TensorDataset, optimizer: torch.optim.Optimizer) -> float:
    module.train()
    total = 0.0
    for pixels, labels in DataLoader(data, batch_size=8):
        loss = F.cross_entropy(module(pixels), labels)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        total += float(loss.detach()) * len(labels)
    return total / len(data)


def read(folder: Path) -> dict[str, Any]:
    with np.load(folder / "film.npz") as film:
        return dict(film)


def assert_last_frame_is(film: dict[str, Any], module: nn.Module, probes: list[vx.Picture]) -> None:
    """The last frame against the trained module itself, by its own pass and public functions."""
    model = vx.load_model(module.eval(), labels=LABELS, image_size=32)
    for place, probe in enumerate(probes):
        passed = vx.trace(model, probe)
        with torch.no_grad():
            own = module(passed.prepared.pixels).softmax(dim=-1)[0]
        assert np.allclose(film["probabilities"][-1, place], own, atol=1e-3)
        assert np.allclose(
            film["attention_distance"][-1, place], vx.attention_distance(passed), rtol=2e-3
        )
    assert np.array_equal(film["filters"][-1], vx.patch_filters(model).filters)


def test_a_plain_loop(
    module: nn.Module, data: TensorDataset, probes: list[vx.Picture], tmp_path: Path
) -> None:
    optimizer = torch.optim.SGD(module.parameters(), 0.01)
    film = film_of(module, tmp_path, pictures=probes)
    losses = []
    for _ in range(EPOCHS):
        losses.append(one_epoch(module, data, optimizer))
        film.epoch(train_loss=losses[-1], lr=0.01)
        assert module.training
    film.add(test_accuracy=0.75)
    found = read(tmp_path)
    assert found["epoch"].tolist() == [0, 1, 2]
    assert found["train_loss"].tolist() == losses
    assert found["test_accuracy"].tolist()[1] == 0.75
    assert math.isnan(found["test_accuracy"][0])
    assert found["labels"].tolist() == list(LABELS)
    assert all(parameter.requires_grad for parameter in module.parameters())
    assert_last_frame_is(found, module, probes)
    assert film.seconds > 0


def test_recording_changes_nothing_in_the_training(
    module: nn.Module, data: TensorDataset, probes: list[vx.Picture], tmp_path: Path
) -> None:
    """The same weights to the bit, dropout and shuffling by the loop's own random numbers."""

    def trained(film: bool) -> list[Tensor]:
        torch.manual_seed(3)
        own = timm.create_model(
            "vit_tiny_patch16_224", img_size=32, patch_size=8, depth=2, num_classes=2,
            drop_rate=0.2,
        )  # fmt: skip
        recorder = film_of(own, tmp_path, pictures=probes) if film else None
        optimizer = torch.optim.SGD(own.parameters(), 0.01)
        for _ in range(EPOCHS):
            one_epoch(own, data, optimizer)
            if recorder is not None:
                recorder.epoch()
        return [one.detach() for one in own.parameters()]

    assert all(map(torch.equal, trained(film=False), trained(film=True)))


def test_a_loop_like_that_of_timm(
    module: nn.Module, data: TensorDataset, probes: list[vx.Picture], tmp_path: Path
) -> None:
    from timm.utils import update_summary

    optimizer = torch.optim.SGD(module.parameters(), 0.01)
    film = film_of(nn.DataParallel(module), tmp_path, pictures=probes, every=2)
    for epoch in range(EPOCHS):
        train = OrderedDict(loss=one_epoch(module, data, optimizer))
        measured = OrderedDict(loss=0.5, top1=75.0, top5=100.0)
        for call in (update_summary, film.update_summary):
            call(epoch, train, measured, tmp_path / "summary.csv", lr=0.01, write_header=not epoch)
    found = read(tmp_path)
    assert found["epoch"].tolist() == [0, 2]
    assert found["test_accuracy"].tolist() == [0.75, 0.75]
    assert np.isfinite(found["train_loss"]).all()
    assert_last_frame_is(found, module, probes)


def test_lightning(
    module: nn.Module, data: TensorDataset, probes: list[vx.Picture], tmp_path: Path
) -> None:
    lightning = pytest.importorskip("lightning.pytorch")

    class Lit(lightning.LightningModule):
        def __init__(self) -> None:
            super().__init__()
            self.vit = module

        def training_step(self, batch: tuple[Tensor, Tensor]) -> Tensor:
            loss = F.cross_entropy(self.vit(batch[0]), batch[1])
            self.log("train_loss", loss, on_step=False, on_epoch=True)
            return loss

        def validation_step(self, batch: tuple[Tensor, Tensor]) -> None:
            self.log("val_acc", (self.vit(batch[0]).argmax(1) == batch[1]).float().mean())

        def configure_optimizers(self) -> torch.optim.Optimizer:
            return torch.optim.SGD(self.parameters(), 0.01)

    film = film_of(module, tmp_path, pictures=probes)
    trainer = lightning.Trainer(
        max_epochs=EPOCHS, accelerator="cpu", logger=False, enable_checkpointing=False,
        enable_progress_bar=False, enable_model_summary=False, callbacks=[film.lightning()],
        num_sanity_val_steps=0,
    )  # fmt: skip
    loader = DataLoader(data, batch_size=8)
    trainer.fit(Lit(), loader, loader)
    found = read(tmp_path)
    assert found["epoch"].tolist() == [0, 1, 2]
    assert np.isfinite(found["train_loss"]).all()
    assert found["test_accuracy"][-1] == pytest.approx(float(trainer.callback_metrics["val_acc"]))
    assert found["lr"].tolist() == [0.01, 0.01]
    assert_last_frame_is(found, module, probes)


def test_the_transformers_trainer(
    data: TensorDataset, probes: list[vx.Picture], tmp_path: Path
) -> None:
    transformers = pytest.importorskip("transformers")
    torch.manual_seed(0)
    config = transformers.ViTConfig(
        hidden_size=32, num_hidden_layers=2, num_attention_heads=2, intermediate_size=64,
        image_size=32, patch_size=8, num_labels=2,
    )  # fmt: skip
    model = transformers.ViTForImageClassification(config)
    film = vx.TrainingFilm(
        model, tmp_path, pictures=probes, labels=LABELS, image_size=32,
        preprocess={"mean": (0.5, 0.5, 0.5), "std": (0.5, 0.5, 0.5)},
    )  # fmt: skip
    arguments = transformers.TrainingArguments(
        output_dir=str(tmp_path / "hf"), num_train_epochs=EPOCHS, use_cpu=True,
        per_device_train_batch_size=8, logging_strategy="epoch", eval_strategy="epoch",
        save_strategy="no", report_to=[], disable_tqdm=True,
    )  # fmt: skip

    def accuracy(found: Any) -> dict[str, float]:
        return {"accuracy": float((found.predictions.argmax(1) == found.label_ids).mean())}

    rows = [{"pixel_values": pixels, "labels": label} for pixels, label in data]
    trainer = transformers.Trainer(
        model=model, args=arguments, train_dataset=rows, eval_dataset=rows,
        callbacks=[film.transformers()],
        compute_metrics=accuracy,
    )  # fmt: skip
    trainer.train()
    found = read(tmp_path)
    logged = [row for row in trainer.state.log_history if "eval_accuracy" in row]
    assert found["epoch"].tolist() == [0, 1, 2]
    assert found["test_accuracy"].tolist() == [row["eval_accuracy"] for row in logged]
    assert found["test_loss"].tolist() == [row["eval_loss"] for row in logged]
    assert np.isfinite(found["train_loss"]).all()
    assert np.isfinite(found["lr"]).all()


def test_the_page_plays_it_beside_the_weights(
    module: nn.Module, probes: list[vx.Picture], tmp_path: Path
) -> None:
    film = film_of(module, tmp_path, pictures=probes)
    film.epoch(train_loss=1.0)
    model = vx.load_model(module, labels=LABELS, image_size=32)
    facts, arrays = unpack(film_bytes(tmp_path / "film.npz", model))
    assert facts["curves"]["train_loss"] == [1.0]
    assert facts["curves"]["test_accuracy"] == [None]
    found = read(tmp_path)
    alike = (found["attention_variation"] < DEAD).sum(axis=(2, 3))
    assert facts["dead"] == alike.tolist()
    assert np.array_equal(arrays["rollout"], found["rollout"].astype(np.float32))


def test_a_head_that_looks_alike_from_everywhere_is_dead(
    module: nn.Module, probes: list[vx.Picture]
) -> None:
    """Keys of zeros make every row uniform; another head's rows differ by the plain formula."""
    width = module.blocks[0].attn.head_dim
    with torch.no_grad():
        module.blocks[0].attn.qkv.weight.mul_(20)
        module.blocks[0].attn.qkv.weight[192 : 192 + width] = 0
        module.blocks[0].attn.qkv.bias[192 : 192 + width] = 0
    passed = vx.trace(vx.load_model(module, image_size=32), probes[0])
    found = vx.attention_variation(passed)
    assert found.shape == (2, 3)
    assert found[0, 0] == pytest.approx(0, abs=1e-6)
    attention = passed.attention(0)
    plain = (attention - attention.mean(dim=1, keepdim=True)).abs().sum(dim=-1).mean(dim=1) / 2
    assert np.allclose(found[0], plain, atol=1e-6)
    assert found[0, 1] > 0.05


def test_wrong_input_is_one_sentence(module: nn.Module, tmp_path: Path) -> None:
    film = film_of(module, tmp_path)
    with pytest.raises(OptionError, match="no 'train_los', did you mean 'train_loss'"):
        film.epoch(train_los=1.0)
    with pytest.raises(OptionError, match="number of epochs a frame was 0"):
        film_of(module, tmp_path, every=0)
    (tmp_path / "file").write_text("")
    with pytest.raises(OutputError, match="can't be made"):
        film_of(module, tmp_path / "file" / "run")
    with pytest.raises(UnsupportedModelError):
        vx.TrainingFilm(timm.create_model("resnet10t", num_classes=2), tmp_path, image_size=64)
