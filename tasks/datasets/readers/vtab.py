"""VTAB-1k (Zhai et al., 2019) as the converted copies of NOAH, SSF and later work have it on disk.

Layout, one folder per task: `train800.txt`, `val200.txt` and `test.txt`, whose lines are an image's path below the
folder, a space and the number of its class. The splits are the first 800 and 200 images of TFDS's order, which no
official digest names; they are not stratified, so classes can be missing among the 800.

The format of the images matters: the first converter of NOAH wrote JPEG, which costs some ten points on CIFAR-100; the
later one writes PNG. JPEG where the original is lossless, or was decoded and encoded again, is noted on every result.
"""

from __future__ import annotations

from collections import Counter
from pathlib import Path, PurePosixPath

from tasks.datasets.card import DatasetCard
from tasks.datasets.dataset import Dataset
from tasks.datasets.layouts import VTAB_LISTS
from tasks.datasets.readers.make_splits import file_split, read_lines, wrong_content

LOSSY = (".jpg", ".jpeg")


def read(root: Path, card: DatasetCard) -> Dataset:
    """Train, val and test as they are listed. Raises DataError for a line that is no path with a class."""
    assert card.classes is not None, "a card of VTAB-1k has its number of classes"
    listed = {split: _listed(root, card, name) for split, name in VTAB_LISTS.items()}
    splits = {
        split: file_split(card, split, root, [file for file, _ in rows], [label for _, label in rows], card.classes)
        for split, rows in listed.items()
    }
    names = tuple(f"class {number}" for number in range(card.classes))
    return Dataset(card.name, names, multi_label=False, splits=splits, notes=_notes(card, listed))


def _listed(root: Path, card: DatasetCard, name: str) -> list[tuple[str, int]]:
    path, rows = root / name, []
    for line in read_lines(card, path):
        file, _, label = line.rpartition(" ")
        if not label.isdecimal() or not file or file.startswith("/") or ".." in PurePosixPath(file).parts:
            raise wrong_content(card, path, f"the line {line[:80]!r} is not a path below the folder and a class")
        rows.append((file, int(label)))
    return rows


def _notes(card: DatasetCard, listed: dict[str, list[tuple[str, int]]]) -> tuple[str, ...]:
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
