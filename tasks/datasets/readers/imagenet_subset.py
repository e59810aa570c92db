"""ImageNet with the training images of a published list alone: SimCLR's 1 % and 10 %, MSN's few images per class.

A list has one file name per line (`n01440764_10183.JPEG`), of which the part before `_` is the class folder. SimCLR's
lists are `imagenet_subsets/1percent.txt` and `10percent.txt` of google-research/simclr (TFDS's `imagenet2012_subset` is
the same); MSN's are `imagenet_subsets1/1imgs_class.txt` and so on of facebookresearch/msn: three sets, in each of which
the larger lists contain the smaller ones; the 5 images per class of the third are in a file named `3imgs_class.txt`. A
list with the name of a published one and another content is noted on every result.
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
    return Dataset(
        card.name, classes, multi_label=False, splits=splits, notes=_notes(root, card, len(classes), folders)
    )


def _notes(root: Path, card: DatasetCard, classes: int, folders: list[str]) -> tuple[str, ...]:
    name = str(card.reader_arguments["list"])
    notes = ["there is no test folder, so the val folder is the test split; validation images are a part of the list"]
    if name in PUBLISHED and hashlib.sha256((root / name).read_bytes()).hexdigest() != PUBLISHED[name]:
        notes.append(f"{name} is not the published list: its content is another one")
    if len(set(folders)) < classes:
        notes.append(f"{classes - len(set(folders))} of {classes} classes are not in the list")
    return tuple(notes)
