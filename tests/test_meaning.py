"""What a model's numbers are, as measured at load."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import timm
import torch
from torch import nn

import vit_explorer as vx
from tests.endings import ENDINGS, SIZE, TRANSFORM, WIDTH, EndingViT, Lambda, head, load, weight
from vit_explorer.errors import ModelError, OptionError, TargetError
from vit_explorer.models.structure.meaning import find_meaning


@pytest.mark.parametrize("name", ENDINGS)
def test_an_ending_is_measured(name: str) -> None:
    make, outputs, count = ENDINGS[name]
    card = load(make()).card
    assert (card.outputs, card.classes) == (outputs, count), card.outputs_found


@pytest.mark.parametrize("name", [n for n, (_, kind, _) in ENDINGS.items() if kind != "embedding"])
@pytest.mark.parametrize("shrunk", [0.0, 1e-3])
def test_small_numbers_change_nothing(name: str, shrunk: float) -> None:
    """Logits near 0 may all lie within 0 and 1, in a model that was never trained."""
    ending = ENDINGS[name][0]()
    for part in ending.modules():
        if isinstance(part, nn.Linear):
            part.weight.data *= shrunk
            if part.bias is not None:
                part.bias.data.fill_(0.3)
    card = load(ending).card
    assert (card.outputs, card.classes) == ENDINGS[name][1:], card.outputs_found


def test_the_card_says_whether_probabilities_sum_to_1() -> None:
    assert load(nn.Sequential(head(5), nn.Softmax(-1))).card.sums_to_one is True
    assert load(nn.Sequential(head(5), nn.Sigmoid())).card.sums_to_one is False
    assert load(ENDINGS["softmax written out"][0]()).card.sums_to_one is True
    assert load(head(5), outputs="labels").card.sums_to_one is False
    assert load(head(1)).card.sums_to_one is None


def test_what_is_given_comes_first() -> None:
    for outputs in ("classes", "labels", "value"):
        card = load(head(5), outputs=outputs).card
        assert (card.outputs, card.outputs_found, card.classes) == (outputs, "given", 5)
    assert load(head(5), outputs="embedding").card.classes == 0
    assert load(nn.Identity(), outputs="classes").card.classes == WIDTH
    with pytest.raises(OptionError, match="did you mean 'labels'"):
        load(head(5), outputs="label")


def test_labels_tell_a_classifier_without_a_bias() -> None:
    made = lambda: Lambda(lambda m, x: x @ m.proj, proj=weight(3))  # noqa: E731
    assert load(made(), labels=["ant", "bee", "cat"]).card.outputs == "classes"
    assert load(head(1), labels=["cat"]).card.outputs == "labels"


def test_tokens_can_be_given_as_nothing_else() -> None:
    module = timm.create_model(
        "vit_tiny_patch16_224", img_size=32, depth=2, num_classes=0, global_pool=""
    )
    assert vx.load_model(module, image_size=32).card.outputs == "embedding"
    with pytest.raises(OptionError, match="expected one row of numbers"):
        vx.load_model(module, image_size=32, outputs="classes")


def vit(**options: Any) -> vx.LoadedModel:
    module = timm.create_model("vit_tiny_patch16_224", img_size=32, depth=2, **options)
    return vx.load_model(module, image_size=32)


def test_timm(cat: Path) -> None:
    assert vit().card.outputs == "classes"
    assert vit(num_classes=192).card.classes == 192  # as wide as a token
    assert vit(num_classes=0).card.outputs == "embedding"
    assert vit(num_classes=1).card.outputs == "value"
    siglip = timm.create_model("vit_base_patch16_siglip_224", img_size=32, embed_dim=48, depth=2)
    assert vx.load_model(siglip, image_size=32).card.outputs == "embedding"


def test_a_probe_on_a_backbone_is_no_embedding() -> None:
    """As many classes as the backbone is wide, and the backbone says it has none."""
    backbone = timm.create_model("vit_tiny_patch16_224", img_size=32, depth=2, num_classes=0)
    model = vx.load_model(nn.Sequential(backbone, nn.Linear(192, 192)), image_size=32)
    assert (model.card.outputs, model.card.classes) == ("classes", 192)


def test_the_projection_of_timms_clip_is_an_embedding() -> None:
    """timm counts a CLIP's width as its classes, and keeps the projection as a head."""
    made = timm.create_model("vit_base_patch16_clip_224.openai", img_size=32, embed_dim=48, depth=2)
    assert made.num_classes == 512
    assert vx.load_model(made, image_size=32).card.outputs == "embedding"
    made.head.bias.data[3] = 0.1  # a classifier's
    assert vx.load_model(made, image_size=32).card.outputs == "classes"
    tuned = timm.create_model(
        "vit_base_patch16_clip_224.openai", img_size=32, embed_dim=48, depth=2, num_classes=9
    )
    assert vx.load_model(tuned, image_size=32).card.outputs == "classes"


SMALL = {
    "hidden_size": 48,
    "num_hidden_layers": 2,
    "num_attention_heads": 3,
    "intermediate_size": 96,
    "image_size": 32,
    "patch_size": 8,
}


def transformers_module(kind: str, **options: Any) -> nn.Module:
    transformers = pytest.importorskip("transformers")
    config = getattr(transformers, f"{kind.partition('For')[0].partition('Model')[0]}Config")
    if kind.startswith(("CLIP", "Siglip")):
        part = kind.partition("Vision")[0]
        config = getattr(transformers, f"{part}VisionConfig")
    module: nn.Module = getattr(transformers, kind)(config(**SMALL, **options)).eval()
    return module


@pytest.mark.parametrize(
    ("kind", "options", "outputs", "count"),
    [
        ("ViTForImageClassification", {"num_labels": 4}, "classes", 4),
        ("ViTForImageClassification", {"num_labels": 48}, "classes", 48),
        (
            "ViTForImageClassification",
            {"num_labels": 4, "problem_type": "multi_label_classification"},
            "labels",
            4,
        ),
        (
            "ViTForImageClassification",
            {"num_labels": 4, "problem_type": "single_label_classification"},
            "classes",
            4,
        ),
        ("ViTForImageClassification", {"num_labels": 2, "problem_type": "regression"}, "value", 2),
        ("ViTForImageClassification", {"num_labels": 1}, "value", 1),
        ("Dinov2ForImageClassification", {"num_labels": 4}, "classes", 4),
        ("ViTModel", {}, "embedding", 0),
        ("CLIPVisionModelWithProjection", {"projection_dim": 16}, "embedding", 0),
        ("SiglipVisionModel", {}, "embedding", 0),
    ],
)
def test_transformers(kind: str, options: dict[str, Any], outputs: str, count: int) -> None:
    module = transformers_module(kind, **options)
    card = vx.load_model(module, transform=TRANSFORM, image_size=32).card
    assert (card.outputs, card.classes) == (outputs, count), card.outputs_found


def measured(module: nn.Module, blocks: Any, size: int, width: int) -> tuple[str, int]:
    found = find_meaning(module.eval(), blocks, (size, size), width=width)
    return found.outputs, found.count


def test_torchvision() -> None:
    vision = pytest.importorskip("torchvision.models.vision_transformer")
    for classes in (6, 32):  # also as many as a token is wide
        vit = vision.VisionTransformer(32, 8, 2, 2, 32, 64, num_classes=classes)
        vit.heads.head.weight.data.normal_()  # its own are zeros
        assert measured(vit, vit.encoder.layers, 32, 32) == ("classes", classes)
    vit.heads = nn.Identity()
    assert measured(vit, vit.encoder.layers, 32, 32) == ("embedding", 0)


def test_networks_without_blocks() -> None:
    for name, width in (("resnet10t", 512), ("convnext_atto", 320)):
        made = timm.create_model(name, num_classes=5)
        assert measured(made, (), 64, width) == ("classes", 5)
        made = timm.create_model(name, num_classes=0)
        assert measured(made, (), 64, width) == ("embedding", 0)
    torchvision = pytest.importorskip("torchvision.models")
    resnet = torchvision.resnet18(num_classes=5)
    assert measured(resnet, (), 64, 512) == ("classes", 5)
    resnet.fc = nn.Identity()
    assert measured(resnet, (), 64, 512) == ("embedding", 0)


def test_a_file_names_a_single_output(tmp_path: Path) -> None:
    (tmp_path / "names.txt").write_text("cat\n")
    module = EndingViT(head(1)).eval()
    model = vx.load_model(
        module, transform=TRANSFORM, image_size=SIZE, labels=tmp_path / "names.txt"
    )
    assert (model.card.outputs, model.labels) == ("labels", ("cat",))


def test_an_embedding_refuses_what_needs_a_class(cat: Path) -> None:
    model = load(nn.Identity())
    sentence = "returns an embedding and has no classifier"
    result = vx.explain(model, cat, methods="all")
    assert result.predictions == ()
    assert result.target is None
    assert set(result.skipped) == {n for n, m in vx.METHODS.items() if m.class_specific}
    assert all(sentence in why for why in result.skipped.values())
    for ask in (
        lambda: vx.explain(model, cat, target=0),
        lambda: vx.explain(model, cat, methods=("grad_cam",)),
        lambda: vx.explain(model, cat, methods=("rise",)),
        lambda: vx.intervene(model, cat, heads_off=[(0, 0)]),
        lambda: vx.faithfulness(model, cat, result.heatmaps),
        lambda: vx.logit_lens(result.trace),
    ):
        with pytest.raises(TargetError, match=sentence):
            ask()
    with pytest.raises(TargetError, match="was loaded with outputs='embedding'"):
        vx.explain(load(head(5), outputs="embedding"), cat, target=0)


def test_labels_must_fit_what_is_measured() -> None:
    with pytest.raises(ModelError, match="which has 0 classes"):
        load(nn.Identity(), labels=["ant", "bee"])


def test_a_module_is_left_as_it_was() -> None:
    module = EndingViT(nn.Sequential(head(5), nn.Softmax(-1))).train()
    before = {name: value.clone() for name, value in module.state_dict().items()}
    vx.load_model(module, transform=TRANSFORM, image_size=SIZE)
    assert module.training
    assert all(parameter.requires_grad for parameter in module.parameters())
    assert all(torch.equal(value, before[name]) for name, value in module.state_dict().items())
    hooks = [len(m._forward_hooks) + len(m._forward_pre_hooks) for m in module.modules()]
    assert not any(hooks)
