"""Models that are worth a look first, with what each teaches; what can be read of them is read."""

from __future__ import annotations

import threading
from dataclasses import dataclass
from functools import cache
from importlib.util import find_spec
from typing import Any

import torch

from vit_explorer.models.checkpoints.checkpoint import read_checkpoint
from vit_explorer.models.checkpoints.hub import kept_of
from vit_explorer.models.checkpoints.text_towers import HUB
from vit_explorer.models.shipped import BUNDLED, SHIPPED


@dataclass(frozen=True)
class Exhibit:
    """A model of the gallery.

    Attributes:
        name: as `load_model` takes it.
        title: what the field calls it.
        teaches: one sentence.
        words: what it is asked at first, where its classes are words.
        size: bytes of its weights, where neither timm nor this machine knows them.
        package: what else it needs to be installed.
    """

    name: str
    title: str
    teaches: str
    words: tuple[str, ...] = ()
    size: int = 0
    package: str = ""

    @property
    def repository(self) -> str:
        """Where the hub has its weights; "" of a model that ships."""
        if self.name in SHIPPED:
            return ""
        if self.name.startswith(HUB):
            return self.name.removeprefix(HUB)
        from timm.models import get_pretrained_cfg

        config = get_pretrained_cfg(self.name)
        return (config.hf_hub_id or "") if config else ""


@dataclass(frozen=True)
class Facts:
    """What can be read of a model without loading it.

    Attributes:
        size: bytes of its weights.
        classes: how many; 0 of one that gives embeddings, None where they are words.
        image_size: (height, width) in pixels.
        here: its weights are on this machine, whole.
        part: bytes of a download that was broken off.
        lacks: the package that it needs and that is not installed, or "".
    """

    size: int
    classes: int | None
    image_size: tuple[int, int]
    here: bool
    part: int
    lacks: str


GALLERY = (
    Exhibit(
        BUNDLED,
        "ViT Explorer 64",
        "Made to be looked into: everyday things cut into 8×8 patches, here at once, and its "
        "training can be watched as a film.",
    ),
    Exhibit(
        "bundled-cifar10",
        "ViT Explorer CIFAR-10",
        "The model of the tutorials: ten classes, so few that every confusion can be followed.",
    ),
    Exhibit(
        "deit_tiny_patch16_224",
        "DeiT-Tiny",
        "The smallest ViT in wide use: 12 layers of 3 heads are few enough to look at each, from "
        "those that look near to those that look far.",
    ),
    Exhibit(
        "vit_base_patch16_224",
        "ViT-B/16",
        "The architecture of the ViT paper, first trained on 21,843 classes: compare its 12 heads "
        "a layer with DeiT-Tiny's 3 on the same picture.",
    ),
    Exhibit(
        "vit_small_patch14_reg4_dinov2",
        "DINOv2-S + registers",
        "Learned without labels: it has no classes, its attention follows objects all the same, "
        "and four registers take the outliers that spoil other maps.",
    ),
    Exhibit(
        "vit_small_patch16_dinov3",
        "DINOv3-S",
        "Where a patch is, is told by turning its queries and keys (RoPE): there is no table of "
        "positions to look at, and patches of one object are alike.",
    ),
    Exhibit(
        "hf-hub:google/siglip-base-patch16-224",
        "SigLIP-B/16",
        "Its classes are sentences that you type: each map shows what in the picture speaks for "
        "them, and each has a probability of its own.",
        words=("a photo of a cat", "a photo of a dog", "a cup of coffee", "a street"),
        size=812_672_320,
        package="transformers",
    ),
    Exhibit(
        "swin_tiny_patch4_window7_224",
        "Swin-T",
        "It attends within windows of 7×7 patches only: what works without global attention, and "
        "which views have to say that they can't.",
    ),
)
BY_NAME = {one.name: one for one in GALLERY}
# One at a time: each is built, without its numbers, to be measured.
_measuring = threading.Lock()


def facts_of(exhibit: Exhibit) -> Facts:
    """What is known of a model of the gallery, and what of it is on this machine now."""
    lacks = exhibit.package if exhibit.package and find_spec(exhibit.package) is None else ""
    if exhibit.name in SHIPPED:
        classes, image_size = _shipped(exhibit.name)
        size = SHIPPED[exhibit.name].weights.stat().st_size
        return Facts(size, classes, image_size, True, 0, lacks)
    whole, part = kept_of(exhibit.repository)
    if exhibit.words:
        return Facts(whole or exhibit.size, None, (224, 224), whole > 0, part, lacks)
    with _measuring:
        size, classes, image_size = _measured(exhibit.name)
    return Facts(whole or size, classes, image_size, whole > 0, part, lacks)


@cache
def _shipped(name: str) -> tuple[int, tuple[int, int]]:
    """The number of classes and the picture size that a shipped file says."""
    metadata = read_checkpoint(SHIPPED[name].weights).metadata
    _, height, width = metadata["preprocess"]["input_size"]
    return len(metadata["labels"]), (height, width)


@cache
def _measured(name: str) -> tuple[int, int, tuple[int, int]]:
    """Bytes of a timm model's numbers, of its classes how many, and its picture size, built without
    memory: a safetensors file has some kilobytes more."""
    import timm
    from timm.data import resolve_model_data_config

    with torch.device("meta"):
        module: Any = timm.create_model(name)
    _, height, width = resolve_model_data_config(module)["input_size"]
    size = sum(one.numel() * one.element_size() for one in module.state_dict().values())
    return size, module.num_classes, (height, width)
