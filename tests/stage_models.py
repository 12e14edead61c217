"""Small image models without attention between all patches, with random weights."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import timm
import torch
import torchvision
from timm.models.mvitv2 import MultiScaleVit, MultiScaleVitCfg
from torch import nn
from torchvision import transforms
from torchvision.models.convnext import CNBlockConfig

import vit_explorer as vx
from tests.browser import LABELS, write_weights

SIZE = (64, 64)


def _pvt() -> nn.Module:
    return timm.create_model(
        "pvt_v2_b0",
        embed_dims=(8, 16, 24, 32),
        depths=(1, 1, 1, 1),
        num_heads=(1, 1, 2, 2),
        num_classes=7,
    )


def _mvit() -> nn.Module:
    config = MultiScaleVitCfg(depths=(1, 1, 1, 1), embed_dim=12, num_heads=1)
    return MultiScaleVit(config, img_size=SIZE, num_classes=7)


BUILD: dict[str, Callable[[], nn.Module]] = {
    "resnet18": lambda: torchvision.models.resnet18(num_classes=7),
    "swin": lambda: torchvision.models.SwinTransformer(
        [4, 4], 24, [1, 1, 2], [2, 2, 2], [4, 4], num_classes=7
    ),
    "convnext": lambda: torchvision.models.ConvNeXt(
        [CNBlockConfig(12, 24, 1), CNBlockConfig(24, 48, 1), CNBlockConfig(48, None, 1)],
        layer_scale=1.0,
        num_classes=7,
    ),
    "maxvit": lambda: torchvision.models.MaxVit(
        SIZE, 16, 4, [16, 32], [1, 1], 8, 0.0, num_classes=7
    ),
    "pvt_v2": _pvt,
    "mvitv2": _mvit,
    "densenet": lambda: torchvision.models.DenseNet(8, (2, 2, 2), 16, num_classes=7),
}
# The module of the last resolution and of the one before it, with their grids, known by reading
# the models' code.
LAST: dict[str, tuple[tuple[str, tuple[int, int]], ...]] = {
    "resnet18": (("layer3", (4, 4)), ("layer4", (2, 2))),
    "swin": (("features.3", (8, 8)), ("permute", (4, 4))),
    "convnext": (("features.4.0", (8, 8)), ("features", (4, 4))),
    "maxvit": (("blocks.0", (16, 16)), ("blocks.1", (8, 8))),
    "pvt_v2": (("stages.2", (4, 4)), ("stages", (2, 2))),
    "mvitv2": (("stages.3.blocks.0.norm1", (4, 4)), ("norm", (2, 2))),
    "densenet": (("features.transition2.conv", (8, 8)), ("features", (4, 4))),
}


def build(name: str) -> nn.Module:
    torch.manual_seed(0)
    module = BUILD[name]().eval()
    for key, parameter in module.named_parameters():
        if parameter.ndim < 2 and "bias" in key:
            nn.init.normal_(parameter, std=0.3)  # or a head of zeros would say nothing
    nn.init.normal_(list(module.parameters())[-2], std=0.5)
    return module


def prepared(size: tuple[int, int] = SIZE) -> transforms.Compose:
    return transforms.Compose(
        [
            transforms.Resize(size),
            transforms.ToTensor(),
            transforms.Normalize((0.5,) * 3, (0.25,) * 3),
        ]
    )


def load(name: str, size: tuple[int, int] = SIZE) -> vx.LoadedModel:
    labels = ["ant", "bee", "cat", "dog", "eel", "fox", "gnu"]
    return vx.load_model(build(name), transform=prepared(size), image_size=size, labels=labels)


@pytest.fixture(scope="module")
def models() -> dict[str, vx.LoadedModel]:
    return {name: load(name) for name in BUILD}


@pytest.fixture(scope="module")
def resnet(models: dict[str, vx.LoadedModel]) -> vx.LoadedModel:
    return models["resnet18"]


@pytest.fixture(scope="module")
def uneven() -> vx.LoadedModel:
    """A ResNet whose last cells have sides of 97/4 and 130/5 pixels."""
    return load("resnet18", (97, 130))


def write_resnet(path: Path) -> Path:
    """A small ResNet of timm with random weights and ten classes, in the form `train` writes."""
    torch.manual_seed(0)
    module = timm.create_model("test_resnet", num_classes=len(LABELS))
    for parameter in module.fc.parameters():
        nn.init.normal_(parameter, std=0.2)
    size, mean, std = [3, 160, 160], [0.5] * 3, [0.25] * 3
    config = {"timm": "test_resnet"}
    return write_weights(path, module, config, LABELS, input_size=size, mean=mean, std=std)
