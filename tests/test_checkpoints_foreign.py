"""Other programs' names and folders: the numbers are those of the model that wrote them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import timm
import torch
from torch import Tensor, nn
from torchvision.models import VisionTransformer as TorchvisionViT

import vit_explorer as vx
from vit_explorer.errors import ModelError, UnsupportedModelError
from vit_explorer.models.provenance import Provenance

from .test_checkpoints_models import TINY, answer, equal, load, named, pictures, shaken
from .test_zoo import one_sentence

SIZES = {
    "hidden_size": 192, "num_hidden_layers": 12, "num_attention_heads": 3, "intermediate_size": 768,
    "image_size": 224, "patch_size": 16,
}  # fmt: skip
# transformers 5 renamed the parts of its ViTs; files of version 4 have these names.
OLDER = (
    ("vit.layers.", "vit.encoder.layer."), ("deit.layers.", "deit.encoder.layer."),
    ("attention.q_proj", "attention.attention.query"),
    ("attention.k_proj", "attention.attention.key"),
    ("attention.v_proj", "attention.attention.value"),
    ("attention.o_proj", "attention.output.dense"),
    ("mlp.fc1", "intermediate.dense"), ("mlp.fc2", "output.dense"),
)  # fmt: skip


def older(state: dict[str, Tensor]) -> dict[str, Tensor]:
    made = {}
    for name, tensor in state.items():
        for new, old in OLDER:
            name = name.replace(new, old)  # noqa: PLW2901
        made[name] = tensor
    return made


def test_torchvision(tmp_path: Path) -> None:
    theirs = shaken(TorchvisionViT(224, 16, 12, 3, 192, 768, num_classes=5))
    state = theirs.state_dict()
    for content in (state, {"state_dict": named(state, "model.")}, named(state, "module.")):
        model = load(tmp_path / "vit_b_16.pth", content)
        equal(model, answer(theirs))
    assert "named as torchvision names them" in model.card.weights_notes[0]


@pytest.mark.parametrize("version", [4, 5])
@pytest.mark.parametrize("prefix", ["", "model.", None])
def test_transformers_vit(tmp_path: Path, version: int, prefix: str | None) -> None:
    transformers = pytest.importorskip("transformers")
    config = transformers.ViTConfig(**SIZES, num_labels=7)
    theirs = shaken(transformers.ViTForImageClassification(config))
    state = older(theirs.state_dict()) if version == 4 else dict(theirs.state_dict())
    if prefix is None:
        state = {name.removeprefix("vit."): tensor for name, tensor in state.items()}
    model = load(tmp_path / "pytorch_model.bin", named(state, prefix or ""))
    equal(model, answer(theirs))
    # timm's own is 1e-6: small differences show where an input hardly varies.
    assert model.module.norm.eps == config.layer_norm_eps == 1e-12
    flat = torch.full((1, 3, 224, 224), 1e-4)
    torch.testing.assert_close(answer(model.module, flat), answer(theirs, flat))


def test_transformers_deit_with_both_heads(tmp_path: Path) -> None:
    transformers = pytest.importorskip("transformers")
    config = transformers.DeiTConfig(**SIZES, num_labels=7)
    theirs = shaken(transformers.DeiTForImageClassificationWithTeacher(config))
    for state in (theirs.state_dict(), older(theirs.state_dict())):
        model = load(tmp_path / "d.pth", dict(state), "deit_tiny_distilled_patch16_224")
        equal(model, answer(theirs))


def test_transformers_dinov2(tmp_path: Path) -> None:
    transformers = pytest.importorskip("transformers")
    sizes = {"hidden_size": 384, "num_hidden_layers": 12, "num_attention_heads": 6}
    config = transformers.Dinov2Config(**sizes, image_size=224, patch_size=14, num_labels=5)
    theirs = shaken(transformers.Dinov2Model(config))
    model = load(
        tmp_path / "d.pth", theirs.state_dict(), "vit_small_patch14_dinov2", image_size=224
    )
    pixels = pictures()
    torch.testing.assert_close(
        answer(model.module, pixels), answer(theirs, pixels), rtol=1e-5, atol=1e-5
    )
    both = transformers.Dinov2ForImageClassification(config)
    # Its classifier reads the class token and the patches' mean: timm's has no place for it.
    bare = load(tmp_path / "d.pth", both.state_dict(), "vit_small_patch14_dinov2", image_size=224)
    assert bare.card.outputs == "embedding"
    assert "classifier.weight" in bare.card.weights_notes[-1]


def test_dinov2_s_registers(tmp_path: Path) -> None:
    transformers = pytest.importorskip("transformers")
    sizes = {"hidden_size": 384, "num_hidden_layers": 12, "num_attention_heads": 6}
    config = transformers.Dinov2WithRegistersConfig(
        **sizes, image_size=224, patch_size=14, num_register_tokens=4
    )
    theirs = shaken(transformers.Dinov2WithRegistersModel(config))
    model = load(
        tmp_path / "d.pth", theirs.state_dict(), "vit_small_patch14_reg4_dinov2", image_size=224
    )
    pixels = pictures()
    torch.testing.assert_close(
        answer(model.module, pixels), answer(theirs, pixels), rtol=1e-5, atol=1e-5
    )


OPENAI = (
    ("patch_embed.proj", "conv1"), ("cls_token", "class_embedding"),
    ("pos_embed", "positional_embedding"), ("norm_pre", "ln_pre"), (".norm", ".ln_"),
    ("blocks.", "transformer.resblocks."), ("attn.qkv.", "attn.in_proj_"),
    ("attn.proj", "attn.out_proj"), ("mlp.fc1", "mlp.c_fc"), ("mlp.fc2", "mlp.c_proj"),
)  # fmt: skip


def test_clip(tmp_path: Path) -> None:
    transformers = pytest.importorskip("transformers")
    name = "vit_base_patch32_clip_quickgelu_224"
    sizes = {"hidden_size": 768, "num_attention_heads": 12, "intermediate_size": 3072}
    config = transformers.CLIPVisionConfig(
        **sizes, num_hidden_layers=12, image_size=224, patch_size=32
    )
    theirs = shaken(transformers.CLIPVisionModel(config))
    text = {"text_model.final_layer_norm.weight": torch.ones(8), "logit_scale": torch.tensor(1.0)}
    state = named(theirs.state_dict(), "vision_model.")
    state = {
        name.replace("vision_model.vision_model.", "vision_model."): t for name, t in state.items()
    }
    model = load(tmp_path / "c.pth", state | text, name)
    equal(model, answer(theirs))
    openai = {}
    for key, tensor in model.module.state_dict().items():
        for ours, his in OPENAI:
            key = key.replace(ours, his)  # noqa: PLW2901
        key = f"ln_post.{key.partition('.')[2]}" if key.startswith("norm.") else key  # noqa: PLW2901
        flat = key in ("class_embedding", "positional_embedding")
        openai[f"visual.{key}"] = tensor.reshape(-1, 768).squeeze(0) if flat else tensor
    tower = {
        "transformer.resblocks.0.ln_1.weight": torch.ones(8),
        "visual.proj": torch.ones(768, 4),
    }
    second = load(tmp_path / "o.pth", openai | tower, name)
    equal(second, answer(theirs))
    assert second.card.classes == 0
    assert "visual.proj" in "".join(second.card.weights_notes)
    other = load(tmp_path / "o.pth", openai | tower, "vit_base_patch32_clip_224")
    assert any("quickgelu" in note for note in other.card.weights_notes)


def hub(folder: Path, module: nn.Module, **given: Any) -> Path:
    timm.models.save_for_hf(module, str(folder), **given)
    return folder


@pytest.mark.parametrize("safe", [True, False])
def test_timm_s_hub_folder(tmp_path: Path, safe: bool) -> None:
    module = shaken(timm.create_model(TINY, num_classes=3))
    module.pretrained_cfg = {**module.pretrained_cfg, "mean": (0.1, 0.2, 0.3), "crop_pct": 0.8}
    config = {"label_names": ["ant", "bee", "cat"], "label_descriptions": {"ant": "an ant"}}
    folder = hub(tmp_path / "mine", module, model_config=config, safe_serialization=safe)
    for given in (folder, f"local-dir:{folder}"):
        model = vx.load_model(given)
        equal(model, answer(module))
        assert model.labels == ("an ant", "bee", "cat")
        assert (model.card.mean, model.card.crop_pct) == ((0.1, 0.2, 0.3), 0.8)
        assert str(model.card.source) == f"timm {TINY}, folder mine"
        assert model.card.source == Provenance("timm_folder", file="mine", name=TINY)


def test_a_hub_folder_s_own_arguments(tmp_path: Path) -> None:
    made = {"img_size": [96, 160], "reg_tokens": 2}
    module = shaken(timm.create_model(TINY, num_classes=3, img_size=(96, 160), reg_tokens=2))
    folder = hub(tmp_path / "mine", module, model_args=made)
    model = vx.load_model(folder)
    assert (model.card.grid, model.card.prefix_names[1:]) == ((6, 10), ("register 1", "register 2"))
    pixels = torch.rand(1, 3, 96, 160)
    torch.testing.assert_close(answer(model.module, pixels), answer(module, pixels))
    config = json.loads((folder / "config.json").read_text())
    for key, value, told in (
        (
            "model_args",
            {"checkpoint_path": "/etc/passwd"},
            "builds its model with 'checkpoint_path'",
        ),
        ("architecture", "hf-hub:someone/something", "which the installed timm doesn't know"),
    ):
        (folder / "config.json").write_text(json.dumps({**config, key: value}))
        with pytest.raises(ModelError, match=told) as error:
            vx.load_model(folder)
        one_sentence(error)


def test_transformers_folder_of_a_timm_model(tmp_path: Path) -> None:
    transformers = pytest.importorskip("transformers")
    names = {0: "ant", 1: "bee", 2: "cat"}
    config = transformers.TimmWrapperConfig(architecture=TINY, num_labels=3, id2label=names)
    theirs = shaken(transformers.TimmWrapperForImageClassification(config))
    theirs.save_pretrained(tmp_path / "wrapped")
    model = vx.load_model(tmp_path / "wrapped")
    equal(model, answer(theirs))
    assert model.labels == ("ant", "bee", "cat")


def small_module(**given: Any) -> nn.Module:
    transformers = pytest.importorskip("transformers")
    sizes = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2}
    config = transformers.ViTConfig(
        **sizes, intermediate_size=64, image_size=32, patch_size=8, **given
    )
    return shaken(transformers.ViTForImageClassification(config))


def test_a_module_of_transformers_tells_about_itself(tmp_path: Path, cat: Path) -> None:
    transformers = pytest.importorskip("transformers")
    module = small_module(id2label={0: "ant", 1: "bee"})
    model = vx.load_model(module)
    assert (model.labels, model.card.labels_source.kind) == (("ant", "bee"), "module_config")
    assert (model.card.image_size, model.card.mean) == ((32, 32), (0.5, 0.5, 0.5))
    assert "as transformers' ViTImageProcessor does by default" in model.card.weights_notes[0]
    # Where its own processor lies beside it, that one is followed.
    module.save_pretrained(tmp_path / "mine")
    processor = transformers.ViTImageProcessor(
        size={"height": 32, "width": 32}, image_mean=[0.1, 0.2, 0.3]
    )
    processor.save_pretrained(tmp_path / "mine")
    kind = transformers.ViTForImageClassification
    own = vx.load_model(kind.from_pretrained(tmp_path / "mine"))
    assert (own.card.mean, own.card.weights_notes) == ((0.1, 0.2, 0.3), ())
    folder = vx.load_model(tmp_path / "mine")
    given, expected = own.prepare(cat).pixels, folder.prepare(cat).pixels
    torch.testing.assert_close(given, expected)
    with pytest.raises(ModelError, match=r"takes pictures of 32×32, .* save_pretrained") as error:
        vx.load_model(module, image_size=64)
    one_sentence(error)


def test_an_unknown_family_s_preparation_is_asked_for() -> None:
    transformers = pytest.importorskip("transformers")
    sizes = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2}
    config = transformers.Dinov2WithRegistersConfig(**sizes, image_size=28, patch_size=14)
    with pytest.raises(ModelError, match="pass transform="):
        vx.load_model(transformers.Dinov2WithRegistersModel(config))


def test_quantised_layers_that_pass_no_gradient_are_refused() -> None:
    module = torch.ao.quantization.quantize_dynamic(
        timm.create_model(TINY, num_classes=3), {nn.Linear}
    )
    with pytest.raises(UnsupportedModelError, match="'blocks.0.attn.qkv' is quantised") as error:
        vx.load_model(module)
    assert "load the float model" in one_sentence(error)


class Int8(torch.Tensor):
    """A weight of another kind, as torchao's: its numbers are whole, its gradients flow."""

    @classmethod
    def __torch_function__(cls, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        with torch._C.DisableTorchFunctionSubclass():
            return func(*args, **(kwargs or {}))

    def dequantize(self) -> Tensor:
        return self.as_subclass(torch.Tensor)


def test_quantised_weights_that_pass_gradients_are_explored(cat: Path) -> None:
    module = timm.create_model(TINY, num_classes=3)
    plain = vx.load_model(module)
    for block in module.blocks:
        del block.attn.qkv.weight
        block.attn.qkv.weight = torch.ones(576, 192).as_subclass(Int8)
    model = vx.load_model(module)
    assert vx.explain(model, cat, methods=("grad_cam",)).heatmaps["grad_cam"].values.any()
    assert len(model.sha256) == len(plain.sha256) == 64
