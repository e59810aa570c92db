"""Which of the usual layouts a folder has, and its images with their labels and splits."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from tasks.datasets.csv_index import IndexRow, class_names
from tasks.datasets.importing.csv_tables import ENDINGS, list_files, read_lists, read_tables, table_files
from tasks.datasets.importing.messages import Ambiguous, ImportOptions, Kind, split_of
from tasks.datasets.importing.voc_coco import coco_files, read_coco, read_voc, voc_base
from tasks.datasets.importing.webdataset import read_shards, shard_files
from tasks.datasets.splits import held_out

SPECIFIC: tuple[Kind, ...] = ("voc", "coco", "webdataset", "split-files")
"""Layouts that nothing else looks like; they win over folders and tables that happen to lie there too."""
SEVERAL: frozenset[Kind] = frozenset({"voc", "coco"})
"""Layouts with several labels per image."""


def layouts(path: Path) -> list[Kind]:
    """Every layout that the folder or file could be, the particular ones first."""
    signs: Mapping[Kind, Callable[[], object]] = {
        "voc": lambda: path.is_dir() and voc_base(path),
        "coco": lambda: coco_files(path),
        "webdataset": lambda: shard_files(path),
        "split-files": lambda: path.is_dir() and list_files(path),
        "csv": lambda: table_files(path),
        "class-folders": lambda: path.is_dir() and _has_class_folders(path),
    }
    return [kind for kind, is_there in signs.items() if is_there()]


def layout_of(path: Path, wish: ImportOptions) -> Kind:
    """The one layout. Raises Ambiguous when a table and class folders could both be meant, ValueError for none."""
    found = layouts(path)
    if wish.layout is not None:
        if wish.layout not in found:
            raise ValueError(
                f"{path} is not laid out as {wish.layout}: it could be {', '.join(found) or 'nothing known'}"
            )
        return wish.layout
    if not found:
        raise ValueError(
            f"{path} has no layout that is known: class folders, train.txt with test.txt, a CSV with a column of files "
            "and one of labels, VOC (JPEGImages and Annotations), COCO JSON, or webdataset tar files"
        )
    if found[0] in SPECIFIC or len(found) == 1:
        return found[0]
    raise Ambiguous(f"{path} could be {' or '.join(found)}: choose by --layout")


def rows_of(path: Path, kind: Kind, wish: ImportOptions) -> list[IndexRow]:
    """All images with labels, splits where the layout has them. Raises Ambiguous and ValueError."""
    read: Mapping[Kind, Callable[[], Iterator[IndexRow]]] = {
        "voc": lambda: read_voc(path),
        "coco": lambda: read_coco(path),
        "webdataset": lambda: read_shards(path),
        "split-files": lambda: read_lists(path),
        "csv": lambda: read_tables(path, wish),
        "class-folders": lambda: _read_folders(path),
    }
    rows = list(read[kind]())
    if not rows:
        raise ValueError(f"{path}: no images were found in the layout {kind}")
    return rows


def _has_class_folders(path: Path) -> bool:
    """At least two; folders of splits are looked into."""
    folders = _visible(path)
    within = [child for folder in folders for child in _visible(folder)] if _are_splits(folders) else folders
    return len({folder.name for folder in within if _holds_images(folder)}) >= 2


def _are_splits(folders: Sequence[Path]) -> bool:
    return bool(folders) and all(split_of(folder.name) for folder in folders)


def _holds_images(folder: Path) -> bool:
    return next((True for _ in _images(folder)), False)


def _read_folders(path: Path) -> Iterator[IndexRow]:
    """Class folders, or train, val and test folders of such folders where all folders are called like that."""
    folders = _visible(path)
    if _are_splits(folders):
        for folder in folders:
            yield from _class_folders(path, folder, split_of(folder.name) or "")
    else:
        yield from _class_folders(path, path, "")


def _class_folders(root: Path, folder: Path, split: str) -> Iterator[IndexRow]:
    for child in _visible(folder):
        for file in sorted(_images(child)):
            yield IndexRow(split, file.relative_to(root).as_posix(), (child.name,))


def _images(folder: Path) -> Iterator[Path]:
    return (file for file in folder.rglob("*") if file.suffix.lower() in ENDINGS and not file.name.startswith("."))


def _visible(folder: Path) -> list[Path]:
    return sorted(child for child in folder.iterdir() if child.is_dir() and not child.name.startswith("."))


def with_splits(
    rows: Sequence[IndexRow], wish: ImportOptions, *, several: bool
) -> tuple[list[IndexRow], tuple[str, ...]]:
    """Every row in a split, and notes about what was decided. Rows that the splits leave out are dropped."""
    named = [row for row in rows if row.split]
    splits = {row.split for row in named}
    if len(splits) <= 1:
        return _divided(rows, wish, several=several), (_derived(wish, several=several),)
    notes = []
    if len(named) < len(rows):
        notes.append(f"{len(rows) - len(named)} images are in no split and are left out")
    if "test" not in splits:
        notes.append("there is no test split, so the val split is the test split")
    return named, tuple(notes)


def _divided(rows: Sequence[IndexRow], wish: ImportOptions, *, several: bool) -> list[IndexRow]:
    numbers = {name: index for index, name in enumerate(class_names(rows))}
    labels = np.array([0 if several else numbers[row.labels[0]] for row in rows], dtype=np.int64)
    _, test = held_out(labels, wish.test_share, wish.seed)
    chosen = set(test.tolist())
    return [replace(row, split="test" if place in chosen else "train") for place, row in enumerate(rows)]


def _derived(wish: ImportOptions, *, several: bool) -> str:
    how = "at random" if several else "of every class"
    return f"it has no splits, so {wish.test_share:.0%} {how}, drawn under seed {wish.seed}, is the test split"
