"""A sweep over timm's families, two blocks each: read exactly, or refused with the reason."""

from __future__ import annotations

import dataclasses
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import timm
import torch
from timm.layers import resample_abs_pos_embed

import vit_explorer as vx
from tests.attention_error import attention_error
from vit_explorer.errors import TargetError, UnsupportedModelError
from vit_explorer.models.checkpoints import hub
from vit_explorer.models.structure.measure import measure
from vit_explorer.models.structure.stages import may_have_stages
from vit_explorer.models.vit import VisionTransformer, ViTConfig

from . import sweep_models
from .conftest import load_small
from .test_trace import call_of

# name, prefix tokens, pooling, positions, grid
ACCEPTED = [
    ("vit_tiny_patch16_224", 1, "class", "learned", (14, 14)),
    ("deit_tiny_distilled_patch16_224", 2, "class", "learned", (14, 14)),
    ("deit3_small_patch16_224", 1, "class", "learned", (14, 14)),
    ("vit_small_patch14_reg4_dinov2", 5, "class", "learned", (16, 18)),
    ("vit_small_patch16_dinov3", 5, "mean", "rotary", (16, 16)),
    ("beit_base_patch16_224", 1, "mean", "relative", (14, 14)),
    ("beitv2_base_patch16_224", 1, "mean", "relative", (14, 14)),
    ("eva02_tiny_patch14_224", 1, "mean", "learned + rotary", (16, 16)),
    ("vit_small_patch16_rope_224", 1, "class", "rotary", (14, 14)),
    ("vit_base_patch32_clip_224", 1, "class", "learned", (7, 7)),
    ("vit_base_patch16_siglip_224", 0, "attention", "learned", (14, 14)),
    ("vit_base_patch16_siglip_gap_224", 0, "mean", "learned", (14, 14)),
    ("flexivit_small", 1, "class", "learned", (15, 15)),
    ("vit_relpos_small_patch16_224", 0, "mean", "relative", (14, 14)),
    ("vit_srelpos_small_patch16_224", 0, "mean", "relative", (14, 14)),
    ("naflexvit_base_patch16_gap", 4, "mean", "learned", (24, 24)),
    ("vit_intern300m_patch14_448", 1, "class", "learned", (16, 16)),
    ("aimv2_large_patch14_224", 0, "mean", "learned", (16, 16)),
    ("vit_base_r50_s16_224", 1, "class", "learned", (14, 14)),
    ("vit_small_r26_s32_224", 1, "class", "learned", (7, 7)),
]
SIZES = {"vit_small_patch14_reg4_dinov2": (224, 252), "vit_intern300m_patch14_448": (224, 224)}
REFUSED = [
    ("swin_tiny_patch4_window7_224", "within windows or groups"),
    ("samvit_base_patch16", "within windows or groups"),
    ("hiera_tiny_224", "within windows or groups"),
    ("twins_svt_small", "within windows or groups"),
    ("mobilevit_xxs", "within windows or groups"),
    ("levit_128s", "from 49 tokens to 196 others"),
    ("xcit_nano_12_p16_224", "over 32 channels a head, not over tokens"),
    ("pit_ti_224", r"different numbers of tokens \(730, 197, 50\)"),
    ("fastvit_sa24", r"enters its blocks is no sequence of tokens \(1×512×8×8\)"),
    ("vit_dwee_patch16_reg1_gap_256", "'blocks.0.attn' attends more than once"),
    ("convit_tiny", "attends more than once"),
    ("cait_xxs24_224", "'blocks_token_only.0.attn' one token attends to 197"),
    ("resnet18", "no softmax attention between patches"),
    ("mixer_b16_224", "no softmax attention between patches"),
]


@pytest.mark.slow
@pytest.mark.parametrize(("name", "prefix", "pooling", "position", "grid"), ACCEPTED)
def test_accepted(
    name: str, prefix: int, pooling: str, position: str, grid: tuple[int, int], cat: Path
) -> None:
    torch.manual_seed(0)
    size = {"img_size": SIZES[name]} if name in SIZES else {}
    module = timm.create_model(name, depth=2, num_classes=7, **size)
    model = vx.load_model(module)
    card = model.card
    assert (card.prefix_tokens, card.pooling, card.position, card.grid) == (
        prefix,
        pooling,
        position,
        grid,
    )
    assert (card.depth, card.classes) == (2, 7)
    result = vx.explain(model, cat, methods=("fast", "legrad", "saliency"))
    traced = result.trace
    for layer in traced.layers:
        assert attention_error(call_of(layer)) <= 2e-5 * max(1, float(layer.output.abs().max()))
        assert layer.query.shape == (card.heads, card.tokens, card.head_width)
    with torch.no_grad():
        logits = module.eval()(traced.prepared.pixels)[0]
    torch.testing.assert_close(traced.logits, logits, atol=1e-5, rtol=1e-4)
    fast = {name for name, method in vx.METHODS.items() if not method.runs_model}
    assert set(result.heatmaps) == {*fast, "legrad", "saliency"}
    for heatmap in result.heatmaps.values():
        assert heatmap.values.shape == grid
        assert heatmap.values.dtype == np.float32
    rollout = result.heatmaps["rollout"].values
    assert rollout.max() > 0 and rollout.sum() <= 1 + 1e-4
    says_so = "mean of the patches' rows" in result.heatmaps["rollout"].note
    assert says_so is (pooling != "class")


@pytest.mark.parametrize(("name", "reason"), REFUSED)
def test_why_attention_cant_be_shown(name: str, reason: str) -> None:
    with torch.device("meta"):
        module = timm.create_model(name).eval()
        size = tuple(module.pretrained_cfg["input_size"][1:])
        with pytest.raises(UnsupportedModelError, match=reason) as error:
            measure(module, size, name)
        assert may_have_stages(module, size)
    assert name in str(error.value)


@pytest.mark.parametrize(
    ("name", "grid"),
    [
        ("resnet18", (7, 7)),
        ("xcit_nano_12_p16_224", (14, 14)),
        ("pit_ti_224", (7, 7)),
        ("hiera_tiny_224", (7, 7)),
        ("mobilevit_xxs", (8, 8)),
    ],
)
def test_others_open_by_their_stages(name: str, grid: tuple[int, int]) -> None:
    torch.manual_seed(0)
    card = vx.load_model(name, pretrained=False).card
    reasons = [reason for named, reason in REFUSED if named == name]
    assert card.tier == 2 and card.grid == grid
    assert re.search(reasons[0], card.tier_reason)


def test_refused_before_weights_are_fetched(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hub, "_reachable", lambda: pytest.fail("the hub was asked"))
    monkeypatch.setattr("vit_explorer.models.structure.measure.may_have_stages", lambda *_: False)
    with pytest.raises(UnsupportedModelError, match="no softmax attention between patches"):
        vx.load_model("resnet18")


def test_a_real_module_opens_as_its_architecture_does() -> None:
    for attention, reason in [
        (None, "no softmax attention between patches"),
    ]:
        module = Foreign(attention)
        card = vx.load_model(module, transform=lambda _: None, image_size=(16, 16)).card
        assert card.tier == 2 and reason in card.tier_reason


class Foreign(torch.nn.Module):
    """A ViT of one block whose attention, if any, is not the fused call."""

    def __init__(self, attention: torch.nn.Module | None) -> None:
        super().__init__()
        self.cut = torch.nn.Conv2d(3, 8, 4, 4)
        self.blocks = torch.nn.ModuleList([Mixing(attention)])

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return self.blocks[0](self.cut(images).flatten(2).transpose(1, 2)).mean(1)


class Mixing(torch.nn.Module):
    def __init__(self, attention: torch.nn.Module | None) -> None:
        super().__init__()
        self.attention = attention
        self.mlp = torch.nn.Linear(8, 8)

    def forward(self, tokens: torch.Tensor) -> torch.Tensor:
        if self.attention is not None:
            tokens = self.attention(tokens, tokens, tokens)[0]
        return self.mlp(tokens)


def test_the_list_of_models_is_what_is_found() -> None:
    listed = sweep_models.read_document()
    version = re.search(r"architectures of timm (\S+),", sweep_models.DOCUMENT.read_text())
    assert version
    if version[1] != timm.__version__:
        pytest.skip(f"docs/models.md is of timm {version[1]}, this is {timm.__version__}")
    assert listed.keys() == set(timm.list_models())
    for name in (
        "vit_small_patch14_reg4_dinov2",
        "eva02_tiny_patch14_224",
        "vit_so400m_patch14_siglip_384",
        "cait_xxs24_224",
        "swin_tiny_patch4_window7_224",
        "xcit_nano_12_p16_224",
        "resnet18",
    ):
        found = sweep_models.examine(name)
        columns = ("prefix", "pooling", "position", "grid") if found["accepted"] else ("reason",)
        assert listed[name] == (found["family"], *(found[column] for column in columns)), name


@pytest.mark.parametrize(
    ("settings", "prefix"),
    [
        ({"position": "none"}, 1),
        ({"class_token": False, "pooling": "mean"}, 0),
        ({"pooling": "mean"}, 1),
        ({"distillation_token": True}, 2),
        ({"position": "relative"}, 1),
        ({"position": "sincos", "image_size": (40, 24)}, 1),
    ],
)
def test_every_method_on_every_kind_of_our_own(
    settings: dict[str, object], prefix: int, cat: Path
) -> None:
    torch.manual_seed(0)
    base = {"image_size": (24, 32), "patch_size": (8, 8), "dim": 32, "depth": 3, "heads": 2}
    config = ViTConfig.from_dict({**base, "classes": 5, **settings})
    module = VisionTransformer(config)
    for parameter in module.parameters():
        torch.nn.init.normal_(parameter, std=0.3)
    model = load_small(module)
    assert model.card.prefix_tokens == prefix
    result = vx.explain(model, cat, methods="all")
    assert set(result.heatmaps) == set(vx.METHODS)
    assert all(heatmap.values.shape == config.grid for heatmap in result.heatmaps.values())
    with torch.no_grad():
        _, attentions = module(result.prepared.pixels, output_attentions=True)
    for layer, attention in enumerate(attentions):
        torch.testing.assert_close(result.trace.attention(layer), attention[0])
    if config.position in ("none", "relative"):
        with pytest.raises(UnsupportedModelError, match="adds no position embedding"):
            vx.position_similarity(model)
    else:
        assert vx.position_similarity(model).shape == config.grid * 2


class Wrap(torch.nn.Module):
    """As a fine-tuning script would wrap a model."""

    def __init__(self, inner: torch.nn.Module) -> None:
        super().__init__()
        self.inner = inner

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return self.inner(images)


@pytest.mark.parametrize("wrap", [Wrap, torch.nn.Sequential, torch.nn.DataParallel, torch.compile])
def test_a_wrapped_model_is_what_it_wraps(wrap: Any, cat: Path) -> None:
    torch.manual_seed(0)
    module = timm.create_model("deit_tiny_distilled_patch16_224", depth=2)
    plain = vx.load_model(module)
    wrapped = vx.load_model(wrap(module))
    keep = {"name": plain.card.name, "source": plain.card.source}
    assert dataclasses.replace(wrapped.card, **keep) == plain.card
    assert wrapped.labels == plain.labels
    expected = vx.explain(plain, cat, methods=("fast", "legrad")).heatmaps
    for name, heatmap in vx.explain(wrapped, cat, methods=("fast", "legrad")).heatmaps.items():
        np.testing.assert_allclose(heatmap.values, expected[name].values, rtol=1e-4, atol=1e-8)
    assert np.array_equal(vx.position_similarity(wrapped), vx.position_similarity(plain))


@pytest.mark.parametrize("kind", ["sdpa", "eager"])
def test_transformers_vit(kind: str, cat: Path) -> None:
    """Another library's names: the class token is the one token the head was seen to read."""
    from torchvision import transforms
    from transformers import ViTConfig as TheirConfig
    from transformers import ViTForImageClassification

    module = ViTForImageClassification(
        TheirConfig(
            hidden_size=32,
            num_hidden_layers=3,
            num_attention_heads=4,
            intermediate_size=64,
            image_size=32,
            patch_size=8,
            num_labels=5,
            attn_implementation=kind,
        )
    ).eval()
    torch.manual_seed(0)
    for parameter in module.parameters():
        torch.nn.init.normal_(parameter, std=0.3)
    transform = transforms.Compose([transforms.Resize((32, 32)), transforms.ToTensor()])
    model = vx.load_model(module, transform=transform, image_size=(32, 32))
    card = model.card
    assert (card.prefix_names, card.pooling, card.position) == (("class",), "class", "learned")
    assert vx.position_similarity(model).shape == (4, 4, 4, 4)
    result = vx.explain(model, cat, methods=("rollout", "generic_attention"))
    module.set_attn_implementation("eager")
    with torch.no_grad():
        expected = module(result.prepared.pixels, output_attentions=True).attentions
    for layer, attention in enumerate(expected):
        torch.testing.assert_close(result.trace.attention(layer), attention[0], atol=1e-5, rtol=0)
    assert "mean of the patches" not in result.heatmaps["rollout"].note


def test_a_module_that_does_not_run_says_so() -> None:
    from torchvision import transforms

    broken = timm.create_model("vit_tiny_patch16_224", depth=2)
    broken.head = torch.nn.Linear(7, 3)
    with pytest.raises(UnsupportedModelError, match="does not run on a picture of 3×224×224"):
        vx.load_model(broken, transform=transforms.ToTensor())
    assert not any(block._forward_hooks for block in broken.blocks)


def test_contract_example(cat: Path) -> None:
    """The design's non-square backbone: predictions none, class methods refused by name."""
    model = vx.load_model(
        "vit_small_patch14_reg4_dinov2", pretrained=False, image_size=(224, 336), device="cpu"
    )
    assert model.card.grid == (16, 24)
    assert model.card.prefix_names == ("class", *(f"register {i}" for i in range(1, 5)))
    result = vx.explain(model, cat, methods="all")
    assert result.predictions == ()
    assert result.target is None
    assert result.heatmaps["rollout"].values.shape == (16, 24)
    assert set(result.skipped) == {n for n, m in vx.METHODS.items() if m.class_specific}
    assert vx.position_similarity(model).shape == (16, 24, 16, 24)
    with pytest.raises(TargetError, match="no classifier"):
        vx.explain(model, cat, methods=("grad_cam",))


def test_any_module_that_passes_the_rule(cat: Path) -> None:
    """A user's own ViT: no timm names, no patch_embed attribute, logits in a tuple."""
    from torchvision import transforms

    class Layer(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.qkv = torch.nn.Linear(12, 36)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            q, k, v = self.qkv(x).unflatten(-1, (3, 2, 6)).permute(2, 0, 3, 1, 4)
            mixed = torch.nn.functional.scaled_dot_product_attention(q, k, v)
            return x + mixed.transpose(1, 2).flatten(2)

    class Own(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.cut = torch.nn.Conv2d(3, 12, 8, 8)
            self.layers = torch.nn.ModuleList([Layer(), Layer(), Layer()])
            self.out = torch.nn.Linear(12, 3)

        def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, None]:
            x = self.cut(x).flatten(2).transpose(1, 2)
            for layer in self.layers:
                x = layer(x)
            return self.out(x.mean(1)), None

    transform = transforms.Compose([transforms.Resize((16, 24)), transforms.ToTensor()])
    model = vx.load_model(Own(), transform=transform, labels=["a", "b", "c"], image_size=(16, 24))
    assert (model.card.grid, model.card.depth, model.card.heads) == ((2, 3), 3, 2)
    result = vx.explain(model, cat, methods=("rollout", "generic_attention"))
    assert result.predictions[0].label in "abc"
    assert result.heatmaps["generic_attention"].values.shape == (2, 3)
    with pytest.raises(UnsupportedModelError, match="No norm was seen in block 3"):
        vx.explain(model, cat, methods=("grad_cam",))
    assert "grad_cam" in vx.explain(model, cat, methods="all").skipped


def tiny(**options: object) -> torch.nn.Module:
    torch.manual_seed(0)
    sizes = {"img_size": 32, "embed_dim": 24, "depth": 2, "num_heads": 2}
    return timm.create_model("vit_tiny_patch16_224", **{**sizes, **options}).eval()


def load_tiny(module: torch.nn.Module) -> vx.LoadedModel:
    return vx.load_model(module, image_size=32, preprocess={"mean": (0.5,) * 3, "std": (0.5,) * 3})


def test_heads_that_give_no_logits_are_no_classifiers(cat: Path) -> None:
    unpooled = tiny(num_classes=7, class_token=False, global_pool="")
    wrapped = torch.nn.DataParallel(tiny(num_classes=0))
    for module in (unpooled, wrapped):
        model = load_tiny(module)
        assert model.card.classes == 0
        result = vx.explain(model, cat, methods="fast")
        assert result.target is None
        assert "rollout" in result.heatmaps


def test_a_head_that_reads_the_largest_of_the_patches_follows_the_patches(cat: Path) -> None:
    model = load_tiny(tiny(num_classes=5, global_pool="avgmax"))
    assert model.card.pooling == "avgmax"
    passed = vx.trace(model, cat, gradients="last")
    assert passed.reads_patches
    assert "reads the patches" in vx.METHODS["attention_grad_cam"](passed).note


def test_oblong_patches(cat: Path) -> None:
    model = load_tiny(tiny(num_classes=5, patch_size=(16, 8)))
    assert (model.card.grid, model.card.patch_size) == ((2, 4), (16, 8))
    assert vx.check_patch_embedding(model, cat).error < 1e-4
    assert vx.explain(model, cat, methods="fast").heatmaps["rollout"].values.shape == (2, 4)


def test_a_size_that_patches_do_not_cover_is_fed_whole_as_timm_feeds_it(cat: Path) -> None:
    module = tiny(num_classes=5, img_size=(37, 32))
    module.pretrained_cfg = {**module.pretrained_cfg, "input_size": (3, 37, 32)}
    model = vx.load_model(module, preprocess={"mean": (0.5,) * 3, "std": (0.5,) * 3})
    assert (model.card.image_size, model.card.covered) == ((37, 32), (32, 32))
    assert vx.trace(model, cat).prepared.pixels.shape == (1, 3, 37, 32)


def test_a_backbone_keeps_the_features_of_every_layer(cat: Path) -> None:
    model = load_tiny(tiny(num_classes=0, depth=3))
    options = {"eigen_cam": {"layer": 0}}
    result = vx.explain(model, cat, methods="all", options=options)
    assert "eigen_cam" in result.heatmaps
    alone = vx.METHODS["eigen_cam"](result.trace, layer=0).values
    assert np.array_equal(result.heatmaps["eigen_cam"].values, alone)
    assert not np.allclose(alone, vx.METHODS["eigen_cam"](result.trace).values)


def test_positions_that_are_interpolated_at_each_pass_are_shown_so(cat: Path) -> None:
    module = tiny(num_classes=5, img_size=64, dynamic_img_size=True)
    torch.nn.init.normal_(module.pos_embed)
    whole = {"mean": (0.5,) * 3, "std": (0.5,) * 3}
    model = vx.load_model(module, image_size=(96, 64), preprocess=whole)
    assert model.card.grid == (6, 4)
    added = resample_abs_pos_embed(module.pos_embed, (6, 4), num_prefix_tokens=1)[0, 1:]
    expected = torch.nn.functional.normalize(added, dim=-1)
    found = vx.position_similarity(model).reshape(24, 24)
    assert np.allclose(found, (expected @ expected.T).detach().numpy(), atol=1e-5)
    assert vx.explain(model, cat, methods="fast").heatmaps["rollout"].values.shape == (6, 4)
