"""Queries and keys in one space: attention is unchanged, and what is said of distances is true."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest
import torch
from sklearn.decomposition import PCA
from sklearn.manifold import trustworthiness

import vit_explorer as vx
from tests.conftest import load_small
from vit_explorer.analysis import query_key_space
from vit_explorer.models.vit import VisionTransformer, ViTConfig

PICTURES, LAYER, HEAD = 6, 1, 1


def traces(model: vx.LoadedModel) -> Iterator[vx.Trace]:
    draw = np.random.default_rng(0)
    size = (24, 32, 3)
    pictures = [draw.integers(0, 256, size, dtype=np.uint8) for _ in range(PICTURES)]
    return (one.trace for one in vx.explain_many(model, pictures, ()))


@pytest.fixture(scope="module")
def space(small: vx.LoadedModel) -> vx.QueryKeySpace:
    return vx.query_key_space(traces(small), layer=LAYER, head=HEAD)


def test_attention_can_be_made_of_the_space(small: vx.LoadedModel, space: vx.QueryKeySpace) -> None:
    """Moved keys and the factor leave a softmax over keys as it was."""
    assert (space.layer, space.head, space.biased) == (LAYER, HEAD, False)
    for one, query, key in zip(traces(small), space.queries, space.keys, strict=True):
        scores = torch.from_numpy(query @ key.T) * one.layers[LAYER].scale
        np.testing.assert_allclose(scores.softmax(-1), one.attention(LAYER)[HEAD], atol=2e-5)
    np.testing.assert_allclose(space.keys.mean(axis=(0, 1)), 0, atol=1e-5)


def closeness(scores: np.ndarray, queries: np.ndarray, keys: np.ndarray) -> float:
    found = []
    for score, query, key in zip(scores, queries, keys, strict=True):
        distance = ((query[:, None] - key[None]) ** 2).sum(axis=-1)
        found += [np.corrcoef(*rows)[0, 1] for rows in zip(score, -distance, strict=True)]
    return float(np.mean(found))


def test_its_agreement_is_that_of_scores_and_distances(
    small: vx.LoadedModel, space: vx.QueryKeySpace
) -> None:
    own = [one.layers[LAYER] for one in traces(small)]
    query, key = (
        np.stack([getattr(one, name)[HEAD].numpy().astype(float) for one in own])
        for name in ("query", "key")
    )
    scores = query @ key.transpose(0, 2, 1)
    assert space.agreement == pytest.approx(closeness(scores, space.queries, space.keys), abs=1e-4)
    drawn = closeness(scores, space.query_points, space.key_points)
    assert space.drawn_agreement == pytest.approx(drawn, abs=1e-4)
    spreads = [np.std(x - x.mean(axis=(0, 1))) for x in (space.queries, space.keys)]
    assert spreads[0] == pytest.approx(spreads[1], rel=1e-4)


def test_axes_are_principal_components(space: vx.QueryKeySpace) -> None:
    rows = np.concatenate([space.queries, space.keys]).reshape(-1, space.queries.shape[-1])
    other = PCA(2).fit(rows)
    points = np.concatenate([space.query_points, space.key_points]).reshape(-1, 2)
    assert space.explained == pytest.approx(tuple(other.explained_variance_ratio_), abs=1e-5)
    np.testing.assert_allclose(abs(points), abs(other.transform(rows)), atol=1e-4)


def test_tsne_keeps_neighbours(small: vx.LoadedModel, space: vx.QueryKeySpace) -> None:
    drawn = vx.query_key_space(traces(small), layer=LAYER, head=HEAD, layout="tsne")
    assert drawn.explained is None and drawn.agreement == space.agreement
    rows = np.concatenate([space.queries, space.keys]).reshape(-1, space.queries.shape[-1])
    points = [
        np.concatenate([one.query_points, one.key_points]).reshape(-1, 2) for one in (drawn, space)
    ]
    kept, linear = (trustworthiness(rows, found) for found in points)
    assert kept > 0.85 and kept > linear + 0.02


def test_a_head_that_looks_for_its_like_is_seen_as_one() -> None:
    """Queries equal to keys: a score is largest for what is nearest."""
    torch.manual_seed(0)
    module = VisionTransformer(
        ViTConfig(image_size=(24, 32), patch_size=(8, 8), dim=32, depth=2, heads=2, classes=5)
    )
    with torch.no_grad():
        for block in module.blocks:
            block.attn.qkv.weight.normal_(std=0.3)
            block.attn.qkv.weight[32:64] = block.attn.qkv.weight[:32]
        torch.nn.init.zeros_(module.blocks[0].attn.qkv.bias)
    found = vx.query_key_space(traces(load_small(module)), layer=0, head=0)
    assert found.scale == pytest.approx(1) and found.agreement > 0.9
    apart = found.queries - found.keys  # the same everywhere
    np.testing.assert_allclose(apart, np.broadcast_to(apart[:1, :1], apart.shape), atol=1e-5)


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"layer": 3}, "layer was 3"),
        ({"head": 2}, "head was 2"),
        ({"layout": "map"}, "layout was 'map'"),
    ],
)
def test_what_is_not_there_is_refused(
    small: vx.LoadedModel, given: dict[str, object], said: str
) -> None:
    with pytest.raises(vx.ExplorerError, match=said):
        vx.query_key_space(traces(small), **given)  # type: ignore[arg-type]


def test_more_points_than_are_placed_are_refused(
    small: vx.LoadedModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(query_key_space.MOST_POINTS, "tsne", 2 * small.card.tokens * 3)
    done: list[int] = []
    with pytest.raises(vx.ExplorerError, match="choose fewer pictures"):
        vx.query_key_space(traces(small), layout="tsne", progress=done.append)
    assert done == [1, 2, 3]
    with pytest.raises(vx.ExplorerError, match="No traces"):
        vx.query_key_space(())
