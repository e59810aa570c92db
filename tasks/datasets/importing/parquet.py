"""Parquet files whose rows contain images and labels, as on the Hugging Face hub: `data/train-0-of-2.parquet`."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from tasks.datasets.balance import Balance
from tasks.datasets.csv_index import IndexRow
from tasks.datasets.file_kinds import is_leftover
from tasks.datasets.folder_meanings import Ambiguous, split_of
from tasks.datasets.importing.csv_tables import LABEL_COLUMNS, NO_LABEL
from tasks.datasets.importing.messages import ImportOptions
from tasks.datasets.importing.split_columns import split_column
from tasks.datasets.parquet_files import PATH, cells, class_names_of, columns, has_names, has_pyarrow, image_columns

PATTERNS = ("*.parquet", "*/*.parquet", "*/*/*.parquet")
SHOWN = 5


@dataclass(frozen=True)
class ParquetTable:
    """Cells of a file without its images, as text, in which a split column is searched for."""

    path: Path
    head: tuple[str, ...]

    def rows(self) -> Iterator[tuple[int, dict[str, str]]]:
        """Row number and cells by column."""
        for number, row in enumerate(cells(self.path, self.head)):
            yield number, {name: "" if cell is None else str(cell) for name, cell in zip(self.head, row, strict=True)}


def parquet_files(path: Path) -> list[Path]:
    """Parquet files of a folder and of two levels of subfolders, in order; or the single file."""
    if path.is_file():
        return [path] if path.suffix.lower() == ".parquet" else []
    found = {file for pattern in PATTERNS for file in path.glob(pattern) if file.is_file()}
    return sorted(file for file in found if not any(map(is_leftover, file.relative_to(path).parts)))


def holds_images(path: Path) -> bool:
    """Whether there are parquet files with a column of images; also true if that cannot be determined without
    pyarrow."""
    found = parquet_files(path)
    return bool(found) and (not has_pyarrow() or any(map(image_columns, found)))


def image_column(path: Path, wish: ImportOptions) -> str:
    """The one column of images. Raises Ambiguous, ValueError."""
    for file in parquet_files(path):
        found = [wish.file_column] if wish.file_column else image_columns(file)
        if len(found) > 1:
            raise Ambiguous(f"{file}: several columns are possible: choose by --file-column: {', '.join(found)}")
        if found:
            return found[0]
    raise ValueError(f"{path}: no parquet file has a column of images")


def read_parquet(path: Path, wish: ImportOptions, balance: Balance) -> Iterator[IndexRow]:
    """A row per image with a label. The split is from a column, or from the name of the file or its folder.

    Raises Ambiguous for files of several configurations, several columns, and splits without labels; ValueError.
    """
    files, image = parquet_files(path), image_column(path, wish)
    _ask_about_configurations(path, files)
    labelled: Counter[str] = Counter()
    bare: Counter[str] = Counter()
    for file in files:
        if image not in columns(file):
            balance.leave_out(f"parquet files without the column {image}", file.name)
            continue
        for row in _rows(path.parent if path.is_file() else path, file, image, wish, balance):
            (labelled if row.labels else bare)[row.split] += 1
            if row.labels or wish.several:
                yield row
    for split in bare.keys() - labelled.keys():
        if not wish.leave_out:
            raise Ambiguous(
                f"{path}: the {bare[split]} images of the split {split or 'without a name'} have no labels: choose "
                "--leave-out to leave it out"
            )


def _ask_about_configurations(path: Path, files: Sequence[Path]) -> None:
    """Raise Ambiguous for files in several folders, which may be configurations of one dataset with the same images."""
    folders = {file.parent.parent if split_of(file.parent.name) else file.parent for file in files}
    if len(folders) > 1:
        names = ", ".join(sorted(str(folder) for folder in folders)[:SHOWN])
        raise Ambiguous(
            f"{path} has parquet files in {len(folders)} folders, which may be configurations of the same images: add "
            f"one of them: {names}"
        )


def _rows(root: Path, file: Path, image: str, wish: ImportOptions, balance: Balance) -> Iterator[IndexRow]:
    shard = file.relative_to(root).as_posix()
    label = wish.label_column or _label_column(file, image)
    if label not in columns(file):
        raise ValueError(f"{file} has no column {label!r}: its columns are {', '.join(columns(file))}")
    names = class_names_of(file, label)
    by_name = split_of(file.stem) or split_of(file.parent.name) or ""
    splits = _splits(file, image, wish, balance) if wish.split_column or not by_name else None
    wanted = [label, f"{image}.{PATH}"] if has_names(file, image) else [label]
    for number, (value, *place) in enumerate(cells(file, wanted)):
        name = PurePosixPath(str(_path(place) or "")).name
        where = f"{shard}/{number}" + (f"/{name}" if name else "")
        labels = _labels(value, names, wish, file, number)
        if not labels and not wish.several:
            balance.leave_out(f"rows of {file.name} without a label", where)
        yield IndexRow(splits[number] if splits else by_name, where, labels, offset=number, size=0)


def _path(place: Sequence[Any]) -> Any:  # noqa: ANN401 - what the cell holds
    return place[0].get(PATH) if place and isinstance(place[0], dict) else None


def _splits(file: Path, image: str, wish: ImportOptions, balance: Balance) -> list[str] | None:
    """The split of every row, if a column contains it."""
    if wish.split_column == "none":
        return None
    table = ParquetTable(file, tuple(name for name in columns(file) if name != image))
    if wish.split_column not in (None, *table.head):
        raise ValueError(f"{file} has no column {wish.split_column!r}: its columns are {', '.join(table.head)}")
    column = split_column(table, wish)
    if column is None:
        return None
    balance.remark(column.remark)
    return [column.split(row) for _, row in table.rows()]


def _label_column(file: Path, image: str) -> str:
    """The column with the name of a label, else the integer column with class names. Raises Ambiguous."""
    others = [name for name in columns(file) if name != image]
    named = [name for name in others if name.lower() in LABEL_COLUMNS]
    found = named or [name for name in others if class_names_of(file, name)]
    if len(found) != 1:
        raise Ambiguous(f"{file}: several columns are possible: choose by --label-column: {', '.join(found or others)}")
    return found[0]


def _labels(
    value: object, names: Sequence[str] | None, wish: ImportOptions, file: Path, number: int
) -> tuple[str, ...]:
    """Labels of one row; none for null, NaN, and the hub's -1 for a label that is withheld."""
    if isinstance(value, list):
        if not wish.several:
            raise Ambiguous(f"{file}, row {number}: a row has a list of labels: choose --several")
        return tuple(dict.fromkeys(label for one in value for label in _labels(one, names, wish, file, number)))
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    if names is not None and isinstance(value, int):
        if value >= len(names):
            raise ValueError(f"{file}, row {number}: the label {value}, and there are {len(names)} names of classes")
        return (names[value],) if value >= 0 else ()
    label = "" if value is None else str(value).strip()
    return () if label.lower() in NO_LABEL else (label,)
