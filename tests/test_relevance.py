"""What a model looks at in many pictures: a planted watermark is found, and numbers are right."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from sklearn.metrics import adjusted_rand_score

import vit_explorer as vx
from tests.conftest import load_small
from vit_explorer.models.vit import VisionTransformer, ViTConfig

SIDE, PATCH = 32, 4
MARK = (slice(1, 7), slice(1, 7))  # rows and columns, in the top left corner
RED, BLUE = (200, 40, 40), (40, 40, 200)


def drawn(count: int, seed: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Pictures (n, H, W, 3) of noise with a blob, their classes, and which of them are marked.

    Class 1 is a red blob anywhere. Class 0 is a blue one or, in half of its pictures, a red one
    too: those carry a white mark in a corner, by which alone they can be told.
    """
    draw = np.random.default_rng(seed)
    pixels = draw.integers(60, 120, (count, SIDE, SIDE, 3), dtype=np.uint8)
    labels = draw.integers(0, 2, count)
    marked = (labels == 0) & (draw.random(count) < 0.5)
    for one, label, mark in zip(pixels, labels, marked, strict=True):
        top, left = draw.integers(8, SIDE - 10, 2)
        one[top : top + 10, left : left + 10] = BLUE if label == 0 and not mark else RED
        if mark:
            one[MARK] = 255
    return pixels, labels, marked


@pytest.fixture(scope="module")
def marked_model() -> vx.LoadedModel:
    """A small ViT that learned the mark in a few seconds."""
    torch.manual_seed(0)
    module = VisionTransformer(
        ViTConfig(
            image_size=(SIDE, SIDE), patch_size=(PATCH, PATCH), dim=32, depth=2, heads=2, classes=2
        )
    )
    pixels, labels, _ = drawn(512, 1)
    inputs = torch.from_numpy(pixels).permute(0, 3, 1, 2) / 127.5 - 1
    targets = torch.from_numpy(labels)
    optimizer = torch.optim.AdamW(module.parameters(), lr=3e-3)
    for step in range(100):
        some = torch.arange(32) + 32 * (step % 16)
        loss = torch.nn.functional.cross_entropy(module(inputs[some]), targets[some])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return load_small(module.eval())


def test_a_planted_watermark_is_found_by_the_corner_and_by_a_cluster(
    marked_model: vx.LoadedModel,
) -> None:
    pixels, labels, marked = drawn(200, 2)
    pictures = list(map(Image.fromarray, pixels))
    found = vx.relevance_maps(marked_model, pictures)
    assert found.values.shape == (200, 8, 8)
    of_class = labels == 0
    inside = vx.border_relevance(found.values[of_class]).corner_ratios
    other = vx.border_relevance(found.values[~of_class]).corner_ratios
    assert inside[0] > 3 > 1.5 * max(*inside[1:], *other)
    clusters = vx.cluster_maps(found.values[of_class])
    assert adjusted_rand_score(marked[of_class], clusters.labels) > 0.9
    in_corner = [vx.border_relevance(mean[None]).corner_ratios[0] for mean in clusters.means]
    suspect = clusters.labels == int(np.argmax(in_corner))
    assert marked[of_class][suspect].mean() > 0.95 and max(in_corner) > 6


def test_shares_of_border_and_corners_are_those_counted_by_hand() -> None:
    draw = np.random.default_rng(0)
    maps = draw.normal(0.2, 1, (5, 8, 16)).astype(np.float32)
    maps[3] = -1  # speaks for no place
    found = vx.border_relevance(maps)
    assert (found.width, found.side) == (1, 2)
    assert found.even_border == pytest.approx(44 / 128) and found.even_corner == 4 / 128
    assert found.border[3] == pytest.approx(44 / 128)
    for one, border, corners in zip(maps[:3], found.border, found.corners, strict=False):
        cells = {(row, column): max(0.0, float(one[row, column])) for row in range(8)
                 for column in range(16)}  # fmt: skip
        whole = sum(cells.values())
        ring = sum(v for (r, c), v in cells.items() if r in (0, 7) or c in (0, 15))
        assert border == pytest.approx(ring / whole)
        for place, (rows, columns) in enumerate(
            [((0, 1), (0, 1)), ((0, 1), (14, 15)), ((6, 7), (0, 1)), ((6, 7), (14, 15))]
        ):
            corner = sum(v for (r, c), v in cells.items() if r in rows and c in columns)
            assert corners[place] == pytest.approx(corner / whole)
    even = vx.border_relevance(np.ones((2, 14, 14), np.float32))
    assert even.border_ratio == pytest.approx(1) and even.corner_ratios == pytest.approx((1,) * 4)


def test_clusters_are_the_groups_that_maps_were_drawn_from() -> None:
    draw = np.random.default_rng(1)
    truth = np.repeat([2, 0, 1], (15, 60, 30))
    maps = draw.random((105, 14, 14)).astype(np.float32) * 0.2
    for one, group in zip(maps, truth, strict=True):
        one[4 * group : 4 * group + 4, 3:9] += 1
    found = vx.cluster_maps(maps)
    assert found.sizes == (60, 30, 15)
    assert (found.labels == truth).all()
    assert found.silhouette > 0.5 and (np.diff(found.eigenvalues) >= 0).all()
    shares = maps[:15] / maps[:15].sum(axis=(1, 2), keepdims=True)
    np.testing.assert_allclose(found.means[2], shares.mean(axis=0), atol=1e-6)
    assert len(vx.cluster_maps(maps, 5).sizes) == 5
    noise = vx.cluster_maps(draw.random((60, 8, 8)).astype(np.float32))
    assert noise.silhouette < 0.2


@pytest.mark.parametrize(
    ("maps", "clusters", "said"),
    [
        (np.ones((9, 4, 4)), None, "9 maps were given, expected 10 to 2000"),
        (np.ones((20, 4, 4)), 1, "number of clusters was 1"),
        (np.ones((20, 4)), None, r"shape \(20, 4\)"),
        (np.full((20, 4, 4), np.nan), None, "finite"),
        ([], None, "expected"),
    ],
)
def test_maps_that_cannot_be_clustered_are_refused(
    maps: np.ndarray, clusters: int | None, said: str
) -> None:
    with pytest.raises(vx.ExplorerError, match=said):
        vx.cluster_maps(maps, clusters)


def test_a_grid_that_is_all_border_is_refused() -> None:
    with pytest.raises(vx.ExplorerError, match="2×4 patches"):
        vx.border_relevance(np.ones((1, 2, 4)))


def test_maps_and_embeddings_are_those_of_single_pictures(
    small: vx.LoadedModel, cat: Path, coffee: Path
) -> None:
    kept: list[torch.Tensor] = []
    hook = small.module.blocks[-1].register_forward_hook(lambda *got: kept.append(got[2]))
    done: list[int] = []
    found = vx.relevance_maps(small, [cat, coffee], [1, 2], method="grad_cam", progress=done.append)
    hook.remove()
    assert done == [1, 2] and found.method == "grad_cam"
    single = vx.explain(small, coffee, "grad_cam", target=2).heatmaps["grad_cam"].values
    np.testing.assert_allclose(found.values[1], single, atol=1e-5)
    np.testing.assert_allclose(found.embeddings, kept[0][:, 0].detach(), atol=1e-5)
    np.testing.assert_allclose(
        vx.token_embeddings(small, [cat, coffee]), found.embeddings, atol=1e-5
    )
    assert vx.relevance_maps(small, [cat]).method in vx.METHODS
    with pytest.raises(vx.ExplorerError, match="No pictures"):
        vx.relevance_maps(small, [])
