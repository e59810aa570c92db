"""Folders of class folders: EuroSAT, CropDiseases, ImageNet, and any folder of the user's (`imagefolder:/path`)."""

from __future__ import annotations

from pathlib import Path

from torchvision.datasets.folder import IMG_EXTENSIONS, make_dataset

from tasks.datasets.card import DatasetCard
from tasks.datasets.dataset import Dataset
from tasks.datasets.layouts import LAYOUTS
from tasks.datasets.readers.make_splits import file_split, label_by_folder
from tasks.datasets.readers.torchvision_datasets import as_data_error

SPLIT_NAMES = {
    **dict.fromkeys(("train", "training"), "train"),
    **dict.fromkeys(("val", "valid", "validation"), "val"),
    **dict.fromkeys(("test", "testing"), "test"),
}
WHOLE = "all"
SPLIT_BY_FOLDER = ("imagefolder", "imagenet")


def read(root: Path, card: DatasetCard) -> Dataset:
    """One split named `all`; or, where all subfolders of an own folder or ImageNet are train, val and test, these.

    A class is a folder that holds at least one image, at any depth below it.
    """
    parts = {WHOLE: root / LAYOUTS[card.reader].required[0][0]}
    if card.reader in SPLIT_BY_FOLDER:
        parts = _split_folders(root) or parts
    files = {name: _images(card, folder) for name, folder in parts.items()}
    classes, labels = label_by_folder(files)
    splits = {
        name: file_split(card, name, folder, files[name], labels[name], len(classes)) for name, folder in parts.items()
    }
    return Dataset(card.name, classes, multi_label=False, splits=splits, notes=_notes(card, parts))


def _split_folders(root: Path) -> dict[str, Path]:
    """Our name of every split to its folder, in the order train, val, test; empty if these are not splits."""
    folders = {path.name.lower(): path for path in _visible(root)}
    if not folders or not set(folders) <= set(SPLIT_NAMES) or "train" not in {SPLIT_NAMES[name] for name in folders}:
        return {}
    found = {SPLIT_NAMES[name]: path for name, path in folders.items()}
    return {name: found[name] for name in ("train", "val", "test") if name in found}


def _images(card: DatasetCard, folder: Path) -> list[str]:
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
    return ("there is no test folder, so a fifth of every class, drawn under seed 0, is the test split",)
