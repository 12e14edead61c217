"""The page's models of files: told apart by what they are, and named for what was sent."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest
import timm
from anyio.from_thread import start_blocking_portal
from safetensors.torch import save

import vit_explorer as vx
from vit_explorer.errors import ModelError
from vit_explorer.ui import Workbench

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
        assert result.model.card.source == f"timm, weights from {file}.safetensors"


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
