"""What the page says of a model's classes: how many, which, in Chinese, and when none fits."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from safetensors.torch import load_file, save_file

import vit_explorer as vx
from tests.browser import (
    open_explorer,
    running_app,
    settle,
    show,
    unexpected,
    wait_for_picture,
    wait_quiet,
    watched_page,
    write_checkpoint,
)
from vit_explorer.datasets.tiny_imagenet import names
from vit_explorer.models.provenance import ABOUT_TINY_IMAGENET
from vit_explorer.models.shipped import asset
from vit_explorer.page import Workbench
from vit_explorer.page.payloads.result import describe_result
from vit_explorer.page.state.examples import EXAMPLES, judge_examples

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

CLASSES = 24  # more than are named under the predictions
ENGLISH, CHINESE = ([one[place] for one in names().values()][:CLASSES] for place in (0, 1))


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small model as `ship` leaves one; of its examples some are sure and some are not."""
    path = tmp_path_factory.mktemp("classes") / "known.safetensors"
    write_checkpoint(path)
    source = write_checkpoint(path.with_name("plain.safetensors"), classes=CLASSES)
    model = vx.load_model(source)
    found = [vx.explain(model, asset(name), methods=()) for name in EXAMPLES]
    likeliest = sorted(one.predictions[0].probability for one in found)
    told = {
        "labels": ENGLISH,
        "labels_zh": CHINESE,
        "calibration": {
            "temperature": 1.25,
            "held_out": 5000,
            "unsure_below": (likeliest[2] + likeliest[3]) / 2,
            "unsure_wrong": 0.3,
            "nll": [2.0, 1.9],
            "ece": [0.08, 0.02],
        },
        "metrics": {"accuracy": 0.5},
        "training": {"measured": "held_out", "trained_on": ABOUT_TINY_IMAGENET},
    }
    metadata = {**{key: json.dumps(value) for key, value in model.metadata.items()}}
    metadata |= {key: json.dumps(value) for key, value in told.items()}
    save_file(load_file(source), path, metadata={**metadata, "format": "vit-explorer/1"})
    return path


@pytest.fixture(scope="module")
def address(
    browser: Browser, checkpoint: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[str]:
    scratch = tmp_path_factory.mktemp("app")
    with running_app("--model", str(checkpoint), scratch=scratch) as started:
        yield started


def test_a_result_says_what_the_model_knows(checkpoint: Path) -> None:
    bench = Workbench(vx.load_model(checkpoint))
    flags = {}
    for name in EXAMPLES:
        result = bench.analyse(name, bench.start_name, None)
        told = describe_result(result)
        flags[name] = told["unsure"]
        assert told["unsure"] == result.explanation.unsure
    assert sorted(flags.values()) == [False] * 3 + [True] * 3
    model = told["model"]
    assert model["labels_zh"] == dict(zip(ENGLISH, CHINESE, strict=True))
    assert model["calibration"] == {"temperature": 1.25, "pictures": 5000}
    assert model["trained_on"]["key"] == "trained.tiny"
    assert model["measured"] == "held_out" and model["judged"] is None
    assert bench.judged_examples(bench.start_name) == {}


def test_examples_are_judged_by_what_is_in_them(
    checkpoint: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = vx.load_model("bundled-cifar10")
    judged = judge_examples(model)
    for name, said in judged.items():
        first = vx.explain(model, asset(name), methods=()).predictions[0]
        assert said["label"] == first.label
    assert judged["cat.png"] == {"label": "cat", "right": True}
    assert judged["coffee.png"]["right"] is False  # the ten classes have no cup
    bench = Workbench(model)
    assert bench.judged_examples("bundled-cifar10") == judged
    told = describe_result(bench.analyse("cat.png", "bundled-cifar10", None))
    assert told["model"]["judged"] == "judged/bundled-cifar10"


def test_examples_are_small_and_their_origins_listed(assets: Path) -> None:
    assert EXAMPLES[0] == "cat.png"
    assert sum((assets / name).stat().st_size for name in EXAMPLES) <= 2 * 2**20
    listed = (assets / "README.md").read_text(encoding="utf-8")
    assert all(f"`{name}`" in listed for name in EXAMPLES)


@pytest.mark.browser
def test_all_classes_are_listed_and_can_be_explained(page: Page) -> None:
    summary = page.locator(".class-list summary")
    assert summary.inner_text() == f"This model knows {CLASSES} classes: show all"
    assert page.locator(".few-classes").inner_text() == ""
    assert page.locator(".class-names button").count() == 0
    summary.click()
    page.wait_for_selector(".class-names button")
    assert page.locator(".class-names button").all_inner_texts() == ENGLISH
    last = page.locator(".class-names button", has_text=ENGLISH[-1])
    last.click()
    page.wait_for_function(
        f"document.querySelector('.tool-target strong').textContent === {ENGLISH[-1]!r}"
    )
    assert page.locator(".class-names button").count() == CLASSES


@pytest.mark.browser
def test_a_picture_that_no_class_fits_is_said(page: Page, checkpoint: Path) -> None:
    model = vx.load_model(checkpoint)
    seen = set()
    for name in EXAMPLES:
        page.get_by_role("button", name=f"Explain {name}", exact=True).click()
        wait_for_picture(page, name)
        settle(page)
        unsure = vx.explain(model, asset(name), methods=()).unsure
        seen.add(unsure)
        shown = page.locator(".unsure")
        assert shown.is_visible() == unsure
        if unsure:
            assert shown.inner_text().startswith(f"None of its {CLASSES} classes fits well.")
            assert "deit_tiny_patch16_224" in shown.inner_text()
    assert seen == {True, False}


@pytest.mark.browser
def test_classes_are_called_in_the_reader_s_language(page: Page) -> None:
    english = page.locator(".predictions .label").all_inner_texts()
    page.select_option("#vx-language", "zh")
    page.locator("#vx-tab-explain", has_text="解释").wait_for()
    settle(page)
    own = dict(zip(ENGLISH, CHINESE, strict=True))
    assert page.locator(".predictions .label").all_inner_texts() == [own[one] for one in english]
    assert page.inner_text(".tool-target strong") == own[english[0]]
    page.locator(".class-list summary").click()
    page.wait_for_selector(".class-names button")
    assert page.locator(".class-names button").all_inner_texts() == CHINESE
    for typed, found in ((CHINESE[3], CHINESE[3]), (ENGLISH[4], CHINESE[4])):  # either finds it
        page.fill("#vx-class", typed)
        page.press("#vx-class", "Enter")
        page.wait_for_function(
            f"document.querySelector('.tool-target strong').textContent === {found!r}"
        )
    for tab in ("layers", "whatif", "learn", "model"):
        show(page, tab)
        wait_quiet(page)
        text = page.inner_text(f"#vx-view-{tab}")
        assert not [name for name in ENGLISH if name in text], tab
    assert "Tiny ImageNet：ImageNet 的 200 个类别" in page.inner_text("#vx-view-model")
    assert "温度 1.25，在 5,000 张留出的图片上拟合" in page.inner_text("#vx-view-model")
    page.select_option("#vx-language", "en")
    page.locator("#vx-tab-explain", has_text="Explain").wait_for()


@pytest.mark.browser
def test_examples_that_a_shipped_model_gets_wrong_are_marked(
    browser: Browser, tmp_path: Path
) -> None:
    judged = judge_examples(vx.load_model("bundled-cifar10"))
    with (
        running_app("--model", "bundled-cifar10", scratch=tmp_path) as started,
        watched_page(browser, started) as (page, wrong),
    ):
        open_explorer(page, started)
        page.wait_for_selector(".examples .wrong")
        for name in EXAMPLES:
            button = page.get_by_role("button", name=f"Explain {name}", exact=True)
            marked = "wrong" in (button.get_attribute("class") or "")
            assert marked == (not judged[name]["right"])
            if marked:
                label = judged[name]["label"]
                told = f"{name}: the model is wrong here, it says {label}"
                assert button.get_attribute("title") == told
        assert unexpected(wrong) == []
