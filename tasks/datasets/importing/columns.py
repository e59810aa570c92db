"""Text tables in common encodings and with common separators, and the user's own split from a column."""

from __future__ import annotations

import csv
import io
import json
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from backbones.io.errors import counted
from tasks.datasets.csv_index import shown
from tasks.datasets.folders import Ambiguous, split_of
from tasks.datasets.importing.messages import ImportOptions

SEPARATORS = ("\t", ";", ",", "|")
NAMES = {"\t": "tabs", ";": "semicolons", ",": "commas", "|": "|"}
HEAD_BYTES = 1 << 16
SPLIT_COLUMNS = ("split", "subset", "set", "partition", "fold", "phase", "usage", "data_split", "dataset_split")
BOOLEAN = {
    **dict.fromkeys(("true", "t", "yes", "y", "1", "1.0"), True),
    **dict.fromkeys(("false", "f", "no", "n", "0", "0.0"), False),
}
ROLES: Mapping[str, tuple[str, str]] = {
    "train": ("train", "test"),
    "test": ("test", "train"),
    "val": ("val", "train"),
}
"""Splits of true and of false for columns such as `is_train`."""
OTHERS = "*"
NOWHERE = "none"
SHOWN = 6


@dataclass(frozen=True)
class TextTable:
    """A table with a header; rows are parsed from `text` on access."""

    path: Path
    head: tuple[str, ...]
    separator: str
    text: str
    encoding: str

    def rows(self) -> Iterator[tuple[int, dict[str, str]]]:
        """Line number and cells by column, stripped. Raises ValueError with the line number for a ragged row."""
        lines = csv.reader(io.StringIO(self.text, newline=""), delimiter=self.separator)
        next(lines, None)
        try:
            for cells in lines:
                if any(cell.strip() for cell in cells):
                    yield lines.line_num, self._row(cells, lines.line_num)
        except csv.Error as error:
            raise ValueError(f"{self.path}, line {lines.line_num}: {error}: save the table again") from error

    def _row(self, cells: Sequence[str], line: int) -> dict[str, str]:
        if len(cells) > len(self.head) and any(cell.strip() for cell in cells[len(self.head) :]):
            raise ValueError(
                f"{self.path}, line {line} has {len(cells)} cells, the header {len(self.head)}: put cells that hold a "
                f"{NAMES[self.separator].removesuffix('s')} into quotes"
            )
        return dict(zip(self.head, [cell.strip() for cell in cells] + [""] * len(self.head), strict=False))


class JsonLines(TextTable):
    """A table of one JSON object per line, as `metadata.jsonl` of the Hugging Face imagefolder layout."""

    def rows(self) -> Iterator[tuple[int, dict[str, str]]]:
        """Line number and values by name, as text. Raises ValueError with the line number for a line that is not an
        object."""
        for number, line in enumerate(self.text.splitlines(), start=1):
            if line.strip():
                yield number, dict.fromkeys(self.head, "") | _values(self.path, number, line)


def _values(path: Path, number: int, line: str) -> dict[str, str]:
    try:
        found = json.loads(line)
    except ValueError as error:
        raise ValueError(f"{path}, line {number}: not JSON ({error}): write one object on each line") from error
    if not isinstance(found, dict):
        raise ValueError(f"{path}, line {number}: not a JSON object: write one on each line")
    return {str(name): _as_text(value) for name, value in found.items()}


def _as_text(value: object) -> str:
    """A value as cell text; list items are joined by |."""
    if isinstance(value, list):
        return "|".join(map(_as_text, value))
    return "" if value is None else str(value).strip()


def read_table(path: Path) -> TextTable:
    """A table with detected encoding and separator. Raises ValueError with file and line, and OSError."""
    text, encoding = decoded(path)
    if path.suffix.lower() == ".jsonl":
        lines = ((number, line) for number, line in enumerate(text.splitlines(), start=1) if line.strip())
        keys = dict.fromkeys(name for number, line in lines for name in _values(path, number, line))
        return JsonLines(path, tuple(keys), "", text, encoding)
    separator = _separator(path, text)
    head = next(csv.reader(io.StringIO(text, newline=""), delimiter=separator), [])
    names = tuple(name.strip() for name in head)
    return TextTable(path, names, separator, text, encoding)


def decoded(path: Path) -> tuple[str, str]:
    """Text of a file, and its encoding: UTF-8, UTF-16 with or without a byte order mark, else Windows' Latin-1.

    Raises ValueError with file and line for bytes that are invalid in all of these.
    """
    content = path.read_bytes()
    if content.startswith((b"\xff\xfe", b"\xfe\xff")):
        return _decode(path, content, "utf-16"), "UTF-16"
    start = content[:HEAD_BYTES]
    if start.count(0) > len(start) // 4:
        little = start[1::2].count(0) > start[::2].count(0)
        return _decode(path, content, "utf-16-le" if little else "utf-16-be"), "UTF-16"
    try:
        return content.decode("utf-8-sig"), "UTF-8"
    except UnicodeDecodeError:
        return _decode(path, content, "cp1252"), "Latin-1"


def _decode(path: Path, content: bytes, encoding: str) -> str:
    try:
        return content.decode(encoding)
    except UnicodeDecodeError as error:
        line = content[: error.start].count(b"\n") + 1
        raise ValueError(
            f"{path}, line {line}: the byte {content[error.start]:#04x} fits no known encoding (UTF-8, UTF-16, "
            "Latin-1): save the file as UTF-8"
        ) from error


def _separator(path: Path, text: str) -> str:
    """The separator that divides the first line into most columns; by the file's suffix if none does."""
    usual = "\t" if path.suffix.lower() == ".tsv" else ","
    first = next(iter(text.splitlines()), "")
    counts = {one: len(next(csv.reader([first], delimiter=one), [])) for one in (usual, *SEPARATORS)}
    best = max(counts, key=lambda one: counts[one])
    return best if counts[best] > 1 else usual


class Table(Protocol):
    """A table of text with named columns."""

    @property
    def path(self) -> Path:
        """File name for messages."""
        ...

    @property
    def head(self) -> tuple[str, ...]:
        """Column names."""
        ...

    def rows(self) -> Iterator[tuple[int, dict[str, str]]]:
        """Number and cells of every row."""
        ...


@dataclass(frozen=True)
class SplitColumn:
    """A column and the split of each of its values; empty for values in no split."""

    name: str
    splits: Mapping[str, str]
    remark: str

    def split(self, cells: Mapping[str, str]) -> str:
        return self.splits[cells[self.name]]


def split_column(table: Table, wish: ImportOptions) -> SplitColumn | None:
    """The table's split column; None without one. Raises Ambiguous for values that name no split."""
    name = wish.split_column or _found(table)
    if name is None:
        return None
    counts = Counter(cells[name] for _, cells in table.rows())
    mapping = dict(wish.split_words)
    known = {value: split for value in counts if (split := _split_of(name, value, counts, mapping)) is not None}
    unknown = {value: count for value, count in counts.items() if value not in known}
    if unknown:
        raise Ambiguous(_question(table, name, unknown))
    words = ", ".join(f"{shown(value)} is {known[value] or 'left out'}" for value in sorted(known)[:SHOWN])
    return SplitColumn(name, known, f"the split is the column {name}: {words}")


def _found(table: Table) -> str | None:
    columns = [name for name in table.head if name.strip().lower() in SPLIT_COLUMNS or _role(name) is not None]
    if len(columns) > 1:
        raise Ambiguous(
            f"{table.path}: {', '.join(columns)} could each be the split: choose by --split-column, or none to draw one"
        )
    return columns[0] if columns else None


def _role(name: str) -> tuple[str, str] | None:
    """Meaning of a boolean column such as `is_train`."""
    first, _, rest = name.strip().lower().replace("-", "_").partition("_")
    split = split_of(rest) if first in ("is", "in") else None
    return ROLES.get(split or "")


def _split_of(name: str, value: str, counts: Mapping[str, int], mapping: Mapping[str, str]) -> str | None:
    """Standard split of a value, empty for no split; None if unknown."""
    chosen = mapping.get(value, mapping.get(OTHERS))
    if chosen is not None:
        return "" if chosen == NOWHERE else chosen
    role = _role(name)
    if role is not None and all(one.lower() in BOOLEAN for one in counts):
        return role[0] if BOOLEAN[value.lower()] else role[1]
    return split_of(value) if value else ""


def _question(table: Table, name: str, unknown: Mapping[str, int]) -> str:
    shown_values = ", ".join(
        f"{shown(value)} on {counted(count, 'line')}" for value, count in sorted(unknown.items())[:SHOWN]
    )
    more = f" and {len(unknown) - SHOWN} more" if len(unknown) > SHOWN else ""
    first = min(unknown)
    return (
        f"{table.path}: the column {name} has unknown split names: {shown_values}{more}: map them by "
        f'--split "{first}=test" (train, val, test or none; "*=train" for all others), or ignore the column by '
        "--split-column none"
    )
