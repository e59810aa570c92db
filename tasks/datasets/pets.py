"""Oxford-IIIT Pets, 37 breeds, by torchvision's class."""

from __future__ import annotations

from pathlib import Path

from torchvision.datasets import OxfordIIITPet

from tasks.card import DatasetCard
from tasks.datasets.dataset import Dataset
from tasks.datasets.listing import file_split
from tasks.datasets.torchvision_listing import list_splits


def read(root: Path, card: DatasetCard) -> Dataset:
    """The official trainval split, here called train, and test."""
    names = {"train": "trainval", "test": "test"}
    found = list_splits(card, root, lambda at, split: OxfordIIITPet(str(at), split=split), names, "oxford-iiit-pet")
    classes = found["train"].classes
    splits = {name: file_split(card, name, root, part.files, part.labels, len(classes)) for name, part in found.items()}
    return Dataset(card.name, classes, multi_label=False, splits=splits)
