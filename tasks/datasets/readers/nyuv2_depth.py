"""NYU Depth v2 as depth estimation uses it: the lists and frames of BTS, which DINOv2 and DINOv3 follow.

Layout: `nyu_train.txt` (24,231 lines) and `nyu_test.txt` (654), or BTS's own names of both; each line has the path of
an image, of its depth (16 bit PNG in millimetres, 0 where it is not known) and the focal length. Paths may begin with a
slash and are below the same folder: `<scene>/rgb_00045.jpg`, `<scene>/sync_depth_00045.png`.
"""

from __future__ import annotations

import hashlib
import io
from collections.abc import Collection
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from PIL import Image

from backbones.io.image_reading import PIL_FAILURES
from tasks.datasets.card import DatasetCard
from tasks.datasets.dataset import DataError, Dataset, SourceSplit, digest_lines
from tasks.datasets.dense_targets import DepthMap
from tasks.datasets.images import changed_meanwhile
from tasks.datasets.layouts import NYU_LISTS
from tasks.datasets.presence import advice
from tasks.datasets.readers.make_splits import file_split, listed_files, read_lines, wrong_content

MILLIMETRES = 1_000.0
WHOLE_NUMBERS = ("I", "I;16", "I;16B")
"""Pillow's modes of 16 bit PNG files."""
Numbers = np.ndarray[tuple[int, ...], np.dtype[np.int64]]


@dataclass(frozen=True)
class FileDepths:
    """Depth files below a folder."""

    card: DatasetCard
    root: Path
    files: tuple[str, ...]
    contents: tuple[str, ...]
    """SHA-256 of each file, as hexadecimal digits."""
    classes: tuple[str, ...] = ()

    def __len__(self) -> int:
        return len(self.files)

    @property
    def digest(self) -> str:
        """Digest of the files' contents, in order."""
        return digest_lines(self.contents)

    def __getitem__(self, index: int) -> DepthMap:
        """float32 [h, w] in metres, 0 where unknown; raises `DataError` with the name of a file without depth."""
        return self._numbers(index).astype(np.float32) / np.float32(MILLIMETRES)

    def frame(self, index: int) -> tuple[int, int]:
        """Width and height. Raises `DataError`."""
        rows, columns = self._numbers(index).shape
        return columns, rows

    def _numbers(self, index: int) -> Numbers:
        path, digest = self.root / self.files[index], self.contents[index]
        return read_numbers(
            self.card, path, digest, modes=WHOLE_NUMBERS, kind="depth", needs="depth has 16 bits per pixel"
        )


def read(root: Path, card: DatasetCard) -> Dataset:
    """Train and test with depth; no labels of whole images."""
    splits = {name: _split(root, card, name, names) for name, names in NYU_LISTS.items()}
    return Dataset(card.name, (), multi_label=False, splits=splits)


def _split(root: Path, card: DatasetCard, name: str, lists: tuple[str, ...]) -> SourceSplit:
    path = next((root / one for one in lists if (root / one).exists()), root / lists[0])
    rows = [line.split() for line in sorted(read_lines(card, path))]
    if any(len(row) != 3 for row in rows):
        raise wrong_content(card, path, "a line is not an image, its depth and the focal length")
    images, depths = ([row[place].lstrip("/") for row in rows] for place in (0, 1))
    split = file_split(card, name, root, images, np.zeros((len(rows), 0), np.int64), 0)
    found = listed_files(card, f"{name} (depth)", root, depths)
    targets = FileDepths(card, root, tuple(depths), tuple(one.digest.hex() for one in found))
    return replace(split, targets={"depth": targets})


def read_numbers(
    card: DatasetCard, path: Path, digest: str | None, *, modes: Collection[str], kind: str, needs: str
) -> Numbers:
    """int64 [h, w]. Raises DataError naming the file, for other `modes` of Pillow and for content that has changed.

    `digest` is the SHA-256 that the file had when the dataset was opened, or None; `kind` and `needs` are words of the
    message: what the file should be, and what its pixels need.
    """
    try:
        content = path.read_bytes()
        if digest is not None and hashlib.sha256(content).hexdigest() != digest:
            raise changed_meanwhile(path)
        with Image.open(io.BytesIO(content)) as image:
            if image.mode not in modes:
                raise ValueError(f"{image.mode} pixels, and {needs}")
            return np.asarray(image, np.int64)
    except (Image.DecompressionBombError, *PIL_FAILURES) as error:
        reason = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
        raise DataError(f"{path} cannot be read as {kind} ({reason}): {advice(card)}") from error
