"""Tiny ImageNet for tests: a small copy of its official layout, and the real test pictures."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import numpy as np
from PIL import Image

from vit_explorer.datasets.tiny_imagenet import names

WNIDS = ("n07920052", "n02123045", "n01443537")  # espresso, tabby cat, goldfish: not in order
TRAINING, VALIDATION = 4, 2  # pictures a class


def write_official(parent: Path) -> Path:
    """`tiny-imagenet-200/` of three classes of noise, with the files that the real one has."""
    root, draw = parent / "tiny-imagenet-200", np.random.default_rng(0)

    def save(path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        noise = draw.integers(0, 256, (64, 64, 3), dtype=np.uint8)
        Image.fromarray(noise).save(path, quality=90)

    for wnid in WNIDS:
        for index in range(TRAINING):
            save(root / "train" / wnid / "images" / f"{wnid}_{index}.JPEG")
        boxes = "".join(f"{wnid}_{index}.JPEG\t0\t0\t63\t63\n" for index in range(TRAINING))
        (root / "train" / wnid / f"{wnid}_boxes.txt").write_text(boxes)
    lines = []
    for index in range(VALIDATION * len(WNIDS)):
        name, wnid = f"val_{index}.JPEG", WNIDS[index % len(WNIDS)]
        save(root / "val" / "images" / name)
        lines.append(f"{name}\t{wnid}\t0\t0\t63\t63\n")
    (root / "val" / "val_annotations.txt").write_text("".join(lines))
    save(root / "test" / "images" / "test_0.JPEG")
    (root / "wnids.txt").write_text("".join(f"{wnid}\n" for wnid in WNIDS))
    (root / "words.txt").write_text("n07920052\tespresso\nn02123045\ttabby, tabby cat\n")
    return root


def unpack_test(shared: Path, out: Path) -> Path:
    """The 10,000 test pictures of the shared folder as `out/test/WNID/NNN.webp`."""
    wnids, seen = list(names()), Counter[int]()
    with np.load(shared / "data/tiny-imagenet-200/test.npz") as part:
        content, offsets, labels = part["bytes"].tobytes(), part["offsets"], part["labels"]
    for index, label in enumerate(labels.tolist()):
        folder = out / "test" / wnids[label]
        folder.mkdir(parents=True, exist_ok=True)
        picture = content[offsets[index] : offsets[index + 1]]
        (folder / f"{seen[label]:03d}.webp").write_bytes(picture)
        seen[label] += 1
    return out
