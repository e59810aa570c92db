"""The user's own split from a table column: standard names, booleans, or values mapped by the user."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from backbones.io.errors import counted
from tasks.datasets.csv_index import shown
from tasks.datasets.folder_meanings import Ambiguous, split_of
from tasks.datasets.importing.messages import ImportOptions

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
        """The split of a row."""
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
