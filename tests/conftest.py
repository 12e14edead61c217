"""Fixtures every test may use; those that need the shared folder skip without it."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from pathlib import Path

# Several processes share two cores: each, and the servers that it starts, computes on one of them.
os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np
import pytest
from fastapi.testclient import TestClient

import vit_explorer as vx
from tests.browser import address, browser, page, silent, small_checkpoint
from vit_explorer.page import Workbench, build_app
from vit_explorer.page.state.results import Result

__all__ = ["address", "browser", "page", "silent", "small_checkpoint"]

ROOT = Path(__file__).resolve().parents[1]
# What asks for one of these loads real weights, or drives a browser.
SLOW_FIXTURES = {"shared", "browser", "page"}
LONGEST = (
    "test_shipped.py",
    "test_page.py",
    "test_page_frame.py",
    "test_accessibility.py",
    "test_training.py",
    "test_training_view.py",
    "test_fuzz.py",
    "test_page_figures.py",
    "test_page_outputs.py",
    "test_page_stages.py",
    "test_page_links.py",
    "test_page_odd_vits.py",
    "test_page_classes.py",
    "test_page_explain.py",
    "test_page_recovery.py",
    "test_architectures.py",
    "test_page_channels.py",
    "test_page_learn.py",
    "test_training_killed.py",
    "test_downloads.py",
    "test_study.py",
    "test_data_view.py",
    "test_benchmarks.py",
    "test_page_attention.py",
    "test_stages.py",
    "test_compared_runs.py",
    "test_page_origins.py",
    "test_doctor.py",
    "test_endings.py",
    "test_page_language.py",
    "test_ui.py",
    "test_page_layers.py",
    "test_page_whatif.py",
    "test_proxy.py",
    "test_words.py",
)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark as slow what asks for a slow fixture, by itself or through another.

    The longest files come first: what begins last should not keep one process waiting.
    """
    order = {name: place for place, name in enumerate(LONGEST)}
    items.sort(key=lambda item: order.get(item.path.name, len(order)))
    for item in items:
        asked = set(getattr(item, "fixturenames", ()))
        if SLOW_FIXTURES & asked or item.get_closest_marker("long"):
            item.add_marker("slow")


@pytest.fixture(scope="session")
def assets() -> Path:
    return ROOT / "assets"


@pytest.fixture(scope="session")
def cat(assets: Path) -> Path:
    return assets / "cat.png"


@pytest.fixture(scope="session")
def coffee(assets: Path) -> Path:
    return assets / "coffee.png"


@pytest.fixture(scope="session")
def shared() -> Path:
    folder = Path(os.environ.get("VIT_EXPLORER_SHARED", ROOT.parent / "shared"))
    if not folder.is_dir():
        pytest.skip(
            "real weights and goldens are not here: set VIT_EXPLORER_SHARED to their folder"
        )
    return folder


@pytest.fixture(scope="session")
def deit_tiny(shared: Path) -> vx.LoadedModel:
    return vx.load_model(
        "deit_tiny_patch16_224", weights=shared / "weights/deit_tiny_patch16_224.safetensors"
    )


@pytest.fixture(scope="session")
def goldens(shared: Path) -> dict[str, np.ndarray]:
    with np.load(shared / "goldens/deit_tiny.npz") as file:
        return dict(file)


@pytest.fixture(scope="session")
def small() -> vx.LoadedModel:
    """A small from-scratch ViT with random weights, large enough for attention to vary."""
    import torch

    from vit_explorer.models.vit import VisionTransformer, ViTConfig

    torch.manual_seed(0)
    module = VisionTransformer(
        ViTConfig(image_size=(24, 32), patch_size=(8, 8), dim=32, depth=3, heads=2, classes=5)
    )
    for parameter in module.parameters():
        torch.nn.init.normal_(parameter, std=0.3)
    return load_small(module)


def load_small(module: object) -> vx.LoadedModel:
    """Load a module with a plain transform: resize, to tensor, mean and std 0.5."""
    from torchvision import transforms

    size = module.config.image_size  # type: ignore[attr-defined]
    return vx.load_model(
        module,
        transform=transforms.Compose(
            [
                transforms.Resize(size),
                transforms.ToTensor(),
                transforms.Normalize((0.5,) * 3, (0.5,) * 3),
            ]
        ),
        image_size=size,
    )


@pytest.fixture(scope="module")
def workbench(small: vx.LoadedModel) -> Workbench:
    return Workbench(small)


@pytest.fixture(scope="module")
def result(workbench: Workbench) -> Result:
    return workbench.analyse("cat.png", workbench.start_name, None)


@pytest.fixture(scope="module")
def client(workbench: Workbench) -> Iterator[TestClient]:
    with TestClient(build_app(workbench), base_url="http://localhost") as started:
        yield started


@pytest.fixture
def terminal() -> Iterator[None]:
    """A closed terminal is heard of, also where `nohup` keeps that from the tests."""
    before = signal.signal(signal.SIGHUP, signal.SIG_DFL)
    yield
    signal.signal(signal.SIGHUP, before)
