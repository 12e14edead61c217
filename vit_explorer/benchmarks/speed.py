"""How long an explanation takes, as a ratio to the model's own passes and to what peers do.

Runs are taken in turn, so that a busy machine slows all alike; a ratio is the median over rounds of
neighbouring runs. Weights are random: speed does not depend on them.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import timm
import torch
from timm.models import VisionTransformer
from torch import Tensor

import vit_explorer as vx
from vit_explorer.benchmarks import peers
from vit_explorer.errors import UnsupportedModelError
from vit_explorer.models.shipped import asset

MODELS = ("deit_tiny_patch16_224", "vit_base_patch16_224")
FIRST_PAGE = ("rollout", "grad_cam")
ONE_BACKWARD = tuple(
    name
    for name, method in vx.METHODS.items()
    if method.gradients != "none" and not method.runs_model
)
MANY = 16


@dataclass(frozen=True)
class Row:
    """The ratio of two jobs' times, and the design's target for it; `processor` where it is that of
    the seconds of all cores."""

    what: str
    over: str
    under: str
    target: str
    processor: bool = False


ROWS = (
    Row("trace + rollout / forward pass", "rollout", "forward", "≤ 1.15"),
    Row(
        "predictions, rollout, Grad-CAM, an attention map, positions / forward pass",
        "first page",
        "forward",
        "≤ 1.3",
    ),
    Row(
        "all methods of one backward pass / forward + backward",
        "one backward",
        "forward + backward",
        "≤ 1.15",
    ),
    Row(
        "the balanced backward pass (libra_input_x_gradient) / forward + backward",
        "balanced",
        "forward + backward",
        "",
    ),
    Row("the lens of every patch at every depth / forward pass", "patch lens", "forward", ""),
    Row("components of every layer's patches / forward pass", "components", "forward", ""),
    Row("patches matched across two pictures / forward pass", "matches", "forward", ""),
    Row(
        "explicit rollout + grad-cam package / ours",
        "explicit rollout + grad-cam package",
        "rollout + Grad-CAM",
        "≥ 6",
    ),
    Row(
        "one by one / batched, rollout + Grad-CAM",
        f"{MANY} pictures one by one",
        f"{MANY} pictures batched",
        "≥ 1.2 (CPU), ≥ 2 (GPU)",
    ),
    Row(
        "a folder's pictures into results, rollout + Grad-CAM / bare batched passes",
        f"{MANY} pictures of a folder",
        f"{MANY} bare passes batched",
        "≤ 1.3",
    ),
    Row(
        "the same in processor seconds",
        f"{MANY} pictures of a folder",
        f"{MANY} bare passes batched",
        "",
        processor=True,
    ),
    Row("timm AttentionExtract + rollout / ours", "AttentionExtract rollout", "rollout", ""),
    Row("explicit rollout / ours", "explicit rollout", "rollout", ""),
    Row("captum's Grad-CAM / ours", "captum Grad-CAM", "Grad-CAM", ""),
    Row("grad-cam package's Grad-CAM / ours", "grad-cam package", "Grad-CAM", ""),
)


def _jobs(
    model: vx.LoadedModel, prepared: vx.Prepared, folder: Path
) -> dict[str, Callable[[], object]]:
    """What is timed; `folder` gets pictures, and results of them."""
    module = model.module
    pixels = prepared.pixels.to(model.device)
    together = pixels.expand(MANY, -1, -1, -1).contiguous()
    pictures = folder / "pictures"
    pictures.mkdir()
    for number in range(MANY):
        prepared.picture.image.save(pictures / f"{number}.jpg", quality=95)

    def forward() -> Tensor:
        with torch.no_grad():
            return module(pixels)

    def forward_many() -> Tensor:
        with torch.no_grad():
            return module(together)

    def forward_backward() -> Tensor:
        with torch.enable_grad():
            start = module._pos_embed(module.patch_embed(pixels)).detach().requires_grad_(True)  # type: ignore[operator]
            x = start
            for block in model.blocks:
                x = block(x)
            logit = module.forward_head(module.norm(x))[0].max()  # type: ignore[operator]
        return torch.autograd.grad(logit, start)[0]

    def maps(*names: str) -> list[object]:
        needed = {vx.METHODS[name].gradients for name in names}
        furthest = next(kind for kind in ("all", "last", "none") if kind in needed)
        passed = vx.trace(model, prepared, gradients=furthest)
        return [vx.METHODS[name](passed).values for name in names]

    def first_page() -> object:
        passed = vx.trace(model, prepared, gradients="last")
        shown = [vx.METHODS[name](passed).values for name in FIRST_PAGE]
        best = passed.measured.topk(5)
        return shown, best, passed.attention(len(model.blocks) // 2), vx.position_similarity(model)

    passed = vx.trace(model, prepared)
    explicit, package = peers.ExplicitRollout(model), peers.grad_cam_package(model)
    extracted, captum = peers.ExtractedRollout(model), peers.captum_grad_cam(model)
    return {
        "forward": forward,
        "forward + backward": forward_backward,
        "rollout": lambda: maps("rollout"),
        "Grad-CAM": lambda: maps("grad_cam"),
        "rollout + Grad-CAM": lambda: maps(*FIRST_PAGE),
        "first page": first_page,
        "one backward": lambda: maps(*ONE_BACKWARD),
        "balanced": lambda: vx.METHODS["libra_input_x_gradient"](passed),
        "patch lens": lambda: vx.patch_lens(passed),
        "components": lambda: [
            vx.feature_components(passed, layer=layer) for layer in range(len(model.blocks))
        ],
        "matches": lambda: vx.patch_matches(passed, passed, by="query_key").nearest,
        "explicit rollout": lambda: explicit(pixels),
        "AttentionExtract rollout": lambda: extracted(pixels),
        "grad-cam package": lambda: package(pixels),
        "captum Grad-CAM": lambda: captum(pixels),
        "explicit rollout + grad-cam package": lambda: (explicit(pixels), package(pixels)),
        f"{MANY} pictures one by one": lambda: [
            vx.explain(model, prepared, FIRST_PAGE) for _ in range(MANY)
        ],
        f"{MANY} pictures batched": lambda: vx.explain(model, [prepared] * MANY, FIRST_PAGE),
        f"{MANY} pictures of a folder": lambda: list(
            vx.explain_folder(model, pictures, folder / "out", FIRST_PAGE)
        ),
        f"{MANY} bare passes batched": forward_many,
    }


@dataclass(frozen=True)
class Speed:
    """A model's ratios and their targets by row, and median milliseconds by job."""

    model: str
    rounds: int
    ratios: dict[str, float]
    targets: dict[str, str]
    milliseconds: dict[str, float]


def measure(
    name: str,
    rounds: int = 15,
    device: str = "cpu",
    told: Callable[[int, int], None] | None = None,
) -> Speed:
    """Run every job in turn, `rounds` times after one to warm up; `told` follows (done, all).

    Raises UnsupportedModelError for other models than timm's plain ViTs, which the peers need.
    """
    torch.manual_seed(0)
    known = timm.is_model(name)
    model = vx.load_model(name, pretrained=False, device=device) if known else None
    if model is None or not isinstance(model.module, VisionTransformer):
        raise UnsupportedModelError(
            "error.benchmark.model",
            "The benchmarks time timm's plain ViTs, and {name} is none; name one such as {such}.",
            name=name,
            such=MODELS[0],
        )
    prepared = model.prepare(asset("cat.png"))
    wall: dict[str, list[float]] = {}
    processor: dict[str, list[float]] = {}
    with TemporaryDirectory(prefix="vit-explorer-") as folder:
        jobs = _jobs(model, prepared, Path(folder))
        for turn in range(rounds + 1):
            for job, call in jobs.items():
                seconds = _timed(call, model.device)
                if turn:  # the first warms up
                    wall.setdefault(job, []).append(seconds[0])
                    processor.setdefault(job, []).append(seconds[1])
            if told is not None:
                told(turn + 1, rounds + 1)

    def ratio(row: Row) -> float:
        taken = processor if row.processor else wall
        pairs = zip(taken[row.over], taken[row.under], strict=True)
        return statistics.median(a / b for a, b in pairs)

    return Speed(
        model=name,
        rounds=rounds,
        ratios={row.what: ratio(row) for row in ROWS},
        targets={row.what: row.target for row in ROWS},
        milliseconds={job: statistics.median(times) * 1e3 for job, times in wall.items()},
    )


def _timed(call: Callable[[], object], device: torch.device) -> tuple[float, float]:
    """Seconds on the clock, and of all processors together."""
    start, worked = time.perf_counter(), time.process_time()
    call()
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return time.perf_counter() - start, time.process_time() - worked
