"""A teacher's soft labels."""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from tqdm.auto import tqdm

from vit_explorer.datasets.evaluate import class_columns
from vit_explorer.errors import RecipeError
from vit_explorer.models import outputs
from vit_explorer.models.needs import require
from vit_explorer.models.zoo import load_model
from vit_explorer.stopping import Stopped
from vit_explorer.training.augment import draw, mirror, seed_step, standardise, vary
from vit_explorer.training.data import PictureSet
from vit_explorer.training.recipe import Recipe
from vit_explorer.training.recipe_sections import Augment, Distill
from vit_explorer.training.run_folder import RunFolder
from vit_explorer.training.tokens import Scale, block_outputs, mirror_tokens, unpack

_BATCH = 256


@dataclass(frozen=True)
class Answers:
    """What a teacher said of V views of n pictures."""

    logits: Tensor  # (V, n, classes)
    tokens: NDArray[np.int8] | None  # (V, n, L, N, D), packed, mapped from the run folder
    grid: tuple[int, int]  # of the patches among these tokens

    def of(self, view: Tensor, part: Tensor, mirrored: Tensor, device: torch.device) -> Answer:
        """Its answers about one view each of some pictures, or about its mirror image: there the
        answer itself is taken to be the same, and its tokens to be mirrored."""
        logits = self.logits[view, part].to(device)
        if self.tokens is None:
            return Answer(logits)
        tokens = torch.from_numpy(self.tokens[view.numpy(), part.numpy()])
        tokens[mirrored] = mirror_tokens(tokens[mirrored], self.grid)
        return Answer(logits, unpack(tokens).to(device))


class Answer(NamedTuple):
    """A teacher's logits (B, classes) about a batch, and its tokens (B, L, N, D) if asked for."""

    logits: Tensor
    tokens: Tensor | None = None


class Seen(NamedTuple):
    """Which stored views pictures (n,) are shown in, and which of them as mirror images."""

    part: Tensor
    view: Tensor
    mirrored: Tensor

    def at(self, places: Tensor) -> Seen:
        return Seen(*(one[places] for one in self))


class Teacher:
    """A frozen classifier that is asked about pictures of another size and normalisation."""

    def __init__(self, options: Distill, classes: tuple[str, ...], device: torch.device) -> None:
        self.model = load_model(
            options.teacher,
            weights=options.weights,
            image_size=options.image_size,
            device=str(device),
        )
        self.columns = class_columns(self.model, classes)
        self.layers = tuple(options.layers.values())
        if self.layers:
            require(self.model.card, "tokens")
        depth = self.model.card.depth
        if not all(0 <= layer < depth for layer in self.layers):
            raise RecipeError(
                "error.teacher.layers",
                "distill.layers: the teacher has blocks 0 to {last}.",
                last=depth - 1,
            )

    @property
    def width(self) -> int:
        return self.model.card.dim

    @property
    def places(self) -> tuple[tuple[int, int], int]:
        """The grid of its patches and the number of its prefix tokens."""
        return self.model.card.grid, self.model.card.prefix_tokens

    @torch.no_grad()
    def ask(self, x: Tensor, precision: str) -> Answer:
        """Its answer about pictures (B, 3, h, w) with values from 0 to 1."""
        prepare, model = self.model.preprocess, self.model
        x = standardise(x, prepare.input_size[1:], prepare.mean, prepare.std)
        # Frozen weights are converted once: under autocast a CPU is a third slower.
        kind = torch.bfloat16 if precision == "bf16" else torch.float32
        model.module.to(kind)
        with block_outputs(model.blocks, self.layers) as found:
            logits = outputs.answer(model, x.to(kind)).logits.float()[:, self.columns]
        return Answer(logits, torch.stack(found, dim=1) if found else None)

    def label(
        self,
        pictures: PictureSet,
        views: Tensor,
        folder: RunFolder,
        precision: str,
        progress: bool,
        stop: threading.Event,
        earlier: RunFolder | None = None,
    ) -> Answers:
        """What it says of every picture's views (V, n, 7), kept in the run folder.

        It is not asked where an `earlier` run's folder has its answers about the same views.

        Raises:
            OutputError: the disk has no room for its tokens.
            Stopped: `stop` was set; what it said so far is lost.
        """
        content = hashlib.sha256(pictures.pixels.numpy().data)
        content.update(views.numpy().data)
        key = " ".join((self.model.sha256, content.hexdigest(), *map(str, self.layers)))
        card = self.model.card
        shape = (*views.shape[:2], len(self.layers), card.tokens, card.dim)
        for place in (folder, earlier) if earlier else (folder,):
            stored = place.read_soft_labels(key)
            tokens = place.read_tokens(shape) if self.layers else None
            if stored is not None and (tokens is not None or not self.layers):
                return Answers(stored, tokens, card.grid)
        found = []
        scale = self._scale(pictures, precision) if self.layers else None
        count = len(views) * len(pictures)
        with ExitStack() as stack:
            file = stack.enter_context(folder.writing_tokens(shape)) if self.layers else None
            bar = tqdm(total=count, desc="asking the teacher", disable=not progress, leave=False)
            bar = stack.enter_context(bar)
            for answer in self._ask_all(pictures, views, precision):
                if stop.is_set():
                    raise Stopped
                found.append(answer.logits.cpu())
                if scale is not None and file is not None and answer.tokens is not None:
                    file.write(scale.pack(answer.tokens).tobytes())
                bar.update(len(answer.logits))
        labels = torch.cat(found).reshape(len(views), len(pictures), -1).half()
        folder.write_soft_labels(labels, key)  # last: where these are, the tokens are whole
        tokens = folder.read_tokens(shape) if self.layers else None
        return Answers(labels.float(), tokens, card.grid)  # as a resumed run reads them

    def _ask_all(self, pictures: PictureSet, views: Tensor, precision: str) -> Iterator[Answer]:
        for view in views:
            for pixels, drawn in zip(
                pictures.pixels.split(_BATCH), view.split(_BATCH), strict=True
            ):
                yield self.ask(vary(pixels.to(self.model.device), drawn), precision)

    def _scale(self, pictures: PictureSet, precision: str) -> Scale:
        """Of the tokens of a few pictures from the whole set."""
        few = pictures.pixels[:: -(-len(pictures) // _BATCH)]
        tokens = self.ask(few.to(self.model.device).float() / 255, precision).tokens
        assert tokens is not None  # noqa: S101 - the caller has layers
        return Scale.of(tokens)


def draw_views(augment: Augment, seed: int, views: int, pictures: int) -> Tensor:
    """The views (V, n, 7) of every picture that a teacher is asked about once, by seed."""
    drawn = []
    for view in range(views):
        seed_step(seed, view)
        drawn.append(draw(augment, pictures))
    return torch.stack(drawn)


class Lessons:
    """What a teacher says to each batch of a run: stored beforehand, or asked at each step."""

    def __init__(self, recipe: Recipe, teacher: Teacher, precision: str) -> None:
        assert recipe.distill is not None  # noqa: S101 - the caller has a teacher
        self.recipe, self.options = recipe, recipe.distill
        self.teacher, self.precision = teacher, precision
        self.views: Tensor | None = None  # (V, n, 7), what the teacher was asked about,
        self.answers: Answers | None = None  # and what it said

    def prepare(
        self,
        pictures: PictureSet,
        folder: RunFolder,
        progress: bool,
        stop: threading.Event,
        earlier: RunFolder | None = None,
    ) -> None:
        """Ask about the views of every picture, once; see `Teacher.label`."""
        if self.options.views == 0:
            return
        recipe = self.recipe
        self.views = draw_views(recipe.augment, recipe.seed, self.options.views, len(pictures))
        self.answers = self.teacher.label(
            pictures, self.views, folder, self.precision, progress, stop, earlier
        )

    def draw(self, part: Tensor) -> tuple[Tensor, Seen | None]:
        """How pictures (n,) are varied, and which of the views that makes, if they are stored."""
        if self.views is None:
            return draw(self.recipe.augment, len(part)), None
        few = len(part)
        view, mirrored = torch.randint(len(self.views), (few,)), torch.zeros(few, dtype=torch.bool)
        if self.options.mirror:
            mirrored = torch.rand(few) < 0.5
        return mirror(self.views[view, part], mirrored), Seen(part, view, mirrored)

    def answer(self, x: Tensor, seen: Seen | None) -> Answer:
        """The teacher's answer about a student's input x: the stored one where there is one."""
        if seen is not None and self.answers is not None:
            return self.answers.of(seen.view, seen.part, seen.mirrored, x.device)
        mean, std = (x.new_tensor(v)[:, None, None] for v in (self.recipe.mean, self.recipe.std))
        return self.teacher.ask((x * std + mean).clamp(0, 1), self.precision)
