"""Rendering: numbers reach the picture unchanged, to scale, and are said in words."""

from __future__ import annotations

import io
import threading
from typing import Any

import matplotlib
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from matplotlib.figure import Figure
from numpy.typing import NDArray
from PIL import Image
from scipy import ndimage

from vit_explorer.drawing import overlays as render
from vit_explorer.errors import OptionError

maps = hnp.arrays(
    np.float32,
    hnp.array_shapes(min_dims=2, max_dims=2, max_side=6),
    elements=st.floats(-(2.0**127), 2.0**127, width=32),
)


def grey(height: int, width: int, level: int = 100) -> Image.Image:
    return Image.new("RGB", (width, height), (level,) * 3)


def test_limits_by_hand() -> None:
    assert render.limits([[0.2, 0.5]]) == pytest.approx((0.0, 0.5))
    assert render.limits([[0.2, 0.5]], [[-1.0, 2.0]]) == (-1.0, 2.0)
    assert render.limits([[-3.0, 1.0]], [[2.0, 0.0]], signed=True) == (-3.0, 3.0)
    assert render.limits([[0.0]]) == (0.0, 1.0)
    assert render.limits([[0.0]], signed=True) == (-1.0, 1.0)
    assert render.limits([[-2.0, -2.0]]) == (-2.0, 0.0)


@settings(max_examples=80, deadline=None)
@given(values=maps, signed=st.booleans(), smooth=st.booleans())
def test_any_finite_map_is_drawn(values: NDArray[np.float32], signed: bool, smooth: bool) -> None:
    low, high = render.limits(values, signed=signed)
    assert np.isfinite([low, high]).all()
    assert low < high
    assert low <= values.min()
    assert values.max() <= high
    if signed:
        assert low == -high
    large = render.enlarge(values, (9, 7), smooth)
    assert np.isfinite(large).all()
    assert values.min() <= large.min()
    assert large.max() <= values.max()
    table = render.lookup(signed=signed).tolist()
    assert all(
        colour in table for colour in render.colorize(values, signed=signed).reshape(-1, 3).tolist()
    )
    render.overlay(grey(9, 7), values, signed=signed, smooth=smooth)
    assert render.describe(values, signed).endswith(".")


@pytest.mark.parametrize("name", render.COLORMAPS)
def test_colorize_is_matplotlibs_colormap(name: str) -> None:
    values = np.random.default_rng(0).uniform(2, 5, (6, 8)).astype(np.float32)
    expected = matplotlib.colormaps[name]((values.astype(float) - 2) / 3, bytes=True)[:, :, :3]
    assert np.array_equal(render.colorize(values, colormap=name, limits=(2, 5)), expected)


def test_colorize_clips_and_centres_signed_maps_on_zero() -> None:
    ends = render.colorize([[-9.0, 9.0]], limits=(0, 1), colormap="viridis")
    assert ends[0].tolist() == [[68, 1, 84], [253, 231, 36]]
    signed = render.colorize([[-0.5, 0.0, 3.0]], signed=True)
    assert signed[0, 1].min() > 240, "zero is not white"
    assert signed[0, 2, 0] > 2 * signed[0, 2, 2], "the positive end is not red"
    assert signed[0, 0, 2] > signed[0, 0, 0] > 200, "a sixth of the way is not pale blue"


def test_nearest_is_exact_where_sizes_do_not_divide() -> None:
    # Pixel centres 0.5/5, 1.5/5 … of the way: cells 0, 0 (0.3·2 = 0.6), 1 (0.5·2), 1, 1.
    assert render.enlarge([[1.0, 2.0]], (1, 5), smooth=False).tolist() == [[1, 1, 2, 2, 2]]
    assert render.enlarge([[1.0], [2.0]], (5, 1), smooth=False)[:, 0].tolist() == [1, 1, 2, 2, 2]
    values = np.random.default_rng(0).random((14, 9)).astype(np.float32)
    expected = values[np.arange(14).repeat(16)][:, np.arange(9).repeat(16)]
    assert np.array_equal(render.enlarge(values, (224, 144), smooth=False), expected)


def test_smooth_is_keys_bicubic_with_dropped_edges() -> None:
    values = np.random.default_rng(0).random((5, 7)).astype(np.float32)

    def weights(cells: int, size: int) -> NDArray[np.float64]:
        centre = (np.arange(size) + 0.5) * cells / size
        x = np.abs(np.arange(cells) + 0.5 - centre[:, None])
        near, far = 1.5 * x**3 - 2.5 * x**2 + 1, -0.5 * x**3 + 2.5 * x**2 - 4 * x + 2
        table = np.where(x < 1, near, np.where(x < 2, far, 0))
        return table / table.sum(1, keepdims=True)

    expected = weights(5, 40) @ values @ weights(7, 63).T
    expected = expected.clip(values.min(), values.max())
    assert np.abs(render.enlarge(values, (40, 63)) - expected).max() < 1e-6
    # In the interior an independent cubic convolution is near too: no shift by half a cell.
    rows, columns = (np.arange(40) + 0.5) / 8 - 0.5, (np.arange(63) + 0.5) / 9 - 0.5
    spline = ndimage.map_coordinates(values, np.meshgrid(rows, columns, indexing="ij"), order=3)
    assert np.corrcoef(spline[8:-8, 9:-9].ravel(), expected[8:-8, 9:-9].ravel())[0, 1] > 0.98


def blend(picture: int, colour: NDArray[np.uint8], alpha: float) -> NDArray[np.float64]:
    return picture * (1 - alpha) + colour * alpha


@pytest.mark.parametrize("opacity", [0.0, 0.3, 1.0])
def test_overlay_follows_its_formula(opacity: float) -> None:
    values = np.array([[0.0, 0.25, 0.5, 1.0]])
    laid = np.asarray(render.overlay(grey(1, 4), values, opacity=opacity, smooth=False))
    table = render.lookup("inferno")
    for column, index in enumerate((0, 64, 128, 255)):
        alpha = opacity * (render.FLOOR + (1 - render.FLOOR) * index / 255)
        assert np.abs(laid[0, column] - blend(100, table[index], alpha)).max() <= 1
    if opacity == 0:
        assert (laid == 100).all()
    if opacity == 1:
        assert laid[0, 3].tolist() == table[255].tolist()


def test_signed_overlay_covers_by_distance_from_zero() -> None:
    laid = np.asarray(
        render.overlay(grey(1, 3), [[-2.0, 0.0, 2.0]], signed=True, smooth=False, opacity=0.8)
    )
    table = render.lookup(signed=True)
    for column, (index, strength) in enumerate(((0, 1), (128, 1 / 255), (255, 1))):
        alpha = 0.8 * (render.FLOOR + (1 - render.FLOOR) * strength)
        assert np.abs(laid[0, column] - blend(100, table[index], alpha)).max() <= 1


def test_overlay_on_the_whole_picture() -> None:
    picture = Image.fromarray(np.random.default_rng(0).integers(0, 256, (30, 50, 3), np.uint8))
    values = np.random.default_rng(1).random((4, 4))
    box = (9.6, 5.2, 29.9, 25.4)
    laid = np.asarray(render.overlay(picture, values, box=box))
    inside = render.overlay(picture.crop((10, 5, 30, 25)), values)
    assert np.array_equal(laid[5:25, 10:30], np.asarray(inside))
    outside = np.ones((30, 50), bool)
    outside[5:25, 10:30] = False
    assert np.abs(laid[outside] - 0.4 * np.asarray(picture)[outside]).max() <= 0.5


def test_overlay_whose_box_reaches_outside() -> None:
    values = np.array([[0.0, 0.0, 1.0, 0.0]])
    laid = np.asarray(
        render.overlay(grey(1, 2), values, box=(-1, 0, 3, 1), smooth=False, opacity=1)
    )
    assert np.abs(laid[0, 0] - blend(100, render.lookup()[0], render.FLOOR)).max() <= 1
    assert laid[0, 1].tolist() == render.lookup()[255].tolist()


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"opacity": 1.5}, "opacity is 1.5; expected"),
        ({"colormap": "infreno"}, "did you mean 'inferno'?"),
        ({"colormap": "jet"}, "no colormap 'jet'"),
        ({"limits": (1.0, 1.0)}, "the lower first"),
        ({"limits": (0.0, float("nan"))}, "the lower first"),
        ({"box": (3, 0, 3, 5)}, "has no area"),
        ({"box": (90, 90, 95, 95)}, "outside the 8x8 image"),
        ({"values": [[float("nan")]]}, "NaN"),
        ({"values": [1.0, 2.0]}, "shape (2,)"),
        ({"values": np.zeros((0, 3))}, "shape (0, 3)"),
    ],
)
def test_bad_options_are_refused(options: dict[str, Any], says: str) -> None:
    values = options.pop("values", [[1.0]])
    with pytest.raises(OptionError) as caught:
        render.overlay(grey(8, 8), values, **options)
    assert says in str(caught.value)
    assert str(caught.value).endswith(".")


def drawn(figure: Figure) -> NDArray[np.uint8]:
    file = io.BytesIO()
    figure.savefig(file, format="png")
    return np.asarray(Image.open(file).convert("RGB"))


def bar_labels(figure: Figure) -> list[list[str]]:
    return [
        [label.get_text() for label in axis.get_xticklabels()]
        for axis in figure.axes
        if axis.axison and len(axis.get_xticks()) == 3
    ]


def test_comparison_shows_real_values_a_map() -> None:
    panels = [
        ("One $ sign_ and _{another}$", [[0.0, 0.004]], False, "a caption " * 30),
        ("Two", [[0.0, 8.0]], False, ""),
        ("Three", [[-0.5, 0.25]], True, "signed"),
    ]
    own = render.comparison(grey(20, 30), panels)
    assert bar_labels(own) == [["0", "0.002", "0.004"], ["0", "4", "8"], ["-0.5", "0", "0.5"]]
    shared = render.comparison(grey(20, 30), panels, shared=True, columns=2)
    assert bar_labels(shared) == [["0", "4", "8"], ["0", "4", "8"], ["-0.5", "0", "0.5"]]
    for figure in (own, shared):
        edge = drawn(figure)
        assert (edge[:, :3] == 255).all(), "something is cut off"
        assert (edge[:, -3:] == 255).all(), "something is cut off"
        assert (edge[-3:] == 255).all(), "something is cut off"


def test_figures_need_no_pyplot_and_no_single_thread() -> None:
    panels = [("Map", np.eye(4), False, "")]
    expected = drawn(render.comparison(grey(20, 20), panels))
    results: list[NDArray[np.uint8]] = []
    threads = [
        threading.Thread(
            target=lambda: results.append(drawn(render.comparison(grey(20, 20), panels)))
        )
        for _ in range(4)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(results) == 4
    assert all(np.array_equal(result, expected) for result in results)


def test_numbered_patches_keep_each_patch_in_its_cell() -> None:
    colours = np.random.default_rng(0).integers(60, 200, (3, 5, 3), np.uint8)
    picture = Image.fromarray(colours.repeat(16, axis=0).repeat(16, axis=1))
    sheet = render.numbered_patches(picture, (3, 5), cell=60, gap=4)
    pixels = np.asarray(sheet)
    cell = (sheet.width + 4) // 5 - 4
    assert sheet.size == (5 * (cell + 4) - 4, 3 * (cell + 4) - 4)
    assert cell >= 60
    for row in range(3):
        for column in range(5):
            top, left = row * (cell + 4), column * (cell + 4)
            # Right of the number, away from the neighbours' blur.
            assert (
                np.abs(
                    pixels[top + cell // 2, left + cell // 2] - colours[row, column].astype(int)
                ).max()
                <= 3
            )
            patch = pixels[top : top + cell, left : left + cell]
            assert (patch == 255).all(2).any(), "the patch has no number"
    assert (pixels[:, cell : cell + 4] == 255).all()


def test_numbers_differ_and_stay_inside_their_patch() -> None:
    sheet = np.asarray(render.numbered_patches(grey(224, 224, 90), (14, 14), gap=0))
    cell = sheet.shape[0] // 14
    cells = sheet.reshape(14, cell, 14, cell, 3).transpose(0, 2, 1, 3, 4).reshape(196, -1)
    assert len(np.unique(cells, axis=0)) == 196
    inner = sheet.reshape(14, cell, 14, cell, 3)
    assert (inner[:, -2:] == 90).all(), "a number touches the patch below"
    assert (inner[:, :, :, -1:] == 90).all(), "a number touches the patch to the right"


def test_position_maps_place_each_map_at_its_patch() -> None:
    rows, columns = 3, 4
    similarity = np.zeros((rows, columns, rows, columns))
    similarity[1, 2, 0, 3] = 1.0
    figure = render.position_maps(similarity)
    mosaic = np.ma.getdata(figure.axes[0].images[0].get_array())
    # Maps are 3x4 with one gap between them: map (1, 2) starts at row 4, column 10.
    assert np.argwhere(mosaic == 1).tolist() == [[4, 13]]
    assert np.isnan(mosaic[3]).all()
    assert figure.axes[0].images[0].get_clim() == (-1, 1)
    assert drawn(figure).std() > 5
    with pytest.raises(OptionError, match="expected \\(rows, columns, rows, columns\\)"):
        render.position_maps(np.zeros((4, 4)))


def test_describe_by_hand() -> None:
    corner = np.zeros((8, 8))
    corner[6, 1], corner[0, 0] = 3, 1
    assert render.describe(corner) == (
        "75 % of the map lies in the lower left quarter; half of it on 1 of 64 patches; "
        "brightest patch: row 7, column 2, 75 %."
    )
    middle = np.zeros((5, 5))
    middle[2, 2] = 1
    assert "100 % of the map lies in the central quarter" in render.describe(middle)
    # Row 2 of 3 counts half to either side.
    assert "75 % of the map lies in the upper half" in render.describe([[1, 1]] * 2 + [[0, 0]])
    uneven = np.ones((4, 4))
    uneven[0, 3] = 1.1
    assert render.describe(uneven).startswith("the map is spread over the picture; half of it on 8")
    assert render.describe(np.zeros((2, 2))) == "the map is zero everywhere."
    assert render.describe(np.full((2, 2), 0.3)) == "the map is the same everywhere."


def test_describe_signed_tells_both_sides() -> None:
    values = np.zeros((4, 4))
    values[0, 0], values[3, 3] = 2.0, -5.0
    text = render.describe(values, signed=True)
    positive, negative = text.split("; The evidence against")[0], text
    assert "The evidence for" not in negative.split("evidence against")[1]
    assert "100 % of the evidence for lies in the upper left quarter" in positive
    assert "100 % of the evidence against lies in the lower right quarter" in text


@pytest.mark.parametrize("size", [(5000, 1), (1, 5000)])
def test_the_patches_of_a_strip_fit_in_memory(size: tuple[int, int]) -> None:
    sheet = render.numbered_patches(Image.new("RGB", size), (14, 14))
    assert max(sheet.size) < 6000
