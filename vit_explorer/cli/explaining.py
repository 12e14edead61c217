"""The commands that explain pictures and describe models and methods."""

from __future__ import annotations

import dataclasses
import sys
from collections.abc import Sequence
from contextlib import closing
from functools import partial
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from tqdm import tqdm

import vit_explorer as vx
from vit_explorer.cli import tables
from vit_explorer.cli.options import (
    AsJson,
    Asked,
    ImageSize,
    Opening,
    Out,
    Pretrained,
    Source,
    SourceAsArgument,
    SourceOfPrecision,
    Spread,
    Weights,
    check_out,
)
from vit_explorer.cli.printing import line, marked, say, say_json
from vit_explorer.cli.progress_bars import counted, method_bars
from vit_explorer.errors import ModelError, OptionError
from vit_explorer.options import one_of
from vit_explorer.sentences import Sentence


def explain(
    images: Annotated[list[Path], typer.Argument(help="Pictures.", metavar="IMAGE...")],
    source: SourceOfPrecision,
    asked: Asked,
    opening: Opening,
    trust: Annotated[
        bool, typer.Option("--trust", help="Compare each map with chance; takes seconds.")
    ] = False,
    protocol: Annotated[
        str | None,
        typer.Option(
            help="Compare with chance by covered 'pixels' or by 'tokens' taken out alone; --trust "
            "does both where tokens can be taken out."
        ),
    ] = None,
    out: Out = Path("out"),
) -> None:
    """Explain pictures: predictions as a table, overlays and numbers as files."""
    from vit_explorer.analysis.faithfulness import PROTOCOLS, protocols_of
    from vit_explorer.explaining.explanation import folder_name, folder_of_target
    from vit_explorer.explaining.folders import distinct

    methods, options, how = asked.names(), asked.options(), opening.options()
    check_out(out)
    if protocol is not None:
        one_of(Sentence("part.protocol", "protocol"), protocol, PROTOCOLS)

    def opened(image: Path) -> vx.Picture:
        return vx.open_picture(image, **how)

    for image in images:  # nothing is written if one of them is wrong, and none is held
        opened(image)
    loaded = source.load()
    protocols: Sequence[Any] = protocols_of(loaded) if trust else ()
    protocols = protocols if protocol is None else (protocol,)
    console = Console()
    targets: list[str | None] = [*(asked.target or (None,))]
    names = list(distinct(folder_name(image.name) for image in images))
    # Several targets of a picture share its folder, and its passes.
    places = [(out, name) for name in names]
    if len(targets) > 1:
        places = [(out / name, folder_of_target(one)) for name in names for one in targets]
    with method_bars() as progress:
        results = vx.explain_many(
            loaded,
            (picture for image in images for picture in [opened(image)] * len(targets)),
            methods,
            targets * len(images) if len(targets) > 1 else targets[0],
            options=options,
            progress=progress,
        )
        told = counted(results, len(places), "explaining")
        for (above, name), result in zip(places, told, strict=True):
            judged = _judged(loaded, result, protocols) if protocols else result
            folder = judged.save(above, name=name)
            _print(console, judged)
            say(f"written to {folder}/")


def report(
    images: Annotated[list[Path], typer.Argument(help="Pictures.", metavar="IMAGE...")],
    source: SourceOfPrecision,
    asked: Asked,
    opening: Opening,
    trust: Annotated[
        bool, typer.Option("--trust/--no-trust", help="Compare each map with chance.")
    ] = True,
    out: Annotated[Path, typer.Option(help="The file to write.")] = Path("report.html"),
) -> None:
    """Explain pictures in one HTML file that opens anywhere, without server or network."""
    from vit_explorer.analysis.faithfulness import protocols_of

    methods, options, how = asked.names(), asked.options(), opening.options()
    if out.is_dir():
        raise OptionError(
            "error.report.folder",
            "--out was the folder {out}, expected a file such as report.html.",
            out=str(out),
        )
    for image in images:  # nothing is written if one of them is wrong, and none is held
        vx.open_picture(image, **how)
    loaded = source.load()
    judging = trust and loaded.card.outputs != "embedding"
    protocols = protocols_of(loaded) if judging else ()
    with method_bars() as progress:
        results = vx.explain_many(
            loaded, (vx.open_picture(image, **how) for image in images), methods, asked.target,
            options=options, progress=progress,
        )  # fmt: skip
        given = [
            _judged(loaded, result, protocols) if protocols and result.target else result
            for result in counted(results, len(images), "explaining")
        ]
    written = vx.save_report(given, out)
    say(f"written to {written} ({written.stat().st_size / 1e6:.1f} MB)")


def _print(console: Console, judged: vx.Explanation) -> None:
    """Predictions, what the maps are worth, and what there is to beware of."""
    from vit_explorer.models.outputs import no_predictions

    if judged.predictions:
        console.print(tables.predictions_table(judged))
    else:
        console.print(no_predictions(judged.card), highlight=False, markup=False)
    if judged.picture.stretch is not None:
        say(f"stretched by {judged.picture.stretch}")
    for trust in judged.trust.values():
        console.print(tables.trust_table(trust))
    for name, differs in judged.protocols_differ.items():
        console.print(f"{name}: {marked(differs)}", highlight=False, soft_wrap=True)
    if judged.unsure:
        console.print(marked(tables.unsure_line(judged)), highlight=False)
    for skipped, reason in judged.skipped.items():
        console.print(f"{skipped} left out: {marked(reason)}", highlight=False)


def batch(
    folder: Annotated[
        Path,
        typer.Argument(help="Pictures, also in its subfolders; with --engine ray also a table."),
    ],
    source: SourceOfPrecision,
    asked: Asked,
    opening: Opening,
    spread: Spread,
    batch_size: Annotated[
        int | None, typer.Option(help="Pictures a pass; else as many as pay.", min=1)
    ] = None,
    resume: Annotated[
        bool,
        typer.Option("--resume", help="Keep results of the same picture, model and methods."),
    ] = False,
    trust: Annotated[
        bool, typer.Option("--trust", help="With --engine ray: compare each map with chance.")
    ] = False,
    out: Out = Path("out"),
) -> None:
    """Explain a folder of pictures, and sum them up in summary.csv and summary.json.

    Results go into --out, in subfolders named as those of FOLDER; with --engine ray into Parquet
    files in --out/parts/. Pictures that can't be used are named on stderr and passed over; the exit
    code is then 2, and the others are written.
    """
    from vit_explorer.explaining.folders import explain_folder, find_pictures
    from vit_explorer.explaining.spread_folder import find_listed

    methods, options, opened = asked.names(), asked.options(), opening.options()
    target = asked.single()
    check_out(out)
    engine = spread.found(source.device)
    if engine is None:
        files, left_out = (found := find_pictures(folder, out)).files, found.left_out
    else:
        listed = find_listed(folder, out)
        files, left_out = tuple(listed.pictures.values()), listed.left_out
    total = len(files)
    loaded = source.load() if engine is None else source.load(device="cpu")
    failed = 0
    with method_bars() as progress:
        outcomes = explain_folder(
            loaded, folder, out, methods, target,
            options=options, progress=progress, batch_size=batch_size, resume=resume,
            engine=engine or "local", trust=trust, **opened,
        )  # fmt: skip
        with closing(outcomes):  # sums up what is done, also after Ctrl-C
            for outcome in counted(outcomes, total, "explaining"):
                if outcome.error:
                    failed += 1
                    tqdm.write(line(f"{outcome.picture}: {outcome.error}"), file=sys.stderr)
    say(f"{total - failed:,} of {total:,} pictures explained, written to {out}/ (summary.csv)")
    if left := left_out.sentence():
        say(left)
    raise typer.Exit(2 if failed else 0)


def models(
    pattern: Annotated[str, typer.Argument(help="Part of a name.")] = "",
) -> None:
    """List the models that can be loaded by name."""
    from vit_explorer.models.shipped import SHIPPED

    names = [name for name in vx.available_models() if pattern.casefold() in name.casefold()]
    if not names:
        raise ModelError(
            "error.models.none",
            "No model's name holds {pattern!r}; `vit-explorer models` lists all.",
            pattern=pattern,
        )
    for name in names:
        print(f"{name:17} {SHIPPED[name].knows}" if name in SHIPPED else name)


def methods(
    model: Annotated[
        str | None, typer.Option(help="List what this model allows, and why not the others.")
    ] = None,
    weights: Weights = None,
    image_size: ImageSize = None,
    pretrained: Pretrained = True,
) -> None:
    """List the methods with their options, sources and caveats, the most believed first."""
    from vit_explorer.methods import in_order
    from vit_explorer.models.needs import why_not

    console = Console()
    reasons: dict[str, list[str]] = {}
    if model is not None:
        asked = Source(model=model, weights=weights, image_size=image_size)
        loaded = asked.load(device="cpu", pretrained=pretrained)
        for method in in_order():
            reasons.setdefault(why_not(loaded.card, method.needed), []).append(method.name)
    allowed = reasons.pop("", [method.name for method in in_order()])
    console.print(tables.methods_table({name: vx.METHODS[name] for name in allowed}))
    for reason, names in reasons.items():
        console.print(f"left out: {', '.join(names)}: {marked(reason)}", highlight=False)


def inspect(
    source: SourceAsArgument,
    as_json: AsJson = False,
) -> None:
    """Show what is detected in a model."""
    loaded = source.load(device="cpu")
    if as_json:
        metrics = loaded.metadata.get("metrics", {})
        content = {
            **loaded.to_dict(),
            "labels": loaded.labels,
            "labels_zh": loaded.labels_zh,
            "metrics": metrics,
            "trained_on": loaded.trained_on,
        }
        say_json(content)
        return
    Console().print(tables.model_table(loaded))


def _judged(
    model: vx.LoadedModel, result: vx.Explanation, protocols: Sequence[Any]
) -> vx.Explanation:
    trust = {}
    with method_bars(unit="picture") as progress:
        for protocol in protocols:
            told = partial(progress, f"comparing with chance by {protocol}") if progress else None
            trust[protocol] = vx.faithfulness(
                model, result.prepared, result.heatmaps,
                target=result.trace.aim, protocol=protocol, progress=told,
            )  # fmt: skip
    return dataclasses.replace(result, trust=trust)
