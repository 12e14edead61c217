"""Vision Transformers of other libraries, by numbers against their own explicit attention."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import transformers
from PIL import Image
from torch import Tensor, nn

import vit_explorer as vx
from tests.attention_error import attention_error
from vit_explorer.models.card import first_tensor
from vit_explorer.models.interception import recording

SIZE = 32
Build = Callable[[], nn.Module]


def transform(image: Image.Image) -> Tensor:
    pixels = np.asarray(image.convert("RGB").resize((SIZE, SIZE))).copy()
    return torch.from_numpy(pixels).permute(2, 0, 1).float() / 127.5 - 1


def torchvision_vit() -> nn.Module:
    from torchvision.models import VisionTransformer

    module = VisionTransformer(SIZE, 8, 3, 4, 32, 64, num_classes=5)
    nn.init.normal_(module.heads.head.weight, std=0.3)  # type: ignore[arg-type, union-attr]
    return module


def open_clip_tower() -> nn.Module:
    from open_clip.transformer import VisionTransformer

    return VisionTransformer(
        image_size=SIZE, patch_size=8, width=32, layers=3, heads=4, mlp_ratio=2.0, output_dim=16
    )


class Encoder(nn.Module):
    """The tutorials' ViT of `nn.TransformerEncoder`, with patches by `F.conv2d` on a parameter."""

    def __init__(self, *, batch_first: bool, norm_first: bool) -> None:
        super().__init__()
        self.batch_first = batch_first
        self.cut = nn.Parameter(torch.randn(32, 3, 8, 8) * 0.1)
        self.cls = nn.Parameter(torch.randn(1, 1, 32))
        self.pos = nn.Parameter(torch.randn(1, 17, 32))
        layer = nn.TransformerEncoderLayer(
            32, 4, 64, batch_first=batch_first, norm_first=norm_first
        )
        self.encoder = nn.TransformerEncoder(layer, 3, enable_nested_tensor=False)
        self.head = nn.Linear(32, 5)

    def forward(self, images: Tensor) -> Tensor:
        x = nn.functional.conv2d(images, self.cut, stride=8).flatten(2).transpose(1, 2)
        x = torch.cat([self.cls.expand(len(x), -1, -1), x], 1) + self.pos
        if not self.batch_first:
            return self.head(self.encoder(x.transpose(0, 1))[0])
        return self.head(self.encoder(x)[:, 0])


MULTIHEAD: dict[str, Build] = {
    "torchvision": torchvision_vit,
    "open_clip": open_clip_tower,
    "encoder": lambda: Encoder(batch_first=True, norm_first=False),
    "encoder, norm first": lambda: Encoder(batch_first=True, norm_first=True),
    "encoder, sequence first": lambda: Encoder(batch_first=False, norm_first=False),
}


@contextmanager
def weights_of_multihead(module: nn.Module) -> Iterator[list[Tensor]]:
    """torch's own explicit attention of each `nn.MultiheadAttention`, (B, h, N, N)."""
    kept: list[Tensor] = []
    parts = [one for one in module.modules() if isinstance(one, nn.MultiheadAttention)]

    def explicit(part: nn.MultiheadAttention) -> Callable[..., Any]:
        def forward(*args: Any, **kwargs: Any) -> Any:
            kwargs |= {"need_weights": True, "average_attn_weights": False}
            output, weights = nn.MultiheadAttention.forward(part, *args, **kwargs)
            kept.append(weights)
            return output, weights

        return forward

    for part in parts:
        part.forward = explicit(part)  # type: ignore[method-assign]
    # The encoder's fast path would leave these out; a hook keeps it from being taken.
    hooks = [part.register_forward_hook(lambda *_: None) for part in module.modules()]
    try:
        yield kept
    finally:
        for part in parts:
            del part.forward
        for hook in hooks:
            hook.remove()


def check(
    model: vx.LoadedModel, attention: list[Tensor], cat: Path, *, balances: bool = True
) -> vx.Explanation:
    """Attention, logits and rollout of a model against its own explicit attention."""
    result = vx.explain(model, cat, methods="all", options={"rise": {"masks": 8}})
    unbalanced = set() if balances else {"libra_input_x_gradient", "libra_generic_attention"}
    assert set(result.skipped) == unbalanced, result.skipped
    assert len(attention) == model.card.depth
    for layer, weights in enumerate(attention):
        torch.testing.assert_close(result.trace.attention(layer), weights, atol=1e-5, rtol=0)
    with torch.no_grad():
        pixels = result.prepared.pixels
        logits = first_tensor(model.module(pixels))[0]
    torch.testing.assert_close(result.trace.logits, logits, atol=1e-5, rtol=1e-5)
    # Rollout by hand, of those matrices.
    eye = torch.eye(model.card.tokens)
    row = result.trace.readout()
    for weights in reversed(attention):
        row = row @ ((weights.mean(0) + eye) / 2)
    np.testing.assert_allclose(result.heatmaps["rollout"].values, result.trace.grid(row), atol=1e-6)
    return result


@pytest.mark.parametrize("name", MULTIHEAD)
def test_multihead_attention(name: str, cat: Path) -> None:
    torch.manual_seed(0)
    module = MULTIHEAD[name]().eval()
    model = vx.load_model(module, transform=transform, image_size=SIZE, outputs="classes")
    assert model.card.prefix_names == ("class",) and model.card.grid == (4, 4)
    pixels = model.prepare(cat).pixels
    with torch.no_grad(), weights_of_multihead(module) as kept:
        module(pixels)
    check(model, [one[0] for one in kept], cat)


BASE = {
    "image_size": SIZE, "patch_size": 8, "num_classes": 5, "dim": 32, "depth": 3, "heads": 4,
    "mlp_dim": 64,
}  # fmt: skip
THEIRS = [
    ("vit:ViT", {}, ("class",)),
    ("vit_for_small_dataset:ViT", {}, ("class",)),
    ("parallel_vit:ViT", {"num_parallel_branches": 2}, ("class",)),
    ("distill:DistillableViT", {}, ("class",)),
    ("learnable_memory_vit:ViT", {}, ("class",)),
    ("vit_with_patch_dropout:ViT", {}, ("class",)),
    ("simple_vit:SimpleViT", {}, ()),
    ("simple_vit_with_register_tokens:SimpleViT", {"num_register_tokens": 1}, ("register 1",)),
    ("simple_vit_with_value_residual:SimpleViT", {}, ()),
]  # fmt: skip


@pytest.mark.parametrize(("name", "settings", "prefix"), THEIRS, ids=[row[0] for row in THEIRS])
def test_vit_pytorch(
    name: str, settings: dict[str, Any], prefix: tuple[str, ...], cat: Path
) -> None:
    torch.manual_seed(0)
    place, _, kind = name.partition(":")
    module = getattr(importlib.import_module(f"vit_pytorch.{place}"), kind)(**BASE, **settings)
    module.eval()
    model = vx.load_model(module, transform=transform, image_size=SIZE, outputs="classes")
    assert model.card.prefix_names == prefix and model.card.grid == (4, 4)
    kept: list[Tensor] = []
    softmaxes = [one for one in module.modules() if isinstance(one, nn.Softmax)]
    hooks = [
        one.register_forward_hook(lambda _, __, output: kept.append(output[0].detach()))
        for one in softmaxes
    ]
    with torch.no_grad():
        module(model.prepare(cat).pixels)
    for hook in hooks:
        hook.remove()
    if place == "simple_vit_with_register_tokens":  # its register stands behind the patches
        order = [16, *range(16)]
        kept = [one[:, order][:, :, order] for one in kept]
    branches = settings.get("num_parallel_branches", 1)
    attention = [torch.cat(kept[at : at + branches]) for at in range(0, len(kept), branches)]
    # Its values pass from the first block to all others, beside their tokens.
    check(model, attention, cat, balances=place != "simple_vit_with_value_residual")


def softmaxes(module: nn.Module, pixels: Tensor) -> list[Tensor]:
    """What every softmax that is called as a tensor's own gives, in a pass."""
    kept: list[Tensor] = []
    own = Tensor.softmax

    def keeping(scores: Tensor, *args: Any, **kwargs: Any) -> Tensor:
        kept.append(own(scores, *args, **kwargs))
        return kept[-1]

    with torch.no_grad(), pytest.MonkeyPatch.context() as patched:
        patched.setattr(Tensor, "softmax", keeping)
        module(pixels)
    return kept


def test_deepvit(cat: Path) -> None:
    """Its softmax is a tensor's own, and its heads are mixed behind it."""
    from vit_pytorch.deepvit import DeepViT

    torch.manual_seed(0)
    module = DeepViT(**BASE).eval()
    model = vx.load_model(module, transform=transform, image_size=SIZE, outputs="classes")
    kept = softmaxes(module, model.prepare(cat).pixels)
    check(model, [one[0] for one in kept], cat)


def test_the_flash_vit_of_nested_lists(cat: Path) -> None:
    """A list [attention, MLP] a block, which is never called itself."""
    from vit_pytorch.simple_flash_attn_vit import SimpleViT

    torch.manual_seed(0)
    module = SimpleViT(**BASE, use_flash=True).eval()
    model = vx.load_model(module, transform=transform, image_size=SIZE, outputs="classes")
    assert model.card.attends == "fused" and model.card.depth == 3
    with torch.no_grad(), recording(module, model.anatomy) as calls:
        module(model.prepare(cat).pixels)
    assert len(calls) == 3
    assert max(attention_error(call) for call in calls) < 1e-6
    result = vx.explain(model, cat, methods="all", options={"rise": {"masks": 8}})
    assert not result.skipped
    # What leaves the last block, normed and read as the network reads it, is its answer.
    lens = vx.logit_lens(result.trace)
    np.testing.assert_allclose(lens.logits[-1], result.trace.logits, atol=1e-5)


def test_the_vit_of_any_dimensions(cat: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It calls flex_attention from another file than its own, or where it can't a softmax."""
    from vit_pytorch.vit_nd import ViTND

    torch.manual_seed(0)
    others = {name: BASE[name] for name in ("num_classes", "dim", "depth", "heads", "mlp_dim")}
    module = ViTND(ndim=2, input_shape=SIZE, patch_size=8, causal_dims=1, **others).eval()
    model = vx.load_model(module, transform=transform, image_size=SIZE)
    assert model.card.attends == "fused" and model.card.prefix_names == ("class",)
    with monkeypatch.context() as patched:
        patched.setenv("ATEN_CPU_CAPABILITY", "default")  # what it asks
        kept = softmaxes(module, model.prepare(cat).pixels)
    assert bool((kept[0][0, 0, 1, 2:5] == 0).all())  # a patch sees none to its right
    check(model, [one[0] for one in kept], cat)


SMALL = {
    "hidden_size": 32, "num_hidden_layers": 3, "num_attention_heads": 4, "intermediate_size": 64,
    "image_size": SIZE, "patch_size": 8,
}  # fmt: skip
HUGGING = [
    ("ViTForImageClassification", "ViTConfig", "sdpa", 1),
    ("ViTForImageClassification", "ViTConfig", "eager", 1),
    ("DeiTForImageClassification", "DeiTConfig", "eager", 2),
    ("Dinov2ForImageClassification", "Dinov2Config", "eager", 1),
    ("Dinov2WithRegistersForImageClassification", "Dinov2WithRegistersConfig", "sdpa", 5),
]


@pytest.mark.parametrize(("name", "config", "way", "prefix"), HUGGING)
def test_transformers(name: str, config: str, way: str, prefix: int, cat: Path) -> None:
    torch.manual_seed(0)
    settings = getattr(transformers, config)(**SMALL, num_labels=5, attn_implementation=way)
    module = getattr(transformers, name)(settings).eval()
    model = vx.load_model(module, transform=transform, image_size=SIZE)
    assert model.card.prefix_tokens == prefix
    pixels = model.prepare(cat).pixels
    module.set_attn_implementation("eager")
    with torch.no_grad():
        attention = module(pixels, output_attentions=True).attentions
    module.set_attn_implementation(way)
    check(model, [one[0] for one in attention], cat)


def test_flex_attention_is_read_as_the_fused_call(cat: Path) -> None:
    torch.manual_seed(0)
    settings = transformers.ViTConfig(**SMALL, num_labels=5, attn_implementation="sdpa")
    module = transformers.ViTForImageClassification(settings).eval()
    plain = vx.explain(
        vx.load_model(module, transform=transform, image_size=SIZE), cat, methods=("rollout",)
    )
    module.config._attn_implementation = "flex_attention"
    model = vx.load_model(module, transform=transform, image_size=SIZE)
    result = vx.explain(model, cat, methods=("rollout",))
    np.testing.assert_array_equal(
        result.heatmaps["rollout"].values, plain.heatmaps["rollout"].values
    )
    assert module.config._attn_implementation == "flex_attention"
