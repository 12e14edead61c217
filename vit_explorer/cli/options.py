"""The options that commands share, and what is made of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Annotated, Any

import typer

import vit_explorer as vx
from vit_explorer.cli.progress_bars import status
from vit_explorer.errors import OptionError, OutputError

Model = Annotated[
    str,
    typer.Option(help="'bundled', 'bundled-cifar10', a timm name, or a checkpoint of `train`."),
]
Weights = Annotated[
    Path | None, typer.Option(help="Checkpoint: .safetensors, .pth, .pt, .ckpt, .npz, or a folder.")
]
Labels = Annotated[Path | None, typer.Option(help="Class names: one a line, CSV or JSON.")]
ImageSize = Annotated[
    tuple[int, int] | None,
    typer.Option(help="Height and width in pixels; positions are interpolated.", metavar="H W"),
]
TrainedAt = Annotated[
    tuple[int, int] | None,
    typer.Option(
        "--weights-image-size",
        help="Pixels that the weights were trained at, where --image-size is another and their "
        "positions fit several shapes.",
        metavar="H W",
    ),
]
Mean = Annotated[
    str | None,
    typer.Option(
        help="Mean a channel, 0 to 1, if not the model's own; one number serves all.",
        metavar="R G B…",
    ),
]
Std = Annotated[
    str | None,
    typer.Option(help="Standard deviation a channel, likewise.", metavar="R G B…"),
]
# Options that take as many numbers as follow them, and those that take all up to the next option.
MANY = ("--mean", "--std")
SEVERAL = ("--words", "--like")
Words = Annotated[
    list[str] | None,
    typer.Option(
        help="Sentences up to the next option, as the classes of a model with a text tower: a "
        "folder of a CLIP or SigLIP, open_clip:NAME/TAG, or hf-hub:ORG/NAME.",
        metavar="SENTENCE…",
    ),
]
Like = Annotated[
    list[Path] | None,
    typer.Option(
        help="Pictures up to the next option, which others are compared with: values are cosines "
        "of embeddings, and a target is a picture's name.",
        metavar="PICTURE…",
    ),
]
Bands = Annotated[
    str | None,
    typer.Option(
        help="Bands shown as red, green and blue of a picture of many, counted from 0; all of them "
        "are explained.",
        metavar="R,G,B",
    ),
]
StretchRule = Annotated[
    str,
    typer.Option(
        "--stretch",
        help="Which values become black and white in pictures of more than 8 bits: auto (by 8, 10, "
        "12, 14 or 16 bits), full (the type's range), minmax, or two values.",
        metavar="RULE|LOW,HIGH",
    ),
]
Device = Annotated[str, typer.Option(help="auto, cpu or cuda.")]
Halved = Annotated[
    str, typer.Option("--precision", help="float32, or bfloat16 or float16 for speed on a GPU.")
]
Methods = Annotated[
    list[str] | None,
    typer.Option(
        "--method",
        help="A method, several with commas between, 'fast' for all of one pass, or 'all'; else "
        "rollout and Grad-CAM where the model allows them.",
    ),
]
Options = Annotated[
    list[str] | None,
    typer.Option("--option", help="A method's option.", metavar="METHOD.NAME=VALUE"),
]
Goal = Annotated[
    str | None,
    typer.Option(
        "--target",
        help="Class label or index, 'not LABEL' for what speaks against it, or 'A - B' for what "
        "speaks for A rather than B; else the top prediction.",
    ),
]
Goals = Annotated[
    list[str] | None,
    typer.Option(
        "--target",
        help="Class label or index, 'not LABEL' for what speaks against it, or 'A - B' for what "
        "speaks for A rather than B; else the top prediction. Given several times: each in its "
        "own folder of the picture's.",
    ),
]
Meant = Annotated[
    str | None,
    typer.Option(
        "--outputs",
        help="What the model's numbers are, if not as found: classes, labels (several may hold), "
        "probabilities, value or embedding.",
    ),
]
Out = Annotated[Path, typer.Option(help="Folder for the results.")]
Data = Annotated[
    str,
    typer.Option(
        help="'cifar10' (downloaded), CIFAR-10's files, tiny-imagenet-200/, what Hugging Face's "
        "datasets saved, or class folders."
    ),
]
Precision = Annotated[str, typer.Option(help="auto, no (float32), bf16, or fp16 on a GPU.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON, and nothing else.")]
Pretrained = Annotated[
    bool, typer.Option("--pretrained/--random", help="The hub's weights, or random ones.")
]


@dataclass(frozen=True, kw_only=True)
class Source:
    """Which model, and how its file is read; the names are those of `load_model`."""

    model: Model = "bundled"
    weights: Weights = None
    labels: Labels = None
    image_size: ImageSize = None
    weights_image_size: TrainedAt = None
    mean: Mean = None
    std: Std = None
    outputs: Meant = None
    words: Words = None
    like: Like = None

    def load(self, **more: Any) -> vx.LoadedModel:
        """The model, as it was asked for but for `more`."""
        given = {one.name: getattr(self, one.name) for one in fields(self)} | more
        pictures, given["words"] = given.pop("like"), self.words or None
        name, texts = given.pop("model"), {key: given.pop(key) for key in ("mean", "std")}
        preprocess = {key: _numbers(key, text) for key, text in texts.items() if text is not None}
        with status(f"loading {name}"):
            model = vx.load_model(name, preprocess=preprocess, **given)
            return vx.with_pictures(model, list(pictures)) if pictures else model


@dataclass(frozen=True, kw_only=True)
class SourceOnDevice(Source):
    """A model that is to run."""

    device: Device = "auto"


@dataclass(frozen=True, kw_only=True)
class SourceOrRandom(SourceOnDevice):
    """A model that is looked into, with random weights too."""

    pretrained: Pretrained = True


@dataclass(frozen=True, kw_only=True)
class SourceOfPrecision(SourceOrRandom):
    """A model that explains pictures, in half of the bytes too."""

    precision: Halved = "float32"


@dataclass(frozen=True, kw_only=True)
class SourceAsArgument(Source):
    """A model that is named first, and stays on the CPU."""

    model: Annotated[
        str, typer.Argument(help="'bundled', 'bundled-cifar10', a timm name, or a checkpoint.")
    ] = field()
    pretrained: Pretrained = True


@dataclass(frozen=True, kw_only=True)
class Spread:
    """Whether the work is this process's, or spread over the workers of a cluster."""

    engine: Annotated[
        str,
        typer.Option(help="local, or ray: over a Ray cluster or all of this machine's cores."),
    ] = "local"
    workers: Annotated[
        int | None, typer.Option(help="With --engine ray: how many at most.", min=1)
    ] = None

    def found(self, device: str) -> vx.RayEngine | None:
        """The engine, checked; None of this process. Raises OptionError as `RayEngine`."""
        from vit_explorer.cluster.engine import find_engine

        engine = find_engine(self.engine)  # type: ignore[arg-type]  # says what else it is
        if engine is not None:
            return vx.RayEngine(workers=self.workers, device=device)
        if self.workers is not None:
            raise OptionError(
                "error.workers.local",
                "--workers is for --engine ray; add that, or leave the workers out.",
            )
        return None


@dataclass(frozen=True, kw_only=True)
class Opening:
    """How pictures of many bands or bits are opened."""

    bands: Bands = None
    stretch: StretchRule = "auto"

    def options(self) -> dict[str, Any]:
        """The options of `open_picture`, checked before anything is loaded."""
        from vit_explorer.pictures.stretch import check_stretch

        opened: dict[str, Any] = {"stretch": self.stretch}
        if "," in self.stretch:
            opened["stretch"] = tuple(_number(part) for part in self.stretch.split(","))
        check_stretch(opened["stretch"])
        if self.bands is not None:
            opened["bands"] = tuple(_number(part) for part in self.bands.split(","))
        return opened


@dataclass(frozen=True, kw_only=True)
class Asked:
    """What is to be explained, and by which methods."""

    method: Methods = None
    option: Options = None
    target: Goals = None

    def names(self) -> list[str] | None:
        given = self.method
        return None if not given else [name for names in given for name in names.split(",")]

    def options(self) -> dict[str, dict[str, Any]]:
        return method_options(self.option or ())

    def single(self) -> str | None:
        """The one target. Raises OptionError where several were given."""
        given = self.target or ()
        if len(given) > 1:
            raise OptionError(
                "error.target.one",
                "This command explains one target at a time, and {count} were given; run it once "
                "for each, into its own --out.",
                count=len(given),
            )
        return given[0] if given else None


def joined(arguments: Sequence[str]) -> list[str]:
    """Arguments with the numbers after an option of `MANY` as one, "0.5,0.5,0.5": how many there
    are is the model's affair, and a parser takes a fixed count."""
    found: list[str] = []
    numbers: list[str] | None = None
    for argument in _repeated(arguments):
        if numbers is not None and isinstance(_number(argument), (int, float)):
            numbers.append(argument)
            continue
        found += [",".join(numbers)] if numbers else []
        numbers = [] if argument in MANY else None
        found.append(argument)
    return found + ([",".join(numbers)] if numbers else [])


def _repeated(arguments: Sequence[str]) -> list[str]:
    """Arguments with an option of `SEVERAL` before each that follows it, up to the next option."""
    found: list[str] = []
    option = ""
    for argument in arguments:
        if argument.startswith("-"):
            option = argument if argument in SEVERAL else ""
            found.append(argument)
        elif option and found[-1] == option:
            found.append(argument)
        else:
            found += [option, argument] if option else [argument]
    return found


def _numbers(name: str, text: str) -> tuple[float, ...]:
    try:
        return tuple(float(part) for part in text.replace(",", " ").split())
    except ValueError:
        raise OptionError(
            "error.option.channels",
            "--{name} was {text!r}, expected a number for each channel, such as 0.5 0.5 0.5.",
            name=name,
            text=text,
        ) from None


def check_out(out: Path) -> None:
    if out.exists() and not out.is_dir():
        raise OutputError(
            "error.out.file", "The output folder {out} is a file; name a folder.", out=out
        )


def method_options(given: Sequence[str]) -> dict[str, dict[str, Any]]:
    """Parse "rollout.fusion=max" and the like; numbers become numbers."""
    options: dict[str, dict[str, Any]] = {}
    for text in given:
        place, equals, value = text.partition("=")
        method, dot, name = place.partition(".")
        if not (equals and dot and method and name):
            raise OptionError(
                "error.option.text",
                "The option {text!r} was not understood, expected METHOD.NAME=VALUE such as "
                "rollout.fusion=max.",
                text=text,
            )
        options.setdefault(method, {})[name] = _number(value)
    return options


def _number(text: str) -> int | float | str:
    for kind in (int, float):
        try:
            return kind(text)
        except ValueError:
            continue
    return text
