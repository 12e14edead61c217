"""What was detected in a model: the facts every view and method relies on."""

from __future__ import annotations

import dataclasses
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from vit_explorer.errors import UnsupportedModelError
from vit_explorer.models.provenance import Provenance
from vit_explorer.models.structure.anatomy import tensors_in
from vit_explorer.models.vit import VisionTransformer
from vit_explorer.sentences import Sentence

Pair = tuple[int, int]

# A similarity map a patch: more than these are neither drawn nor read at once.
LARGEST_DRAWN_GRID = 40 * 40

ROTARY = re.compile("(^|_)(rope|rotary)|R[oO]P[eE](?![a-z])|Rotary")
CLASS_TOKENS = {"cls_token", "class_token", "class_embedding"}
POSITION_NAMES = (
    "pos_embed",
    "pos_embedding",
    "position_embeddings",
    "position_embedding",
    "positional_embedding",
)


@dataclass(frozen=True, kw_only=True)
class Structure:
    """The part of a card that the module itself tells. Sizes in pixels as (height, width)."""

    grid: Pair
    patch_size: Pair
    prefix_names: tuple[str, ...]
    depth: int
    heads: int
    head_width: int
    dim: int
    pooling: str
    position: str
    classes: int
    # Which of the last tokens the output reads: (prefix token's name or "patches", share of the
    # gradient); () where it has none.
    read_shares: tuple[tuple[str, float], ...] = ()
    read_blocks: tuple[int, ...] = ()  # blocks before the last whose tokens it reads as well
    overlap: bool = False  # a token sees more pixels than its patch
    attends: str = "fused"  # or "written": a softmax written out, of memory depth·heads·N²

    @property
    def readout(self) -> tuple[float, float]:
        """Shares of the class token and of the patches in what the output reads, 1 together."""
        read = dict(self.read_shares)
        first, patches = read.get("class", 0.0), read.get("patches", 0.0)
        if "class" not in self.prefix_names:
            return 0.0, 1.0
        if not first + patches:
            pooled = bool(self.classes) and self.pooling not in ("class", "none")
            return float(not pooled), float(pooled)
        return first / (first + patches), patches / (first + patches)


@dataclass(frozen=True)
class Stage:
    """A module whose output is a grid over the picture, the last one of its resolution to run.

    `layout` says which dimensions those are: "BCHW", "BHWC", or "BNC" with the grid row by row
    after `before` other tokens, and `behind` others at the end.
    """

    name: str
    grid: Pair
    channels: int
    layout: str
    before: int = 0
    behind: int = 0

    def __str__(self) -> str:
        return f"{self.name} {self.grid[0]}×{self.grid[1]}×{self.channels}"


@dataclass(frozen=True, kw_only=True)
class ModelCard(Structure):
    """What was detected: the structure, where it comes from, and how its pictures are prepared.

    `preprocess_given` names what of the preparation the reader set, `preprocess_note` says what of
    it was made of other numbers; `weights_notes` say, a sentence each, what of a weights file was
    taken, renamed or left aside; `weights_image_size` is the size that the reader said it was
    trained at.
    `outputs` is what the numbers
    returned are: "classes" (logits of a softmax), "labels" (logits of a sigmoid each, as several
    may hold), "probabilities" (already), "value" (numbers, no probability) or "embedding" (no
    predictions); `outputs_found` says how that is known, `sums_to_one` whether probabilities do.
    `ends_in` is the softmax, log_softmax or sigmoid that the module itself ends in: what enters it
    is what maps differentiate.
    `calibration` says how the probabilities were calibrated, and a top probability of less than
    `unsure_below` that none of the classes fits well, where the checkpoint knows.
    `tier` is 1 where every block attends from all tokens to all tokens. It is 2 for other image
    models: `tier_reason` says why there is no such attention, `stages` where CAM methods read,
    `depth` is their number, and `grid` that of the last one, whose cells are called patches.
    """

    name: str
    source: Provenance
    parameters: int
    image_size: Pair
    mean: tuple[float, ...]
    std: tuple[float, ...]
    interpolation: str
    crop_pct: float
    labels_source: Provenance
    outputs: str = "classes"
    outputs_found: str = ""
    sums_to_one: bool | None = True
    ends_in: str = ""
    precision: str = "float32"
    preprocess_given: tuple[str, ...] = ()
    preprocess_note: str = ""
    channels: int = 3
    weights_notes: tuple[str, ...] = ()
    weights_image_size: Pair | None = None
    calibration: str = ""
    unsure_below: float | None = None

    tier: int = 1
    stages: tuple[Stage, ...] = ()
    tier_reason: str = ""

    @property
    def covered(self) -> Pair:
        """Rows and columns of pixels that the patches cover, from the top left."""
        if self.tier == 2:  # cells share all pixels, and their sides may be no whole ones
            return self.image_size
        (rows, columns), (height, width) = self.grid, self.patch_size
        return rows * height, columns * width

    @property
    def left_over(self) -> Pair:
        """Rows at the bottom and columns at the right that belong to no patch."""
        height, width = self.covered
        return self.image_size[0] - height, self.image_size[1] - width

    @property
    def work(self) -> int:
        """What a pass takes, in tokens; of a model in stages, as a ViT of patches of 16 pixels."""
        return self.tokens if self.tier == 1 else max(1, math.prod(self.image_size) // 16**2)

    @property
    def prefix_tokens(self) -> int:
        return len(self.prefix_names)

    @property
    def tokens(self) -> int:
        return self.prefix_tokens + self.grid[0] * self.grid[1]

    @property
    def has_class_token(self) -> bool:
        return "class" in self.prefix_names

    @property
    def position_maps(self) -> bool:
        """Whether each patch has a position embedding to compare, on a grid that can be drawn."""
        absolute = any(kind in self.position for kind in ("learned", "sin-cos"))
        return absolute and self.tokens <= LARGEST_DRAWN_GRID

    @property
    def notes(self) -> tuple[str, ...]:
        """Sentences on what of a picture the model takes, where that is not all of its colours."""
        notes = []
        if self.channels == 1:
            notes.append(
                Sentence(
                    "note.grey",
                    "Takes one channel: pictures are turned to grey (luma of ITU-R 601).",
                )
            )
        elif self.channels != 3:
            notes.append(
                Sentence(
                    "note.bands",
                    "Takes {count} channels: pictures of {count} bands.",
                    count=self.channels,
                )
            )
        rows, columns = self.left_over
        if rows or columns:
            notes.append(
                Sentence(
                    "note.left",
                    "The last {rows} rows and {columns} columns of pixels belong to no patch: the "
                    "patch convolution drops them.",
                    rows=rows,
                    columns=columns,
                )
            )
        return (*notes, self.preprocess_note) if self.preprocess_note else tuple(notes)

    def to_dict(self) -> dict[str, Any]:
        told = {"source": str(self.source), "labels_source": str(self.labels_source)}
        return {**dataclasses.asdict(self), **told, "notes": self.notes}

    def summary(self) -> str:
        """One line for a header, such as "224 px · 14×14 patches · 12 layers × 3 heads · …"."""
        height, width = self.image_size
        pixels = f"{height} px" if height == width else f"{height}×{width} px"
        channels = {1: "grey, ", 3: ""}.get(self.channels, f"{self.channels} channels, ")
        if self.tier == 2:
            grids = ", ".join("×".join(map(str, stage.grid)) for stage in self.stages)
            return (
                f"{channels}{pixels} · stages of {grids} cells · no attention between all patches"
            )
        rows, columns = self.left_over
        dropped = f" (last {rows} rows, {columns} columns in none)" if rows or columns else ""
        prefix = _joined(self.prefix_names) or "no prefix token"
        return (
            f"{channels}{pixels} · {self.grid[0]}×{self.grid[1]} patches{dropped} · "
            f"{self.depth} layers × {self.heads} heads · {prefix} · {self.position} positions"
        )


def _joined(names: Sequence[str]) -> str:
    registers = sum(name.startswith("register") for name in names)
    parts = [f"{name} token" for name in names if not name.startswith("register")]
    if registers:
        parts.append(f"{registers} registers")
    return " + ".join(parts)


def find_core(module: nn.Module) -> nn.Module:
    """The ViT itself, where the module wraps one: what has blocks and a patch embedding."""
    for child in module.modules():
        embeds = any(hasattr(child, name) for name in ("patch_embed", "embeds"))
        if embeds and isinstance(getattr(child, "blocks", None), (nn.ModuleList, nn.Sequential)):
            return child
    return module


def find_patch_embed(module: nn.Module) -> nn.Module | None:
    """What makes tokens of patches: the core's `patch_embed`, else by transformers' names."""
    named = getattr(find_core(module), "patch_embed", None)
    if isinstance(named, nn.Module):
        return named
    parts = {name.rpartition(".")[2]: part for name, part in module.named_modules()}
    return parts.get("patch_embeddings") or parts.get("patch_embedding")


def first_tensor(output: Any) -> torch.Tensor:
    """The logits of a forward pass, or a backbone's tokens; they may be in a tuple or an object.

    Raises:
        UnsupportedModelError: no tensor, or several of which each may be the logits.
    """
    named = output if isinstance(output, Mapping) else getattr(output, "__dict__", {})
    for name in ("logits", "last_hidden_state"):
        found = named.get(name) if isinstance(named, Mapping) else None
        found = getattr(output, name, None) if found is None else found
        if isinstance(found, torch.Tensor):
            return found
    if isinstance(output, torch.Tensor):
        return output
    tensors = list(tensors_in(output))
    if isinstance(output, (tuple, list)) and output and isinstance(output[0], torch.Tensor):
        first = output[0]
        if first.ndim > 2 or (first.ndim == 2 and sum(one.ndim == 2 for one in tensors) == 1):
            return first
    rows = [one for one in tensors if one.ndim == 2]
    if len(rows) == 1:
        return rows[0]
    found = (
        Sentence("part.rows", "{count} tensors of rows", count=len(rows))
        if rows
        else type(output).__name__
    )
    raise UnsupportedModelError(
        "error.module.output",
        "The model returned {found}, expected logits as one tensor; wrap it so that its forward "
        "returns them.",
        found=found,
    )


def find_prefix_names(core: nn.Module, count: int, read: Sequence[int]) -> tuple[str, ...]:
    """Names of the tokens before the patches, in their order.

    By timm's attributes where they count as many; else the first tokens before the patches that
    the output reads are the class token and the distillation token.
    """
    holder = getattr(core, "embeds", core)
    declared = getattr(core, "num_prefix_tokens", None)
    if declared is not None and int(declared) == count:
        tokens = (("class", "cls_token"), ("distillation", "dist_token"))
        known = [name for name, key in tokens if getattr(holder, key, None) is not None][:count]
        places = dict(zip(range(count), known, strict=False))
    else:
        parts = {key.rpartition(".")[2] for key, _ in core.named_parameters()}
        own = [index for index in read if index < count][:2]
        names = ["class", "distillation"]
        if not own and count and parts & CLASS_TOKENS:
            own = [0, 1][: 1 + ("distillation_token" in parts and count > 1)]
        elif len(own) == 1 and "distillation_token" in parts and count > 1:
            own = sorted({*own, own[0] + 1} & set(range(count)))
        places = dict(zip(own, names, strict=False))
    registers = iter(range(1, count + 1))
    return tuple(places.get(index) or f"register {next(registers)}" for index in range(count))


def find_pooling(core: nn.Module, read: Sequence[int], prefix_names: Sequence[str]) -> str:
    """class, mean, attention or none: declared, or by which tokens the output was seen to read."""
    declared = getattr(core, "global_pool", None)
    names = {"token": "class", "avg": "mean", "map": "attention", "": "none"}
    # Elsewhere than in timm the same name may be a switch, which tells nothing of the kind.
    told = names.get(declared, declared) if isinstance(declared, str) else None
    if isinstance(core, VisionTransformer):
        told = core.config.pooling
    if not read:
        return told or "none"
    # Which tokens are read was seen; how patches are pooled, only a name tells.
    if max(read) < len(prefix_names):
        return "class" if told in (None, "mean", "class") else told
    if "class" in prefix_names and prefix_names.index("class") in read:
        return "class + mean" if told in (None, "class", "mean") else told
    return told if told not in (None, "class") else "mean"


def find_positions(core: nn.Module) -> torch.Tensor | None:
    """Absolute positions, (1, N, D), (N, D) or (1, gh, gw, D); None if there are none."""
    if isinstance(core, VisionTransformer):
        return core.position_embedding()
    named = getattr(getattr(core, "embeds", core), "pos_embed", None)
    if isinstance(named, torch.Tensor):
        return named
    for key, parameter in core.named_parameters():
        if key.removesuffix(".weight").rpartition(".")[2] in POSITION_NAMES:
            return parameter
    return None


def find_position(core: nn.Module) -> str:
    """learned, learned 2-D, sin-cos, rotary, relative, several joined by +, or "no"."""
    if isinstance(core, VisionTransformer):
        names = {"learned_2d": "learned 2-D", "sincos": "sin-cos", "none": "no"}
        return names.get(core.config.position, core.config.position)
    kinds = []
    positions = find_positions(core)
    if positions is not None:
        kinds.append("learned" if isinstance(positions, nn.Parameter) else "sin-cos")
    parts = {name.rpartition(".")[2] for name, _ in core.named_modules()}
    parts |= {type(part).__name__ for part in core.modules()}
    if getattr(core, "rope", None) is not None or any(map(ROTARY.search, parts)):
        kinds.append("rotary")
    if any("relative_position" in key or "rel_pos" in key for key, _ in core.named_parameters()):
        kinds.append("relative")
    return " + ".join(kinds) or "no"


def find_classes(module: nn.Module, core: nn.Module, output: torch.Tensor) -> int:
    """Number of logits; 0 for a backbone that returns features."""
    declared = getattr(core, "num_classes", None)
    if output.ndim != 2:
        return 0
    headless = declared == 0 and output.shape[-1] == getattr(core, "num_features", None)
    if declared is not None and (module is core or headless or int(declared) == output.shape[-1]):
        return int(declared)
    return int(output.shape[-1])
