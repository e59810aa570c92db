"""Class folders: EuroSAT, CropDiseases, ImageNet, and any folder of the user (`imagefolder:/path`)."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from torchvision.datasets.folder import IMG_EXTENSIONS, make_dataset

from tasks.datasets.balance import Balance
from tasks.datasets.card import DatasetCard
from tasks.datasets.class_folder_rows import read_folders
from tasks.datasets.dataset import DataError, Dataset, SourceSplit
from tasks.datasets.layouts import LAYOUTS
from tasks.datasets.presence import advice
from tasks.datasets.readers.make_splits import file_split, label_by_folder
from tasks.datasets.readers.torchvision_datasets import as_data_error

SPLIT_NAMES = {
    **dict.fromkeys(("train", "training"), "train"),
    **dict.fromkeys(("val", "valid", "validation"), "val"),
    **dict.fromkeys(("test", "testing"), "test"),
}
WHOLE = "all"
SPLIT_BY_FOLDER = ("imagefolder", "imagenet")
"""Readers whose folders may be splits."""


def read(root: Path, card: DatasetCard) -> Dataset:
    """One split named `all`; or train, val and test if these are all subfolders of ImageNet or of a user's folder.

    A class is a folder that contains at least one image, at any depth.
    """
    if card.reader == "imagefolder":
        return _own_folder(root, card)
    parts = {WHOLE: root / LAYOUTS[card.reader].required[0][0]}
    if card.reader in SPLIT_BY_FOLDER:
        parts = _split_folders(root) or parts
    files = {name: images_of(card, folder) for name, folder in parts.items()}
    classes, labels = label_by_folder(files)
    splits = {
        name: file_split(card, name, folder, files[name], labels[name], len(classes)) for name, folder in parts.items()
    }
    return Dataset(card.name, classes, multi_label=False, splits=splits, notes=_notes(card, parts))


def _own_folder(root: Path, card: DatasetCard) -> Dataset:
    """A folder of the user: every file is read, or left out with a note."""
    balance = Balance()
    rows = list(read_folders(root, balance, leave_out=True, answered=True))
    found: dict[str, list[str]] = {}
    for row in rows:
        found.setdefault(row.split or WHOLE, []).append(row.file)
    names = [name for name in ("train", "val", "test", WHOLE) if name in found]
    if not names:
        raise DataError(f"{card.name}: the folder {root} has no images: {advice(card)}")
    if WHOLE not in names and "train" not in names:
        raise DataError(f"{card.name}: the splits in {root} are {', '.join(names)}: none of them is train")
    classes = tuple(sorted({label for row in rows for label in row.labels}))
    number = {name: place for place, name in enumerate(classes)}
    labels: dict[str, list[int]] = {}
    for row in rows:
        labels.setdefault(row.split or WHOLE, []).append(number[row.labels[0]])
    splits: dict[str, SourceSplit] = {}
    parts = {name: _base(root, found[name]) if name != WHOLE else root for name in names}
    for name, base in parts.items():
        files = [(root / file).relative_to(base).as_posix() for file in found[name]]
        splits[name] = file_split(card, name, base, files, labels[name], len(classes))
    notes = (*_notes(card, parts), *balance.notes(len(rows)))
    return Dataset(card.name, classes, multi_label=False, splits=splits, notes=notes)


def _base(root: Path, files: Sequence[str]) -> Path:
    """Folder of a split: the one that contains all its files, or `root` if there are several."""
    first = {file.partition("/")[0] for file in files}
    return root / first.pop() if len(first) == 1 else root


def _split_folders(root: Path) -> dict[str, Path]:
    """Folder of every standard split, in the order train, val, test; empty if these are not splits."""
    folders = {path.name.lower(): path for path in _visible(root)}
    if not folders or not set(folders) <= set(SPLIT_NAMES) or "train" not in {SPLIT_NAMES[name] for name in folders}:
        return {}
    found = {SPLIT_NAMES[name]: path for name, path in folders.items()}
    return {name: found[name] for name in ("train", "val", "test") if name in found}


def images_of(card: DatasetCard, folder: Path) -> list[str]:
    """Image files below the class folders, sorted, as POSIX paths relative to `folder`."""
    names = {path.name: index for index, path in enumerate(sorted(_visible(folder)))}
    with as_data_error(card, folder):
        samples = make_dataset(str(folder), names, extensions=IMG_EXTENSIONS, allow_empty=True) if names else []
    return [Path(path).relative_to(folder).as_posix() for path, _ in samples]


def _visible(folder: Path) -> list[Path]:
    return [path for path in folder.iterdir() if path.is_dir() and not path.name.startswith(".")]


def _notes(card: DatasetCard, parts: dict[str, Path]) -> tuple[str, ...]:
    if card.reader not in SPLIT_BY_FOLDER or "test" in parts:
        return ()
    if "val" in parts:
        return ("there is no test folder, so the val folder is the test split and a fifth of train is for validation",)
    return ("there is no test folder, so a fifth of every class, drawn with seed 0, is the test split",)
