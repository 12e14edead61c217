"""A model as an ONNX file that other programs run, held against the model on real pictures."""

from __future__ import annotations

import json
import logging
import os
import tempfile
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from vit_explorer.errors import ModelError, OptionError, OutputError
from vit_explorer.models.card import first_tensor
from vit_explorer.models.loaded import LoadedModel
from vit_explorer.models.outputs import as_rows
from vit_explorer.models.shipped import asset
from vit_explorer.version import __version__

INPUT, FORMAT = "pixels", 1
PICTURES = ("cat.png", "coffee.png", "astronaut.png", "rocket.jpg")
_MOST_BYTES = 2**31 - 2**20  # of a file that is one protocol buffer, with room for the graph
# Rounding in another order of sums: of the largest number that the model gave.
_TOLERANCE = 1e-3


@dataclass(frozen=True)
class OnnxExport:
    """A file that was written, and how it compared.

    `difference` is the largest between a number of the file, run by ONNX Runtime, and the model's,
    over `pictures` pictures, whose largest number is `largest`; `agreed` of them have the same top
    class. `inputs` (C, H, W) is what the file takes of each picture, any number of them at once.
    """

    file: Path
    output: str
    inputs: tuple[int, int, int]
    opset: int
    pictures: int
    difference: float
    largest: float
    agreed: int


def export_onnx(model: LoadedModel, file: str | Path, pictures: Sequence[Any] = ()) -> OnnxExport:
    """Write a model as ONNX, by torch's exporter, once its numbers are found to be the model's own.

    The graph takes `pixels` (batch, C, H, W), prepared as the file's metadata say, and gives what
    the model returns (batch, classes): `logits`, or what else the card says its numbers are. The
    metadata hold `labels`, `preprocess` (timm's data config), `outputs`, `card` and
    `weights_sha256` as JSON.

    Args:
        file: the new file, NAME.onnx; one that is there is replaced.
        pictures: what both are asked about, by default four pictures that ship.

    Raises:
        ModelError: the packages of the extra `onnx` are missing, or the model can't be exported or
            answers otherwise then; nothing is written.
        OptionError: the file's name does not end in .onnx.
        OutputError: the file can't be written.
        PictureError: a picture can't be opened.
    """
    target = Path(file)
    if target.suffix.lower() != ".onnx" or not target.parent.is_dir():
        raise OptionError(
            "error.onnx.file",
            "The file to write was {file}; give a name that ends in .onnx, in a folder that is "
            "there.",
            file=target,
        )
    _check_packages()
    _check_size(model)
    given = pictures or [asset(name) for name in PICTURES]
    pixels = torch.cat([model.prepare(one).pixels for one in given]).to(model.device, _kind(model))
    name = {"classes": "logits", "labels": "logits"}.get(model.card.outputs, model.card.outputs)
    try:
        with tempfile.TemporaryDirectory(prefix=".vit-explorer-", dir=target.parent) as work:
            made = Path(work) / target.name
            opset = _write(model, pixels, name, made)
            found = _compare(model, pixels, made)
            os.replace(made, target)
    except OSError as error:
        raise OutputError(
            "error.onnx.write",
            "{file} can't be written: {reason}; give another place.",
            file=target,
            reason=error.strerror or error,
        ) from None
    inputs = (model.card.channels, *model.card.image_size)
    return OnnxExport(target, name, inputs, opset, len(pixels), *found)


class _Numbers(nn.Module):
    """A model's forward pass to the one tensor (batch, classes) that is explained."""

    def __init__(self, model: LoadedModel) -> None:
        super().__init__()
        self.module, self.classes = model.module, model.card.classes

    def forward(self, pixels: Tensor) -> Tensor:
        return as_rows(first_tensor(self.module(pixels)), self.classes)


def _write(model: LoadedModel, pixels: Tensor, name: str, file: Path) -> int:
    """Export to a file with its metadata; returns the operators' version."""
    import onnx

    # Of a single picture the exporter would take the batch to be always one.
    example = pixels[:1].expand(2, -1, -1, -1).contiguous()
    try:
        with model.lock, _quiet(), torch.no_grad():
            program = torch.onnx.export(
                _Numbers(model).eval(),
                (example,),
                dynamo=True,
                input_names=[INPUT],
                output_names=[name],
                dynamic_shapes={INPUT: {0: torch.export.Dim("batch")}},
                verbose=False,
            )
            assert program is not None  # noqa: S101 - it is returned where no file is named
            program.save(str(file), external_data=False)
    except OSError:
        raise
    except Exception as error:  # the exporter raises whatever a model's code does
        raise ModelError(
            "error.onnx.export",
            "{model} can't be exported to ONNX: {reason}; models of timm and of the explorer's own "
            "can.",
            model=model.card.name,
            reason=_cause(error),
        ) from error
    graph = onnx.load(file)
    if not graph.graph.input[0].type.tensor_type.shape.dim[0].dim_param:
        raise ModelError(
            "error.onnx.batch",
            "{model} can't be exported to ONNX for any number of pictures: its code makes a fixed "
            "one of it, as len(x) does; write x.shape[0] there.",
            model=model.card.name,
        )
    onnx.helper.set_model_props(graph, _metadata(model))
    onnx.checker.check_model(graph)
    onnx.save(graph, file)
    return next(one.version for one in graph.opset_import if one.domain in ("", "ai.onnx"))


def _metadata(model: LoadedModel) -> dict[str, str]:
    told = {
        "format": FORMAT,
        "made_by": f"vit-explorer {__version__}",
        "labels": list(model.labels),
        "preprocess": model.preprocess.to_dict(),
        "outputs": model.card.outputs,
        "card": model.card.to_dict(),
        "weights_sha256": model.sha256,
    }
    return {
        key: value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
        for key, value in told.items()
    }


def _compare(model: LoadedModel, pixels: Tensor, file: Path) -> tuple[float, float, int]:
    """The largest difference from the model's numbers, the largest of these, and how many pictures
    have the same top; both for all at once and one by one, as the batch is free."""
    import onnxruntime

    with model.lock, torch.no_grad():
        wanted = _Numbers(model).eval()(pixels).float().cpu().numpy()
    session = onnxruntime.InferenceSession(file, providers=["CPUExecutionProvider"])
    batch = pixels.cpu().numpy()

    def run(part: NDArray[Any]) -> NDArray[np.float32]:
        return np.asarray(session.run(None, {INPUT: part})[0], dtype=np.float32)

    together, singly = run(batch), np.concatenate([run(one[None]) for one in batch])
    difference = float(max(np.abs(one - wanted).max() for one in (together, singly)))
    largest = float(np.abs(wanted).max())
    if not difference <= _TOLERANCE * max(largest, 1.0):  # also where it is no number
        raise ModelError(
            "error.onnx.differs",
            "{model} answers otherwise as ONNX: numbers differ by up to {difference:.3g}, where "
            "the largest is {largest:.3g}; nothing was written. Load it in float32, or report it.",
            model=model.card.name,
            difference=difference,
            largest=largest,
        )
    flat, others = wanted.reshape(len(wanted), -1), together.reshape(len(wanted), -1)
    return difference, largest, int((flat.argmax(1) == others.argmax(1)).sum())


def _check_packages() -> None:
    for package in ("onnx", "onnxscript", "onnxruntime"):
        try:
            __import__(package)
        except ImportError:
            raise ModelError(
                "error.onnx.package",
                "Exporting to ONNX needs {package}, which is not installed; pip install "
                "'vit-explorer[onnx]'.",
                package=package,
            ) from None


def _check_size(model: LoadedModel) -> None:
    size = sum(one.numel() * one.element_size() for one in model.module.state_dict().values())
    if size > _MOST_BYTES:
        raise ModelError(
            "error.onnx.large",
            "{model} has {size:.1f} GB of weights, and an ONNX file of one piece holds 2; load it "
            "in float16 or bfloat16, or choose a smaller model.",
            model=model.card.name,
            size=size / 1e9,
        )


def _kind(model: LoadedModel) -> torch.dtype:
    return next(model.module.parameters()).dtype


def _cause(error: BaseException) -> str:
    """The first line of what went wrong at the bottom of the exporter's steps."""
    while error.__cause__ is not None:
        error = error.__cause__
    first = next((line.strip() for line in str(error).splitlines() if line.strip()), "")
    return f"{type(error).__name__}: {first}".rstrip(".: ")


@contextmanager
def _quiet() -> Iterator[None]:
    """Without the exporter's warnings, which are about its own steps; what fails is raised."""
    loggers = [logging.getLogger(name) for name in ("torch.onnx", "onnxscript", "onnx_ir")]
    levels = [one.level for one in loggers]
    try:
        for one in loggers:
            one.setLevel(logging.ERROR)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        for one, level in zip(loggers, levels, strict=True):
            one.setLevel(level)
