"""What every patch holds: its own lens, components as colours, and its like in another picture."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from sklearn.decomposition import PCA

import vit_explorer as vx
from tests import stage_models
from tests.conftest import load_small
from tests.odd_vits import OddViT
from tests.test_odd_habits import load
from tests.test_views import READABLE
from vit_explorer.errors import OptionError, TargetError, UnsupportedModelError
from vit_explorer.models.readout import embedded
from vit_explorer.models.vit import VisionTransformer, ViTConfig


@pytest.fixture(scope="module")
def pair(small: vx.LoadedModel, cat: Path, coffee: Path) -> tuple[vx.Trace, vx.Trace]:
    return vx.trace(small, cat), vx.trace(small, coffee)


def test_a_patch_is_read_by_the_model_s_own_head(pair: tuple[vx.Trace, vx.Trace]) -> None:
    traced = pair[0]
    module, card = traced.model.module, traced.card
    lens = vx.patch_lens(traced)
    assert lens.classes is not None and lens.probabilities is not None
    depths = (embedded(traced.model, traced.prepared.pixels)[0], *traced.blocks)
    with torch.no_grad():
        said = torch.stack([module.head(module.norm(tokens)).softmax(-1) for tokens in depths])
    patches = said[:, card.prefix_tokens :].unflatten(1, card.grid).numpy()  # (L+1, gh, gw, C)
    np.testing.assert_array_equal(lens.classes, patches.argmax(-1))
    np.testing.assert_allclose(lens.probabilities, patches.max(-1), rtol=1e-5)
    np.testing.assert_allclose(lens.target_map, patches[..., traced.target], rtol=1e-4, atol=1e-7)
    assert lens.target == vx.explain(traced.model, traced.prepared, ()).predictions[0]
    against = vx.patch_lens(vx.trace(traced.model, traced.prepared, target=f"not {traced.target}"))
    np.testing.assert_allclose(against.target_map, 1 - lens.target_map, atol=1e-6)


@pytest.mark.parametrize("kind", ["gap", "two heads", "attention", "registers"])
def test_whatever_the_head_reads_it_reads_the_patch(kind: str, cat: Path) -> None:
    traced = vx.trace(READABLE[kind](), cat)
    module, card = traced.model.module, traced.card
    token = traced.blocks[-1][card.prefix_tokens + 5]
    alone = token.expand(1, card.tokens, -1)
    with torch.no_grad():
        logits = module.forward_head(module.norm(alone))[0]
    found = vx.patch_lens(traced)
    assert found.classes is not None and found.probabilities is not None
    row, column = divmod(5, card.grid[1])
    assert found.classes[-1, row, column] == int(logits.argmax())
    assert found.probabilities[-1, row, column] == pytest.approx(
        float(logits.softmax(-1).max()), rel=1e-4
    )


def test_pooled_patches_average_to_the_model_s_logits(cat: Path) -> None:
    """Where the norm comes before the mean, the head is linear in what single patches say."""
    config = ViTConfig(
        image_size=(16, 24), patch_size=(8, 8), dim=16, depth=2, heads=2, classes=4, pooling="mean"
    )
    torch.manual_seed(0)
    module = VisionTransformer(config)
    for parameter in module.parameters():
        torch.nn.init.normal_(parameter, std=0.3)
    traced = vx.trace(load_small(module), cat, target=2)
    with torch.no_grad():
        said = module.head(module.norm(traced.blocks[-1]))[traced.card.prefix_tokens :]
    torch.testing.assert_close(said.mean(0), traced.logits, rtol=1e-4, atol=1e-5)
    lens = vx.patch_lens(traced)
    np.testing.assert_allclose(lens.target_map[-1].ravel(), said.softmax(-1)[:, 2], rtol=1e-4)


@pytest.mark.parametrize("order", ["columns+c", "c+backwards"])
def test_any_order_of_tokens_gives_the_same_maps(order: str, cat: Path, coffee: Path) -> None:
    def maps(model: vx.LoadedModel) -> list[np.ndarray]:
        one, other = vx.trace(model, cat, target=1), vx.trace(model, coffee)
        across = [
            vx.patch_matches(one, other, by=by, layer=1).similarity
            for by in ("features", "query_key")
        ]
        colours = vx.feature_components([one, other], layer=1).scores
        return [vx.patch_lens(one).target_map, *across, *colours]

    for own, plain in zip(maps(load(OddViT(order))), maps(load(OddViT())), strict=True):
        np.testing.assert_allclose(own, plain, atol=1e-4)


def test_outputs_are_read_as_what_they_are(cat: Path) -> None:
    values = load(OddViT(classes=1))
    lens = vx.patch_lens(vx.trace(values, cat))
    assert lens.classes is None and lens.probabilities is None
    module, tokens = values.module, vx.trace(values, cat).blocks[-1]
    with torch.no_grad():
        own = module.head(module.end(tokens))[1:, 0]
    np.testing.assert_allclose(lens.target_map[-1].ravel(), own, rtol=1e-4, atol=1e-6)
    labels = vx.load_model(
        OddViT(), transform=values.preprocess.transform, image_size=32, outputs="labels"
    )
    lens = vx.patch_lens(vx.trace(labels, cat, target=3))
    with torch.no_grad():
        own = labels.module.head(labels.module.end(vx.trace(labels, cat).blocks[-1]))
    np.testing.assert_allclose(lens.target_map[-1].ravel(), own[1:, 3].sigmoid(), rtol=1e-4)
    embedding = vx.load_model(
        OddViT(), transform=values.preprocess.transform, image_size=32, outputs="embedding"
    )
    with pytest.raises(TargetError, match="embedding"):
        vx.patch_lens(vx.trace(embedding, cat))


def test_components_are_scikit_learn_s(pair: tuple[vx.Trace, vx.Trace]) -> None:
    first, second = pair
    prefix = first.card.prefix_tokens
    for traces in ((first,), (first, second)):
        rows = np.concatenate([one.blocks[1][prefix:].numpy() for one in traces])
        known = PCA(3, svd_solver="full").fit(rows.astype(np.float64))
        found = vx.feature_components(traces, layer=1)
        scores = np.concatenate([one.reshape(-1, 3) for one in found.scores])
        np.testing.assert_allclose(scores, known.transform(rows), rtol=1e-4, atol=1e-4)
        np.testing.assert_allclose(found.explained, known.explained_variance_ratio_, rtol=1e-5)
        colours = np.concatenate([one.reshape(-1, 3) for one in found.colours])
        low, high = scores.min(0), scores.max(0)
        np.testing.assert_allclose(colours, (scores - low) / (high - low), atol=1e-5)
    assert found.colours[0].shape == (*first.card.grid, 3)
    with pytest.raises(OptionError, match="No traces"):
        vx.feature_components([])


def test_matches_are_cosines_and_attention_across(pair: tuple[vx.Trace, vx.Trace]) -> None:
    first, second = pair
    rows, columns = first.card.grid
    prefix, n = first.card.prefix_tokens, rows * columns
    found = vx.patch_matches(first, second, layer=-1)
    one, other = first.blocks[-1][prefix:], second.blocks[-1][prefix:]
    expected = F.cosine_similarity(one[:, None], other[None], dim=-1).numpy()
    np.testing.assert_allclose(found.similarity.reshape(n, n), expected, atol=1e-5)
    best = expected.argmax(1)
    flat = found.nearest.reshape(-1, 2)
    assert [row * columns + column for row, column in flat.tolist()] == best.tolist()
    back = expected.argmax(0)
    assert found.mutual.ravel().tolist() == [back[best[at]] == at for at in range(n)]

    layer, keys = first.layers[1], second.layers[1].key
    assert layer.query is not None and keys is not None
    scores = layer.query @ keys.transpose(-2, -1) * layer.query.shape[-1] ** -0.5
    attention = scores.softmax(-1)[:, prefix:, prefix:]
    for head, own in ((None, attention.mean(0)), (1, attention[1])):
        across = vx.patch_matches(first, second, by="query_key", layer=1, head=head)
        np.testing.assert_allclose(across.similarity.reshape(n, n), own, rtol=1e-5)
    itself = vx.patch_matches(first, first, by="query_key", layer=2).similarity
    own = first.attention(2).mean(0)[prefix:, prefix:]
    np.testing.assert_allclose(itself.reshape(n, n), own, rtol=1e-5)


def test_models_without_tokens_of_patches_are_refused_by_that(cat: Path) -> None:
    traced = vx.trace(stage_models.load("resnet18"), cat)
    for ask in (vx.patch_lens, vx.feature_components, lambda one: vx.patch_matches(one, one)):
        with pytest.raises(UnsupportedModelError, match="The tokens of patches"):
            ask(traced)


def test_what_can_t_be_compared_is_told(pair: tuple[vx.Trace, vx.Trace], cat: Path) -> None:
    other = vx.trace(load(OddViT()), cat)
    with pytest.raises(OptionError, match="expected one model at one size"):
        vx.patch_matches(pair[0], other)
    with pytest.raises(OptionError, match="expected one model at one size"):
        vx.feature_components([pair[0], other])
    with pytest.raises(OptionError, match="way of comparing"):
        vx.patch_matches(*pair, by="colour")  # type: ignore[arg-type]
    written = vx.trace(load(OddViT(way="written")), cat)
    with pytest.raises(UnsupportedModelError, match="compare attention or features"):
        vx.patch_matches(written, written, by="query_key")


def test_views_save_what_patches_hold(small: vx.LoadedModel, cat: Path, tmp_path: Path) -> None:
    folder, _ = vx.save_views(small, cat, tmp_path, ("patch_lens", "components"))
    traced = vx.trace(small, cat)
    lens = vx.patch_lens(traced)
    with np.load(folder / "patch_lens.npz") as file:
        np.testing.assert_allclose(file["target"], lens.target_map, rtol=1e-5)
        np.testing.assert_array_equal(file["classes"], lens.classes)
        np.testing.assert_allclose(file["probabilities"], lens.probabilities, rtol=1e-5)
    with np.load(folder / "components.npz") as file:
        for layer in range(small.card.depth):
            found = vx.feature_components(traced, layer=layer)
            np.testing.assert_allclose(file["scores"][layer], found.scores[0], rtol=1e-4, atol=1e-5)
