"""The joined path: results, files, and what happens when writing fails."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import vit_explorer as vx
from vit_explorer.drawing import overlays as render
from vit_explorer.errors import OptionError, OutputError, PictureError, TargetError

ALL = tuple(vx.METHODS)


@pytest.fixture(scope="module")
def result(small: vx.LoadedModel, cat: Path) -> vx.Explanation:
    return vx.explain(small, cat, methods="all")


def test_predictions_are_the_models(deit_tiny: vx.LoadedModel, coffee: Path) -> None:
    import torch

    result = vx.explain(deit_tiny, coffee)
    assert set(result.heatmaps) == {"rollout", "grad_cam"}
    with torch.no_grad():
        expected = deit_tiny.module(result.prepared.pixels)[0].softmax(-1)
    assert [p.index for p in result.predictions] == expected.topk(5).indices.tolist()
    for prediction in result.predictions:
        assert prediction.probability == pytest.approx(float(expected[prediction.index]), abs=1e-6)
        assert prediction.label == deit_tiny.labels[prediction.index]
    assert result.target == result.predictions[0]
    assert result.predictions[0].label == "espresso"


def test_target_changes_class_maps_alone(small: vx.LoadedModel, cat: Path) -> None:
    results = [vx.explain(small, cat, methods="all", target=f"class {i}") for i in range(5)]
    assert [result.target.index for result in results if result.target] == [0, 1, 2, 3, 4]
    for name, method in vx.METHODS.items():
        different = {result.heatmaps[name].values.tobytes() for result in results}
        assert (len(different) > 1) is method.class_specific, name
        label = results[3].heatmaps[name].target_label
        assert label == ("class 3" if method.class_specific else None)


def test_the_order_and_company_of_methods_change_nothing(
    small: vx.LoadedModel, cat: Path, result: vx.Explanation
) -> None:
    for name in ALL:
        alone = vx.explain(small, cat, methods=(name,)).heatmaps[name].values
        np.testing.assert_allclose(alone, result.heatmaps[name].values, rtol=1e-4, atol=1e-9)


def test_predictions_alone_need_no_gradient(small: vx.LoadedModel, cat: Path) -> None:
    result = vx.explain(small, cat, methods=())
    assert len(result.predictions) == 5
    assert not result.heatmaps
    assert result.trace.gradients == "none"
    assert vx.explain(small, cat, methods=("grad_cam",)).trace.gradients == "last"
    assert len(vx.explain(small, cat, methods=(), top=2).predictions) == 2


def test_names_are_forgiven(small: vx.LoadedModel, cat: Path) -> None:
    assert set(vx.explain(small, cat, methods="rollout").heatmaps) == {"rollout"}
    assert set(vx.explain(small, cat, methods=["all"]).heatmaps) == set(vx.METHODS)
    options = {"attention": {"layer": np.int64(1), "head": np.int64(0)}}
    result = vx.explain(small, cat, ("attention",), np.int64(2), options=options)
    assert result.target is not None
    assert result.target.index == 2
    again = vx.explain(small, result.prepared, methods=("attention",), options=options)
    assert np.array_equal(again.heatmaps["attention"].values, result.heatmaps["attention"].values)


def test_works_inside_inference_mode(small: vx.LoadedModel, cat: Path) -> None:
    import torch

    expected = vx.explain(small, cat, methods=("generic_attention",))
    with torch.inference_mode():
        inside = vx.explain(small, cat, methods=("generic_attention",))
    np.testing.assert_allclose(
        inside.heatmaps["generic_attention"].values,
        expected.heatmaps["generic_attention"].values,
    )


@pytest.mark.parametrize("model", ["bundled", None, 3])
def test_a_model_that_was_not_loaded(model: object, cat: Path) -> None:
    with pytest.raises(OptionError, match="load it first with load_model"):
        vx.explain(model, cat)  # type: ignore[arg-type]


def test_a_picture_prepared_for_another_model(small: vx.LoadedModel, cat: Path) -> None:
    other = vx.load_model("vit_tiny_patch16_224", pretrained=False).prepare(cat)
    with pytest.raises(PictureError, match="prepared for 224×224 pixels, .* takes 24×32"):
        vx.patch_grid(small, other)


@pytest.mark.parametrize("target", [3.7, True, [[1]], float("nan"), "--2", "²", "1.0"])
def test_targets_that_are_no_class(small: vx.LoadedModel, cat: Path, target: object) -> None:
    with pytest.raises(TargetError, match="expected a class label|has no class"):
        vx.explain(small, cat, target=target)  # type: ignore[arg-type]


@pytest.mark.parametrize("name", ["..", ".", "", "../up", "/abs"])
def test_a_result_cannot_be_saved_outside_its_folder(
    result: vx.Explanation, tmp_path: Path, name: str
) -> None:
    with pytest.raises(OptionError, match="a name that is no path"):
        result.save(tmp_path / "out", name=name)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("name", ["...jpg", "..jpg", ". .png"])
def test_odd_file_names_stay_inside(
    small: vx.LoadedModel, cat: Path, tmp_path: Path, name: str
) -> None:
    odd = tmp_path / name
    odd.write_bytes(cat.read_bytes())
    folder = vx.explain(small, odd).save(tmp_path / "out")
    assert folder.resolve().parent == (tmp_path / "out").resolve()
    assert folder.name


def test_results_cannot_be_changed(result: vx.Explanation) -> None:
    with pytest.raises(AttributeError):
        result.target = None  # type: ignore[misc]
    with pytest.raises(ValueError, match="read-only"):
        result.heatmaps["rollout"].values[0, 0] = 1


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"methods": ("rolout",)}, "no method 'rolout', did you mean 'rollout'"),
        ({"options": {"rollout": {"fused": 1}}}, "no option 'fused'"),
        ({"options": {"attention": {"layer": 1}}}, "not among the methods asked for"),
        ({"top": 0}, "number of predictions was 0"),
    ],
)
def test_wrong_arguments_are_named(
    small: vx.LoadedModel, cat: Path, arguments: dict[str, object], message: str
) -> None:
    with pytest.raises(OptionError, match=message):
        vx.explain(small, cat, **arguments)  # type: ignore[arg-type]


def test_saved_files_hold_what_the_result_holds(result: vx.Explanation, tmp_path: Path) -> None:
    folder = result.save(tmp_path / "new" / "out")
    assert folder == tmp_path / "new" / "out" / "cat"
    names = {f"{name}.png" for name in ALL}
    names |= {"heatmaps.npz", "explanation.json", "patches.png", "positions.png"}
    assert {file.name for file in folder.iterdir()} == names
    assert [file.name for file in folder.parent.iterdir()] == ["cat"]
    with np.load(folder / "heatmaps.npz") as maps:
        assert set(maps) == set(ALL)
        for name in ALL:
            assert maps[name].dtype == np.float32
            assert np.array_equal(maps[name], result.heatmaps[name].values)
    for name in ALL:
        assert np.array_equal(Image.open(folder / f"{name}.png"), result.overlay(name))
    content = json.loads((folder / "explanation.json").read_text())
    assert content["model"]["grid"] == [3, 4]
    assert content["model"]["weights_sha256"] == result.model.sha256
    assert content["predictions"][0] == vars(result.predictions[0])
    assert content["methods"]["rollout"]["options"] == {
        "fusion": "mean",
        "discard": 0.0,
        "start": 0,
    }
    assert content["picture"]["sha256"] == result.picture.sha256
    assert set(content["files"]) == names


def test_saving_again_replaces_its_own_files_alone(
    small: vx.LoadedModel, cat: Path, result: vx.Explanation, tmp_path: Path
) -> None:
    folder = result.save(tmp_path)
    (folder / "notes.txt").write_text("mine")
    vx.explain(small, cat, methods=("rollout",)).save(tmp_path)
    assert {f.name for f in folder.glob("*.png")} == {"rollout.png", "patches.png", "positions.png"}
    assert (folder / "notes.txt").read_text() == "mine"


def test_a_failure_while_writing_leaves_nothing_behind(
    result: vx.Explanation, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    earlier = result.save(tmp_path)
    before = {file.name: file.read_bytes() for file in earlier.iterdir()}

    def full(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(np, "savez_compressed", full)
    with pytest.raises(OutputError, match="can't be written to .* \\(No space left on device\\)"):
        result.save(tmp_path)
    assert {file.name: file.read_bytes() for file in earlier.iterdir()} == before
    assert [file.name for file in tmp_path.iterdir()] == ["cat"]
    taken = tmp_path / "file"
    taken.write_text("")
    with pytest.raises(OutputError, match="can't be written to"):
        result.save(taken)


def test_overlays_lie_where_the_crop_was(small: vx.LoadedModel, tmp_path: Path) -> None:
    deit = vx.load_model("vit_tiny_patch16_224", pretrained=False)
    picture = Image.new("RGB", (400, 224), "white")
    result = vx.explain(deit, picture, methods=("rollout",))
    left, top, right, bottom = result.prepared.box
    assert (right - left) == pytest.approx(224 * 224 / 248, abs=0.5)
    assert result.overlay("rollout", on="seen").size == (224, 224)
    crop = result.overlay("rollout", on="crop")
    assert crop.size == result.prepared.crop.size
    whole = np.asarray(result.overlay("rollout", on="whole"), dtype=float)
    assert whole.shape == (224, 400, 3)
    # Outside of the crop the white picture is one dimmed grey; inside, the map colours it.
    assert np.ptp(whole[:, : int(left) - 1]) == 0
    assert np.ptp(whole[int(top) + 2 : int(bottom) - 2, int(left) + 2 : int(right) - 2]) > 20
    with pytest.raises(OptionError, match="expected crop, whole or seen"):
        result.overlay("rollout", on="left")  # type: ignore[arg-type]
    with pytest.raises(OptionError, match="no map 'grad_cam'"):
        result.overlay("grad_cam")


def test_large_pictures_give_overlays_of_a_bounded_size(small: vx.LoadedModel) -> None:
    result = vx.explain(small, Image.new("RGB", (3000, 1500)), methods=("rollout",))
    assert max(result.overlay("rollout").size) == 1024
    assert result.overlay("rollout", on="whole").size == (1024, 512)


def test_figure_and_notebook_form(result: vx.Explanation) -> None:
    from matplotlib.text import Text

    titles = [text.get_text() for text in result.figure().findobj(Text)]
    for method in vx.METHODS.values():
        assert any(method.title in title for title in titles), method.title
    html = result._repr_html_()
    assert "data:image/png;base64," in html
    assert result.predictions[0].label in html


def test_untrusted_names_are_escaped(small: vx.LoadedModel, cat: Path) -> None:
    import dataclasses

    labels = ("<script>alert(1)</script>",) * 5
    evil = dataclasses.replace(small, labels=labels)
    assert "<script>" not in vx.explain(evil, cat)._repr_html_()


def test_descriptions_say_where_the_mass_lies(result: vx.Explanation) -> None:
    text = result.describe("rollout")
    row, column = np.unravel_index(result.heatmaps["rollout"].values.argmax(), (3, 4))
    assert text.startswith("Attention rollout: ")
    assert f"row {row + 1}, column {column + 1}" in text


def test_patches_are_numbered_on_the_models_grid(result: vx.Explanation) -> None:
    sheet = result.patches()
    drawn = render.numbered_patches(result.prepared.crop, (3, 4))
    assert np.array_equal(sheet, drawn)
    assert sheet.width > sheet.height


def test_a_failed_picture_leaves_the_model_usable(small: vx.LoadedModel, tmp_path: Path) -> None:
    bad = tmp_path / "bad.png"
    bad.write_text("not a picture")
    with pytest.raises(PictureError):
        vx.explain(small, bad)
    shutil.copy(Path(__file__).parents[1] / "assets/cat.png", bad)
    assert vx.explain(small, bad).heatmaps
