"""Pictures in grey and of any number of bands: how they are opened, stretched and given."""

from __future__ import annotations

import contextlib
import io
import itertools
import json
import struct
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import timm
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from numpy.typing import NDArray
from PIL import Image
from torchvision import transforms

import vit_explorer as vx
from tests.browser import write_checkpoint
from vit_explorer.cli import main
from vit_explorer.errors import OptionError, PictureError
from vit_explorer.models.vit import VisionTransformer, ViTConfig
from vit_explorer.pictures.preprocess import Preprocess

SIZE = {"image_size": (16, 24), "patch_size": (8, 8), "dim": 16, "depth": 2, "heads": 2}


def build(channels: int, **settings: Any) -> VisionTransformer:
    torch.manual_seed(0)
    config = {**SIZE, "classes": 5, "channels": channels, **settings}
    module = VisionTransformer(ViTConfig.from_dict(config)).eval()
    for parameter in module.parameters():
        torch.nn.init.normal_(parameter, std=0.3)
    return module


def load(channels: int, **settings: Any) -> vx.LoadedModel:
    numbers = np.arange(1, channels + 1) / 20
    given = {"mean": tuple(numbers), "std": tuple(numbers + 0.15), "crop_pct": 1.0}
    return vx.load_model(build(channels, **settings), preprocess={**given, "crop_mode": "squash"})


def encoded(first: Image.Image, kind: str, *rest: Image.Image) -> bytes:
    file = io.BytesIO()
    more = {"save_all": True, "append_images": list(rest)} if rest else {}
    first.save(file, kind, **more)
    return file.getvalue()


def noise(*shape: int, dtype: Any = np.uint8, high: int = 256) -> NDArray[Any]:
    return np.random.default_rng(0).integers(0, high, shape).astype(dtype)


def grey_of(picture: vx.Picture) -> list[int]:
    return np.asarray(picture.image)[0, :, 1].tolist()


# --- one channel


@pytest.mark.parametrize("source", ["module", "transformers"])
def test_a_grey_model_is_given_the_luma(cat: Path, source: str) -> None:
    if source == "module":
        torch.manual_seed(0)
        module = timm.create_model("vit_tiny_patch16_224", depth=2, in_chans=1, num_classes=5)
        model = vx.load_model(module.eval())
    else:
        transformers = pytest.importorskip("transformers")
        config = transformers.ViTConfig(
            hidden_size=16, num_hidden_layers=2, num_attention_heads=2, intermediate_size=16,
            image_size=32, patch_size=16, num_channels=1, attn_implementation="sdpa",
        )  # fmt: skip
        module = transformers.ViTForImageClassification(config).eval()
        model = vx.load_model(
            module, image_size=32, preprocess={"mean": (0.2,), "std": (0.3,), "crop_pct": 0.9}
        )
    card = model.card
    assert (card.channels, len(card.mean)) == (1, 1)
    assert card.summary().startswith("grey, ")
    assert card.notes[0] == "Takes one channel: pictures are turned to grey (luma of ITU-R 601)."
    result = vx.explain(model, cat, methods="fast")
    height, width = card.image_size
    crop_pct = 0.9
    scale = int(height / crop_pct)
    by_hand = transforms.Compose(
        [
            transforms.Resize(scale, transforms.InterpolationMode.BICUBIC),
            transforms.CenterCrop((height, width)),
            transforms.ToTensor(),
            transforms.Normalize(card.mean, card.std),
        ]
    )
    rgb = np.asarray(Image.open(cat).convert("RGB"), np.float64)
    luma = rgb @ (0.299, 0.587, 0.114)
    grey = Image.open(cat).convert("RGB").convert("L")
    assert np.abs(np.asarray(grey) - luma).max() <= 1
    pixels = by_hand(grey)[None]
    torch.testing.assert_close(result.prepared.pixels, pixels, atol=1e-6, rtol=0)
    with torch.no_grad():
        output = module(pixels)
    logits = getattr(output, "logits", output)[0]
    torch.testing.assert_close(result.trace.logits, logits, atol=1e-5, rtol=1e-5)
    for image in (result.prepared.shown, result.prepared.crop, result.prepared.whole):
        colours = np.asarray(image)
        assert (colours == colours[:, :, :1]).all()
        assert np.ptp(colours) > 100
    seen = np.asarray(result.prepared.shown, np.float64)[:, :, 0]
    levels = (pixels[0, 0].numpy() * card.std[0] + card.mean[0]) * 255
    assert np.abs(seen - levels).max() < 0.51
    assert (
        np.abs(np.asarray(result.overlay("rollout", opacity=0, on="seen")) - seen[..., None]).max()
        < 1
    )
    if source == "module":
        assert card.mean[0] == pytest.approx(np.mean(module.pretrained_cfg["mean"]))
        assert "the means of the three" in card.notes[1]


def test_three_means_become_one() -> None:
    module = build(1)
    model = vx.load_model(module, preprocess={"mean": (0.1, 0.2, 0.6), "std": (0.2, 0.3, 0.1)})
    assert model.card.mean == pytest.approx((0.3,))
    assert model.card.std == pytest.approx((0.2,))
    assert "0.1, 0.2, 0.6, 0.2, 0.3, 0.1" in model.card.notes[1]


def test_a_transform_must_give_the_channels_the_model_takes(cat: Path) -> None:
    resize = transforms.Resize((16, 24))
    colour = transforms.Compose([resize, transforms.ToTensor()])
    with pytest.raises(PictureError, match=r"gave 3x16x24 values; .* 1x16x24; add Grayscale"):
        vx.explain(vx.load_model(build(1), transform=colour), cat)
    grey = transforms.Compose([resize, transforms.Grayscale(), transforms.ToTensor()])
    result = vx.explain(vx.load_model(build(1), transform=grey), cat)
    assert result.prepared.box_known
    doubled = transforms.Compose([colour, lambda x: torch.cat([x, x])])
    prepared = vx.load_model(build(6), transform=doubled).prepare(cat)
    torch.testing.assert_close(prepared.pixels[0, :3], colour(Image.open(cat).convert("RGB")))


# --- other numbers of channels


@pytest.mark.parametrize("channels", [2, 4, 5, 6, 13])
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.float32])
def test_bands_reach_the_model_as_they_are(channels: int, dtype: Any) -> None:
    model = load(channels)
    assert model.card.channels == channels
    values = noise(16, 24, channels, dtype=dtype, high=4000 if dtype is np.uint16 else 256)
    top = {np.uint8: 255, np.uint16: 4095, np.float32: 1}[dtype]
    values = (values / 255).astype(dtype) if dtype is np.float32 else values
    result = vx.explain(model, values, methods="all", options={"rise": {"masks": 4}})
    numbers = torch.arange(1, channels + 1) / 20
    shares = torch.from_numpy(values.astype(np.float64) / top).permute(2, 0, 1).float()
    pixels = (shares - numbers[:, None, None]) / (numbers + 0.15)[:, None, None]
    torch.testing.assert_close(result.prepared.pixels[0], pixels, atol=1e-5, rtol=0)
    with torch.no_grad():
        torch.testing.assert_close(result.trace.logits, model.module(pixels[None])[0])
    shown = [0, 1, 2] if channels >= 3 else [0, 0, 0]
    expected = (shares[shown] * 255).permute(1, 2, 0).numpy()
    assert np.abs(np.asarray(result.prepared.shown) - expected).max() < 0.51
    assert not result.skipped
    gradient_pixels = result.prepared.pixels.clone().requires_grad_()
    logit = model.module(gradient_pixels)[0, result.target.index]
    (slope,) = torch.autograd.grad(logit, gradient_pixels)
    summed = slope[0].abs().sum(0).reshape(2, 8, 3, 8).sum((1, 3))
    saliency = result.heatmaps["saliency"].values
    np.testing.assert_allclose(saliency, summed, rtol=1e-3, atol=1e-5)
    assert vx.check_patch_embedding(model, values).error < 1e-4
    assert vx.patch_filters(model).filters.shape[1:] == (8, 8, 3)


def test_bands_are_resized_as_pillow_resizes_them(cat: Path) -> None:
    """A stack of a photograph's colours is prepared as the photograph, to the rounding of bytes."""
    rgb = np.asarray(Image.open(cat).convert("RGB"))
    for crop_mode in ("center", "squash", "border"):
        config = {
            "input_size": (3, 40, 56), "mean": (0.4, 0.5, 0.6), "std": (0.2, 0.25, 0.3),
            "crop_mode": crop_mode, "crop_pct": 0.8,
        }  # fmt: skip
        six = {**config, "input_size": (6, 40, 56)}
        six |= {"mean": config["mean"] * 2, "std": config["std"] * 2}
        photograph = Preprocess.from_config(config)(rgb)
        stack = Preprocess.from_config(six)(np.concatenate([rgb, 255 - rgb], axis=2))
        assert stack.box == photograph.box
        apart = (stack.pixels[:, :3] - photograph.pixels).abs().max()
        assert apart < 1.1 / 255 / 0.2
        shown = np.asarray(stack.shown, int) - np.asarray(photograph.shown, int)
        assert np.abs(shown).max() <= 1


@settings(max_examples=40, deadline=None)
@given(
    values=arrays.arrays(
        st.sampled_from([np.uint8, np.uint16, np.float32]),
        st.tuples(st.integers(8, 20), st.integers(8, 20), st.integers(5, 7)),
        elements=st.integers(0, 1),
    ),
    scale=st.integers(1, 255),
    data=st.data(),
)
def test_any_stack_is_shown_by_the_bands_chosen(
    values: NDArray[Any], scale: int, data: st.DataObject
) -> None:
    count = values.shape[2]
    chosen = data.draw(st.tuples(*[st.integers(0, count - 1)] * 3))
    values = values if values.dtype.kind == "f" else values * values.dtype.type(scale)
    top = 1 if values.dtype.kind == "f" else 255
    picture = vx.open_picture(values, bands=chosen)
    assert picture.stack
    assert np.array_equal(picture.bands, values)
    expected = np.rint(values[:, :, list(chosen)].astype(np.float64) * 255 / top)
    assert np.array_equal(np.asarray(picture.image), expected)
    np.testing.assert_allclose(picture.shares(count), values / np.float32(top), atol=1e-6)
    assert vx.open_picture(values).sha256 == vx.open_picture(values.copy()).sha256


def test_files_of_bands(tmp_path: Path) -> None:
    values = noise(20, 30, 6, dtype=np.uint16, high=3000)
    np.save(tmp_path / "six.npy", values)
    pages = [Image.fromarray(np.ascontiguousarray(values[:, :, i])) for i in range(6)]
    (tmp_path / "six.tif").write_bytes(encoded(pages[0], "TIFF", *pages[1:]))
    floats = [Image.fromarray(values[:, :, i].astype(np.float32) / 4095) for i in range(6)]
    (tmp_path / "floats.tif").write_bytes(encoded(floats[0], "TIFF", *floats[1:]))
    for name in ("six.npy", "six.tif"):
        picture = vx.open_picture(tmp_path / name, bands=(5, 0, 2))
        assert picture.name == name
        assert np.array_equal(picture.bands, values)
        assert picture.shown == (5, 0, 2)
        assert str(picture.stretch) == "auto, 12 bits: 0 is black, 4095 is white"
        expected = np.rint(values[:, :, [5, 0, 2]] / 4095 * 255)
        assert np.array_equal(np.asarray(picture.image), expected)
    read = vx.open_picture(tmp_path / "floats.tif").shares(6)
    np.testing.assert_allclose(read, values / 4095, atol=1e-6)
    model = load(6)
    logits = [
        vx.trace(model, tmp_path / name).logits for name in ("six.npy", "six.tif", "floats.tif")
    ]
    torch.testing.assert_close(logits[0], logits[1], atol=0, rtol=0)
    torch.testing.assert_close(logits[0], logits[2], atol=1e-3, rtol=1e-3)
    result = vx.explain(model, vx.open_picture(tmp_path / "six.npy", bands=(5, 0, 2)))
    folder = result.save(tmp_path / "out")
    told = json.loads((folder / "explanation.json").read_text())["picture"]
    assert told["bands"] == {"count": 6, "shown": [5, 0, 2]}
    assert told["stretch"] == {"rule": "auto", "low": 0, "high": 4095, "bits": 12}


def tiff_of(
    values: NDArray[Any], *, order: str = "<", apart: bool = False, packed: bool = False,
    differences: bool = False, rows: int = 10, photometric: int = 1,
) -> bytes:  # fmt: skip
    """A TIFF file as its specification says, written without Pillow: strips of `rows` rows."""
    height, width, count = values.shape
    planes = [values[:, :, [band]] for band in range(count)] if apart else [values]
    strips = []
    for plane in planes:
        for top in range(0, height, rows):
            strip = plane[top : top + rows]
            if differences:
                strip = np.diff(strip, axis=1, prepend=strip[:, :1] * 0).astype(values.dtype)
            strip = strip.astype(values.dtype.newbyteorder(order)).tobytes()
            strips.append(zlib.compress(strip) if packed else strip)
    kind = {"u": 1, "i": 2, "f": 3}[values.dtype.kind]
    bits = values.dtype.itemsize * 8
    starts = list(itertools.accumulate([8, *map(len, strips)]))
    tags: dict[int, list[int]] = {
        256: [width], 257: [height], 258: [bits] * count, 259: [8 if packed else 1],
        262: [photometric], 273: starts[:-1], 277: [count], 278: [rows],
        279: [len(strip) for strip in strips], 284: [2 if apart else 1],
        317: [2 if differences else 1], 339: [kind] * count,
    }  # fmt: skip
    at = starts[-1]
    behind = at + 2 + 12 * len(tags) + 4
    entries, lists = b"", b""
    for tag, numbers in tags.items():
        packed_numbers = struct.pack(f"{order}{len(numbers)}I", *numbers)
        entries += struct.pack(f"{order}HHI", tag, 4, len(numbers))
        if len(numbers) > 1:
            entries += struct.pack(f"{order}I", behind + len(lists))
            lists += packed_numbers
        else:
            entries += packed_numbers
    start = (b"II" if order == "<" else b"MM") + struct.pack(f"{order}HI", 42, at)
    directory = struct.pack(f"{order}H", len(tags)) + entries + bytes(4) + lists
    return start + b"".join(strips) + directory


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("apart", [False, True])
@pytest.mark.parametrize(("packed", "differences"), [(False, False), (True, False), (True, True)])
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.int16, np.float32])
def test_tiff_files_of_several_bands_a_pixel(
    dtype: Any, packed: bool, differences: bool, apart: bool, order: str
) -> None:
    signed = np.dtype(dtype).kind == "i"
    for count in (2, 5, 6, 13):
        values = (noise(23, 31, count, dtype=np.int32, high=250) - 100 * signed).astype(dtype)
        data = tiff_of(values, order=order, apart=apart, packed=packed, differences=differences)
        if np.dtype(dtype).kind == "f" and (
            (differences and not apart) or (packed and order == ">")
        ):
            with contextlib.suppress(PictureError):
                # either right or refused, never other numbers
                assert np.array_equal(vx.open_picture(data).bands, values)
            continue
        if np.dtype(dtype).kind == "f" and differences:
            continue
        picture = vx.open_picture(data)
        assert picture.stack
        assert np.array_equal(picture.bands, values)
    six = tiff_of(noise(23, 31, 6), photometric=2)  # RGB and three more
    assert np.array_equal(vx.open_picture(six).bands, noise(23, 31, 6))


@pytest.mark.parametrize("cut", [9, 100, 2000, 4200])
def test_damaged_bands_are_refused(cut: int) -> None:
    data = tiff_of(noise(23, 31, 6))
    with pytest.raises(PictureError, match="is damaged"):
        vx.open_picture(data[:cut])
    with pytest.raises(PictureError, match="damaged|million values"):
        vx.open_picture(data.replace(struct.pack("<I", 31), struct.pack("<I", 2**31), 1))


def test_pages_of_a_scan_and_small_copies_are_no_bands() -> None:
    page, small = Image.fromarray(noise(20, 30)), Image.fromarray(noise(10, 15))
    assert vx.open_picture(encoded(page, "TIFF", small)).bands is None
    colour = Image.new("RGB", (30, 20), "red")
    assert vx.open_picture(encoded(colour, "TIFF", colour)).bands is None
    two = vx.open_picture(encoded(page, "TIFF", Image.fromarray(255 - noise(20, 30))))
    assert two.stack
    assert np.array_equal(two.bands[:, :, 1], 255 - noise(20, 30))


def test_alpha_is_a_channel_to_a_model_of_four() -> None:
    values = noise(16, 24, 4)
    model = load(4)
    for source in (values, encoded(Image.fromarray(values), "PNG")):
        prepared = model.prepare(source)
        levels = prepared.pixels[0] * torch.tensor(model.card.std).view(4, 1, 1)
        levels = (levels + torch.tensor(model.card.mean).view(4, 1, 1)) * 255
        np.testing.assert_allclose(levels.permute(1, 2, 0), values, atol=1e-3)


@pytest.mark.parametrize(
    ("channels", "source", "says"),
    [
        (6, np.zeros((9, 9, 3), np.uint8), "has 3 channels and the model takes 6"),
        (6, np.zeros((9, 9), np.uint8), "and the model takes 6"),
        (6, np.zeros((9, 9, 5), np.uint8), "has 5 channels and the model takes 6"),
        (3, np.zeros((9, 9, 6), np.uint8), "has 6 channels and the model takes 3"),
        (1, np.zeros((9, 9, 6), np.uint8), "has 6 channels and the model takes 1"),
    ],
)
def test_other_numbers_of_channels_are_refused(channels: int, source: Any, says: str) -> None:
    with pytest.raises(PictureError) as caught:
        vx.explain(load(channels), source)
    message = str(caught.value)
    assert says in message
    assert message.count(". ") == 0
    assert "; give " in message


def test_how_six_channels_are_normalised_is_asked_for(cat: Path) -> None:
    torch.manual_seed(0)
    module = timm.create_model("vit_tiny_patch16_224", depth=2, in_chans=6)
    with pytest.raises(OptionError, match=r"takes 6 channels .* preprocess= .* of 6 numbers each"):
        vx.load_model(module)
    model = vx.load_model(module, preprocess={"mean": (0.5,) * 6, "std": (0.2,) * 6})
    assert model.card.summary().startswith("6 channels, ")
    with pytest.raises(PictureError, match="'cat.png' has 3 channels and the model takes 6"):
        vx.explain(model, cat)


@pytest.mark.parametrize(
    ("data", "says"),
    [
        (b"\x93NUMPY\x01\x00junk", "is damaged or cut off"),
        (b"objects", "holds Python objects"),
        (b"flat", "has shape 7; a picture is"),
        (b"first", "channels first (6x40x30)"),
    ],
)
def test_bad_arrays_in_files(data: bytes, says: str) -> None:
    made = {
        b"objects": np.array([{}, None]),
        b"flat": np.zeros(7),
        b"first": np.zeros((6, 40, 30)),
    }
    if data in made:
        file = io.BytesIO()
        np.save(file, made[data], allow_pickle=True)
        data = file.getvalue()
    with pytest.raises(PictureError) as caught:
        vx.open_picture(data, name="mine.npy")
    assert says in str(caught.value)
    assert "'mine.npy'" in str(caught.value)


# --- stretching


def test_twelve_bits_in_sixteen_are_not_dark() -> None:
    values = np.array([[0, 1000, 2048, 4095]], np.uint16)
    for source in (
        encoded(Image.fromarray(values), "PNG"),
        encoded(Image.fromarray(values), "TIFF"),
    ):
        for rule, expected in [
            ("auto", [0, 62, 128, 255]),  # of 4095
            ("full", [0, 4, 8, 16]),  # of 65535
            ("minmax", [0, 62, 128, 255]),
            ((1000, 2048), [0, 0, 255, 255]),
        ]:
            assert grey_of(vx.open_picture(source, stretch=rule)) == expected
        picture = vx.open_picture(source)
        assert (picture.stretch.rule, picture.stretch.high, picture.stretch.bits) == (
            "auto",
            4095,
            12,
        )
    for most, white in [(255, 255), (256, 1023), (1024, 4095), (5000, 16383), (20000, 65535)]:
        found = vx.open_picture(np.array([[0, most]], np.uint16)).stretch
        assert found.high == white


def test_signed_and_float_values_are_stretched_from_lowest_to_highest() -> None:
    hounsfield = np.array([[-1024, 0, 1023]], np.int16)
    for values in (hounsfield, hounsfield.astype(np.int32), hounsfield.astype(np.float32)):
        picture = vx.open_picture(values)
        assert grey_of(picture) == [0, 128, 255]
        assert str(picture.stretch) == "auto: -1024 is black, 1023 is white"
        assert grey_of(vx.open_picture(values, stretch=(-160, 240))) == [0, 102, 255]
    tiff = encoded(Image.fromarray(hounsfield.astype(np.float32)), "TIFF")
    assert grey_of(vx.open_picture(tiff)) == [0, 128, 255]
    with pytest.raises(PictureError, match="holds floats from -1024 to 1023"):
        vx.open_picture(tiff, stretch="full")
    assert grey_of(vx.open_picture(np.array([[0.25, 0.5]]), stretch="minmax")) == [0, 255]
    assert vx.open_picture(np.array([[0.25, 0.5]])).stretch is None


def test_eight_bits_are_left_alone_unless_asked(cat: Path) -> None:
    assert vx.open_picture(cat).stretch is None
    values = np.array([[[10, 20, 30], [60, 110, 20]]], np.uint8)
    picture = vx.open_picture(encoded(Image.fromarray(values), "PNG"), stretch="minmax")
    # (v - 10) · 255 / 100, all colours together
    expected = np.rint((values[0] - 10.0) * 2.55)
    assert np.array_equal(np.asarray(picture.image)[0], expected)
    assert picture.stretch.rule == "minmax"


def test_a_grey_model_is_given_all_sixteen_bits() -> None:
    values = noise(16, 24, dtype=np.uint16, high=4096)
    model = load(1)
    pixels = model.prepare(encoded(Image.fromarray(values), "PNG")).pixels[0, 0]
    np.testing.assert_allclose(pixels * 0.2 + 0.05, values / 4095, atol=1e-6)


@pytest.mark.parametrize("stretch", ["none", (1, 1), (2, 1), (0, float("nan")), 5, ("a", "b")])
def test_bad_stretches_are_refused(stretch: Any) -> None:
    with pytest.raises(OptionError, match="The stretch was"):
        vx.open_picture(np.zeros((4, 4), np.uint8), stretch=stretch)


@pytest.mark.parametrize("bands", [(0, 1, 6), (0, 1), (-1, 0, 1), "012", (0.5, 1, 2), 3])
def test_bad_bands_are_refused(bands: Any) -> None:
    with pytest.raises(OptionError, match="The bands to show were .* three of 0 to 5"):
        vx.open_picture(np.zeros((9, 9, 6), np.uint8), bands=bands)


# --- commands


def run(*arguments: str, capsys: pytest.CaptureFixture[str]) -> tuple[int, str]:
    with pytest.raises(SystemExit) as ended:
        main([*arguments])
    captured = capsys.readouterr()
    return int(ended.value.code or 0), " ".join((captured.out + captured.err).split())


def test_commands_take_bands_and_a_stretch(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    checkpoint = str(write_checkpoint(tmp_path / "six.safetensors", channels=6, depth=1))
    values = noise(32, 32, 6, dtype=np.uint16, high=3000)
    (tmp_path / "in").mkdir()
    (tmp_path / "in/field.tif").write_bytes(tiff_of(values))
    field, out = str(tmp_path / "in/field.tif"), str(tmp_path / "out")
    how = ("--bands", "5,0,2", "--stretch", "0,4000")
    model = ("--model", checkpoint)
    code, told = run("explain", field, *model, *how, "--out", out, capsys=capsys)
    assert code == 0
    assert "stretched by given: 0 is black, 4000 is white" in told
    kept = json.loads((tmp_path / "out/field/explanation.json").read_text())["picture"]
    assert kept["bands"]["shown"] == [5, 0, 2]
    assert kept["stretch"] == {"rule": "given", "low": 0, "high": 4000, "bits": None}
    batch = ("batch", str(tmp_path / "in"), *model, "--out", str(tmp_path / "many"), "--resume")
    written = tmp_path / "many/field/explanation.json"
    for options, rule in ((how, "given"), (how, "given"), ((), "auto"), ((), "auto")):
        before = written.stat().st_mtime_ns if written.exists() else 0
        asked = json.loads(written.read_text())["picture"]["stretch"]["rule"] if before else ""
        assert run(*batch, *options, capsys=capsys)[0] == 0
        assert json.loads(written.read_text())["picture"]["stretch"]["rule"] == rule
        assert (written.stat().st_mtime_ns == before) == (asked == rule)
    assert run("view", "heads", field, *model, *how, "--out", out, capsys=capsys)[0] == 0
    assert run("intervene", field, *model, *how, "--head", "0,1", capsys=capsys)[0] == 0
    code, told = run("inspect", checkpoint, capsys=capsys)
    assert code == 0
    assert "Takes 6 channels: pictures of 6 bands." in told
    for wrong, says in [
        (("--stretch", "bright"), "The stretch was 'bright', expected 'auto', 'full', 'minmax'"),
        (("--stretch", "9,1"), "The stretch was (9, 1)"),
        (("--bands", "0,1,6"), "expected three of 0 to 5"),
        (("--bands", "red"), "expected three of 0 to 5"),
    ]:
        code, told = run("explain", field, *model, *wrong, "--out", out, capsys=capsys)
        assert code == 2
        assert says in told


@pytest.mark.parametrize("numbers", [("0.1", "0.2", "0.3", "0.4", "0.5"), ("0.1,0.2,0.3,0.4,0.5",)])
def test_mean_and_deviation_of_any_number_of_bands_on_the_command(
    numbers: tuple[str, ...], tmp_path: Path
) -> None:
    checkpoint = write_checkpoint(tmp_path / "five.safetensors", channels=5)
    values = noise(32, 32, 5)
    np.save(tmp_path / "bands.npy", values)
    options = ["--model", str(checkpoint), "--mean", *numbers, "--std", "0.25"]
    paths = [str(tmp_path / "bands.npy"), "--out", str(tmp_path / "out")]
    with pytest.raises(SystemExit) as ended:
        main(["explain", *options, *paths])
    assert not ended.value.code
    told = json.loads((tmp_path / "out" / "bands" / "explanation.json").read_text())
    assert told["model"]["mean"] == [0.1, 0.2, 0.3, 0.4, 0.5]
    assert told["model"]["std"] == [0.25] * 5
    model = vx.load_model(
        str(checkpoint), preprocess={"mean": [0.1, 0.2, 0.3, 0.4, 0.5], "std": [0.25]}
    )
    expected = vx.explain(model, values, ()).predictions[0]
    assert told["predictions"][0]["probability"] == pytest.approx(expected.probability, rel=1e-6)


def test_values_of_an_open_picture_are_chosen_anew() -> None:
    values = noise(16, 24, 6, dtype=np.uint16, high=3000)
    first = vx.open_picture(values)
    assert first.chosen() == {}
    again = first.opened(bands=(4, 1, 2), stretch=(100, 2000))
    same = vx.open_picture(values, bands=(4, 1, 2), stretch=(100, 2000))
    assert again.chosen() == {"bands": [4, 1, 2], "stretch": [100, 2000]}
    np.testing.assert_array_equal(np.asarray(again.image), np.asarray(same.image))
    assert vx.open_picture(values, **again.chosen()).told() == again.told() == same.told()
    assert again.sha256 == first.sha256
    np.testing.assert_array_equal(np.asarray(again.opened().image), np.asarray(first.image))
    deep = vx.open_picture(values[:, :, 0]).opened(stretch="full")
    assert deep.chosen() == {"stretch": "full"}
    assert deep.image.getextrema()[0][1] <= 12
    with pytest.raises(OptionError, match="8-bit colours"):
        vx.open_picture(noise(16, 24, 3)).opened(bands=(0, 1, 2))
    with pytest.raises(OptionError, match="expected three of 0 to 5"):
        first.opened(bands=(6, 0, 1))
