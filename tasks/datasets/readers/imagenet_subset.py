"""ImageNet with the training images of a published list alone: SimCLR's 1 % and 10 %, MSN's few images per class.

A list has one file name per line (`n01440764_10183.JPEG`), of which the part before `_` is the class folder. SimCLR's
lists are `imagenet_subsets/1percent.txt` and `10percent.txt` of google-research/simclr (TFDS's `imagenet2012_subset` is
the same); MSN's are `imagenet_subsets1/1imgs_class.txt` and so on of facebookresearch/msn. A list with the name of a
published one and another content is noted on every result.
"""

from __future__ import annotations

import hashlib
from pathlib import Path

from tasks.datasets.card import DatasetCard
from tasks.datasets.dataset import Dataset
from tasks.datasets.readers import class_folders
from tasks.datasets.readers.make_splits import file_split, read_lines, wrong_content

PUBLISHED = {
    "1percent.txt": "71e82a48ba78252683ae334c4d019ebd5c6e855b9599c1389fbe83eb9549cf17",
    "10percent.txt": "6d09de11e7bdaf5b1f3b1f249b6183695f97310cdd20f0c03e7235b6b9392091",
}
"""SHA-256 of SimCLR's lists."""


def read(root: Path, card: DatasetCard) -> Dataset:
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
    tested = class_folders.images_of(card, root / "val")
    labels = [number.get(file.partition("/")[0], len(classes)) for file in tested]
    splits = {"train": train, "val": file_split(card, "val", root / "val", tested, labels, len(classes))}
    return Dataset(card.name, classes, multi_label=False, splits=splits, notes=_notes(path, len(classes), folders))


def _notes(path: Path, classes: int, folders: list[str]) -> tuple[str, ...]:
    notes = ["there is no test folder, so the val folder is the test split; validation images are a part of the list"]
    if path.name in PUBLISHED and hashlib.sha256(path.read_bytes()).hexdigest() != PUBLISHED[path.name]:
        notes.append(f"{path.name} is not the published list: its content is another one")
    if len(set(folders)) < classes:
        notes.append(f"{classes - len(set(folders))} of {classes} classes are not in the list")
    return tuple(notes)
