"""FGVC Aircraft at the level of variants (100 classes), by torchvision's class."""

from __future__ import annotations

from pathlib import Path

from torchvision.datasets import FGVCAircraft

from tasks.card import DatasetCard
from tasks.datasets.dataset import Dataset
from tasks.datasets.listing import file_split
from tasks.datasets.torchvision_listing import list_splits


def read(root: Path, card: DatasetCard) -> Dataset:
    """The official train, val and test splits."""
    names = {name: name for name in ("train", "val", "test")}
    found = list_splits(card, root, lambda at, split: FGVCAircraft(str(at), split=split), names, "fgvc-aircraft-2013b")
    classes = found["train"].classes
    splits = {name: file_split(card, name, root, part.files, part.labels, len(classes)) for name, part in found.items()}
    return Dataset(card.name, classes, multi_label=False, splits=splits)
