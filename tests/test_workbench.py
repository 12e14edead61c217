"""What the page's server keeps: models and files, results and pictures, and who waits for what."""

from __future__ import annotations

import copy
import dataclasses
import errno
import io
import json
import shutil
import threading
import time
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest
import timm
from anyio.from_thread import start_blocking_portal
from PIL import Image
from safetensors.torch import save

import vit_explorer as vx
from tests.conftest import load_small
from vit_explorer.errors import ModelError
from vit_explorer.page import Workbench
from vit_explorer.page.payloads.load_arguments import load_arguments
from vit_explorer.page.state.cache import ByteCache
from vit_explorer.page.state.results import Result, weight_bytes
from vit_explorer.page.state.trainings import Trainings
from vit_explorer.page.state.uploads import FILES_KEPT, Uploads

TINY, DEIT = "vit_tiny_patch16_224", "deit_tiny_patch16_224"
Send = Callable[[str, bytes], str]


@pytest.fixture
def workbench(small: vx.LoadedModel) -> Workbench:
    return Workbench(small, device="cpu")


@pytest.fixture
def send(workbench: Workbench) -> Send:
    async def chunks(content: bytes) -> AsyncIterator[bytes]:
        yield content

    def sent(name: str, content: bytes) -> str:
        kind = "weights" if Path(name).suffix == ".safetensors" else "labels"
        # In a thread of its own: a browser test before this one may have left a loop running here.
        with start_blocking_portal() as portal:
            return str(portal.call(workbench.uploads.receive, kind, name, chunks(content)))

    return sent


def weights(scale: float = 1.0) -> bytes:
    module = timm.create_model(TINY, num_classes=5, img_size=32)
    return save({name: scale * tensor for name, tensor in module.state_dict().items()})


def test_one_file_as_two_architectures_is_two_results(workbench: Workbench, send: Send) -> None:
    content = weights()
    first = workbench.add_model(TINY, send("best.safetensors", content), None)
    second = workbench.add_model(DEIT, send("best.safetensors", content), None)
    plain, deit = (workbench.analyse("cat.png", name, None) for name in (first, second))
    assert (plain.model.card.name, deit.model.card.name) == (TINY, DEIT)
    # vit_tiny was trained with a mean of 0.5, deit_tiny with ImageNet's.
    assert plain.explanation.card.mean != deit.explanation.card.mean
    assert plain.pass_key != deit.pass_key
    for name, result in ((first, plain), (second, deit)):
        assert workbench.analyse("cat.png", name, None) is result
        target = result.explanation.target
        assert target and workbench.analyse("cat.png", name, target.index) is result


def test_files_of_one_name_stay_apart(workbench: Workbench, send: Send) -> None:
    one, other = weights(), weights(0.5)
    names = [
        workbench.add_model(TINY, send("best.safetensors", content), None)
        for content in (one, other, one, other)
    ]
    assert names[:2] == ["file:best.safetensors", "file:best.safetensors (2)"]
    assert names[2:] == names[:2]
    assert workbench.model(names[0]).sha256 != workbench.model(names[1]).sha256
    labels = [
        workbench.add_model(workbench.start_name, None, send("names.txt", content))
        for content in (b"a\nb\nc\nd\ne", b"v\nw\nx\ny\nz")
    ]
    assert labels[1] == f"{labels[0]} (2)"
    assert [workbench.model(name).labels[0] for name in labels] == ["a", "v"]


def test_a_file_of_two_names_shows_the_one_that_is_asked_for(
    workbench: Workbench, send: Send
) -> None:
    content = weights()
    for file in ("old", "new", "old"):
        name = workbench.add_model(TINY, send(f"{file}.safetensors", content), None)
        result = workbench.analyse("cat.png", name, None)
        assert result.model_name == name == f"file:{file}.safetensors"
        assert str(result.model.card.source) == f"timm, weights from {file}.safetensors"


def test_a_file_without_architecture_asks_for_the_page_s_field(
    workbench: Workbench, send: Send
) -> None:
    with pytest.raises(ModelError, match="fill in Architecture with the timm name") as error:
        workbench.add_model("", send("best.safetensors", weights()), None)
    assert "model and the file" not in str(error.value)


def test_labels_are_sent_as_csv(workbench: Workbench, send: Send) -> None:
    key = send("names.csv", b"index,name\n4,e\n3,d\n2,c\n1,b\n0,a\n")
    assert workbench.model(workbench.add_model(workbench.start_name, None, key)).labels == (
        *"abcde",
    )


@pytest.fixture
def relabelled(
    workbench: Workbench, send: Send, monkeypatch: pytest.MonkeyPatch
) -> tuple[str, list[str]]:
    """The name of another model's weights under names of our own, and the models that were read."""
    read: list[str] = []

    def random_weights(name: str, **options: Any) -> vx.LoadedModel:
        read.append(name)
        return vx.load_model(name, pretrained=False, image_size=32, **options)

    monkeypatch.setattr("vit_explorer.page.state.session.load_model", random_weights)
    labels = "\n".join(f"thing {index}" for index in range(1000)).encode()
    return workbench.add_model(TINY, None, send("names.txt", labels)), read


def test_labels_alone_load_again_after_they_were_let_go(
    workbench: Workbench, relabelled: tuple[str, list[str]]
) -> None:
    name, read = relabelled
    for other in (DEIT, "deit3_small_patch16_224"):  # two are kept
        workbench.model(other)
    assert not workbench.is_loaded(name)
    with workbench.loads.waiting(name) as loading:
        assert loading.result(timeout=60).labels[7] == "thing 7"
    assert read == [TINY, DEIT, "deit3_small_patch16_224", TINY]


def test_a_slow_download_keeps_only_its_own_model_waiting(
    workbench: Workbench, monkeypatch: pytest.MonkeyPatch
) -> None:
    begun, go_on = threading.Event(), threading.Event()
    read: list[str] = []

    def load(name: str, **_: Any) -> vx.LoadedModel:
        read.append(name)
        if name == DEIT:
            begun.set()
            assert go_on.wait(30)
        return dataclasses.replace(workbench.start_model)

    monkeypatch.setattr("vit_explorer.page.state.session.load_model", load)
    loaded = workbench.model(TINY)
    waiting = workbench.loads.waiting
    with waiting(DEIT) as slow, waiting(DEIT) as again:
        assert begun.wait(10)
        try:
            with waiting(TINY) as other, waiting("vit_base_patch16_224") as third:
                assert other.result(timeout=10) is loaded
                third.result(timeout=10)
            assert not slow.done() and not again.done()
        finally:
            go_on.set()
        assert slow.result(timeout=10) is again.result(timeout=10)
    assert read == [TINY, DEIT, "vit_base_patch16_224"]


def test_a_loading_that_failed_is_tried_again(
    workbench: Workbench, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: Any, **__: Any) -> None:
        raise ModelError("no network")

    with monkeypatch.context() as patched:
        patched.setattr("vit_explorer.page.state.session.load_model", fail)
        with pytest.raises(ModelError, match="no network"):
            workbench.model(TINY)
    monkeypatch.setattr("vit_explorer.page.state.session.load_model", lambda *_, **__: "loaded")
    assert workbench.model(TINY) == "loaded"


def test_a_pass_waits_for_its_own_model_only(workbench: Workbench, send: Send) -> None:
    other = workbench.add_model(TINY, send("best.safetensors", weights()), None)
    results: list[Result] = []

    def ask() -> None:
        results.append(workbench.analyse("cat.png", workbench.start_name, None))

    with workbench.start_model.lock:  # as a long analysis holds it
        askers = [threading.Thread(target=ask, daemon=True) for _ in range(2)]
        for asker in askers:
            asker.start()
        time.sleep(0.1)
        workbench.analyse("cat.png", other, None)
        assert results == []
    for asker in askers:
        asker.join(30)
    assert results[0] is results[1]  # one pass for both


def test_a_result_above_half_the_cache_is_held(
    workbench: Workbench, monkeypatch: pytest.MonkeyPatch
) -> None:
    size = workbench.analyse("cat.png", workbench.start_name, None).bytes
    monkeypatch.setattr("vit_explorer.page.state.results.RESULT_BYTES", size * 3 // 2)
    tight = Workbench(workbench.start_model)
    result = tight.analyse("cat.png", tight.start_name, None)
    assert tight.result(result.key) is result
    assert tight.analyse("cat.png", tight.start_name, None) is result


def test_results_of_many_models_do_not_keep_them_all(
    small: vx.LoadedModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    def load(name: str, **_: object) -> vx.LoadedModel:
        return dataclasses.replace(load_small(copy.deepcopy(small.module)), sha256=name)

    monkeypatch.setattr("vit_explorer.page.state.session.load_model", load)
    monkeypatch.setattr("vit_explorer.page.state.session.MODELS_KEPT", 1)
    monkeypatch.setattr(
        "vit_explorer.page.state.results.WEIGHT_BYTES", weight_bytes(small.module) * 3 // 2
    )
    workbench = Workbench(small)
    names = [workbench.start_name, TINY, DEIT, "vit_small_patch16_224", "vit_base_patch16_224"]
    keys = [workbench.analyse("cat.png", name, None).key for name in names]
    again = workbench.analyse("coffee.png", names[-1], None).key
    # The start, the model that is kept, and the one before it, whose weights are not too much.
    held = [workbench.result(key) is not None for key in (*keys, again)]
    assert held == [True, False, False, True, True, True]
    assert workbench.analyse("cat.png", TINY, None).key == keys[1]


def test_results_count_their_picture_and_the_page_counts_it_once(workbench: Workbench) -> None:
    buffer = io.BytesIO()
    Image.new("RGB", (900, 700), "teal").save(buffer, "PNG")
    key = workbench.add_picture(buffer.getvalue(), "large.png")
    whole = 3 * 900 * 700
    assert workbench.kept_bytes == whole
    results = [workbench.analyse(key, workbench.start_name, target) for target in range(5)]
    prepared = results[0].explanation.prepared
    drawn = sum(3 * image.width * image.height for image in (prepared.shown, prepared.crop))
    least = whole + drawn + prepared.pixels.nbytes
    assert all(least < result.bytes < least + 2**20 for result in results)
    shared = sum(result.bytes for result in results) - 4 * whole
    assert workbench.kept_bytes == shared


def test_files_that_were_let_go_are_asked_for_again(
    workbench: Workbench, send: Send, monkeypatch: pytest.MonkeyPatch
) -> None:
    name = workbench.add_model(TINY, send("best.safetensors", weights()), None)
    labelled = workbench.add_model(workbench.start_name, None, send("n.txt", b"a\nb\nc\nd\ne"))
    for _ in range(FILES_KEPT):
        send("other.txt", b"a")
    monkeypatch.setattr(workbench, "_models", ByteCache(1, lambda _: 1))
    for one in (name, labelled):
        with pytest.raises(ModelError, match=r"^The page no longer holds this file; send it again"):
            workbench.model(one)


@pytest.mark.parametrize(
    "name",
    [
        f"{TINY}.safetensors",
        f"{TINY}.none_in1k",
        "bundled.folder",
        "bundled.safetensors",
        f"{TINY}.",
    ],
)
def test_a_model_s_name_is_never_a_file_or_a_folder(
    workbench: Workbench, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "bundled.folder").mkdir()
    for file in (f"{TINY}.safetensors", "bundled.safetensors"):
        (tmp_path / file).write_bytes(weights())
    with pytest.raises(ModelError, match="^There is no model"):
        workbench.model(name)


def test_a_name_with_a_tag_of_timm_s_loads(
    workbench: Workbench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("vit_explorer.page.state.session.load_model", lambda name, **_: name)
    for name in (f"{TINY}.augreg_in21k_ft_in1k", TINY, "bundled"):
        assert workbench.model(name) == name


def test_a_run_s_model_is_loaded_elsewhere_from_its_folder(
    small: vx.LoadedModel, tmp_path: Path
) -> None:
    run = tmp_path / "my runs" / "fine"
    run.mkdir(parents=True)
    (run / "recipe.yaml").touch()
    module = timm.create_model(TINY, num_classes=2, img_size=32)
    metadata = {
        "config": {"timm": TINY, "image_size": [32, 32]},
        "labels": ["ant", "bee"],
        "preprocess": {"input_size": [3, 32, 32], "mean": [0.5] * 3, "std": [0.5] * 3},
    }
    texts = {key: json.dumps(value) for key, value in metadata.items()}
    content = save(module.state_dict(), {"format": "vit-explorer/1", **texts})
    (run / "last.safetensors").write_bytes(content)
    workbench = Workbench(small, device="cpu", trainings=Trainings(run.parent))
    result = workbench.analyse("cat.png", "run:fine", None)
    given = load_arguments(result.model, result.weights)
    assert given == {"model": (run / "last.safetensors").as_posix()}
    assert vx.load_model(**given).labels == ("ant", "bee")


def failing(error: OSError) -> AsyncIterator[bytes]:
    async def chunks() -> AsyncIterator[bytes]:
        yield b"a\n"
        raise error

    return chunks()


def test_a_full_disk_is_said_and_leaves_nothing(tmp_path: Path, monkeypatch: Any) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    uploads = Uploads()
    full = OSError(errno.ENOSPC, "No space left on device", str(tmp_path))
    with start_blocking_portal() as portal, pytest.raises(ModelError) as error:
        portal.call(uploads.receive, "labels", "n.txt", failing(full))
    assert str(error.value).startswith("The file n.txt can't be kept on the server (No space left")
    assert str(tmp_path) not in str(error.value)
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == []


def test_a_cleaned_temporary_folder_is_made_again(workbench: Workbench, send: Send) -> None:
    first = workbench.uploads.path("labels", send("n.txt", b"a"))
    assert first is not None
    shutil.rmtree(first.parents[1])
    keys = [send("n.txt", b"a") for _ in range(FILES_KEPT + 1)]
    assert workbench.uploads.path("labels", keys[-1])
    workbench.uploads.close()
    with pytest.raises(ModelError, match="send it again"):
        workbench.uploads.path("labels", keys[-1])


@pytest.mark.parametrize("letter", ["a", "é", "漢", "𠮷"])
def test_long_names_are_cut_by_their_bytes(workbench: Workbench, send: Send, letter: str) -> None:
    path = workbench.uploads.path("labels", send(f"{letter * 400}.txt", b"a"))
    assert path is not None and path.suffix == ".txt" and set(path.stem) == {letter}
    buffer = io.BytesIO()
    Image.new("RGB", (40, 30)).save(buffer, "PNG")
    name = workbench.picture(workbench.add_picture(buffer.getvalue(), f"{letter * 400}.png")).name
    assert name.endswith(f"{letter}.png") and len(name.encode()) <= 120


def test_close_leaves_no_file(workbench: Workbench, send: Send) -> None:
    path = workbench.uploads.path("labels", send("n.txt", b"a"))
    assert path is not None
    workbench.close()
    assert not path.parents[1].exists()
