"""JPEG files of common sizes, cut from scikit-learn's two photographs."""

from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np
from PIL import Image
from sklearn.datasets import load_sample_images
from torchvision import transforms

from tasks.datasets.dataset import SourceSplit
from tasks.datasets.images import FileImages

QUALITY = 90
MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


def photographs(folder: Path, count: int, size: tuple[int, int]) -> SourceSplit:
    """`count` different files of `size` (width, height), as one split of a dataset."""
    width, height = size
    names = tuple(f"{width}x{height}-{number}.jpg" for number in range(count))
    generator, sources = np.random.default_rng(0), load_sample_images().images
    for number, name in enumerate(names):
        left, top = (int(generator.integers(space)) for space in (64, 42))
        cut = Image.fromarray(sources[number % 2]).crop((left, top, left + 576, top + 385))
        cut.resize(size, Image.Resampling.BICUBIC).save(folder / name, quality=QUALITY)
    digest = hashlib.sha256(repr((names, QUALITY)).encode()).hexdigest()
    return SourceSplit(
        "train", FileImages("photographs", folder, names), np.zeros(count, np.int64), names, digest, "0" * 64
    )


def published_chain(crop: int = 224) -> transforms.Compose:
    """Preprocessing of the published script: bicubic on the Pillow image, one image at a time."""
    return transforms.Compose(
        [
            transforms.Resize(crop, interpolation=transforms.InterpolationMode.BICUBIC),
            transforms.CenterCrop(crop),
            transforms.ToTensor(),
            transforms.Normalize(MEAN, STD),
        ]
    )
