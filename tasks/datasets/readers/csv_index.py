"""Datasets that `ssl-console add dataset` brought in: images and labels as its index lists them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path

import numpy as np

from tasks.datasets.card import DatasetCard
from tasks.datasets.content_digests import read_file
from tasks.datasets.csv_index import IndexProblem, IndexRow, class_names, read_index, split_names
from tasks.datasets.dataset import LEFT_OPEN, DataError, Dataset, Labels, SourceSplit, digest_labels, digest_lines
from tasks.datasets.file_states import ReadFile, newest_change_ns
from tasks.datasets.image_reading import traits_of
from tasks.datasets.images import ReadImages
from tasks.datasets.readers.make_splits import file_split, listed_files, missing, reading_of, wrong_content


@dataclass(frozen=True)
class TarImages(ReadImages):
    """Images inside tar files, read where their bytes lie; nothing is unpacked. `files` are `shard.tar/member`."""

    rows: tuple[IndexRow, ...] = field(kw_only=True)

    def content(self, index: int) -> bytes:
        """The bytes of the member. Raises `DataError` naming the shard."""
        row = self.rows[index]
        path = self.root / shard_of(row)
        try:
            with path.open("rb") as file:
                file.seek(row.offset or 0)
                return file.read(min(row.size or 0, path.stat().st_size))
        except OSError as error:
            raise DataError(f"{path} cannot be read ({error.strerror or error}): put the shard back") from error


def shard_of(row: IndexRow) -> str:
    """The tar file of a row, relative to the dataset's folder."""
    return f"{row.file.partition('.tar/')[0]}.tar"


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
    return _tar_split(card, root, name, rows, labels)


def _tar_split(card: DatasetCard, root: Path, name: str, rows: Sequence[IndexRow], labels: Labels) -> SourceSplit:
    """Each image is named by its shard's content and its place in the shard."""
    by_shard: dict[str, list[IndexRow]] = {}
    for row in rows:
        by_shard.setdefault(shard_of(row), []).append(row)
    found: dict[str, ReadFile] = {}
    for shard, members in by_shard.items():
        (found[shard],) = listed_files(card, name, root, [shard], partial(read_shard, members))
    files = tuple(row.file for row in rows)
    traits = {shard: dict(_member_traits(one.traits)) for shard, one in found.items()}
    images = TarImages(
        card.name,
        root,
        files,
        reading=reading_of(card),
        contents=tuple(f"{found[shard_of(row)].digest.hex()} {row.offset} {row.size}" for row in rows),
        traits={at: words for at, row in enumerate(rows) if (words := traits[shard_of(row)].get(row.offset or 0))},
        rows=tuple(rows),
    )
    named = digest_lines(f"{row.file}\t{row.size}" for row in rows)
    return SourceSplit(
        name,
        images,
        labels,
        files,
        images.digest,
        digest_labels(labels),
        named_digest=named,
        newest_change=newest_change_ns(list(found.values())) / 1e9,
    )


def read_shard(members: Sequence[IndexRow], path: str) -> ReadFile:
    """A shard's state and digest, and the traits of its members by where they begin. Raises NotAFile."""
    whole = read_file(path)
    words = []
    with suppress(OSError), Path(path).open("rb") as file:
        for row in members:
            file.seek(row.offset or 0)
            if traits := traits_of(file.read(min(row.size or 0, whole.state[0]))):
                words.append(f"{row.offset}:{traits}")
    return replace(whole, traits=";".join(words))


def _member_traits(text: str) -> Iterator[tuple[int, str]]:
    for word in filter(None, text.split(";")):
        offset, _, traits = word.partition(":")
        yield int(offset), traits


def labels_of(rows: Sequence[IndexRow], classes: Sequence[str], *, several: bool) -> Labels:
    """[n] class indices, or with `several` [n, classes] of 0, 1 and `LEFT_OPEN`."""
    number = {name: index for index, name in enumerate(classes)}
    if not several:
        return np.array([number[row.labels[0]] for row in rows], dtype=np.int64)
    labels = np.zeros((len(rows), len(classes)), dtype=np.int64)
    for place, row in enumerate(rows):
        labels[place, [number[label] for label in row.ignored]] = LEFT_OPEN
        labels[place, [number[label] for label in row.labels]] = 1
    return labels
