"""Food-101, by torchvision's class."""

from __future__ import annotations

from pathlib import Path

from torchvision.datasets import Food101

from tasks.card import DatasetCard
from tasks.datasets.dataset import Dataset
from tasks.datasets.listing import file_split, label_by_folder
from tasks.datasets.torchvision_listing import list_splits

IMAGES = "food-101/images"


def read(root: Path, card: DatasetCard) -> Dataset:
    """The official train and test splits; the class is the image's folder."""
    names = {name: name for name in ("train", "test")}
    found = list_splits(card, root, lambda at, split: Food101(str(at), split=split), names)
    files = {name: [file.removeprefix(f"{IMAGES}/") for file in part.files] for name, part in found.items()}
    classes, labels = label_by_folder(files)
    splits = {name: file_split(card, name, root / IMAGES, files[name], labels[name], len(classes)) for name in files}
    return Dataset(card.name, classes, multi_label=False, splits=splits)
