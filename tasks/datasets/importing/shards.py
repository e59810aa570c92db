"""Shards of images with labels: webdataset's tar files, and parquet files as on the Hugging Face hub."""

from __future__ import annotations

import json
import tarfile
import zlib
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any

from backbones.io.errors import counted
from tasks.datasets.csv_index import Balance, IndexRow
from tasks.datasets.file_kinds import ENDINGS, is_leftover
from tasks.datasets.folders import Ambiguous, split_of
from tasks.datasets.importing.columns import split_column
from tasks.datasets.importing.csv_tables import LABEL_COLUMNS, NO_LABEL
from tasks.datasets.importing.messages import ImportOptions
from tasks.datasets.shards import (
    PATH,
    cells,
    class_names_of,
    columns,
    compression_of,
    has_names,
    has_pyarrow,
    image_columns,
)

LABEL_KEYS = ("label", "cls", "class", "class_name", "category", "target")
LABELS = ("cls", "txt", "json")
EMPTY_LABELS = frozenset({"", "nan", "null", "<na>"})
COMPRESSED = (".tar.gz", ".tgz", ".tar.bz2", ".tbz", ".tar.xz", ".txz", ".tar.zst")
PATTERNS = ("*.parquet", "*/*.parquet", "*/*/*.parquet")
SHOWN = 5


def shard_files(path: Path) -> list[Path]:
    """Tar files of a folder and its subfolders, in order, including compressed ones; or the single file."""
    if path.is_file():
        return [path] if _is_shard(path) else []
    return sorted(shard for shard in {*path.glob("*"), *path.glob("*/*")} if _is_shard(shard) and shard.is_file())


def read_shards(path: Path, wish: ImportOptions, balance: Balance) -> Iterator[IndexRow]:
    """A row per sample with an image and a label (`.cls`, `.txt`, or `.json` with a label).

    The split is from the shard's name or folder. Raises Ambiguous for a shard without samples, and ValueError for one
    that is damaged, unlabelled, or compressed other than by gzip.
    """
    root = path.parent if path.is_file() else path
    for shard in shard_files(path):
        name = shard.relative_to(root).as_posix()
        split = split_of(shard.stem) or split_of(shard.parent.name) or ""
        try:
            rows = list(_samples(shard, name, split, balance))
        except (tarfile.TarError, EOFError, zlib.error) as error:
            raise ValueError(f"{shard} is not a whole tar file: {error}") from error
        if not rows and not wish.leave_out:
            raise Ambiguous(f"{shard} has no sample with an image: write it again, or choose --leave-out")
        if not rows:
            balance.leave_out("shards without a sample", name)
        yield from rows


@dataclass
class _Sample:
    """Members of one sample."""

    images: dict[str, tarfile.TarInfo] = field(default_factory=dict)
    """By suffix, e.g. `png` or `seg.png`."""
    labels: dict[str, str | None] = field(default_factory=dict)
    """By suffix; None for an explicit null label."""

    @property
    def label(self) -> str | None:
        """The label; None for null, empty without a label file."""
        return next((self.labels[ending] for ending in LABELS if self.labels.get(ending, "") != ""), "")

    @property
    def unused(self) -> list[str]:
        """Suffixes of further label files."""
        return [ending for ending in LABELS if self.labels.get(ending, "") != ""][1:]


def _samples(shard: Path, name: str, split: str, balance: Balance) -> Iterator[IndexRow]:
    samples: dict[str, _Sample] = {}
    compression = compression_of(shard)
    if compression not in ("", "gzip"):
        raise ValueError(
            f"{shard} is compressed by {compression}, and images are read in tar files that are plain or "
            "compressed by gzip: unpack it to a plain .tar first"
        )
    with tarfile.open(shard, "r:gz" if compression else "r:") as archive:
        for member in archive:
            if member.isfile():
                _take(archive, member, samples, f"{name}/{member.name}", balance)
    pictured = {key: sample for key, sample in samples.items() if sample.images}
    unlabelled = [key for key, sample in pictured.items() if sample.label == ""]
    if pictured and len(unlabelled) == len(pictured):
        raise ValueError(
            f"{shard}: {counted(len(unlabelled), 'sample has', 'samples have')} no label (.cls, .txt or "
            f".json), e.g. {unlabelled[0]}"
        )
    for key, sample in samples.items():
        if not sample.images:
            balance.leave_out("samples without an image", f"{name}/{key}")
        elif not sample.label:
            balance.leave_out("samples without a label", f"{name}/{key}")
        else:
            member = _image(shard, key, sample, balance)
            for ending in sample.unused:
                balance.leave_out(f"files of labels or captions with the suffix .{ending}", f"{name}/{key}.{ending}")
            yield IndexRow(split, f"{name}/{member.name}", (sample.label,), member.offset_data, member.size)


def _take(
    archive: tarfile.TarFile, member: tarfile.TarInfo, samples: dict[str, _Sample], where: str, balance: Balance
) -> None:
    """Add a member to its sample. `./` before names and dots in folders are not part of a sample's key."""
    parts = [part for part in member.name.split("/") if part not in ("", ".")]
    base, _, ending = parts[-1].partition(".")
    if not base or any(is_leftover(part) for part in parts):
        balance.leave_out("leftovers in shards", where)
        return
    sample = samples.setdefault("/".join([*parts[:-1], base]), _Sample())
    if f".{ending.lower().rpartition('.')[2]}" in ENDINGS:
        sample.images[ending.lower()] = member
    elif ending in LABELS:
        sample.labels[ending] = _label(archive, member, ending)
    else:
        balance.leave_out(f"members with the suffix .{ending}" if ending else "members without a suffix", where)


def _image(shard: Path, key: str, sample: _Sample, balance: Balance) -> tarfile.TarInfo:
    """The picture of a sample: the member with a plain suffix, or the only one. Raises ValueError."""
    plain = [ending for ending in sample.images if "." not in ending] or list(sample.images)
    if len(plain) > 1:
        raise ValueError(f"{shard}: the sample {key} has several images, {', '.join(plain)}: keep one as .{plain[0]}")
    for ending, member in sample.images.items():
        if ending != plain[0]:
            balance.leave_out(f"further images with the suffix .{ending}", member.name)
    return sample.images[plain[0]]


def _label(archive: tarfile.TarFile, member: tarfile.TarInfo, ending: str) -> str | None:
    file = archive.extractfile(member)
    text = "" if file is None else file.read().decode("utf-8", "replace").strip()
    if ending != "json":
        return None if text.lower() in EMPTY_LABELS else text
    try:
        content = json.loads(text)
    except ValueError:
        return ""
    if isinstance(content, dict):
        content = next((content[key] for key in LABEL_KEYS if key in content), "")
    return None if content is None or str(content).lower() in EMPTY_LABELS - {""} else str(content)


def _is_shard(path: Path) -> bool:
    """`model.pth.tar` is conventionally a checkpoint."""
    name = path.name.lower()
    return name.endswith((".tar", *COMPRESSED)) and not name.endswith((".pth.tar", ".pt.tar")) and not is_leftover(name)


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
