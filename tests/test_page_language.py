"""The page in its two languages: both complete, and every sentence of the page comes from them."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Callable
from fnmatch import fnmatch
from functools import cache
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import torch

import vit_explorer as vx
from tests.browser import (
    READY,
    open_explorer,
    pixels,
    settle,
    show,
    tabs_of,
    unexpected,
    wait_for_picture,
    wait_quiet,
    watched_page,
)
from tests.conftest import load_small
from tests.endings import ENDINGS, Lambda, head, load
from tests.odd_vits import SIZE, OddViT, transform
from tests.sentences import places, sentences
from vit_explorer.models.vit import VisionTransformer, ViTConfig
from vit_explorer.page.routes.results import words
from vit_explorer.page.static_files import languages, static_folder
from vit_explorer.sentences import Sentence

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

SOURCES = {
    str(file.relative_to(static_folder())): file.read_text(encoding="utf-8")
    for file in static_folder().rglob("*.js")
}
HAN = re.compile(r"[\u4e00-\u9fff]")
# Names that are written alike in Chinese.
SAME = re.compile(r"[A-Z][\w+-]*|timm.*|bundled|(?:[^A-Za-z{]|\{\w+\})*")


def table(language: str) -> dict[str, str]:
    text = (static_folder() / "lang" / f"{language}.json").read_text(encoding="utf-8")
    pairs = json.loads(text, object_pairs_hook=list)
    assert len(pairs) == len(dict(pairs)), "a key is there twice"
    return dict(pairs)


@cache
def english() -> dict[str, str]:
    """All that is said: by the scripts, of methods and recipes, and by the server."""
    said = {key: text for key, (text,) in sentences().items()}
    return said | words() | table("en")


def test_both_tables_have_the_same_keys() -> None:
    assert set(table("en")) & set(words()) == set()
    # What the page shows may say in words what Python says as an argument.
    own = {"outputs.found.named", "outputs.found.unnamed"}
    assert set(table("en")) & set(sentences()) == own
    assert sorted(set(english()) ^ set(table("zh"))) == []


def test_both_tables_have_the_same_places_in_each_sentence() -> None:
    chinese = table("zh")
    own = english().items()
    assert [key for key, text in own if places(text) != places(chinese[key])] == []


def test_the_chinese_is_chinese() -> None:
    untranslated = {
        key: text
        for key, text in table("zh").items()
        if not HAN.search(text) and not SAME.fullmatch(text)
    }
    assert set(untranslated) <= {"language.tag"}
    assert [key for key, text in english().items() if HAN.search(text)] == []


def keys_in(code: str) -> set[str]:
    """The keys of words that a script may say: those in quotes, and those it puts together."""
    plain = set(re.findall(r'"([a-z]\w*(?:\.\w+)*)"', code))
    made = [
        re.sub(r"\$\{[^}]*\}", "*", key)
        for key in re.findall(r"`([a-z]\w*\.[\w.]*\$\{[^`]+)`", code)
    ]
    return {key for key in english() if key in plain or any(fnmatch(key, one) for one in made)}


def test_every_word_on_the_page_is_used_and_there() -> None:
    code = "".join(SOURCES.values())
    server = {"language.name", "language.tag", "state.broken", "login.token"} | set(sentences())
    assert set(english()) - server - keys_in(code) == set()
    assert set(re.findall(r'\bt\("([^"]+)"', code)) <= set(english())


def group_of(key: str) -> str:
    return key.partition(".")[0]


def room_of(name: str) -> str:
    """The room of a script, a view by its own name."""
    room, *rest = name.split("/")
    return rest[0] if room == "views" else f"{room}/"


VIEWS = {room_of(name) for name in SOURCES if name.startswith("views/")}


def strangers(sources: dict[str, str]) -> tuple[dict[str, set[str]], set[str]]:
    """Words of a view that others say, with who does; and groups that one view alone says, though
    they don't have its name."""
    rooms: dict[str, set[str]] = {}
    for name, code in sources.items():
        for key in keys_in(code) & set(table("en")):
            rooms.setdefault(key, set()).add(room_of(name))
    groups: dict[str, set[str]] = {}
    for key, said in rooms.items():
        groups.setdefault(group_of(key), set()).update(said)
    wrong = {
        key: others
        for key, said in rooms.items()
        if group_of(key) in VIEWS and (others := said - {group_of(key)})
    }
    return wrong, {
        group
        for group, said in groups.items()
        if group not in VIEWS and len(said) == 1 and said <= VIEWS
    }


def test_a_view_says_its_own_words_and_common_ones() -> None:
    """A view's words begin with its name, so that they are found; all others are common."""
    assert strangers(SOURCES) == ({}, set())


def test_a_strange_word_would_be_found() -> None:
    sources = SOURCES | {
        "views/model/x.js": 't("learn.next")',
        "views/learn/y.js": "t(`compare.${x}`)",
    }
    wrong, _ = strangers(sources)
    assert wrong["learn.next"] == {"model"}
    assert wrong["compare.first"] == {"learn"}
    _, lone = strangers({"views/model/x.js": 't("camera.title")'})
    assert lone == {"camera"}


@pytest.mark.parametrize("language", ["en", "zh"])
def test_a_group_s_words_stand_together(language: str) -> None:
    groups = [group for group, _ in groupby(table(language), key=group_of)]
    assert [group for group in set(groups) if groups.count(group) > 1] == []


def key_of(said: str) -> str:
    assert isinstance(said, Sentence), said
    assert said.key in table("zh")
    return said.key


class BothRead(OddViT):
    """Its head reads the class token and the patches' mean."""

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        patches = (self.conv(images) + self.places).flatten(2).transpose(1, 2)
        x = torch.cat([self.c.expand(len(patches), -1, -1), patches], 1)
        for block in self.layers:
            x = block(x)
        x = self.end(x)
        return self.head(x[:, 0] + x[:, 1:].mean(1))


def test_every_note_of_a_map_has_a_key(small: vx.LoadedModel, cat: Path) -> None:
    size = {"image_size": (24, 32), "patch_size": (8, 8), "dim": 32, "depth": 2, "heads": 2}
    others = [
        ViTConfig(**size, classes=5, pooling="mean", class_token=own) for own in (True, False)
    ]
    keys = set()
    written = Lambda(lambda m, x: m.head(x).exp() / m.head(x).exp().sum(-1, True), head=head(3))
    own = [load_small(VisionTransformer(config)) for config in others]
    own += [
        vx.load_model(odd, transform=transform, image_size=SIZE)
        for odd in (OddViT(post=True).eval(), BothRead().eval())
    ]
    for model in (small, load(written), *own):
        found = vx.explain(model, cat, methods="all")
        assert set(found.heatmaps) | set(found.skipped) == set(vx.METHODS)
        keys |= {key_of(why) for why in found.skipped.values()}
        keys |= {key_of(one.note) for one in found.heatmaps.values() if one.note}
    seen = {"note.patches", "note.noclass", "note.probabilities", "note.completeness"}
    assert seen <= keys


@pytest.mark.parametrize("name", ENDINGS)
def test_every_way_to_know_outputs_has_a_key(name: str) -> None:
    assert key_of(load(ENDINGS[name][0]()).card.outputs_found).startswith("outputs.found.")


def test_a_language_is_a_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = shutil.copytree(static_folder(), tmp_path / "client")
    for other in (folder / "lang").glob("*.json"):
        if other.stem not in ("en", "zh"):
            other.unlink()
    words = {"language.name": "Deutsch", "language.tag": "de", "tab.explain": "Erklären"}
    (folder / "lang/de.json").write_text(json.dumps(words), encoding="utf-8")
    monkeypatch.setattr("vit_explorer.page.static_files.static_folder", lambda: folder)
    offered = [language.describe() for language in languages()]
    assert offered == [
        {"code": "de", "tag": "de", "name": "Deutsch"},
        {"code": "en", "tag": "en", "name": "English"},
        {"code": "zh", "tag": "zh-CN", "name": "中文 (Chinese)"},
    ]


@pytest.mark.parametrize("code", [one.code for one in languages()])
def test_a_language_says_only_what_there_is_to_say(code: str) -> None:
    """A further language may lack sentences; those that it has are known, with the same places."""
    own = table(code)
    assert {"language.name", "language.tag"} <= set(own)
    assert sorted(set(own) - set(english())) == []
    assert [key for key, text in own.items() if places(text) != places(english()[key])] == []


# Children of el(…), and the attributes that a reader sees or hears.
SHOWN = (
    r"""(?:\b(?:title|placeholder|alt)|"aria-(?:label|valuetext|description)")\s*[:,]\s*["`]([^"`]*)["`]""",
    r"""\bsetText\([^,]+,\s*["`]([^"`]*)["`]""",
    r"""\}\s*,\s*["`]([^"`]*)["`]\s*[,)]""",
    r"""\.textContent\s*=\s*["`]([^"`]*)["`]""",
)
# The page's own name and its command are written alike everywhere.
NAMES = {"ViT Explorer", "vit-explorer app"}


def spoken(source: str) -> list[str]:
    """Literals a reader would see that hold a word: two letters outside a `${…}`."""
    found = [text for pattern in SHOWN for text in re.findall(pattern, source)]
    bare = [(text, re.sub(r"\$\{[^}]*\}", "", text)) for text in found]
    return [text for text, rest in bare if re.search(r"[A-Za-z]{2}", rest) and text not in NAMES]


def test_no_sentence_stands_in_the_code() -> None:
    assert {name: spoken(source) for name, source in SOURCES.items() if spoken(source)} == {}


@pytest.mark.parametrize(
    "source",
    [
        'el("p", { class: "note" }, "Nothing to see")',
        "setText(says, `Row ${row}`)",
        'el("canvas", { "aria-label": "The picture" })',
        'node.setAttribute("aria-label", "The picture")',
        'el("input", { placeholder: "type here" })',
    ],
)
def test_a_sentence_in_the_code_would_be_found(source: str) -> None:
    assert spoken(source)


TEXTS = """() => [...document.querySelectorAll(".vx *")].flatMap((node) => [
  ...[...node.childNodes].filter((child) => child.nodeType === 3).map((child) => child.data),
  ...["aria-label", "title", "placeholder", "alt"].map((name) => node.getAttribute(name) ?? ""),
])"""
# What stays as it is: names of models, files, colour maps, methods, sources and recipes' data.
FOREIGN = re.compile(
    r"ViT|Explorer|English|CPU|MB|Esc|Page Up|Page Down|timm|bundled|hub|logit|vit-explorer|train|"
    r"token|query|rollout|Grad|CAM|HiRes|Layer|Eigen|class|px|ms|"
    r"[\w.-]+\.(?:png|jpg|npz|safetensors)|--[\w-]+|small|et al|min|"
)


@pytest.mark.browser
def test_switching_language_keeps_everything_and_asks_no_model(
    page: Page, silent: Callable[[], list[str]]
) -> None:
    page.get_by_role("button", name="Explain rocket.jpg").click()
    wait_for_picture(page, "rocket.jpg")
    show(page, "attention")
    page.focus("#vx-view-attention .stage canvas")
    page.keyboard.press("ArrowRight")
    page.keyboard.press("PageUp")
    page.fill("#vx-class", "typed")
    before = pixels(page, "#vx-view-attention .stage canvas")
    asked = len(silent())
    page.focus("#vx-language")
    page.select_option("#vx-language", "zh")
    page.locator("#vx-tab-explain", has_text="解释").wait_for()
    settle(page)
    assert page.evaluate("document.documentElement.lang") == "zh-CN"
    assert pixels(page, "#vx-view-attention .stage canvas") == before
    assert page.inner_text("#vx-view-attention output") == "3/4"
    assert page.input_value("#vx-class") == "typed"
    assert page.input_value("#vx-language") == "zh"
    assert page.evaluate("document.activeElement.id") == "vx-language"
    assert "第 5 行第 5 列的图像块" in page.inner_text(".says")
    assert "lang=zh" in page.url
    asked_again = [url for url in silent()[asked:] if "/results/" in url or "/explanations" in url]
    assert asked_again == []
    page.select_option("#vx-language", "en")
    page.locator("#vx-tab-explain", has_text="Explain").wait_for()
    assert page.evaluate("document.documentElement.lang") == "en"


@pytest.mark.browser
def test_the_language_is_the_browser_s_then_the_reader_s(browser: Browser, address: str) -> None:
    with watched_page(browser, address, locale="zh-TW") as (page, wrong):
        open_explorer(page, address)
        assert page.inner_text("#vx-tab-explain") == "解释"
        page.select_option("#vx-language", "en")
        page.locator("#vx-tab-explain", has_text="Explain").wait_for()
        page.goto("about:blank")
        open_explorer(page, address)
        assert page.inner_text("#vx-tab-explain") == "Explain"
        page.goto("about:blank")
        page.goto(f"{address}#attention?lang=zh")
        page.wait_for_selector(READY)
        assert page.inner_text("#vx-tab-attention") == "注意力"
        assert unexpected(wrong) == []


@pytest.mark.browser
def test_no_english_is_left_on_any_view_in_chinese(browser: Browser, address: str) -> None:
    with watched_page(browser, address, locale="zh-CN") as (page, wrong):
        open_explorer(page, address)
        for tab in tabs_of(page):
            show(page, tab)
            wait_quiet(page)
            for text in page.evaluate(TEXTS):
                assert (
                    len(re.findall(r"[a-z]{3,} [a-z]{2,} [a-z]{2,}", FOREIGN.sub("", text))) == 0
                ), text
        assert unexpected(wrong) == []
