"""Datasets that `ssl-console add dataset` brought in: images and labels as its index lists them."""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from tasks.datasets import images
from tasks.datasets.card import DatasetCard
from tasks.datasets.csv_index import IndexProblem, IndexRow, class_names, read_index, split_names
from tasks.datasets.dataset import DataError, Dataset, Labels, SourceSplit, digest_labels, digest_lines
from tasks.datasets.images import Pixels, PixelSource, decode
from tasks.datasets.readers.make_splits import file_split, missing, wrong_content


@dataclass(frozen=True)
class TarImages(PixelSource):
    """Images inside tar files, read where their bytes lie; nothing is unpacked."""

    dataset: str
    root: Path
    rows: tuple[IndexRow, ...]

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, index: int) -> Image.Image:
        """RGB image; raises `DataError` naming tar file and member when it cannot be decoded."""
        return decode(self.root / self.rows[index].file, self.dataset, io.BytesIO(self._content(index)))

    def pixels(self, index: int) -> Pixels | Image.Image:
        """The same as an array, where that is the shorter way. Raises `DataError` as above."""
        found = images.pixels(self._content(index))
        return self[index] if found is None else found

    def _content(self, index: int) -> bytes:
        row = self.rows[index]
        path = self.root / row.file.partition(".tar/")[0]
        path = path.with_name(f"{path.name}.tar")
        try:
            with path.open("rb") as file:
                file.seek(row.offset or 0)
                return file.read(min(row.size or 0, path.stat().st_size))
        except OSError as error:
            raise DataError(f"{path} cannot be read ({error.strerror or error}): put the shard back") from error


def read(root: Path, card: DatasetCard) -> Dataset:
    """The stored splits; one label per image, or several ([n, classes] of 0 and 1) with `multi_label`."""
    path = Path(str(card.reader_arguments["index"]))
    several = bool(card.reader_arguments.get("multi_label", False))
    try:
        rows = read_index(path, multi_label=several)
    except FileNotFoundError as error:
        raise missing(card, [path]) from error
    except (OSError, IndexProblem) as error:
        raise wrong_content(card, path, error) from error
    classes = class_names(rows)
    splits = {
        name: _split(card, root, name, [row for row in rows if row.split == name], classes, several)
        for name in split_names(rows)
    }
    return Dataset(card.name, classes, multi_label=several, splits=splits)


def _split(
    card: DatasetCard, root: Path, name: str, rows: Sequence[IndexRow], classes: Sequence[str], several: bool
) -> SourceSplit:
    labels = labels_of(rows, classes, several=several)
    if all(row.offset is None for row in rows):
        return file_split(card, name, root, [row.file for row in rows], labels, len(classes))
    files = tuple(row.file for row in rows)
    digest = digest_lines(f"{row.file}\t{row.size}" for row in rows)
    return SourceSplit(name, TarImages(card.name, root, tuple(rows)), labels, files, digest, digest_labels(labels))


def labels_of(rows: Sequence[IndexRow], classes: Sequence[str], *, several: bool) -> Labels:
    """[n] class indices, or with `several` [n, classes] of 0 and 1."""
    number = {name: index for index, name in enumerate(classes)}
    if not several:
        return np.array([number[row.labels[0]] for row in rows], dtype=np.int64)
    labels = np.zeros((len(rows), len(classes)), dtype=np.int64)
    for place, row in enumerate(rows):
        labels[place, [number[label] for label in row.labels]] = 1
    return labels
