"""Datasets added by `ssl-console add dataset`: images and labels as listed in the index."""

from __future__ import annotations

import zlib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import numpy as np

from backbones.io.image_reading import traits_of
from tasks.datasets.card import DatasetCard
from tasks.datasets.content_digests import read_file
from tasks.datasets.csv_index import IndexProblem, IndexRow, class_names, read_index, split_names
from tasks.datasets.dataset import LEFT_OPEN, Dataset, Labels, SourceSplit, digest_labels, digest_lines
from tasks.datasets.file_states import ABSENT, ReadFile
from tasks.datasets.readers.make_splits import (
    file_split,
    listed_files,
    missing,
    newest_change,
    reading_of,
    wrong_content,
)
from tasks.datasets.shards import BlockCache, ShardImages, open_shard, shard_of


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
    sharded = any(row.offset is not None for row in rows)
    shards = _shards(card, root, rows) if sharded else {}
    splits = {}
    for name in split_names(rows):
        chosen = [row for row in rows if row.split == name]
        labels = labels_of(chosen, classes, several=several)
        if sharded:
            splits[name] = _shard_split(card, root, name, chosen, labels, shards)
        else:
            splits[name] = file_split(card, name, root, [row.file for row in chosen], labels, len(classes))
    notes = (card.note,) if card.note else ()  # decisions and omissions of the import
    return Dataset(card.name, classes, multi_label=several, splits=splits, notes=notes)


def _shards(card: DatasetCard, root: Path, rows: Sequence[IndexRow]) -> dict[str, ReadFile]:
    """State of every shard, with the traits of all its images in any split. Raises DataError."""
    members: dict[str, list[IndexRow]] = {}
    for row in rows:
        members.setdefault(shard_of(row.file), []).append(row)
    by_path = {str(root / shard): some for shard, some in members.items()}
    column = str(card.reader_arguments.get("image_column", ""))

    def read_members(path: str) -> ReadFile:
        return read_shard(by_path[path], column, path)

    return dict(zip(members, listed_files(card, "its shards", root, list(members), read_members), strict=True))


def _shard_split(
    card: DatasetCard, root: Path, name: str, rows: Sequence[IndexRow], labels: Labels, shards: Mapping[str, ReadFile]
) -> SourceSplit:
    """A source split whose images are identified by the shard's content and their position in it."""
    files = tuple(row.file for row in rows)
    found = {shard: shards[shard] for shard in dict.fromkeys(map(shard_of, files))}
    traits = {shard: dict(_member_traits(one.traits)) for shard, one in found.items()}
    images = ShardImages(
        card.name,
        root,
        files,
        reading=reading_of(card),
        contents=tuple(f"{found[shard_of(row.file)].digest.hex()} {row.offset} {row.size}" for row in rows),
        traits={at: words for at, row in enumerate(rows) if (words := traits[shard_of(row.file)].get(row.offset or 0))},
        rows=tuple(rows),
        column=str(card.reader_arguments.get("image_column", "")),
        states={shard: one.state for shard, one in found.items()},
    )
    return SourceSplit(
        name,
        images,
        labels,
        files,
        images.digest,
        digest_labels(labels),
        named_digest=digest_lines(f"{row.file}\t{row.size}" for row in rows),
        newest_change=newest_change(root, list(found), list(found.values())),
    )


def read_shard(members: Sequence[IndexRow], column: str, path: str) -> ReadFile:
    """State and digest of a shard, and the traits of its members by their position. Raises NotAFile."""
    whole, blocks = read_file(path), BlockCache()
    words = {}
    if whole.state != ABSENT:
        shard = open_shard(Path(path), column)
        for row in members:
            with suppress(OSError, EOFError, zlib.error, ValueError):  # reported when the image is decoded
                words[row.offset] = traits_of(shard.read(row.offset or 0, row.size or 0, blocks))
    return replace(whole, traits=";".join(f"{offset}:{traits}" for offset, traits in words.items() if traits))


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
