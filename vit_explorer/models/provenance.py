"""Where a model and its class names came from, as facts that are said where a person reads them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from vit_explorer.sentences import Sentence

# What is said of this data set in the card of a model that learned from it.
ABOUT_TINY_IMAGENET = Sentence(
    "trained.tiny",
    "Tiny ImageNet: 200 classes of ImageNet at 64×64 pixels; ImageNet's pictures are for "
    "non-commercial research",
)

Kind = Literal[
    "file",
    "timm_file",
    "timm_hub",
    "timm_random",
    "timm_folder",
    "transformers_folder",
    "module",
    "checkpoint",
    "config",
    "module_config",
    "imagenet",
    "given",
    "words",
    "pictures",
    "open_clip",
    "numbered",
]

ENGLISH: dict[Kind, str] = {
    "file": "file {file}",
    "timm_file": "timm, weights from {file}{key}",
    "timm_hub": "timm, pretrained",
    "timm_random": "timm, random weights",
    "timm_folder": "timm {name}, folder {file}",
    "transformers_folder": "transformers {name}, folder {file}",
    "module": "{name}",
    "checkpoint": "the checkpoint",
    "config": "config.json",
    "module_config": "the module's config",
    "imagenet": "ImageNet, by the number of classes ({count:,})",
    "given": "given",
    "words": "words that were typed",
    "pictures": "pictures to compare with",
    "open_clip": "open_clip {name}",
    "numbered": "none: numbered",
}


@dataclass(frozen=True)
class Provenance:
    """What a model's weights, or its class names, were taken from.

    `file` is the name of the file or folder, without its place; `key` that of the tensors in a
    file of several models; `name` the architecture, class or Python module; `count` the number of
    classes that told the class names.

    >>> str(Provenance("timm_file", file="last.ckpt", key="model"))
    'timm, weights from last.ckpt, key model'
    """

    kind: Kind
    file: str = ""
    key: str = ""
    name: str = ""
    count: int = 0

    @property
    def sentence(self) -> Sentence:
        """It in words, which the page says in its reader's language."""
        english = ENGLISH[self.kind]
        key = Sentence("part.key", ", key {key}", key=self.key) if self.key else ""
        places = {"file": self.file, "key": key, "name": self.name, "count": self.count}
        used = {place: value for place, value in places.items() if f"{{{place}" in english}
        return Sentence(f"source.{self.kind}", english, **used)

    def __str__(self) -> str:
        return str(self.sentence)


# Class names that nobody gave: "class 0", "class 1" and so on.
NUMBERED = Provenance("numbered")
