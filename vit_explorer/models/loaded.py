"""What loading makes: a module with the card of what was detected in it."""

from __future__ import annotations

import threading
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import nn

from vit_explorer.errors import PictureError
from vit_explorer.models.card import ModelCard
from vit_explorer.models.loading import Loading
from vit_explorer.models.provenance import ABOUT_TINY_IMAGENET, NUMBERED, Provenance
from vit_explorer.models.structure.anatomy import Anatomy
from vit_explorer.pictures.preprocess import Prepared, Preprocess
from vit_explorer.sentences import escaped


@dataclass(frozen=True, eq=False)
class LoadedModel:
    """A module ready to explain: frozen where this package loaded it, and described by its card.

    `loading` is how to load it again, None where a module, transform or tokenizer was handed in.
    """

    module: nn.Module
    card: ModelCard
    preprocess: Preprocess
    labels: tuple[str, ...]
    anatomy: Anatomy = field(repr=False)
    sha256: str = ""
    metadata: dict[str, Any] = field(default_factory=dict, repr=False)
    loading: Loading | None = field(default=None, repr=False)
    # One pass at a time: hooks and modes sit on the module while it runs.
    lock: threading.RLock = field(default_factory=threading.RLock, repr=False, compare=False)

    @property
    def blocks(self) -> tuple[nn.Module, ...]:
        """The transformer blocks; a block may be a list of parts that the network loops over."""
        return tuple(block.module for block in self.anatomy.blocks)

    @property
    def device(self) -> torch.device:
        return next(self.module.parameters()).device

    @property
    def labels_zh(self) -> tuple[str, ...]:
        """The class names in Chinese where the checkpoint has them, else none."""
        own, given = self.metadata.get("labels"), self.metadata.get("labels_zh")
        # A reader's own labels have no translation.
        if not isinstance(given, list) or own != list(self.labels) or len(given) != len(own):
            return ()
        return tuple(escaped(str(name)) for name in given)

    @property
    def trained_on(self) -> str:
        """The pictures it learned from and their terms, as far as its file says; else ""."""
        told = self.metadata.get("training", {}).get("trained_on", "")
        if not isinstance(told, str):
            return ""
        return ABOUT_TINY_IMAGENET if told == ABOUT_TINY_IMAGENET else told

    def to_dict(self) -> dict[str, Any]:
        """The card and the weights' sha256 as plain JSON values."""
        return {**self.card.to_dict(), "weights_sha256": self.sha256}

    def prepare(self, picture: Any) -> Prepared:
        """Open anything `open_picture` takes and prepare it; a `Prepared` of this size is kept.

        Raises:
            PictureError: no picture, or one prepared for another model's size.
        """
        prepared = picture if isinstance(picture, Prepared) else self.preprocess(picture)
        size = tuple(prepared.pixels.shape[-2:])
        if size != self.card.image_size:
            raise PictureError(
                "error.prepared.size",
                "The picture was prepared for {height}×{width} pixels, {model} takes "
                "{rows}×{columns}; give the picture itself.",
                height=size[0],
                width=size[1],
                model=self.card.name,
                rows=self.card.image_size[0],
                columns=self.card.image_size[1],
            )
        if prepared.pixels.shape[1] != self.card.channels:
            raise PictureError(
                "error.prepared.channels",
                "The picture was prepared with {given} channels, {model} takes {channels}; give "
                "the picture itself.",
                given=prepared.pixels.shape[1],
                model=self.card.name,
                channels=self.card.channels,
            )
        covered = self.card.covered
        if prepared.shown.size not in (size[::-1], covered[::-1]):  # cut for another model
            return self.prepare(prepared.picture)
        return prepared.covering(covered)


@dataclass(frozen=True)
class Built:
    """A module with what its source says about it."""

    module: nn.Module
    name: str
    source: Provenance
    data: dict[str, Any]
    labels: tuple[str, ...] = ()
    labels_source: Provenance = NUMBERED
    sha256: str = ""
    metadata: dict[str, Any] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
