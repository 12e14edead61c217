"""Small files that ask for much get one sentence, within seconds, without the memory they claim."""

from __future__ import annotations

import io
import json
import pickle
import random
import re
import struct
import time
import zipfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

import vit_explorer as vx
from tests.browser import write_checkpoint
from vit_explorer.models.vit import VisionTransformer, ViTConfig

pytestmark = pytest.mark.skipif(
    not Path("/proc/self/clear_refs").exists(), reason="memory is measured as Linux tells it"
)

SECONDS = 2.0  # of a processor, so that others' work does not count
MEGABYTES = 300
# Values that someone might put in place of a setting, of every type that JSON has.
ODD_VALUES = (
    None, True, -1, 0, 1.5, 10**6, 10**9, 10**30, -(10**30), float("nan"), float("inf"), 1e300,
    "x", "", "9" * 5000, [], [1], [10**6, 10**6], [[]] * 9, {}, {"a": {}}, "\x00\x1b[31m",
    "../../x",
)  # fmt: skip


def held(what: str) -> float:
    """MB of memory this process has, "VmRSS", or had at the most, "VmHWM"."""
    (line,) = re.findall(rf"{what}:\s+(\d+) kB", Path("/proc/self/status").read_text())
    return int(line) / 1024


@contextmanager
def bounded() -> Iterator[None]:
    """Fails where what is done inside takes more time or memory than a small file may."""
    torch.manual_seed(0)
    Path("/proc/self/clear_refs").write_text("5")  # the most held counts from now on
    before, begun = held("VmRSS"), time.process_time()
    yield
    taken = time.process_time() - begun
    more = held("VmHWM") - before
    assert taken <= SECONDS, f"{taken:.1f} s"
    assert more <= MEGABYTES, f"{more:.0f} MB"


@pytest.fixture(scope="module", autouse=True)
def imported(tmp_path_factory: pytest.TempPathFactory) -> None:
    """What a first load imports is no file's doing."""
    vx.load_model(write_checkpoint(tmp_path_factory.mktemp("first") / "small.safetensors"))
    vx.load_model("test_vit", pretrained=False)


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    return write_checkpoint(tmp_path_factory.mktemp("whole") / "small.safetensors").read_bytes()


def split(content: bytes) -> tuple[dict[str, Any], bytes]:
    """The header of a safetensors file, and the numbers behind it."""
    length = struct.unpack("<Q", content[:8])[0]
    return json.loads(content[8 : 8 + length]), content[8 + length :]


def joined(header: Any, numbers: bytes) -> bytes:
    text = json.dumps(header).encode()
    return struct.pack("<Q", len(text)) + text + numbers


def told(content: bytes, part: str, **settings: Any) -> bytes:
    """The same file whose metadata says something else in a part of it."""
    header, numbers = split(content)
    said = json.loads(header["__metadata__"][part])
    header["__metadata__"][part] = json.dumps(said | settings)
    return joined(header, numbers)


def opened(path: Path, content: bytes, model: str = "") -> vx.LoadedModel | str:
    """A file as it loads, or the sentence that refuses it, which is one line."""
    path.write_bytes(content)
    try:
        with bounded():
            return vx.load_model(model, weights=path) if model else vx.load_model(path)
    except vx.ExplorerError as error:
        sentence = str(error)
        assert sentence.isprintable() and len(sentence) < 2000, sentence
        return sentence


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        ({"depth": 1_000_000}, "describes 1,000,000 blocks, and the file holds"),
        ({"depth": 2_000_000_000}, "A ViT's depth was 2000000000, expected 1 to 1,000,000."),
        ({"depth": 1.5}, "A ViT's depth was 1.5, expected a whole number."),
        ({"depth": True}, "A ViT's depth was True, expected a whole number."),
        ({"mlp_ratio": "x"}, "A ViT's mlp_ratio was 'x', expected a number."),
        ({"mlp_ratio": float("nan")}, "expected a number"),
        ({"mlp_ratio": -4.0}, "leaves its MLPs no number"),
        ({"mlp_ratio": 1e6}, "000000, "),
        ({"dim": 10**6, "heads": 1}, "don't fit"),
        ({"classes": 10**6}, "don't fit"),
        ({"classes": -1}, "expected 0 to 1,000,000"),
        ({"class_token": 1}, "expected true or false"),
        ({"image_size": [10**6, 10**6]}, "don't fit"),
        ({"image_size": [64.5, 64]}, "expected a whole number, or height and width"),
        ({"image_size": "64"}, "expected a whole number, or height and width"),
        ({"width": 10**9}, "has no setting 'width'"),
        ({"norm_eps": None}, "A ViT's norm_eps was None, expected a number."),
        ({"position": ["none"]}, "position"),
    ],
)
def test_a_description_is_held_against_the_tensors(
    whole: bytes, tmp_path: Path, settings: dict[str, Any], says: str
) -> None:
    found = opened(tmp_path / "claims.safetensors", told(whole, "config", **settings))
    assert isinstance(found, str) and says in found


def test_a_picture_that_no_memory_holds_is_refused(tmp_path: Path) -> None:
    """Computed positions take no room in the file, so only the picture can be too large."""
    for position in ("none", "sincos", "learned_2d"):
        content = write_checkpoint(tmp_path / "small.safetensors", position=position).read_bytes()
        header, _ = split(content)
        size = json.loads(header["__metadata__"]["config"])["image_size"]
        larger = told(content, "config", image_size=[side * 20_000 for side in size])
        found = opened(tmp_path / "large.safetensors", larger)
        assert isinstance(found, str)
        assert ("GB of memory, and" in found) == (position != "learned_2d"), found


@pytest.mark.parametrize("name", ["vit_giant_patch14_224", "eva02_enormous_patch14_clip_224"])
def test_a_large_architecture_is_not_made_for_a_small_file(name: str, tmp_path: Path) -> None:
    path = tmp_path / "little.safetensors"
    save_file({"blocks.0.norm1.weight": torch.ones(4)}, path)
    found = opened(path, path.read_bytes(), name)
    assert isinstance(found, str) and f"don't fit {name}" in found and "missing" in found


def pickled(content: Any) -> bytes:
    buffer = io.BytesIO()
    torch.save(content, buffer)
    return buffer.getvalue()


def packed(entries: dict[str, bytes]) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in entries.items():
            archive.writestr(name, content)
    return buffer.getvalue()


def overlapping() -> Any:
    """Two large views of one small storage, neither of which is expanded."""
    base = torch.zeros(4)
    return {"blocks.0.a": torch.as_strided(base, (4, 10**8), (1, 0)), "blocks.0.b": base}


HOSTILE: dict[str, tuple[str, Callable[[], bytes], str]] = {
    "views": (
        ".pth",
        lambda: pickled({"head.weight": torch.zeros(1).expand(40_000, 40_000)}),
        "of which it has fewer numbers, seen many times",
    ),
    "strides": (".pth", lambda: pickled(overlapping()), "seen many times"),
    "sparse": (
        ".pth",
        lambda: pickled({"head.weight": torch.eye(9).to_sparse(), "a.b": torch.eye(2)}),
        "holds a sparse matrix",
    ),
    "meta": (
        ".pth",
        lambda: pickled({"head.weight": torch.empty(10**5, 10**5, device="meta")}),
        "holds no numbers",
    ),
    "bomb": (
        ".pth",
        lambda: packed({"a/data.pkl": b"\x80\x02}.", "a/data/0": bytes(10**9)}),
        "unpacks to 1,000 MB",
    ),
    "arrays": (".npz", lambda: packed({"a.npy": bytes(10**9)}), "unpacks to 1,000 MB"),
    "claimed array": (
        ".npz",
        lambda: packed({"a.npy": npy_header((10**6, 10**6))}),
        "is damaged or holds more than numbers",
    ),
    "reconstruct": (".pth", lambda: array_of((10**12,)), "weights file"),
    "nested": (".pth", lambda: pickle.dumps(nested(60), 2), "weights file"),
    "header": (
        ".safetensors",
        lambda: struct.pack("<Q", 2**60) + b"{}",
        "is not a readable safetensors file",
    ),
    "shape": (
        ".safetensors",
        lambda: joined(
            {"a.b": {"dtype": "F32", "shape": [2**40], "data_offsets": [0, 4]}}, b"1234"
        ),
        "is not a readable safetensors file",
    ),
    "product": (
        ".safetensors",
        lambda: joined(
            {"a.b": {"dtype": "F32", "shape": [2**33, 2**33], "data_offsets": [0, 4]}}, b"1234"
        ),
        "is not a readable safetensors file",
    ),
}


def npy_header(shape: tuple[int, ...]) -> bytes:
    buffer = io.BytesIO()
    np.lib.format.write_array_header_1_0(
        buffer, {"descr": "<f4", "fortran_order": False, "shape": shape}
    )
    return buffer.getvalue()


def array_of(shape: tuple[int, ...]) -> bytes:
    """A pickle that has numpy make an array of a shape before it brings any number of it."""

    class Claim:
        def __reduce__(self) -> Any:
            make = np._core.multiarray._reconstruct  # type: ignore[attr-defined]
            return make, (np.ndarray, shape, b"d")

    return pickle.dumps({"a.b": Claim()}, 2)


def nested(depth: int) -> Any:
    """Dictionaries that hold one another twice: few bytes, and 2^depth places to look."""
    inner: Any = {"a.b": 1}
    for _ in range(depth):
        inner = {"x": inner, "y": inner}
    return inner


@pytest.mark.parametrize("name", HOSTILE)
def test_what_a_file_holds_is_not_taken_on_trust(name: str, tmp_path: Path) -> None:
    ending, make, says = HOSTILE[name]
    found = opened(tmp_path / f"hostile{ending}", make(), "test_vit")
    assert isinstance(found, str) and says in found, found


def test_any_metadata_loads_or_gets_a_sentence(whole: bytes, tmp_path: Path) -> None:
    """Each setting of a file, in turn and at random, says something of another kind."""
    draw = random.Random(14)
    header, numbers = split(whole)
    parts = {part: json.loads(header["__metadata__"][part]) for part in ("config", "preprocess")}
    places = [(part, key) for part, values in parts.items() for key in values]
    places += [("labels", ""), ("recipe", ""), ("metrics", ""), ("training", ""), ("format", "")]
    refused = 0
    for _ in range(150):
        part, key = draw.choice(places)
        value = draw.choice(ODD_VALUES)
        changed = json.loads(json.dumps(header))
        said = parts[part] | {key: value} if key else value
        changed["__metadata__"][part] = json.dumps(said) if draw.random() < 0.9 else str(said)
        found = opened(tmp_path / "odd.safetensors", joined(changed, numbers))
        refused += isinstance(found, str)
    assert refused > 75


def test_any_damage_to_a_header_gets_a_sentence(whole: bytes, tmp_path: Path) -> None:
    draw = random.Random(15)
    header, numbers = split(whole)
    names = [name for name in header if name != "__metadata__"]
    for _ in range(60):
        changed = json.loads(json.dumps(header))
        entry = changed[draw.choice(names)]
        entry[draw.choice(list(entry))] = draw.choice(ODD_VALUES)
        assert isinstance(opened(tmp_path / "odd.safetensors", joined(changed, numbers)), str)


def test_any_damage_to_a_pickle_gets_a_sentence(tmp_path: Path) -> None:
    """Bytes of a file that torch.save wrote are cut off, changed, or repeated."""
    draw = random.Random(16)
    module = VisionTransformer(ViTConfig((16, 16), 8, classes=2, dim=8, depth=1, heads=1))
    contents = [pickled(module.state_dict()), pickled({"model": module.state_dict(), "epoch": 3})]
    for _ in range(100):
        content = bytearray(draw.choice(contents))
        at = draw.randrange(len(content))
        match draw.randrange(3):
            case 0:
                del content[at:]
            case 1:
                for place in range(at, min(at + 4, len(content))):
                    content[place] = draw.randrange(256)
            case _:
                content[at:at] = content[: draw.randrange(200)]
        opened(tmp_path / "odd.pth", bytes(content), "test_vit")
