"""ADE20K as of the scene parsing challenge: 150 classes, a mask beside every image.

Layout: `images/{training,validation}/*.jpg`, `annotations/{training,validation}/*.png`, `objectInfo150.txt`.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np

from tasks.card import DatasetCard
from tasks.datasets.dataset import Dataset, SourceSplit
from tasks.datasets.file_masks import file_masks
from tasks.datasets.listing import file_split, read_lines, wrong_content

SPLITS = {"train": "training", "val": "validation"}
NAMES = "objectInfo150.txt"
FIRST = 1
"""Number of the first class in a mask; 0 is "other", which is neither trained nor scored."""


def read(root: Path, card: DatasetCard) -> Dataset:
    """Train and val with masks; no labels of whole images."""
    classes = _classes(card, root / NAMES)
    splits = {name: _split(root, card, name, folder, classes) for name, folder in SPLITS.items()}
    return Dataset(card.name, classes, multi_label=False, splits=splits)


def _split(root: Path, card: DatasetCard, name: str, folder: str, classes: tuple[str, ...]) -> SourceSplit:
    stems = sorted(path.stem for path in (root / "images" / folder).glob("*.jpg"))
    images = [f"images/{folder}/{stem}.jpg" for stem in stems]
    split = file_split(card, name, root, images, np.zeros((len(stems), 0), np.int64), len(classes))
    masks = file_masks(card, name, root, [f"annotations/{folder}/{stem}.png" for stem in stems], classes, FIRST)
    return replace(split, targets={"masks": masks})


def _classes(card: DatasetCard, path: Path) -> tuple[str, ...]:
    """The first of each line's names: `1  0.1576  11664  1910  wall`, a heading above."""
    rows = [line.split("\t") for line in read_lines(card, path)][1:]
    if len(rows) != card.classes or any(len(row) < 5 for row in rows):
        raise wrong_content(card, path, f"{len(rows)} lines of classes below its heading, not {card.classes}")
    return tuple(row[-1].split(",")[0].strip() for row in rows)
