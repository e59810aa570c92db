"""Caltech-101 with 102 classes (including BACKGROUND_Google) and 30 training images per class.

torchvision's class omits the background and has no split, so this reader lists the folders.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from tasks.datasets.card import DatasetCard
from tasks.datasets.dataset import Dataset
from tasks.datasets.readers.make_splits import file_split, read_lines, wrong_content

FOLDER = "caltech101/101_ObjectCategories"
SPLITS = ("train", "test")
TRAIN_PER_CLASS = 30
DERIVED = (
    "train.txt and test.txt of the published split are not next to the images, so 30 images per class were drawn for "
    "training without replacement under seed 0; the published split drew with replacement"
)


def read(root: Path, card: DatasetCard) -> Dataset:
    """Train and test as listed in `train.txt` and `test.txt`, including repeated lines; else the derived split."""
    classes = tuple(sorted(path.name for path in (root / FOLDER).iterdir() if path.is_dir()))
    listed = all((root / f"{name}.txt").exists() for name in SPLITS)
    parts = {name: _listed(card, root / f"{name}.txt") for name in SPLITS} if listed else _derived(root, classes)
    splits = {
        name: file_split(
            card, name, root / FOLDER, [file for file, _ in pairs], [label for _, label in pairs], len(classes)
        )
        for name, pairs in parts.items()
    }
    return Dataset(card.name, classes, multi_label=False, splits=splits, notes=() if listed else (DERIVED,))


def _listed(card: DatasetCard, path: Path) -> list[tuple[str, int]]:
    """Lines like `accordion/image_0001.jpg 5`."""
    pairs: list[tuple[str, int]] = []
    for line in read_lines(card, path):
        file, _, label = line.rpartition(" ")
        if not file or not label.isdigit():
            raise wrong_content(card, path, f"the line {line!r} is not a file and a label")
        pairs.append((file, int(label)))
    return pairs


def _derived(root: Path, classes: tuple[str, ...]) -> dict[str, list[tuple[str, int]]]:
    """30 images of every class (or all but one of a smaller class) for training, the others for testing."""
    random = np.random.RandomState(0)
    parts: dict[str, list[tuple[str, int]]] = {name: [] for name in SPLITS}
    for label, name in enumerate(classes):
        files = sorted(path.name for path in (root / FOLDER / name).glob("*.jpg"))
        chosen = set(random.permutation(len(files))[: min(TRAIN_PER_CLASS, len(files) - 1)].tolist())
        for index, file in enumerate(files):
            parts["train" if index in chosen else "test"].append((f"{name}/{file}", label))
    return parts
