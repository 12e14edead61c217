"""The balanced backward pass against plain autograd on networks written out, and its sums."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
import transformers
from timm.layers import RmsNorm, SwiGLU
from timm.models.vision_transformer import VisionTransformer
from torch import Tensor, nn

import vit_explorer as vx
from vit_explorer.errors import UnsupportedModelError
from vit_explorer.methods import METHODS
from vit_explorer.methods.balanced import balanced

from .odd_vits import SIZE, WAYS, OddViT, transform
from .test_odd_habits import InPlace

Step = Callable[[Tensor], Tensor]
HEADS = 4


def load(module: nn.Module) -> vx.LoadedModel:
    return vx.load_model(module.eval(), transform=transform, image_size=(SIZE, SIZE))


def randomised(module: nn.Module) -> nn.Module:
    generator = torch.Generator().manual_seed(0)
    for parameter in module.parameters():
        nn.init.normal_(parameter, std=0.4, generator=generator)
    return module


def layer_norm(part: nn.LayerNorm, x: Tensor) -> Tensor:
    middle = x - x.mean(-1, keepdim=True)
    size = (middle**2).mean(-1, keepdim=True).add(part.eps).sqrt().detach()
    return middle / size * part.weight + part.bias


def attend(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    """(1, N, D) each, to heads and back."""
    q, k, v = (x.unflatten(-1, (HEADS, -1)).transpose(1, 2) for x in (q, k, v))
    weights = (q @ k.transpose(-1, -2) * q.shape[-1] ** -0.5).softmax(-1)
    return (weights.detach() @ v).transpose(1, 2).flatten(2)


def followed(x: Tensor, steps: list[Step], head: Step, target: int) -> np.ndarray:
    """Σ over blocks of what they are given times its gradient, by plain autograd: (N,)."""
    kept = [x.detach().requires_grad_()]
    for step in steps:
        kept.append(step(kept[-1]))
    slopes = torch.autograd.grad(head(kept[-1])[0, target], kept[:-1])
    parts = (a * b for a, b in zip(kept[:-1], slopes, strict=True))
    return sum((part.sum(-1)[0] for part in parts), torch.zeros(())).detach().numpy()


def gelu_and_layer_norm() -> tuple[nn.Module, Callable[[Tensor, int], np.ndarray]]:
    module = randomised(
        VisionTransformer(SIZE, 8, num_classes=5, embed_dim=32, depth=3, num_heads=HEADS)
    )

    def expected(pixels: Tensor, target: int) -> np.ndarray:
        def step(block: nn.Module) -> Step:
            def run(x: Tensor) -> Tensor:
                x = x + block.attn.proj(
                    attend(*block.attn.qkv(layer_norm(block.norm1, x)).chunk(3, -1))
                )
                h = block.mlp.fc1(layer_norm(block.norm2, x))
                return x + block.mlp.fc2(h * (F.gelu(h) / h).detach())

            return run

        x = module._pos_embed(module.patch_embed(pixels))
        head: Step = lambda x: module.head(layer_norm(module.norm, x)[:, 0])  # noqa: E731
        return followed(x, [step(block) for block in module.blocks], head, target)[1:]

    return module, expected


def swiglu_and_rms_norm() -> tuple[nn.Module, Callable[[Tensor, int], np.ndarray]]:
    module = randomised(
        VisionTransformer(
            SIZE, 8, num_classes=5, embed_dim=32, depth=3, num_heads=HEADS, class_token=False,
            global_pool="avg", norm_layer=RmsNorm, mlp_layer=SwiGLU, act_layer=nn.SiLU,
            init_values=0.5,
        )
    )  # fmt: skip

    def rms(part: RmsNorm, x: Tensor) -> Tensor:
        return x / ((x**2).mean(-1, keepdim=True) + part.eps).sqrt().detach() * part.weight

    def expected(pixels: Tensor, target: int) -> np.ndarray:
        def step(block: nn.Module) -> Step:
            def run(x: Tensor) -> Tensor:
                mixed = attend(*block.attn.qkv(rms(block.norm1, x)).chunk(3, -1))
                x = x + block.ls1.gamma * block.attn.proj(mixed)
                h = rms(block.norm2, x)
                gate = F.silu(block.mlp.fc1_g(h)).detach()
                return x + block.ls2.gamma * block.mlp.fc2(gate * block.mlp.fc1_x(h))

            return run

        x = module._pos_embed(module.patch_embed(pixels))
        head: Step = lambda x: module.head(rms(module.fc_norm, x.mean(1)))  # noqa: E731
        return followed(x, [step(block) for block in module.blocks], head, target)

    return module, expected


def quick_gelu_and_written_softmax() -> tuple[nn.Module, Callable[[Tensor, int], np.ndarray]]:
    vision = {
        "hidden_size": 32, "num_hidden_layers": 3, "num_attention_heads": HEADS,
        "intermediate_size": 64, "image_size": SIZE, "patch_size": 8,
    }  # fmt: skip
    config = transformers.CLIPConfig(
        vision_config=vision, num_labels=5, attn_implementation="eager"
    )
    module = randomised(transformers.CLIPForImageClassification(config))
    tower = getattr(module.vision_model, "vision_model", module.vision_model)

    def expected(pixels: Tensor, target: int) -> np.ndarray:
        def step(layer: nn.Module) -> Step:
            own = layer.self_attn

            def run(x: Tensor) -> Tensor:
                y = layer_norm(layer.layer_norm1, x)
                x = x + own.out_proj(attend(own.q_proj(y), own.k_proj(y), own.v_proj(y)))
                h = layer.mlp.fc1(layer_norm(layer.layer_norm2, x))
                return x + layer.mlp.fc2(h * torch.sigmoid(1.702 * h).detach())

            return run

        x = tower.pre_layrnorm(tower.embeddings(pixels))
        # Of the classes the patches' mean is read, without the tower's last norm.
        head: Step = lambda x: module.classifier(x[:, 1:].mean(1))  # noqa: E731
        return followed(x, [step(layer) for layer in tower.encoder.layers], head, target)[1:]

    return module, expected


@pytest.mark.parametrize(
    "build", [gelu_and_layer_norm, swiglu_and_rms_norm, quick_gelu_and_written_softmax]
)
def test_equals_plain_autograd_on_the_network_written_out(
    build: Callable[[], tuple[nn.Module, Callable[[Tensor, int], np.ndarray]]], cat: Path
) -> None:
    module, expected = build()
    model = load(module)
    result = vx.explain(model, cat, ("libra_input_x_gradient",), target=3)
    values = result.heatmaps["libra_input_x_gradient"].values
    wanted = expected(result.prepared.pixels, 3).reshape(values.shape)
    assert np.abs(wanted).max() > 0.01
    np.testing.assert_allclose(values, wanted, atol=1e-4 * np.abs(wanted).max())
    conserves(model, result.trace)


def conserves(model: vx.LoadedModel, trace: vx.Trace) -> None:
    """Tokens and biases add up to the logit before each block."""
    balance = balanced(trace)
    logit = float(trace.logits[trace.target])
    sums = balance.tokens.double().sum(1) + balance.biases
    assert len(sums) == model.card.depth and float(balance.biases.abs().max()) > 1e-3
    np.testing.assert_allclose(sums, logit, atol=1e-4 * max(1, abs(logit)))
    assert balance.gap < 1e-5


@pytest.mark.parametrize("way", [way for way in WAYS if way != "fused"])
def test_every_way_of_attending_gives_the_same(way: str, cat: Path) -> None:
    def found(module: nn.Module) -> np.ndarray:
        result = vx.explain(load(module), cat, ("libra_input_x_gradient",), target=2)
        return result.heatmaps["libra_input_x_gradient"].values

    np.testing.assert_allclose(found(OddViT(way=way)), found(OddViT()), atol=1e-4)


@pytest.mark.parametrize("way", ["fused", "written", "by_hand", "a_head_at_a_time"])
def test_generic_attention_with_balanced_gradients(way: str, cat: Path) -> None:
    model = load(OddViT(way=way))
    trace = vx.trace(model, cat, target=2)
    # By plain autograd on the network written out, with a leaf in the place of each attention.
    module, weights = OddViT().eval().requires_grad_(False), []

    def mixed(block: nn.Module, x: Tensor) -> Tensor:
        q, k, v = (
            y.unflatten(-1, (HEADS, -1)).transpose(1, 2) for y in block.attend.qkv(x).chunk(3, -1)
        )
        scores = q @ k.transpose(-1, -2) * q.shape[-1] ** -0.5
        weights.append(scores.softmax(-1).detach().requires_grad_())
        return block.attend.proj((weights[-1] @ v).transpose(1, 2).flatten(2))

    patches = (module.conv(trace.prepared.pixels) + module.places).flatten(2).transpose(1, 2)
    x = torch.cat([module.c, patches], 1).requires_grad_()
    for block in module.layers:
        x = x + mixed(block, layer_norm(block.one, x))
        h = block.mlp[0](layer_norm(block.two, x))
        x = x + block.mlp[2](h * (F.gelu(h) / h).detach())
    logit = module.head(layer_norm(module.end, x[:, 0]))[0, 2]
    relevance = torch.eye(17)
    for one, slope in zip(weights, torch.autograd.grad(logit, weights), strict=True):
        relevance = relevance + (one * slope)[0].relu().mean(0).detach() @ relevance
    found = METHODS["libra_generic_attention"](trace).values
    expected = relevance[0, 1:].reshape(4, 4).numpy()
    np.testing.assert_allclose(found, expected, atol=1e-5 + 1e-4 * expected.max())
    assert not np.allclose(
        found, METHODS["generic_attention"](vx.trace(model, cat, target=2, gradients="all")).values
    )


def test_sums_in_place_change_nothing(cat: Path) -> None:
    module, plain = OddViT(), OddViT()
    blocks = nn.ModuleList(InPlace("fused", post=False, tokens_first=False) for _ in range(3))
    blocks.load_state_dict(plain.layers.state_dict())
    module.layers = blocks
    maps = [
        vx.explain(load(one), cat, ("libra_input_x_gradient",), target=2).heatmaps for one in
        (module, plain)
    ]  # fmt: skip
    np.testing.assert_allclose(*(one["libra_input_x_gradient"].values for one in maps), atol=1e-5)


class Waving(nn.Module):
    """An MLP's function of which no gate is known: it shifts what it is given."""

    def forward(self, x: Tensor) -> Tensor:
        return torch.cos(3 * x)


def test_a_step_that_can_not_be_balanced_is_told(cat: Path) -> None:
    module = OddViT()
    for block in module.layers:
        block.mlp[1] = Waving()
    with pytest.raises(UnsupportedModelError, match=r"can't be balanced: .* misses the logit by"):
        vx.explain(load(module), cat, ("libra_input_x_gradient",))


ACTIVATIONS: dict[str, Step] = {
    "new GELU": lambda x: 0.5 * x * (1 + torch.tanh(0.8 * (x + 0.0447 * torch.pow(x, 3.0)))),
    "GELU of erf": lambda x: x * 0.5 * (1.0 + torch.erf(x / 2**0.5)),
    "squared ReLU": lambda x: F.relu(x).square(),
    "tanh": torch.tanh,
    "sigmoid": torch.sigmoid,
    "swish in place": lambda x: x.mul_(x.sigmoid()),
    "hard swish by hand": lambda x: x * F.relu6(x + 3.0) / 6.0,
}


@pytest.mark.parametrize("name", ACTIVATIONS)
def test_activations_are_balanced(name: str, cat: Path) -> None:
    class Own(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return ACTIVATIONS[name](x)

    module = OddViT()
    for block in module.layers:
        block.mlp[1] = Own()
    model = load(module)
    conserves(model, vx.trace(model, cat))


def test_the_real_model_and_its_prototype(deit_tiny: vx.LoadedModel, cat: Path) -> None:
    trace = vx.trace(deit_tiny, cat)
    conserves(deit_tiny, trace)
