"""Labels in text: CSV tables with a header, and lists of files, one per split."""

from __future__ import annotations

import csv
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

from tasks.datasets.csv_index import IndexRow, inside, is_file, shown
from tasks.datasets.importing.messages import Ambiguous, ImportOptions, split_of

FILE_COLUMNS = ("file", "filename", "file_name", "filepath", "path", "image", "image_path", "img", "image_id", "id")
LABEL_COLUMNS = ("label", "labels", "class", "class_name", "category", "target", "species", "diagnosis", "y")
SPLIT_COLUMNS = ("split", "subset", "set", "partition", "fold")
ENDINGS = (".jpg", ".jpeg", ".png", ".webp", ".bmp", ".tif", ".tiff", ".ppm")
TABLES = ("*.csv", "*.tsv")
TRIED = 20
"""Rows by which the folder of a table's images is found."""


@dataclass(frozen=True)
class Columns:
    """Which column says what."""

    file: str
    label: str
    split: str | None


def table_files(path: Path) -> list[Path]:
    """The tables of a dataset: the file itself, or those in its folder with a column of files and one of labels."""
    if path.is_file():
        return [path] if path.suffix in (".csv", ".tsv") else []
    found = sorted(file for pattern in TABLES for file in path.glob(pattern))
    return [file for file in found if _guess(_head(file), FILE_COLUMNS) and _guess(_head(file), LABEL_COLUMNS)]


def read_tables(path: Path, wish: ImportOptions) -> Iterator[IndexRow]:
    """Rows of all tables; the split from its column, else from the table's name. Raises Ambiguous and ValueError."""
    root = path.parent if path.is_file() else path
    for table in table_files(path):
        head = _head(table)
        columns = _columns(table, head, wish)
        folder = _image_folder(root, table, columns.file)
        with table.open(encoding="utf-8-sig", newline="") as file:
            for line in csv.DictReader(file, dialect=_dialect(table)):
                yield _row(root, folder, table, columns, line, several=wish.several)


def list_files(path: Path) -> dict[str, Path]:
    """`train.txt`, `val.txt`, `test.txt` by split, in the folder itself or one called `splits` or `lists`."""
    for folder in (path, path / "splits", path / "lists", path / "meta"):
        found = {split_of(file.stem): file for file in sorted(folder.glob("*.txt"))} if folder.is_dir() else {}
        lists = {split: file for split, file in found.items() if split is not None}
        if "train" in lists or "test" in lists:
            return lists
    return {}


def read_lists(path: Path) -> Iterator[IndexRow]:
    """Rows of all lists: `path label` on a line, or a path alone, whose folder is then its class."""
    for split, file in list_files(path).items():
        for number, line in enumerate(file.read_text(encoding="utf-8").splitlines(), start=1):
            if text := line.strip():
                name, label = _named(text, file, number)
                yield IndexRow(split, _found(path, path, name, file, number), (label,))


def _named(text: str, file: Path, number: int) -> tuple[str, str]:
    for separator in ("\t", ",", " "):
        name, found, label = text.rpartition(separator)
        if found and name.strip():
            return name.strip(), label.strip()
    if "/" not in text:
        raise ValueError(f"{file}, line {number}: {shown(text)} has neither a label nor a folder that would be one")
    return text, text.split("/")[-2]


def _row(
    root: Path, folder: Path, table: Path, columns: Columns, line: Mapping[str, str | None], *, several: bool
) -> IndexRow:
    name, label = (line.get(columns.file) or "").strip(), (line.get(columns.label) or "").strip()
    if not name or not label:
        raise ValueError(f"{table}: a line without a file or without a label: {shown(str(dict(line)))}")
    parts = tuple(part.strip() for part in label.replace(";", "|").split("|")) if several else (label,)
    given = split_of(line.get(columns.split) or "") if columns.split else split_of(table.stem)
    return IndexRow(given or "", _found(root, folder, name, table, None), parts)


def _found(root: Path, folder: Path, name: str, table: Path, number: int | None) -> str:
    """The image's path relative to the root; a name without an ending gets the one that is there."""
    for place in (folder / name, root / name, *(folder / f"{name}{ending}" for ending in ENDINGS)):
        if is_file(place):
            return inside(root, place)
    where = f"{table}, line {number}" if number else str(table)
    raise ValueError(f"{where} names {shown(name)}, which is neither in {folder} nor in {root}")


def _image_folder(root: Path, table: Path, file_column: str) -> Path:
    """Where the names of a table begin: of the root and the folders in it, the one that holds most of the first."""
    with table.open(encoding="utf-8-sig", newline="") as file:
        lines = islice(csv.DictReader(file, dialect=_dialect(table)), TRIED)
        names = [(line.get(file_column) or "").strip() for line in lines]
    folders = [root, *sorted(folder for folder in root.iterdir() if folder.is_dir())]
    return max(folders, key=lambda folder: sum(_is_image(folder, name) for name in names))


def _is_image(folder: Path, name: str) -> bool:
    return any(is_file(folder / f"{name}{ending}") for ending in ("", *ENDINGS))


def _columns(table: Path, head: Sequence[str], wish: ImportOptions) -> Columns:
    for given in (wish.file_column, wish.label_column, wish.split_column):
        if given is not None and given not in head:
            raise ValueError(f"{table} has no column {given!r}: its columns are {', '.join(head)}")
    file = wish.file_column or _one(table, head, FILE_COLUMNS, "--file-column")
    label = wish.label_column or _one(table, head, LABEL_COLUMNS, "--label-column")
    return Columns(file, label, wish.split_column or next(iter(_guess(head, SPLIT_COLUMNS)), None))


def _one(table: Path, head: Sequence[str], names: Sequence[str], option: str) -> str:
    found = _guess(head, names)
    if len(found) != 1:
        choices = ", ".join(found or head)
        raise Ambiguous(f"{table}: which column is it? choose by {option}: {choices}")
    return found[0]


def _guess(head: Sequence[str], names: Sequence[str]) -> list[str]:
    return [column for column in head if column.strip().lower() in names]


def _head(table: Path) -> list[str]:
    with table.open(encoding="utf-8-sig", newline="") as file:
        return next(csv.reader(file, dialect=_dialect(table)), [])


def _dialect(table: Path) -> type[csv.Dialect]:
    return csv.excel_tab if table.suffix == ".tsv" else csv.excel
