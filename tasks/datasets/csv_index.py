"""Index of a user's own dataset, one CSV file of image files, splits and labels; and the account of what was left out.

Columns: `split,file,labels`, for images inside tar files `offset,size`, and `ignored` for labels that are left open.
`file` is relative to the dataset's folder; several labels are separated by `|`. Written once, so that splits do not
change after results were computed.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath

from backbones.io.errors import counted

HEAD = ("split", "file", "labels", "offset", "size", "ignored")
OLDER_HEAD = HEAD[:-1]
SEPARATOR = "|"
SHOWN = 100
SPLITS = ("train", "val", "test", "all")
EXAMPLES = 3


@dataclass(frozen=True)
class IndexRow:
    """One image. `split` is empty until it is assigned."""

    split: str
    file: str
    """POSIX path relative to the dataset's folder; `shard.tar/member.jpg` inside a tar file."""
    labels: tuple[str, ...]
    offset: int | None = None
    """Position of its bytes in the tar file, and their `size`."""
    size: int | None = None
    ignored: tuple[str, ...] = ()
    """Labels for which the image is neither a positive nor a negative example."""


class IndexProblem(ValueError):  # noqa: N818 - a domain word, raised as such
    """The index is damaged or was not written by this module."""


def inside(root: Path, path: Path) -> str:
    """POSIX path relative to `root`. Raises ValueError for a path outside it."""
    if not path.is_relative_to(root) or ".." in path.relative_to(root).parts:
        raise ValueError(f"{shown(str(path))} is outside of {root}: the images of a dataset must be in its folder")
    return path.relative_to(root).as_posix()


def shown(text: str) -> str:
    """A name from a file, shortened for messages."""
    return repr(text if len(text) <= SHOWN else f"{text[:SHOWN]}...")


def is_file(path: Path) -> bool:
    """Whether the path is a file; names too long for the file system are not."""
    try:
        return path.is_file()
    except OSError:
        return False


def index_text(rows: Iterable[IndexRow]) -> str:
    """Content of the CSV file."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(HEAD)
    for row in rows:
        place = ("", "") if row.offset is None else (str(row.offset), str(row.size))
        writer.writerow((row.split, row.file, SEPARATOR.join(row.labels), *place, SEPARATOR.join(row.ignored)))
    return text.getvalue()


def read_index(path: Path, *, multi_label: bool) -> list[IndexRow]:
    """Rows of an index. Raises OSError, and IndexProblem with the line number if damaged."""
    with path.open(encoding="utf-8", newline="") as file:
        lines = csv.reader(file)
        if tuple(next(lines, ())) not in (HEAD, OLDER_HEAD):
            raise IndexProblem(f"{path} does not begin with {','.join(HEAD)}")
        try:
            return [_row(path, number, cells, multi_label) for number, cells in enumerate(lines, start=2)]
        except csv.Error as error:
            raise IndexProblem(f"{path}, line {lines.line_num}: {error}: add the dataset again") from error


def class_names(rows: Iterable[IndexRow]) -> tuple[str, ...]:
    """All distinct labels, numbers in numeric and texts in alphabetical order."""
    names = {label for row in rows for label in (*row.labels, *row.ignored)}
    return tuple(sorted(names, key=_order))


def split_names(rows: Sequence[IndexRow]) -> tuple[str, ...]:
    """Splits that occur, in the standard order."""
    found = {row.split for row in rows}
    return tuple(name for name in SPLITS if name in found)


def _order(name: str) -> tuple[int, int, str]:
    return (0, int(name), name) if name.isdecimal() else (1, 0, name)


def _row(path: Path, number: int, cells: list[str], multi_label: bool) -> IndexRow:
    try:
        split, file, labels, offset, size, ignored = cells if len(cells) == len(HEAD) else [*cells, ""]
        if split not in SPLITS or not file:
            raise ValueError("missing split or file")
        if PurePosixPath(file).is_absolute() or ".." in PurePosixPath(file).parts:
            raise ValueError(f"{shown(file)} leads out of the dataset's folder")
        if min(int(offset or 0), int(size or 0)) < 0:
            raise ValueError("a negative position in its tar file")
        parts = tuple(filter(None, labels.split(SEPARATOR))) if multi_label else (labels,)
        left_open = tuple(filter(None, ignored.split(SEPARATOR)))
        return IndexRow(split, file, parts, int(offset) if offset else None, int(size) if size else None, left_open)
    except ValueError as error:
        raise IndexProblem(f"{path}, line {number}: {error}: add the dataset again") from error


@dataclass
class Balance:
    """Files and lines that were left out, by reason, in order of first occurrence."""

    left_out: dict[str, list[str]] = field(default_factory=dict)
    remarks: list[str] = field(default_factory=list)
    """Notes on ambiguous input and its interpretation."""

    def leave_out(self, reason: str, name: str) -> None:
        """Count a left-out file or line; `reason` is a plural, e.g. `.txt files`."""
        self.left_out.setdefault(reason, []).append(name)

    def remark(self, sentence: str) -> None:
        """Add a note once."""
        if sentence not in self.remarks:
            self.remarks.append(sentence)

    def notes(self, read: int) -> Iterator[str]:
        """The remarks, followed by the counts."""
        yield from self.remarks
        total = sum(map(len, self.left_out.values()))
        if total:
            images = counted(read, "image is", "images are")
            yield f"{images} read; {counted(total, 'file or line is', 'files or lines are')} left out:"
        for reason, names in self.left_out.items():
            more = ", ..." if len(names) > EXAMPLES else ""
            yield f"left out: {reason}: {len(names):,} ({', '.join(names[:EXAMPLES])}{more})"
