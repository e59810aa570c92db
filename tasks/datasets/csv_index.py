"""The index of a dataset of the user's own: which image is in which split with which labels. One CSV file.

Columns: `split,file,labels`, for images inside tar files `offset,size`, and `ignored` for labels that are left open.
`file` is relative to the dataset's
folder; several labels are separated by `|`. Written once, so that splits never change behind a result's back.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

HEAD = ("split", "file", "labels", "offset", "size", "ignored")
OLDER_HEAD = HEAD[:-1]
SEPARATOR = "|"
SHOWN = 100
SPLITS = ("train", "val", "test", "all")


@dataclass(frozen=True)
class IndexRow:
    """One image. `split` is empty until it is decided."""

    split: str
    file: str
    """POSIX path relative to the dataset's folder; `shard.tar/member.jpg` inside a tar file."""
    labels: tuple[str, ...]
    offset: int | None = None
    """Where its bytes begin in the tar file, of which there are `size`."""
    size: int | None = None
    ignored: tuple[str, ...] = ()
    """Labels of which the image is neither an example nor a negative."""


class IndexProblem(ValueError):  # noqa: N818 - a domain word, raised as such
    """The index is not what this module wrote."""


def inside(root: Path, path: Path) -> str:
    """The POSIX path relative to `root`. Raises ValueError for one that leads out of it."""
    if not path.is_relative_to(root) or ".." in path.relative_to(root).parts:
        raise ValueError(f"{shown(str(path))} lies outside of {root}: the images of a dataset lie in its folder")
    return path.relative_to(root).as_posix()


def shown(text: str) -> str:
    """A name from a file, as long as a sentence can hold."""
    return repr(text if len(text) <= SHOWN else f"{text[:SHOWN]}...")


def is_file(path: Path) -> bool:
    """Whether there is one; no file has a name that is too long to ask for."""
    try:
        return path.is_file()
    except OSError:
        return False


def index_text(rows: Iterable[IndexRow]) -> str:
    """The file's content."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(HEAD)
    for row in rows:
        place = ("", "") if row.offset is None else (str(row.offset), str(row.size))
        writer.writerow((row.split, row.file, SEPARATOR.join(row.labels), *place, SEPARATOR.join(row.ignored)))
    return text.getvalue()


def read_index(path: Path, *, multi_label: bool) -> list[IndexRow]:
    """The rows of a file. Raises OSError, and IndexProblem with the line for one that is damaged."""
    with path.open(encoding="utf-8", newline="") as file:
        lines = csv.reader(file)
        if tuple(next(lines, ())) not in (HEAD, OLDER_HEAD):
            raise IndexProblem(f"{path} does not begin with {','.join(HEAD)}")
        try:
            return [_row(path, number, cells, multi_label) for number, cells in enumerate(lines, start=2)]
        except csv.Error as error:
            raise IndexProblem(f"{path}, line {lines.line_num}: {error}: add the dataset again") from error


def class_names(rows: Iterable[IndexRow]) -> tuple[str, ...]:
    """Every label once, numbers in the order of their value and texts in the alphabet's."""
    names = {label for row in rows for label in (*row.labels, *row.ignored)}
    return tuple(sorted(names, key=_order))


def split_names(rows: Sequence[IndexRow]) -> tuple[str, ...]:
    """The splits there are, in the order in which they are always listed."""
    found = {row.split for row in rows}
    return tuple(name for name in SPLITS if name in found)


def _order(name: str) -> tuple[int, int, str]:
    return (0, int(name), name) if name.isdecimal() else (1, 0, name)


def _row(path: Path, number: int, cells: list[str], multi_label: bool) -> IndexRow:
    try:
        split, file, labels, offset, size, ignored = cells if len(cells) == len(HEAD) else [*cells, ""]
        if split not in SPLITS or not file:
            raise ValueError("no split or no file")
        if PurePosixPath(file).is_absolute() or ".." in PurePosixPath(file).parts:
            raise ValueError(f"{shown(file)} leads out of the dataset's folder")
        if min(int(offset or 0), int(size or 0)) < 0:
            raise ValueError("a place before the beginning of its tar file")
        parts = tuple(filter(None, labels.split(SEPARATOR))) if multi_label else (labels,)
        left_open = tuple(filter(None, ignored.split(SEPARATOR)))
        return IndexRow(split, file, parts, int(offset) if offset else None, int(size) if size else None, left_open)
    except ValueError as error:
        raise IndexProblem(f"{path}, line {number}: {error}: add the dataset again") from error
