"""Class names in figures: in the fonts that have their letters, else as numbers."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from fontTools.fontBuilder import FontBuilder
from fontTools.pens.ttGlyphPen import TTGlyphPen
from matplotlib import font_manager
from matplotlib.figure import Figure
from matplotlib.text import Text
from PIL import Image

from vit_explorer.datasets.metrics import Metrics
from vit_explorer.drawing import lettering
from vit_explorer.drawing.blank import blank
from vit_explorer.drawing.lettering import can_draw, class_name, families_for
from vit_explorer.training import report

CLASSES = ("猫", "cost in $ and $", "chien")
WIDE, TALL = 500, 900


@pytest.fixture
def no_fonts(monkeypatch: pytest.MonkeyPatch) -> None:
    """A machine whose only fonts are matplotlib's own."""
    monkeypatch.setattr(font_manager, "findSystemFonts", list)
    monkeypatch.setattr(lettering, "_known", {})


@pytest.fixture
def font(tmp_path: Path, no_fonts: None, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A machine with a font of one letter, 猫 as a bar of 500 by 900 thousandths of an em."""
    pen = TTGlyphPen(None)
    for start, *others in (((0, 0), (0, TALL), (WIDE, TALL), (WIDE, 0)),):
        pen.moveTo(start)
        for place in others:
            pen.lineTo(place)
        pen.closePath()
    builder = FontBuilder(1000, isTTF=True)
    builder.setupGlyphOrder([".notdef", "cat"])
    builder.setupCharacterMap({ord("猫"): "cat"})
    builder.setupGlyf({".notdef": TTGlyphPen(None).glyph(), "cat": pen.glyph()})
    builder.setupHorizontalMetrics({".notdef": (600, 0), "cat": (600, 0)})
    builder.setupHorizontalHeader(ascent=900, descent=-100)
    builder.setupNameTable({"familyName": "One Cat", "styleName": "Regular"})
    builder.setupOS2()
    builder.setupPost()
    file = tmp_path / "one-cat.ttf"
    builder.save(file)
    monkeypatch.setattr(font_manager, "findSystemFonts", lambda: [str(file)])
    known = list(font_manager.fontManager.ttflist)
    monkeypatch.setattr(font_manager.fontManager, "ttflist", known)
    return file


def drawn(figure: Figure) -> np.ndarray:
    canvas = report.FigureCanvasAgg(figure)
    canvas.draw()
    return np.asarray(Image.fromarray(np.asarray(canvas.buffer_rgba())).convert("L"))


def metrics() -> Metrics:
    return Metrics(
        accuracy=1.0, nll=0.1, ece=0.0, samples=12, classes=CLASSES,
        confusion=np.eye(3, dtype=np.int64) * 4,
    )  # fmt: skip


def tell_confusion(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The texts of a confusion matrix, as they are drawn."""
    figures: list[Figure] = []
    monkeypatch.setattr(report, "png_of", lambda figure: figures.append(figure) or b"")
    report.draw_confusion(metrics())
    drawn(figures[0])
    return [text.get_text() for text in figures[0].findobj(Text) if text.get_text()]


@pytest.mark.usefixtures("font")
def test_a_name_is_drawn_in_the_font_that_has_its_letters(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    assert families_for("猫 cat") == ["One Cat"] and families_for("cat é Кот") == []
    figure = blank((2, 2), dpi=100)
    figure.text(0.1, 0.1, "猫", fontsize=72)  # 100 pixels an em
    dark = np.argwhere(drawn(figure) < 128)
    tall, wide = np.ptp(dark, axis=0) + 1
    # matplotlib's own box for what it lacks is taller than wide by another ratio, and hollow.
    assert (wide, tall) == (pytest.approx(WIDE / 10, abs=2), pytest.approx(TALL / 10, abs=2))
    assert len(dark) == wide * tall
    assert "猫" in tell_confusion(monkeypatch)


@pytest.mark.usefixtures("no_fonts")
def test_a_name_that_no_font_has_is_a_number_and_the_figure_says_so(
    monkeypatch: pytest.MonkeyPatch, recwarn: pytest.WarningsRecorder
) -> None:
    texts = tell_confusion(monkeypatch)
    assert texts.count("class 0") == texts.count("chien") > 0
    assert not any("猫" in text for text in texts)
    assert any(text.replace("\n", " ") == lettering.NOTE for text in texts)
    assert not [str(one.message) for one in recwarn if "missing from font" in str(one.message)]
    assert class_name("猫", None) == "the target"


@pytest.mark.usefixtures("font")
def test_a_font_that_can_not_be_read_is_passed_over(
    font: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    broken = tmp_path / "broken.ttf"
    broken.write_bytes(b"no font")
    files = [str(broken), str(tmp_path / "gone.ttf"), str(font)]
    monkeypatch.setattr(font_manager, "findSystemFonts", lambda: files)
    assert families_for("猫") == ["One Cat"]


def test_signs_in_names_are_no_formulas(monkeypatch: pytest.MonkeyPatch) -> None:
    assert "cost in $ and $" in tell_confusion(monkeypatch)


def test_long_names_are_cut_where_they_can_be() -> None:
    assert class_name("golden retriever dog, pet", 3, 17) == "golden retriever…"
    assert class_name("Pneumonoultramicroscopic", 3, 10) == "Pneumonou…"
    assert lettering._shortened("金毛寻回犬", 6) == "金毛…"  # each takes the room of two
    assert lettering._shortened("金毛寻", 6) == "金毛寻"


def test_what_this_machine_has_is_drawn_without_boxes(recwarn: pytest.WarningsRecorder) -> None:
    names = {"zh": "狗", "ja": "いぬ", "ko": "개", "ar": "كلب", "hi": "कुत्ता", "th": "สุนัข"}
    there = {code: name for code, name in names.items() if can_draw(name)}
    if not there:
        pytest.skip("this machine has none of these scripts")
    figure = blank((4, 3))
    for row, name in enumerate(there.values()):
        figure.text(0.1, row / len(there), name)
    drawn(figure)
    assert not [str(one.message) for one in recwarn if "missing from font" in str(one.message)]
