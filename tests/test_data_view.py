"""The Data view: what the server opens, evaluates and finds in many pictures."""

from __future__ import annotations

import base64
import io
import json
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from fastapi.testclient import TestClient
from PIL import Image
from sklearn.decomposition import PCA
from sklearn.metrics import confusion_matrix, recall_score

import vit_explorer as vx
from tests.browser import LABELS, open_explorer, running_app, unexpected, wait_idle, watched_page
from tests.packed import unpack
from tests.test_accessibility import violations
from vit_explorer.page import Workbench, build_app
from vit_explorer.page.payloads.many_pictures import OVERLAY_SIDE, spread
from vit_explorer.page.payloads.result import picture_bytes
from vit_explorer.page.state.trainings import Trainings

if TYPE_CHECKING:
    from playwright.sync_api import Browser

CLASSES = ("0", "1", "2", "3", "4")  # as a model without names numbers its own
EACH = 8


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Five classes of noise, a colour each."""
    folder = tmp_path_factory.mktemp("data-view") / "noise"
    draw = np.random.default_rng(0)
    for index, name in enumerate(CLASSES):
        (folder / "test" / name).mkdir(parents=True)
        for number in range(EACH):
            pixels = draw.integers(0, 256, (24, 32, 3), dtype=np.uint8)
            pixels[..., index % 3] //= 1 + index
            Image.fromarray(pixels).save(folder / "test" / name / f"{number}.png")
    return folder


@pytest.fixture(scope="module")
def evaluation(small: vx.LoadedModel, data: Path) -> vx.Evaluation:
    return vx.evaluate(small, data)


@pytest.fixture(scope="module")
def server(small: vx.LoadedModel, tmp_path_factory: pytest.TempPathFactory) -> Iterator[TestClient]:
    bench = Workbench(small, trainings=Trainings(tmp_path_factory.mktemp("runs")))
    with TestClient(build_app(bench), base_url="http://localhost") as started:
        started.headers["x-model"] = bench.start_name
        yield started


def asked(server: TestClient, path: str, order: dict[str, Any]) -> list[dict[str, Any]]:
    answer = server.post(f"/explorer/data{path}", json=order)
    assert answer.status_code == 200, answer.text
    return [json.loads(line) for line in answer.text.splitlines() if line]


def opened(server: TestClient, order: dict[str, Any]) -> dict[str, Any]:
    last = asked(server, "", order)[-1]
    assert "set" in last, last
    return last["set"]


def table_of(server: TestClient, key: str) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    return unpack(server.get(f"/explorer/data/{key}/table").content)


def test_a_folder_is_evaluated_line_by_line(
    server: TestClient, data: Path, evaluation: vx.Evaluation
) -> None:
    model = server.headers["x-model"]
    lines = asked(server, "", {"kind": "folder", "data": str(data), "model": model})
    assert lines[-2] == {"done": 40, "total": 40}
    found = lines[-1]["set"]
    assert (found["count"], found["pictures"], found["model"]) == (40, 40, model)
    facts, arrays = table_of(server, found["key"])
    assert facts["classes"] == list(CLASSES) and facts["pictures"] == list(evaluation.pictures)
    np.testing.assert_array_equal(arrays["labels"], evaluation.labels)
    np.testing.assert_array_equal(arrays["predicted"], evaluation.predicted)
    np.testing.assert_allclose(arrays["probability"], evaluation.probability, atol=1e-6)


def test_files_are_opened_with_their_pictures_and_one_goes_into_the_explorer(
    server: TestClient, data: Path, evaluation: vx.Evaluation, tmp_path: Path
) -> None:
    folder = evaluation.save(tmp_path / "found")
    found = opened(server, {"kind": "files", "place": str(folder)})
    assert (found["count"], found["pictures"], found["model"]) == (40, 40, None)
    assert server.get(f"/explorer/data/{found['key']}").json() == found
    gone = server.get("/explorer/data/no-longer-there")
    assert gone.status_code == 404 and gone.json()["error"]["key"] == "error.data.gone"
    key, place = found["key"], 11
    own = Image.open(data / evaluation.pictures[place])
    shown = Image.open(io.BytesIO(server.get(f"/explorer/data/{key}/pictures/{place}").content))
    grey = [np.asarray(one.convert("L"), float) for one in (shown, own)]
    assert shown.size == own.size and np.abs(grey[0] - grey[1]).mean() < 10  # JPEG thins colours
    taken = server.post(f"/explorer/data/{key}/pictures/{place}").json()["picture"]
    bench = server.app.state.workbench  # type: ignore[attr-defined]
    held = bench.picture(taken)
    np.testing.assert_array_equal(np.asarray(held.image), np.asarray(own))
    assert held.name == "3.png"
    assert server.get(f"/explorer/data/{key}/pictures/40").status_code == 404

    (folder / "evaluation.json").unlink()
    bare = opened(server, {"kind": "files", "place": str(folder / "predictions.parquet")})
    assert bare["pictures"] == 0 and "name the data folder" in bare["note"]["text"]
    given = {"kind": "files", "place": str(folder), "data": str(data)}
    assert opened(server, given)["pictures"] == 40
    other = tmp_path / "other"
    for name in ("0", "1"):
        (other / name).mkdir(parents=True)
        own.save(other / name / "elsewhere.png")
    given = {"kind": "files", "place": str(folder), "data": str(other)}
    assert "None of the 40 pictures" in opened(server, given)["note"]["text"]


def test_a_run_is_opened_with_its_own_model(server: TestClient, evaluation: vx.Evaluation) -> None:
    bench = server.app.state.workbench  # type: ignore[attr-defined]
    run = evaluation.save(bench.trainings.folder / "tiny")
    (run / "recipe.yaml").write_text("name: tiny\n")
    found = opened(server, {"kind": "run", "run": "tiny"})
    assert (found["model"], found["pictures"]) == ("run:tiny", 40)
    line = asked(server, "", {"kind": "run", "run": "../tiny"})[-1]
    assert line["error"]["key"] == "error.train.run"


def test_what_mistakes_look_at_is_what_python_says(
    server: TestClient, data: Path, small: vx.LoadedModel, evaluation: vx.Evaluation
) -> None:
    model = server.headers["x-model"]
    key = opened(server, {"kind": "folder", "data": str(data), "model": model})["key"]
    places = [int(place) for place in evaluation.mistakes()[:12]]
    order = {"ask": "looks", "model": model, "places": places}
    *lines, last = asked(server, f"/{key}/views", order)
    seen = last["view"]
    assert lines[-1] == {"done": 12, "total": 12} and seen["places"] == places
    maps = np.stack(
        [
            vx.explain(
                small,
                evaluation.source.picture(place),
                seen["method"],
                int(evaluation.predicted[place]),
            )
            .heatmaps[seen["method"]]
            .values
            for place in places
        ]
    )
    np.testing.assert_allclose(seen["mean"], maps.mean(axis=0).ravel(), atol=1e-5)
    assert seen["border"]["ratio"] == pytest.approx(vx.border_relevance(maps).border_ratio, 1e-4)
    assert seen["clusters"]["labels"] == vx.cluster_maps(maps).labels.tolist()

    points = asked(server, f"/{key}/views", {"ask": "points", "model": model})[-1]["view"]
    rows = vx.token_embeddings(small, map(evaluation.source.picture, range(40)))
    expected = PCA(2).fit(rows)
    scores = np.stack([points["x"], points["y"]], axis=1)
    np.testing.assert_allclose(np.abs(scores), np.abs(expected.transform(rows)), atol=1e-3)
    np.testing.assert_allclose(points["explained"], expected.explained_variance_ratio_, atol=1e-4)
    line = asked(server, f"/{key}/views", {**order, "places": [40]})[-1]
    assert line["error"]["key"] == "error.data.place"


def test_each_mistake_has_a_map_and_what_it_beats(
    server: TestClient, data: Path, small: vx.LoadedModel, evaluation: vx.Evaluation
) -> None:
    model = server.headers["x-model"]
    key = opened(server, {"kind": "folder", "data": str(data), "model": model})["key"]
    places = [int(place) for place in evaluation.mistakes()[:2]]
    *lines, last = asked(server, f"/{key}/views", {"ask": "maps", "model": model, "places": places})
    told = [line["one"] for line in lines if "one" in line]
    assert [one["place"] for one in told] == places and last == {"view": {}}
    for one in told:
        target = int(evaluation.predicted[one["place"]])
        picture = evaluation.source.picture(one["place"])
        found = vx.explain(small, picture, one["method"], target)
        judged = vx.faithfulness(small, picture, found.heatmaps, target=target)
        assert (one["beats"], one["of"]) == (judged.beaten(one["method"]), len(judged.random))
        assert one["verdict"] == judged.kind(one["method"])
        head, _, content = one["image"].partition(",")
        assert head == "data:image/jpeg;base64"
        shown = Image.open(io.BytesIO(base64.b64decode(content)))
        own = picture_bytes(found.overlay(one["method"], on="whole"), longest=OVERLAY_SIDE)
        expected = np.asarray(Image.open(io.BytesIO(own)), float)
        # Passes of one picture and of several round otherwise.
        assert np.abs(np.asarray(shown, float) - expected).mean() < 0.5
    line = asked(server, f"/{key}/views", {"ask": "maps", "model": model, "places": [40]})[-1]
    assert line["error"]["key"] == "error.data.place"


def test_queries_and_keys_are_what_python_says(
    server: TestClient, data: Path, small: vx.LoadedModel, evaluation: vx.Evaluation
) -> None:
    model = server.headers["x-model"]
    key = opened(server, {"kind": "folder", "data": str(data), "model": model})["key"]
    order = {"ask": "query_keys", "model": model, "places": [3, 20, 39], "layer": 1, "head": 1}
    *lines, last = asked(server, f"/{key}/views", order)
    seen = last["view"]
    assert lines[-1] == {"done": 3, "total": 3} and seen["places"] == [3, 20, 39]
    assert seen["cells"] == [[0, 0, 1, 1]] * 3 and seen["prefix"] == ["class"]
    pictures = map(evaluation.source.picture, seen["places"])
    traces = (one.trace for one in vx.explain_many(small, pictures, ()))
    expected = vx.query_key_space(traces, layer=1, head=1)
    points = np.stack([seen["x"], seen["y"]], axis=1).reshape(2, 3, small.card.tokens, 2)
    np.testing.assert_allclose(points[0], expected.query_points, atol=1e-4)
    np.testing.assert_allclose(points[1], expected.key_points, atol=1e-4)
    assert seen["drawn_agreement"] == pytest.approx(expected.drawn_agreement, abs=1e-4)
    wrong = ({"places": [40]}, {"layer": 3}, {"head": 2})
    lines = [asked(server, f"/{key}/views", {**order, **changed})[-1] for changed in wrong]
    assert [line["error"]["key"] for line in lines] == [
        "error.data.place",
        "error.option.index",
        "error.option.index",
    ]


def test_a_page_that_may_not_train_opens_no_data(client: TestClient) -> None:
    order = {"kind": "files", "place": "."}
    assert client.post("/explorer/data", json=order).status_code in {404, 405}


@pytest.mark.parametrize(
    "columns",
    [
        {"picture": ["a"], "label": ["x"], "predicted": ["y"]},
        {"picture": ["a"], "label": ["x"], "predicted": ["y"], "probability": [None]},
        {"picture": [], "label": [], "predicted": [], "probability": []},
    ],
)
def test_tables_that_are_none_are_refused(
    server: TestClient, tmp_path: Path, columns: dict[str, list[Any]]
) -> None:
    file = tmp_path / "predictions.parquet"
    pq.write_table(pa.table(columns), file)
    line = asked(server, "", {"kind": "files", "place": str(tmp_path)})[-1]
    assert line["error"]["key"] == "error.predictions.file"
    file.write_bytes(b"PAR1 no more")
    line = asked(server, "", {"kind": "files", "place": str(file)})[-1]
    assert line["error"]["key"] == "error.predictions.file"
    line = asked(server, "", {"kind": "files", "place": str(tmp_path / "none")})[-1]
    assert line["error"]["key"] == "error.predictions.none"


def test_points_of_many_are_evenly_spaced() -> None:
    assert spread(3, 10) == [0, 1, 2]
    many = spread(100_001, 10_001)
    assert many[:3] == [0, 10, 20] and many[-1] == 100_000 and len(many) == 10_001


VIEW = "#vx-view-data"


def test_the_view_opens_a_folder_shows_its_mistakes_and_what_they_look_at(
    browser: Browser, small_checkpoint: Path, tmp_path: Path
) -> None:
    model = vx.load_model(small_checkpoint)
    draw = np.random.default_rng(4)
    for name in LABELS:
        (tmp_path / "set/test" / name).mkdir(parents=True)
        for number in range(3):
            pixels = draw.integers(0, 256, (32, 32, 3), dtype=np.uint8)
            Image.fromarray(pixels).save(tmp_path / "set/test" / name / f"{number}.png")
    expected = vx.evaluate(model, tmp_path / "set")
    options = ("--model", str(small_checkpoint), "--allow-training", "--runs", str(tmp_path / "r"))
    with (
        running_app(*options, scratch=tmp_path) as address,
        watched_page(browser, address) as (page, wrong),
    ):
        open_explorer(page, address, "data")
        page.fill("#vx-data-data", str(tmp_path / "set"))
        page.get_by_role("button", name="Open", exact=True).click()
        page.locator(f"{VIEW} .data-summary", has_text="of 30 pictures of 10 classes").wait_for()
        page.get_by_role("button", name="Wrong", exact=True).click()
        mistakes = expected.mistakes()
        page.locator(f"{VIEW} .data-count", has_text=f"{len(mistakes)} of 30").wait_for()
        first = page.locator(f"{VIEW} .data-picture").first
        label, taken = (
            expected.classes[int(of[mistakes[0]])] for of in (expected.labels, expected.predicted)
        )
        assert f"{label}, taken for {taken}" in first.inner_text()
        recall = recall_score(expected.labels, expected.predicted, average=None, zero_division=0)
        for index in range(len(LABELS)):
            row = page.locator(f'{VIEW} tr[data-index="{index}"] .data-share').first
            said = float(row.inner_text().split("\u00a0")[0])
            assert said == pytest.approx(100 * recall[index], abs=0.06)

        counts = confusion_matrix(expected.labels, expected.predicted)
        np.fill_diagonal(counts, 0)
        at = np.unravel_index(counts.argmax(), counts.shape)
        page.select_option("#vx-data-label", str(at[0]))
        page.select_option("#vx-data-predicted", str(at[1]))
        page.locator(f"{VIEW} .data-count", has_text=f"{counts.max()} of 30").wait_for()
        cell = (
            f"{expected.classes[at[0]]}, taken for {expected.classes[at[1]]}: {counts.max()} of 3"
        )
        page.locator(f"{VIEW} .data-cell", has_text=cell).wait_for()
        page.locator(f"{VIEW} .data-matrix").press("Enter")  # the open cell is closed
        page.locator(f"{VIEW} .data-count", has_text="30 of 30").wait_for()

        page.get_by_role("button", name="Wrong", exact=True).click()
        page.wait_for_function("location.hash.includes('pictures=%2C%2Cwrong%2Call')")
        page.reload()  # the link holds the set and its filters
        page.locator(f"{VIEW} .data-count", has_text=f"{len(mistakes)} of 30").wait_for()
        page.get_by_role("button", name="Clear filters").click()
        page.locator(f"{VIEW} .data-count", has_text="30 of 30").wait_for()

        page.get_by_role("button", name="Maps and verdicts of those in view").click()
        judged = page.locator(f"{VIEW} .data-picture:has(.data-verdict)")
        judged.first.wait_for()
        assert "of 20" in judged.first.locator(".data-verdict").inner_text()
        assert judged.first.locator("img").get_attribute("src").startswith("data:image/jpeg")
        page.wait_for_selector(f"{VIEW} .data-list button:enabled >> text=Maps and verdicts")
        page.get_by_role("button", name="Look at 30 pictures").click()
        page.wait_for_selector(f"{VIEW} .data-kind-row")
        assert page.locator(f"{VIEW} .data-places tr").count() == 5
        page.get_by_role("button", name="Draw points").click()
        page.wait_for_selector(f"{VIEW} .data-points:visible")
        page.get_by_role("button", name="Draw queries and keys").click()
        page.wait_for_selector(f"{VIEW} .data-queries .data-points:visible")
        page.select_option("#vx-data-queries-layer", "0")
        page.locator(f"{VIEW} .data-queries .note", has_text="30 of 30 pictures").wait_for()
        page.wait_for_selector("#vx-data-queries-layer:enabled")
        assert page.input_value("#vx-data-queries-layer") == "0"
        page.get_by_role("button", name="Row", exact=True).click()
        page.locator(f"{VIEW} .data-queries .data-key", has_text="top row").wait_for()
        assert violations(page) == []
        first.get_by_role("button", name="Open in every view").click()
        page.wait_for_selector("#vx-view-explain:visible")
        wait_idle(page)
        place = int(expected.mistakes()[0])
        name = f"{Path(expected.pictures[place]).stem}.png"
        page.locator(".sidebar, .vx", has_text=f"{name} · 32×32").first.wait_for()
        assert unexpected(wrong) == []
