"""Maps made by asking the model about many changed copies of the picture, in batches."""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager
from types import ModuleType, SimpleNamespace
from typing import Any, Literal

import torch
import torch.nn.functional as F
import tqdm
from torch import Tensor, nn

from vit_explorer.errors import OptionError
from vit_explorer.methods.gradients import kept_features
from vit_explorer.methods.heatmap import Progress
from vit_explorer.methods.model_queries import Asked, asking
from vit_explorer.methods.registry import method
from vit_explorer.methods.stage_ablation import ablate_stage
from vit_explorer.models.capture import capture
from vit_explorer.models.card import Pair
from vit_explorer.models.cells import cell_means, over_pixels
from vit_explorer.models.loaded import LoadedModel
from vit_explorer.models.structure.anatomy import Anatomy, Block, replaced, tokens_in
from vit_explorer.options import one_of, share, whole_number
from vit_explorer.sentences import Sentence
from vit_explorer.tracing.trace import Trace

Fill = Literal["zero", "low"]


@method(
    title="Occlusion",
    summary="How far the logit drops when a patch is covered.",
    formula="the logit lost when a patch is covered with the mean colour",
    source="Zeiler & Fergus 2014",
    caveat="One patch at a time: what several say together shows little.",
    passes="many",
    unit="logit",
    signed=True,
)
def occlusion(
    trace: Trace, *, window: int = 1, stride: int = 1, progress: Progress | None = None
) -> Tensor:
    """How far the logit drops when a window of patches is covered: (gh, gw), signed.

    Covered patches have the mean colour of the model's normalisation. A cell is the mean over the
    windows that cover it, in units of the logit.

    Args:
        window: side of the covered square, in patches.
        stride: patches from one window to the next, 1 to `window`; the last one ends at the edge.

    Raises:
        OptionError: an option outside its range.
        TargetError: a model without classes.

    Zeiler & Fergus, "Visualizing and Understanding Convolutional Networks", ECCV 2014.
    """
    gh, gw = trace.card.grid
    window = whole_number(Sentence("part.window", "window"), window, 1, min(gh, gw))
    stride = whole_number(Sentence("part.stride", "stride"), stride, 1, window)
    places = [(r, c) for r in _starts(gh, window, stride) for c in _starts(gw, window, stride)]
    with asking(trace, len(places), progress) as model:
        covered = torch.zeros(len(places), gh, gw, device=model.pixels.device)
        for cover, (row, column) in zip(covered, places, strict=True):
            cover[row : row + window, column : column + window] = 1
        logits = [
            model.aimed(model.pixels * (1 - over_pixels(trace.card, covers)[:, None]))
            for covers in covered.split(model.batch)
        ]
        drops = model.aim.of(trace.logits.float()) - torch.cat(logits)
    return torch.einsum("n,nrc->rc", drops, covered) / covered.sum(dim=0)


@method(
    title="RISE",
    summary="How far random masks that show a patch raise the class's probability.",
    formula="Σ (p(mask) − p̄)·mask over random masks, by how many of them show a patch on average",
    source="Petsiuk et al. 2018",
    caveat="Random: its grain falls with the root of the number of masks.",
    passes="many",
    unit="probability",
    signed=True,
)
def rise(
    trace: Trace,
    *,
    masks: int = 300,
    cells: int = 7,
    keep: float = 0.5,
    seed: int = 0,
    progress: Progress | None = None,
) -> Tensor:
    """RISE: how far random soft masks that show a patch raise the class's probability: (gh, gw),
    signed. Where a model returns values, it is their own units.

    Σ (p(mask) - p̄)·mask / (masks·keep): the paper's map less the masks' mean probability p̄, which
    takes away its high floor and the grain of uneven masks. What a mask hides has the mean colour
    of the model's normalisation.

    Args:
        masks: how many, 2 to 100,000; the paper takes 4000 to 8000, and the grain that is left
            falls with the root of their number.
        cells: coarse cells along the picture's shorter side, 2 to its pixels.
        keep: chance of a coarse cell to be shown.
        seed: of the masks.

    Raises:
        OptionError: an option outside its range.
        TargetError: a model without classes.

    Petsiuk, Das & Saenko, "RISE", BMVC 2018.
    """
    size = trace.card.image_size
    masks = whole_number(Sentence("part.masks", "number of masks"), masks, 2, 100_000)
    cells = whole_number(Sentence("part.cells", "number of cells"), cells, 2, min(size))
    keep = share(Sentence("part.keep", "share of cells kept"), keep, zero=False)
    seed = whole_number(Sentence("part.seed", "seed"), seed, 0, 2**32 - 1)
    rows, columns = (round(cells * side / min(size)) for side in size)
    generator = torch.Generator().manual_seed(seed)
    shown = torch.rand(masks, 1, rows + 1, columns + 1, generator=generator) < keep
    shift = torch.rand(masks, 2, generator=generator)
    with asking(trace, masks, progress) as model:
        probabilities, shares = [], []
        for some, by in zip(shown.split(model.batch), shift.split(model.batch), strict=True):
            mask = _soft_masks(some.to(model.pixels), by, size)
            probabilities.append(model.share(model.pixels * mask))
            shares.append(cell_means(trace.card, mask[:, 0]))  # (B, gh, gw)
        probability = torch.cat(probabilities)
        raised = probability - probability.mean()
    return torch.einsum("m,mrc->rc", raised, torch.cat(shares)) / (masks * keep)


@method(
    title="Score-CAM",
    summary="Features, weighted by the logit of the picture masked by each.",
    formula="relu(Σ_D w·F), w the softmax over features of the logit of the picture masked by "
    "each (grad-cam package)",
    source="Wang et al. 2020",
    caveat="A softmax over logits: a few features get nearly all of the weight.",
    requires=("features",),
    passes="many",
)
def score_cam(trace: Trace, *, layer: int = -1, progress: Progress | None = None) -> Tensor:
    """Score-CAM: features at `norm1`, weighted by the softmax over features of the logit that the
    picture has where the feature is bright: (gh, gw), 0 or more.

    By the grad-cam package; one pass a feature.

    Raises:
        OptionError, UnsupportedModelError: a layer whose features were not kept, or has none.
        TargetError: a model without classes.

    Wang et al., "Score-CAM", CVPR Workshops 2020.
    """
    from pytorch_grad_cam import ScoreCAM, score_cam

    activations = kept_features(trace, layer).float().cpu().numpy()[None]  # (1, D, gh, gw)
    with asking(trace, activations.shape[1], progress) as model, _quiet(score_cam):
        cam = ScoreCAM(_Covered(model, trace.card.left_over), target_layers=[])
        cam.batch_size = model.batch
        targets = [model.aim.of]
        height, width = trace.card.covered
        pixels = model.pixels[..., :height, :width]
        found = cam.get_cam_image(pixels, None, targets, activations, None)
    return torch.from_numpy(found[0]).relu()


@method(
    title="Ablation-CAM",
    summary="Features, weighted by how much of the logit is lost without each.",
    formula="relu(Σ_D w·F), w the share of the logit that is lost without each feature (grad-cam "
    "package)",
    source="Ramaswamy & Desai 2020",
    caveat="Divides by the logit: the map turns over where that is negative.",
    requires=("features",),
    passes="many",
)
def ablation_cam(
    trace: Trace, *, layer: int = -1, fill: Fill = "low", progress: Progress | None = None
) -> Tensor:
    """Ablation-CAM: features at `norm1`, weighted by the share of the logit that is lost without
    them: (gh, gw), 0 or more.

    By the grad-cam package; one pass a feature.

    Args:
        fill: what takes a feature's place at every token: "low", far below all features, as the
            package does for transformers, or "zero", as in the paper.

    Raises:
        OptionError, UnsupportedModelError: a layer whose features were not kept, or has none.
        TargetError: a model without classes.

    Ramaswamy & Desai, "Ablation-CAM", WACV 2020.
    """
    from pytorch_grad_cam import AblationCAM, ablation_cam
    from pytorch_grad_cam.ablation_layer import AblationLayerVit

    class Zeroed(AblationLayerVit):
        def __call__(self, x: Tensor) -> Tensor:
            tokens = self.activations  # (B, N, D)
            tokens[torch.arange(len(tokens)), :, self.indices[: len(tokens)]] = 0
            return tokens

    if fill == "low" and next(trace.model.module.parameters()).dtype == torch.float16:
        raise OptionError(
            "error.ablation.fill",
            "Ablation-CAM's fill 'low' is lower than float16 can hold; use fill='zero', or "
            "precision='bfloat16'.",
        )
    ablation = {"zero": Zeroed, "low": AblationLayerVit}[
        one_of(Sentence("part.fill", "fill"), fill, ("zero", "low"))
    ]()
    if trace.card.tier == 2:
        return ablate_stage(trace, layer, fill, progress)
    activations = kept_features(trace, layer).float().cpu().numpy()[None]  # (1, D, gh, gw)
    block = trace.model.anatomy.blocks[trace.layer_index(layer)]
    with (
        asking(trace, activations.shape[1] + 1, progress) as model,
        _quiet(ablation_cam),
        _lent(trace.model, block) as place,
        _copying(model, trace.model.anatomy, block, place) as copies,
    ):
        cam = AblationCAM(copies, [], ablation_layer=ablation, batch_size=model.batch)
        targets = [model.aim.of]
        found = cam.get_cam_image(model.pixels, place.shell, targets, activations, None)
    return torch.from_numpy(found[0]).relu()


@contextmanager
def _quiet(package: ModuleType) -> Iterator[None]:
    """Keep a module of the grad-cam package from drawing its own progress bar."""
    package.tqdm = SimpleNamespace(tqdm=iter)  # type: ignore[attr-defined]
    try:
        yield
    finally:
        package.tqdm = tqdm  # type: ignore[attr-defined]


@contextmanager
def _lent(model: LoadedModel, block: Block) -> Iterator[_Place]:
    """A block's norm in a shell, which takes with it whatever the package leaves there, and where
    the package's tokens are (B, N, D)."""
    norm = block.norm
    assert norm is not None  # noqa: S101 - its features were kept
    holders = [
        (parent, name)
        for parent in block.module.modules()
        for name, child in parent.named_children()
        if child is norm
    ]
    shell = _Shell(norm)
    outer = _Place(shell, norm, turned=model.anatomy.tokens_first)
    try:
        for parent, name in holders:
            setattr(parent, name, outer)
        yield outer
    finally:
        for parent, name in holders:
            setattr(parent, name, norm)


class _Shell(nn.Sequential):
    """What the package puts its own layer in the place of."""


class _Place(nn.Module):
    """Stands where a norm was: runs the shell, or what took its place, on tokens (B, N, D), and
    otherwise answers as the norm."""

    def __init__(self, shell: _Shell, norm: nn.Module, *, turned: bool) -> None:
        super().__init__()
        self.shell, self.turned = shell, turned
        object.__setattr__(self, "norm", norm)

    def forward(self, tokens: Tensor) -> Tensor:
        if not self.turned:
            return self.shell(tokens)
        return self.shell(tokens.transpose(0, 1)).transpose(0, 1)

    def __getattr__(self, name: str) -> Any:
        try:
            return super().__getattr__(name)
        except AttributeError:
            return getattr(vars(self)["norm"], name)


class _Covered(nn.Module):
    """A model asked about the pixels that its patches cover; the others take no part."""

    def __init__(self, model: Asked, left_over: Pair) -> None:
        super().__init__()
        self.model, self.left_over = model, left_over

    def forward(self, pixels: Tensor) -> Tensor:
        rows, columns = self.left_over
        logits: Tensor = self.model(F.pad(pixels, (0, columns, 0, rows)))
        return logits


class _Copies(nn.Module):
    """A model asked about copies (B, C, H, W) of one picture, which differ from some block on."""

    model: Asked

    def __init__(self, model: Asked, place: _Place) -> None:
        super().__init__()
        # The package looks for the layer among its submodules: no other is to be found.
        object.__setattr__(self, "model", model)
        self.place = place
        self.number = 1
        self.whole = False

    def throughout(self) -> _Copies:
        """The same with copies from the first layer on."""
        self.whole = True
        return self

    def forward(self, pixels: Tensor) -> Tensor:
        self.number = len(pixels)
        if self.whole:
            whole: Tensor = self.model(pixels)
            return whole
        logits: Tensor = self.model(pixels[:1])
        self.model.count(self.number - 1)
        return logits

    def multiply(self, anatomy: Anatomy) -> Any:
        def hook(_: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
            tokens = tokens_in((args, kwargs), anatomy.tokens)
            if tokens is None:
                return None
            shape = (-1, self.number, -1) if anatomy.tokens_first else (self.number, -1, -1)
            return replaced((args, kwargs), tokens, lambda one: one.expand(*shape))

        return hook


@contextmanager
def _copying(model: Asked, anatomy: Anatomy, block: Block, place: _Place) -> Iterator[_Copies]:
    """Run the blocks before `block` once for all copies of a picture."""
    copies = _Copies(model, place)
    if not block.whole or anatomy.in_place or model.model.card.read_blocks:
        # What the blocks before gave is read again behind this one, or changed: all copies run.
        yield copies.throughout()
        return
    with capture() as hooks:
        hooks.entering(block.first, copies.multiply(anatomy))
        yield copies


def _starts(side: int, window: int, stride: int) -> list[int]:
    """Where windows begin along a side, so that every cell is covered."""
    return sorted({*range(0, side - window, stride), side - window})


def _soft_masks(shown: Tensor, shift: Tensor, size: Pair) -> Tensor:
    """Coarse cells (B, 1, r + 1, c + 1) of 0 and 1 to masks (B, 1, H, W) from 0 to 1.

    Enlarged bilinearly, and cut out at `shift` (B, 2) of a coarse cell: 0 to below 1.
    """
    rows, columns = shown.shape[-2] - 1, shown.shape[-1] - 1
    cell = math.ceil(size[0] / rows), math.ceil(size[1] / columns)
    full = (rows + 1) * cell[0], (columns + 1) * cell[1]
    large = F.interpolate(shown, full, mode="bilinear", align_corners=False)
    corners = (shift * torch.tensor(cell)).long().tolist()
    cut = [m[:, y : y + size[0], x : x + size[1]] for m, (y, x) in zip(large, corners, strict=True)]
    return torch.stack(cut)
