"""A teacher's soft labels, and the loss of learning from them."""

from __future__ import annotations

import hashlib

import torch
import torch.nn.functional as F
from torch import Tensor
from tqdm.auto import tqdm

from vit_explorer.models.zoo import load_model
from vit_explorer.training.augment import draw, seed_step, standardise, vary
from vit_explorer.training.data import PictureSet
from vit_explorer.training.evaluate import class_columns
from vit_explorer.training.recipe import Augment, Distill
from vit_explorer.training.run_folder import RunFolder


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

    @torch.no_grad()
    def logits(self, x: Tensor, precision: str) -> Tensor:
        """Logits (B, classes) of pictures (B, 3, h, w) with values from 0 to 1."""
        prepare = self.model.preprocess
        x = standardise(x, prepare.input_size[1:], prepare.mean, prepare.std)
        with torch.autocast(x.device.type, torch.bfloat16, enabled=precision == "bf16"):
            return self.model.module(x).float()[:, self.columns]

    def label(
        self,
        pictures: PictureSet,
        views: Tensor,
        folder: RunFolder,
        precision: str,
        progress: bool,
    ) -> Tensor:
        """Logits (V, n, classes) of every picture's views (V, n, 7), kept in the run folder."""
        content = hashlib.sha256(pictures.pixels.numpy().data)
        content.update(views.numpy().data)
        key = f"{self.model.sha256} {content.hexdigest()}"
        stored = folder.read_soft_labels(key)
        if stored is not None:
            return stored
        device, found = self.model.device, []
        with tqdm(
            total=len(views) * len(pictures),
            desc="asking the teacher",
            disable=not progress,
            leave=False,
        ) as bar:
            for view in views:
                for pixels, drawn in zip(pictures.pixels.split(128), view.split(128), strict=True):
                    found.append(self.logits(vary(pixels.to(device), drawn), precision).cpu())
                    bar.update(len(pixels))
        labels = torch.cat(found).reshape(len(views), len(pictures), -1).half()
        folder.write_soft_labels(labels, key)
        return labels.float()  # as a resumed run reads them


def draw_views(augment: Augment, seed: int, views: int, pictures: int) -> Tensor:
    """The views (V, n, 7) of every picture that a teacher is asked about once, by seed."""
    drawn = []
    for view in range(views):
        seed_step(seed, view)
        drawn.append(draw(augment, pictures))
    return torch.stack(drawn)


def distillation_loss(
    logits: Tensor,
    taught: Tensor,
    targets: Tensor,
    teacher: Tensor,
    options: Distill,
    smooth: float = 0.0,
) -> Tensor:
    """The labels' loss and the teacher's, weighed; mean over the batch.

    Args:
        logits: (B, classes) of the class head.
        taught: (B, classes) of the head that follows the teacher: the distillation token's, or the
            class head again.
        targets: labels (B,), or shares (B, classes) where pictures are mixed.
        teacher: the teacher's logits (B, classes).

    Hinton et al., "Distilling the Knowledge in a Neural Network", 2015 (soft); Touvron et al.,
    "Training data-efficient image transformers & distillation through attention", 2021 (hard).
    """
    own = F.cross_entropy(logits, targets, label_smoothing=smooth)
    if options.kind == "hard":
        other = F.cross_entropy(taught, teacher.argmax(dim=1))
    else:
        T = options.temperature
        student, wanted = (taught / T).log_softmax(1), (teacher / T).log_softmax(1)
        other = F.kl_div(student, wanted, reduction="batchmean", log_target=True) * T * T
    return (1 - options.weight) * own + options.weight * other
