"""Images for pre-training the demo backbones, rendered once and shared by all runs through a file."""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from backbones.io.files import write_array
from tasks.pretraining.augmentation import INPUT_SIZE
from tasks.synthetic import RENDERER_VERSION, Scene, SceneKind, render

SPLIT = "pretraining"
"""A separate split, none of whose images is used by a task."""


@dataclass(frozen=True)
class PoolSize:
    """Number of images of each kind."""

    objects: int = 14_000
    scenes: int = 6_000
    digits: int = 8_000

    def addresses(self) -> Iterator[tuple[SceneKind, int]]:
        """Kind and index of each image, in the pool's order."""
        counts = (self.objects, self.scenes, self.digits)
        for kind, count in zip(SceneKind, counts, strict=True):
            yield from ((kind, index) for index in range(count))

    @property
    def total(self) -> int:
        """Total number of images."""
        return self.objects + self.scenes + self.digits


@dataclass(frozen=True, eq=False)
class Pool:
    """`images` uint8 [n, h, w, 3]; `solids` and `digits` int64 [n], -1 for images without a single such label."""

    images: NDArray[np.uint8]
    solids: NDArray[np.int64]
    digits: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.images)


def _labels(kind: SceneKind, scene: Scene) -> tuple[int, int]:
    return (scene.factors.solid if kind is SceneKind.OBJECT else -1), scene.factors.digit


def render_pool(size: PoolSize) -> Pool:
    """Render the pool (about 600 images per second on one core)."""
    images = np.empty((size.total, INPUT_SIZE, INPUT_SIZE, 3), np.uint8)
    labels = np.empty((size.total, 2), np.int64)
    for row, (kind, index) in enumerate(size.addresses()):
        scene = render(kind, SPLIT, index, INPUT_SIZE)
        images[row], labels[row] = scene.image, _labels(kind, scene)
    return Pool(images, labels[:, 0].copy(), labels[:, 1].copy())


def _paths(folder: Path, size: PoolSize) -> dict[str, Path]:
    stem = f"pool-v{RENDERER_VERSION}-{size.objects}-{size.scenes}-{size.digits}"
    return {part: folder / f"{stem}-{part}.npy" for part in ("solids", "digits", "images")}


def open_pool(folder: Path, size: PoolSize | None = None) -> Pool:
    """Open the pool of a folder, rendering it first if missing. The images stay on disk, memory-mapped."""
    size = size or PoolSize()
    paths = _paths(folder, size)
    if not all(path.exists() for path in paths.values()):
        folder.mkdir(parents=True, exist_ok=True)
        pool = render_pool(size)
        for part, path in paths.items():
            write_array(path, getattr(pool, part))
    opened = Pool(*(np.load(paths[part], mmap_mode="r") for part in ("images", "solids", "digits")))
    return replace(opened, solids=np.array(opened.solids), digits=np.array(opened.digits))
