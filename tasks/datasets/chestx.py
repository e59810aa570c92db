"""ChestX-ray8 as cross-domain few-shot learning uses it: chest X-rays with exactly one of seven findings."""

from __future__ import annotations

import csv
from pathlib import Path

from tasks.card import DatasetCard
from tasks.datasets.dataset import Dataset
from tasks.datasets.listing import file_split, wrong_content

CLASSES = ("Atelectasis", "Cardiomegaly", "Effusion", "Infiltration", "Mass", "Nodule", "Pneumothorax")
"""Pneumonia and `No Finding` are left out, as is every image with several findings (ssl-transfer `chestx.py`)."""
SIZE = (256, 256)
"""Every image is first resized to this, whatever the preprocessing does next."""
TABLE = "Data_Entry_2017.csv"


def read(root: Path, card: DatasetCard) -> Dataset:
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
