"""How long an explanation takes, as a ratio to the model's own passes and to what peers do.

    python tests/benchmarks/speed.py [--model NAME]... [--rounds N] [--threads N] [--json FILE]

Runs are taken in turn, so that a busy machine slows all alike; medians of the rounds are printed.
Weights are random: speed does not depend on them.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from pytorch_grad_cam import GradCAM
from pytorch_grad_cam.utils.model_targets import ClassifierOutputTarget

import vit_explorer as vx
from vit_explorer.explanation import versions

ROOT = Path(__file__).resolve().parents[2]
FIRST_PAGE = ("rollout", "grad_cam")
ONE_BACKWARD = tuple(name for name, method in vx.METHODS.items() if method.gradients != "none")


class ExplicitRollout:
    """Rollout as its much-copied script does it: fused attention off, every matrix kept."""

    def __init__(self, model: vx.LoadedModel) -> None:
        self.model = model
        self.kept: list[torch.Tensor] = []

    def __call__(self, pixels: torch.Tensor) -> np.ndarray:
        handles = []
        self.kept = []
        for block in self.model.blocks:
            block.attn.fused_attn = False
            hook = block.attn.attn_drop.register_forward_hook(lambda _, __, a: self.kept.append(a))
            handles.append(hook)
        try:
            with torch.no_grad():
                self.model.module(pixels)
        finally:
            for handle, block in zip(handles, self.model.blocks, strict=True):
                handle.remove()
                block.attn.fused_attn = True
        product = torch.eye(self.kept[0].shape[-1])
        for attention in self.kept:
            fused = attention.mean(dim=1)[0]
            mixed = fused + torch.eye(len(fused))
            product = mixed / mixed.sum(dim=-1, keepdim=True) @ product
        return product[0, 1:].numpy()


def jobs(model: vx.LoadedModel, prepared: vx.Prepared) -> dict[str, Callable[[], object]]:
    module, pixels = model.module, prepared.pixels
    gh, gw = model.card.grid
    prefix = model.card.prefix_tokens

    def forward() -> torch.Tensor:
        with torch.no_grad():
            return module(pixels)

    def forward_backward() -> torch.Tensor:
        with torch.enable_grad():
            x = module.patch_embed(pixels)
            x = start = module._pos_embed(x).detach().requires_grad_(True)
            for block in module.blocks:
                x = block(x)
            logit = module.forward_head(module.norm(x))[0].max()
        return torch.autograd.grad(logit, start)[0]

    def rollout() -> np.ndarray:
        return vx.METHODS["rollout"](vx.trace(model, prepared)).values

    def first_page() -> object:
        traced = vx.trace(model, prepared, gradients="last")
        maps = [vx.METHODS[name](traced).values for name in FIRST_PAGE]
        best = traced.probabilities.topk(5)
        return maps, best, traced.attention(len(model.blocks) // 2), vx.position_similarity(model)

    def one_backward() -> object:
        traced = vx.trace(model, prepared, gradients="all")
        return [vx.METHODS[name](traced).values for name in ONE_BACKWARD]

    def as_grid(tokens: torch.Tensor) -> torch.Tensor:
        return tokens[:, prefix:].reshape(len(tokens), gh, gw, -1).permute(0, 3, 1, 2)

    explicit = ExplicitRollout(model)

    def peers() -> object:
        maps = explicit(pixels)
        module.requires_grad_(True)
        try:
            with GradCAM(module, [module.blocks[-1].norm1], reshape_transform=as_grid) as peer:
                return maps, peer(pixels, [ClassifierOutputTarget(int(module(pixels).argmax()))])
        finally:
            module.requires_grad_(False)

    def two_maps() -> object:
        traced = vx.trace(model, prepared, gradients="last")
        return [vx.METHODS[name](traced).values for name in FIRST_PAGE]

    return {
        "forward": forward,
        "forward + backward": forward_backward,
        "rollout": rollout,
        "first page": first_page,
        "one backward": one_backward,
        "rollout + Grad-CAM": two_maps,
        "peers' rollout + Grad-CAM": peers,
    }


ROWS = (
    ("trace + rollout / forward pass", "rollout", "forward", "≤ 1.15"),
    ("first page / forward pass", "first page", "forward", "≤ 1.5"),
    (
        "all one-backward methods / forward + backward",
        "one backward",
        "forward + backward",
        "≤ 1.3",
    ),
    ("peers / ours, rollout + Grad-CAM", "peers' rollout + Grad-CAM", "rollout + Grad-CAM", "≥ 4"),
)


def measure(name: str, rounds: int) -> dict[str, object]:
    torch.manual_seed(0)
    model = vx.load_model(name, pretrained=False, device="cpu")
    prepared = model.preprocess(vx.open_picture(ROOT / "assets" / "cat.png"))
    timed = jobs(model, prepared)
    seconds: dict[str, list[float]] = {job: [] for job in timed}
    for turn in range(rounds + 1):
        for job, call in timed.items():
            start = time.perf_counter()
            call()
            if turn:  # the first round warms up
                seconds[job].append(time.perf_counter() - start)
    medians = {job: statistics.median(times) for job, times in seconds.items()}
    # A ratio within a round compares neighbours in time; its median is steadier than the medians'.
    ratios = {
        row: statistics.median(a / b for a, b in zip(seconds[over], seconds[under], strict=True))
        for row, over, under, _ in ROWS
    }
    return {"model": name, "ratios": ratios, "median_ms": {j: m * 1e3 for j, m in medians.items()}}


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--model", action="append")
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--json", type=Path)
    given = parser.parse_args()
    torch.set_num_threads(given.threads)
    results = []
    for name in given.model or ["deit_tiny_patch16_224", "vit_base_patch16_224"]:
        result = measure(name, given.rounds)
        results.append(result)
        print(f"\n{name}, {given.rounds} rounds, {given.threads} threads")
        for row, _, _, target in ROWS:
            print(f"  {row:48} {result['ratios'][row]:6.2f}×   target {target}")
        for job, milliseconds in result["median_ms"].items():
            print(f"  {job:48} {milliseconds:6.1f} ms")
    if given.json:
        content = {"versions": versions(), "threads": given.threads, "results": results}
        given.json.write_text(json.dumps(content, indent=2) + "\n")


if __name__ == "__main__":
    sys.exit(main())
