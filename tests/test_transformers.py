"""Folders that transformers wrote: the same logits, attention, labels and pixels as its own."""

from __future__ import annotations

import itertools
import json
import shutil
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from typer.testing import CliRunner

import vit_explorer as vx
from vit_explorer.cli import app
from vit_explorer.errors import ModelError, UnsupportedModelError

transformers = pytest.importorskip("transformers")

TINY: dict[str, Any] = {
    "hidden_size": 32,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "intermediate_size": 64,
    "image_size": 32,
    "patch_size": 8,
}
LABELS = {"id2label": {0: "ant", 1: "bee", 2: "cow"}, "label2id": {"ant": 0, "bee": 1, "cow": 2}}
RELATIVE = {"use_relative_position_bias": True}
SIZE = {"height": 32, "width": 32}
CROPPED = {"size": {"shortest_edge": 36}, "crop_size": SIZE, "do_center_crop": True}
CLIP = ("CLIPImageProcessor", CROPPED)
BIT = ("BitImageProcessor", CROPPED)
PLAIN = ("ViTImageProcessor", {"size": SIZE})

SQUASHED = ("DeiTImageProcessor", {"size": {"height": 36, "width": 36}, "crop_size": SIZE})
SIGLIP = ("SiglipImageProcessor", {"size": SIZE})
BEIT = ("BeitImageProcessor", {"size": SIZE})
REGISTERS = ("class", "register 1", "register 2", "register 3", "register 4")
DISTILLED = ("class", "distillation")

# class, config, image processor, prefix tokens, pooling, positions
KINDS = [
    ("ViTForImageClassification", {}, PLAIN, ("class",), "class", "learned"),
    ("ViTModel", {}, PLAIN, ("class",), "none", "learned"),
    ("DeiTForImageClassification", {}, SQUASHED, DISTILLED, "class", "learned"),
    ("DeiTForImageClassificationWithTeacher", {}, PLAIN, DISTILLED, "class", "learned"),
    ("Dinov2ForImageClassification", {}, BIT, ("class",), "class + mean", "learned"),
    ("Dinov2Model", {"image_size": 48}, BIT, ("class",), "none", "learned"),
    ("Dinov2WithRegistersForImageClassification", {}, BIT, REGISTERS, "class + mean", "learned"),
    ("CLIPVisionModel", {}, CLIP, ("class",), "none", "learned"),
    ("CLIPForImageClassification", {"vision_config": TINY}, CLIP, ("class",), "mean", "learned"),
    ("SiglipVisionModel", {}, SIGLIP, (), "none", "learned"),
    ("SiglipForImageClassification", {"vision_config": TINY}, SIGLIP, (), "mean", "learned"),
    ("BeitForImageClassification", RELATIVE, BEIT, ("class",), "mean", "relative"),
    ("DINOv3ViTModel", {"num_register_tokens": 4}, PLAIN, REGISTERS, "none", "rotary"),
]


def saved(folder: Path, kind: str, config: dict[str, Any], processor: Any = PLAIN) -> Any:
    """Save a tiny model with random weights and its image processor; return the model."""
    cls = getattr(transformers, kind)
    backbone = kind.endswith("Model")
    module = cls(cls.config_class(**{**TINY, **config, **({} if backbone else LABELS)})).eval()
    generator = torch.Generator().manual_seed(0)
    for parameter in module.parameters():
        torch.nn.init.normal_(parameter, std=0.2, generator=generator)
    module.save_pretrained(folder)
    name, options = processor
    getattr(transformers, name)(**options).save_pretrained(folder)
    return module


@pytest.mark.parametrize(("kind", "config", "processor", "prefix", "pooling", "position"), KINDS)
def test_a_saved_model_is_read_as_transformers_reads_it(
    kind: str,
    config: dict[str, Any],
    processor: tuple[str, dict[str, Any]],
    prefix: tuple[str, ...],
    pooling: str,
    position: str,
    tmp_path: Path,
    cat: Path,
) -> None:
    module = saved(tmp_path / "mine", kind, config, processor)
    model = vx.load_model(tmp_path / "mine", device="cpu")
    card = model.card
    assert (card.name, card.prefix_names, card.pooling) == ("mine", prefix, pooling)
    assert (card.position, card.grid, card.depth, card.heads) == (position, (4, 4), 3, 4)

    # An even margin: transformers' centre crop rounds half a pixel down, timm's to even.
    picture = Image.open(cat).convert("RGB").crop((10, 0, 215, 190))
    own = transformers.AutoImageProcessor.from_pretrained(tmp_path / "mine")
    pixels = own(picture, return_tensors="pt")["pixel_values"]
    traced = vx.trace(model, picture)
    # Pillow and torchvision round a resized pixel to levels apart.
    level = 2 / 255 / min(card.std)
    assert float((traced.prepared.pixels - pixels).abs().max()) <= level
    assert card.mean == pytest.approx(own.image_mean) and card.std == pytest.approx(own.image_std)

    module.set_attn_implementation("eager")
    with torch.no_grad():
        resized = {"interpolate_pos_encoding": True} if config.get("image_size") else {}
        output = module(traced.prepared.pixels, output_attentions=True, **resized)
    for layer, attention in enumerate(output.attentions):
        torch.testing.assert_close(traced.attention(layer), attention[0], atol=1e-5, rtol=0)
    if "logits" in output:
        assert (model.labels, str(card.labels_source)) == (("ant", "bee", "cow"), "config.json")
        torch.testing.assert_close(traced.logits, output.logits[0], atol=1e-5, rtol=1e-5)
        heatmaps = vx.explain(model, picture, methods=("rollout", "generic_attention")).heatmaps
        assert all(np.isfinite(heatmap.values).all() for heatmap in heatmaps.values())
    else:
        assert (card.classes, model.labels) == (0, ())
        torch.testing.assert_close(
            traced.blocks[-1].shape, output.last_hidden_state[0].shape, msg="tokens"
        )


def test_the_eye_of_a_picture_text_model(tmp_path: Path) -> None:
    text = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2}
    whole = transformers.CLIPModel(transformers.CLIPConfig(vision_config=TINY, text_config=text))
    whole.save_pretrained(tmp_path)
    transformers.CLIPImageProcessor(**CROPPED).save_pretrained(tmp_path)
    model = vx.load_model(tmp_path)
    assert type(model.module).__name__ == "CLIPVisionModel"
    theirs, ours = whole.vision_model.state_dict(), model.module.state_dict()
    assert ours and all(torch.equal(theirs[name], tensor) for name, tensor in ours.items())


def test_another_size_is_interpolated_as_transformers_does(tmp_path: Path, cat: Path) -> None:
    module = saved(tmp_path, "ViTForImageClassification", {})
    model = vx.load_model(tmp_path, image_size=(48, 64))
    assert model.card.grid == (6, 8)
    traced = vx.trace(model, cat)
    with torch.no_grad():
        expected = module(traced.prepared.pixels, interpolate_pos_encoding=True).logits[0]
    torch.testing.assert_close(traced.logits, expected, atol=1e-5, rtol=1e-5)


def test_a_processor_without_rescaling_or_normalisation(tmp_path: Path, cat: Path) -> None:
    for options in (
        {"do_normalize": False},
        {"rescale_factor": 1 / 127.5, "image_mean": [1.0] * 3, "image_std": [1.0] * 3},
    ):
        saved(tmp_path, "ViTModel", {}, ("ViTImageProcessor", {"size": SIZE, **options}))
        own = transformers.AutoImageProcessor.from_pretrained(tmp_path)
        expected = own(Image.open(cat).convert("RGB"), return_tensors="pt")["pixel_values"]
        pixels = vx.load_model(tmp_path).prepare(cat).pixels
        torch.testing.assert_close(pixels, expected, atol=4 / 255, rtol=0)


def test_a_folder_can_bring_a_transform(tmp_path: Path, cat: Path) -> None:
    from torchvision import transforms

    saved(tmp_path, "ViTForImageClassification", {})
    (tmp_path / "preprocessor_config.json").unlink()
    transform = transforms.Compose([transforms.Resize((32, 32)), transforms.ToTensor()])
    model = vx.load_model(tmp_path, transform=transform)
    assert vx.explain(model, cat, methods=()).predictions[0].label in ("ant", "bee", "cow")


def test_what_a_folder_lacks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = tmp_path / "whole"
    saved(whole, "ViTForImageClassification", {})

    def refused(match: str, kind: type[ModelError] = ModelError) -> None:
        with pytest.raises(kind, match=match) as error:
            vx.load_model(tmp_path / "broken")
        message = str(error.value)
        assert "\n" not in message and message.endswith(".") and str(tmp_path) not in message

    def broken() -> Path:
        shutil.rmtree(tmp_path / "broken", ignore_errors=True)
        return Path(shutil.copytree(whole, tmp_path / "broken"))

    (broken() / "config.json").unlink()
    refused("holds no config.json")
    (broken() / "config.json").write_text("nonsense")
    refused("config.json of broken is damaged")
    (broken() / "preprocessor_config.json").unlink()
    refused("holds no preprocessor_config.json")
    (broken() / "preprocessor_config.json").write_text("{")
    refused("preprocessing of broken can't be followed")
    (broken() / "model.safetensors").write_bytes(b"nonsense")
    refused("model.safetensors is not a readable safetensors file")
    (broken() / "adapter_config.json").write_text("{}")
    refused("holds an adapter")
    # Pickled weights are not read even where nothing else is there.
    (broken() / "model.safetensors").rename(tmp_path / "broken/pytorch_model.bin")
    refused("holds no model.safetensors")

    plain = "ViTForImageClassification"
    for change, match, kind in (
        ({"architectures": ["NoSuchModel"]}, "'NoSuchModel', which is no", UnsupportedModelError),
        ({"architectures": ["BertModel"]}, "'BertModel', which is no image", UnsupportedModelError),
        ({"architectures": None}, "no named architecture", UnsupportedModelError),
        ({"num_hidden_layers": 4}, f"don't fit its {plain}: .* missing", ModelError),
        ({"hidden_size": 48}, f"can't be loaded as {plain}", ModelError),
    ):
        file = broken() / "config.json"
        file.write_text(json.dumps({**json.loads(file.read_text()), **change}))
        refused(match, kind)

    broken()
    monkeypatch.setitem(sys.modules, "transformers", None)
    refused("needs transformers, which is not installed")


@pytest.mark.parametrize(
    ("kind", "config", "last", "reason"),
    [
        (
            "Swin",
            {"embed_dim": 8, "depths": [1, 1], "num_heads": [1, 2], "window_size": 4,
             "image_size": 32, "patch_size": 2},
            ("swin.layernorm", (8, 8)),
            "within windows",
        ),
        (
            "ConvNext",
            {"hidden_sizes": [8, 16, 24, 32], "depths": [1] * 4},
            ("convnext.encoder.stages.3.downsampling_layer.0", (2, 2)),
            "no softmax attention between patches",
        ),
        (  # a convolution has no size of its own
            "ResNet",
            {"embedding_size": 8, "hidden_sizes": [8, 16, 24], "depths": [1] * 3},
            ("resnet.encoder.stages.2", (2, 2)),
            "no softmax attention between patches",
        ),
        (
            "Pvt",
            {"image_size": 32, "hidden_sizes": [8, 16, 24, 32], "depths": [1] * 4,
             "num_attention_heads": [1, 1, 2, 2], "sequence_reduction_ratios": [4, 2, 1, 1]},
            ("pvt.encoder.block.1.0", (4, 4)),
            "others, not to themselves",
        ),
    ],
)  # fmt: skip
def test_models_of_transformers_in_stages(
    kind: str,
    config: dict[str, object],
    last: tuple[str, tuple[int, int]],
    reason: str,
    tmp_path: Path,
    cat: Path,
) -> None:
    torch.manual_seed(0)
    made = getattr(transformers, f"{kind}Config")(num_labels=3, **config)
    module = getattr(transformers, f"{kind}ForImageClassification")(made).eval()
    module.save_pretrained(tmp_path)
    transformers.ViTImageProcessor(size=SIZE).save_pretrained(tmp_path)
    model = vx.load_model(tmp_path)
    assert model.card.tier == 2 and reason in model.card.tier_reason
    assert any((stage.name, stage.grid) == last for stage in model.card.stages)
    result = vx.explain(model, cat, "fast")
    with torch.no_grad():
        expected = module(result.prepared.pixels).logits[0]
    torch.testing.assert_close(result.trace.logits, expected, atol=1e-5, rtol=1e-4)
    assert set(result.heatmaps) >= {"grad_cam", "eigen_cam"}


def test_from_the_command_line(tmp_path: Path, cat: Path) -> None:
    saved(tmp_path / "mine", "ViTForImageClassification", {})
    arguments = ["explain", str(cat), "--model", str(tmp_path / "mine"), "--method", "rollout"]
    result = CliRunner().invoke(app, [*arguments, "--out", str(tmp_path / "out")])
    assert result.exit_code == 0, result.output
    found = json.loads((tmp_path / "out/cat/explanation.json").read_text())
    assert found["predictions"][0]["label"] in ("ant", "bee", "cow")


class Logits(torch.nn.Module):
    """A model of transformers as the grad-cam package asks for one: it returns logits."""

    def __init__(self, module: Any) -> None:
        super().__init__()
        self.module = module

    def forward(self, pixels: torch.Tensor) -> torch.Tensor:
        return self.module(pixels).logits


@pytest.mark.parametrize(
    ("kind", "config", "norm", "prefix"),
    [
        ("ViTForImageClassification", {}, "layernorm_before", 1),
        ("DeiTForImageClassification", {}, "layernorm_before", 2),
        (
            "CLIPForImageClassification",
            {"vision_config": TINY},
            "layer_norm1",
            1,
        ),
        ("BeitForImageClassification", RELATIVE, "layernorm_before", 1),
    ],
)
@pytest.mark.parametrize("method", ["grad_cam", "score_cam", "ablation_cam"])
def test_cams_equal_the_grad_cam_package(
    kind: str,
    config: dict[str, Any],
    norm: str,
    prefix: int,
    method: str,
    tmp_path: Path,
    cat: Path,
) -> None:
    import pytorch_grad_cam
    from pytorch_grad_cam.ablation_layer import AblationLayerVit
    from pytorch_grad_cam.utils.image import scale_cam_image
    from pytorch_grad_cam.utils.model_targets import ClassifierOutputTarget

    def as_grid(tokens: torch.Tensor) -> torch.Tensor:
        return tokens[:, prefix:].reshape(len(tokens), 4, 4, -1).permute(0, 3, 1, 2)

    module = saved(tmp_path / "mine", kind, config)
    model = vx.load_model(tmp_path / "mine", device="cpu")
    peers = {"grad_cam": "GradCAM", "score_cam": "ScoreCAM", "ablation_cam": "AblationCAM"}
    norms = [part for name, part in module.named_modules() if name.endswith(norm)]
    brightest = []
    for layer, target in itertools.product(range(3), range(3)):
        traced = vx.trace(model, cat, target=target, gradients="all")
        values = vx.METHODS[method](traced, layer=layer).values
        options = {"ablation_layer": AblationLayerVit()} if method == "ablation_cam" else {}
        with getattr(pytorch_grad_cam, peers[method])(
            Logits(module), [norms[layer]], reshape_transform=as_grid, **options
        ) as peer:
            expected = peer(traced.prepared.pixels, [ClassifierOutputTarget(target)])[0]
        ours = scale_cam_image(scale_cam_image(values[None], (32, 32)))[0]
        np.testing.assert_allclose(ours, expected, atol=2e-3)
        brightest.append(expected.max())
    assert max(brightest) > 0.9  # not all of them are dark, as maps cut at 0 may be
