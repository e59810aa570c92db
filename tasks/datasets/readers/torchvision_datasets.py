"""Images and labels as listed by torchvision's dataset classes, with or without torchvision's folder level.

torchvision requires its own folder level above some layouts (`root/flowers-102/jpg`), which the paper's code does not
have. A symbolic link in a temporary folder provides that level, so that one class reads both.
"""

from __future__ import annotations

import pickle
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
from torchvision.datasets import CIFAR10, CIFAR100, DTD, FGVCAircraft, Flowers102, Food101, OxfordIIITPet

from tasks.datasets.card import DatasetCard
from tasks.datasets.dataset import DataError, Dataset, SourceSplit
from tasks.datasets.readers.make_splits import array_split, file_split, label_by_folder, read_lines, wrong_content

FAILURES = (RuntimeError, ValueError, LookupError, TypeError, OSError, EOFError, pickle.UnpicklingError)
"""Exceptions raised by torchvision's classes for annotation files that are missing, truncated or of another dataset."""

Make = Callable[[Path, str], Any]
"""Function that creates torchvision's dataset from its root folder and the name of a split."""


@dataclass(frozen=True)
class Listing:
    """One split: POSIX paths relative to the layout's folder, their labels, and the class names."""

    files: tuple[str, ...]
    labels: tuple[int, ...]
    classes: tuple[str, ...]


def list_splits(
    card: DatasetCard, base: Path, make: Make, splits: Mapping[str, str], level: str = ""
) -> dict[str, Listing]:
    """List the splits of the layout in `base`.

    `splits` maps standard split names to torchvision's; `level` is the folder that torchvision adds to its root.

    Raises:
        DataError: torchvision cannot read the annotations.
    """
    with torchvision_root(base, level) as root, as_data_error(card, base):
        return {ours: _listing(make(root, theirs), root / level) for ours, theirs in splits.items()}


@contextmanager
def torchvision_root(base: Path, level: str) -> Iterator[Path]:
    """A folder in which `level` links to `base`; `base` itself without a level."""
    if not level:
        yield base
        return
    with tempfile.TemporaryDirectory(prefix="dataset-") as folder:
        link = Path(folder) / level
        link.parent.mkdir(parents=True, exist_ok=True)
        link.symlink_to(base.absolute(), target_is_directory=True)
        yield Path(folder)


@contextmanager
def as_data_error(card: DatasetCard, path: Path) -> Iterator[None]:
    """Convert torchvision's exceptions about files below `path` into a DataError."""
    try:
        yield
    except DataError:
        raise
    except FAILURES as error:
        raise wrong_content(card, path, error) from error


def _listing(dataset: Any, base: Path) -> Listing:  # noqa: ANN401 - torchvision is not typed
    paths = getattr(dataset, "_image_files", None)
    if paths is None:
        paths = dataset._images
    return Listing(
        files=tuple(Path(path).relative_to(base).as_posix() for path in paths),
        labels=tuple(int(label) for label in dataset._labels),
        classes=tuple(getattr(dataset, "classes", ())),
    )


def read_aircraft(root: Path, card: DatasetCard) -> Dataset:
    """The official train, val and test splits."""
    names = {name: name for name in ("train", "val", "test")}
    found = list_splits(card, root, lambda at, split: FGVCAircraft(str(at), split=split), names, "fgvc-aircraft-2013b")
    classes = found["train"].classes
    splits = {name: file_split(card, name, root, part.files, part.labels, len(classes)) for name, part in found.items()}
    return Dataset(card.name, classes, multi_label=False, splits=splits)


def read_cifar(root: Path, card: DatasetCard) -> Dataset:
    """Train and test, 32 x 32 pixels, in memory (184 MB)."""
    make = CIFAR100 if card.reader == "cifar100" else CIFAR10
    splits: dict[str, SourceSplit] = {}
    classes: tuple[str, ...] = ()
    with as_data_error(card, root / make.base_folder):
        for name in ("train", "test"):
            source = make(str(root), train=name == "train")
            classes = tuple(source.classes)
            images = np.ascontiguousarray(source.data, dtype=np.uint8)
            splits[name] = array_split(card, name, images, source.targets, len(classes))
    return Dataset(card.name, classes, multi_label=False, splits=splits)


PARTITION = 1
DTD_IMAGES = "images"


def read_dtd(root: Path, card: DatasetCard) -> Dataset:
    """The official train, val and test splits of partition 1; the class is the image's folder.

    torchvision numbers the classes of each split separately, so labels are derived from the folders of all splits.
    """
    names = {name: name for name in ("train", "val", "test")}
    found = list_splits(
        card, root, lambda at, split: DTD(str(at), split=split, partition=PARTITION, download=False), names, "dtd/dtd"
    )
    files = {name: [file.removeprefix(f"{DTD_IMAGES}/") for file in part.files] for name, part in found.items()}
    classes, labels = label_by_folder(files)
    splits = {
        name: file_split(card, name, root / DTD_IMAGES, files[name], labels[name], len(classes)) for name in files
    }
    return Dataset(card.name, classes, multi_label=False, splits=splits)


NAMES = """\
pink primrose, hard-leaved pocket orchid, canterbury bells, sweet pea, english marigold, tiger lily, moon orchid,
bird of paradise, monkshood, globe thistle, snapdragon, colt's foot, king protea, spear thistle, yellow iris,
globe-flower, purple coneflower, peruvian lily, balloon flower, giant white arum lily, fire lily, pincushion flower,
fritillary, red ginger, grape hyacinth, corn poppy, prince of wales feathers, stemless gentian, artichoke, sweet
william, carnation, garden phlox, love in the mist, mexican aster, alpine sea holly, ruby-lipped cattleya, cape
flower, great masterwort, siam tulip, lenten rose, barbeton daisy, daffodil, sword lily, poinsettia, bolero deep
blue, wallflower, marigold, buttercup, oxeye daisy, common dandelion, petunia, wild pansy, primula, sunflower,
pelargonium, bishop of llandaff, gaura, geranium, orange dahlia, pink-yellow dahlia?, cautleya spicata, japanese
anemone, black-eyed susan, silverbush, californian poppy, osteospermum, spring crocus, bearded iris, windflower,
tree poppy, gazania, azalea, water lily, rose, thorn apple, morning glory, passion flower, lotus, toad lily,
anthurium, frangipani, clematis, hibiscus, columbine, desert-rose, tree mallow, magnolia, cyclamen, watercress,
canna lily, hippeastrum, bee balm, ball moss, foxglove, bougainvillea, camellia, mallow, mexican petunia, bromelia,
blanket flower, trumpet creeper, blackberry lily"""
"""The categories in the order of `imagelabels.mat`, listed here because not every torchvision version has them."""


def read_flowers(root: Path, card: DatasetCard) -> Dataset:
    """The official train, val and test splits."""
    names = {name: name for name in ("train", "val", "test")}
    found = list_splits(card, root, lambda at, split: Flowers102(str(at), split=split), names, "flowers-102")
    classes = tuple(NAMES.replace("\n", " ").split(", "))
    splits = {name: file_split(card, name, root, part.files, part.labels, len(classes)) for name, part in found.items()}
    return Dataset(card.name, classes, multi_label=False, splits=splits)


FOOD_IMAGES = "food-101/images"


def read_food(root: Path, card: DatasetCard) -> Dataset:
    """The official train and test splits; the class is the image's folder."""
    names = {name: name for name in ("train", "test")}
    found = list_splits(card, root, lambda at, split: Food101(str(at), split=split), names)
    files = {name: [file.removeprefix(f"{FOOD_IMAGES}/") for file in part.files] for name, part in found.items()}
    classes, labels = label_by_folder(files)
    splits = {
        name: file_split(card, name, root / FOOD_IMAGES, files[name], labels[name], len(classes)) for name in files
    }
    return Dataset(card.name, classes, multi_label=False, splits=splits)


def read_pets(root: Path, card: DatasetCard) -> Dataset:
    """The official trainval split, named train here, and test."""
    names = {"train": "trainval", "test": "test"}
    found = list_splits(card, root, lambda at, split: OxfordIIITPet(str(at), split=split), names, "oxford-iiit-pet")
    classes = found["train"].classes
    splits = {name: file_split(card, name, root, part.files, part.labels, len(classes)) for name, part in found.items()}
    return Dataset(card.name, classes, multi_label=False, splits=splits)


PARTITIONS = {"train": "Training_01.txt", "test": "Testing_01.txt"}


def read_sun397(root: Path, card: DatasetCard) -> Dataset:
    """Train and test of partition 1: lines like `/a/abbey/sun_aalphmmxwwqbyxqr.jpg`, the class being the folder."""
    folders = read_lines(card, root / "ClassName.txt")
    number = {folder: index for index, folder in enumerate(folders)}
    classes = tuple(folder[3:] for folder in folders)
    splits = {}
    for name, partition in PARTITIONS.items():
        files = read_lines(card, root / partition)
        folder_of = [str(PurePosixPath(file).parent) for file in files]
        unknown = next((folder for folder in folder_of if folder not in number), None)
        if unknown is not None:
            raise wrong_content(card, root / partition, f"{unknown} is not in ClassName.txt")
        relative = [file.lstrip("/") for file in files]
        splits[name] = file_split(card, name, root, relative, [number[folder] for folder in folder_of], len(classes))
    return Dataset(card.name, classes, multi_label=False, splits=splits)
