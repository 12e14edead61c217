"""Tokens taken out of the sequence: what the model then says, of which models, and at what cost."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import timm
import torch

import vit_explorer as vx
from vit_explorer.analysis.changed_copies import RemovedTokens
from vit_explorer.analysis.faithfulness import Faithfulness, Protocol, Score, protocols_of
from vit_explorer.errors import UnsupportedModelError
from vit_explorer.models.targets import Aim

SMALL = {"depth": 2, "embed_dim": 48, "num_heads": 3, "num_classes": 6}
# Name, arguments, and whether fewer tokens run: positions that a block makes need all of them.
MODELS = {
    "class token": ("vit_tiny_patch16_224", {"img_size": 80}, True),
    "mean of patches": ("vit_tiny_patch16_224", {"img_size": 64, "global_pool": "avg"}, True),
    "distilled": ("deit_tiny_distilled_patch16_224", {"img_size": 64}, True),
    "registers": ("vit_small_patch14_reg4_dinov2", {"img_size": 56}, True),
    "relative positions": ("beit_base_patch16_224", {"img_size": 64}, False),
    "rotary positions": ("eva02_tiny_patch14_224", {"img_size": 56}, False),
}


@pytest.fixture(params=MODELS)
def named(request: pytest.FixtureRequest) -> tuple[vx.LoadedModel, bool]:
    name, options, shorter = MODELS[request.param]
    torch.manual_seed(0)
    module = timm.create_model(name, pretrained=False, **SMALL, **options)
    for parameter in module.parameters():
        torch.nn.init.normal_(parameter, std=0.2)
    return vx.load_model(module, image_size=options["img_size"]), shorter


def test_what_is_taken_out_is_as_if_it_were_dropped(
    named: tuple[vx.LoadedModel, bool], cat: Path
) -> None:
    model, shorter = named
    gh, gw = model.card.grid
    grid = np.random.default_rng(3).random((gh, gw)).astype(np.float32)
    order = np.argsort(-grid.ravel())
    found = vx.faithfulness(
        model, cat, {"map": grid}, target=2, steps=4, random_maps=1, protocol="tokens", exact=True
    )
    score, count = found.scores["map"], gh * gw
    for step in (1, 2, 3):
        best = order[: round(step * count / 4)].tolist()
        rest = order[len(best) :].tolist()
        for off, curve in ((rest, score.insertion_curve), (best, score.deletion_curve)):
            left = vx.intervene(model, cat, patches_off=off, how="drop", target=2)
            assert curve[step] == pytest.approx(float(left.measured_after[2]), abs=2e-5)
    plain = vx.explain(model, cat, methods=(), target=2).target
    assert plain is not None and plain.probability is not None
    assert score.insertion_curve[-1] == pytest.approx(plain.probability, abs=2e-5)
    assert score.deletion_curve[0] == pytest.approx(plain.probability, abs=2e-5)
    way = RemovedTokens(model, model.prepare(cat), Aim.at(2))
    assert way.shorter is shorter


def test_a_model_that_reads_patches_keeps_one(cat: Path) -> None:
    module = timm.create_model("vit_tiny_patch16_224", img_size=64, global_pool="avg", **SMALL)
    model = vx.load_model(module, image_size=64)
    grid = np.arange(16, dtype=np.float32).reshape(4, 4)
    found = vx.faithfulness(
        model, cat, {"map": grid}, target=1, random_maps=1, protocol="tokens", exact=True
    ).scores["map"]
    others = {15: found.insertion_curve[0], 0: found.deletion_curve[-1]}
    for kept, value in others.items():
        off = [cell for cell in range(16) if cell != kept]
        left = vx.intervene(model, cat, patches_off=off, how="drop", target=1)
        assert value == pytest.approx(float(left.measured_after[1]), abs=1e-5)


def test_a_random_map_from_behind_has_the_opposite_gain(small: vx.LoadedModel, cat: Path) -> None:
    found = vx.faithfulness(
        small, cat, {"map": np.eye(3, 4)}, target=1, random_maps=6, protocol="tokens", exact=True
    )
    for one, behind in zip(found.random[::2], found.random[1::2], strict=True):
        assert one.gain == pytest.approx(-behind.gain, abs=1e-6)
    # Of each pair one is measured: the map, the Gaussian, three of six, and both ends.
    assert found.copies == found.possible <= 5 * 2 * 11 + 2


def test_half_the_tokens_are_run(cat: Path) -> None:
    module = timm.create_model("vit_tiny_patch16_224", img_size=80, **SMALL)
    model = vx.load_model(module, image_size=80)
    run: list[int] = []
    hook = model.module.blocks[0].register_forward_hook(
        lambda _, __, made: run.append(made.shape[0] * made.shape[1])
    )
    maps = {"map": np.random.default_rng(0).random((5, 5))}
    seen = {}
    try:
        vx.faithfulness(model, cat, maps, target=0, protocol="tokens", exact=True)
        for protocol in ("pixels", "tokens"):
            run.clear()
            seen[protocol] = vx.faithfulness(
                model, cat, maps, target=0, protocol=protocol, exact=True
            )
            share = sum(run) / (seen[protocol].copies * model.card.tokens)
            assert share == pytest.approx({"pixels": 1.0, "tokens": 0.5}[protocol], abs=0.05)
    finally:
        hook.remove()
    assert seen["tokens"].copies < 0.6 * seen["pixels"].copies


def test_where_tokens_cannot_go_a_sentence_says_so(cat: Path) -> None:
    module = timm.create_model("resnet18", num_classes=5)
    model = vx.load_model(module, image_size=64)
    maps = {"map": np.zeros(model.card.grid)}
    assert protocols_of(model) == ("pixels",)
    with pytest.raises(UnsupportedModelError, match="Tokens can't be taken out of resnet18"):
        vx.faithfulness(model, cat, maps, target=0, protocol="tokens")
    with pytest.raises(vx.ExplorerError, match="protocol was 'patches', expected pixels or tokens"):
        vx.faithfulness(model, cat, maps, target=0, protocol="patches")


def trust(
    gains: dict[str, float], chance: list[float], ends: tuple[float, float], protocol: Protocol
) -> Faithfulness:
    """A comparison whose maps have these gains, by curves that are straight lines."""

    def score(gain: float) -> Score:
        line = np.linspace(ends[0], ends[1], 3, dtype=np.float32)
        return Score(gain + 0.4, 0.4, line, line[::-1])

    scores = {name: score(gain) for name, gain in gains.items()}
    return Faithfulness(0, "a", scores, score(0), tuple(map(score, chance)), protocol=protocol)


@pytest.mark.parametrize(
    ("pixels", "tokens", "blurred", "words"),
    [
        (0.055, 0.5, 0.1, "near the border"),
        (-1.0, 0.5, 0.1, "the outline"),
        (-1.0, 0.5, 0.5, "blurred as a whole the picture still gives 0.5 of 0.8"),
        (0.5, -1.0, 0.5, "the outline"),
    ],
)
def test_a_disagreement_has_its_likely_reason(
    pixels: float, tokens: float, blurred: float, words: str
) -> None:
    chance = [at / 100 - 0.1 for at in range(20)]
    if "border" in words:
        pixels = chance[17] + 0.005
    by_pixels = trust({"a": pixels, "b": 0.5}, chance, (blurred, 0.8), "pixels")
    by_tokens = trust({"a": tokens, "b": 0.5}, chance, (0.0, 0.8), "tokens")
    found = vx.disagreements(by_pixels, by_tokens)
    assert set(found) == {"a"}
    assert words in found["a"]
    better = "pixels says that it beats only" if pixels < tokens else "out that it beats only"
    assert better in found["a"]


def test_protocols_that_agree_say_nothing(small: vx.LoadedModel, cat: Path) -> None:
    chance = [at / 100 for at in range(20)]
    one = trust({"a": 1.0, "b": -1.0}, chance, (0.1, 0.8), "pixels")
    assert vx.disagreements(one, trust({"a": 2.0, "b": -2.0}, chance, (0, 1), "tokens")) == {}
