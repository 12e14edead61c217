"""Weights files of every kind: told by their content, read without running anything in them."""

from __future__ import annotations

import argparse
import collections
import datetime
import enum
import functools
import json
import os
import random
import warnings
import zipfile
from collections.abc import Callable
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import Any

import numpy as np
import pytest
import timm
import torch
from safetensors.torch import save_file
from torch import Tensor, nn

import vit_explorer as vx
from vit_explorer.errors import ModelError

from .test_zoo import one_sentence

TINY = "vit_tiny_patch16_224"


@pytest.fixture(scope="module")
def state() -> dict[str, Tensor]:
    return timm.create_model(TINY, num_classes=3).state_dict()


def load(path: Path, content: Any) -> vx.LoadedModel:
    torch.save(content, path)
    return vx.load_model(TINY, weights=path)


def same(model: vx.LoadedModel, state: dict[str, Tensor]) -> None:
    torch.testing.assert_close(model.module.state_dict(), state, rtol=0, atol=0)


@pytest.mark.parametrize(
    "name", ["model_best.pth.tar", "last.ckpt", "weights", "weights.bin", "epoch_3.weird"]
)
def test_the_ending_does_not_matter(tmp_path: Path, state: dict[str, Tensor], name: str) -> None:
    content = {"state_dict": state, "arch": TINY, "epoch": 3}
    same(load(tmp_path / name, content), state)
    alone = vx.load_model(tmp_path / name)
    assert (alone.card.name, str(alone.card.source)) == (TINY, f"timm, weights from {name}")
    save_file(state, tmp_path / f"tensors_{name}")
    same(vx.load_model(TINY, weights=tmp_path / f"tensors_{name}"), state)


class Args(dict[str, Any]):
    """As Lightning's: a mapping of a class of its own."""


class Config:
    """As a training script's own settings."""

    def __init__(self) -> None:
        self.lr = 1e-3
        self.more = {"steps": [1, 2]}


class Slotted:
    __slots__ = ("lr",)

    def __init__(self) -> None:
        self.lr = 1e-3


class Phase(enum.Enum):
    TRAIN = "train"


EXTRAS: dict[str, Any] = {
    "namespace": argparse.Namespace(lr=1e-3, model="vit"),
    "path": {"data": PurePosixPath("data"), "there": PureWindowsPath("c:/data"), "p": Path("x")},
    "numpy": [np.float64(79.0), np.bool_(True), np.arange(4), np.dtype("f4"), np.str_("x")],
    "objects": np.array([{"a": 1}, None], dtype=object),
    "random": np.random.get_state(),
    "default": collections.defaultdict(list, {"loss": [np.float32(1.5)]}),
    "ordered": collections.OrderedDict(a=argparse.Namespace(b=PurePosixPath("c"))),
    "time": [datetime.datetime(2026, 1, 1), datetime.timedelta(seconds=3)],
    "deque": collections.deque([1, 2]),
}


@pytest.mark.parametrize("extra", EXTRAS)
@pytest.mark.parametrize("zipped", [True, False])
def test_plain_data_beside_the_tensors_is_read(
    tmp_path: Path, state: dict[str, Tensor], extra: str, zipped: bool
) -> None:
    path = tmp_path / "args.pth"
    content = {"state_dict": state, "args": EXTRAS[extra]}
    torch.save(content, path, _use_new_zipfile_serialization=zipped)
    model = vx.load_model(TINY, weights=path)
    same(model, state)
    assert model.card.weights_notes == ()


@pytest.mark.parametrize("extra", [Args(lr=1), Config(), Slotted(), Phase.TRAIN])
def test_objects_of_other_programs_are_left_unread(
    tmp_path: Path, state: dict[str, Tensor], extra: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    def ran(*_: Any, **__: Any) -> None:
        raise AssertionError("the file's class was used")

    kind = type(extra)
    torch.save({"state_dict": state, "args": extra}, tmp_path / "args.pth")
    monkeypatch.setattr(kind, "__init__", ran, raising=False)
    monkeypatch.setattr(kind, "__setstate__", ran, raising=False)
    model = vx.load_model(TINY, weights=tmp_path / "args.pth")
    same(model, state)
    (note,) = model.card.weights_notes
    assert f"were not read: {kind.__module__}.{kind.__qualname__}." in note


def test_reading_leaves_nothing_allowed_behind(tmp_path: Path, state: dict[str, Tensor]) -> None:
    before = set(torch.serialization.get_safe_globals())  # in no order
    load(tmp_path / "args.pth", {"state_dict": state, "args": Config()})
    assert set(torch.serialization.get_safe_globals()) == before


class Bomb:
    def __init__(self, function: Any, *args: Any) -> None:
        self.made = function, args

    def __reduce__(self) -> Any:
        return self.made


@pytest.mark.parametrize(
    ("function", "args", "named"),
    [
        (os.system, ("touch ran",), "posix.system"),
        (eval, ("open('ran', 'w')",), "builtins.eval"),
        (exec, ("open('ran', 'w')",), "builtins.exec"),
        (getattr, (Path("ran"), "touch"), "builtins.getattr"),
        (functools.partial, (print, "ran"), "functools.partial"),
    ],
)
def test_a_file_that_calls_functions_is_refused_by_their_names(
    tmp_path: Path,
    state: dict[str, Tensor],
    function: Any,
    args: Any,
    named: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ModelError, match=f"made by .*{named}.* could run code") as error:
        load(tmp_path / "evil.pth", {"state_dict": state, "args": Bomb(function, *args)})
    one_sentence(error)
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize("wrap", [lambda m: m, lambda m: {"model": m, "epoch": 3}])
def test_a_whole_module_gives_its_tensors_and_not_its_code(
    tmp_path: Path, wrap: Callable[[nn.Module], Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    module = timm.create_model(TINY, num_classes=3)
    torch.save(wrap(module), tmp_path / "whole.pth")

    def ran(*_: Any) -> None:
        raise AssertionError("the module's class was used")

    monkeypatch.setattr(nn.Module, "__setstate__", ran)
    model = vx.load_model(TINY, weights=tmp_path / "whole.pth")
    same(model, module.state_dict())
    assert model.card.weights_notes[0].startswith("A whole module was saved; its tensors were read")


def test_programs_are_named_as_what_they_are(tmp_path: Path) -> None:
    linear = nn.Linear(3, 2)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.jit.trace(linear, torch.zeros(1, 3)).save(str(tmp_path / "script.pt"))
        exported = torch.export.export(linear, (torch.zeros(1, 3),))
        torch.export.save(exported, str(tmp_path / "exported.pt2"))
    for name, told in (
        ("script.pt", r"is a TorchScript program.*torch.jit.load\('script.pt'\).state_dict\(\)"),
        ("exported.pt2", r"torch.export wrote.*torch.export.load\('exported.pt2'\).state_dict"),
    ):
        other = tmp_path / f"{Path(name).stem}.ckpt"
        other.write_bytes((tmp_path / name).read_bytes())
        for path, way in ((tmp_path / name, told), (other, told.replace(name, other.name))):
            with pytest.raises(ModelError, match=way) as error:
                vx.load_model(TINY, weights=path)
            one_sentence(error)


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("model.h5", b"\x89HDF\r\n\x1a\n", "is a Keras file"),
        ("model.gguf", b"GGUF\x03", "is a GGUF file"),
        ("model.pth", b"\x1f\x8b\x08", "is compressed with gzip"),
        ("model.onnx", b"\x08\x09", "is an ONNX graph"),
        ("model.pt", b"PK\x03\x04" + bytes(40), "its end is missing"),
        ("model.pth", b"\x80\x02}q\x00.", "damaged or no PyTorch"),
        ("model.pth", b"\x80\x02(((.", "damaged or no PyTorch"),
        ("model.pth", b"\x80\x04\x95", "pickle of protocol 4|damaged"),
        ("model.pth", bytes(257) + b"ustar" + bytes(250), "is a tar archive|begins with"),
        ("x.safetensors", b"\xff" * 64, "not a readable safetensors file"),
        ("x.safetensors", b"\x04" + bytes(7) + b"null", "not a readable safetensors file"),
    ],
)
def test_other_files_are_told_apart(
    tmp_path: Path, name: str, content: bytes, message: str
) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(ModelError, match=message) as error:
        vx.load_model(TINY, weights=tmp_path / name)
    one_sentence(error)


def test_a_zip_archive_is_told_by_what_is_in_it(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "model.pth", "w") as archive:
        archive.writestr("notes.txt", "nothing")
    with pytest.raises(ModelError, match=r"zip archive of 'notes\.txt'; unpack it"):
        vx.load_model(TINY, weights=tmp_path / "model.pth")


def test_a_newer_pickle_is_said_to_be_that(tmp_path: Path, state: dict[str, Tensor]) -> None:
    torch.save(state, tmp_path / "new.pth", pickle_protocol=4)
    with pytest.raises(ModelError, match="pickle of protocol 4.* without pickle_protocol"):
        vx.load_model(TINY, weights=tmp_path / "new.pth")


def test_damage_anywhere_is_one_sentence(tmp_path: Path, state: dict[str, Tensor]) -> None:
    path = tmp_path / "damaged.pth"
    torch.save({"state_dict": {"norm.weight": state["norm.weight"]}, "args": Config()}, path)
    whole = path.read_bytes()
    save_file({"norm.weight": state["norm.weight"]}, path)
    chance = random.Random(0)
    for content in (whole, path.read_bytes()):
        for round_ in range(60):
            damaged = bytearray(content)
            if round_ % 3 == 0:
                damaged = damaged[: chance.randrange(len(damaged))]
            for _ in range(chance.choice((1, 4, 60)) if damaged else 0):
                damaged[chance.randrange(len(damaged))] = chance.randrange(256)
            path.write_bytes(damaged)
            with pytest.raises(ModelError) as error:  # none of them is a whole ViT
                vx.load_model(TINY, weights=path)
            assert str(error.value).endswith(".")
            assert "\n" not in str(error.value)


def test_a_model_in_several_files_is_read_by_its_index(
    tmp_path: Path, state: dict[str, Tensor]
) -> None:
    names = list(state)
    parts = {
        f"model-0000{number}-of-00002.safetensors": names[number - 1 :: 2] for number in (1, 2)
    }
    for name, keys in parts.items():
        save_file({key: state[key] for key in keys}, tmp_path / name)
    first = tmp_path / "model-00001-of-00002.safetensors"
    with pytest.raises(ModelError, match=r"part 1 of 2, and its index .* is not beside it"):
        vx.load_model(TINY, weights=first)
    index = tmp_path / "model.safetensors.index.json"
    index.write_text(json.dumps({"weight_map": {k: n for n, keys in parts.items() for k in keys}}))
    for path in (first, index, tmp_path):
        same(vx.load_model(TINY, weights=path), state)
    for written, told in (
        ('{"weight_map": {"x": "../secret.safetensors"}}', "which is not beside it"),
        ('{"weight_map": 3}', "is damaged"),
        ("[", "is damaged"),
    ):
        index.write_text(written)
        with pytest.raises(ModelError, match=told) as error:
            vx.load_model(TINY, weights=index)
        one_sentence(error)


def test_quantised_weights_are_not_taken_for_floats(
    tmp_path: Path, state: dict[str, Tensor]
) -> None:
    whole = {**state, "blocks.0.attn.qkv.weight": torch.ones(576, 192, dtype=torch.int8)}
    with pytest.raises(ModelError, match=r"'blocks.0.attn.qkv.weight' as int8"):
        load(tmp_path / "int8.pth", whole)
    dynamic = torch.ao.quantization.quantize_dynamic(
        timm.create_model(TINY, num_classes=3), {nn.Linear}
    )
    with pytest.raises(ModelError, match="layers of a quantised"):
        load(tmp_path / "dynamic.pth", dynamic.state_dict())
    with pytest.raises(ModelError, match="LoRA adapters apart from .*merge_and_unload"):
        load(tmp_path / "l.pth", {**state, "blocks.0.attn.qkv.lora_A.weight": torch.ones(4, 192)})


def test_numpy_s_own_file_of_the_same_names(tmp_path: Path, state: dict[str, Tensor]) -> None:
    np.savez(tmp_path / "state.npz", **{name: tensor.numpy() for name, tensor in state.items()})
    same(vx.load_model(TINY, weights=tmp_path / "state.npz"), state)
    np.savez(tmp_path / "evil.npz", **{"a.b": np.array([Config()], dtype=object)})
    with pytest.raises(ModelError, match="holds more than numbers"):
        vx.load_model(TINY, weights=tmp_path / "evil.npz")
