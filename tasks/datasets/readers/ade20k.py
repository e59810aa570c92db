"""ADE20K as of the scene parsing challenge: 150 classes, one mask per image.

Layout: `images/{training,validation}/*.jpg`, `annotations/{training,validation}/*.png`, `objectInfo150.txt`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from tasks.datasets.card import DatasetCard
from tasks.datasets.dataset import DataError, Dataset, Mask, SourceSplit, digest_lines
from tasks.datasets.presence import advice
from tasks.datasets.readers.make_splits import file_split, listed_files, read_lines, wrong_content
from tasks.datasets.readers.nyuv2 import Numbers, read_numbers

ONE_CHANNEL = ("L", "P", "I", "I;16", "1")


@dataclass(frozen=True)
class FileMasks:
    """Masks below a folder. The class is a pixel's number minus `first`; smaller numbers are unknown pixels."""

    card: DatasetCard
    root: Path
    files: tuple[str, ...]
    classes: tuple[str, ...]
    first: int
    digest: str
    named_digest: str
    """Digest of earlier versions, from names and sizes."""
    contents: tuple[str, ...] = ()
    """SHA-256 of each file, as hexadecimal digits; empty if no digest is needed."""

    def __len__(self) -> int:
        return len(self.files)

    def __getitem__(self, index: int) -> Mask:
        """int16 [h, w]; raises `DataError` with the file name if it is not a mask of these classes."""
        path = self.root / self.files[index]
        numbers = self._numbers(index)
        if numbers.size and numbers.max() - self.first >= len(self.classes):
            raise DataError(
                f"{path} has the number {numbers.max()}, and there are {len(self.classes)} classes, {self.first} to "
                f"{self.first + len(self.classes) - 1}: {advice(self.card)}"
            )
        return np.where(numbers < self.first, -1, numbers - self.first).astype(np.int16)

    def frame(self, index: int) -> tuple[int, int]:
        """Width and height of the mask. Raises `DataError`."""
        rows, columns = self._numbers(index).shape
        return columns, rows

    def _numbers(self, index: int) -> Numbers:
        path, digest = self.root / self.files[index], self.contents[index] if self.contents else None
        return read_numbers(
            self.card, path, digest, modes=ONE_CHANNEL, kind="a mask", needs="a mask has one number per pixel"
        )


def file_masks(
    card: DatasetCard, split: str, root: Path, files: Sequence[str], classes: Sequence[str], first: int
) -> FileMasks:
    """The masks of a split, with a digest of their contents, as for images. Raises DataError for missing ones."""
    found = listed_files(card, split, root, files)
    named = [f"{file}\t{one.state[0]}" for file, one in zip(files, found, strict=True)]
    return FileMasks(
        card=card,
        root=root,
        files=tuple(files),
        classes=tuple(classes),
        first=first,
        digest=digest_lines([*classes, *(one.digest.hex() for one in found)]),
        named_digest=digest_lines([*classes, *named]),
        contents=tuple(one.digest.hex() for one in found),
    )


SPLITS = {"train": "training", "val": "validation"}
NAMES = "objectInfo150.txt"
FIRST = 1
"""Number of the first class in a mask; 0 is "other", which is neither trained nor scored."""


def read(root: Path, card: DatasetCard) -> Dataset:
    """Train and val with masks; no labels of whole images."""
    classes = _classes(card, root / NAMES)
    splits = {name: _split(root, card, name, folder, classes) for name, folder in SPLITS.items()}
    return Dataset(card.name, classes, multi_label=False, splits=splits)


def _split(root: Path, card: DatasetCard, name: str, folder: str, classes: tuple[str, ...]) -> SourceSplit:
    stems = sorted(path.stem for path in (root / "images" / folder).glob("*.jpg"))
    images = [f"images/{folder}/{stem}.jpg" for stem in stems]
    split = file_split(card, name, root, images, np.zeros((len(stems), 0), np.int64), len(classes))
    masks = file_masks(card, name, root, [f"annotations/{folder}/{stem}.png" for stem in stems], classes, FIRST)
    return replace(split, targets={"masks": masks})


def _classes(card: DatasetCard, path: Path) -> tuple[str, ...]:
    """The first name of each line: `1  0.1576  11664  1910  wall`, after a header."""
    rows = [line.split("\t") for line in read_lines(card, path)][1:]
    if len(rows) != card.classes or any(len(row) < 5 for row in rows):
        raise wrong_content(card, path, f"{len(rows)} lines of classes below its heading, not {card.classes}")
    return tuple(row[-1].split(",")[0].strip() for row in rows)
