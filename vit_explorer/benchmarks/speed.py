"""How long an explanation takes, as a ratio to the model's own passes and to what peers do.

Runs are taken in turn, so that a busy machine slows all alike; a ratio is the median over rounds of
neighbouring runs. Weights are random: speed does not depend on them.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass

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
    """The ratio of two jobs' times, and the design's target for it."""

    what: str
    over: str
    under: str
    target: str


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
    Row("timm AttentionExtract + rollout / ours", "AttentionExtract rollout", "rollout", ""),
    Row("explicit rollout / ours", "explicit rollout", "rollout", ""),
    Row("captum's Grad-CAM / ours", "captum Grad-CAM", "Grad-CAM", ""),
    Row("grad-cam package's Grad-CAM / ours", "grad-cam package", "Grad-CAM", ""),
)


def _jobs(model: vx.LoadedModel, prepared: vx.Prepared) -> dict[str, Callable[[], object]]:
    module = model.module
    pixels = prepared.pixels.to(model.device)

    def forward() -> Tensor:
        with torch.no_grad():
            return module(pixels)

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
    jobs = _jobs(model, prepared)
    seconds: dict[str, list[float]] = {job: [] for job in jobs}
    for turn in range(rounds + 1):
        for job, call in jobs.items():
            seconds[job].append(_timed(call, model.device))
        if told is not None:
            told(turn + 1, rounds + 1)
    measured = {job: times[1:] for job, times in seconds.items()}
    return Speed(
        model=name,
        rounds=rounds,
        ratios={
            row.what: statistics.median(
                a / b for a, b in zip(measured[row.over], measured[row.under], strict=True)
            )
            for row in ROWS
        },
        targets={row.what: row.target for row in ROWS},
        milliseconds={job: statistics.median(times) * 1e3 for job, times in measured.items()},
    )


def _timed(call: Callable[[], object], device: torch.device) -> float:
    start = time.perf_counter()
    call()
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return time.perf_counter() - start
