"""A run's model as others take it: its weights file with what that says of it, and as loaded."""

from __future__ import annotations

import os
import platform
from typing import Any

import torch
from accelerate import Accelerator
from PIL import Image

from vit_explorer.datasets.metrics import Metrics
from vit_explorer.datasets.tiny_imagenet import about
from vit_explorer.explaining.explanation import versions
from vit_explorer.models.checkpoints.checkpoint import Checkpoint
from vit_explorer.models.loaded import LoadedModel
from vit_explorer.models.shipped import asset
from vit_explorer.models.zoo import load_model
from vit_explorer.pictures.decode import Picture, open_picture
from vit_explorer.pictures.preprocess import Preprocess
from vit_explorer.training.film import SHIPPED_PROBES
from vit_explorer.training.loop import Trainer
from vit_explorer.training.recipe import Measured
from vit_explorer.training.report import MEASURED_NAMES
from vit_explorer.training.run_folder import RunFolder
from vit_explorer.training.student import describe

_PROBES = 5


class ToldModel:
    """What a trainer's model is written as, with what is known of its run so far."""

    def __init__(self, trainer: Trainer, initial: Checkpoint | None) -> None:
        self.trainer, self.initial = trainer, initial

    def write_weights(
        self, folder: RunFolder, name: str, metrics: Metrics, measured: Measured, **more: Any
    ) -> None:
        """Write the model with its metrics on the `measured` pictures, and `more` of its training.

        Raises:
            OutputError: as `RunFolder.write`.
        """
        trainer, recipe = self.trainer, self.trainer.recipe
        metadata = {
            "config": describe(recipe, trainer.best_model),
            "labels": list(trainer.train.classes),
            "preprocess": self._preprocess().to_dict(),
            "recipe": recipe.to_dict(),
            "metrics": metrics.to_dict(),
            "training": {
                **self.facts(),
                "measured": measured,
                "trained_on": about(trainer.train.classes),
                **more,
            },
        }
        state = trainer.best_model.state_dict()
        folder.write_weights(name, state, metadata, half=recipe.half_weights)

    def facts(self) -> dict[str, Any]:
        """The run so far: its data, machine and versions."""
        rows = self.trainer.position.rows
        accelerator = self.trainer.accelerator
        counted = {}
        if self.trainer.recipe.class_weights is not None:
            weights = self.trainer.weights.tolist()
            counted = {"class_weights": dict(zip(self.trainer.train.classes, weights, strict=True))}
        return {
            "seed": self.trainer.recipe.seed,
            "epochs": len(rows),
            "seconds": round(sum(row["seconds"] for row in rows)),
            "pictures": len(self.trainer.train),
            "held_out": len(self.trainer.test) if self.trainer.measured == "held_out" else 0,
            "hardware": _hardware(accelerator),
            "precision": accelerator.mixed_precision,
            "processes": accelerator.num_processes,
            "versions": versions(),
            "initial": None if self.initial is None else self._begun(self.initial),
            **counted,
        }

    def _begun(self, initial: Checkpoint) -> dict[str, Any]:
        """What the run began with, as far as that file says."""
        of = initial.metadata
        return {
            "weights": self.trainer.recipe.initial_weights,
            "sha256": initial.sha256,
            "recipe": of.get("recipe", {}).get("name"),
            "epochs": of.get("training", {}).get("epochs"),
            "accuracy": of.get("metrics", {}).get("accuracy"),
        }

    def _preprocess(self) -> Preprocess:
        recipe = self.trainer.recipe
        size = (3, *self.trainer.size)
        return Preprocess.from_config(
            {"input_size": size, "mean": recipe.mean, "std": recipe.std, "crop_pct": 1.0}
        )

    def loaded(self) -> LoadedModel:
        trainer = self.trainer
        return load_model(
            trainer.best_model.eval(),
            labels=trainer.train.classes,
            image_size=trainer.size,
            transform=self._preprocess().transform,
        )

    def probes(self) -> list[Picture]:
        """Shipped pictures; or the cat, then the first picture that an epoch is measured on of
        classes spread over the whole."""
        if self.trainer.recipe.probes == "shipped":
            return [open_picture(asset(name)) for name in SHIPPED_PROBES]
        test = self.trainer.test
        classes = range(0, len(test.classes), -(-len(test.classes) // (_PROBES - 1)))
        probes = [open_picture(asset("cat.png"))]
        for index in classes:
            first = int((test.labels == index).nonzero()[0])
            image = Image.fromarray(test.pixels[first].permute(1, 2, 0).numpy())
            name = f"{test.classes[index]} ({MEASURED_NAMES[self.trainer.measured]})"
            probes.append(Picture(image, name, ""))
        return probes


def _hardware(accelerator: Accelerator) -> str:
    if accelerator.device.type == "cuda":
        return torch.cuda.get_device_name(accelerator.device)
    return f"{os.cpu_count()} {platform.machine()} cores"
