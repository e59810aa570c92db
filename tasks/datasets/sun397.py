"""SUN397 with its first train/test partition. torchvision's class knows no partition, so this one reads the files."""

from __future__ import annotations

from pathlib import Path, PurePosixPath

from tasks.card import DatasetCard
from tasks.datasets.dataset import Dataset
from tasks.datasets.listing import file_split, read_lines, wrong_content

PARTITIONS = {"train": "Training_01.txt", "test": "Testing_01.txt"}


def read(root: Path, card: DatasetCard) -> Dataset:
    """Train and test of partition 1: lines like `/a/abbey/sun_aalphmmxwwqbyxqr.jpg`, the class being the folder."""
    folders = read_lines(card, root / "ClassName.txt")
    number = {folder: index for index, folder in enumerate(folders)}
    classes = tuple(folder[3:] for folder in folders)
    splits = {}
    for name, partition in PARTITIONS.items():
        files = read_lines(card, root / partition)
        folder_of = [str(PurePosixPath(file).parent) for file in files]
        unknown = next((folder for folder in folder_of if folder not in number), None)
        if unknown is not None:
            raise wrong_content(card, root / partition, f"{unknown} is not in ClassName.txt")
        relative = [file.lstrip("/") for file in files]
        splits[name] = file_split(card, name, root, relative, [number[folder] for folder in folder_of], len(classes))
    return Dataset(card.name, classes, multi_label=False, splits=splits)
