"""The Training view: the film drawn in the browser, and training started from the page."""

from __future__ import annotations

import dataclasses
import io
import json
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import torch
import yaml
from fastapi.testclient import TestClient
from PIL import Image

import vit_explorer as vx
from tests.asking import explained
from tests.browser import (
    open_explorer,
    running_app,
    unexpected,
    wait_quiet,
    watched_page,
    write_checkpoint,
)
from tests.packed import unpack
from vit_explorer.errors import DataError, ModelError, OptionError
from vit_explorer.page import Workbench, build_app, find_film
from vit_explorer.page.payloads.film import DEAD, film_bytes
from vit_explorer.page.state.recipe_changes import Changes
from vit_explorer.page.state.trainings import Training, Trainings
from vit_explorer.training import RunResult, load_recipe
from vit_explorer.training.film import Film
from vit_explorer.training.pace import Step

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

EPOCHS = 4
ORDERS = "/explorer/training/orders"
START = {"order": "start", "recipe": "smoke", "data": "x"}


@pytest.fixture(scope="module")
def scratch(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("training-view")


@pytest.fixture(scope="module")
def checkpoint(scratch: Path, cat: Path, coffee: Path) -> Path:
    """A checkpoint with the film of a made-up training next to it."""
    path = write_checkpoint(scratch / "small.safetensors")
    model = vx.load_model(str(path))
    film = Film(model, [vx.open_picture(cat), vx.open_picture(coffee)])
    torch.manual_seed(2)  # no two epochs round to the same share
    for epoch in range(EPOCHS + 1):
        film.record(epoch)
        for parameter in model.module.parameters():
            parameter.add_(torch.randn_like(parameter), alpha=0.05)
    names = ("train_loss", "train_accuracy", "test_loss", "test_accuracy", "lr")
    rows = [
        {name: 0.1 * (epoch + 1) + 0.01 * place for place, name in enumerate(names)}
        for epoch in range(EPOCHS)
    ]
    np.savez_compressed(path.with_name("film.npz"), **film.arrays(rows))
    return path


@pytest.fixture(scope="module")
def pictures(scratch: Path) -> Path:
    """Two classes of noise, told apart by their colour."""
    draw = np.random.default_rng(0)
    for channel, name in enumerate(("reddish", "greenish")):
        (scratch / "data" / name).mkdir(parents=True)
        for index in range(40):
            pixels = draw.integers(0, 120, (32, 32, 3), dtype=np.uint8)
            pixels[..., channel] += 100
            Image.fromarray(pixels).save(scratch / "data" / name / f"{index}.png")
    return scratch / "data"


@pytest.fixture(scope="module")
def address(browser: Browser, checkpoint: Path, scratch: Path) -> Iterator[str]:
    options = ("--model", str(checkpoint), "--allow-training", "--runs", str(scratch / "runs"))
    with running_app(*options, scratch=scratch) as started:
        yield started


@pytest.fixture
def page(browser: Browser, address: str) -> Iterator[Page]:
    with watched_page(browser, address) as (opened, wrong):
        opened.set_default_timeout(120_000)  # a training steps back for everything else
        open_explorer(opened, address, "training")
        opened.wait_for_selector(".film:visible")
        wait_quiet(opened)
        yield opened
        assert unexpected(wrong) == []


def wait_until(true: Callable[[], object], seconds: float = 180) -> None:
    deadline = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < deadline, "waited too long"
        time.sleep(0.05)


SHOWN = """() => new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(() => {
  const text = (selector) => document.querySelector(selector).innerHTML;
  const pixels = (selector) => document.querySelector(selector).toDataURL();
  done({
    positions: pixels(".film-positions"), filters: pixels(".film-filters"),
    rollout: pixels(".probe canvas"), prediction: text(".probe .probe-class .share"),
    distance: text(".film-distance svg"), loss: text(".film .curve svg"),
    where: text(".film-where"),
  });
})))"""


@pytest.mark.browser
def test_each_epoch_of_the_film_looks_different_and_needs_no_server(
    page: Page, checkpoint: Path
) -> None:
    made: list[str] = []
    page.on("request", lambda request: made.append(request.url))
    seen = [page.evaluate(SHOWN)]
    assert seen[0]["where"] == "Epoch 4 of 4 · test accuracy 43.0&nbsp;%"
    values = page.locator(".film .curve .value").all_inner_texts()
    assert values == ["0.4", "0.42", "41.0\u00a0%", "43.0\u00a0%"]
    with np.load(checkpoint.with_name("film.npz")) as film:
        dead = int((film["attention_variation"][-1, 0] < DEAD).sum())
        heads, standing = film["attention_variation"][-1, 0].size, int(film["artifacts"][-1, 0])
    told = page.inner_text(".film-health")
    assert told.startswith(f"{dead} of {heads} heads give every token the same attention")
    assert f"; {standing} of " in told
    page.focus("#vx-frame")
    for _ in range(EPOCHS):
        page.keyboard.press("ArrowLeft")
        seen.append(page.evaluate(SHOWN))
    assert seen[-1]["where"] == "Before training"
    for part in seen[0]:
        assert len({shown[part] for shown in seen}) == EPOCHS + 1, part

    bounds = page.locator("#vx-frame").bounding_box()
    assert bounds is not None
    middle = bounds["y"] + bounds["height"] / 2
    page.mouse.move(bounds["x"] + 8, middle)
    page.mouse.down()
    page.mouse.move(bounds["x"] + bounds["width"], middle, steps=3)
    page.mouse.up()
    assert page.evaluate(SHOWN) == seen[0]
    curve = page.locator(".film .curve svg").first.bounding_box()
    assert curve is not None
    page.mouse.click(curve["x"] + 45, curve["y"] + 40)
    assert page.evaluate(SHOWN) == seen[-1]
    before = page.evaluate(SHOWN)["distance"]
    page.click(".probe >> nth=1")
    assert page.evaluate(SHOWN)["distance"] != before
    assert "coffee" in page.inner_text(".film-distance")
    assert [url for url in made if "heartbeat" not in url] == []


@pytest.mark.browser
def test_a_link_opens_the_film_at_its_epoch(page: Page) -> None:
    page.locator("#vx-frame").fill("2")
    page.wait_for_function("location.hash.includes('epoch=2')")
    page.reload()
    page.wait_for_function("document.querySelector('#vx-frame')?.value === '2'")
    page.evaluate("location.hash = 'training?epoch=1'")
    page.wait_for_function("document.querySelector('#vx-frame').value === '1'")
    page.evaluate("location.hash = 'training'")
    page.wait_for_function("document.querySelector('#vx-frame').value === '4'")
    page.locator("#vx-frame").fill("0")
    page.wait_for_function("location.hash.includes('epoch=0')")
    page.reload()
    page.wait_for_function("document.querySelector('#vx-frame')?.value === '0'")
    assert "epoch=0" in page.url


# Each epoch is shown for a quarter of a second, which asking from here could miss.
RECORD = """() => {
  window.vxSeen = [];
  const note = () => {
    const now = [Number(document.querySelector("#vx-frame").value),
      document.querySelector(".play").textContent];
    if (String(now) !== String(window.vxSeen.at(-1))) window.vxSeen.push(now);
    requestAnimationFrame(note);
  };
  note();
}"""


@pytest.mark.browser
def test_play_runs_to_the_last_epoch(page: Page) -> None:
    page.evaluate(RECORD)
    page.click(".play")
    page.wait_for_function("window.vxSeen.length > 2 && window.vxSeen.at(-1)[1] === 'Play'")
    start, *played, end = page.evaluate("window.vxSeen")
    assert start == end == [EPOCHS, "Play"]
    epochs = [epoch for epoch, _ in played]
    assert epochs == sorted(set(epochs))
    assert epochs[0] == 0
    assert {words for _, words in played} == {"Pause"}


@pytest.mark.browser
def test_another_language_keeps_the_form_and_ends_what_plays(page: Page) -> None:
    page.wait_for_selector(".train-form .primary:enabled")
    page.select_option("#vx-recipe", "cifar10_sincos")
    page.fill("#vx-data", "/my/pictures")
    page.fill("#vx-epochs", "7")
    page.click(".train-more summary")
    page.select_option("#vx-position", "relative")
    page.fill("#vx-rate", "0.003")
    page.select_option("#vx-weights", "bundled-cifar10")
    page.click(".play")
    page.select_option("#vx-language", "zh")
    page.locator("#vx-tab-training", has_text="训练").wait_for()
    page.wait_for_selector(".train-form .primary:enabled")
    names = ("recipe", "data", "epochs", "position", "rate", "batch", "weights", "class-weights")
    values = [page.input_value(f"#vx-{name}") for name in names]
    assert values == [
        "cifar10_sincos", "/my/pictures", "7", "relative", "0.003", "", "bundled-cifar10", "",
    ]  # fmt: skip
    page.locator(".play", has_text="播放").wait_for()
    page.locator("#vx-frame").fill("1")
    page.wait_for_timeout(700)  # nearly three frames' time of a timer that was left behind
    assert page.input_value("#vx-frame") == "1"


@pytest.mark.browser
def test_what_went_wrong_with_a_training_stays_to_be_read(page: Page, scratch: Path) -> None:
    page.wait_for_selector(".train-form .primary:enabled")
    page.fill("#vx-data", str(scratch / "missing"))
    page.click(".train-form .primary")
    page.locator(".live .note", has_text="does not exist").wait_for()
    page.reload()
    page.locator(".live .note", has_text="Failed after 0 of").wait_for()
    assert "does not exist" in page.inner_text(".live .note")


READ = """async (url) => {
  const load = (path) => import(new URL(`explorer/static/${path}`, document.baseURI));
  const [{ Film }, { fetchPacked }] = [await load("state/film.js"), await load("server/packed.js")];
  const film = new Film(await fetchPacked(url));
  const at = (name, ...place) => [...film.at(name, ...place)];
  return {
    labels: film.labels, epochs: film.epochs, losses: film.curves.test_loss,
    rollout: at("rollout", 2, 1), distance: at("distance", 3, 0),
    similarity: at("similarity", 1), filters: at("filters", 4, 7), top: film.top(2, 1, 1)[0],
  };
}"""


@pytest.mark.browser
def test_the_film_on_the_page_is_the_file_s(page: Page, checkpoint: Path) -> None:
    link = page.get_attribute("#vx-download", "href")
    assert link is not None
    shown = page.evaluate(READ, link.replace("explanation.zip", "film"))
    with np.load(checkpoint.with_name("film.npz")) as film:
        assert shown["labels"] == film["labels"].tolist()
        assert shown["epochs"] == list(range(EPOCHS + 1))
        assert shown["losses"] == film["test_loss"].tolist()
        np.testing.assert_array_equal(shown["rollout"], film["rollout"][2, 1].ravel())
        np.testing.assert_array_equal(shown["distance"], film["attention_distance"][3, 0].ravel())
        np.testing.assert_array_equal(shown["filters"], film["filters"][4, 7].ravel())
        np.testing.assert_array_equal(shown["similarity"], film["position_similarity"][1].ravel())
        likeliest = int(film["probabilities"][2, 1].argmax())
        assert shown["top"]["label"] == film["labels"][likeliest]


@pytest.mark.browser
def test_train_watch_stop_resume_and_open(page: Page, pictures: Path, scratch: Path) -> None:
    page.wait_for_selector(".train-form .primary:enabled")
    assert page.input_value("#vx-recipe") == "smoke"
    page.fill("#vx-data", str(scratch / "nowhere"))
    page.click(".train-form .primary")
    page.locator(".problem p", has_text="does not exist").wait_for()

    page.fill("#vx-data", str(pictures))
    page.fill("#vx-epochs", "5000")
    page.click(".train-more summary")
    page.select_option("#vx-position", "sincos")
    page.fill("#vx-batch", "24")
    page.click(".train-form .primary")
    line = page.locator(".live .line-test").first
    page.wait_for_function(
        "document.querySelector('.live .line-test')?.getAttribute('points').split(' ').length > 1"
    )
    page.locator(".predictions button").nth(1).click()
    page.wait_for_selector('.predictions button:nth-child(2)[aria-pressed="true"]')
    assert page.locator(".train-form .primary").is_disabled()
    run = scratch / "runs" / "smoke"
    page.get_by_role("button", name="Stop").click()
    page.locator(".live .note", has_text="Stopped after").wait_for()
    kept = (run / "state.pt").stat().st_mtime_ns
    epochs = len(json.loads((run / "log.json").read_text()))
    recipe = load_recipe(run / "recipe.yaml")
    assert recipe.model is not None and recipe.model.position == "sincos"
    assert (recipe.epochs, recipe.batch_size, recipe.optimizer.lr) == (5000, 24, 2e-3)
    assert len(str(line.get_attribute("points")).split()) == epochs

    page.locator(".runs button", has_text="Resume").click()
    page.wait_for_function(
        f"document.querySelector('.live .line-test').getAttribute('points').split(' ').length "
        f"> {epochs}"
    )
    assert page.evaluate("document.activeElement.textContent") == "smoke"  # the run's heading
    page.get_by_role("button", name="Stop").click()
    page.locator(".live .note", has_text="Stopped after").wait_for()
    assert page.evaluate("document.activeElement.textContent") == "smoke"
    assert (run / "state.pt").stat().st_mtime_ns > kept

    page.locator(".runs button", has_text="Open in explorer").click()
    page.wait_for_function("document.querySelector('#vx-model').value === 'run:smoke'")
    page.locator(".film-where", has_text="Epoch").wait_for()
    labels = page.locator(".predictions .label").all_inner_texts()
    assert sorted(labels) == ["greenish", "reddish"]
    assert page.locator(".probe-name").all_inner_texts()[1:] == [
        "greenish (test)",
        "reddish (test)",
    ]


@pytest.mark.browser
def test_chosen_runs_are_compared(page: Page, scratch: Path) -> None:
    """Two runs as their folders have them, one of which is an epoch longer."""
    folders = [scratch / "runs" / name for name in ("one", "two")]
    for place, folder in enumerate(folders):
        folder.mkdir(parents=True)
        recipe = load_recipe("smoke", [f"optimizer.lr={0.001 * (place + 1)}"])
        (folder / "recipe.yaml").write_text(yaml.safe_dump(recipe.to_dict()))
        rows = [
            {"epoch": epoch, "train_loss": 2.0, "train_accuracy": 0.2,
             "test_loss": 2.0 / epoch, "test_accuracy": 0.1 * epoch + 0.05 * place}
            for epoch in range(1, 4 + place)
        ]  # fmt: skip
        (folder / "log.json").write_text(json.dumps(rows))
    try:
        page.reload()
        for name in ("one", "two"):
            page.get_by_role("checkbox", name=f"Compare {name}", exact=True).check()
        page.locator(".compared .line-run-1").first.wait_for(state="attached")
        lines = [page.locator(f".compared .line-run-{at}").first for at in (0, 1)]
        points = [len(str(line.get_attribute("points")).split()) for line in lines]
        assert points == [3, 4]
        assert page.locator(".compared .curve").nth(1).locator(".key").all_inner_texts() == [
            "one (test) 30.0\u00a0%",
            "two (test) 45.0\u00a0%",
        ]
        rows = page.locator(".differing tbody tr").all_inner_texts()
        assert [row.split() for row in rows] == [["optimizer.lr", "0.001", "0.002"]]
        assert "one is not finished (3 of 3 epochs" in page.locator(".compared-says").inner_text()
        page.get_by_role("checkbox", name="Compare one", exact=True).uncheck()
        page.locator(".compared").wait_for(state="hidden")
    finally:
        for folder in folders:
            shutil.rmtree(folder)


def request(**order: Any) -> dict[str, Any]:
    return {"content": json.dumps(order), "headers": {"content-type": "application/json"}}


@pytest.fixture
def trainings(tmp_path: Path) -> Trainings:
    return Trainings(tmp_path / "runs", device="cpu")


def test_a_run_is_watched_and_a_closing_server_keeps_it(
    small: vx.LoadedModel, trainings: Trainings, pictures: Path
) -> None:
    workbench = Workbench(small, trainings=trainings)
    start = request(order="start", recipe="smoke", data=str(pictures), epochs=5000)
    with TestClient(build_app(workbench), base_url="http://localhost") as client:
        assert client.get("/explorer/setup").json()["training"] is True
        assert client.post(ORDERS, **start).json()["state"] == "running"
        again = client.post(ORDERS, **start)
        assert again.status_code == 422
        assert "stop it first" in again.json()["error"]["text"]
        wait_until(lambda: client.get("/explorer/training/now").json()["has_weights"])
        first = explained(workbench, model="run:smoke")["result"]
        assert {each["label"] for each in first["predictions"]} == {"reddish", "greenish"}
        wait_until(
            lambda: explained(workbench, model="run:smoke")["result"]["pass"] != first["pass"]
        )
        trainings.stop()
        lines = client.get("/explorer/training/news").text.splitlines()
        told = [json.loads(line)["training"] for line in lines]
        assert told[-1]["state"] == "stopped" and told[-1] == trainings.now()
    now = trainings.now()
    assert now is not None
    assert now["state"] == "stopped"
    assert (trainings.folder / "smoke" / "state.pt").is_file()
    listed = trainings.describe()["runs"]
    assert [(run["name"], run["finished"]) for run in listed] == [("smoke", False)]


def test_the_end_of_a_training_is_told_whenever_it_comes(trainings: Trainings) -> None:
    trainings._current = current = Training("run", "smoke", 1)
    news, start = trainings.news(5), time.monotonic()
    assert (next(news) or {})["state"] == "running"
    trainings.stop()
    assert (next(news) or {})["state"] == "stopping" and time.monotonic() - start < 4
    current.state = "finished"  # after one look and before the next
    assert [one and one["state"] for one in news] == ["finished"]


def test_steps_are_told_within_an_epoch_but_not_each_of_many(
    trainings: Trainings, monkeypatch: pytest.MonkeyPatch
) -> None:
    told, end, now = threading.Event(), threading.Event(), 100.0
    row = {"epoch": 1.0, "test_accuracy": 0.5}

    def train(*_: Any, step: Callable[[Step], None], **options: Any) -> RunResult:
        nonlocal now
        for count in range(1, 5):  # 0.3 seconds each
            step(Step(1, 2, count, 4, 1 / count, 0.25, None if count == 1 else 9.0))
            now += 0.3
        told.set()
        assert end.wait(30)
        options["watch"](row)
        return RunResult(Path("run"), Path("run/last.safetensors"), True, (row,), None)

    monkeypatch.setattr("vit_explorer.training.run.train", train)
    monkeypatch.setattr("vit_explorer.page.state.trainings.time.monotonic", lambda: now)
    trainings.start("smoke", "cifar10")
    assert told.wait(30)
    at = (trainings.now() or {})["step"]
    assert at == {
        "epoch": 1, "epochs": 2, "step": 3, "steps": 4, "loss": 1 / 3, "accuracy": 0.25,
        "seconds_left": 9.0,
    }  # fmt: skip
    end.set()
    trainings.close()
    assert (trainings.now() or {})["step"] is None  # the epoch has ended


@pytest.mark.parametrize(
    ("order", "said"),
    [
        ({"order": "start", "recipe": "smok", "data": "x"}, "did you mean 'smoke'"),
        ({"order": "start", "recipe": "/etc/passwd", "data": "x"}, "There is no recipe"),
        ({"order": "start", "recipe": "smoke", "data": "  "}, "Name a folder"),
        ({"order": "start", "recipe": "smoke", "data": "a\0b"}, "Name a folder"),
        ({"order": "start", "recipe": "smoke", "data": "~no-one/x"}, "a user this machine"),
        ({"order": "start", "recipe": "smoke", "data": "x", "epochs": 0}, "epochs"),
        ({"order": "start", "recipe": "smoke"}, "start.data is missing"),
        ({**START, "position": "round"}, "model.position was \"round\"; it should be 'learned'"),
        ({**START, "recipe": "cifar10_finetune", "position": "none"}, "give either model"),
        ({**START, "lr": 0}, "optimizer.lr was 0.0; it should be greater than 0"),
        ({**START, "lr": 1e-6}, "more than optimizer.lr, 1e-06; lower it"),
        ({**START, "batch_size": 0}, "batch_size was 0; it should be 1 or more"),
        ({**START, "weights": "/etc/passwd"}, "There are no weights '/etc/passwd' to begin with"),
        ({**START, "weights": "run:../x"}, "There is no run '../x'"),
        ({**START, "class_weights": "all"}, "class_weights"),
        ({"order": "resume", "run": "../other"}, "There is no run"),
        ({"order": "resume", "run": ""}, "There is no run"),
        ({"order": "delete"}, "wrong"),
    ],
)
def test_bad_orders_get_one_sentence(
    small: vx.LoadedModel, trainings: Trainings, order: dict[str, Any], said: str
) -> None:
    app = build_app(Workbench(small, trainings=trainings))
    with TestClient(app, base_url="http://localhost") as client:
        answer = client.post(ORDERS, **request(**order))
        assert answer.status_code == 422
        assert said in answer.json()["error"]["text"]
        assert answer.json()["error"]["text"][-1] in ".?"
        assert client.post(ORDERS, data=order).status_code == 415
    assert trainings.now() is None


def test_data_that_can_t_be_trained_on_is_said_and_leaves_no_run(
    trainings: Trainings, pictures: Path
) -> None:
    trainings.start("smoke", str(pictures / "reddish"))
    wait_until(lambda: (trainings.now() or {})["state"] == "failed")
    assert "no class folders" in (trainings.now() or {})["error"]["text"]
    assert not trainings.folder.exists()


def test_a_form_s_changes_are_those_of_the_command(tmp_path: Path) -> None:
    file = tmp_path / "runs: 'odd'" / "last.safetensors"
    changes = Changes(
        epochs=4, position="relative", lr=3e-3, batch_size=64, weights="run:odd",
        class_weights="balanced",
    )  # fmt: skip
    recipe = load_recipe("cifar10_scratch")
    changed = load_recipe(recipe, changes.overrides(recipe, lambda name: file))
    assert changed.model is not None and recipe.model is not None
    expected = recipe.model_copy(
        update={
            "epochs": 4,
            "full_epochs": 4,
            "batch_size": 64,
            "class_weights": "balanced",
            "initial_weights": str(file),
            "optimizer": recipe.optimizer.model_copy(update={"lr": 3e-3}),
            "model": dataclasses.replace(recipe.model, position="relative", patch_dropout=0.0),
        }
    )
    assert changed == expected
    assert load_recipe(recipe, Changes().overrides(recipe, lambda name: file)) == recipe
    shipped = Changes(weights="bundled-cifar10", class_weights="none")
    assert load_recipe(
        changed, shipped.overrides(changed, lambda name: file)
    ) == changed.model_copy(update={"initial_weights": "bundled-cifar10", "class_weights": None})


def test_fewer_epochs_than_a_recipe_ends_with_are_trained(
    trainings: Trainings, pictures: Path
) -> None:
    assert load_recipe("cifar10_scratch").full_epochs > 1
    trainings.start("cifar10_scratch", str(pictures), Changes(epochs=1))
    trainings.stop()
    wait_until(lambda: (trainings.now() or {})["state"] in ("stopped", "finished"))
    assert load_recipe(trainings.folder / "cifar10_scratch" / "recipe.yaml").epochs == 1


def test_the_rows_of_a_run_that_was_cut_off_are_counted_once(
    trainings: Trainings, pictures: Path
) -> None:
    trainings.start("smoke", str(pictures), Changes(epochs=3))
    wait_until(lambda: len((trainings.now() or {})["rows"]) >= 1)
    trainings.stop()
    wait_until(lambda: (trainings.now() or {})["state"] == "stopped")
    log = trainings.folder / "smoke" / "log.json"
    rows = json.loads(log.read_text())
    log.write_text(json.dumps([*rows, {**rows[-1], "epoch": len(rows) + 1}]))  # no state of it
    trainings.resume("smoke")
    wait_until(lambda: (trainings.now() or {})["state"] == "finished")
    assert [row["epoch"] for row in (trainings.now() or {})["rows"]] == [1, 2, 3]


def test_a_run_of_another_process_is_shown_as_such(trainings: Trainings, pictures: Path) -> None:
    trainings.start("smoke", str(pictures), Changes(epochs=1))
    wait_until(lambda: (trainings.now() or {})["state"] == "finished")
    (before,) = trainings.describe()["runs"]
    code = "import sys, filelock\nwith filelock.FileLock(sys.argv[1]):\n print()\n input()"
    command = [sys.executable, "-uc", code, str(trainings.folder / "smoke" / ".lock")]
    pipe = subprocess.PIPE
    with subprocess.Popen(command, stdin=pipe, stdout=pipe, text=True) as other:
        assert other.stdout is not None
        other.stdout.readline()
        (during,) = trainings.describe()["runs"]
        other.communicate("\n")
    (after,) = trainings.describe()["runs"]
    assert (before["training"], during["training"], after["training"]) == (False, True, False)


def test_names_of_runs_never_become_paths(small: vx.LoadedModel, trainings: Trainings) -> None:
    trainings.folder.mkdir()
    (trainings.folder.parent / "recipe.yaml").write_text("epochs: 1")
    for run in ("..", "../runs", ".", "", str(trainings.folder.parent)):
        with pytest.raises(ModelError, match="There is no run"):
            trainings.weights(run)
        with pytest.raises(OptionError, match="There is no run"):
            trainings.resume(run)
    with pytest.raises(ModelError, match="There is no model"):
        Workbench(small).model("run:smoke")


def test_without_leave_the_page_has_no_training(small: vx.LoadedModel) -> None:
    with TestClient(build_app(Workbench(small)), base_url="http://localhost") as client:
        assert client.get("/explorer/setup").json()["training"] is False
        order = request(order="start", recipe="smoke", data="cifar10")
        assert client.post(ORDERS, **order).status_code in (404, 405)


def test_a_model_without_a_film_has_none_to_fetch(small: vx.LoadedModel) -> None:
    workbench = Workbench(small)
    assert explained(workbench)["result"]["film"] == {}


def test_a_film_shows_the_names_that_were_given(checkpoint: Path, small: vx.LoadedModel) -> None:
    film = checkpoint.with_name("film.npz")
    names = [f"类别 {index}" for index in range(10)]
    packed = film_bytes(film, vx.load_model(checkpoint, labels=names))
    assert unpack(packed)[0]["labels"] == names
    model = vx.load_model(checkpoint)
    others = dataclasses.replace(model, metadata={**model.metadata, "labels": names})
    with pytest.raises(DataError, match="film of another model"):
        film_bytes(film, others)
    unnamed = dataclasses.replace(model, metadata={}, labels=tuple(names))
    assert film_bytes(film, unnamed) == packed


def test_a_film_that_does_not_fit_is_refused(
    small: vx.LoadedModel, checkpoint: Path, tmp_path: Path
) -> None:
    film = find_film(str(checkpoint))
    assert film == checkpoint.with_name("film.npz")
    with pytest.raises(DataError, match="film of another model"):
        film_bytes(film, small)
    damaged = tmp_path / "film.npz"
    whole, partial = film.read_bytes(), io.BytesIO()
    with np.load(film) as arrays:
        np.savez(partial, **{name: arrays[name] for name in arrays if name != "probabilities"})
    spoilt = whole[:400] + bytes(200) + whole[600:]
    for content in (b"", b"only words", whole[:500], spoilt, partial.getvalue()):
        damaged.write_bytes(content)
        with pytest.raises(DataError, match="damaged"):
            film_bytes(damaged, small)
    workbench = Workbench(small, film=damaged)
    with TestClient(build_app(workbench), base_url="http://localhost") as client:
        described = explained(workbench)["result"]["film"]
        answer = client.get(f"/explorer/{described['url']}")
        assert answer.status_code == 404
        assert answer.json()["error"]["text"].endswith(".")
