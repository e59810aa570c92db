"""Class folders: EuroSAT, CropDiseases, ImageNet and lists of a part of it, and any folder of the user.

A list has one file name per line (`n01440764_10183.JPEG`), of which the part before `_` is the class folder. SimCLR's
lists are `imagenet_subsets/1percent.txt` and `10percent.txt` of google-research/simclr (TFDS's `imagenet2012_subset` is
the same); MSN's are `imagenet_subsets1/1imgs_class.txt` and so on of facebookresearch/msn: three sets, in each of which
the larger lists contain the smaller ones; the 5 images per class of the third are in a file named `3imgs_class.txt`. A
list that has the name of a published one but different content is noted on every result.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path

from torchvision.datasets.folder import IMG_EXTENSIONS, make_dataset

from tasks.datasets.card import DatasetCard
from tasks.datasets.csv_index import Balance
from tasks.datasets.dataset import DataError, Dataset, SourceSplit
from tasks.datasets.folders import read_folders
from tasks.datasets.layouts import LAYOUTS
from tasks.datasets.presence import advice
from tasks.datasets.readers.make_splits import file_split, label_by_folder, read_lines, wrong_content
from tasks.datasets.readers.torchvision_datasets import as_data_error

SPLIT_NAMES = {
    **dict.fromkeys(("train", "training"), "train"),
    **dict.fromkeys(("val", "valid", "validation"), "val"),
    **dict.fromkeys(("test", "testing"), "test"),
}
WHOLE = "all"
SPLIT_BY_FOLDER = ("imagefolder", "imagenet")
"""Readers whose folders may be splits."""
PUBLISHED = {
    "1percent.txt": "71e82a48ba78252683ae334c4d019ebd5c6e855b9599c1389fbe83eb9549cf17",
    "10percent.txt": "6d09de11e7bdaf5b1f3b1f249b6183695f97310cdd20f0c03e7235b6b9392091",
    "imagenet_subsets1/1imgs_class.txt": "ffa4f960419ce75479a2af80d632c7a98756b624aad2399a334a3549584ab426",
    "imagenet_subsets1/2imgs_class.txt": "9b0c2d1957ad7a1135773a868afbaeaa6d50d30b4ec54d1b0bf759879a3c0933",
    "imagenet_subsets1/5imgs_class.txt": "f8daf7e637fafe92e7567016db43e6db2c816f7bbf8ce60f5cf59c0788f12890",
    "imagenet_subsets2/1imgs_class.txt": "7f13beaba20a6e6413cc98bcaefb084961d4c7f1938a3b7e2f20464d5575cf43",
    "imagenet_subsets2/2imgs_class.txt": "35b93fb0d809b17a30420a507b2fd356f22152671567f4b9704735e1e379b440",
    "imagenet_subsets2/5imgs_class.txt": "284603d071f36b298c893d2df8fda2d1a110f680a25d0f8b1faa9acea20fcc04",
    "imagenet_subsets3/1imgs_class.txt": "d77d56527da4842b96a7bbbc14f846c4e637a95b43df592e11770d26997b5b5f",
    "imagenet_subsets3/2imgs_class.txt": "400ae5a31e01bc1a034c392c2bdbdfaab45699dc4f59392e65acfcaae172cf1b",
    "imagenet_subsets3/3imgs_class.txt": "eaab6e72d1ea83c3624f5d28a8c217568ea138ea7c5cacfa0cdcd206b5fd8e24",
}
"""SHA-256 of SimCLR's lists and of MSN's (4388dc1)."""


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


def read_subset(root: Path, card: DatasetCard) -> Dataset:
    """The listed training images, in the order of the list, and all validation images as the test split.

    Raises DataError for a missing list, and for a line that names no training image.
    """
    path = root / str(card.reader_arguments["list"])
    names = read_lines(card, path)
    classes = tuple(sorted(one.name for one in (root / "train").iterdir() if one.is_dir() and one.name[0] != "."))
    number = {name: place for place, name in enumerate(classes)}
    unknown = next((name for name in names if name.partition("_")[0] not in number or "/" in name), None)
    if unknown is not None:
        raise wrong_content(card, path, f"{unknown!r} is no file name that begins with a class folder of train")
    folders = [name.partition("_")[0] for name in names]
    files = [f"{folder}/{name}" for folder, name in zip(folders, names, strict=True)]
    train = file_split(card, "train", root / "train", files, [number[one] for one in folders], len(classes))
    tested = images_of(card, root / "val")
    labels = [number.get(file.partition("/")[0], len(classes)) for file in tested]
    splits = {"train": train, "val": file_split(card, "val", root / "val", tested, labels, len(classes))}
    return Dataset(
        card.name, classes, multi_label=False, splits=splits, notes=_notes_on_list(root, card, len(classes), folders)
    )


def _notes_on_list(root: Path, card: DatasetCard, classes: int, folders: list[str]) -> tuple[str, ...]:
    name = str(card.reader_arguments["list"])
    notes = ["there is no test folder, so the val folder is the test split; validation images are a part of the list"]
    if name in PUBLISHED and hashlib.sha256((root / name).read_bytes()).hexdigest() != PUBLISHED[name]:
        notes.append(f"{name} is not the published list: its content is another one")
    if len(set(folders)) < classes:
        notes.append(f"{classes - len(set(folders))} of {classes} classes are not in the list")
    return tuple(notes)
