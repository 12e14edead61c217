"""The documents: short enough, complete, their links and examples right, their site its own."""

from __future__ import annotations

import re
import shlex
from pathlib import Path
from typing import Any

import pytest
import typer

import vit_explorer as vx
from tests.documents import PAGES, ROOT, examples, links, places
from vit_explorer import cli

NAMES = [str(page.relative_to(ROOT)) for page in PAGES]
LONGEST = 1200  # words of the README
RUNNABLE = [
    pytest.param(code, id=f"{page.name}-{number}")
    for page in PAGES
    for number, (code, runs) in enumerate(examples(page, "python"))
    if runs
]
COMMANDS = [
    pytest.param(line, id=line)
    for page in PAGES
    for code, _ in examples(page, "bash")
    for line in code.replace("\\\n", " ").splitlines()
    if line.startswith("vit-explorer ")
]


def filled(page: Path) -> str:
    """A page as it is on the site, where its tables are made."""
    tables = pytest.importorskip("docs.hooks.tables", reason="the site's packages are not here")
    return tables.fill(page.read_text(encoding="utf-8"))


def test_the_readme_is_short() -> None:
    words = (ROOT / "README.md").read_text(encoding="utf-8").split()
    assert len(words) <= LONGEST


@pytest.mark.parametrize("page", PAGES, ids=NAMES)
def test_links_lead_somewhere(page: Path) -> None:
    for link in links(page):
        path, _, place = link.partition("#")
        target = (page.parent / path).resolve() if path else page
        assert target.exists(), link
        assert ROOT in target.parents, f"{link} leaves the repository"
        if place:
            text = target.read_text(encoding="utf-8")
            known = places(text if "<!-- made: " not in text else filled(target))
            assert place in known, link


def test_every_page_is_on_the_site_and_in_the_readme() -> None:
    listed = (ROOT / "mkdocs.yml").read_text(encoding="utf-8")
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    for page in (ROOT / "docs").glob("*.md"):
        assert re.search(rf"\b{page.name}$", listed, flags=re.MULTILINE), page.name
        assert page.name in {"index.md", "reference.md"} or f"(docs/{page.name})" in readme, page


def test_every_command_is_documented() -> None:
    page = (ROOT / "docs/commands.md").read_text(encoding="utf-8")
    made = filled(ROOT / "docs/commands.md")
    for name, command in cli.COMMANDS.items():
        assert f"vit-explorer {name}" in page
        assert f"{{ #{name} }}" in made
        assert command.__doc__
    assert "`--weights-image-size H W`" in made


def test_every_public_name_is_documented() -> None:
    page = (ROOT / "docs/python.md").read_text(encoding="utf-8")
    for name in vx.__all__:
        assert f"`{name}`" in page or f"`{name}," in page, name


def test_every_method_has_its_section_and_every_view_its_line() -> None:
    methods = filled(ROOT / "docs/methods.md")
    views = (ROOT / "docs/views.md").read_text(encoding="utf-8")
    for name, method in vx.METHODS.items():
        section = methods.partition(f"{{ #{name} }}")[2].partition("\n## ")[0]
        assert method.caveat in section
        assert method.source in section
        assert f"**Formula**: {method.formula}" in section
        assert all(f"`{option}=" in section for option in method.defaults)
    assert all(f"| `{name}` |" in views for name in vx.VIEWS)


def test_the_site_asks_no_other_host() -> None:
    offline = pytest.importorskip("docs.hooks.offline", reason="the site's packages are not here")
    page = """<link rel="canonical" href="https://a.example/"><a href="https://b.example">b</a>
    <script src="assets/own.js"></script><img src="data:image/png;base64,AA">
    <link rel="stylesheet" href="https://c.example/font.css"><img src="//d.example/p.png">
    <img srcset="own.png 1x, https://e.example/p.png 2x">"""
    found = list(offline.requests(page, ".html"))
    assert [re.sub(r"\W*(https:)?//(\w).*", r"\2", each) for each in found] == ["c", "d", "e"]
    style = "@import '//f.example/a.css'; a { b: url(own.png) url(https://g.example/x.woff2) }"
    assert len(list(offline.requests(style, ".css"))) == 2


def test_the_site_moves_links_to_where_things_lie_there() -> None:
    repository = pytest.importorskip("docs.hooks.repository", reason="the site's are not here")
    shown = {"a.md", "CONTRIBUTING.md", "assets/cat.png"}
    moved = repository.moved("[c](../CONTRIBUTING.md#x) ![p](../assets/cat.png)", "a.md", shown)
    assert moved == "[c](CONTRIBUTING.md#x) ![p](assets/cat.png)"
    assert repository.moved("see [`t.py`](../tests/t.py).", "a.md", shown) == "see `t.py`."
    assert repository.moved("[a](docs/a.md) [b](a.md)", "CONTRIBUTING.md", shown) == (
        "[a](a.md) [b](a.md)"
    )
    assert repository.moved("[w](https://w.example/) [a](a.md)", "a.md", shown) == (
        "[w](https://w.example/) [a](a.md)"
    )


@pytest.mark.parametrize("code", RUNNABLE)
def test_examples_in_python_run(code: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "assets").symlink_to(ROOT / "assets")
    monkeypatch.chdir(tmp_path)
    exec(compile(code, "example", "exec"), {})


@pytest.mark.parametrize("page", PAGES, ids=NAMES)
def test_other_examples_in_python_are_python(page: Path) -> None:
    for code, _ in examples(page, "python"):
        compile(code, page.name, "exec")


@pytest.mark.parametrize("line", COMMANDS)
def test_commands_in_examples_can_be_given(line: str) -> None:
    _, name, *arguments = shlex.split(line, comments=True)
    group: Any = typer.main.get_command(cli.app)
    given = group.commands[name].make_context(name, arguments).params
    assert given
