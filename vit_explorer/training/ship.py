"""A finished run as the two files that a package can carry: calibrated weights, and their film."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from vit_explorer.datasets.evaluate import evaluate, predict
from vit_explorer.datasets.metrics import Metrics
from vit_explorer.datasets.tiny_imagenet import about, in_chinese, named
from vit_explorer.errors import DataError, ModelError, OutputError
from vit_explorer.models.calibration import Calibration
from vit_explorer.models.checkpoints.checkpoint import Checkpoint, read_checkpoint
from vit_explorer.models.loaded import LoadedModel
from vit_explorer.models.vit import VisionTransformer
from vit_explorer.models.zoo import load_model
from vit_explorer.training.calibrate import calibrate
from vit_explorer.training.data import find_run_splits
from vit_explorer.training.run_folder import RunFolder


@dataclass(frozen=True)
class Shipment:
    """What `ship` wrote, and what it measured: `metrics` on the test pictures, calibrated."""

    weights: Path
    film: Path | None
    calibration: Calibration
    metrics: Metrics


def ship(
    run: str | Path,
    out: str | Path,
    *,
    data: str | Path | None = None,
    device: str = "auto",
    progress: bool = False,
) -> Shipment:
    """Calibrate a run's model on its held-out pictures and write it to OUT, its film beside it.

    The classifier's weights are divided by the temperature, so that whoever runs the module gets
    calibrated probabilities; what was measured is in the file's metadata, with class names in
    Chinese where they are known. The test pictures are measured again, as they are answered now.

    Args:
        run: a run folder, or a weights file in it.
        out: the new file, `NAME.safetensors`; the film becomes `NAME_film.npz`.
        data: where the run's pictures are, if they have moved.

    Raises:
        DataError: the run held no pictures out, or they can't be found.
        ModelError: no weights of `vit-explorer train`, or a classifier that can't be scaled.
        OutputError: a file can't be written.
    """
    source, target = Path(run), Path(out)
    weights = source / "last.safetensors" if source.is_dir() else source
    if target.suffix != ".safetensors" or not target.parent.is_dir():
        raise OutputError(
            "error.ship.target",
            "The file to write was {target}; give a name that ends in .safetensors, in a folder "
            "that is there.",
            target=target,
        )
    checkpoint = read_checkpoint(weights)
    folder = RunFolder(weights.parent)
    data = data or folder.read_facts().get("data")
    if data is None:
        raise DataError(
            "error.ship.data",
            "{folder} doesn't say which data it learned from; give --data.",
            folder=weights.parent,
        )
    splits = find_run_splits(data, checkpoint.metadata.get("recipe", {}).get("hold_out", 0))
    if splits.test is None:
        raise DataError(
            "error.ship.heldout",
            "The run of {weights} held out no pictures, which a calibration needs; train it "
            "with hold_out=0.05 or so.",
            weights=weights,
        )
    held = splits.measured
    model = load_model(weights, device=device)
    logits = predict(model, held, progress=progress)
    calibration = calibrate(logits, torch.tensor(held.labels), held.classes)
    state = _scaled(checkpoint, model, calibration.temperature)
    model = dataclasses.replace(model, labels=named(model.labels))
    metrics = evaluate(model, data, progress=progress)
    written = RunFolder(target.parent)
    written.write_weights(target.name, state, _told(checkpoint, calibration, metrics), half=False)
    film = _ship_film(folder / "film.npz", written, f"{target.stem}_film.npz")
    return Shipment(target, film, calibration, metrics)


def _scaled(
    checkpoint: Checkpoint, model: LoadedModel, temperature: float
) -> dict[str, torch.Tensor]:
    """The checkpoint's tensors with the classifier's divided, which the model then has too."""
    state = dict(checkpoint.state)
    own = model.module.state_dict()
    for layer in _classifiers(model.module):
        for key in (f"{layer}.weight", f"{layer}.bias"):
            if key not in state or key not in own:
                raise ModelError(
                    "error.ship.classifier",
                    "The classifier of {file} was not found as {layer!r}; a model with a linear "
                    "one can be calibrated.",
                    file=checkpoint.path.name,
                    layer=layer,
                )
            # In the file's own precision: what is measured is what will be loaded.
            state[key] = (state[key].double() / temperature).to(state[key].dtype)
            own[key].copy_(state[key])
    return state


def _classifiers(module: nn.Module) -> list[str]:
    """The linear layers whose outputs the logits are, or are the mean of."""
    if isinstance(module, VisionTransformer):
        last = ".fc2" if module.config.head == "mlp" else ""
        heads = ("head",) if module.head_dist is None else ("head", "head_dist")
        return [head + last for head in heads]
    named_by_timm = getattr(module, "pretrained_cfg", {}).get("classifier", "head")
    return [named_by_timm] if isinstance(named_by_timm, str) else list(named_by_timm)


def _told(checkpoint: Checkpoint, calibration: Calibration, metrics: Metrics) -> dict[str, Any]:
    """The metadata of the new file."""
    before = {key: _public(value) for key, value in checkpoint.metadata.items() if key != "format"}
    chinese = in_chinese(before["labels"])
    return {
        **before,
        "labels": list(named(before["labels"])),
        **({"labels_zh": list(chinese)} if chinese else {}),
        "metrics": metrics.to_dict(),
        "training": {
            **before.get("training", {}),
            "measured": "test",
            "trained_on": about(before["labels"]),
        },
        "calibration": calibration.to_dict(),
    }


def _public(value: Any) -> Any:
    """What a file says of itself, with files named by their folder, not by the way to it."""
    if isinstance(value, dict):
        return {key: _public(one) for key, one in value.items()}
    if isinstance(value, str) and Path(value).is_absolute():
        return "/".join(Path(value).parts[-2:])
    return value


def _ship_film(film: Path, folder: RunFolder, name: str) -> Path | None:
    """The run's film, which those of the runs before it are part of, under the classes' names."""
    if not film.is_file():
        return None
    with np.load(film) as file:
        arrays = dict(file)
    arrays["labels"] = np.array(named(arrays["labels"].tolist()))
    folder.write_arrays(name, arrays)
    return folder / name
