"""Class masks that lie beside the images as single-channel PNG files, one number per pixel."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from tasks.card import DatasetCard
from tasks.datasets.dataset import DataError, digest_lines
from tasks.datasets.images import PIL_FAILURES
from tasks.datasets.listing import listed_sizes
from tasks.datasets.presence import advice
from tasks.datasets.targets import Mask

ONE_CHANNEL = ("L", "P", "I", "I;16", "1")


@dataclass(frozen=True)
class FileMasks:
    """Masks below a folder. A file's number less `first` is the class; numbers below `first` are unknown pixels."""

    card: DatasetCard
    root: Path
    files: tuple[str, ...]
    classes: tuple[str, ...]
    first: int
    digest: str

    def __len__(self) -> int:
        return len(self.files)

    def __getitem__(self, index: int) -> Mask:
        """int16 [h, w]; raises `DataError` naming the file when it is no mask of these classes."""
        path = self.root / self.files[index]
        numbers = self._numbers(path)
        if numbers.size and numbers.max() - self.first >= len(self.classes):
            raise DataError(
                f"{path} holds the number {numbers.max()}, and there are {len(self.classes)} classes, {self.first} to "
                f"{self.first + len(self.classes) - 1}: {advice(self.card)}"
            )
        return np.where(numbers < self.first, -1, numbers - self.first).astype(np.int16)

    def _numbers(self, path: Path) -> np.ndarray[tuple[int, ...], np.dtype[np.int64]]:
        try:
            with Image.open(path) as image:
                if image.mode not in ONE_CHANNEL:
                    raise ValueError(f"{image.mode} pixels, and a mask has one number per pixel")
                return np.asarray(image, np.int64)
        except (Image.DecompressionBombError, *PIL_FAILURES) as error:
            reason = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
            raise DataError(f"{path} cannot be read as a mask ({reason}): {advice(self.card)}") from error


def file_masks(
    card: DatasetCard, split: str, root: Path, files: Sequence[str], classes: Sequence[str], first: int
) -> FileMasks:
    """The masks of a split; their digest names paths and sizes, as images do. Raises DataError for missing ones."""
    sizes = listed_sizes(card, split, root, files)
    lines = [f"{file}\t{size}" for file, size in zip(files, sizes, strict=True)]
    return FileMasks(card, root, tuple(files), tuple(classes), first, digest_lines([*classes, *lines]))
