"""Describable Textures, partition 1, by torchvision's class."""

from __future__ import annotations

from pathlib import Path

from torchvision.datasets import DTD

from tasks.card import DatasetCard
from tasks.datasets.dataset import Dataset
from tasks.datasets.listing import file_split, label_by_folder
from tasks.datasets.torchvision_listing import list_splits

PARTITION = 1
IMAGES = "images"


def read(root: Path, card: DatasetCard) -> Dataset:
    """The official train, val and test splits of partition 1; the class is the image's folder.

    torchvision numbers the classes of each split on its own, so labels are taken from the folders of all splits.
    """
    names = {name: name for name in ("train", "val", "test")}
    found = list_splits(
        card, root, lambda at, split: DTD(str(at), split=split, partition=PARTITION, download=False), names, "dtd/dtd"
    )
    files = {name: [file.removeprefix(f"{IMAGES}/") for file in part.files] for name, part in found.items()}
    classes, labels = label_by_folder(files)
    splits = {name: file_split(card, name, root / IMAGES, files[name], labels[name], len(classes)) for name in files}
    return Dataset(card.name, classes, multi_label=False, splits=splits)
