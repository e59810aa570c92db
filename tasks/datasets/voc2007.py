"""Pascal VOC 2007 classification: several of 20 labels per image, from `ImageSets/Main/<class>_<split>.txt`."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from tasks.card import DatasetCard
from tasks.datasets.dataset import Dataset, SourceSplit
from tasks.datasets.layouts import VOC, VOC_CLASSES
from tasks.datasets.listing import file_split, read_lines, wrong_content


def read(root: Path, card: DatasetCard) -> Dataset:
    """The official train, val and test splits; labels [n, 20] of 0 and 1.

    An image is positive only where its line says 1: an object that is marked difficult (0) counts as absent, as in the
    paper's code (`datasets/voc2007.py`).
    """
    splits = {name: _split(root, card, name) for name in ("train", "val", "test")}
    return Dataset(card.name, VOC_CLASSES, multi_label=True, splits=splits)


def _split(root: Path, card: DatasetCard, name: str) -> SourceSplit:
    columns: list[list[bool]] = []
    images: list[str] = []
    for kind in VOC_CLASSES:
        path = root / VOC / "ImageSets" / "Main" / f"{kind}_{name}.txt"
        marks = _marks(card, path)
        images = images or list(marks)
        if list(marks) != images:
            raise wrong_content(card, path, f"it lists other images than {VOC_CLASSES[0]}_{name}.txt")
        columns.append([mark == 1 for mark in marks.values()])
    labels = np.array(columns, dtype=np.int64).T
    return file_split(card, name, root / VOC / "JPEGImages", [f"{i}.jpg" for i in images], labels, len(VOC_CLASSES))


def _marks(card: DatasetCard, path: Path) -> dict[str, int]:
    """Image name to -1, 0 (difficult) or 1."""
    marks: dict[str, int] = {}
    for line in read_lines(card, path):
        image, _, mark = line.partition(" ")
        if mark.strip() not in {"-1", "0", "1"}:
            raise wrong_content(card, path, f"the line {line!r} is not a name and -1, 0 or 1")
        marks[image] = int(mark)
    return marks
