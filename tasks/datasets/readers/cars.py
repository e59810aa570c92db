"""Stanford Cars, from the development kit's .mat files.

torchvision's class requires the test annotations one folder above the development kit, the paper's code inside it; both
are accepted.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from scipy.io import loadmat
from scipy.io.matlab import MatReadError

from tasks.datasets.card import DatasetCard
from tasks.datasets.dataset import Dataset
from tasks.datasets.layouts import LAYOUTS
from tasks.datasets.readers.make_splits import file_split, missing, wrong_content

META = "devkit/cars_meta.mat"
FAILURES = (OSError, ValueError, TypeError, LookupError, NotImplementedError, MatReadError)


def read(root: Path, card: DatasetCard) -> Dataset:
    """Train and test; class names from the kit's `cars_meta.mat`, or numbers if it is missing."""
    train, test = LAYOUTS["cars"].required[-2:]
    samples = {
        "train": _annotations(card, _first(card, root, train), "cars_train"),
        "test": _annotations(card, _first(card, root, test), "cars_test"),
    }
    classes = _classes(card, root / META)
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


def _annotations(card: DatasetCard, path: Path, folder: str) -> list[tuple[str, int]]:
    """(file, class from 0) of every annotation; the .mat file counts classes from 1."""
    try:
        rows = np.atleast_1d(_load(path)["annotations"])
        return [(f"{folder}/{row['fname']}", int(row["class"]) - 1) for row in rows]
    except FAILURES as error:
        hint = "; the plain cars_test_annos.mat has no classes" if "class" in str(error) else ""
        raise wrong_content(card, path, f"{error}{hint}") from error


def _classes(card: DatasetCard, path: Path) -> tuple[str, ...]:
    if not path.exists():
        return tuple(f"car {number}" for number in range(1, (card.classes or 0) + 1))
    try:
        return tuple(str(name) for name in np.atleast_1d(_load(path)["class_names"]))
    except FAILURES as error:
        raise wrong_content(card, path, error) from error


def _load(path: Path) -> dict[str, Any]:
    content: dict[str, Any] = loadmat(str(path), squeeze_me=True)
    return content
