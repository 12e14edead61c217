"""The command line: thin commands over the package's functions."""

from __future__ import annotations

import dataclasses
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Table
from tqdm import tqdm

import vit_explorer as vx
from vit_explorer.errors import ExplorerError, ModelError, OptionError, OutputError
from vit_explorer.explanation import folder_name

if TYPE_CHECKING:
    from vit_explorer import training

app = typer.Typer(
    name="vit-explorer",
    help="See how a Vision Transformer reads a picture, and whether to trust what you see.",
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)

DEFAULT_METHODS = ("rollout", "grad_cam")

Model = Annotated[str, typer.Option(help="'bundled', a timm name, or a checkpoint of `train`.")]
Weights = Annotated[Path | None, typer.Option(help="Checkpoint: .safetensors, .pth or .pt.")]
Labels = Annotated[Path | None, typer.Option(help="Class names: one a line, or JSON.")]
ImageSize = Annotated[
    tuple[int, int] | None,
    typer.Option(help="Height and width in pixels; positions are interpolated.", metavar="H W"),
]
Device = Annotated[str, typer.Option(help="auto, cpu or cuda.")]
Data = Annotated[
    str, typer.Option(help="'cifar10' (downloaded), CIFAR-10's files, or class folders.")
]
Precision = Annotated[str, typer.Option(help="auto, no (float32), bf16, or fp16 on a GPU.")]
Pretrained = Annotated[
    bool, typer.Option("--pretrained/--random", help="The hub's weights, or random ones.")
]


def _print_version(wanted: bool) -> None:
    if wanted:
        print(f"vit-explorer {vx.__version__}")
        raise typer.Exit


@app.callback()
def options_of_all(
    version: Annotated[
        bool,
        typer.Option(
            "--version", help="Print the version.", callback=_print_version, is_eager=True
        ),
    ] = False,
) -> None:
    """See how a Vision Transformer reads a picture, and whether to trust what you see."""


@app.command("app")
def serve(
    host: Annotated[str, typer.Option(help="Address to listen on.")] = "127.0.0.1",
    port: Annotated[
        int, typer.Option(help="Port to listen on; 0 takes a free one.", min=0, max=65535)
    ] = 7860,
    model: Model = "bundled",
    weights: Weights = None,
    labels: Labels = None,
    image_size: ImageSize = None,
    device: Device = "auto",
    pretrained: Pretrained = True,
    allow_host: Annotated[
        list[str] | None,
        typer.Option(help="A further name the page answers to, such as a proxy's."),
    ] = None,
    open_browser: Annotated[
        bool, typer.Option("--open/--no-open", help="Open the page in a browser.")
    ] = False,
    allow_training: Annotated[
        bool,
        typer.Option(
            "--allow-training",
            help="Let the page train models. With a --host that others reach, they can then have "
            "this machine read any folder of pictures, compute, and write under --runs.",
        ),
    ] = False,
    runs: Annotated[Path, typer.Option(help="Folder for what --allow-training trains.")] = Path(
        "runs"
    ),
) -> None:
    """Start the page."""
    from vit_explorer import ui

    loaded = _load(model, weights, labels, image_size, device, pretrained)
    ui.serve(
        loaded,
        host=host,
        port=port,
        device=device,
        hosts=allow_host or (),
        open_browser=open_browser,
        film=ui.find_film(model, weights),
        runs=runs if allow_training else None,
    )


@app.command()
def explain(
    images: Annotated[list[Path], typer.Argument(help="Pictures.", metavar="IMAGE...")],
    model: Model = "bundled",
    weights: Weights = None,
    labels: Labels = None,
    method: Annotated[
        list[str] | None,
        typer.Option(
            help="A method, several with commas between, or 'all'; else rollout,grad_cam."
        ),
    ] = None,
    option: Annotated[
        list[str] | None, typer.Option(help="A method's option.", metavar="METHOD.NAME=VALUE")
    ] = None,
    target: Annotated[str | None, typer.Option(help="Class label or index; else the top.")] = None,
    image_size: ImageSize = None,
    device: Device = "auto",
    pretrained: Pretrained = True,
    trust: Annotated[
        bool, typer.Option("--trust", help="Compare each map with chance; takes seconds.")
    ] = False,
    out: Annotated[Path, typer.Option(help="Folder for the results.")] = Path("out"),
) -> None:
    """Explain pictures: predictions as a table, overlays and numbers as files."""
    methods = [name for given in method or DEFAULT_METHODS for name in given.split(",")]
    options = _options(option or ())
    if out.exists() and not out.is_dir():
        raise OutputError(f"The output folder {out} is a file; name a folder.")
    for image in images:  # nothing is written if one of them is wrong, and none is held
        vx.open_picture(image)
    loaded = _load(model, weights, labels, image_size, device, pretrained)
    console = Console()
    names = _distinct([folder_name(image.name) for image in images])
    for name, image in zip(names, _progress(images), strict=True):
        result = vx.explain(loaded, image, methods=methods, target=target, options=options)
        if trust:
            result = _judged(loaded, result)
        folder = result.save(out, name=name)
        console.print(_predictions(result))
        if result.trust is not None:
            console.print(_verdicts(result.trust))
        for skipped, reason in result.skipped.items():
            console.print(f"{skipped} left out: {escape(reason)}", highlight=False)
        console.print(f"written to {folder}/", highlight=False, markup=False, soft_wrap=True)


@app.command()
def models(
    pattern: Annotated[str, typer.Argument(help="Part of a name.")] = "",
) -> None:
    """List the models that can be loaded by name."""
    names = [name for name in vx.available_models() if pattern.casefold() in name.casefold()]
    if not names:
        raise ModelError(f"No model's name holds {pattern!r}; `vit-explorer models` lists all.")
    print("\n".join(names))


@app.command()
def methods() -> None:
    """List the methods with their options, sources and caveats."""
    table = Table("method", "what it shows", "options", "source", "caveat", show_lines=True)
    for name, method in vx.METHODS.items():
        options = "\n".join(f"{key}={value}" for key, value in method.defaults.items())
        table.add_row(name, method.summary, options, method.source, method.caveat)
    Console().print(table)


@app.command()
def inspect(
    model: Annotated[str, typer.Argument(help="'bundled', a timm name, or a checkpoint.")],
    weights: Weights = None,
    labels: Labels = None,
    image_size: ImageSize = None,
    pretrained: Pretrained = True,
) -> None:
    """Show what is detected in a model."""
    loaded = _load(model, weights, labels, image_size, "cpu", pretrained)
    table = Table("what", "detected", show_header=False)
    table.columns[1].overflow = "fold"
    for key, value in loaded.card.to_dict().items():
        table.add_row(key.replace("_", " "), escape(_readable(value)))
    table.add_row("weights sha256", loaded.sha256)
    for key, value in loaded.metadata.get("metrics", {}).items():
        table.add_row(f"measured {key}", escape(_readable(value)))
    Console().print(table)


@app.command()
def train(
    recipe: Annotated[
        str | None, typer.Argument(help="A recipe's name or YAML file; none lists the names.")
    ] = None,
    data: Data = "cifar10",
    out: Annotated[Path | None, typer.Option(help="Run folder; else runs/RECIPE.")] = None,
    change: Annotated[
        list[str] | None,
        typer.Option("--set", help="A setting to change.", metavar="KEY=VALUE"),
    ] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Go on with the run.")] = False,
    device: Device = "auto",
    precision: Precision = "auto",
) -> None:
    """Train a model by a recipe; Ctrl-C keeps what --resume goes on with."""
    from vit_explorer import training

    if recipe is None:
        for name in training.list_recipes():
            print(f"{name:22} {training.load_recipe(name).description}")
        return
    result = training.train(
        recipe,
        data=data,
        out=out,
        resume=resume,
        overrides=change or (),
        device=device,
        precision=precision,
        progress=True,
    )
    if not result.finished:
        kept = result.folder / "recipe.yaml"
        print(
            f"stopped; go on with: vit-explorer train {kept} --data {data} "
            f"--out {result.folder} --resume"
        )
    elif result.metrics is not None:  # the main process alone measures
        _print_metrics(result.metrics)
        print(f"written to {result.folder}/")


@app.command()
def evaluate(
    data: Data = "cifar10",
    model: Model = "bundled",
    weights: Weights = None,
    labels: Labels = None,
    image_size: ImageSize = None,
    device: Device = "auto",
    precision: Annotated[str, typer.Option(help="no (float32) or bf16.")] = "no",
) -> None:
    """Measure a model on a data set's test pictures."""
    from vit_explorer import training

    loaded = _load(model, weights, labels, image_size, device, True)
    metrics = training.evaluate(loaded, data, precision=precision, progress=sys.stderr.isatty())
    _print_metrics(metrics)


@app.command("export-images")
def export_images(
    out: Annotated[Path, typer.Argument(help="A new folder.")],
    data: Data = "cifar10",
) -> None:
    """Write a data set as class folders of PNG files."""
    from vit_explorer import training

    count = training.export_images(data, out, progress=sys.stderr.isatty())
    print(f"{count:,} pictures written to {out}/")


def _print_metrics(metrics: training.Metrics) -> None:
    print(f"accuracy           {metrics.accuracy:.2%} of {metrics.samples:,} pictures")
    print(f"cross-entropy      {metrics.nll:.4f}")
    print(f"calibration error  {metrics.ece:.4f}")


def _load(
    model: str,
    weights: Path | None,
    labels: Path | None,
    image_size: tuple[int, int] | None,
    device: str,
    pretrained: bool,
) -> vx.LoadedModel:
    with _status(f"loading {model}"):
        return vx.load_model(
            model,
            weights=weights,
            labels=labels,
            image_size=image_size,
            device=device,
            pretrained=pretrained,
        )


@contextmanager
def _status(text: str) -> Iterator[None]:
    console = Console(stderr=True)
    if not console.is_terminal:
        yield
        return
    with console.status(text):
        yield


def _progress(pictures: Sequence[Path]) -> Iterator[Path]:
    shown = len(pictures) > 1 and sys.stderr.isatty()
    yield from tqdm(pictures, desc="explaining", unit="picture", disable=not shown)


def _options(given: Sequence[str]) -> dict[str, dict[str, Any]]:
    """Parse "rollout.fusion=max" and the like; numbers become numbers."""
    options: dict[str, dict[str, Any]] = {}
    for text in given:
        place, equals, value = text.partition("=")
        method, dot, name = place.partition(".")
        if not (equals and dot and method and name):
            raise OptionError(
                f"The option {text!r} was not understood, expected METHOD.NAME=VALUE such as "
                "rollout.fusion=max."
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


def _distinct(stems: Sequence[str]) -> list[str]:
    """Folder names, numbered where two pictures share one."""
    taken: set[str] = set()
    names = []
    for stem in stems:
        number, name = 1, stem
        while name in taken:
            number += 1
            name = f"{stem}-{number}"
        taken.add(name)
        names.append(name)
    return names


def _predictions(result: vx.Explanation) -> Table:
    table = Table(title=escape(result.picture.name), title_justify="left")
    table.add_column("class")
    table.add_column("probability", justify="right")
    table.add_column("index", justify="right")
    for prediction in result.predictions:
        table.add_row(
            escape(prediction.label), f"{prediction.probability:.1%}", str(prediction.index)
        )
    return table


def _judged(model: vx.LoadedModel, result: vx.Explanation) -> vx.Explanation:
    with tqdm(desc="comparing with chance", unit="picture", disable=not sys.stderr.isatty()) as bar:

        def show(done: int, total: int) -> None:
            bar.total = total
            bar.update(done - bar.n)

        trust = vx.faithfulness(model, result.prepared, result.heatmaps, progress=show)
    return dataclasses.replace(result, trust=trust)


def _verdicts(trust: vx.Faithfulness) -> Table:
    table = Table(title="insertion − deletion = gain: higher is better", title_justify="left")
    table.add_column("map", no_wrap=True)
    for heading in ("insertion", "deletion", "gain"):
        table.add_column(heading, justify="right")
    table.add_column("verdict")

    def add(name: str, insertion: float, deletion: float, verdict: str = "") -> None:
        numbers = (f"{value:.3f}" for value in (insertion, deletion, insertion - deletion))
        table.add_row(name, *numbers, verdict)

    for name, score in trust.scores.items():
        add(name, score.insertion, score.deletion, trust.verdict(name))
    add("a Gaussian in the middle", trust.gaussian.insertion, trust.gaussian.deletion)
    chance = trust.random
    insertion = sum(score.insertion for score in chance) / len(chance)
    deletion = sum(score.deletion for score in chance) / len(chance)
    add(f"mean of {len(chance)} random maps", insertion, deletion)
    return table


def _readable(value: Any) -> str:
    if isinstance(value, (tuple, list)):
        return ", ".join(map(_readable, value)) or "none"
    if isinstance(value, float):
        return f"{value:.4g}"
    return f"{value:,}" if isinstance(value, int) else str(value)


def main(arguments: Sequence[str] | None = None) -> None:
    """Run a command; exit code 2 and one line on stderr for bad usage or bad input."""
    arguments = sys.argv[1:] if arguments is None else arguments
    try:
        code = app(args=list(arguments) or ["--help"], standalone_mode=False)
    except ExplorerError as error:
        _fail(str(error))
    except typer.TyperException as error:
        _fail(error.format_message())
    except (typer.Abort, KeyboardInterrupt):
        print("vit-explorer: stopped", file=sys.stderr)
        raise SystemExit(130) from None
    raise SystemExit(code or 0)


def _fail(message: str) -> None:
    print(f"vit-explorer: {' '.join(message.split())}", file=sys.stderr)
    raise SystemExit(2) from None
