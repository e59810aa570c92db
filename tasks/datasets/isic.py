"""ISIC 2018, task 3: seven kinds of skin lesion, from the one-hot ground truth table."""

from __future__ import annotations

import csv
from pathlib import Path

from tasks.card import DatasetCard
from tasks.datasets.dataset import Dataset
from tasks.datasets.layouts import ISIC_TRUTH
from tasks.datasets.listing import file_split, wrong_content

IMAGES = "ISIC2018_Task3_Training_Input"


def read(root: Path, card: DatasetCard) -> Dataset:
    """All training images as one split; the label is the greatest of a row's values."""
    path = root / ISIC_TRUTH
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            header, *rows = csv.reader(file)
        classes = tuple(header[1:])
        values = [[float(value) for value in row[1:]] for row in rows]
    except (OSError, ValueError, csv.Error) as error:
        raise wrong_content(card, path, error) from error
    ragged = next((row for row in rows if len(row) != len(header)), None)
    if ragged is not None or not classes:
        raise wrong_content(card, path, f"the row {ragged or header} has not one value per class")
    labels = [row.index(max(row)) for row in values]
    split = file_split(card, "all", root / IMAGES, [f"{row[0]}.jpg" for row in rows], labels, len(classes))
    return Dataset(card.name, classes, multi_label=False, splits={"all": split})
