"""Datasets that list their images and labels in files: Caltech-101, Stanford Cars, ISIC 2018, ChestX-ray8, VTAB-1k.

Caltech-101 has 102 classes (including BACKGROUND_Google) and 30 training images per class. torchvision's class omits
the background and has no split, so this reader lists the folders.

Stanford Cars is read from the development kit's .mat files. torchvision's class requires the test annotations one
folder above the development kit, the paper's code inside it; both are accepted.

VTAB-1k (Zhai et al., 2019) is read as the converted copies of NOAH, SSF and later work have it on disk, one folder per
task: `train800.txt`, `val200.txt` and `test.txt`, whose lines are an image's path below the folder, a space and the
number of its class. The splits are the first 800 and 200 images of TFDS's order, which no official digest names; they
are not stratified, so classes can be missing among the 800. The format of the images matters: the first converter of
NOAH wrote JPEG, which costs some ten points on CIFAR-100; the later one writes PNG. JPEG where the original is
lossless, or was decoded and encoded again, is noted on every result.
"""

from __future__ import annotations

import csv
from collections import Counter
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
from scipy.io import loadmat
from scipy.io.matlab import MatReadError

from tasks.datasets.card import DatasetCard
from tasks.datasets.dataset import Dataset
from tasks.datasets.layouts import ISIC_TRUTH, LAYOUTS, VTAB_LISTS
from tasks.datasets.readers.make_splits import file_split, missing, read_lines, wrong_content

CALTECH_FOLDER = "caltech101/101_ObjectCategories"
CALTECH_SPLITS = ("train", "test")
TRAIN_PER_CLASS = 30
DERIVED = (
    "train.txt and test.txt of the published split are not next to the images, so 30 images per class were drawn for "
    "training without replacement under seed 0; the published split drew with replacement"
)
CARS_CLASSES = "devkit/cars_meta.mat"
FAILURES = (OSError, ValueError, TypeError, LookupError, NotImplementedError, MatReadError)
ISIC_IMAGES = "ISIC2018_Task3_Training_Input"
LOSSY = (".jpg", ".jpeg")


def read_caltech101(root: Path, card: DatasetCard) -> Dataset:
    """Train and test as listed in `train.txt` and `test.txt`, including repeated lines; else the derived split."""
    classes = tuple(sorted(path.name for path in (root / CALTECH_FOLDER).iterdir() if path.is_dir()))
    listed = all((root / f"{name}.txt").exists() for name in CALTECH_SPLITS)
    parts = (
        {name: _caltech_list(card, root / f"{name}.txt") for name in CALTECH_SPLITS}
        if listed
        else _caltech_derived(root, classes)
    )
    splits = {
        name: file_split(
            card, name, root / CALTECH_FOLDER, [file for file, _ in pairs], [label for _, label in pairs], len(classes)
        )
        for name, pairs in parts.items()
    }
    return Dataset(card.name, classes, multi_label=False, splits=splits, notes=() if listed else (DERIVED,))


def _caltech_list(card: DatasetCard, path: Path) -> list[tuple[str, int]]:
    """Lines like `accordion/image_0001.jpg 5`."""
    pairs: list[tuple[str, int]] = []
    for line in read_lines(card, path):
        file, _, label = line.rpartition(" ")
        if not file or not label.isdigit():
            raise wrong_content(card, path, f"the line {line!r} is not a file and a label")
        pairs.append((file, int(label)))
    return pairs


def _caltech_derived(root: Path, classes: tuple[str, ...]) -> dict[str, list[tuple[str, int]]]:
    """30 images of every class (or all but one of a smaller class) for training, the others for testing."""
    random = np.random.RandomState(0)
    parts: dict[str, list[tuple[str, int]]] = {name: [] for name in CALTECH_SPLITS}
    for label, name in enumerate(classes):
        files = sorted(path.name for path in (root / CALTECH_FOLDER / name).glob("*.jpg"))
        chosen = set(random.permutation(len(files))[: min(TRAIN_PER_CLASS, len(files) - 1)].tolist())
        for index, file in enumerate(files):
            parts["train" if index in chosen else "test"].append((f"{name}/{file}", label))
    return parts


def read_cars(root: Path, card: DatasetCard) -> Dataset:
    """Train and test; class names from the kit's `cars_meta.mat`, or numbers if it is missing."""
    train, test = LAYOUTS["cars"].required[-2:]
    samples = {
        "train": _cars_annotations(card, _first(card, root, train), "cars_train"),
        "test": _cars_annotations(card, _first(card, root, test), "cars_test"),
    }
    classes = _cars_classes(card, root / CARS_CLASSES)
    splits = {
        name: file_split(card, name, root, [file for file, _ in pairs], [label for _, label in pairs], len(classes))
        for name, pairs in samples.items()
    }
    return Dataset(card.name, classes, multi_label=False, splits=splits)


def _first(card: DatasetCard, root: Path, names: tuple[str, ...]) -> Path:
    found = next((root / name for name in names if (root / name).exists()), None)
    if found is None:
        raise missing(card, [root / names[0]])
    return found


def _cars_annotations(card: DatasetCard, path: Path, folder: str) -> list[tuple[str, int]]:
    """(file, class from 0) of every annotation; the .mat file counts classes from 1."""
    try:
        rows = np.atleast_1d(_load(path)["annotations"])
        return [(f"{folder}/{row['fname']}", int(row["class"]) - 1) for row in rows]
    except FAILURES as error:
        hint = "; the plain cars_test_annos.mat has no classes" if "class" in str(error) else ""
        raise wrong_content(card, path, f"{error}{hint}") from error


def _cars_classes(card: DatasetCard, path: Path) -> tuple[str, ...]:
    if not path.exists():
        return tuple(f"car {number}" for number in range(1, (card.classes or 0) + 1))
    try:
        return tuple(str(name) for name in np.atleast_1d(_load(path)["class_names"]))
    except FAILURES as error:
        raise wrong_content(card, path, error) from error


def _load(path: Path) -> dict[str, Any]:
    content: dict[str, Any] = loadmat(str(path), squeeze_me=True)
    return content


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
    split = file_split(card, "all", root / ISIC_IMAGES, [f"{row[0]}.jpg" for row in rows], labels, len(classes))
    return Dataset(card.name, classes, multi_label=False, splits={"all": split})


CHESTX_CLASSES = ("Atelectasis", "Cardiomegaly", "Effusion", "Infiltration", "Mass", "Nodule", "Pneumothorax")
"""Pneumonia and `No Finding` are omitted, as are images with several findings (ssl-transfer `chestx.py`)."""
CHESTX_SIZE = (256, 256)
"""Size to which every image is resized first, before any preprocessing."""
CHESTX_TABLE = "Data_Entry_2017.csv"


def read_chestx(root: Path, card: DatasetCard) -> Dataset:
    """All images with one finding of `CLASSES` as one split."""
    path = root / CHESTX_TABLE
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            pairs = [(row["Image Index"], row["Finding Labels"]) for row in csv.DictReader(file)]
        chosen = [(image, CHESTX_CLASSES.index(finding)) for image, finding in pairs if finding in CHESTX_CLASSES]
    except (OSError, ValueError, KeyError, csv.Error) as error:
        raise wrong_content(card, path, error) from error
    files, labels = [image for image, _ in chosen], [label for _, label in chosen]
    split = file_split(card, "all", root / "images", files, labels, len(CHESTX_CLASSES), resize=CHESTX_SIZE)
    return Dataset(card.name, CHESTX_CLASSES, multi_label=False, splits={"all": split})


def read_vtab(root: Path, card: DatasetCard) -> Dataset:
    """Train, val and test as they are listed. Raises DataError for a line that is no path with a class."""
    assert card.classes is not None, "a card of VTAB-1k has its number of classes"
    listed = {split: _vtab_list(root, card, name) for split, name in VTAB_LISTS.items()}
    splits = {
        split: file_split(card, split, root, [file for file, _ in rows], [label for _, label in rows], card.classes)
        for split, rows in listed.items()
    }
    names = tuple(f"class {number}" for number in range(card.classes))
    return Dataset(card.name, names, multi_label=False, splits=splits, notes=_notes_on_format(card, listed))


def _vtab_list(root: Path, card: DatasetCard, name: str) -> list[tuple[str, int]]:
    path, rows = root / name, []
    for line in read_lines(card, path):
        file, _, label = line.rpartition(" ")
        if not label.isdecimal() or not file or file.startswith("/") or ".." in PurePosixPath(file).parts:
            raise wrong_content(card, path, f"the line {line[:80]!r} is not a path below the folder and a class")
        rows.append((file, int(label)))
    return rows


def _notes_on_format(card: DatasetCard, listed: dict[str, list[tuple[str, int]]]) -> tuple[str, ...]:
    notes = []
    present = {label for _, label in listed["train"]}
    if len(present) < (card.classes or 0):
        notes.append(
            f"{(card.classes or 0) - len(present)} of {card.classes} classes are not among the 800 training images"
        )
    endings = Counter(PurePosixPath(file).suffix.lower() for rows in listed.values() for file, _ in rows)
    lossy = sum(endings[ending] for ending in LOSSY)
    if lossy:
        notes.append(
            f"{lossy:,} of {endings.total():,} images are JPEG: copies that were encoded again lower scores, those of "
            "CIFAR-100 by some ten points; a converter that writes PNG gives the images as published"
        )
    overlap = len({file for file, _ in listed["train"]} & {file for file, _ in listed["val"]})
    if overlap:
        notes.append(f"{overlap} images are in train800.txt and in val200.txt")
    return tuple(notes)
