"""Detection of a folder's layout, and its images with labels and splits."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from backbones.io.errors import counted
from tasks.datasets.csv_index import Balance, IndexRow, class_names
from tasks.datasets.file_kinds import is_image_name, is_leftover
from tasks.datasets.folders import Ambiguous, has_class_folders, read_folders
from tasks.datasets.importing.csv_tables import (
    columns_of,
    is_metadata,
    list_files,
    read_lists,
    read_tables,
    table_files,
)
from tasks.datasets.importing.messages import ImportOptions, Kind
from tasks.datasets.importing.shards import holds_images, read_parquet, read_shards, shard_files
from tasks.datasets.importing.voc_coco import coco_files, read_coco, read_voc, voc_base
from tasks.datasets.shards import has_pyarrow
from tasks.datasets.splits import held_out

SPECIFIC: tuple[Kind, ...] = ("voc", "coco", "webdataset", "parquet", "split-files")
"""Unambiguous layouts, which take precedence over class folders and tables in the same folder."""
SHOWN = 5
NO_WISH = ImportOptions()
SEVERAL: frozenset[Kind] = frozenset({"voc", "coco"})
"""Layouts with several labels per image."""


def layouts(path: Path, wish: ImportOptions = NO_WISH) -> list[Kind]:
    """All layouts that the folder or file could have, specific ones first."""
    signs: Mapping[Kind, Callable[[], object]] = {
        "voc": lambda: path.is_dir() and voc_base(path),
        "coco": lambda: coco_files(path),
        "webdataset": lambda: shard_files(path),
        "parquet": lambda: holds_images(path),
        "split-files": lambda: path.is_dir() and list_files(path),
        "csv": lambda: table_files(path, wish),
        "class-folders": lambda: path.is_dir() and has_class_folders(path),
    }
    found = [kind for kind, is_there in signs.items() if is_there()]
    unsure = "parquet" in found and len(found) > 1 and not has_pyarrow()
    return [kind for kind in found if kind != "parquet"] if unsure else found


def layout_of(path: Path, wish: ImportOptions) -> Kind:
    """The only possible layout. Raises Ambiguous if both a table and class folders are possible, ValueError for
    none."""
    found = layouts(path, wish)
    if wish.layout is not None:
        if wish.layout not in found:
            raise ValueError(
                f"{path} does not have the layout {wish.layout}: it could be {', '.join(found) or 'nothing known'}"
            )
        return wish.layout
    if not found:
        raise ValueError(
            f"{path} has no known layout ({_seen(path)}): class folders, train.txt with test.txt, a CSV with a "
            "column of files "
            "and one of labels, VOC (JPEGImages and Annotations), COCO JSON, webdataset tar files, or parquet files "
            "with a column of images"
        )
    if found[0] in SPECIFIC or len(found) == 1:
        return found[0]
    if found == ["csv", "class-folders"] and all(map(is_metadata, table_files(path, wish))):
        return "csv"
    raise Ambiguous(f"{path} could be {' or '.join(found)}: choose by --layout")


def _seen(path: Path) -> str:
    """Summary of the folder's content."""
    if path.is_file():
        return f"a {path.suffix or 'nameless'} file"
    kinds = Counter(child.suffix.lower() or "folders" if child.is_dir() else child.suffix for child in path.iterdir())
    words = ", ".join(f"{count} {kind or 'without a suffix'}" for kind, count in kinds.most_common(SHOWN))
    inner = [child for child in path.iterdir() if child.is_dir() and not is_leftover(child.name)]
    if len(inner) == 1 and (within := layouts(inner[0])):
        return f"its folder {inner[0].name} has the layout {within[0]}: add {inner[0]}"
    tables = [file for file in path.iterdir() if file.suffix.lower() in (".csv", ".tsv")]
    heads = f"; the columns of {tables[0].name} are {', '.join(columns_of(tables[0]))}" if tables else ""
    return f"it contains {words or 'nothing'}{heads}"


def rows_of(path: Path, kind: Kind, wish: ImportOptions, balance: Balance) -> list[IndexRow]:
    """All images with labels, and with splits if the layout has them. Raises Ambiguous and ValueError."""
    read: Mapping[Kind, Callable[[], Iterator[IndexRow]]] = {
        "voc": lambda: read_voc(path, balance),
        "coco": lambda: read_coco(path, balance),
        "webdataset": lambda: read_shards(path, wish, balance),
        "parquet": lambda: read_parquet(path, wish, balance),
        "split-files": lambda: read_lists(path),
        "csv": lambda: read_tables(path, wish, balance),
        "class-folders": lambda: read_folders(
            path, balance, leave_out=wish.leave_out, answered=wish.layout is not None
        ),
    }
    rows = list(read[kind]())
    if not rows:
        raise ValueError(f"{path}: no images found in the layout {kind}")
    return rows


def with_splits(
    rows: Sequence[IndexRow], wish: ImportOptions, *, several: bool
) -> tuple[list[IndexRow], tuple[str, ...]]:
    """Rows with a split each, and notes on decisions. Rows that are in no split are dropped.

    Raises Ambiguous if the user's own split would have to be replaced, or classes would vanish with it.
    """
    named = [row for row in rows if row.split]
    splits = {row.split for row in named}
    if not splits:
        return _divided(rows, wish, several=several), (_derived(wish, several=several),)
    if len(splits) == 1:
        (only,) = splits
        if only != "train" or len(named) < len(rows):
            raise Ambiguous(
                f"{counted(len(named), 'image is', 'images are')} in {only} and {len(rows) - len(named)} "
                "in no split: assign them, or "
                "draw a random split by --split-column none"
            )
        return _divided(rows, wish, several=several), (f"all images are in train: {_derived(wish, several=several)}",)
    if "train" not in splits:
        raise Ambiguous(f"the splits are {' and '.join(sorted(splits))}: none of them is train")
    notes = []
    if len(named) < len(rows):
        lost = [row for row in rows if not row.split]
        vanished = sorted({label for row in lost for label in row.labels} - {n for row in named for n in row.labels})
        if vanished and not wish.leave_out:
            raise Ambiguous(
                f"{counted(len(lost), 'image is', 'images are')} in no split, and with them the classes "
                f"{', '.join(vanished[:SHOWN])} would "
                "vanish: put them into a split, or choose --leave-out"
            )
        notes.append(f"{counted(len(lost), 'image is', 'images are')} in no split and left out, e.g. {lost[0].file}")
    if "test" not in splits:
        notes.append("there is no test split, so the val split is the test split")
    return named, tuple(notes)


def each_once(rows: Sequence[IndexRow], balance: Balance, *, several: bool) -> list[IndexRow]:
    """Every image once. Repeated lines are left out; their labels are joined if images may have several.

    Raises Ambiguous for images listed in two splits, or with two labels if images have one each.
    """
    by_image: dict[tuple[str, int | None], list[IndexRow]] = {}
    for row in rows:
        by_image.setdefault((row.file, row.offset), []).append(row)
    repeated = [some for some in by_image.values() if len(some) > 1]
    divided = [some for some in repeated if len({row.split for row in some}) > 1]
    if divided:
        raise Ambiguous(
            f"{counted(len(divided), 'image is', 'images are')} listed in two splits, "
            f"{_listed(divided[0])}: keep each in one"
        )
    differing = [some for some in repeated if len({row.labels for row in some}) > 1]
    if differing and not several:
        raise Ambiguous(
            f"{counted(len(differing), 'image is', 'images are')} listed twice, with two labels, "
            f"{_listed(differing[0])}: keep one label per "
            "image, or choose --several"
        )
    for some in repeated:
        for row in some[1:]:
            balance.leave_out("lines that list an image again", row.file)
    return [_joined(some) for some in by_image.values()]


def unlisted(path: Path, rows: Sequence[IndexRow]) -> Iterator[str]:
    """Image files below the dataset's folder that no row lists; for a single file, below the folders that it names."""
    root = path.parent if path.is_file() else path
    known = {row.file for row in rows if row.offset is None}
    places = {Path(file).parts[0] for file in known if "/" in file} if path.is_file() else [""]
    for place in sorted(places):
        for folder, inner, names in os.walk(root / place):
            inner[:] = sorted(name for name in inner if not is_leftover(name))
            base = os.path.relpath(folder, root).removeprefix(".").removeprefix("/")
            files = (f"{base}/{name}" if base else name for name in sorted(names) if is_image_name(name))
            yield from (file for file in files if file not in known and not is_leftover(file.rpartition("/")[2]))


def _listed(some: Sequence[IndexRow]) -> str:
    words = " and ".join(f"{row.split or 'no split'} as {', '.join(row.labels) or 'nothing'}" for row in some[:2])
    return f"{some[0].file} in {words}"


def _joined(some: Sequence[IndexRow]) -> IndexRow:
    labels = tuple(dict.fromkeys(label for row in some for label in row.labels))
    return some[0] if len(some) == 1 else replace(some[0], labels=labels)


def _divided(rows: Sequence[IndexRow], wish: ImportOptions, *, several: bool) -> list[IndexRow]:
    numbers = {name: index for index, name in enumerate(class_names(rows))}
    labels = np.array([0 if several else numbers[row.labels[0]] for row in rows], dtype=np.int64)
    _, test = held_out(labels, wish.test_share, wish.seed)
    chosen = set(test.tolist())
    return [replace(row, split="test" if place in chosen else "train") for place, row in enumerate(rows)]


def _derived(wish: ImportOptions, *, several: bool) -> str:
    how = "at random" if several else "of every class"
    return f"it has no test split, so {wish.test_share:.0%} {how}, drawn with seed {wish.seed}, is the test split"
