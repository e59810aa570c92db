"""ISIC 2018, task 3 (seven kinds of skin lesion, from the one-hot ground truth table), and ChestX-ray8."""

from __future__ import annotations

import csv
from pathlib import Path

from tasks.datasets.card import DatasetCard
from tasks.datasets.dataset import Dataset
from tasks.datasets.layouts import ISIC_TRUTH
from tasks.datasets.readers.make_splits import file_split, wrong_content

IMAGES = "ISIC2018_Task3_Training_Input"


def read_isic(root: Path, card: DatasetCard) -> Dataset:
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


CLASSES = ("Atelectasis", "Cardiomegaly", "Effusion", "Infiltration", "Mass", "Nodule", "Pneumothorax")
"""Pneumonia and `No Finding` are omitted, as are images with several findings (ssl-transfer `chestx.py`)."""
SIZE = (256, 256)
"""Size to which every image is resized first, before any preprocessing."""
TABLE = "Data_Entry_2017.csv"


def read_chestx(root: Path, card: DatasetCard) -> Dataset:
    """All images with one finding of `CLASSES` as one split."""
    path = root / TABLE
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            pairs = [(row["Image Index"], row["Finding Labels"]) for row in csv.DictReader(file)]
        chosen = [(image, CLASSES.index(finding)) for image, finding in pairs if finding in CLASSES]
    except (OSError, ValueError, KeyError, csv.Error) as error:
        raise wrong_content(card, path, error) from error
    files, labels = [image for image, _ in chosen], [label for _, label in chosen]
    split = file_split(card, "all", root / "images", files, labels, len(CLASSES), resize=SIZE)
    return Dataset(card.name, CLASSES, multi_label=False, splits={"all": split})
