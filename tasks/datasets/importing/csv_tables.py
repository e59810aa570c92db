"""Labels from text: tables with a header, and file lists, one per split."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from tasks.datasets.csv_index import Balance, IndexRow, inside, is_file, shown
from tasks.datasets.file_kinds import ENDINGS
from tasks.datasets.folders import Ambiguous, split_of
from tasks.datasets.importing.columns import SplitColumn, TextTable, decoded, read_table, split_column
from tasks.datasets.importing.messages import ImportOptions

FILE_COLUMNS = ("file", "filename", "file_name", "filepath", "path", "image", "image_path", "img", "image_id", "id")
LABEL_COLUMNS = ("label", "labels", "class", "class_name", "category", "target", "species", "diagnosis", "y")
TABLES = ("*.csv", "*.tsv", "metadata.jsonl", "*/metadata.csv", "*/metadata.jsonl")
SUBMISSION = "submission"
"""Part of the name of tables in the form of a competition's submission, whose labels are placeholders."""
GROUPS = frozenset({"patient", "subject", "person", "group", "video", "scene", "sequence", "individual", "specimen"})
"""Names of columns with a value that several images share, e.g. a patient."""
TRIED = 20
"""Number of rows used to locate the folder of a table's images."""
NO_LABEL = frozenset({"", "nan", "null", "<na>", "#n/a", "n/a"})
SHOWN = 5


@dataclass(frozen=True)
class Columns:
    """Columns of a table by meaning. Several label columns contain 0 and 1 each, for the class that they are named
    after."""

    file: str
    labels: tuple[str, ...]
    split: SplitColumn | None

    @property
    def one_hot(self) -> bool:
        """Whether there is a column for each class."""
        return len(self.labels) > 1


def table_files(path: Path, wish: ImportOptions) -> list[Path]:
    """Tables of a dataset: the file itself, or those in its folder with a column of files and one of labels."""
    if path.is_file():
        return [path] if path.suffix.lower() in (".csv", ".tsv", ".jsonl") else []
    return [file for file in _all_tables(path) if SUBMISSION not in file.stem.lower() and _has_columns(file, wish)]


def _all_tables(path: Path) -> list[Path]:
    return sorted(file for pattern in TABLES for file in path.glob(pattern))


def is_metadata(file: Path) -> bool:
    """Whether the file name is that of a table of the Hugging Face imagefolder layout."""
    return file.stem == "metadata"


def columns_of(file: Path) -> tuple[str, ...]:
    """Header of a table; empty if it cannot be read."""
    try:
        return read_table(file).head
    except (OSError, ValueError):
        return ()


def read_tables(path: Path, wish: ImportOptions, balance: Balance) -> Iterator[IndexRow]:
    """Rows of all tables; the split is from its column, else from the table's name. Raises Ambiguous and ValueError."""
    root = path.parent if path.is_file() else path
    files = table_files(path, wish)
    for file in _all_tables(path) if path.is_dir() else ():
        if file not in files:
            balance.leave_out("tables without a column of files and one of labels, or named submission", file.name)
    for file in files:
        table = read_table(file)
        if table.encoding == "Latin-1":
            balance.remark(f"{file.name} is not in UTF-8 and is read as Latin-1")
        columns = _columns(table, wish)
        if columns.split is not None:
            balance.remark(columns.split.remark)
        else:
            _remark_on_groups(table, balance)
        folder = _image_folder(file.parent if is_metadata(file) else root, table, columns.file)
        named = _named_rows(table, columns, wish, balance)
        divide = _divider(wish, [labels for _, _, labels in named], columns, file)
        for line, cells, label in named:
            name = cells[columns.file]
            place = _found(root, folder, name, f"{file}, line {line}")
            yield IndexRow(_split(root, file, columns, cells, place), place, divide(label))


def list_files(path: Path) -> dict[str, Path]:
    """`train.txt`, `val.txt`, `test.txt` by split, in the folder itself or one named `splits` or `lists`."""
    for folder in (path, path / "splits", path / "lists", path / "meta"):
        found = {split_of(file.stem): file for file in sorted(folder.glob("*.txt"))} if folder.is_dir() else {}
        lists = {split: file for split, file in found.items() if split is not None}
        if "train" in lists or "test" in lists:
            return lists
    return {}


def read_lists(path: Path) -> Iterator[IndexRow]:
    """Rows of all lists: `path label` per line, or a path alone, whose folder is then its class."""
    for split, file in list_files(path).items():
        for number, line in enumerate(decoded(file)[0].splitlines(), start=1):
            if text := line.strip():
                name, label = _named(text, file, number)
                yield IndexRow(split, _found(path, path, name, f"{file}, line {number}"), (label,))


def _named(text: str, file: Path, number: int) -> tuple[str, str]:
    for separator in ("\t", ",", " "):
        name, found, label = text.rpartition(separator)
        if found and name.strip():
            return name.strip(), label.strip()
    if "/" not in text:
        raise ValueError(f"{file}, line {number}: {shown(text)} has neither a label nor a folder to use as one")
    return text, text.split("/")[-2]


Named = tuple[int, dict[str, str], str]
"""Line, cells and label of a row."""


def _named_rows(table: TextTable, columns: Columns, wish: ImportOptions, balance: Balance) -> list[Named]:
    """Rows with a file and a label, or with several labels per image also those without one."""
    found: list[Named] = []
    for line, cells in table.rows():
        name, label = cells[columns.file], _label(columns, cells, table, line)
        if not name:
            raise ValueError(f"{table.path}, line {line}: no file name in {shown(str(cells))}")
        if label.lower() not in NO_LABEL:
            found.append((line, cells, label))
        elif wish.several:
            balance.leave_out("images without a label are read as negative examples of every class", name)
            found.append((line, cells, ""))
        else:
            words = f" ({label} is not a class)" if label else ""
            balance.leave_out(f"lines of {table.path.name} without a label{words}", f"line {line}: {name}")
    return found


def _label(columns: Columns, cells: Mapping[str, str], table: TextTable, line: int) -> str:
    if not columns.one_hot:
        return cells[columns.labels[0]]
    marked = []
    for name in columns.labels:
        value = cells[name]
        if value not in ("", "0", "1", "0.0", "1.0"):
            raise ValueError(f"{table.path}, line {line}: {name} is {shown(value)}, not 0 or 1")
        if value in ("1", "1.0"):
            marked.append(name)
    return "|".join(marked)


class _Divider:
    """Splits a cell into its labels."""

    def __init__(self, separators: str) -> None:
        self.pattern = re.compile(separators) if separators else None

    def __call__(self, label: str) -> tuple[str, ...]:
        """Labels of one cell."""
        if self.pattern is None:
            return (label,)
        parts = (part.strip() for part in self.pattern.split(label))
        return tuple(dict.fromkeys(part for part in parts if part.lower() not in NO_LABEL))


def _divider(wish: ImportOptions, labels: Sequence[str], columns: Columns, file: Path) -> _Divider:
    """Separator of labels in a cell. Raises Ambiguous if some seem to contain several and no option was given."""
    marks = r"\|" if columns.one_hot else r"[|;]" if any("|" in one or ";" in one for one in labels) else ","
    if wish.several:
        return _Divider(marks)
    joined = sorted({label for label in labels if _seems_several(label, labels, marks)})
    if joined and wish.several is None:
        count = sum(label in joined for label in labels)
        raise Ambiguous(
            f"{file}: {count} labels seem to be several in one, e.g. {shown(joined[0])}: choose --several for several "
            "labels per image, or --single where these are names of classes"
        )
    if joined and columns.one_hot:
        raise ValueError(f"{file}: {shown(joined[0])}: an image has several classes: choose --several")
    return _Divider("")


def _seems_several(label: str, labels: Sequence[str], marks: str) -> bool:
    """Whether a label contains | or ; or a comma next to a part that is itself a label (`tench, Tinca tinca` is one
    name)."""
    if marks != ",":
        return bool(re.search(marks, label))
    parts = [part.strip() for part in label.split(",")]
    return len(parts) > 1 and any(part in labels for part in parts)


def _split(root: Path, file: Path, columns: Columns, cells: Mapping[str, str], place: str) -> str:
    """Split from its column; else from the name of the table or its folder, or the folder of the image."""
    if columns.split is not None:
        return columns.split.split(cells)
    by_folder = split_of(file.parent.name) if file.parent != root else None
    first = place.partition("/")[0] if "/" in place and is_metadata(file) else ""
    return split_of(file.stem) or by_folder or (split_of(first) if first else None) or ""


def _found(root: Path, folder: Path, name: str, where: str) -> str:
    """Image path relative to the root; a name without a suffix is completed by that of an existing file."""
    name = name.replace("\\", "/") if "\\" in name and not is_file(folder / name) else name
    for place in (folder / name, root / name, *(folder / f"{name}{ending}" for ending in ENDINGS)):
        if is_file(place) or place.is_symlink():
            return inside(root, place)
    raise ValueError(f"{where} names {shown(name)}, which is neither in {folder} nor in {root}")


def _image_folder(root: Path, table: TextTable, file_column: str) -> Path:
    """Base folder of a table's file names: of the root and its subfolders, the one with most of the first files."""
    names = [cells[file_column] for (_, cells), _ in zip(table.rows(), range(TRIED), strict=False)]
    folders = [root, *sorted(folder for folder in root.iterdir() if folder.is_dir())]

    counts = []
    for folder in folders:
        spellings = ({name, name.replace("\\", "/")} for name in names)
        exist = (any(is_file(folder / f"{one}{end}") for one in pair for end in ("", *ENDINGS)) for pair in spellings)
        counts.append(sum(exist))
    return folders[counts.index(max(counts))]


def _has_columns(file: Path, wish: ImportOptions) -> bool:
    try:
        table = read_table(file)
    except ValueError:
        return True  # raised with the line number when the row is read
    if not (wish.file_column in table.head or _guess(table.head, FILE_COLUMNS)):
        return False
    return wish.label_column in table.head or bool(_guess(table.head, LABEL_COLUMNS) or _one_hot(table))


def _remark_on_groups(table: TextTable, balance: Balance) -> None:
    """Note if rows of one group (e.g. patient) could be divided by a random split."""
    for name in table.head:
        if name.strip().lower().replace("-", "_").removesuffix("_id").removesuffix("id") not in GROUPS:
            continue
        values = [cells[name] for _, cells in table.rows()]
        if len(set(values)) < len(values):
            balance.remark(
                f"the column {name} of {table.path.name} holds {len(set(values))} values for {len(values)} images: a "
                "random split does not keep images of one value together; use a column of splits"
            )


def _columns(table: TextTable, wish: ImportOptions) -> Columns:
    ignored = wish.split_column == "none"
    for given in (wish.file_column, wish.label_column, None if ignored else wish.split_column):
        if given is not None and given not in table.head:
            raise ValueError(f"{table.path} has no column {given!r}: its columns are {', '.join(table.head)}")
    file = wish.file_column or _one(table, FILE_COLUMNS, "--file-column")
    split = None if ignored else split_column(table, wish)
    if wish.label_column is None and not _guess(table.head, LABEL_COLUMNS) and (classes := _one_hot(table)):
        return Columns(file, classes, split)
    return Columns(file, (wish.label_column or _one(table, LABEL_COLUMNS, "--label-column"),), split)


def _one_hot(table: TextTable) -> tuple[str, ...]:
    """The columns that contain only 0 and 1, at least two; none if there are others."""
    wanted = [name for name in table.head if name and not _guess([name], FILE_COLUMNS)]
    values: dict[str, set[str]] = {name: set() for name in wanted}
    for _, cells in table.rows():
        for name in wanted:
            values[name].add(cells[name])
    binary = [
        name for name in wanted if values[name] <= {"0", "1", "0.0", "1.0"} and not name.lower().startswith("is_")
    ]
    return tuple(binary) if len(binary) > 1 else ()


def _one(table: TextTable, names: Sequence[str], option: str) -> str:
    found = _guess(table.head, names)
    if len(found) != 1:
        choices = ", ".join(found or table.head)
        raise Ambiguous(f"{table.path}: which column is it? choose by {option}: {choices}")
    return found[0]


def _guess(head: Sequence[str], names: Sequence[str]) -> list[str]:
    return [column for column in head if column.strip().lower() in names]
