"""How much memory an explanation takes above the model's own forward pass.

Each figure is the largest resident size of a process of its own that has loaded the same code.
Weights are random: memory does not depend on them.
"""

from __future__ import annotations

import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import timm
import torch

import vit_explorer as vx
from vit_explorer.models.shipped import asset

Stage = Literal["forward", "explained"]


@dataclass(frozen=True)
class Case:
    """A model at an image size, and the most its explanation should take above, in MB."""

    model: str
    size: int
    target: int | None = None


CASES = {
    "DeiT-Tiny at 1024×1024 (4,097 tokens)": Case("deit_tiny_patch16_224", 1024, target=200),
    "DINOv2 ViT-S/14 at 518×518 (1,374 tokens)": Case("vit_small_patch14_reg4_dinov2", 518),
    "DINOv2 ViT-B/14 at 518×518 (1,374 tokens)": Case("vit_base_patch14_reg4_dinov2", 518),
}


@dataclass(frozen=True)
class Memory:
    """MB of a bare forward pass, and of one rollout + Grad-CAM explanation."""

    forward: float
    explained: float
    target: int | None = None

    @property
    def above(self) -> float:
        return self.explained - self.forward


def measure(name: str) -> Memory:
    """Measure a case in two fresh processes."""
    return Memory(_peak(name, "forward"), _peak(name, "explained"), CASES[name].target)


def _go(case: Case, stage: Stage) -> None:
    """The bare forward pass, or all of an explanation, which includes detecting the model."""
    module = timm.create_model(case.model, img_size=case.size, num_classes=1000).eval()
    if stage == "forward":
        with torch.inference_mode():
            module(torch.randn(1, 3, case.size, case.size))
    else:
        model = vx.load_model(module, image_size=case.size)
        vx.explain(model, asset("cat.png"), ("rollout", "grad_cam"))


def _peak(name: str, stage: Stage) -> float:
    command = [sys.executable, "-m", __name__, name, stage, str(torch.get_num_threads())]
    done = subprocess.run(command, capture_output=True, text=True, check=True)  # noqa: S603
    return float(done.stdout)


def _highest() -> float:
    """The most memory this process has held, in MB."""
    status = Path("/proc/self/status")
    if status.exists():
        # getrusage would count what the parent held when it started this process.
        (line,) = (text for text in status.read_text().splitlines() if text.startswith("VmHWM"))
        return int(line.split()[1]) / 2**10
    import resource

    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20  # bytes on macOS


if __name__ == "__main__":
    torch.set_num_threads(int(sys.argv[3]))
    _go(CASES[sys.argv[1]], sys.argv[2])  # type: ignore[arg-type]
    print(_highest())  # noqa: T201
