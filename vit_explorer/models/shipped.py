"""The models that ship with the package, and where its own files are."""

from __future__ import annotations

from dataclasses import dataclass
from importlib import resources
from pathlib import Path

BUNDLED = "bundled"


def asset(name: str) -> Path:
    """Path of a shipped file, in an installed wheel or in a clone."""
    installed = Path(str(resources.files("vit_explorer"))) / "assets" / name
    if installed.exists():
        return installed
    return Path(__file__).resolve().parents[2] / "assets" / name


@dataclass(frozen=True)
class Shipped:
    """A model in `assets/weights/`: its file there without the ending, and what it knows."""

    stem: str
    knows: str

    @property
    def weights(self) -> Path:
        return asset(f"weights/{self.stem}.safetensors")

    @property
    def film(self) -> Path:
        return asset(f"weights/{self.stem}_film.npz")


TINY_IMAGENET = Shipped("bundled", "200 everyday things (Tiny ImageNet), 64×64 pixels")
CIFAR10 = Shipped("bundled_cifar10", "10 animals and vehicles (CIFAR-10), 32×32 pixels")
SHIPPED = {BUNDLED: TINY_IMAGENET, "bundled-cifar10": CIFAR10}
