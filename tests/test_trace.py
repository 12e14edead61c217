"""The pass: what it reads is exact, and what it borrows is given back."""

from __future__ import annotations

import gc
import threading
from pathlib import Path

import pytest
import timm
import torch
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

import vit_explorer as vx
from tests.attention_error import attention_error
from vit_explorer.errors import ExplorerError, OptionError, TargetError
from vit_explorer.models.interception import AttentionCall
from vit_explorer.models.structure.anatomy import PLAIN
from vit_explorer.tracing.attention_layer import Layer
from vit_explorer.tracing.trace import trace


def call_of(layer: Layer) -> AttentionCall:
    return AttentionCall(
        block=0,
        anchor=layer.output,
        layout=PLAIN,
        query=layer.query,
        key=layer.key,
        value=layer.value,
        output=layer.output,
        bias=layer.bias,
        scale=layer.scale,
    )


def explicit_gradients(
    model: vx.LoadedModel, pixels: torch.Tensor, target: int
) -> tuple[list[torch.Tensor], list[torch.Tensor]]:
    """Attention and its gradient the peers' way: fused attention off, softmax's output kept."""
    kept: list[torch.Tensor] = []

    def keep(_: nn.Module, inputs: tuple[torch.Tensor, ...], output: torch.Tensor) -> None:
        output.retain_grad()
        kept.append(output)

    handles = []
    try:
        for block in model.blocks:
            block.attn.fused_attn = False
            handles.append(block.attn.attn_drop.register_forward_hook(keep))
        pixels = pixels.clone().requires_grad_(True)
        model.module(pixels)[0, target].backward()
    finally:
        for handle, block in zip(handles, model.blocks, strict=True):
            handle.remove()
            block.attn.fused_attn = True
    return [a.detach()[0] for a in kept], [a.grad[0] for a in kept]


@pytest.mark.parametrize("target", [None, 5])
def test_attention_and_gradient_equal_explicit_attention(
    deit_tiny: vx.LoadedModel, coffee: Path, target: int | None
) -> None:
    traced = trace(deit_tiny, coffee, target=target, gradients="all")
    attentions, gradients = explicit_gradients(deit_tiny, traced.prepared.pixels, traced.target)
    for layer in range(12):
        torch.testing.assert_close(traced.attention(layer), attentions[layer], atol=1e-5, rtol=0)
        largest = float(gradients[layer].abs().max())
        error = float((traced.attention_gradient(layer) - gradients[layer]).abs().max())
        assert largest > 0 and error <= 1e-4 * largest


def test_gradients_of_the_last_block_are_those_of_the_whole_pass(
    small: vx.LoadedModel, cat: Path
) -> None:
    whole = trace(small, cat, gradients="all")
    last = trace(small, cat, gradients="last")
    torch.testing.assert_close(whole.attention_gradient(-1), last.attention_gradient(-1))
    torch.testing.assert_close(whole.feature_gradients[2], last.feature_gradients[2])
    assert float(last.feature_gradients[2].abs().max()) > 0
    with pytest.raises(OptionError, match="kept no gradients of this layer"):
        last.attention_gradient(0)


def test_rows_and_chunks_are_the_whole_matrix(
    small: vx.LoadedModel, cat: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    traced = trace(small, cat)
    whole = traced.attention(1)
    torch.testing.assert_close(traced.attention_rows(1, [3, 0]), whole[:, [3, 0]])
    monkeypatch.setattr("vit_explorer.tracing.attention_layer.CHUNK_BYTES", 2 * 13 * 4 * 5)
    layer = traced.layers[1]
    rows = list(layer.chunks())
    assert [r.stop - r.start for r in rows] == [5, 5, 3]
    torch.testing.assert_close(torch.cat([layer.attention(r) for r in rows], dim=1), whole)


def test_what_the_pass_borrows_is_given_back(cat: Path) -> None:
    module = timm.create_model("vit_tiny_patch16_224", depth=2, img_size=32)
    loaded = vx.load_model(module)
    module.train()
    module.blocks[0].eval()
    module.blocks[1].attn.fused_attn = False
    module.norm.weight.requires_grad_(False)
    module.head.weight.grad = torch.ones_like(module.head.weight)
    state = {name: tensor.clone() for name, tensor in module.state_dict().items()}

    def check() -> None:
        assert module.training and not module.blocks[0].training and module.blocks[1].training
        assert module.blocks[0].attn.fused_attn and not module.blocks[1].attn.fused_attn
        assert not module.norm.weight.requires_grad and module.head.weight.requires_grad
        assert torch.equal(module.head.weight.grad, torch.ones_like(module.head.weight))
        assert all(p.grad is None for n, p in module.named_parameters() if n != "head.weight")
        for child in module.modules():
            assert not child._forward_hooks and not child._forward_pre_hooks
        for name, tensor in module.state_dict().items():
            assert torch.equal(tensor, state[name])
        assert torch.is_grad_enabled()

    trace(loaded, cat, gradients="all")
    check()

    def fail(*_: object) -> None:
        raise ExplorerError("forced")

    for place in (module.blocks[1].mlp, module.norm):
        handle = place.register_forward_hook(fail)
        with pytest.raises(ExplorerError, match="forced"):
            trace(loaded, cat, gradients="last")
        handle.remove()
        check()


def test_threads_get_their_own_results(small: vx.LoadedModel, assets: Path) -> None:
    names = ["cat.png", "coffee.png", "astronaut.png", "rocket.jpg"]
    alone = {name: trace(small, assets / name, gradients="all") for name in names}
    found: dict[tuple[str, int], vx.Trace] = {}

    def work(name: str, turn: int) -> None:
        found[name, turn] = trace(small, assets / name, gradients="all")

    threads = [threading.Thread(target=work, args=(n, turn)) for n in names for turn in range(5)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(found) == 20
    for (name, _), traced in found.items():
        torch.testing.assert_close(traced.logits, alone[name].logits)
        torch.testing.assert_close(traced.attention_gradient(0), alone[name].attention_gradient(0))


def test_block_outputs_and_logits_are_the_models(small: vx.LoadedModel, cat: Path) -> None:
    traced = trace(small, cat)
    module = small.module
    with torch.no_grad():
        x = module.embed(traced.prepared.pixels)
        for block, kept in zip(module.blocks, traced.blocks, strict=True):
            x = block(x)
            torch.testing.assert_close(x[0], kept)
        torch.testing.assert_close(module.forward_head(module.norm(x))[0], traced.logits)
    assert float(traced.probabilities.sum()) == pytest.approx(1)


@pytest.mark.parametrize("layer", [3, -4, True, "last"])
def test_wrong_layers_are_named(small: vx.LoadedModel, cat: Path, layer: object) -> None:
    with pytest.raises(OptionError, match=r"expected 0 to 2, or -1 for the last"):
        trace(small, cat).attention(layer)  # type: ignore[arg-type]


def test_targets(deit_tiny: vx.LoadedModel, cat: Path) -> None:
    assert trace(deit_tiny, cat).target == 285
    for target in ("tabby, tabby cat", "tabby", "Tabby", 281, "281"):
        assert trace(deit_tiny, cat, target=target).target == 281
    with pytest.raises(
        TargetError, match=r"no class 'tabbi', did you mean 'tabby'.* index from 0 to 999"
    ):
        trace(deit_tiny, cat, target="tabbi")
    with pytest.raises(TargetError, match="'crane' names 2 classes .* one of 134, 517"):
        trace(deit_tiny, cat, target="crane")
    for wrong in (1000, -1, "1000"):
        with pytest.raises(TargetError, match="no class -?1.* index from 0 to 999"):
            trace(deit_tiny, cat, target=wrong)


def test_backbone_without_a_head_says_so(cat: Path) -> None:
    module = timm.create_model("vit_tiny_patch16_224", depth=2, img_size=32, num_classes=0)
    loaded = vx.load_model(module)
    assert trace(loaded, cat).logits.shape == (0,)
    with pytest.raises(TargetError, match="no classifier, so there is no logit"):
        trace(loaded, cat, gradients="last")
    with pytest.raises(TargetError, match="no classifier, so no class can be its target"):
        trace(loaded, cat, target=1)


def test_boolean_and_added_bias_are_read(small: vx.LoadedModel) -> None:
    torch.manual_seed(0)
    q, k, v = torch.randn(3, 2, 5, 4)
    allowed = torch.rand(2, 5, 5) > 0.3
    allowed[..., 0] = True
    for bias in (allowed, torch.randn(1, 1, 5), torch.randn(2, 5, 5)):
        output = nn.functional.scaled_dot_product_attention(q, k, v, attn_mask=bias, scale=0.3)
        layer = Layer(q, k, v, output, 0.3, bias)
        assert attention_error(call_of(layer)) < 1e-6
        whole = layer.attention(slice(None))
        torch.testing.assert_close(layer.attention([4, 1]), whole[:, [4, 1]])


@pytest.mark.parametrize("pool", ["token", "avg"])
def test_no_matrix_of_all_tokens_is_made(cat: Path, pool: str) -> None:
    """At 2,305 tokens one layer's attention is 64 MB: no tensor of half that size is ever made."""

    class Largest(TorchDispatchMode):
        size = 0

        def __torch_dispatch__(self, func, types, args=(), kwargs=None):  # type: ignore[no-untyped-def]
            output = func(*args, **(kwargs or {}))
            for tensor in tree_leaves(output):
                if isinstance(tensor, torch.Tensor):
                    self.size = max(self.size, tensor.untyped_storage().nbytes())
            return output

    module = timm.create_model(
        "deit_tiny_patch16_224", img_size=768, depth=2, global_pool=pool, num_classes=3
    )
    model = vx.load_model(module)
    tokens = model.card.tokens
    assert tokens == 2305
    names = ("attention", "rollout", "gradient_rollout", "generic_attention", "grad_cam",
             "attention_grad_cam")  # fmt: skip
    with Largest() as largest:
        vx.explain(model, cat, names, options={"rollout": {"fusion": "max", "discard": 0.5}})
        vx.explain(model, cat, "rollout")
    assert 4e6 < largest.size < 3 * tokens * tokens * 4 / 2
    with Largest() as largest:
        trace(model, cat).attention(0)
    assert largest.size == 3 * tokens * tokens * 4


@pytest.mark.skipif(not torch.cuda.is_available(), reason="this machine has no CUDA device")
def test_cuda_agrees_with_cpu(cat: Path) -> None:
    module = timm.create_model("vit_tiny_patch16_224", depth=2, img_size=32)
    on_cpu = trace(vx.load_model(module), cat, gradients="all")
    on_gpu = trace(vx.load_model(module.cuda()), cat, gradients="all")
    torch.testing.assert_close(on_cpu.attention(0), on_gpu.attention(0).cpu(), atol=1e-4, rtol=1e-3)


def test_what_a_pass_held_is_free_as_soon_as_nobody_holds_it() -> None:
    """Numbers in a cycle stay until the collector comes, which over many tokens is too late."""
    module = timm.create_model("vit_tiny_patch16_224", img_size=64, num_classes=3, depth=2).eval()
    gc.collect()
    gc.disable()
    gc.set_debug(gc.DEBUG_SAVEALL)
    try:
        model = vx.load_model(module, image_size=64)
        result = vx.explain(model, "assets/cat.png", ("rollout", "grad_cam", "legrad"))
        del result
        gc.collect()
        left = [tuple(one.shape) for one in gc.garbage if isinstance(one, torch.Tensor)]
    finally:
        gc.set_debug(0)
        gc.garbage.clear()
        gc.enable()
    assert left == []
