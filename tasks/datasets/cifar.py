"""CIFAR-10 and CIFAR-100 (fine labels), from the Python batches, by torchvision's classes.

torchvision compares every batch with its published MD5 before it is unpickled, so a foreign pickle is never opened.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
from torchvision.datasets import CIFAR10, CIFAR100

from tasks.card import DatasetCard
from tasks.datasets.dataset import Dataset, SourceSplit
from tasks.datasets.listing import array_split
from tasks.datasets.torchvision_listing import as_data_error


def read(root: Path, card: DatasetCard) -> Dataset:
    """Train and test, 32 x 32 pixels, in memory (184 MB)."""
    make = CIFAR100 if card.reader == "cifar100" else CIFAR10
    splits: dict[str, SourceSplit] = {}
    classes: tuple[str, ...] = ()
    with as_data_error(card, root / make.base_folder):
        for name in ("train", "test"):
            source = make(str(root), train=name == "train")
            classes = tuple(source.classes)
            images = np.ascontiguousarray(source.data, dtype=np.uint8)
            splits[name] = array_split(card, name, images, source.targets, len(classes))
    return Dataset(card.name, classes, multi_label=False, splits=splits)
