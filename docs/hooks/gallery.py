"""The gallery: every method and view on the pictures that ship, made when the site is built."""

from __future__ import annotations

import io
from functools import cache

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from PIL import Image

import vit_explorer as vx
from vit_explorer.errors import ExplorerError
from vit_explorer.models.shipped import BUNDLED, asset

PICTURE = "cat.png"
OTHERS = ("rocket.jpg", "astronaut.png", "coffee.png")
BRIEF = ("rollout", "grad_cam", "legrad", "occlusion")
WIDTH = 240
PART = "<!-- gallery: {} -->"


def jpeg(picture: Image.Image) -> bytes:
    """A picture as it stands in the gallery."""
    size = (WIDTH, round(WIDTH * picture.height / picture.width))
    written = io.BytesIO()
    picture.convert("RGB").resize(size, Image.Resampling.LANCZOS).save(written, "JPEG", quality=85)
    return written.getvalue()


def figures(title: str, text: str, name: str) -> str:
    """A picture with its caption."""
    return (
        f'<figure markdown="span">![{text}]({name})<figcaption markdown="span">{title}'
        "</figcaption></figure>"
    )


@cache
def made() -> tuple[dict[str, bytes], dict[str, str]]:
    """The gallery's files by their places on the site, and its parts as Markdown by their names."""
    model = vx.load_model(BUNDLED)
    files: dict[str, bytes] = {}
    parts: dict[str, list[str]] = {"methods": [], "pictures": [], "views": []}

    def show(part: str, result: vx.Explanation, name: str, title: str) -> None:
        place = f"gallery/{result.picture.name.partition('.')[0]}_{name}.jpg"
        files[place] = jpeg(result.overlay(name))
        parts[part].append(figures(title, result.describe(name), place))

    result = vx.explain(model, asset(PICTURE), methods="all")
    for name in result.heatmaps:
        show("methods", result, name, f"[{vx.METHODS[name].title}](methods.md#{name})")
    for other in OTHERS:
        result = vx.explain(model, asset(other), methods=BRIEF)
        said = result.predictions[0]
        for name in result.heatmaps:
            show("pictures", result, name, f"{said.label}, {vx.METHODS[name].title}")
    passed = vx.trace(model, asset(PICTURE))
    for name, view in vx.VIEWS.items():
        try:
            figure, _ = view.draw(passed)
        except ExplorerError:
            continue  # the bundled model lacks what it needs
        written = io.BytesIO()
        figure.savefig(written, format="png", dpi=90)
        files[f"gallery/view_{name}.png"] = written.getvalue()
        parts["views"].append(figures(view.title, view.summary, f"gallery/view_{name}.png"))
    return files, {part: "\n".join(shown) for part, shown in parts.items()}


def on_files(files: Files, *, config: MkDocsConfig) -> Files:
    """MkDocs calls this before it reads pages."""
    for place, content in made()[0].items():
        files.append(File.generated(config, place, content=content))
    return files


def on_page_markdown(markdown: str, **_: object) -> str:
    """MkDocs calls this for each page."""
    for part, shown in made()[1].items():
        markdown = markdown.replace(PART.format(part), shown)
    return markdown
